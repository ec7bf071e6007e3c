//! Splits the body of a kernel among roles that run side by side.
//!
//! In: a draft whose statements could run one after another.  Out: a kernel of up to three roles.
//! The *loader* brings tokens to shared memory; the *maker* computes what needs no state, a chunk or
//! two ahead; the *keeper* owns the columns and with them the states, and multiplies by warpgroups.
//! Loaded tiles have as many instances as there are stages, tiles that the maker hands over have two;
//! the roles meet at mbarriers only.

use super::draft::{self, Draft, Shape, finished, too_large};
use super::order;
use super::place;
use super::warpgroup;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::kernel::{
    Checked, CopyMap, Kernel, Mbarrier, ParamId, ParamKind, Place, Role, Stmt, Sync, Tile, TileId,
    View,
};
use sluice_ir::target::Target;
use std::collections::{BTreeSet, VecDeque};

/// Warps of a warpgroup: roles are made of these, since registers are dealt to them.
const WARPS: usize = 4;

/// The shortest chunk for which it pays that roles meet.
const SHORTEST: usize = 32;

/// Instances of what the maker hands over.
const HANDED: usize = 2;

/// Registers a thread of the loader: addresses and strides of what it loads.
const LOADER_REGISTERS: usize = 40;

/// Registers a thread of the maker at least: the sums of a chunk's scores, and half as many again for
/// what they are scaled by.
const MAKER_REGISTERS: usize = 88;

/// The most values of columns that leave the maker enough registers.
const MOST_LIVE: usize = 168;

/// The most registers that a role can have, and the unit in which they are dealt.
const MOST_REGISTERS: usize = 240;
const REGISTER_UNIT: usize = 8;

/// The statements of the loop by role.
struct Parts {
    maker: Vec<Stmt>,
    keeper: Vec<Stmt>,
}

/// What takes more or less shared memory.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    /// Instances of loaded tiles.
    pub(super) stages: usize,
    /// Whether outputs leave registers for global memory, and not through shared memory in whole rows.
    pub(super) direct: bool,
}

/// What is tried, the fastest first.
pub(super) const CHOICES: [Choice; 4] = [
    Choice { stages: 3, direct: false },
    Choice { stages: 3, direct: true },
    Choice { stages: 2, direct: false },
    Choice { stages: 2, direct: true },
];

