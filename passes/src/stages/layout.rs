//! Which part of a program computes what, and what parts hand to each other.
//!
//! A value that depends on a state before the step can only be computed by the part that carries the
//! state, or later from what that part hands on. Values that depend on no such state are computed
//! again wherever they are needed, unless they are placed in a part on purpose.

use super::Program;
use sluice_ir::staged::Form;
use sluice_ir::step::{Binary, DimId, Interval, NodeId, Op, Order, StateId, Unary};
use std::collections::BTreeSet;

/// A stage to be.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The states that it carries.
    pub(super) states: BTreeSet<StateId>,
    /// Its order over the tokens.
    pub(super) order: Order,
    /// How it works.
    pub(super) form: Form,
    /// Values that only this part may compute.
    pub(super) placed: BTreeSet<NodeId>,
}

/// What a part computes and takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Nodes that it computes, inputs and states included.
    pub(super) nodes: BTreeSet<NodeId>,
    /// Nodes that it takes from earlier parts.
    pub(super) imports: BTreeSet<NodeId>,
    /// States whose last values it takes from earlier parts.
    pub(super) lasts: BTreeSet<StateId>,
}

/// A matrix that one part would have to hand to another at every token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing {
    /// The matrix.
    pub(super) node: NodeId,
    /// The part that needs it.
    pub(super) part: usize,
}

/// For every node where it is computed.
pub(super) struct Layout<'a> {
    program: &'a Program<'a>,
    /// The first part that can compute a node.
    pub(super) first: Vec<usize>,
    /// Whether only that part can.
    pub(super) bound: Vec<bool>,
    placed: BTreeSet<NodeId>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(program: &'a Program, parts: &[Part]) -> Self {
        // States that have no part yet come after all that there are.
        let part_of = |state: StateId| {
            parts.iter().position(|p| p.states.contains(&state)).unwrap_or(parts.len())
        };
        let (mut first, mut bound) = (Vec::<usize>::new(), Vec::<bool>::new());
        for (i, node) in program.recurrence.nodes.iter().enumerate() {
            let operands = node.op.operands();
            let mut place = operands.iter().map(|o| first[o.0]).max().unwrap_or(0);
            let mut only = operands.iter().any(|o| bound[o.0]);
            match node.op {
                Op::State(state) => (place, only) = (part_of(state), true),
                Op::Final(state) => place = part_of(state) + 1,
                _ => {}
            }
            if let Some(part) = parts.iter().position(|p| p.placed.contains(&NodeId(i))) {
                (place, only) = (place.max(part), true);
            }
            first.push(place);
            bound.push(only);
        }
        let placed = parts.iter().flat_map(|p| p.placed.iter().copied()).collect();
        Self { program, first, bound, placed }
    }

    /// What a part needs for some results, such that what it takes is small.
    pub(super) fn content(
        &self,
        part: usize,
        results: impl IntoIterator<Item = NodeId>,
    ) -> Result<Content, Crossing> {
        let results: Vec<NodeId> = results.into_iter().collect();
        let taken_early = self.content_with(part, &results, false)?;
        let taken_late = self.content_with(part, &results, true)?;
        let late = self.size(&taken_late) < self.size(&taken_early);
        Ok(if late { taken_late } else { taken_early })
    }

    /// Elements that a part takes at every token.
    fn size(&self, content: &Content) -> usize {
        let program = self.program;
        let size = |d: &DimId| program.recurrence.size(*d, program.extents).unwrap_or(1);
        let dims = content.imports.iter().map(|id| &program.recurrence.node(*id).dims);
        dims.map(|dims| dims.iter().map(size).product::<usize>()).sum()
    }

    fn content_with(
        &self,
        part: usize,
        results: &[NodeId],
        late: bool,
    ) -> Result<Content, Crossing> {
        let mut content = Content::default();
        let mut waiting = results.to_vec();
        while let Some(id) = waiting.pop() {
            let node = self.program.recurrence.node(id);
            let earlier = self.bound[id.0] && self.first[id.0] < part;
            if earlier && !self.is_made_late(id, part, late) {
                if node.dims.len() > 1 {
                    return Err(Crossing { node: id, part });
                }
                content.imports.insert(id);
            } else if content.nodes.insert(id) {
                if let Op::Final(state) = node.op {
                    content.lasts.insert(state);
                }
                waiting.extend(node.op.operands());
            }
        }
        Ok(content)
    }

    /// Whether a later part takes the operands of a value rather than the value: a matrix that is made
    /// of vectors, a vector that is made of scalars, functions whose argument a proof needs or that keep
    /// few digits, and with `all` every pointwise function of which nothing is to be proved.
    fn is_made_late(&self, id: NodeId, part: usize, all: bool) -> bool {
        let node = self.program.recurrence.node(id);
        let pointwise =
            matches!(node.op, Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::Outer(..));
        let rearranged = matches!(node.op, Op::Reshape(..) | Op::Concat(..) | Op::Slice(..));
        if self.placed.contains(&id) && node.dims.len() < 2 {
            return false;
        }
        let is_small = |o: &NodeId| {
            let earlier = self.bound[o.0] && self.first[o.0] < part;
            !earlier || self.program.recurrence.node(*o).dims.is_empty()
        };
        let late = all && pointwise && self.program.ranges[id.0] == Interval::ALL;
        match node.dims.len() {
            0 | 1 if late => true,
            0 => self.is_exponential(id),
            1 => self.is_exponential(id) || (pointwise && node.op.operands().iter().all(is_small)),
            _ => pointwise || rearranged,
        }
    }

    /// Whether a value is a gate or a phase as a function of its logarithm or its angle.
    fn is_exponential(&self, id: NodeId) -> bool {
        match self.program.recurrence.node(id).op {
            Op::Unary(Unary::Exp | Unary::Sigmoid | Unary::Cos | Unary::Sin, _) => true,
            Op::Binary(Binary::Mul, a, b) => self.is_exponential(a) || self.is_exponential(b),
            _ => false,
        }
    }
}
