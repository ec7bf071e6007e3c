//! Which kernels are legal. A kernel that breaks one of these is a bug of a pass.
//!
//! 1. Indices of tiles, params and mbarriers are in range; views divide their tile's rows.
//! 2. Loads come from inputs, stores go to outputs, and rows and columns fit.
//! 3. Operand shapes fit each statement; arguments of pointwise expressions divide the destination.
//!    Loop nests and walks stay within their tiles, and no point touches what another one writes.
//! 4. Placement: products on tensor cores have 16-bit operands in padded shared memory or columns,
//!    running sums, scores, mixes, inverses, nests, walks and tables stay in shared memory, carried tiles
//!    are in columns.
//! 5. Shared memory: rows fit their pitch, instances do not overlap, tiles end within the kernel's
//!    bytes.
//! 6. Order: every read of shared memory follows its write through a barrier, nothing is
//!    overwritten that other warps may still read, loads are waited for (see [`Hazards`]). Checked
//!    over setup, as many iterations as there are stages plus two, and finish, so that an
//!    iteration is checked against the next.
//! 7. Every tile is written before it is read, and a tile that shares memory with another is written
//!    again before it is read.
//! 8. A kernel with several roles orders them by mbarriers: every wait has an arrival, and every tile
//!    is handed over (see [`handover`]); products of warpgroups are waited for.
//! 9. The order of tokens is that of a grid with columns, if it is that of a grid.
//! 10. Nothing passes from chunk to chunk in a kernel that prepares another: it has one role, which
//!     carries nothing, finishes nothing, and writes nothing in its body that it has set up. Its outputs
//!     are token inputs of the other, whose chunks and order of tokens are the same.

use super::{
    Body, CopyMap, Expr, Hazards, Kernel, Mma, Operand, Over, Param, ParamKind, Place, Role,
    Schedule, Start, Stmt, Swizzle, Sync, Tile, TileId, Unit, View, handover,
};
use crate::dtype::Dtype;
use std::collections::BTreeSet;
use std::ops::Deref;

/// A kernel that passed the checker; only [`check`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked(Kernel);

impl Deref for Checked {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        &self.0
    }
}

/// Checks the rules at the head of this file; the error names the first one broken and where.
pub fn check(kernel: Kernel) -> Result<Checked, String> {
    ensure(kernel.order.grid() != Some(0), || "a grid without columns".to_owned())?;
    kernel.tiles.iter().try_for_each(|t| memory(&kernel, t))?;
    for id in &kernel.carried {
        ensure(kernel.tile(*id).shared().is_none(), || {
            format!("carried {} is not in columns", kernel.tile(*id).name)
        })?;
    }
    for role in &kernel.roles {
        for stmt in role.setup.iter().chain(&role.body).chain(&role.finish) {
            statement(&kernel, stmt).map_err(|e| format!("`{}`: {e}", kernel.stmt(stmt)))?;
        }
        order(&kernel, role)?;
    }
    waits(&kernel)?;
    handover::check(&kernel)?;
    if kernel.schedule == Schedule::Prepare {
        chunks_are_independent(&kernel)?;
    }
    kernel.prepare.as_deref().map_or(Ok(()), |before| prepared(&kernel, before))?;
    Ok(Checked(kernel))
}

fn chunks_are_independent(kernel: &Kernel) -> Result<(), String> {
    let [role] = &kernel.roles[..] else { return Err("several roles prepare".to_owned()) };
    let set_up: Vec<TileId> = role.setup.iter().flat_map(Stmt::writes).collect();
    let again = role.body.iter().flat_map(Stmt::writes).find(|t| set_up.contains(t));
    ensure(again.is_none(), || "what is set up is written for a chunk".to_owned())?;
    let ahead = |s: &Stmt| matches!(s, Stmt::Load { ahead, .. } if *ahead > 0);
    let loads_ahead = role.setup.iter().chain(&role.body).any(ahead);
    let kept = !kernel.carried.is_empty() || !role.finish.is_empty() || loads_ahead;
    ensure(!kept, || "something passes from chunk to chunk".to_owned())
}

