//! When a recurrence is legal.
//!
//! - Dimensions have unique names and, where the program fixes them, a size of at least 1; a formula
//!   names dimensions before its own.
//! - Inputs, states and outputs have unique names; there is at least one output or state.
//! - Every shape names at most three dimensions, all different.
//! - A declared range holds at least one number; a table has as many elements as its dimensions.
//! - A state that starts from an input starts from a per-model one of its dimensions.
//! - A node uses nodes before it, and its dimensions are those of [`result_dims`].
//! - A function of a matrix depends on no input and no state.
//! - Every state has one update, with the state's dimensions in the state's order.
//! - There are [`sweeps`] over the sequence that compute everything.

use super::{
    DimId, Formula, Init, Input, InputId, MAX_RANK, NodeId, Op, Rate, Recurrence, State, StateId,
    TableId, sweeps,
};
use std::collections::BTreeSet;

/// Checks the invariants; the message says which one is broken, and where.
pub fn check(recurrence: &Recurrence) -> Result<(), String> {
    check_declarations(recurrence)?;
    let mut constant: Vec<bool> = Vec::new();
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
        let varies = matches!(node.op, Op::Input(_) | Op::State(_) | Op::Final(_));
        constant.push(!varies && node.op.operands().iter().all(|o| constant[o.0]));
        if matches!(node.op, Op::Matrix(..)) && !constant[i] {
            return Err(format!("node %{i}: a function of a matrix that is not constant"));
        }
    }
    check_results(recurrence)?;
    sweeps(recurrence).map(drop).map_err(|tangle| tangle.reason)
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
    for (i, dim) in dims.iter().enumerate() {
        if dim.formula.as_ref().is_some_and(|formula| !names_only_before(formula, i)) {
            return Err(format!("the size of `{}` names a dimension after it", dim.name));
        }
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
        check_state(recurrence, state).map_err(|e| format!("state `{}`: {e}", state.name))?;
    }
    for table in &recurrence.tables {
        check_shape(recurrence, &table.dims)?;
        let sizes: Option<Vec<_>> = table.dims.iter().map(|d| recurrence.dims[d.0].size).collect();
        if sizes.is_some_and(|sizes| sizes.iter().product::<usize>() != table.values.len()) {
            return Err(format!("a table of {} elements does not fit", table.values.len()));
        }
    }
    Ok(())
}

fn names_only_before(formula: &Formula, dim: usize) -> bool {
    match formula {
        Formula::Number(_) => true,
        Formula::Dim(other) => other.0 < dim,
        Formula::Add(a, b) | Formula::Sub(a, b) | Formula::Mul(a, b) | Formula::Div(a, b) => {
            names_only_before(a, dim) && names_only_before(b, dim)
        }
    }
}

fn check_state(recurrence: &Recurrence, state: &State) -> Result<(), String> {
    check_shape(recurrence, &state.dims)?;
    if state.order.grid().is_some_and(|dim| dim.0 >= recurrence.dims.len()) {
        return Err("its order names a dimension that does not exist".to_owned());
    }
    let input = match state.init {
        Init::Value(_) => return Ok(()),
        Init::Identity if is_square(recurrence, &state.dims) => return Ok(()),
        Init::Identity => return Err("it starts from an identity, but is not square".to_owned()),
        Init::Input(InputId(input)) => input,
    };
    let fits = |input: &Input| input.rate == Rate::Model && input.dims == state.dims;
    match recurrence.inputs.get(input) {
        Some(input) if fits(input) => Ok(()),
        _ => Err("it does not start from a per-model input of its dimensions".to_owned()),
    }
}

/// Whether a value is a matrix whose dimensions have one size, whatever that is.
fn is_square(recurrence: &Recurrence, dims: &[DimId]) -> bool {
    let [a, b] = *dims else { return false };
    let sized_as = |a: DimId, b: DimId| recurrence.dims[a.0].formula == Some(Formula::Dim(b));
    let size = |d: DimId| recurrence.dims[d.0].size;
    sized_as(a, b) || sized_as(b, a) || (size(a).is_some() && size(a) == size(b))
}

fn check_shape(recurrence: &Recurrence, dims: &[DimId]) -> Result<(), String> {
    if let Some(bad) = dims.iter().find(|d| d.0 >= recurrence.dims.len()) {
        return Err(format!("there is no dimension {}", bad.0));
    }
    check_rank(recurrence, dims)
}

/// At most three dimensions, all different.
fn check_rank(recurrence: &Recurrence, dims: &[DimId]) -> Result<(), String> {
    let shape = || recurrence.shape_text(dims);
    if dims.len() > MAX_RANK {
        return Err(format!("{} has more than three dimensions", shape()));
    }
    if dims.iter().enumerate().any(|(i, d)| dims[..i].contains(d)) {
        return Err(format!("{} has one dimension twice", shape()));
    }
    Ok(())
}

