//! How nodes depend on states: not at all, as affine functions over some ring, or in another way.
//!
//! Besides sums of products there are two rings whose addition is a maximum (or minimum) or the logarithm
//! of a sum of exponentials, and whose multiplication is addition.

use sluice_ir::diagnostic::{Code, Diagnostic};
pub(crate) use sluice_ir::pointwise::Ring;
use sluice_ir::step::{Binary, NodeId, Op, Recurrence, Reduction, StateId, Unary};
use std::collections::BTreeSet;

/// How a node depends on a group of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Degree {
    /// Not at all.
    Free,
    /// As an affine function.
    Affine,
    /// In another way.
    Beyond,
}

/// For every node how it depends on a group of states before the step.
pub(crate) fn degrees(
    recurrence: &Recurrence,
    group: &BTreeSet<StateId>,
    ring: Ring,
) -> Vec<Degree> {
    let is_one = |id: &NodeId| is_ones(recurrence, *id);
    let mut degrees: Vec<Degree> = Vec::with_capacity(recurrence.nodes.len());
    for node in &recurrence.nodes {
        let of = |id: NodeId| degrees[id.0];
        let operands = node.op.operands();
        let highest = operands.iter().map(|o| of(*o)).max().unwrap_or(Degree::Free);
        degrees.push(match node.op {
            Op::State(state) if group.contains(&state) => Degree::Affine,
            Op::Binary(Binary::Add, ..) if ring == Ring::LogSum && highest == Degree::Beyond => {
                log_sum_exp(recurrence, &node.op).map_or(Degree::Beyond, of)
            }
            _ if highest == Degree::Affine && !keeps_affine(&node.op, ring, &of, &is_one) => {
                Degree::Beyond
            }
            _ => highest,
        });
    }
    degrees
}

/// Whether an operation on affine functions and free values is affine.
fn keeps_affine(
    op: &Op,
    ring: Ring,
    of: &dyn Fn(NodeId) -> Degree,
    is_one: &dyn Fn(&NodeId) -> bool,
) -> bool {
    let free = |id: &NodeId| of(*id) == Degree::Free;
    let product = |a: &NodeId, b: &NodeId| free(a) || free(b);
    match (op, ring) {
        (Op::Select(condition, ..), _) => free(condition),
        (Op::Reshape(..) | Op::Concat(..) | Op::Slice(..) | Op::Push(..), _) => true,
        (Op::Unary(Unary::Neg, _) | Op::Binary(Binary::Add, ..), Ring::Sum) => true,
        (Op::Reduce(Reduction::Sum, ..), Ring::Sum) => true,
        (Op::Binary(Binary::Mul, a, b) | Op::Outer(a, b) | Op::Dot(a, b, _), Ring::Sum) => {
            product(a, b)
        }
        (Op::Binary(Binary::Div, _, divisor), Ring::Sum) => free(divisor),
        (Op::Binary(Binary::Add, a, b), _) => product(a, b),
        // A value repeated along dimensions that it lacks.
        (Op::Binary(Binary::Mul, a, b) | Op::Outer(a, b), _) => is_one(a) || is_one(b),
        (Op::Binary(Binary::Max, ..) | Op::Reduce(Reduction::Max, ..), Ring::Max) => true,
        (Op::Binary(Binary::Min, ..), Ring::Min) => true,
        (Op::Binary(Binary::LogAddExp, ..), Ring::LogSum) => true,
        _ => false,
    }
}

/// Whether a value is made of numbers and sizes such that every element is 1: `0 * index + 1`, and
/// outer products of such.
fn is_ones(recurrence: &Recurrence, id: NodeId) -> bool {
    let is = |id: NodeId, x: f64| recurrence.node(id).op == Op::Const(x);
    let zeros = |id: NodeId| match recurrence.node(id).op {
        Op::Binary(Binary::Mul, a, b) => is(a, 0.0) || is(b, 0.0),
        _ => is(id, 0.0),
    };
    match recurrence.node(id).op {
        Op::Const(x) => x == 1.0,
        Op::Binary(Binary::Add, a, b) => (zeros(a) && is(b, 1.0)) || (zeros(b) && is(a, 1.0)),
        Op::Outer(a, b) => is_ones(recurrence, a) && is_ones(recurrence, b),
        _ => false,
    }
}

/// The operand `x` of `m + log(sum(exp(x - m)))` with `m = max(x)`, the sum over a dimension in the
/// ring of exponentials.
fn log_sum_exp(recurrence: &Recurrence, op: &Op) -> Option<NodeId> {
    let at = |id: NodeId| recurrence.node(id).op;
    let Op::Binary(Binary::Add, largest, rest) = *op else { return None };
    let Op::Unary(Unary::Log, total) = at(rest) else { return None };
    let Op::Reduce(Reduction::Sum, weights, _) = at(total) else { return None };
    let Op::Unary(Unary::Exp, shifted) = at(weights) else { return None };
    let Op::Binary(Binary::Add, x, minus) = at(shifted) else { return None };
    let is_largest = matches!(at(largest), Op::Reduce(Reduction::Max, y, _) if y == x);
    (is_largest && at(minus) == Op::Unary(Unary::Neg, largest)).then_some(x)
}

/// The refusal of an update that is no affine function of the states of its group.
pub(super) fn not_affine(
    recurrence: &Recurrence,
    state: StateId,
    degrees: &[Degree],
) -> Diagnostic {
    let name = &recurrence.states[state.0].name;
    let mut blamed = recurrence.updates[state.0];
    // Down to the node whose operands are all affine.
    while let Some(deeper) = recurrence
        .node(blamed)
        .op
        .operands()
        .into_iter()
        .find(|operand| degrees[operand.0] == Degree::Beyond)
    {
        blamed = deeper;
    }
    let message = format!("the new value of `{name}` is not an affine function of `{name}`");
    Diagnostic::new(Code::NotAffine, message)
        .at(
            recurrence.node(blamed).span.clone(),
            format!("this depends on `{name}` in another way"),
        )
        .with_help(
            "a state may be scaled by factors that do not depend on it, read with `dot`, and \
             written with `outer`; with the word `sequential` before `recurrence` its update may \
             be any function, and the tokens are computed one by one",
        )
}