fn prepared(kernel: &Kernel, before: &Checked) -> Result<(), String> {
    let fits = before.schedule == Schedule::Prepare
        && (before.chunk, before.order) == (kernel.chunk, kernel.order);
    ensure(fits, || format!("{} prepares something else", before.name))?;
    let made = before.params.iter().filter(|p| p.kind == ParamKind::TokenOut);
    let taken = |made: &Param| {
        let same = |p: &Param| p.name == made.name && p.kind == ParamKind::TokenIn;
        kernel.params.iter().any(|p| same(p) && (p.dtype, &p.dims) == (made.dtype, &made.dims))
    };
    let fault = made.into_iter().find(|p| !taken(p));
    fault.map_or(Ok(()), |p| Err(format!("nobody takes {} that {} makes", p.name, before.name)))
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}

fn memory(kernel: &Kernel, tile: &Tile) -> Result<(), String> {
    let Place::Shared(s) = tile.place else { return Ok(()) };
    let name = &tile.name;
    ensure(s.stages >= 1 && s.offset % 16 == 0, || format!("tile {name} is misplaced"))?;
    ensure(s.padded_rows >= tile.rows && s.padded_cols >= tile.cols, || {
        format!("tile {name} is larger than its padding")
    })?;
    let fits = match s.swizzle {
        Swizzle::None => s.pitch >= s.padded_cols * tile.dtype.bytes(),
        // The phase of a row comes from its address.
        Swizzle::Xor128 => {
            s.pitch == 128 && [s.offset, s.stage_bytes].iter().all(|n| n.is_multiple_of(1024))
        }
    };
    ensure(fits, || format!("rows of tile {name} overlap"))?;
    let one = s.bytes(tile.dtype.bytes());
    ensure(s.stages == 1 || s.stage_bytes >= one, || format!("instances of tile {name} overlap"))?;
    let end = s.offset + (s.stages - 1) * s.stage_bytes + one;
    ensure(end <= kernel.shared_bytes, || format!("tile {name} ends at byte {end}"))
}

fn is_shared(kernel: &Kernel, view: View) -> Result<(), String> {
    let tile = kernel.tile(view.tile);
    ensure(tile.shared().is_some(), || format!("tile {} must be in shared memory", tile.name))
}

fn equal(what: &str, a: [usize; 3], b: [usize; 3]) -> Result<(), String> {
    ensure(a == b, || format!("{what}: {a:?} against {b:?}"))
}

