//! Computes values of elements again where they are read, so that they need no tile.
//!
//! In: statements, each of which writes other tiles than those before it.  Out: the same without maps that
//! only few other maps read element by element.

use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Arg, Body, Expr, Kernel, Stmt, TileId, View};

/// The most readers of a value that is computed again by each.
const READERS: usize = 2;

/// The body without the tiles that can be spared.
pub(super) fn spared(kernel: &Kernel, mut body: Vec<Stmt>) -> Vec<Stmt> {
    let mut at = 0;
    while at < body.len() {
        match spare(kernel, &body, at) {
            Some((tile, value)) => {
                body.remove(at);
                for stmt in &mut body[at..] {
                    if let Stmt::Map { body, .. } = stmt {
                        insert(body, tile, &value);
                    }
                }
            }
            None => at += 1,
        }
    }
    body
}

/// The tile that a statement writes and its value, if the readers can compute that.
fn spare(kernel: &Kernel, body: &[Stmt], at: usize) -> Option<(TileId, Body)> {
    let Stmt::Map { dst, body: value } = &body[at] else { return None };
    let tile = kernel.tile(dst.tile);
    let exact = tile.dtype == Dtype::F32 && tile.shared().is_some();
    let written = |tile: &TileId| body.iter().filter(|s| s.writes().contains(tile)).count();
    let readers: Vec<&Stmt> = body.iter().filter(|s| s.reads().contains(&dst.tile)).collect();
    let there = value.args.iter().all(|a| a.view.tile != dst.tile && written(&a.view.tile) <= 1);
    let alone = written(&dst.tile) == 1 && readers.len() <= READERS;
    let same = |stmt: &&Stmt| reads_elements(kernel, stmt, *dst);
    (exact && there && alone && readers.iter().all(same)).then(|| (dst.tile, value.clone()))
}

/// Whether a map reads of a tile the element that it writes, and that with the same blocks.
fn reads_elements(kernel: &Kernel, stmt: &Stmt, of: View) -> bool {
    let Stmt::Map { dst, body } = stmt else { return false };
    let mut args = body.args.iter().filter(|a| a.view.tile == of.tile);
    args.all(|a| !a.transposed && a.view == of && kernel.shape(*dst) == kernel.shape(of))
}

/// Puts the value of a tile's elements in the place of the argument.
fn insert(body: &mut Body, tile: TileId, value: &Body) {
    if !body.args.iter().any(|a| a.view.tile == tile) {
        return;
    }
    let before = std::mem::take(&mut body.args);
    let others = before.iter().filter(|a| a.view.tile != tile);
    for arg in others.chain(&value.args) {
        if !body.args.contains(arg) {
            body.args.push(*arg);
        }
    }
    let after = &body.args;
    let place = |arg: &Arg| Expr::Arg(after.iter().position(|a| a == arg).expect("it is kept"));
    let inner = value.expr.with_args(&|i| place(&value.args[i]));
    body.expr = body.expr.with_args(&|i| match before[i].view.tile == tile {
        true => inner.clone(),
        false => place(&before[i]),
    });
}
