//! Which products run by warpgroups, and in what order they overlap with everything else.
//!
//! In: statements in an order that respects their data.  Out: the same with products by warpgroups, their
//! operands laid out as these want them, epilogues of their own, and waits as late as the data allows.

use super::order::depends;
use sluice_ir::kernel::{
    Arg, Body, Kernel, Mma, Place, Start, Stmt, Swizzle, Sync, Tile, TileId, Unit, View,
};
use std::collections::{BTreeSet, VecDeque};

/// Rows of a product by a warpgroup in shared memory, and 16-bit columns of a swizzled panel.
const WIDTH: usize = 64;
/// The widest product.
const WIDEST: usize = 256;
/// Bytes of a panel's row, and of the block in which rows are permuted.
const PITCH: usize = 128;
const GROUP: usize = 1024;

/// The most scans that a product runs beside.
const MOST_SCANS: usize = 3;

/// The most registers a thread of states: products and their operands need the rest.
const MOST_CARRIED: usize = 96;

/// Chooses the unit of each product and lays out its operands; none if a product into columns cannot run
/// by warpgroups, or the states leave no room for it.
pub(super) fn products(kernel: &mut Kernel, body: &[Stmt]) -> Option<Vec<Stmt>> {
    let fitting = |m: &Mma| m.unit == Unit::Tensor && fits(kernel, m);
    let into_columns = |m: &Mma| kernel.tile(m.dst.tile).shared().is_none();
    let columns = body.iter().filter_map(|s| match s {
        Stmt::Mma(m) if into_columns(m) => Some(fitting(m)),
        _ => None,
    });
    let carried: usize = kernel.carried.iter().map(|t| registers(kernel, *t)).sum();
    // Of one kind, and some.
    let all = columns.fold(None, |all, fits| Some(all.unwrap_or(true) && fits));
    if all != Some(true) || carried > MOST_CARRIED {
        return None;
    }
    let mut operands: Vec<TileId> = Vec::new();
    let mut out = Vec::new();
    for stmt in body {
        match stmt {
            Stmt::Mma(m) if fitting(m) => {
                operands.push(m.a.view.tile);
                let mut m = Mma { unit: Unit::Warpgroup, ..m.clone() };
                if !into_columns(&m) {
                    operands.push(m.b.view.tile);
                    out.push(Stmt::Mma(m));
                    continue;
                }
                let (dst, then) = (m.dst, m.then.take());
                out.push(Stmt::Mma(m));
                out.extend(then.map(|then| epilogue(dst, then)));
            }
            other => out.push(other.clone()),
        }
    }
    for tile in operands {
        swizzle(&mut kernel.tiles[tile.0]);
    }
    Some(out)
}

/// What a product ends with, as a statement on its destination.
fn epilogue(dst: View, then: Body) -> Stmt {
    let sum = Arg { view: dst, transposed: false };
    let args = [sum].into_iter().chain(then.args).collect();
    Stmt::Map { dst, body: Body { expr: then.expr, args } }
}

fn fits(kernel: &Kernel, m: &Mma) -> bool {
    let [blocks, rows, cols] = kernel.shape(m.dst);
    let [_, a_rows, a_cols] = kernel.shape(m.a.view);
    let inner = if m.a.transposed { a_rows } else { a_cols };
    let operand = |view: View| {
        let tile = kernel.tile(view.tile);
        tile.shared().is_some_and(|s| {
            let whole = s.padded_rows == tile.rows && s.padded_cols == tile.cols;
            whole
                && tile.dtype.bytes() == 2
                && tile.rows.is_multiple_of(8)
                && tile.cols.is_multiple_of(WIDTH)
        })
    };
    let whole = blocks == 1 && inner.is_multiple_of(16) && operand(m.a.view);
    if kernel.tile(m.dst.tile).shared().is_some() {
        let square = rows.is_multiple_of(WIDTH) && cols.is_multiple_of(WIDTH) && cols <= WIDEST;
        whole && square && operand(m.b.view) && m.start == Start::Zero
    } else {
        whole && cols.is_multiple_of(WIDTH) && rows.is_multiple_of(8) && rows <= WIDEST
    }
}

pub(super) fn swizzle(tile: &mut Tile) {
    let bytes = tile.dtype.bytes();
    if let Place::Shared(s) = &mut tile.place {
        (s.pitch, s.swizzle) = (PITCH, Swizzle::Xor128);
        s.stage_bytes = s.bytes(bytes).next_multiple_of(GROUP);
    }
}