/// The kernel in roles; none if the target has no roles, or if no product would run by warpgroups.
///
/// # Errors
///
/// [`sluice_ir::diagnostic::Code::TooLarge`] if the tiles do not fit the target with so many stages.
pub(super) fn split(
    draft: &Draft,
    loads: &[(TileId, ParamId)],
    Choice { stages, direct }: Choice,
    shape: &Shape,
    target: &Target,
) -> Result<Option<Checked>, Diagnostic> {
    let keeper_warps = shape.warps;
    let plain = stages > 1 && target.warpgroups && draft.opening.is_empty();
    let long = shape.chunk >= SHORTEST;
    if !plain || !long || !keeper_warps.is_multiple_of(WARPS) {
        return Ok(None);
    }
    let mut kernel = draft.unplaced(shape);
    let Some(body) = warpgroup::products(&mut kernel, &draft.body) else { return Ok(None) };
    let Parts { maker, keeper } = parts(&kernel, body);
    let keeper = if direct { keeper } else { staged_stores(&mut kernel, keeper) };
    let parts = Parts { maker, keeper };
    let loaded: BTreeSet<TileId> = loads.iter().map(|(tile, _)| *tile).collect();
    let handed = handed(&kernel, &parts);
    for tile in &handed {
        if let Place::Shared(s) = &mut kernel.tiles[tile.0].place {
            s.stages = HANDED;
        }
    }
    kernel.shared_bytes = place::apart(&mut kernel.tiles);
    if kernel.shared_bytes > shape.budget {
        return Err(too_large(kernel.shared_bytes, shape.budget));
    }
    let reads = |stmts: &[Stmt], tiles: &BTreeSet<TileId>| {
        stmts.iter().any(|s| s.reads().iter().any(|t| tiles.contains(t)))
    };
    let readers = [(&parts.maker, WARPS), (&parts.keeper, keeper_warps)];
    let readers = readers.iter().filter(|(stmts, _)| reads(stmts, &loaded));
    let mut barriers = Barriers::default();
    let (full, left) = (
        barriers.add("loaded", WARPS, stages),
        barriers.add("left", readers.map(|(_, warps)| warps).sum(), stages),
    );
    let (made, taken) =
        (barriers.add("made", WARPS, HANDED), barriers.add("taken", keeper_warps, HANDED));
    let all = Crossing { loaded: &loaded, handed: &handed, full, left, made, taken };
    let made_here: BTreeSet<TileId> = parts.maker.iter().flat_map(Stmt::writes).collect();
    let maker = all.maker(&kernel, parts.maker);
    let keeper = all.keeper(&kernel, parts.keeper);
    let setup = &draft.setup;
    let of_maker = |s: &Stmt| {
        let reads = s.reads();
        !reads.is_empty() && reads.iter().all(|t| made_here.contains(t))
    };
    let (last_made, finish): (Vec<Stmt>, Vec<Stmt>) =
        draft.finish.iter().cloned().partition(of_maker);
    let last_made = order::with_barriers(&kernel, &[], last_made, Sync::Role);
    let columns = |s: &Stmt| s.writes().iter().any(|t| kernel.tile(*t).shared().is_none());
    let (own, shared): (Vec<Stmt>, Vec<Stmt>) = setup.iter().cloned().partition(columns);
    let meet = !shared.is_empty();
    let role = |name: &str, warps, [setup, body, finish]: [Vec<Stmt>; 3]| {
        let meeting = meet.then_some(Stmt::Sync(Sync::Cta));
        let setup = setup.into_iter().chain(meeting).collect();
        Role { name: name.to_owned(), warps, registers: None, setup, body, finish }
    };
    let mut roles = vec![
        role("loader", WARPS, all.loader(&kernel, loads, stages, shared)),
        role("keeper", keeper_warps, [own, keeper, finish]),
    ];
    if maker.is_empty() {
        barriers.list.truncate(2);
    } else {
        roles.push(role("maker", WARPS, [vec![], maker, last_made]));
    }
    budget(&mut roles, target);
    kernel.roles = roles;
    kernel.mbarriers = barriers.list;
    finished(kernel).map(Some)
}

/// Deals registers: the loader gets few, the keeper what leaves the maker enough.
fn budget(roles: &mut [Role], target: &Target) {
    let unit = target.register_file / 32;
    let [loader, keeper, rest @ ..] = roles else { return };
    let warps = loader.warps + keeper.warps + rest.iter().map(|r| r.warps).sum::<usize>();
    // What the block is launched with: more cannot be dealt.
    let even = (unit / warps / REGISTER_UNIT * REGISTER_UNIT).min(target.registers);
    let mut free = even * warps - LOADER_REGISTERS * loader.warps;
    let kept: usize = rest.iter().map(|r| MAKER_REGISTERS * r.warps).sum();
    let deal = |free: usize, warps: usize| {
        (free / warps / REGISTER_UNIT * REGISTER_UNIT).min(MOST_REGISTERS)
    };
    loader.registers = Some(LOADER_REGISTERS);
    let own = deal(free - kept, keeper.warps);
    keeper.registers = Some(own);
    free -= own * keeper.warps;
    for role in rest {
        role.registers = Some(deal(free, role.warps));
    }
}

