//! Which recurrences the step schedule has no place for: it keeps all matrices in one layout of columns.

use sluice_ir::step::{DimId, InputId, Node, NodeId, Op, Recurrence, Reduction, StateId};

/// How the step schedule computes an operation.
pub(super) enum Way {
    /// Loaded from an input.
    Input(InputId),
    /// A state before the step.
    State(StateId),
    /// A product, along a dimension.
    Product([NodeId; 2], DimId),
    /// A sum or maximum of a vector.
    Reduction(Reduction, NodeId),
    /// Element by element, of elements that stand where the result's stand.
    Pointwise,
}

/// The way of an operation; none if elements of the result stand elsewhere than in the operand, or belong
/// to no token.
pub(super) fn way(op: &Op) -> Option<Way> {
    match *op {
        Op::Input(input) => Some(Way::Input(input)),
        Op::State(state) => Some(Way::State(state)),
        Op::Dot(a, b, dim) => Some(Way::Product([a, b], dim)),
        Op::Reduce(reduction, a, _) => Some(Way::Reduction(reduction, a)),
        Op::Const(_)
        | Op::Extent(_)
        | Op::Unary(..)
        | Op::Binary(..)
        | Op::Select(..)
        | Op::Outer(..) => Some(Way::Pointwise),
        Op::Final(_)
        | Op::Index(_)
        | Op::Table(_)
        | Op::Reshape(..)
        | Op::Concat(..)
        | Op::Slice(..)
        | Op::Push(..)
        | Op::TopK(..)
        | Op::Matrix(..) => None,
    }
}

/// A node that does not fit the layout of columns, and what it is.
pub(super) fn misfit(recurrence: &Recurrence) -> Option<(&Node, &'static str)> {
    let Recurrence { states, nodes, .. } = recurrence;
    let matrices: Vec<[DimId; 2]> =
        states.iter().filter_map(|s| <[DimId; 2]>::try_from(&*s.dims).ok()).collect();
    let turned = |[row, _]: &[DimId; 2]| matrices.iter().any(|[_, col]| col == row);
    let layered = !matrices.is_empty() && !matrices.iter().any(turned);
    let rank = |id: NodeId| recurrence.node(id).dims.len();
    let becomes_another = |state: &StateId| {
        let mut updates = recurrence.updates.iter().enumerate();
        updates.any(|(i, u)| i != state.0 && recurrence.node(*u).op == Op::State(*state))
    };
    let fault = |node: &Node| match (&*node.dims, &node.op) {
        _ if !layered => Some("states that are no matrices of one layout"),
        ([a, b], _) if !matrices.iter().any(|m| *m == [*a, *b] || *m == [*b, *a]) => {
            Some("a matrix of another shape than the states")
        }
        ([_, _, _, ..], _) => Some("a value of three dimensions"),
        (_, Op::Dot(a, b, _)) if rank(*a) > 1 && rank(*b) > 1 => Some("a product of two matrices"),
        (_, Op::Reduce(_, a, _)) if rank(*a) > 1 => Some("a reduction of a matrix"),
        (_, Op::State(state)) if becomes_another(state) => Some("a state that becomes another one"),
        (_, op) if way(op).is_none() => Some("elements that move to other places"),
        _ => None,
    };
    let live = super::live(recurrence);
    let nodes = nodes.iter().zip(live).filter(|(_, live)| *live);
    nodes.map(|(node, _)| node).find_map(|node| fault(node).map(|reason| (node, reason)))
}