/// Puts a proxy fence before each barrier behind which a product by warpgroups reads what the role has written
/// before it.
pub(super) fn fenced(kernel: &Kernel, body: Vec<Stmt>) -> Vec<Stmt> {
    let shared = |t: &TileId| kernel.tile(*t).shared().is_some();
    let reads = |s: &Stmt| match s {
        Stmt::Mma(m) | Stmt::Begin(m) if m.unit == Unit::Warpgroup => {
            [m.a.view.tile, m.b.view.tile].into_iter().filter(shared).collect()
        }
        _ => vec![],
    };
    let mut out = Vec::with_capacity(body.len());
    for (i, stmt) in body.iter().enumerate() {
        let read: Vec<TileId> = body[i..].iter().flat_map(reads).collect();
        let mut written = body[..i].iter().flat_map(Stmt::writes);
        if *stmt == Stmt::Sync(Sync::Role) && written.any(|t| read.contains(&t)) {
            out.push(Stmt::Sync(Sync::ProxyFence));
        }
        out.push(stmt.clone());
    }
    out
}

/// Starts the product in shared memory first of all and ends it where its value is needed, if all that it
/// needs are `loaded` tiles and its sums are the only ones that wait in registers.
pub(super) fn begun(kernel: &Kernel, mut body: Vec<Stmt>, loaded: &BTreeSet<TileId>) -> Vec<Stmt> {
    let products = body.iter().filter_map(|stmt| match stmt {
        Stmt::Mma(m) if m.unit == Unit::Warpgroup => Some(m),
        _ => None,
    });
    let [m] = products.collect::<Vec<_>>()[..] else { return body };
    let there = [m.a.view.tile, m.b.view.tile].iter().all(|t| loaded.contains(t));
    if there && kernel.shape(m.dst)[1] == WIDTH {
        let (begin, end) = (Stmt::Begin(m.clone()), Stmt::Mma(m.clone()));
        let from = body.iter().position(|s| *s == end).expect("it was found in the body");
        body.remove(from);
        let rest = &body[from..];
        let needed = rest.iter().position(|s| depends(&end, s) || matches!(s, Stmt::Sync(_)));
        let end_at = from + needed.unwrap_or(rest.len());
        body.insert(end_at, end);
        // Scans are dealt to the warps; the assembler completes what runs where there are many to choose from.
        let scan = |s: &&Stmt| matches!(s, Stmt::Run { .. } | Stmt::Reduce { .. });
        let many = body[..end_at].iter().filter(scan).count() > MOST_SCANS;
        let last = body[..end_at].iter().rposition(|s| scan(&s)).filter(|_| many);
        body.insert(last.map_or(0, |last| last + 1), begin);
    }
    body
}

/// Whether a statement is a product that runs on after it.
pub(super) fn runs_on(kernel: &Kernel, stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Mma(m) if m.unit == Unit::Warpgroup
        && kernel.tile(m.dst.tile).shared().is_none())
}

/// Orders statements so that products start as early as they can and are waited for as late as the
/// `most` registers of a thread allow.
///
/// Greedy: a product whose operands are there comes first; then what a product waits for, and what else
/// touches no running product; then, behind a wait, what touches the oldest. What would take more registers than there are waits, too, until
/// products have left theirs. All products are complete at the end.
pub(super) fn overlapped(kernel: &Kernel, body: &[Stmt], most: usize) -> Vec<Stmt> {
    let before: Vec<Vec<usize>> = (0..body.len())
        .map(|j| (0..j).filter(|i| depends(&body[*i], &body[j])).collect())
        .collect();
    let mut placed = vec![false; body.len()];
    let mut running: VecDeque<usize> = VecDeque::new();
    let mut out = Vec::new();
    // The latest running product that a statement must wait for, counted from the oldest. A product may go
    // on adding to what runs.
    let needs = |stmt: &Stmt, running: &VecDeque<usize>| {
        let touches = |t: &TileId| match stmt {
            Stmt::Mma(m) if m.start == Start::Dst && runs_on(kernel, stmt) => m.b.view.tile == *t,
            _ => stmt.reads().contains(t) || stmt.writes().contains(t),
        };
        running.iter().rposition(|i| body[*i].writes().iter().any(touches))
    };
    while placed.contains(&false) {
        let ready: Vec<usize> = (0..body.len())
            .filter(|i| !placed[*i] && before[*i].iter().all(|j| placed[*j]))
            .collect();
        let free = |i: &usize| needs(&body[*i], &running).is_none();
        let can_follow = |i: usize, first: &[usize]| {
            free(&i) && before[i].iter().all(|j| placed[*j] || first.contains(j))
        };
        let unit = |i: usize| taken_up(kernel, body, i, &can_follow);
        let held = |i: &usize| live_registers(kernel, body, &placed, &running, &unit(*i));
        let room = |i: &usize| free(i) && held(i) <= most;
        let product = |i: usize| runs_on(kernel, &body[i]);
        // Whether a product waits for nothing else.
        let starts = |i: &usize| {
            let unit = unit(*i);
            let there = |j: &usize| placed[*j] || unit.contains(j);
            let ready = |j: usize| before[j].contains(i) && before[j].iter().all(there);
            (0..body.len()).any(|j| product(j) && !placed[j] && ready(j))
        };
        let next = ready.iter().find(|i| product(**i) && room(i));
        let next = next.or_else(|| ready.iter().find(|i| room(i) && starts(i)));
        let next = next.or_else(|| ready.iter().find(|i| room(i)));
        let Some(next) = next.copied().or_else(|| {
            // Nothing runs that could leave registers: what takes the fewest.
            let few = || ready.iter().copied().min_by_key(held);
            running.is_empty().then(few).flatten()
        }) else {
            let first = ready.iter().map(|i| needs(&body[*i], &running).unwrap_or(0)).min();
            running.drain(..=first.unwrap_or(0));
            out.push(Stmt::Sync(Sync::Products { pending: running.len() }));
            continue;
        };
        let unit = unit(next);
        if runs_on(kernel, &body[next]) {
            running.push_back(next);
        }
        for i in unit {
            out.push(body[i].clone());
            placed[i] = true;
        }
    }
    if !running.is_empty() {
        out.push(Stmt::Sync(Sync::Products { pending: 0 }));
    }
    late(kernel, &out)
}

