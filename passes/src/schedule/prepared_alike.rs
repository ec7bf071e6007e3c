//! Which kernels before scans make the same arrays.
//!
//! In: a scan that is prepared, and others on the same tokens.  Out: the scan with the names of others for what
//! they make by the same statements from the same arrays, so that one kernel can prepare them all.

use super::draft::finished;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    Body, Checked, CopyMap, Expr, Kernel, Param, ParamId, ParamKind, Stmt, TileId, View,
};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A value that some kernel computes: the statement, with values in the places of tiles, and what it makes.
#[derive(PartialEq)]
struct Value {
    stmt: Stmt,
    /// The array that it loads.
    param: Option<Param>,
    size: [usize; 2],
    dtype: Dtype,
    /// What was in the tile before, of which the statement may leave something.
    before: Option<usize>,
}

/// The kernel with the arrays that prepare it called as in the first of `others` that makes them, too.
///
/// # Errors
///
/// That of a kernel which is not legal, should other names make it so.
pub fn prepared_alike(kernel: Checked, others: &[&Checked]) -> Result<Checked, Diagnostic> {
    let Some(prepare) = kernel.prepare.as_deref() else { return Ok(kernel) };
    let mut values = Vec::new();
    let own = made(prepare, &mut values);
    let mut names = BTreeMap::new();
    for other in others.iter().filter_map(|other| other.prepare.as_deref()) {
        if (other.chunk, other.order) != (prepare.chunk, prepare.order) {
            continue;
        }
        let made = made(other, &mut values);
        for (name, value) in &own {
            let called = made.iter().find(|(_, v)| v == value).map(|(called, _)| called);
            if let Some(called) = called.filter(|called| names.values().all(|n| n != *called)) {
                names.entry(name.clone()).or_insert_with(|| called.clone());
            }
        }
    }
    let prepare = renamed(prepare, ParamKind::TokenOut, &names)?;
    let scan = renamed(&kernel, ParamKind::TokenIn, &names)?;
    finished(Kernel { prepare: Some(Box::new(prepare)), ..Kernel::clone(&scan) })
}

/// The kernel with other names for some of its parameters.
fn renamed(
    kernel: &Kernel,
    kind: ParamKind,
    names: &BTreeMap<String, String>,
) -> Result<Checked, Diagnostic> {
    let mut kernel = Kernel { prepare: None, ..kernel.clone() };
    for param in kernel.params.iter_mut().filter(|param| param.kind == kind) {
        if let Some(name) = names.get(&param.name) {
            param.name.clone_from(name);
        }
    }
    finished(kernel)
}

/// The arrays that a kernel of one role makes of each chunk, with the values and shapes that go there.
fn made(kernel: &Kernel, values: &mut Vec<Value>) -> Vec<(String, (usize, Param))> {
    let mut held: BTreeMap<TileId, usize> = BTreeMap::new();
    let mut made = Vec::new();
    let stmts = kernel.roles.iter().flat_map(|role| role.setup.iter().chain(&role.body));
    for stmt in stmts {
        if let Stmt::Store { param, src, .. } = stmt {
            let to = kernel.param(*param);
            let shape = Param { name: String::new(), ..to.clone() };
            made.extend(held.get(src).map(|value| (to.name.clone(), (*value, shape))));
            continue;
        }
        if let Stmt::Put { param, shape: [blocks, rows, cols], body } = stmt {
            let to = kernel.param(*param);
            let shape = Param { name: String::new(), ..to.clone() };
            // The value is that of a map.
            let mut body = body.clone();
            body.args.iter_mut().for_each(|arg| arg.view.tile = place_of(arg.view.tile, &held));
            let dst = View { tile: TileId(0), blocks: *blocks };
            let stmt = Stmt::Map { dst, body: ordered(&body) };
            let size = [blocks * rows, *cols];
            let value = Value { stmt, param: None, size, dtype: to.dtype, before: None };
            made.push((to.name.clone(), (number(values, value), shape)));
            continue;
        }
        let Some(&dst) = stmt.writes().first() else { continue };
        let value = value(kernel, stmt, dst, &held);
        held.insert(dst, number(values, value));
    }
    made
}

/// The number of a value among those that are known.
fn number(values: &mut Vec<Value>, value: Value) -> usize {
    values.iter().position(|v| *v == value).unwrap_or_else(|| {
        values.push(value);
        values.len() - 1
    })
}

/// What stands for the value that a tile holds.
fn place_of(tile: TileId, held: &BTreeMap<TileId, usize>) -> TileId {
    TileId(held.get(&tile).map_or(usize::MAX, |v| v + 1))
}

/// What a statement makes of the values that are held in tiles.
fn value(kernel: &Kernel, stmt: &Stmt, dst: TileId, held: &BTreeMap<TileId, usize>) -> Value {
    let tile = kernel.tile(dst);
    let whole =
        !matches!(stmt, Stmt::Load { .. } | Stmt::Nest(_) | Stmt::Walk(_) | Stmt::Copy { .. })
            || matches!(stmt, Stmt::Copy { map: CopyMap::Whole | CopyMap::Transpose, .. });
    let param = match stmt {
        Stmt::Load { param, .. } => Some(kernel.param(*param).clone()),
        _ => None,
    };
    let scratch: Vec<TileId> = stmt.writes();
    let mut stmt = stmt.clone();
    let reads = stmt.reads();
    for tile in stmt.tiles_mut() {
        // What is written has no value yet, unless it is read as well.
        let read = reads.contains(tile) || !scratch.contains(tile);
        *tile = if read { place_of(*tile, held) } else { TileId(0) };
    }
    match &mut stmt {
        Stmt::Load { param, .. } => *param = ParamId(0),
        Stmt::Map { body, .. } => *body = ordered(body),
        _ => {}
    }
    let before = if whole { None } else { held.get(&dst).copied() };
    Value { stmt, param, size: [tile.rows, tile.cols], dtype: tile.dtype, before }
}

/// An expression whose arguments are counted in the order in which they stand in it.
fn ordered(body: &Body) -> Body {
    let order = RefCell::new(Vec::new());
    let expr = body.expr.with_args(&|arg| {
        let mut order = order.borrow_mut();
        let place = order.iter().position(|known| *known == arg);
        Expr::Arg(place.unwrap_or_else(|| {
            order.push(arg);
            order.len() - 1
        }))
    });
    Body { expr, args: order.into_inner().into_iter().map(|arg| body.args[arg]).collect() }
}