/// Statements that need no state, and those that do.
fn parts(kernel: &Kernel, body: Vec<Stmt>) -> Parts {
    let in_columns = |t: &TileId| kernel.tile(*t).shared().is_none();
    let mut kept: BTreeSet<TileId> = BTreeSet::new();
    let mut parts = Parts { maker: vec![], keeper: vec![] };
    for stmt in body {
        let touched: Vec<TileId> = stmt.reads().into_iter().chain(stmt.writes()).collect();
        if touched.iter().any(|t| in_columns(t) || kept.contains(t)) {
            kept.extend(stmt.writes());
            parts.keeper.push(stmt);
        } else {
            parts.maker.push(stmt);
        }
    }
    parts
}

/// Sends outputs through shared memory, so that whole rows go to global memory.
fn staged_stores(kernel: &mut Kernel, stmts: Vec<Stmt>) -> Vec<Stmt> {
    let mut out = Vec::with_capacity(stmts.len());
    for stmt in stmts {
        let Stmt::Store { param, src, col: 0 } = stmt else {
            out.push(stmt);
            continue;
        };
        let (to, from) = (kernel.param(param).clone(), kernel.tile(src).clone());
        let wide = from.shared().is_none() && to.dtype.bytes() == 2 && !to.transposed;
        if to.kind != ParamKind::TokenOut || !wide {
            out.push(stmt);
            continue;
        }
        let place = Place::Shared(draft::shared(from.rows, from.cols, to.dtype, 1));
        let name = format!("{}.staged", to.name);
        let mut tile = Tile { name, dtype: to.dtype, place, ..from };
        warpgroup::swizzle(&mut tile);
        kernel.tiles.push(tile);
        let staged = TileId(kernel.tiles.len() - 1);
        let whole = |tile| View { tile, blocks: 1 };
        out.push(Stmt::Copy { dst: whole(staged), src: whole(src), map: CopyMap::Whole });
        out.push(Stmt::Store { param, src: staged, col: 0 });
    }
    out
}

/// Shared tiles that the maker writes and the keeper reads.
fn handed(kernel: &Kernel, parts: &Parts) -> BTreeSet<TileId> {
    let written: BTreeSet<TileId> = parts.maker.iter().flat_map(Stmt::writes).collect();
    let read = parts.keeper.iter().flat_map(Stmt::reads);
    read.filter(|t| written.contains(t) && kernel.tile(*t).shared().is_some()).collect()
}

#[derive(Default)]
struct Barriers {
    list: Vec<Mbarrier>,
}

impl Barriers {
    fn add(&mut self, name: &str, count: usize, stages: usize) -> usize {
        self.list.push(Mbarrier { name: name.to_owned(), count, stages });
        self.list.len() - 1
    }
}

/// What crosses from role to role, and the mbarriers at which it does.
struct Crossing<'a> {
    loaded: &'a BTreeSet<TileId>,
    handed: &'a BTreeSet<TileId>,
    full: usize,
    left: usize,
    made: usize,
    taken: usize,
}

fn sync(sync: Sync) -> Stmt {
    Stmt::Sync(sync)
}

