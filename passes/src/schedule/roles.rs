//! Splits the body of a kernel among roles that run side by side.
//!
//! In: a draft whose statements could run one after another.  Out: a kernel of up to three roles.
//! The *loader* brings tokens to shared memory; the *maker* computes what needs no state, a chunk or
//! two ahead; the *keeper* owns the columns and with them the states, and multiplies by warpgroups.
//! Where what needs no state is made by products apart from each other, the loader makes the lighter part.
//! Loaded tiles have as many instances as there are stages, tiles that the maker hands over have two;
//! the roles meet at mbarriers only.

use super::draft::{self, Draft, Shape, finished, too_large};
use super::factors;
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

/// Registers a thread of the loader, which has addresses and strides of what it loads, and at least of the
/// maker: the sums of a chunk's scores, and half as many again for what they are scaled by.
const APART_REGISTERS: [usize; 2] = [40, 88];

/// The same where the loader makes something, too.
const SHARED_REGISTERS: [usize; 2] = [64, 64];

/// The most values of columns that leave the maker enough registers, and the most beside a loader alone.
const MOST_LIVE: [usize; 2] = [168, 200];

/// The most registers that a role can have, and the unit in which they are dealt.
const MOST_REGISTERS: usize = 240;
const REGISTER_UNIT: usize = 8;

/// The statements of the loop by role.
pub(super) struct Parts {
    pub(super) loader: Vec<Stmt>,
    pub(super) maker: Vec<Stmt>,
    pub(super) keeper: Vec<Stmt>,
}

/// Who does a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Loader,
    Maker,
    Keeper,
}

