//! Reads of sums of matrices of states that are not updated together: the sums of their reads.

use super::Program;
use super::groups::{Group, groups_of};
use super::rewrite::Rewriter;
use sluice_ir::step::{Binary, DimId, NodeId, Op, Recurrence, StateId, Unary};

/// The recurrence with each read of a sum of matrices of several groups as a sum of reads, so that no
/// group needs the matrices of another one; none if there is no such read.
pub(super) fn distribute(program: &Program, groups: &[Group]) -> Option<Recurrence> {
    let old = program.recurrence;
    let mut split = Splitter { program, groups, made: Rewriter::new(old), places: vec![] };
    let mut changed = false;
    for node in &old.nodes {
        split.made.stand_for(node);
        let matrix = |id: NodeId| old.node(id).dims.len() > 1 && split.parts(id).is_some();
        let (operands, dim) = match node.op {
            Op::Dot(a, b, dim) if matrix(a) => (Some((a, b)), dim),
            Op::Dot(a, b, dim) if matrix(b) && old.node(a).dims.len() == 1 => (Some((b, a)), dim),
            _ => (None, DimId(0)),
        };
        let place = match operands {
            Some((matrix, reader)) if old.node(reader).dims.len() == 1 => {
                changed = true;
                let reader = split.places[reader.0];
                split.read(matrix, reader, dim)
            }
            _ => split.made.copy(|o| split.places[o.0]),
        };
        split.places.push(place);
    }
    let Splitter { mut made, places, .. } = split;
    for (state, update) in old.updates.iter().enumerate() {
        made.update(StateId(state), places[update.0]);
    }
    let outputs: Vec<NodeId> = old.outputs.iter().map(|o| places[o.node.0]).collect();
    changed.then(|| made.finish(&outputs))
}

struct Splitter<'a> {
    program: &'a Program<'a>,
    groups: &'a [Group],
    made: Rewriter,
    places: Vec<NodeId>,
}

/// How a matrix of several groups is put together.
enum Parts {
    Sum(NodeId, NodeId),
    Negative(NodeId),
    /// A matrix and a factor of it.
    Scaled(NodeId, NodeId),
}

impl Splitter<'_> {
    fn groups_of(&self, id: NodeId) -> Vec<usize> {
        groups_of(self.groups, &self.program.reads[id.0].states)
    }

    /// The parts of a matrix that is no state's new value and holds a sum over groups.
    fn parts(&self, id: NodeId) -> Option<Parts> {
        let recurrence = self.program.recurrence;
        if recurrence.updates.contains(&id) || self.groups_of(id).len() < 2 {
            return None;
        }
        let rank = |id: NodeId| recurrence.node(id).dims.len();
        match recurrence.node(id).op {
            Op::Binary(Binary::Add, a, b)
                if rank(a) == rank(b) && self.groups_of(a) != self.groups_of(b) =>
            {
                Some(Parts::Sum(a, b))
            }
            Op::Unary(Unary::Neg, a) => self.parts(a).map(|_| Parts::Negative(a)),
            Op::Binary(Binary::Mul, a, b) => {
                let (matrix, factor) = if rank(a) > rank(b) { (a, b) } else { (b, a) };
                let vector = rank(factor) < 2 && self.groups_of(factor).is_empty();
                vector.then(|| self.parts(matrix).map(|_| Parts::Scaled(matrix, factor)))?
            }
            _ => None,
        }
    }

    /// The contraction of an old matrix with a new vector.
    fn read(&mut self, matrix: NodeId, reader: NodeId, dim: DimId) -> NodeId {
        match self.parts(matrix) {
            Some(Parts::Sum(a, b)) => {
                let (a, b) = (self.read(a, reader, dim), self.read(b, reader, dim));
                self.made.add(a, b)
            }
            Some(Parts::Negative(a)) => {
                let read = self.read(a, reader, dim);
                self.made.unary(Unary::Neg, read)
            }
            Some(Parts::Scaled(matrix, factor)) => {
                let factor = self.places[factor.0];
                if self.made.dims(factor).contains(&dim) {
                    let reader = self.made.mul(reader, factor);
                    return self.read(matrix, reader, dim);
                }
                let read = self.read(matrix, reader, dim);
                self.made.mul(read, factor)
            }
            None => {
                let matrix = self.places[matrix.0];
                self.made.node(Op::Dot(reader, matrix, dim))
            }
        }
    }
}