impl Crossing<'_> {
    /// Setup, body and finish of the loader: a chunk is handed over as soon as it is there, then the place of
    /// the chunk that was left last is filled.
    fn loader(
        &self,
        kernel: &Kernel,
        loads: &[(TileId, ParamId)],
        stages: usize,
        before: Vec<Stmt>,
    ) -> [Vec<Stmt>; 3] {
        let ahead = stages - 1;
        let group = |ahead: usize| {
            let load = move |(dst, param): &(TileId, ParamId)| Stmt::Load {
                dst: *dst,
                param: *param,
                ahead,
                col: 0,
            };
            loads.iter().map(load).chain([Stmt::Commit])
        };
        let mut setup = order::with_barriers(kernel, &[], before, Sync::Role);
        if !setup.is_empty() {
            setup.extend([Stmt::WaitLoads { pending: 0 }, sync(Sync::ProxyFence)]);
        }
        setup.extend((0..ahead).flat_map(group));
        let mut body = vec![
            Stmt::WaitLoads { pending: ahead - 1 },
            sync(Sync::ProxyFence),
            // Whoever arrives speaks for all of the loader's threads.
            sync(Sync::Role),
            sync(Sync::Arrive(self.full)),
            sync(Sync::Free { barrier: self.left, ahead }),
        ];
        body.extend(group(ahead));
        [setup, body, vec![Stmt::WaitLoads { pending: 0 }]]
    }

    /// The maker's body.
    fn maker(&self, kernel: &Kernel, stmts: Vec<Stmt>) -> Vec<Stmt> {
        if stmts.is_empty() {
            return stmts;
        }
        // Each iteration begins behind the barrier that ends the one before it: what that left in the
        // maker's own tiles may be overwritten.
        let before = [sync(Sync::Role)];
        let mut body = order::few_barriers(kernel, &before, stmts, Sync::Role);
        body.drain(..before.len());
        let body = warpgroup::begun(kernel, body, self.loaded);
        let body = self.waiting(warpgroup::fenced(kernel, body), true);
        let mut body = self.leaving(kernel, body, self.loaded, self.left);
        // Whoever arrives speaks for all of the maker's threads.
        let done = [Sync::ProxyFence, Sync::Role, Sync::Arrive(self.made)];
        body.extend(done.map(sync));
        body
    }

    /// The keeper's body.
    fn keeper(&self, kernel: &Kernel, stmts: Vec<Stmt>) -> Vec<Stmt> {
        let body = warpgroup::overlapped(kernel, &stmts, MOST_LIVE);
        let body = warpgroup::fenced(kernel, order::around(kernel, body, Sync::Role));
        let body = self.waiting(body, false);
        let body = self.leaving(kernel, body, self.loaded, self.left);
        self.leaving(kernel, body, self.handed, self.taken)
    }

    /// Waits before the first statement that needs them.
    fn waiting(&self, body: Vec<Stmt>, makes: bool) -> Vec<Stmt> {
        let mut out: Vec<Stmt> = Vec::with_capacity(body.len() + 2);
        let mut waited: BTreeSet<usize> = BTreeSet::new();
        for stmt in body {
            let reads = stmt.reads();
            let any = |tiles: &BTreeSet<TileId>| reads.iter().any(|t| tiles.contains(t));
            if any(self.loaded) && waited.insert(self.full) {
                out.push(sync(Sync::Wait(self.full)));
            }
            if !makes && any(self.handed) && waited.insert(self.made) {
                out.push(sync(Sync::Wait(self.made)));
            }
            let hands = stmt.writes().iter().any(|t| self.handed.contains(t));
            if makes && hands && waited.insert(self.taken) {
                out.push(sync(Sync::Free { barrier: self.taken, ahead: 0 }));
            }
            out.push(stmt);
        }
        out
    }

    /// Arrives at `barrier` as soon as nothing reads `tiles` any more, running products included.
    fn leaving(
        &self,
        kernel: &Kernel,
        mut body: Vec<Stmt>,
        tiles: &BTreeSet<TileId>,
        barrier: usize,
    ) -> Vec<Stmt> {
        let mut running: VecDeque<bool> = VecDeque::new();
        let mut last = None;
        for (i, stmt) in body.iter().enumerate() {
            let reads = stmt.reads().iter().any(|t| tiles.contains(t));
            if warpgroup::runs_on(kernel, stmt) {
                running.push_back(reads);
            } else if reads {
                last = Some(i);
            } else if let Stmt::Sync(Sync::Products { pending }) = stmt {
                let complete = running.len().saturating_sub(*pending);
                let read = running.iter().take(complete).any(|reads| *reads);
                running.drain(..complete);
                if read {
                    last = Some(i);
                }
            }
        }
        if let Some(last) = last {
            body.insert(last + 1, sync(Sync::Arrive(barrier)));
        }
        body
    }
}
