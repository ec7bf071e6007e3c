//! What a step makes of the state before it, apart from what it writes: the linear part of an update.
//!
//! An update that is affine in one matrix and treats all its columns alike is `S' = A S + B` with an `A`
//! that is the same for every column. So the update without `B`, on a state that starts from the identity,
//! gives the product of the `A` of all tokens.

use super::rewrite::Rewriter;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{
    self, Dim, DimId, Formula, Init, NodeId, Op, Reads, Recurrence, Reduction, State, StateId,
};

/// The product of the transitions of a state.
#[derive(Clone)]
pub(super) struct Transition {
    /// A recurrence whose one state it is, with the dimension `before` in the place of the columns.
    pub(super) recurrence: Recurrence,
    /// The dimension of the state whose elements are mixed.
    pub(super) rows: DimId,
    /// One of that size: the rows of the state before all tokens.
    pub(super) before: DimId,
}

/// Names of what a transition adds to a program.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) recurrence: &'a str,
    pub(super) state: &'a str,
    pub(super) dimension: &'a str,
}

/// The product of the transitions of a state; none if its update needs other states, or does not treat the
/// columns of either dimension alike.
pub(super) fn transition(
    recurrence: &Recurrence,
    state: StateId,
    named: Named<'_>,
) -> Option<Transition> {
    let [a, b] = *recurrence.states[state.0].dims else { return None };
    let found = [(a, b), (b, a)].into_iter().find_map(|(rows, columns)| {
        let mut linear = Linear::new(recurrence, (state, rows, columns), named);
        let update = linear.part(recurrence.updates[state.0])??;
        linear.made.update(StateId(0), update);
        Some((linear.made.finish(&[]), rows))
    });
    let (recurrence, rows) = found?;
    let before = DimId(recurrence.dims.len() - 1);
    Some(Transition { recurrence, rows, before })
}

/// A recurrence made of linear parts.
struct Linear<'a> {
    old: &'a Recurrence,
    reads: Vec<Reads>,
    state: StateId,
    /// The dimension along which everything is alike.
    columns: DimId,
    made: Rewriter,
    /// What has been made of nodes that need no state, and of linear parts.
    free: Vec<Option<NodeId>>,
    parts: Vec<Option<NodeId>>,
}

impl<'a> Linear<'a> {
    fn new(
        old: &'a Recurrence,
        (state, rows, columns): (StateId, DimId, DimId),
        named: Named<'_>,
    ) -> Self {
        let mut empty = Recurrence {
            name: named.recurrence.to_owned(),
            states: vec![],
            updates: vec![],
            outputs: vec![],
            ..old.clone()
        };
        let before = DimId(empty.dims.len());
        let formula = Some(Formula::Dim(rows));
        empty.dims.push(Dim { name: named.dimension.to_owned(), size: None, formula });
        let mut made = Rewriter::new(&empty);
        let declared = &old.states[state.0];
        let dims = declared.dims.iter().map(|d| if *d == columns { before } else { *d });
        made.state(State {
            name: named.state.to_owned(),
            dims: dims.collect(),
            init: Init::Identity,
            range: None,
            doc: vec![],
            ..declared.clone()
        });
        let none = vec![None; old.nodes.len()];
        let reads = step::reads(old);
        Self { old, reads, state, columns, made, free: none.clone(), parts: none }
    }

    /// The part of a node that is linear in the state, with none for zero; none at all if there is no such.
    fn part(&mut self, id: NodeId) -> Option<Option<NodeId>> {
        if self.reads[id.0].states.is_empty() {
            return Some(None);
        }
        if let Some(made) = self.parts[id.0] {
            return Some(Some(made));
        }
        let node = self.old.node(id);
        let made = match node.op {
            Op::State(state) if state == self.state => Some(self.node(id, Op::State(StateId(0)))),
            Op::Binary(Binary::Add, a, b) => match (self.part(a)?, self.part(b)?) {
                (Some(a), Some(b)) => Some(self.node(id, Op::Binary(Binary::Add, a, b))),
                (one, other) => one.or(other),
            },
            Op::Unary(Unary::Neg, _) | Op::Reduce(Reduction::Sum, ..) => {
                self.of_operands(id, |this, operand| this.part(operand))?
            }
            Op::Binary(Binary::Mul, a, b) | Op::Outer(a, b) | Op::Dot(a, b, _) => {
                let varying = if self.reads[a.0].states.is_empty() { b } else { a };
                self.of_operands(id, |this, operand| match operand == varying {
                    true => this.part(operand),
                    false => this.factor(operand),
                })?
            }
            Op::Binary(Binary::Div, a, _) => {
                self.of_operands(id, |this, operand| match operand == a {
                    true => this.part(operand),
                    false => this.factor(operand),
                })?
            }
            Op::Select(condition, a, b) => {
                let condition = self.factor(condition)??;
                match (self.part(a)?, self.part(b)?) {
                    (None, None) => None,
                    (a, b) => {
                        let zero = self.made.number(0.0);
                        let [a, b] = [a, b].map(|x| x.unwrap_or(zero));
                        Some(self.node(id, Op::Select(condition, a, b)))
                    }
                }
            }
            _ => return None,
        };
        self.parts[id.0] = made;
        Some(made)
    }

    /// The node on parts of its operands; zero if one of them is, none if one has no part or the node sums
    /// over columns.
    fn of_operands(
        &mut self,
        id: NodeId,
        mut of: impl FnMut(&mut Self, NodeId) -> Option<Option<NodeId>>,
    ) -> Option<Option<NodeId>> {
        let op = self.old.node(id).op;
        if matches!(op, Op::Dot(_, _, dim) | Op::Reduce(_, _, dim) if dim == self.columns) {
            return None;
        }
        let mut parts = Vec::new();
        for operand in op.operands() {
            match of(self, operand)? {
                Some(part) => parts.push(part),
                None => return Some(None),
            }
        }
        let mut parts = parts.into_iter();
        let op = op.map_operands(|_| parts.next().expect("one an operand"));
        Some(Some(self.node(id, op)))
    }

    /// A value that needs no state and is the same for all columns.
    fn factor(&mut self, id: NodeId) -> Option<Option<NodeId>> {
        let alike = !self.old.node(id).dims.contains(&self.columns);
        (alike && self.reads[id.0].states.is_empty()).then(|| Some(self.copied(id)))
    }

    /// The same value in the new recurrence.
    fn copied(&mut self, id: NodeId) -> NodeId {
        if let Some(made) = self.free[id.0] {
            return made;
        }
        let op = self.old.node(id).op.map_operands(|operand| self.copied(operand));
        let made = self.node(id, op);
        self.free[id.0] = Some(made);
        made
    }

    /// A node that stands for an old one.
    fn node(&mut self, id: NodeId, op: Op) -> NodeId {
        self.made.stand_for(self.old.node(id));
        self.made.node(op)
    }
}
