//! States with one dense transition for all tokens: `S' = A S + writes` with constant `A`.
//!
//! Their histories hold the columns of a state as rows, so that the transition is a product from the
//! right for any number of columns.

use super::Lifter;
use super::affine::Matrix;
use super::refusal::{Lifting, Refusal};
use egg::Id;
use sluice_ir::pointwise::Interval;
use sluice_ir::seq::{Leaf, LeafKind, Mask, Seq, Shape, Source};
use sluice_ir::step::{DimId, NodeId, Op, Sharing, StateId, Table};
use std::sync::Arc;

/// A history with a dense transition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dense {
    /// The transition, `[1, K, K]`.
    a: Id,
    /// What is written at every token, `[T, V, K]`.
    x: Id,
    /// The state before the first token, `[1, V, K]`.
    s: Id,
}

/// Doublings of a power for which a transition must stay bounded.
const DOUBLINGS: usize = 10;
/// The largest element of such a power.
const LARGEST: f64 = 1e4;

impl Lifter<'_> {
    /// `A S` for a constant `A`, where the dimension that is left of `A` takes the place of the rows. A
    /// reshape may give either its name.
    pub(super) fn transition(&mut self, state: StateId, node: NodeId) -> Lifting<Matrix> {
        let renamed = |n: NodeId| match self.recurrence.node(n).op {
            Op::Reshape(inner, _) => inner,
            _ => n,
        };
        let product = renamed(node);
        let Op::Dot(x, y, dim) = self.recurrence.node(product).op else {
            return Err(self.not_affine(state, node));
        };
        let (factor, constant) = if self.touches(x, state) { (x, y) } else { (y, x) };
        let Op::Table(table) = self.recurrence.node(constant).op else {
            return Err(self.not_affine(state, node));
        };
        let dims = |n: NodeId| self.recurrence.node(n).dims.as_slice();
        let matrix = if self.has_dims_of(factor, state) { factor } else { renamed(factor) };
        let own = self.recurrence.states[state.0].dims.as_slice();
        let rows = own.iter().position(|d| [*d] == self.states[&state].rows[..]);
        // The dimensions of a value that has some other name for the rows, and that name.
        let other_name = |n: NodeId| {
            let place = rows.filter(|_| dims(n).len() == own.len())?;
            let beside = |i: usize| i == place || dims(n)[i] == own[i];
            (0..own.len()).all(beside).then_some(dims(n)[place])
        };
        let left = dims(constant).iter().find(|d| **d != dim);
        let fits = dims(matrix) == own && dims(node) == own && dims(constant).len() == 2;
        if !fits || other_name(factor) != Some(dim) || other_name(product) != left.copied() {
            return Err(self.not_affine(state, node));
        }
        let inner = self.matrix(state, matrix)?;
        if !inner.keeps || inner.dense.is_some() || inner.g.is_some() || !inner.rows.is_empty() {
            return Err(self.scaled_transition(product));
        }
        let Table { values, .. } = &self.recurrence.tables[table.0];
        let size = self.sizes[dim.0];
        let values =
            if dims(constant)[1] == dim { values.clone() } else { exchanged(values, size) };
        if let Some(largest) = growth(&values, size) {
            let (range, place) = (Interval::new(-largest, largest), self.recurrence.node(constant));
            let what = "a power of this transition";
            return Err(Refusal::unsafe_exponent(place.span.clone(), what, range, 1.0));
        }
        let name = format!("table.{}.transition", table.0);
        let dense = Some(self.constant(&name, Shape::one(size, size), values));
        Ok(Matrix { keeps: true, dense, ..Matrix::default() })
    }

    /// Constants that no table of the program holds.
    fn constant(&mut self, name: &str, shape: Shape, values: Arc<[f64]>) -> Id {
        let leaf = Leaf {
            kind: LeafKind::Model,
            shape,
            range: Interval::ALL,
            sharing: Sharing::Head,
            transposed: false,
            source: Source::Table(values),
        };
        self.builder.leaf(name, leaf)
    }

    /// The identity matrix.
    pub(super) fn identity(&mut self, size: usize) -> Id {
        let ones = |i: usize| f64::from(u8::from(i.is_multiple_of(size + 1)));
        let values = (0..size * size).map(ones).collect();
        self.constant(&format!("identity.{size}"), Shape::one(size, size), values)
    }

    /// The refusal of a transition that is not alone.
    pub(super) fn scaled_transition(&self, node: NodeId) -> Refusal {
        Refusal::unsupported(
            "a dense transition among other factors of the state",
            self.recurrence.node(node).span.clone(),
            "this is multiplied by a matrix and by something else".to_owned(),
            "put all constant factors into one matrix",
        )
    }

    /// The history of a state that a dense transition takes from step to step.
    pub(super) fn dense_history(&mut self, state: StateId, a: Id, matrix: &Matrix) -> Lifting<()> {
        let update = self.recurrence.updates[state.0];
        let values = &self.states[&state];
        let (keys, width) = (self.volume(&values.rows), self.volume(&values.columns));
        let shape = Shape::token(width, keys);
        let mut written = None;
        for (x, symbol) in &matrix.rows {
            let y = self.states[&state].values[*symbol].clone();
            let Some(y) = y.base.filter(|_| y.is_free()) else {
                return Err(self.scaled_transition(update));
            };
            let y = self.builder.spread(y, Shape::token(1, width));
            let y = self.cut(Seq::Split, width, y);
            let part = self.builder.times(y, *x);
            let part = self.builder.spread(part, shape);
            written = self.add_terms(written, Some(part));
        }
        let x = written.unwrap_or_else(|| self.builder.zeros(shape));
        let x = self.finite_at_padding(x);
        let s = self.initial_rows(state);
        self.values_of(state).dense = Some(Dense { a, x, s });
        Ok(())
    }

    /// The state at every token, its columns as rows.
    fn dense_states(&mut self, Dense { a, x, s }: Dense, mask: Mask) -> Id {
        let (mask, one) = (self.builder.add(Seq::Mask(mask)), self.builder.count(1));
        self.builder.add(Seq::Dhist([mask, one, a, x, s]))
    }

    /// All elements of a dense state in one row.
    pub(super) fn whole_dense(&mut self, dense: Dense, mask: Mask) -> Id {
        let states = self.dense_states(dense, mask);
        if self.builder.shape(states).rows == 1 {
            return states;
        }
        let elements = self.builder.add(Seq::Tr([states]));
        self.row(elements)
    }

    /// A read of a dense state, or of a matrix of it that is its new value.
    pub(super) fn dense_read(
        &mut self,
        (state, dense): (StateId, Dense),
        node: NodeId,
        reader: Id,
    ) -> Lifting<Id> {
        let mask = match self.recurrence.node(node).op {
            Op::State(_) => Mask::Strict,
            _ if self.recurrence.updates[state.0] == node => Mask::Incl,
            _ => return Err(self.scaled_transition(node)),
        };
        let keys = self.volume(&self.states[&state].rows);
        let states = self.dense_states(dense, mask);
        let read = self.inner_product(states, reader, keys);
        Ok(self.row(read))
    }

    /// The sum along the rows of a dense state times a matrix of the model: a read of each column by a
    /// vector of its own. None where that is not what the factors are.
    pub(super) fn weighed(
        &mut self,
        factors: [NodeId; 2],
        (reader, dim): (Id, DimId),
    ) -> Lifting<Option<Id>> {
        let states: Vec<StateId> =
            factors.iter().flat_map(|n| self.touches[n.0].iter().copied()).collect();
        let [state] = states[..] else { return Ok(None) };
        let values = &self.states[&state];
        let (Some(dense), [columns]) = (values.dense, &values.columns[..]) else { return Ok(None) };
        let (columns, along) = (*columns, values.rows == [dim]);
        let [a, b] = factors;
        let (whole, weights) = if self.touches(a, state) { (a, b) } else { (b, a) };
        let mask = match self.recurrence.node(whole).op {
            Op::State(_) => Mask::Strict,
            _ if self.recurrence.updates[state.0] == whole => Mask::Incl,
            _ => return Ok(None),
        };
        let (keys, width) = (self.sizes[dim.0], self.sizes[columns.0]);
        let sums = matches!(self.builder.node(reader), Seq::Number(x) if x.value() == 1.0);
        if !along || !sums || !self.has_dims_of(weights, state) || keys == 1 || width == 1 {
            return Ok(None);
        }
        let row = self.term(weights)?;
        if self.builder.shape(row) != Shape::one(1, keys * width) {
            return Ok(None);
        }
        let weights = if self.recurrence.node(weights).dims[0] == dim {
            self.cut(Seq::Split, keys, row)
        } else {
            let turned = self.cut(Seq::Split, width, row);
            self.builder.add(Seq::Tr([turned]))
        };
        let states = self.dense_states(dense, mask);
        let states = self.builder.add(Seq::Tr([states]));
        let [weights, states] = [weights, states].map(|x| self.cut(Seq::Join, keys, x));
        let product = self.builder.times(weights, states);
        let rows = self.cut(Seq::Split, keys, product);
        Ok(Some(self.cut(Seq::Tots, keys, rows)))
    }

    /// The last state, also where the last chunk is not full: padding does not keep a dense state.
    pub(super) fn last_dense(&mut self, dense: Dense) -> Id {
        let states = self.dense_states(dense, Mask::Incl);
        self.builder.add(Seq::Last([states, dense.s]))
    }
}

fn exchanged(values: &[f64], size: usize) -> Arc<[f64]> {
    (0..size * size).map(|i| values[(i % size) * size + i / size]).collect()
}

/// The largest element of a power of a matrix, if powers do not stay bounded.
pub(super) fn growth(values: &[f64], size: usize) -> Option<f64> {
    let mut power = values.to_vec();
    for _ in 0..=DOUBLINGS {
        let largest = power.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        if largest > LARGEST || power.iter().any(|x| x.is_nan()) {
            return Some(largest);
        }
        let element = |i: usize| {
            let (row, col) = (i / size, i % size);
            (0..size).map(|k| power[row * size + k] * power[k * size + col]).sum()
        };
        power = (0..size * size).map(element).collect();
    }
    None
}