fn statement(kernel: &Kernel, stmt: &Stmt) -> Result<(), String> {
    for tile in stmt.reads().into_iter().chain(stmt.writes()) {
        ensure(tile.0 < kernel.tiles.len(), || "a tile is missing".to_owned())?;
    }
    let shape = |v: &View| {
        let rows = kernel.tile(v.tile).rows;
        ensure(v.blocks > 0 && rows.is_multiple_of(v.blocks), || {
            format!("{rows} rows in {} blocks", v.blocks)
        })?;
        Ok::<_, String>(kernel.shape(*v))
    };
    match stmt {
        Stmt::Load { dst, param, col, .. } => transfer(kernel, (*dst, param.0, *col), true),
        Stmt::Store { param, src, col } => transfer(kernel, (*src, param.0, *col), false),
        Stmt::Put { param, shape, body } => {
            let param = kernel.params.get(param.0).ok_or("a param is missing")?;
            let [blocks, rows, cols] = *shape;
            let token_rows = (kernel.chunk * param.rows, param.cols) == (blocks * rows, cols);
            let plain = !param.split && !param.transposed && param.kind == ParamKind::TokenOut;
            ensure(token_rows && plain, || format!("{shape:?} put to param {}", param.name))?;
            body.args.iter().try_for_each(|arg| is_shared(kernel, arg.view))?;
            pointwise(kernel, *shape, body, 0)
        }
        Stmt::Commit | Stmt::WaitLoads { .. } | Stmt::Fill { .. } => Ok(()),
        Stmt::Sync(Sync::Arrive(b) | Sync::Wait(b) | Sync::Free { barrier: b, .. }) => {
            ensure(*b < kernel.mbarriers.len(), || "an mbarrier is missing".to_owned())
        }
        Stmt::Sync(Sync::Cta | Sync::Role | Sync::ProxyFence | Sync::Products { .. }) => Ok(()),
        Stmt::Map { dst, body } => pointwise(kernel, shape(dst)?, body, 0),
        Stmt::Mma(m) => product(kernel, m),
        Stmt::Begin(m) => {
            let apart = m.unit == Unit::Warpgroup && kernel.tile(m.dst.tile).shared().is_some();
            ensure(apart, || "only a warpgroup's product in shared memory runs apart".to_owned())?;
            product(kernel, m)
        }
        Stmt::Reduce { dst, src, over, .. } => {
            let ([b, r, c], [sb, sr, sc]) = (shape(dst)?, shape(src)?);
            let fits = match over {
                Over::Cols => [b, r, c] == [sb, sr, 1],
                Over::Rows => b == sb && c == sc && sr.is_multiple_of(r),
            };
            ensure(fits, || format!("[{sb}, {sr}, {sc}] reduced to [{b}, {r}, {c}]"))
        }
        Stmt::Run { dst, body, .. } => {
            is_shared(kernel, *dst)?;
            body.args.iter().try_for_each(|arg| is_shared(kernel, arg.view))?;
            pointwise(kernel, shape(dst)?, body, 0)
        }
        Stmt::Score { dst, p, a, to, from, mask, unit, operand } => {
            [dst, p, a, to, from].into_iter().try_for_each(|v| is_shared(kernel, *v))?;
            let ([b, rp, k], [_, ra, _], [_, n, _]) = (shape(p)?, shape(a)?, shape(to)?);
            equal("the scores", shape(dst)?, [b, rp, ra])?;
            equal("the running sums", shape(to)?, [b, n, k])?;
            equal("the running sums", shape(from)?, [b, n, k])?;
            let whole = rp.is_multiple_of(n) && ra.is_multiple_of(n);
            let (readers, writers) = (rp / n, ra / n);
            let blocks = n.is_multiple_of(16) && k.is_multiple_of(16);
            let single = (readers, writers) == (1, 1) && blocks && !mask.is_transposed();
            let fragments = readers.is_multiple_of(16) && writers.is_multiple_of(16) || single;
            let sixteen = operand.bytes() == 2
                && [p, a]
                    .into_iter()
                    .map(|v| kernel.tile(v.tile).dtype)
                    .all(|dtype| dtype == *operand || single && dtype == Dtype::F32);
            ensure(whole, || format!("{rp} and {ra} rows in {n} steps"))?;
            ensure(*unit == Unit::Scalar || (fragments && sixteen), || {
                "not made of fragments".to_owned()
            })
        }
        Stmt::Mix { dst, w, y, to, from, .. } => {
            [dst, w, y, to, from].into_iter().try_for_each(|v| is_shared(kernel, *v))?;
            let ([b, r, s], [_, ry, v]) = (shape(w)?, shape(y)?);
            equal("the mix", shape(dst)?, [b, r, v])?;
            let [_, n, _] = shape(to)?;
            ensure(s == ry, || format!("{s} weights for {ry} rows"))?;
            equal("the running sums", shape(to)?, [b, n, v])?;
            equal("the running sums", shape(from)?, [b, n, v])?;
            let whole = r.is_multiple_of(n) && s.is_multiple_of(n);
            ensure(whole, || format!("{r} and {s} rows in {n} steps"))
        }
        Stmt::Inverse { dst, src, diagonal, .. } => {
            let scratch = kernel.tile(*diagonal);
            let [matrices, size, _] = shape(src)?;
            let blocks = [matrices * size.next_multiple_of(16), 16];
            let fits = [scratch.rows, scratch.cols] == blocks && scratch.dtype.bytes() >= 4;
            ensure(fits, || format!("tile {} does not hold the diagonal blocks", scratch.name))?;
            is_shared(kernel, View { tile: *diagonal, blocks: 1 })?;
            is_shared(kernel, *dst)?;
            is_shared(kernel, *src)?;
            let [b, r, c] = shape(src)?;
            ensure(r == c, || format!("{r}x{c} has no inverse"))?;
            equal("the inverse", shape(dst)?, [b, r, c])
        }
        Stmt::Copy { dst, src, map } => {
            let in_columns = |v: &View| kernel.tile(v.tile).place == Place::Columns;
            let dynamic = matches!(map, CopyMap::PastTokens { .. });
            ensure(!dynamic || ![dst, src].into_iter().any(in_columns), || {
                "columns have no place for so many tokens".to_owned()
            })?;
            copy(shape(dst)?, shape(src)?, *map, kernel.chunk)
        }
        Stmt::Nest(nest) => {
            nest.fault(kernel).map_or(Ok(()), Err)?;
            let leaves = Leaves { args: nest.args.len(), loops: Some(nest.loops().len()) };
            arguments(&nest.expr, leaves)
        }
        Stmt::Walk(walk) => {
            walk.fault(kernel).map_or(Ok(()), Err)?;
            walk.expressions()
                .try_for_each(|(expr, args)| arguments(expr, Leaves { args, loops: Some(0) }))
        }
        Stmt::Table { dst, values } => {
            is_shared(kernel, View { tile: *dst, blocks: 1 })?;
            let tile = kernel.tile(*dst);
            let size = tile.rows * tile.cols;
            ensure(values.len() == size, || format!("{} numbers for {size}", values.len()))
        }
    }
}