/// Statement `next` and those that take up its value element by element and are its only readers: it is
/// never there as a whole.
fn taken_up(
    kernel: &Kernel,
    body: &[Stmt],
    next: usize,
    can_follow: &dyn Fn(usize, &[usize]) -> bool,
) -> Vec<usize> {
    let mut all = vec![next];
    loop {
        let last = &body[all[all.len() - 1]];
        let [made] = last.writes()[..] else { return all };
        let whole = |s: &Stmt| !matches!(s, Stmt::Map { .. } | Stmt::Copy { .. });
        let mut readers = (0..body.len()).filter(|i| body[*i].reads().contains(&made));
        let (Some(reader), None) = (readers.next(), readers.next()) else { return all };
        let ready = can_follow(reader, &all);
        let columns = kernel.tile(made).shared().is_none();
        if whole(last) || whole(&body[reader]) || !columns || !ready || all.contains(&reader) {
            return all;
        }
        all.push(reader);
    }
}

/// Registers a thread that column tiles take once `next` is placed, too: those that are there and will be
/// read, operands and sums of running products, and carried tiles.
fn live_registers(
    kernel: &Kernel,
    body: &[Stmt],
    placed: &[bool],
    running: &VecDeque<usize>,
    next: &[usize],
) -> usize {
    let done = |i: usize| placed[i] || next.contains(&i);
    // What a sum starts from is where the sum is.
    let touched = |i: usize| match &body[i] {
        Stmt::Mma(m) => vec![m.dst.tile, m.b.view.tile],
        other => other.writes(),
    };
    let written = (0..body.len()).filter(|i| done(*i)).flat_map(|i| body[i].writes());
    let there: BTreeSet<TileId> = written.chain(kernel.carried.iter().copied()).collect();
    let read = (0..body.len()).filter(|i| !done(*i)).flat_map(|i| body[i].reads());
    let starting = next.iter().copied().filter(|i| runs_on(kernel, &body[*i]));
    let runs = running.iter().copied().chain(starting);
    let wanted = read.chain(runs.flat_map(touched)).chain(kernel.carried.iter().copied());
    let wanted: BTreeSet<TileId> = wanted.collect();
    let in_columns = |t: &&TileId| kernel.tile(**t).shared().is_none();
    there.intersection(&wanted).filter(in_columns).map(|t| registers(kernel, *t)).sum()
}

/// Registers a thread of a column tile: a warp has 16 columns of every row.
fn registers(kernel: &Kernel, tile: TileId) -> usize {
    let Tile { rows, cols, dtype, .. } = kernel.tile(tile);
    rows * cols.min(&16) * dtype.bytes() / 4 / 32
}

/// Moves what makes a value in registers down to its first reader, so that registers hold it for a short
/// time; what a tile is made of itself stays where it fills the wait for a product, and so does the last
/// reader of other registers.
fn late(kernel: &Kernel, body: &[Stmt]) -> Vec<Stmt> {
    let mut out: Vec<Stmt> = Vec::new();
    for stmt in body.iter().rev() {
        let in_columns = |t: &&TileId| kernel.tile(**t).shared().is_none();
        let (made, read) = (stmt.writes(), stmt.reads());
        let to = out.iter().position(|later| depends(stmt, later)).unwrap_or(0);
        let held = |t: &TileId| {
            kernel.carried.contains(t) || out[to..].iter().any(|later| later.reads().contains(t))
        };
        let sinks = !runs_on(kernel, stmt)
            && made.iter().any(|t| in_columns(&t))
            && !read.iter().any(|t| made.contains(t))
            && read.iter().filter(in_columns).all(held);
        out.insert(if sinks { to } else { 0 }, stmt.clone());
    }
    out
}
