//! States of one shape that take up each other: `S_i' = sum_j r_ij S_j + writes`, with scalars `r_ij`.
//!
//! Their histories are one, with the states stacked and `R = (r_ij)` in place of a decay. The first state
//! of such a group stands for all: what is written is a value of it, and readers and keys are stacked.

use super::affine::{Matrix, Read, Symbol, Vector};
use super::history::{Gather, Neutral};
use super::refusal::{Lifting, Refusal};
use super::{Lifter, StateValues, dense};
use egg::Id;
use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::seq::{Mask, Seq, Shape};
use sluice_ir::step::{DimId, NodeId, Op, StateId};
use std::collections::{BTreeMap, BTreeSet};

/// The states of a group and what was found of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Mixed {
    /// The states in the order in which they are stacked.
    pub(super) members: Vec<StateId>,
    /// Matrices found so far; a node is walked once, so that its writes are one symbol.
    stacks: BTreeMap<NodeId, Stack>,
}

/// A matrix `sum_j r_j S_j + sum_s x_s y_s^T` of the states before the step.
#[derive(Clone, Debug)]
struct Stack {
    /// The factor of each state, a scalar; none is 0.
    kept: Vec<Option<Id>>,
    /// Keys with the symbols of the values that they write.
    rows: Vec<(Id, Symbol)>,
}

impl Stack {
    fn written(members: usize, rows: Vec<(Id, Symbol)>) -> Self {
        Self { kept: vec![None; members], rows }
    }

    fn keeps(&self) -> bool {
        self.kept.iter().any(Option::is_some)
    }
}