fn transfer(
    kernel: &Kernel,
    (tile, param, col): (TileId, usize, usize),
    load: bool,
) -> Result<(), String> {
    let param = kernel.params.get(param).ok_or("a param is missing")?;
    let tile = kernel.tile(tile);
    let (reads, tokens) = match param.kind {
        ParamKind::TokenIn => (true, kernel.chunk),
        ParamKind::ModelIn | ParamKind::StateIn => (true, 1),
        ParamKind::TokenOut => (false, kernel.chunk),
        ParamKind::StateOut => (false, 1),
    };
    ensure(reads == load, || format!("param {} goes the other way", param.name))?;
    let fits = |tokens: usize| tile.stands_for.count(tokens * param.rows) == Some(tile.rows);
    // What passes from a preparing kernel to its scan may be one token's rows for the whole chunk.
    let passes = load || kernel.schedule == Schedule::Prepare;
    ensure(fits(tokens) || (passes && fits(1)), || {
        format!("{} rows for {} of the param", tile.rows, tokens * param.rows)
    })?;
    let width = if param.split { param.cols.div_ceil(kernel.parts) } else { param.cols };
    ensure(col + width <= tile.cols, || format!("columns {col}+{width} of {}", tile.cols))?;
    ensure(param.dims.iter().product::<usize>() == param.rows * param.cols, || {
        format!("dims of param {}", param.name)
    })
}

fn pointwise(kernel: &Kernel, dst: [usize; 3], body: &Body, before: usize) -> Result<(), String> {
    for arg in &body.args {
        let [b, mut r, mut c] = kernel.shape(arg.view);
        if arg.transposed {
            (r, c) = (c, r);
        }
        let fits = [b, r, c].iter().zip(dst).all(|(n, extent)| extent.is_multiple_of(*n));
        ensure(fits, || format!("argument [{b}, {r}, {c}] in {dst:?}"))?;
        let in_columns = kernel.tile(arg.view.tile).place == Place::Columns;
        ensure(!in_columns || c == dst[2], || format!("argument of {c} columns in {dst:?}"))?;
    }
    arguments(&body.expr, Leaves { args: body.args.len() + before, loops: None })
}

/// What an expression may read.
#[derive(Clone, Copy)]
struct Leaves {
    /// Arguments.
    args: usize,
    /// Loops around it; none: it is for an element of a view, which has a row and a column.
    loops: Option<usize>,
}

