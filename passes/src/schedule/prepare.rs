//! Cuts a draft in two: what needs no state becomes a kernel of its own, in which all chunks are
//! independent, and the scan after it loads what that kernel made.
//!
//! In: a draft whose statements could run one after another.  Out: a draft of the preparing kernel and one
//! of the scan. That pays where the preparation takes many exponentials, as with a decay a channel: the
//! grid then has a block for each chunk, and not one for each sequence and head.

use super::draft::{Draft, Shape};
use super::order::depends;
use super::recompute;
use super::roles::{Parts, parts};
use sluice_ir::kernel::{
    Arg, CopyMap, Kernel, Over, Param, ParamId, ParamKind, Place, Sharing, Stmt, Tile, TileId, View,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A draft with the token inputs that each of its chunks loads.
pub(super) struct Loading {
    pub(super) draft: Draft,
    pub(super) loads: Vec<(TileId, ParamId)>,
}

/// The kernel before a scan, and the scan.
pub(super) struct Halves {
    pub(super) before: Loading,
    pub(super) scan: Loading,
}

/// Cuts a draft; none if that does not pay, or if not all that is made can pass through memory.
///
/// What is made passes under names that begin with `prefix`; the scan loads it in `stages` instances.
pub(super) fn split(
    draft: &Draft,
    loads: &[(TileId, ParamId)],
    (shape, prefix): (&Shape, &str),
    stages: usize,
) -> Option<Halves> {
    let kernel = draft.unplaced(shape);
    let Parts { maker, keeper, .. } = parts(&kernel, draft.body.clone());
    let many_exponentials = maker.iter().any(|s| matches!(s, Stmt::Score { .. }));
    let made: BTreeSet<TileId> = maker.iter().flat_map(Stmt::writes).collect();
    // Outputs are the scan's to store.
    let has_outputs = maker.iter().any(|s| matches!(s, Stmt::Store { .. }));
    let kept_to_the_end = draft.finish.iter().flat_map(Stmt::reads).any(|t| made.contains(&t));
    let parts_differ =
        |tile: &TileId| loads.iter().any(|(dst, param)| dst == tile && draft.params[param.0].split);
    let in_parts = maker.iter().flat_map(Stmt::reads).any(|t| parts_differ(&t));
    if !many_exponentials || has_outputs || kept_to_the_end || in_parts {
        return None;
    }
    let read: BTreeSet<TileId> = keeper.iter().flat_map(Stmt::reads).collect();
    let handed: Vec<TileId> = made.intersection(&read).copied().collect();
    let token_rows = token_rows(&kernel, loads, &maker);
    let mut params = draft.params.clone();
    let (mut stores, mut all_loads) = (Vec::new(), loads.to_vec());
    for id in &handed {
        let tile = kernel.tile(*id);
        let rows = match token_rows.contains(id) {
            true => tile.rows / shape.chunk,
            false if tile.rows < shape.chunk => tile.rows,
            false => return None,
        };
        let out = passing(format!("{prefix}.{}", tile.name), tile, rows);
        let taken = Param { kind: ParamKind::TokenIn, ..out.clone() };
        params.extend([out, taken]);
        let (out, taken) = (ParamId(params.len() - 2), ParamId(params.len() - 1));
        stores.push(Stmt::Store { param: out, src: *id, col: 0 });
        all_loads.push((*id, taken));
    }
    let mut tiles = draft.tiles.clone();
    for tile in &handed {
        if let Place::Shared(place) = &mut tiles[tile.0].place {
            place.stages = stages;
        }
    }
    let whole = Draft { params, tiles, ..Draft::default() };
    let alone = |tiles: &[Tile]| -> Vec<Tile> { tiles.iter().map(one_instance).collect() };
    let loaded: BTreeSet<TileId> = loads.iter().map(|(tile, _)| *tile).collect();
    let maker: Vec<Stmt> = maker.into_iter().chain(stores).collect();
    let maker = put_straight(&kernel, &whole.params, recompute::spared(&kernel, maker));
    let before = Draft {
        tiles: alone(&whole.tiles),
        params: whole.params.clone(),
        setup: draft.setup.clone(),
        body: in_place(&kernel, maker, &loaded),
        ..Draft::default()
    };
    let scan = Draft {
        carried: draft.carried.clone(),
        setup: draft.setup.clone(),
        body: keeper,
        finish: draft.finish.clone(),
        ..whole
    };
    Some(Halves { before: needed(before, loads), scan: needed(scan, &all_loads) })
}

/// Maps whose values are only stored, as expressions that go straight to memory.
fn put_straight(kernel: &Kernel, params: &[Param], mut body: Vec<Stmt>) -> Vec<Stmt> {
    for at in 0..body.len() {
        let Stmt::Store { param, src, col: 0 } = body[at] else { continue };
        let writers = body.iter().filter(|s| s.writes().contains(&src)).count();
        let readers = body.iter().filter(|s| s.reads().contains(&src)).count();
        let makes = |s: &&Stmt| matches!(s, Stmt::Map { dst, .. } if dst.tile == src);
        let token_rows = kernel.tile(src).rows == kernel.chunk * params[param.0].rows;
        if let Some(Stmt::Map { dst, body: value }) = body.iter().find(makes)
            && (writers, readers) == (1, 1)
            && token_rows
        {
            body[at] = Stmt::Put { param, shape: kernel.shape(*dst), body: value.clone() };
        }
    }
    let read: BTreeSet<TileId> = body.iter().flat_map(Stmt::reads).collect();
    let unread = |s: &Stmt| matches!(s, Stmt::Map { dst, .. } if !read.contains(&dst.tile));
    body.retain(|s| !unread(s));
    body
}

/// A tile that nothing is loaded to ahead.
fn one_instance(tile: &Tile) -> Tile {
    let place = match tile.place {
        Place::Shared(place) => Place::Shared(sluice_ir::kernel::Shared { stages: 1, ..place }),
        Place::Columns => Place::Columns,
    };
    Tile { place, ..tile.clone() }
}

/// The parameter through which a tile passes, with so many rows a token.
pub(super) fn passing(name: String, tile: &Tile, rows: usize) -> Param {
    let row_bytes = tile.cols * tile.dtype.bytes();
    Param {
        name,
        kind: ParamKind::TokenOut,
        dtype: tile.dtype,
        sharing: Sharing::Head,
        dims: vec![rows, tile.cols],
        rows,
        cols: tile.cols,
        split: false,
        transposed: false,
        align: (1 << row_bytes.trailing_zeros()).min(16),
    }
}

/// The tiles whose rows belong to the tokens of a chunk in order, as far as statements show it: those of
/// tokens that do not exist are then as good as 0.
fn token_rows(kernel: &Kernel, loads: &[(TileId, ParamId)], body: &[Stmt]) -> BTreeSet<TileId> {
    let mut found: BTreeSet<TileId> = loads.iter().map(|(tile, _)| *tile).collect();
    for stmt in body {
        let rows = |tile: TileId| kernel.tile(tile).rows;
        let source = match stmt {
            Stmt::Map { dst, body } | Stmt::Run { dst, body, .. } => {
                let same = |t: &TileId| rows(*t) == rows(dst.tile) && found.contains(t);
                body.args.iter().map(|a| a.view.tile).find(same)
            }
            Stmt::Inverse { src, .. } | Stmt::Reduce { src, over: Over::Cols, .. } => {
                Some(src.tile)
            }
            Stmt::Score { p, .. } => Some(p.tile),
            Stmt::Mma(m) if !m.a.transposed => Some(m.a.view.tile),
            Stmt::Copy { src, map: CopyMap::Whole | CopyMap::Cols { .. }, .. } => Some(src.tile),
            _ => None,
        };
        let follows = source.is_some_and(|tile| found.contains(&tile));
        found.extend(stmt.writes().into_iter().filter(|t| follows && rows(*t) >= kernel.chunk));
    }
    found
}

/// Statements that read a tile for the last time write over it if they can, so that more blocks of the grid
/// fit a multiprocessor.
fn in_place(kernel: &Kernel, body: Vec<Stmt>, loaded: &BTreeSet<TileId>) -> Vec<Stmt> {
    let mut body = eager_reads(body);
    for at in 0..body.len() {
        let (before, rest) = body.split_at(at);
        let made = |t: &TileId| before.iter().any(|s| s.writes().contains(t));
        let (first, later) = rest.split_first().expect("a statement at each place");
        let last =
            |t: &TileId| !later.iter().any(|s| s.reads().contains(t) || s.writes().contains(t));
        let Some((dst, sources)) = overwritable(kernel, first).filter(|(dst, _)| !made(dst)) else {
            continue;
        };
        let free = |t: &TileId| last(t) && (made(t) || loaded.contains(t));
        let Some(src) = sources.into_iter().find(free) else { continue };
        for stmt in &mut body[at..] {
            stmt.tiles_mut().into_iter().filter(|t| **t == dst).for_each(|t| *t = src);
        }
    }
    body
}

/// Sums as early and maps as late as the data allows: then few tiles are read after a map.
fn eager_reads(body: Vec<Stmt>) -> Vec<Stmt> {
    let mut early: Vec<Stmt> = Vec::with_capacity(body.len());
    for stmt in body {
        let needed = early.iter().rposition(|s| depends(s, &stmt)).map_or(0, |i| i + 1);
        let sums = matches!(stmt, Stmt::Reduce { .. });
        early.insert(if sums { needed } else { early.len() }, stmt);
    }
    let mut late: VecDeque<Stmt> = VecDeque::new();
    for stmt in early.into_iter().rev() {
        let reader = late.iter().position(|s| depends(&stmt, s)).unwrap_or(late.len());
        let maps = matches!(stmt, Stmt::Map { .. });
        late.insert(if maps { reader } else { 0 }, stmt);
    }
    late.into()
}

/// The destination of a statement, and the tiles of its kind that it reads element by element only.
fn overwritable(kernel: &Kernel, stmt: &Stmt) -> Option<(TileId, Vec<TileId>)> {
    let (dst, sources): (View, Vec<Arg>) = match stmt {
        Stmt::Map { dst, body } | Stmt::Run { dst, body, .. } => (*dst, body.args.clone()),
        _ => return None,
    };
    let alike = |arg: &Arg| {
        let (to, from) = (kernel.tile(dst.tile), kernel.tile(arg.view.tile));
        let elementwise = kernel.shape(arg.view) == kernel.shape(dst) && !arg.transposed;
        elementwise && to.dtype == from.dtype && from.shared().is_some()
    };
    let of = |tile: TileId| sources.iter().filter(move |a| a.view.tile == tile);
    let tiles = sources.iter().map(|a| a.view.tile);
    Some((dst.tile, tiles.filter(|t| *t != dst.tile && of(*t).all(alike)).collect()))
}

/// The draft without tiles, parameters, loads and setup that its body and finish do not need.
fn needed(mut draft: Draft, loads: &[(TileId, ParamId)]) -> Loading {
    let touched = |stmts: &[Stmt]| -> BTreeSet<TileId> {
        stmts.iter().flat_map(|s| s.reads().into_iter().chain(s.writes())).collect()
    };
    let mut tiles = touched(&draft.body);
    tiles.extend(touched(&draft.finish));
    for stmt in draft.setup.iter().rev() {
        if stmt.writes().iter().any(|t| tiles.contains(t)) {
            tiles.extend(stmt.reads());
        }
    }
    let read: BTreeSet<TileId> = draft.body.iter().flat_map(Stmt::reads).collect();
    let mut loads: Vec<_> = loads.iter().filter(|(tile, _)| read.contains(tile)).copied().collect();
    draft.setup.retain(|s| s.writes().iter().any(|t| tiles.contains(t)) || *s == Stmt::Commit);
    if !draft.setup.iter().any(|s| matches!(s, Stmt::Load { .. })) {
        draft.setup.retain(|s| *s != Stmt::Commit);
    }
    let mut params: BTreeSet<ParamId> = loads.iter().map(|(_, param)| *param).collect();
    params.extend(statements(&mut draft).filter_map(|s| param_of(s).copied()));
    let tiles: BTreeMap<TileId, TileId> = renumbered(&tiles, TileId);
    let params: BTreeMap<ParamId, ParamId> = renumbered(&params, ParamId);
    for stmt in statements(&mut draft) {
        stmt.tiles_mut().into_iter().for_each(|t| *t = tiles[t]);
        param_of(stmt).into_iter().for_each(|p| *p = params[p]);
    }
    draft.carried.iter_mut().for_each(|t| *t = tiles[t]);
    loads.iter_mut().for_each(|(tile, param)| (*tile, *param) = (tiles[tile], params[param]));
    draft.tiles = tiles.keys().map(|t| draft.tiles[t.0].clone()).collect();
    draft.params = params.keys().map(|p| draft.params[p.0].clone()).collect();
    Loading { draft, loads }
}

fn statements(draft: &mut Draft) -> impl Iterator<Item = &mut Stmt> {
    draft.setup.iter_mut().chain(&mut draft.body).chain(&mut draft.finish)
}

fn param_of(stmt: &mut Stmt) -> Option<&mut ParamId> {
    match stmt {
        Stmt::Load { param, .. } | Stmt::Store { param, .. } | Stmt::Put { param, .. } => {
            Some(param)
        }
        _ => None,
    }
}

/// Each of the old numbers with its place among them.
fn renumbered<T: Copy + Ord>(old: &BTreeSet<T>, new: impl Fn(usize) -> T) -> BTreeMap<T, T> {
    old.iter().enumerate().map(|(i, id)| (*id, new(i))).collect()
}