/// Every index that an operation names must exist.
fn check_references(recurrence: &Recurrence, op: &Op) -> Result<(), String> {
    let dim = |d: DimId| d.0 < recurrence.dims.len();
    let exists = match *op {
        Op::Input(InputId(i)) => i < recurrence.inputs.len(),
        Op::State(StateId(i)) | Op::Final(StateId(i)) => i < recurrence.states.len(),
        Op::Table(TableId(i)) => i < recurrence.tables.len(),
        Op::Extent(d)
        | Op::Index(d)
        | Op::Reduce(_, _, d)
        | Op::Dot(_, _, d)
        | Op::TopK(_, d, _) => dim(d),
        Op::Reshape(_, dims) => dims.into_iter().flatten().all(dim),
        Op::Concat(_, _, [x, y], d) => dim(x) && dim(y) && dim(d),
        Op::Slice(_, from, to, _) => dim(from) && dim(to),
        Op::Const(_)
        | Op::Unary(..)
        | Op::Binary(..)
        | Op::Select(..)
        | Op::Outer(..)
        | Op::Push(..)
        | Op::Matrix(..) => true,
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
    if outputs.is_empty() && states.is_empty() {
        return Err("there is neither an output nor a state".to_owned());
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
        Op::State(id) | Op::Final(id) => Ok(recurrence.states[id.0].dims.clone()),
        Op::Const(_) | Op::Extent(_) => Ok(vec![]),
        Op::Index(d) => Ok(vec![d]),
        Op::Table(id) => Ok(recurrence.tables[id.0].dims.clone()),
        Op::Unary(_, a) => Ok(dims(a).to_vec()),
        Op::Binary(_, a, b) => broadcast(recurrence, &[dims(a), dims(b)]),
        Op::Select(c, a, b) => broadcast(recurrence, &[dims(c), dims(a), dims(b)]),
        Op::Reduce(_, a, d) => without(recurrence, dims(a), d),
        Op::Dot(a, b, d) => {
            let mut rest = without(recurrence, dims(a), d)?;
            let right = without(recurrence, dims(b), d)?;
            rest.extend(right.into_iter().filter(|d| !dims(a).contains(d)));
            check_rank(recurrence, &rest)?;
            Ok(rest)
        }
        Op::Outer(a, b) => outer(recurrence, dims(a), dims(b)),
        Op::Reshape(_, to) => {
            let to: Vec<DimId> = to.into_iter().flatten().collect();
            check_rank(recurrence, &to)?;
            Ok(to)
        }
        Op::Concat(a, b, [x, y], to) => {
            let (left, right) =
                (replaced(recurrence, dims(a), x, to)?, replaced(recurrence, dims(b), y, to)?);
            if left == right {
                return Ok(left);
            }
            let (a, b) = (recurrence.shape_text(dims(a)), recurrence.shape_text(dims(b)));
            Err(format!("{a} and {b} differ in more than the dimension that is joined"))
        }
        Op::Slice(a, from, to, _) => replaced(recurrence, dims(a), from, to),
        Op::Push(window, x) => match dims(window) {
            [_, entry @ ..] if entry == dims(x) => Ok(dims(window).to_vec()),
            _ => {
                let (window, x) =
                    (recurrence.shape_text(dims(window)), recurrence.shape_text(dims(x)));
                Err(format!("{x} is not an entry of the window {window}"))
            }
        },
        Op::TopK(a, d, _) => without(recurrence, dims(a), d).map(|_| dims(a).to_vec()),
        Op::Matrix(_, a) if dims(a).len() == 2 => Ok(dims(a).to_vec()),
        Op::Matrix(_, a) => Err(format!("{} is not a matrix", recurrence.shape_text(dims(a)))),
    }
}

/// The shape with one dimension in the place of another.
fn replaced(
    recurrence: &Recurrence,
    dims: &[DimId],
    from: DimId,
    to: DimId,
) -> Result<Vec<DimId>, String> {
    without(recurrence, dims, from)?;
    let new: Vec<DimId> = dims.iter().map(|d| if *d == from { to } else { *d }).collect();
    check_rank(recurrence, &new)?;
    Ok(new)
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
    let common = a.iter().any(|d| b.contains(d));
    if common || a.is_empty() || b.is_empty() || a.len() + b.len() > MAX_RANK {
        let (a, b) = (recurrence.shape_text(a), recurrence.shape_text(b));
        return Err(format!("{a} and {b} are not vectors of different dimensions"));
    }
    Ok([a, b].concat())
}