fn arguments(expr: &Expr, leaves: Leaves) -> Result<(), String> {
    let all = |inner: &[&Expr]| inner.iter().try_for_each(|x| arguments(x, leaves));
    match expr {
        Expr::Arg(i) => ensure(*i < leaves.args, || format!("argument {i} of {}", leaves.args)),
        Expr::Index(i) => {
            let loops = leaves.loops.unwrap_or(0);
            ensure(*i < loops, || format!("index of loop {i} of {loops}"))
        }
        Expr::Const(_) => Ok(()),
        Expr::Keep { value, .. } | Expr::Live { value, .. } => {
            let has_row = leaves.loops.is_none();
            ensure(has_row, || "a point of a nest has neither row nor column".to_owned())?;
            all(&[value])
        }
        Expr::Unary(_, a) => all(&[a]),
        Expr::Binary(_, a, b) => all(&[a, b]),
        Expr::Select(c, a, b) => all(&[c, a, b]),
    }
}

fn product(kernel: &Kernel, m: &Mma) -> Result<(), String> {
    let shape = |o: Operand| {
        let [b, r, c] = kernel.shape(o.view);
        if o.transposed { [b, c, r] } else { [b, r, c] }
    };
    let (dst, a, b) = (kernel.shape(m.dst), shape(m.a), shape(m.b));
    ensure(a[2] == b[1] && [a[1], b[2]] == dst[1..], || {
        format!("{a:?} times {b:?} is not {dst:?}")
    })?;
    ensure(a[0] == b[0] && a[0] == dst[0], || format!("blocks {}, {}, {}", a[0], b[0], dst[0]))?;
    if let Start::Tile(view) = m.start {
        equal("the start", kernel.shape(view), dst)?;
    }
    if let Some(body) = &m.then {
        pointwise(kernel, dst, body, 1)?;
    }
    if m.unit == Unit::Scalar {
        return Ok(());
    }
    let place = |v: View| kernel.tile(v.tile).shared().is_some();
    let (d, l, r) = (place(m.dst), place(m.a.view), place(m.b.view));
    ensure(l && d == r, || "operands are not where tensor cores take them".to_owned())?;
    for view in [m.a.view, m.b.view] {
        let tile = kernel.tile(view.tile);
        ensure(matches!(tile.dtype, Dtype::F16 | Dtype::Bf16), || {
            format!("operand {} is {}", tile.name, tile.dtype)
        })?;
        if let Some(s) = tile.shared() {
            let padded =
                [s.padded_rows, s.padded_cols, s.pitch].iter().all(|n| n.is_multiple_of(16));
            ensure(padded, || format!("operand {} is not padded to fragments", tile.name))?;
        }
    }
    if m.unit == Unit::Warpgroup { warpgroup(kernel, m) } else { Ok(()) }
}

/// Rows of a matrix that a warpgroup multiplies at a time, and columns of a swizzled panel of 16 bits.
const WARPGROUP_ROWS: usize = 64;

fn warpgroup(kernel: &Kernel, m: &Mma) -> Result<(), String> {
    let [blocks, rows, cols] = kernel.shape(m.dst);
    let [_, a_rows, a_cols] = kernel.shape(m.a.view);
    let inner = if m.a.transposed { a_rows } else { a_cols };
    let swizzled = |view: View| {
        let tile = kernel.tile(view.tile);
        tile.shared().is_some_and(|s| {
            s.swizzle == Swizzle::Xor128
                && s.padded_rows == tile.rows
                && s.padded_cols == tile.cols
                && tile.cols.is_multiple_of(WARPGROUP_ROWS)
        })
    };
    ensure(blocks == 1 && inner.is_multiple_of(16), || "not whole steps of 16".to_owned())?;
    let fits = if kernel.tile(m.dst.tile).shared().is_some() {
        let whole = [rows, cols].iter().all(|n| n.is_multiple_of(WARPGROUP_ROWS)) && cols <= 256;
        whole && swizzled(m.a.view) && swizzled(m.b.view) && m.start == Start::Zero
    } else {
        let whole = cols.is_multiple_of(WARPGROUP_ROWS) && rows.is_multiple_of(8) && rows <= 256;
        whole && swizzled(m.a.view) && m.then.is_none()
    };
    ensure(fits, || "operands are not where a warpgroup takes them".to_owned())
}

