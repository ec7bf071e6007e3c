//! When a recurrence is legal.
//!
//! - Dimensions have unique names and, where the program fixes them, a size of at least 1.
//! - Inputs, states and outputs have unique names; there is at least one output.
//! - Every shape names at most two dimensions, all different; a state names one or two.
//! - A declared range holds at least one number.
//! - A node uses nodes before it, and its dimensions are those of [`result_dims`].
//! - Every state has one update, with the state's dimensions in the state's order.

use super::{DimId, InputId, NodeId, Op, Recurrence, StateId};
use std::collections::BTreeSet;

/// Checks the invariants; the message says which one is broken, and where.
pub fn check(recurrence: &Recurrence) -> Result<(), String> {
    check_declarations(recurrence)?;
    for (i, node) in recurrence.nodes.iter().enumerate() {
        if let Some(late) = node.op.operands().into_iter().find(|o| o.0 >= i) {
            return Err(format!("node %{i} uses %{}, which is not before it", late.0));
        }
        check_references(recurrence, &node.op).map_err(|e| format!("node %{i}: {e}"))?;
        let dims = result_dims(recurrence, &node.op).map_err(|e| format!("node %{i}: {e}"))?;
        if dims != node.dims {
            let (is, must) = (recurrence.shape_text(&node.dims), recurrence.shape_text(&dims));
            return Err(format!("node %{i} has dimensions {is}, its operands give {must}"));
        }
    }
    check_results(recurrence)
}

fn check_declarations(recurrence: &Recurrence) -> Result<(), String> {
    let Recurrence { dims, inputs, states, outputs, .. } = recurrence;
    let mut names = BTreeSet::new();
    if let Some(twice) = dims.iter().find(|d| !names.insert(&d.name)) {
        return Err(format!("dimension `{}` is declared twice", twice.name));
    }
    if let Some(empty) = dims.iter().find(|d| d.size == Some(0)) {
        return Err(format!("dimension `{}` has size 0", empty.name));
    }
    let mut names = BTreeSet::new();
    let declared = inputs.iter().map(|i| &i.name).chain(states.iter().map(|s| &s.name));
    if let Some(twice) = declared.chain(outputs.iter().map(|o| &o.name)).find(|n| !names.insert(*n))
    {
        return Err(format!("`{twice}` is declared twice"));
    }
    for input in inputs {
        check_shape(recurrence, &input.dims).map_err(|e| format!("input `{}`: {e}", input.name))?;
        let range = input.range;
        if range.lo.is_nan() || range.hi.is_nan() || range.lo > range.hi {
            return Err(format!("input `{}` has the empty range {range}", input.name));
        }
    }
    for state in states {
        check_shape(recurrence, &state.dims).map_err(|e| format!("state `{}`: {e}", state.name))?;
        if state.dims.is_empty() {
            return Err(format!("state `{}` has no dimension", state.name));
        }
    }
    Ok(())
}

fn check_shape(recurrence: &Recurrence, dims: &[DimId]) -> Result<(), String> {
    if let Some(bad) = dims.iter().find(|d| d.0 >= recurrence.dims.len()) {
        return Err(format!("there is no dimension {}", bad.0));
    }
    check_rank(recurrence, dims)
}

/// At most two dimensions, all different.
fn check_rank(recurrence: &Recurrence, dims: &[DimId]) -> Result<(), String> {
    let shape = || recurrence.shape_text(dims);
    if dims.len() > 2 {
        return Err(format!("{} has more than two dimensions", shape()));
    }
    if dims.len() == 2 && dims[0] == dims[1] {
        return Err(format!("{} has one dimension twice", shape()));
    }
    Ok(())
}

/// Every index that an operation names must exist.
fn check_references(recurrence: &Recurrence, op: &Op) -> Result<(), String> {
    let exists = match *op {
        Op::Input(InputId(i)) => i < recurrence.inputs.len(),
        Op::State(StateId(i)) => i < recurrence.states.len(),
        Op::Extent(DimId(i)) | Op::Reduce(_, _, DimId(i)) | Op::Dot(_, _, DimId(i)) => {
            i < recurrence.dims.len()
        }
        Op::Const(_) | Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::Outer(..) => true,
    };
    if exists { Ok(()) } else { Err(format!("{op:?} names something that does not exist")) }
}