/// Tiles that one role makes for another.
struct HandOver {
    from: Part,
    to: Part,
    tiles: BTreeSet<TileId>,
    /// Where it is said that they are there.
    made: usize,
    /// Where it is said that they are not needed any more.
    taken: usize,
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
    // A chunk of one token that has roles at all has a matrix a token.
    let long = shape.chunk >= SHORTEST || shape.chunk == 1;
    if !plain || !long || !keeper_warps.is_multiple_of(WARPS) {
        return Ok(None);
    }
    let mut kernel = draft.unplaced(shape);
    let Some(body) = warpgroup::products(&mut kernel, &draft.body) else { return Ok(None) };
    let body = factors::joined(&mut kernel, body);
    let mut parts = parts(&kernel, body);
    if !direct {
        parts.keeper = staged_stores(&mut kernel, parts.keeper);
    }
    share(&mut parts);
    let loaded: BTreeSet<TileId> = loads.iter().map(|(tile, _)| *tile).collect();
    let [made, beside, prepared] = [
        handed(&kernel, &parts.maker, &parts.keeper),
        handed(&kernel, &parts.loader, &parts.keeper),
        handed(&kernel, &parts.loader, &parts.maker),
    ];
    for tile in made.iter().chain(&beside).chain(&prepared) {
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
    let mut all = Crossing { loaded: &loaded, full, left, handed: Vec::new() };
    let mut taken = None;
    for (name, from, tiles) in [("made", Part::Maker, made), ("made.loader", Part::Loader, beside)]
    {
        if !tiles.is_empty() {
            let made = barriers.add(name, WARPS, HANDED);
            let taken = *taken.get_or_insert_with(|| barriers.add("taken", keeper_warps, HANDED));
            all.handed.push(HandOver { from, to: Part::Keeper, tiles, made, taken });
        }
    }
    if !prepared.is_empty() {
        let (from, to, tiles) = (Part::Loader, Part::Maker, prepared);
        let made = barriers.add("prepared", WARPS, HANDED);
        let taken = barriers.add("used", WARPS, HANDED);
        all.handed.push(HandOver { from, to, tiles, made, taken });
    }
    let works = !parts.loader.is_empty();
    let most_live = MOST_LIVE[usize::from(parts.maker.is_empty())];
    let made_by = [&parts.loader, &parts.maker]
        .map(|stmts| stmts.iter().flat_map(Stmt::writes).collect::<BTreeSet<TileId>>());
    let maker = all.maker(&kernel, parts.maker);
    let beside = all.making(&kernel, parts.loader, Part::Loader);
    let keeper = all.keeper(&kernel, parts.keeper, most_live);
    let setup = &draft.setup;
    // What was made without a state is stored at the end by the role that made it.
    let mut finish = draft.finish.clone();
    let [of_loader, of_maker] = made_by.map(|made| {
        let own = |s: &Stmt| {
            let reads = s.reads();
            !reads.is_empty() && reads.iter().all(|t| made.contains(t))
        };
        let (own, rest) = std::mem::take(&mut finish).into_iter().partition(own);
        finish = rest;
        let own: Vec<Stmt> = order::with_barriers(&kernel, &[], own, Sync::Role);
        // Its warps may have written something after they last met.
        let meeting = (!own.is_empty()).then_some(sync(Sync::Role));
        meeting.into_iter().chain(own).collect::<Vec<Stmt>>()
    });
    let columns = |s: &Stmt| s.writes().iter().any(|t| kernel.tile(*t).shared().is_none());
    let (own, shared): (Vec<Stmt>, Vec<Stmt>) = setup.iter().cloned().partition(columns);
    let meet = !shared.is_empty();
    let role = |name: &str, warps, [setup, body, finish]: [Vec<Stmt>; 3]| {
        let meeting = meet.then_some(Stmt::Sync(Sync::Cta));
        let setup = setup.into_iter().chain(meeting).collect();
        Role { name: name.to_owned(), warps, registers: None, setup, body, finish }
    };
    let mut loader = all.loader(&kernel, loads, stages, shared, beside);
    loader[2].extend(of_loader);
    let mut roles =
        vec![role("loader", WARPS, loader), role("keeper", keeper_warps, [own, keeper, finish])];
    if !maker.is_empty() {
        roles.push(role("maker", WARPS, [vec![], maker, of_maker]));
    }
    budget(&mut roles, works, target);
    kernel.roles = roles;
    kernel.mbarriers = barriers.list;
    finished(kernel).map(Some)
}

/// Deals registers: the loader gets few, the keeper what leaves the maker enough.
fn budget(roles: &mut [Role], loader_works: bool, target: &Target) {
    let [of_loader, of_maker] = if loader_works { SHARED_REGISTERS } else { APART_REGISTERS };
    let unit = target.register_file / 32;
    let [loader, keeper, rest @ ..] = roles else { return };
    let warps = loader.warps + keeper.warps + rest.iter().map(|r| r.warps).sum::<usize>();
    // What the block is launched with: more cannot be dealt.
    let even = (unit / warps / REGISTER_UNIT * REGISTER_UNIT).min(target.registers);
    let mut free = even * warps - of_loader * loader.warps;
    let kept: usize = rest.iter().map(|r| of_maker * r.warps).sum();
    let deal = |free: usize, warps: usize| {
        (free / warps / REGISTER_UNIT * REGISTER_UNIT).min(MOST_REGISTERS)
    };
    loader.registers = Some(of_loader);
    let own = deal(free - kept, keeper.warps);
    keeper.registers = Some(own);
    free -= own * keeper.warps;
    for role in rest {
        role.registers = Some(deal(free, role.warps));
    }
}

/// Statements that need no state, and those that do.
pub(super) fn parts(kernel: &Kernel, body: Vec<Stmt>) -> Parts {
    let in_columns = |t: &TileId| kernel.tile(*t).shared().is_none();
    let mut kept: BTreeSet<TileId> = BTreeSet::new();
    let mut parts = Parts { loader: vec![], maker: vec![], keeper: vec![] };
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

/// Gives the loader what the maker makes apart from its heaviest product or inverse, and the light
/// statements that it begins with.
fn share(parts: &mut Parts) {
    let stmts = std::mem::take(&mut parts.maker);
    let heavy =
        |i: usize| matches!(stmts[i], Stmt::Mma(_) | Stmt::Score { .. } | Stmt::Inverse { .. });
    // The heavy statements that each one needs, itself among them.
    let mut needs: Vec<BTreeSet<usize>> = Vec::new();
    for j in 0..stmts.len() {
        let before = (0..j).filter(|i| order::depends(&stmts[*i], &stmts[j]));
        let all = before.flat_map(|i| needs[i].clone()).chain(heavy(j).then_some(j));
        needs.push(all.collect());
    }
    let heaviest = needs.iter().max_by_key(|n| n.len()).cloned().unwrap_or_default();
    let beside: Vec<bool> = needs.iter().map(|n| n.is_disjoint(&heaviest)).collect();
    // One product alone is no reason to meet more often.
    let shared = heaviest.len() > 1 && (0..stmts.len()).any(|i| beside[i] && heavy(i));
    for (stmt, beside) in stmts.into_iter().zip(beside) {
        if shared && beside { &mut parts.loader } else { &mut parts.maker }.push(stmt);
    }
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
        let wide = from.shared().is_none() && !to.transposed;
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

/// Shared tiles that one role writes and another reads.
fn handed(kernel: &Kernel, from: &[Stmt], to: &[Stmt]) -> BTreeSet<TileId> {
    let written: BTreeSet<TileId> = from.iter().flat_map(Stmt::writes).collect();
    let read = to.iter().flat_map(Stmt::reads);
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
    full: usize,
    left: usize,
    handed: Vec<HandOver>,
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
        beside: Vec<Stmt>,
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
            // What a chunk before this left in the role's own tiles may be overwritten from here on.
            sync(Sync::Role),
            sync(Sync::Arrive(self.full)),
        ];
        body.extend(beside);
        body.push(sync(Sync::Free { barrier: self.left, ahead }));
        body.extend(group(ahead));
        [setup, body, vec![Stmt::WaitLoads { pending: 0 }]]
    }

    /// The maker's body.
    fn maker(&self, kernel: &Kernel, stmts: Vec<Stmt>) -> Vec<Stmt> {
        let mut body = self.making(kernel, stmts, Part::Maker);
        for (tiles, barrier) in self.leavings(Part::Maker) {
            body = self.leaving(kernel, body, &tiles, barrier);
        }
        body
    }

    /// Statements that make tiles of a chunk, which the role itself has loaded or waits for.
    fn making(&self, kernel: &Kernel, stmts: Vec<Stmt>, me: Part) -> Vec<Stmt> {
        if stmts.is_empty() {
            return stmts;
        }
        // Each iteration begins behind the barrier that ends the one before it: what that left in the
        // role's own tiles may be overwritten.
        let before = [sync(Sync::Role)];
        let mut body = order::few_barriers(kernel, &before, stmts, Sync::Role);
        body.drain(..before.len());
        let body = warpgroup::begun(kernel, body, self.loaded);
        let mut body = self.waiting(warpgroup::fenced(kernel, body), me);
        for HandOver { tiles, made, .. } in self.handed.iter().filter(|h| h.from == me) {
            let writes = |s: &Stmt| s.writes().iter().any(|t| tiles.contains(t));
            if let Some(last) = body.iter().rposition(writes) {
                let done = [Sync::ProxyFence, Sync::Role, Sync::Arrive(*made)];
                body.splice(last + 1..last + 1, done.map(sync));
            }
        }
        // What follows the last hand-over is a hazard for the next iteration.
        if !matches!(body.last(), Some(Stmt::Sync(_))) {
            body.push(sync(Sync::Role));
        }
        body
    }

    /// The keeper's body.
    fn keeper(&self, kernel: &Kernel, stmts: Vec<Stmt>, most_live: usize) -> Vec<Stmt> {
        let body = warpgroup::overlapped(kernel, &stmts, most_live);
        let body = warpgroup::fenced(kernel, order::around(kernel, body, Sync::Role));
        let mut body = self.waiting(body, Part::Keeper);
        for (tiles, barrier) in self.leavings(Part::Keeper) {
            body = self.leaving(kernel, body, &tiles, barrier);
        }
        body
    }

    /// Waits before the first statement that needs them.
    fn waiting(&self, body: Vec<Stmt>, me: Part) -> Vec<Stmt> {
        let mut out: Vec<Stmt> = Vec::with_capacity(body.len() + 2);
        let mut waited: BTreeSet<usize> = BTreeSet::new();
        for stmt in body {
            let (reads, writes) = (stmt.reads(), stmt.writes());
            let any =
                |of: &[TileId], tiles: &BTreeSet<TileId>| of.iter().any(|t| tiles.contains(t));
            if me != Part::Loader && any(&reads, self.loaded) && waited.insert(self.full) {
                out.push(sync(Sync::Wait(self.full)));
            }
            for HandOver { from, to, tiles, made, taken } in &self.handed {
                if *to == me && any(&reads, tiles) && waited.insert(*made) {
                    out.push(sync(Sync::Wait(*made)));
                }
                if *from == me && any(&writes, tiles) && waited.insert(*taken) {
                    out.push(sync(Sync::Free { barrier: *taken, ahead: 0 }));
                }
            }
            out.push(stmt);
        }
        out
    }

    /// What the role takes from others, and where it says that it has.
    fn leavings(&self, me: Part) -> Vec<(BTreeSet<TileId>, usize)> {
        let mut all = vec![(self.loaded.clone(), self.left)];
        for HandOver { tiles, taken, .. } in self.handed.iter().filter(|h| h.to == me) {
            match all.iter_mut().find(|(_, barrier)| barrier == taken) {
                Some((known, _)) => known.extend(tiles),
                None => all.push((tiles.clone(), *taken)),
            }
        }
        all
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