fn copy(dst: [usize; 3], src: [usize; 3], map: CopyMap, chunk: usize) -> Result<(), String> {
    let fits = match map {
        CopyMap::Whole => dst == src,
        CopyMap::Rows { dst_first, src_first, count } => {
            dst[0] == src[0]
                && dst[2] == src[2]
                && dst_first + count <= dst[1]
                && src_first + count <= src[1]
        }
        CopyMap::Cols { dst_first, src_first, count } => {
            dst[0] == src[0]
                && dst[1] == src[1]
                && dst_first + count <= dst[2]
                && src_first + count <= src[2]
        }
        CopyMap::OntoDiagonal { per } => {
            [dst[0] * per, dst[1], dst[2]] == [src[0], src[1] * per, src[2] * per]
        }
        CopyMap::FromDiagonal { per } => {
            [src[0] * per, src[1], src[2]] == [dst[0], dst[1] * per, dst[2] * per]
        }
        CopyMap::Transpose => [dst[0], dst[2], dst[1]] == src,
        CopyMap::PastTokens { per } => {
            (dst[0], dst[2]) == (1, src[2]) && src[0] == 1 && chunk * per + dst[1] <= src[1]
        }
    };
    ensure(fits, || format!("{src:?} copied to {dst:?}"))
}

/// Follows one role through setup, enough iterations for every instance, and finish.
fn order(kernel: &Kernel, role: &Role) -> Result<(), String> {
    let stages =
        kernel.tiles.iter().filter_map(|t| t.shared()).map(|s| s.stages).max().unwrap_or(1);
    let rounds = stages + 2;
    let mut hazards = Hazards::default();
    let mut known: BTreeSet<(TileId, usize)> = BTreeSet::new();
    let alone = kernel.roles.len() == 1;
    let setup = role.setup.iter().map(|s| (0, s));
    let body = (0..rounds).flat_map(|c| role.body.iter().map(move |s| (c, s)));
    let finish = role.finish.iter().map(|s| (rounds - 1, s));
    for (chunk, stmt) in setup.chain(body).chain(finish) {
        let at = |e: &str| format!("in chunk {chunk}, `{}`: {e}", kernel.stmt(stmt));
        if let Some(conflict) = hazards.conflict(kernel, stmt, chunk) {
            return Err(at(conflict));
        }
        hazards.apply(kernel, stmt, chunk);
        let instance =
            |t: TileId, c: usize| (t, kernel.tile(t).shared().map_or(0, |s| c % s.stages));
        let unknown = |t: &TileId| alone && !known.contains(&instance(*t, chunk));
        if let Some(tile) = stmt.reads().into_iter().find(unknown) {
            return Err(at(&format!("tile {} holds nothing yet", kernel.tile(tile).name)));
        }
        for tile in stmt.writes() {
            let ahead = if let Stmt::Load { ahead, .. } = stmt { *ahead } else { 0 };
            let written = instance(tile, chunk + ahead);
            known.retain(|other| *other == written || !overlap(kernel, *other, written));
            known.insert(written);
        }
    }
    Ok(())
}

/// Whether two tile instances share bytes of shared memory.
fn overlap(kernel: &Kernel, a: (TileId, usize), b: (TileId, usize)) -> bool {
    let bytes = |(tile, instance): (TileId, usize)| {
        kernel.tile(tile).shared().map(|s| {
            let start = s.offset + instance * s.stage_bytes;
            start..start + s.bytes(kernel.tile(tile).dtype.bytes())
        })
    };
    match (bytes(a), bytes(b)) {
        (Some(a), Some(b)) => a.start < b.end && b.start < a.end,
        _ => false,
    }
}

fn waits(kernel: &Kernel) -> Result<(), String> {
    let all = || kernel.roles.iter().flat_map(|r| r.setup.iter().chain(&r.body).chain(&r.finish));
    for (index, barrier) in kernel.mbarriers.iter().enumerate() {
        let has = |sync: Sync| all().any(|s| *s == Stmt::Sync(sync));
        let fits = !has(Sync::Wait(index)) || has(Sync::Arrive(index));
        ensure(fits, || format!("nobody arrives at mbarrier {}", barrier.name))?;
    }
    Ok(())
}