impl Lifter<'_> {
    /// Lifts a group of states whose other dependencies are lifted.
    pub(super) fn mixed(&mut self, members: &[StateId]) -> Lifting<()> {
        let leader = members[0];
        let dims = self.recurrence.states[leader.0].dims.clone();
        let alike = |s: &StateId| self.recurrence.states[s.0].dims == dims;
        let ([rows, columns], true) = (&dims[..], members.iter().all(alike)) else {
            return Err(self.circle(members));
        };
        let values = StateValues {
            rows: vec![*rows],
            columns: vec![*columns],
            mixed: Some(Mixed { members: members.to_vec(), ..Mixed::default() }),
            ..StateValues::default()
        };
        self.states.insert(leader, values);
        let mut stacks = vec![];
        for member in members {
            stacks.push(self.stack(leader, self.recurrence.updates[member.0])?);
        }
        let r = self.mixing(leader, &stacks)?;
        let symbols: BTreeSet<Symbol> =
            stacks.iter().flat_map(|stack| stack.rows.iter().map(|row| row.1)).collect();
        let mut keys = vec![];
        for symbol in symbols {
            let key =
                |stack: &Stack| stack.rows.iter().find(|row| row.1 == symbol).map(|row| row.0);
            let parts: Vec<Option<Id>> = stacks.iter().map(key).collect();
            keys.push((self.stacked(leader, &parts), symbol));
        }
        let w = self.builder.zeros(Shape::token(1, 1));
        self.assemble(leader, &keys, (r, w))
    }

    /// The refusal of states that need each other and are no group of this kind.
    fn circle(&self, members: &[StateId]) -> Refusal {
        let names: Vec<String> =
            members.iter().map(|s| format!("`{}`", self.state_name(*s))).collect();
        let update = self.recurrence.updates[members[0].0];
        Refusal::unsupported(
            "states that need each other and are no matrices of one shape",
            self.recurrence.node(update).span.clone(),
            format!("the updates of {} form a circle", names.join(", ")),
            "let each state read only states that do not read it",
        )
    }

    /// The rows of a lifted state: those of all states that are stacked in it.
    pub(super) fn keys(&self, state: StateId) -> usize {
        let values = &self.states[&state];
        let members = values.mixed.as_ref().map_or(1, |mixed| mixed.members.len());
        members * self.volume(&values.rows)
    }

    /// The first row of a state and how many it has, in the history of the group that it belongs to.
    pub(super) fn part_of(&self, state: StateId) -> Option<(StateId, usize, usize)> {
        let leader = self.leaders.get(&state)?;
        let values = &self.states[leader];
        let members = &values.mixed.as_ref()?.members;
        let rows = self.volume(&values.rows);
        Some((*leader, members.iter().position(|s| *s == state)? * rows, rows))
    }

    /// One row with a part for each state of a group.
    fn stacked(&mut self, leader: StateId, parts: &[Option<Id>]) -> Id {
        let shape = Shape::token(1, self.volume(&self.states[&leader].rows));
        let mut all = None;
        for part in parts {
            let part = match part {
                Some(part) => self.builder.spread(*part, shape),
                None => self.builder.zeros(shape),
            };
            all = Some(match all {
                None => part,
                Some(before) => self.builder.add(Seq::Cat([before, part])),
            });
        }
        all.expect("a group has states")
    }

    fn stack(&mut self, leader: StateId, node: NodeId) -> Lifting<Stack> {
        let known = self.states[&leader].mixed.as_ref().and_then(|mixed| mixed.stacks.get(&node));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let stack = self.find_stack(leader, node)?;
        if let Some(mixed) = &mut self.values_of(leader).mixed {
            mixed.stacks.insert(node, stack.clone());
        }
        Ok(stack)
    }

    fn find_stack(&mut self, leader: StateId, node: NodeId) -> Lifting<Stack> {
        let members = self.states[&leader].mixed.as_ref().map_or(1, |m| m.members.len());
        match self.recurrence.node(node).op {
            Op::State(state) if self.leaders.get(&state) == Some(&leader) => {
                let one = self.builder.number(1.0);
                let is_own = |s: &StateId| (*s == state).then_some(one);
                let mixed = self.states[&leader].mixed.as_ref();
                let kept = mixed.map_or(vec![], |m| m.members.iter().map(is_own).collect());
                Ok(Stack { kept, rows: vec![] })
            }
            Op::Unary(Unary::Neg, a) => {
                let stack = self.stack(leader, a)?;
                let minus = self.builder.number(-1.0);
                Ok(self.scaled_stack(stack, minus))
            }
            Op::Binary(Binary::Add, a, b)
                if self.has_dims_of(a, leader) && self.has_dims_of(b, leader) =>
            {
                let (mut sum, other) = (self.stack(leader, a)?, self.stack(leader, b)?);
                for (kept, other) in sum.kept.iter_mut().zip(other.kept) {
                    *kept = self.add_terms(*kept, other);
                }
                for (x, symbol) in other.rows {
                    match sum.rows.iter().position(|row| row.1 == symbol) {
                        Some(i) => sum.rows[i].0 = self.builder.sum(sum.rows[i].0, x),
                        None => sum.rows.push((x, symbol)),
                    }
                }
                Ok(sum)
            }
            Op::Binary(Binary::Mul, a, b) => {
                let (matrix, factor) = if self.has_dims_of(a, leader) { (a, b) } else { (b, a) };
                let factor_term = self.free_factor(leader, node, factor)?;
                let stack = self.stack(leader, matrix)?;
                self.scaled_side(leader, node, stack, (factor, factor_term))
            }
            Op::Binary(Binary::Div, a, b) if self.recurrence.node(b).dims.is_empty() => {
                let divisor = self.free_factor(leader, node, b)?;
                let stack = self.stack(leader, a)?;
                let factor = self.builder.unary(Unary::Recip, divisor);
                Ok(self.scaled_stack(stack, factor))
            }
            Op::Outer(a, b) => Ok(Stack::written(members, self.outer(leader, a, b)?.rows)),
            _ => Err(self.not_affine(leader, node)),
        }
    }

    fn free_factor(&mut self, leader: StateId, node: NodeId, factor: NodeId) -> Lifting<Id> {
        if self.touches(factor, leader) || self.has_dims_of(factor, leader) {
            return Err(self.not_affine(leader, node));
        }
        self.term(factor)
    }

    fn scaled_stack(&mut self, stack: Stack, factor: Id) -> Stack {
        let mut times = |x: Id| self.builder.times(x, factor);
        let kept = stack.kept.into_iter().map(|kept| kept.map(&mut times)).collect();
        let rows = stack.rows.into_iter().map(|(x, symbol)| (times(x), symbol)).collect();
        Stack { kept, rows }
    }

    /// Scales by a scalar, or what is written by a vector along either side.
    fn scaled_side(
        &mut self,
        leader: StateId,
        node: NodeId,
        stack: Stack,
        (factor, term): (NodeId, Id),
    ) -> Lifting<Stack> {
        let dims = self.recurrence.node(factor).dims.clone();
        if dims.is_empty() || (!stack.keeps() && dims == self.states[&leader].rows) {
            return Ok(self.scaled_stack(stack, term));
        }
        if stack.keeps() || dims != self.states[&leader].columns {
            return Err(Refusal::unsupported(
                "states that are mixed element by element",
                self.recurrence.node(node).span.clone(),
                "this scales a state that others take up by more than a number".to_owned(),
                "mix states by numbers, the same for all elements of a state",
            ));
        }
        let mut rows = vec![];
        for (x, symbol) in stack.rows {
            let y = self.states[&leader].values[symbol].clone();
            let y = self.scale_vector(node, y, term)?;
            rows.push((x, self.symbol(leader, y)));
        }
        Ok(Stack { rows, ..stack })
    }

    /// `p^T M` for the matrix that a node of a group is.
    pub(super) fn read_mixed(&mut self, leader: StateId, node: NodeId, p: Id) -> Lifting<Vector> {
        let stack = self.stack(leader, node)?;
        let written = Matrix { rows: stack.rows.clone(), ..Matrix::default() };
        let vector = self.read(leader, p, &written);
        if !stack.keeps() {
            return Ok(vector);
        }
        let part = |kept: &Option<Id>| kept.map(|factor| self.builder.times(p, factor));
        let parts: Vec<Option<Id>> = stack.kept.iter().map(part).collect();
        let p = self.stacked(leader, &parts);
        Ok(Vector { read: Some(Read { p, g: None, w: None }), ..vector })
    }

    /// The term of a read along the rows of a lifted group.
    pub(super) fn read_group(
        &mut self,
        (leader, dim): (StateId, DimId),
        node: NodeId,
        reader: Id,
    ) -> Lifting<Id> {
        let values = &self.states[&leader];
        if values.rows != [dim] {
            return Err(Refusal::both_sides(self.recurrence.node(node).span.clone()));
        }
        let members = values.mixed.as_ref().map_or(vec![], |mixed| mixed.members.clone());
        if members.iter().any(|s| self.recurrence.updates[s.0] == node) {
            let is_new = |s: &StateId| (self.recurrence.updates[s.0] == node).then_some(reader);
            let parts: Vec<Option<Id>> = members.iter().map(is_new).collect();
            let reader = self.stacked(leader, &parts);
            let states = self.states_seen(leader, Mask::Incl);
            return Ok(self.builder.add(Seq::Mm([reader, states])));
        }
        let vector = self.read_mixed(leader, node, reader)?;
        Ok(self.vector_term(leader, &vector))
    }

    /// `[T, n, n]`: the matrix that mixes the states, which is the identity at padding tokens.
    fn mixing(&mut self, leader: StateId, stacks: &[Stack]) -> Lifting<Id> {
        let range = |kept: &Option<Id>| match kept {
            Some(id) => self.builder.facts(*id).array().range,
            None => Interval::point(0.0),
        };
        let ranges: Vec<Vec<Interval>> =
            stacks.iter().map(|stack| stack.kept.iter().map(range).collect()).collect();
        if let Some(largest) = unbounded(&ranges) {
            let update = self.recurrence.updates[leader.0];
            let span = self.recurrence.node(update).span.clone();
            let what = "what states take up of each other";
            return Err(Refusal::unsafe_exponent(span, what, largest, 1.0));
        }
        let mut rows = vec![];
        for (i, stack) in stacks.iter().enumerate() {
            let mut row = vec![];
            for (j, kept) in stack.kept.iter().enumerate() {
                row.push(self.at_padding(*kept, i == j));
            }
            rows.push(row);
        }
        let values = self.volume(&self.states[&leader].columns);
        let keys = self.keys(leader);
        let mut gather = Gather { lifter: self, state: leader, keys, values };
        let rows: Vec<Option<Id>> = rows.iter().map(|row| Some(gather.cat(row))).collect();
        Ok(gather.weave(&rows, stacks.len(), Neutral::Finite))
    }

    /// A factor that is 1 (on the diagonal) or 0 at padding tokens.
    fn at_padding(&mut self, factor: Option<Id>, diagonal: bool) -> Option<Id> {
        let number = |lifter: &Self, id: Id| match lifter.builder.node(id) {
            Seq::Number(x) => Some(x.value()),
            _ => None,
        };
        let offset = if diagonal { 1.0 } else { 0.0 };
        let value = factor.map_or(Some(0.0), |id| number(self, id));
        if value == Some(offset) {
            return factor;
        }
        let (offset, minus) = (self.builder.number(offset), self.builder.number(-offset));
        let factor = factor.unwrap_or_else(|| self.builder.number(0.0));
        let excess = self.builder.sum(factor, minus);
        let excess = self.builder.spread(excess, Shape::token(1, 1));
        let excess = self.neutral_at_padding(excess, Neutral::Zero);
        Some(self.builder.sum(excess, offset))
    }
}

