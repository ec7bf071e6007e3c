//! How states are read by everything but their own updates.

use super::Program;
use super::ring::Degree;
use sluice_ir::step::{NodeId, Op, StateId};
use std::collections::BTreeSet;

/// The smallest values through which some results depend on states: products of matrices with vectors,
/// and vectors and matrices themselves where something needs all of their elements. Matrices of states
/// that depend on these, `later`, are not theirs.
pub(super) fn readings(
    program: &Program,
    (states, later): (&BTreeSet<StateId>, &BTreeSet<StateId>),
    degrees: &[Degree],
    results: impl IntoIterator<Item = NodeId>,
) -> BTreeSet<NodeId> {
    let depends = |id: NodeId| !program.reads[id.0].states.is_disjoint(states);
    let rank = |id: NodeId| program.recurrence.node(id).dims.len();
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut waiting: Vec<NodeId> = results.into_iter().filter(|id| depends(*id)).collect();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let op = program.recurrence.node(id).op;
        let operands = op.operands().into_iter().filter(|o| depends(*o));
        let operands: Vec<NodeId> = operands.collect();
        let own = |o: &NodeId| program.reads[o.0].states.is_disjoint(later);
        let reads_matrix = rank(id) < 2 && operands.iter().any(|o| rank(*o) > 1 && own(o));
        let reads_vector = matches!((op, &operands[..]),
            (Op::Dot(..), [only]) if degrees[only.0] == Degree::Affine && rank(id) < rank(*only));
        if reads_matrix || reads_vector || matches!(op, Op::State(_)) {
            found.insert(id);
        }
        if !reads_vector {
            let deeper = |o: &NodeId| !reads_matrix || rank(*o) < 2 || !own(o);
            waiting.extend(operands.iter().copied().filter(deeper));
        }
    }
    found
}

/// All nodes that some nodes are computed from, and those themselves.
pub(super) fn closure(
    program: &Program,
    results: impl IntoIterator<Item = NodeId>,
) -> BTreeSet<NodeId> {
    let mut all = BTreeSet::new();
    let mut waiting: Vec<NodeId> = results.into_iter().collect();
    while let Some(id) = waiting.pop() {
        if all.insert(id) {
            waiting.extend(program.recurrence.node(id).op.operands());
        }
    }
    all
}