fn check_results(recurrence: &Recurrence) -> Result<(), String> {
    let Recurrence { states, outputs, nodes, updates, .. } = recurrence;
    if updates.len() != states.len() {
        return Err(format!("{} updates for {} states", updates.len(), states.len()));
    }
    let results = updates.iter().copied().chain(outputs.iter().map(|o| o.node));
    if let Some(missing) = results.into_iter().find(|n| n.0 >= nodes.len()) {
        return Err(format!("a result is node %{}, which does not exist", missing.0));
    }
    for (state, update) in states.iter().zip(updates) {
        let (is, must) = (&recurrence.node(*update).dims, &state.dims);
        if is != must {
            let (is, must) = (recurrence.shape_text(is), recurrence.shape_text(must));
            return Err(format!("state `{}` is {must}, its update {is}", state.name));
        }
    }
    if outputs.is_empty() {
        return Err("there is no output".to_owned());
    }
    Ok(())
}

/// Dimensions of an operation's value, or why its operands do not fit.
///
/// The operands' own dimensions must be in place; the message names dimensions as the user does.
pub fn result_dims(recurrence: &Recurrence, op: &Op) -> Result<Vec<DimId>, String> {
    let dims = |id: NodeId| recurrence.node(id).dims.as_slice();
    match *op {
        Op::Input(id) => Ok(recurrence.inputs[id.0].dims.clone()),
        Op::State(id) => Ok(recurrence.states[id.0].dims.clone()),
        Op::Const(_) | Op::Extent(_) => Ok(vec![]),
        Op::Unary(_, a) => Ok(dims(a).to_vec()),
        Op::Binary(_, a, b) => broadcast(recurrence, &[dims(a), dims(b)]),
        Op::Select(c, a, b) => broadcast(recurrence, &[dims(c), dims(a), dims(b)]),
        Op::Reduce(_, a, d) => without(recurrence, dims(a), d),
        Op::Dot(a, b, d) => {
            let mut rest = without(recurrence, dims(a), d)?;
            rest.extend(without(recurrence, dims(b), d)?);
            check_rank(recurrence, &rest)?;
            Ok(rest)
        }
        Op::Outer(a, b) => outer(recurrence, dims(a), dims(b)),
    }
}

/// The first shape that holds the dimensions of all the others.
fn broadcast(recurrence: &Recurrence, shapes: &[&[DimId]]) -> Result<Vec<DimId>, String> {
    let holds_all = |wide: &&&[DimId]| shapes.iter().all(|s| s.iter().all(|d| wide.contains(d)));
    shapes.iter().find(holds_all).map(|s| s.to_vec()).ok_or_else(|| {
        let texts: Vec<String> = shapes.iter().map(|s| recurrence.shape_text(s)).collect();
        format!("no operand of {} has the dimensions of the others", texts.join(", "))
    })
}

fn without(recurrence: &Recurrence, dims: &[DimId], gone: DimId) -> Result<Vec<DimId>, String> {
    if !dims.contains(&gone) {
        let (shape, name) = (recurrence.shape_text(dims), &recurrence.dims[gone.0].name);
        return Err(format!("{shape} has no dimension `{name}`"));
    }
    Ok(dims.iter().copied().filter(|d| *d != gone).collect())
}

fn outer(recurrence: &Recurrence, a: &[DimId], b: &[DimId]) -> Result<Vec<DimId>, String> {
    match (a, b) {
        ([x], [y]) if x != y => Ok(vec![*x, *y]),
        _ => {
            let (a, b) = (recurrence.shape_text(a), recurrence.shape_text(b));
            Err(format!("{a} and {b} are not vectors of different dimensions"))
        }
    }
}