/// The range of what is too large, if products of matrices with entries in these ranges may grow
/// without bound. They cannot if all are constants whose powers stay bounded, if the matrices are
/// triangular in some order with a diagonal in [-1, 1] (then they grow as sums do), or if the entries of
/// every row or of every column sum up to at most 1.
fn unbounded(ranges: &[Vec<Interval>]) -> Option<Interval> {
    let n = ranges.len();
    let size = |x: &Interval| x.lo.abs().max(x.hi.abs());
    let all = || ranges.iter().flatten();
    if all().all(|x| x.lo == x.hi) {
        let values: Vec<f64> = all().map(|x| x.lo).collect();
        return dense::growth(&values, n).map(|largest| Interval::new(-largest, largest));
    }
    let sum = |entries: &mut dyn Iterator<Item = &Interval>| entries.map(size).sum::<f64>();
    let largest = |sums: &mut dyn Iterator<Item = f64>| sums.fold(0.0, f64::max);
    let rows = largest(&mut ranges.iter().map(|row| sum(&mut row.iter())));
    let columns = largest(&mut (0..n).map(|j| sum(&mut ranges.iter().map(|row| &row[j]))));
    if rows <= 1.0 || columns <= 1.0 {
        return None;
    }
    let diagonal = largest(&mut (0..n).map(|i| size(&ranges[i][i])));
    let bounded = all().all(|x| size(x).is_finite());
    let found = if bounded && is_triangular(ranges) { diagonal } else { rows };
    (found > 1.0).then(|| Interval::new(-found, found))
}

/// Whether an order of the states makes the matrices triangular.
fn is_triangular(ranges: &[Vec<Interval>]) -> bool {
    let is_zero = |x: &Interval| *x == Interval::point(0.0);
    let mut left: Vec<usize> = (0..ranges.len()).collect();
    while !left.is_empty() {
        let takes_none = |i: &usize| left.iter().all(|j| i == j || is_zero(&ranges[*i][*j]));
        match left.iter().position(takes_none) {
            Some(place) => drop(left.remove(place)),
            None => return false,
        }
    }
    true
}
