//! What roles hand to each other: every tile that one role writes and another reads must be published
//! at an mbarrier and left at another before it is written again.
//!
//! The rules, for a tile that role `W` writes and role `R` reads in its body:
//!
//! 1. Nobody but `W` writes it in the loop.
//! 2. `W` arrives at an mbarrier `full` once per chunk, when the chunk's instance has been written (a
//!    load: waited for), and, if `R` reads it by `wgmma`, after a proxy fence.
//! 3. `R` waits for `full` before it reads.
//! 4. If the roles do not meet at a barrier of the block in each chunk, `R` arrives at an mbarrier `left`
//!    after its last read, products that read it being complete, and `W` waits for `left` to be free
//!    before it writes the instance.
//! 5. The tile and its mbarriers have the same number of instances.
//!
//! What a role itself writes to shared memory and reads by `wgmma` passes a proxy fence in between.
//!
//! Products by warpgroups into columns run on: until `Sync::Products` covers one, nothing may touch its
//! destination or write its operands.

use super::{Kernel, Mma, Role, Stmt, Sync, TileId, Unit};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a role does with shared tiles and mbarriers in its body.
#[derive(Debug, Default)]
struct Deeds {
    writes: BTreeSet<TileId>,
    reads: BTreeSet<TileId>,
    /// Tiles read by `wgmma`.
    through_proxy: BTreeSet<TileId>,
    /// For each tile the mbarriers at which the chunk's instance is published; whether behind a fence.
    published: BTreeMap<TileId, BTreeMap<usize, bool>>,
    /// For each tile the mbarriers found free before every write.
    acquired: BTreeMap<TileId, BTreeSet<usize>>,
    /// For each tile the mbarriers waited for before every read.
    awaited: BTreeMap<TileId, BTreeSet<usize>>,
    /// For each tile the mbarriers arrived at after the last read.
    left: BTreeMap<TileId, BTreeSet<usize>>,
    /// Whether all roles meet in each chunk.
    meets: bool,
}

/// How far a chunk's instance of a tile has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Loading,
    Whole,
    Fenced,
}

/// Checks the rules at the head of this file.
pub(super) fn check(kernel: &Kernel) -> Result<(), String> {
    kernel.roles.iter().try_for_each(|role| products(kernel, role))?;
    if kernel.roles.len() < 2 {
        return Ok(());
    }
    let deeds = kernel.roles.iter().map(|role| deeds(kernel, role)).collect::<Vec<_>>();
    for (w, writer) in deeds.iter().enumerate() {
        for (r, reader) in deeds.iter().enumerate().filter(|(r, _)| *r != w) {
            for tile in &writer.writes {
                let fault = handed(kernel, (writer, reader), *tile).err();
                if let Some(fault) = fault {
                    let [from, to] = [w, r].map(|role| &kernel.roles[role].name);
                    let tile = &kernel.tile(*tile).name;
                    return Err(format!("tile {tile} from role {from} to role {to}: {fault}"));
                }
            }
        }
    }
    for (index, barrier) in kernel.mbarriers.iter().enumerate() {
        let arrives = |role: &&Role| role.body.contains(&Stmt::Sync(Sync::Arrive(index)));
        let count: usize = kernel.roles.iter().filter(arrives).map(|role| role.warps).sum();
        if count != barrier.count {
            return Err(format!("{count} warps arrive at mbarrier {}", barrier.name));
        }
    }
    Ok(())
}

fn handed(
    kernel: &Kernel,
    (writer, reader): (&Deeds, &Deeds),
    tile: TileId,
) -> Result<(), &'static str> {
    if reader.writes.contains(&tile) {
        return Err("both write it");
    }
    if !reader.reads.contains(&tile) {
        return Ok(());
    }
    let stages = kernel.tile(tile).shared().map_or(1, |s| s.stages);
    let same = |barrier: &usize| kernel.mbarriers[*barrier].stages == stages;
    let full = writer.published.get(&tile).into_iter().flatten();
    let awaited = reader.awaited.get(&tile);
    let mut full = full.filter(|(b, _)| awaited.is_some_and(|a| a.contains(b)));
    let proxy = reader.through_proxy.contains(&tile);
    let met = writer.meets && reader.meets;
    if !full.any(|(b, fenced)| (same(b) || met) && (*fenced || !proxy)) {
        return Err("it is read without waiting until it is written");
    }
    let mut left = writer.acquired.get(&tile).into_iter().flatten();
    let leaves = reader.left.get(&tile);
    if !met && !left.any(|b| same(b) && leaves.is_some_and(|l| l.contains(b))) {
        return Err("it is written again without waiting until it is read");
    }
    Ok(())
}

fn is_proxy(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Mma(m) | Stmt::Begin(m) if m.unit == Unit::Warpgroup)
}

/// Follows the body of a role through as many iterations as there are instances, and two.
fn deeds(kernel: &Kernel, role: &Role) -> Deeds {
    let shared = |tile: &TileId| kernel.tile(*tile).shared().is_some();
    let stages = kernel.tiles.iter().filter_map(|t| t.shared()).map(|s| s.stages).max();
    let rounds = stages.unwrap_or(1) + 2;
    let mut deeds = Deeds { meets: role.body.contains(&Stmt::Sync(Sync::Cta)), ..Deeds::default() };
    let mut written: BTreeMap<(TileId, usize), Written> = BTreeMap::new();
    let mut groups: VecDeque<Vec<(TileId, usize)>> = VecDeque::new();
    let mut open = Vec::new();
    let setup = role.setup.iter().map(|s| (None, s));
    let body = (0..rounds).flat_map(|c| role.body.iter().map(move |s| (Some(c), s)));
    let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut waited: BTreeSet<usize> = BTreeSet::new();
    let mut running: VecDeque<TileId> = VecDeque::new();
    let mut round = None;
    for (at, stmt) in setup.chain(body) {
        let chunk = at.unwrap_or(0);
        if at != round {
            round = at;
            waited.clear();
            deeds.left.clear();
        }
        match stmt {
            Stmt::Commit => groups.push_back(std::mem::take(&mut open)),
            Stmt::WaitLoads { pending } => {
                while groups.len() > *pending {
                    for instance in groups.pop_front().expect("counted above") {
                        written.insert(instance, Written::Whole);
                    }
                }
            }
            Stmt::Sync(Sync::ProxyFence) => {
                let whole = written.values_mut().filter(|w| **w == Written::Whole);
                whole.for_each(|w| *w = Written::Fenced);
            }
            Stmt::Sync(Sync::Free { barrier, ahead }) => {
                free.insert((*barrier, chunk + ahead));
            }
            Stmt::Sync(Sync::Wait(barrier)) => {
                waited.insert(*barrier);
            }
            Stmt::Sync(Sync::Products { pending }) => {
                while running.len() > *pending {
                    running.pop_front();
                }
            }
            Stmt::Sync(Sync::Arrive(barrier)) => {
                for tile in deeds.reads.iter().filter(|t| !running.contains(t)) {
                    deeds.left.entry(*tile).or_default().insert(*barrier);
                }
                for ((tile, of), state) in &written {
                    if *of == chunk && *state != Written::Loading {
                        let fenced = *state == Written::Fenced;
                        let barriers = deeds.published.entry(*tile).or_default();
                        *barriers.entry(*barrier).or_insert(true) &= fenced;
                    }
                }
            }
            _ => {
                for tile in stmt.reads().into_iter().filter(&shared) {
                    if at.is_none() {
                        continue;
                    }
                    deeds.left.remove(&tile);
                    if deeds.reads.insert(tile) {
                        deeds.awaited.insert(tile, waited.clone());
                    } else if let Some(all) = deeds.awaited.get_mut(&tile) {
                        all.retain(|b| waited.contains(b));
                    }
                    if is_proxy(stmt) {
                        deeds.through_proxy.insert(tile);
                    }
                }
                if let Stmt::Mma(m) = stmt
                    && is_proxy(stmt)
                    && !shared(&m.dst.tile)
                {
                    running.push_back(m.a.view.tile);
                }
                for tile in stmt.writes().into_iter().filter(&shared) {
                    let ahead = if let Stmt::Load { ahead, .. } = stmt { *ahead } else { 0 };
                    let loading = matches!(stmt, Stmt::Load { .. });
                    let state = if loading { Written::Loading } else { Written::Whole };
                    written.insert((tile, chunk + ahead), state);
                    if loading {
                        open.push((tile, chunk + ahead));
                    }
                    if at.is_some() {
                        let freed = |b: &usize| free.contains(&(*b, chunk + ahead));
                        let all = 0..kernel.mbarriers.len();
                        if deeds.writes.insert(tile) {
                            deeds.acquired.insert(tile, all.filter(freed).collect());
                        } else if let Some(known) = deeds.acquired.get_mut(&tile) {
                            known.retain(freed);
                        }
                    }
                }
            }
        }
    }
    deeds
}

/// Nothing touches what a running product writes, or writes what it reads.
fn products(kernel: &Kernel, role: &Role) -> Result<(), String> {
    let mut running: VecDeque<(TileId, [TileId; 2])> = VecDeque::new();
    // Twice through the body, so that an iteration is checked against the next.
    let all = role.setup.iter().chain(&role.body).chain(&role.body).chain(&role.finish);
    let mut begun: VecDeque<&Mma> = VecDeque::new();
    let mut unfenced: BTreeSet<TileId> = BTreeSet::new();
    for stmt in all {
        let fault = |e: &str| Err(format!("`{}`: {e}", kernel.stmt(stmt)));
        if let Stmt::Mma(m) | Stmt::Begin(m) = stmt
            && is_proxy(stmt)
            && [m.a.view.tile, m.b.view.tile].iter().any(|t| unfenced.contains(t))
        {
            return fault("it reads what no proxy fence has followed");
        }
        if *stmt == Stmt::Sync(Sync::ProxyFence) {
            unfenced.clear();
        }
        let shared = |t: &TileId| kernel.tile(*t).shared().is_some();
        unfenced.extend(stmt.writes().into_iter().filter(shared));
        match stmt {
            Stmt::Begin(m) => begun.push_back(m),
            Stmt::Mma(m) if begun.front() == Some(&m) => {
                begun.pop_front();
            }
            Stmt::Mma(m) if m.unit == Unit::Warpgroup && !begun.is_empty() => {
                return fault("another product has begun before it");
            }
            _ => {
                let of = |m: &&Mma| [m.a.view.tile, m.b.view.tile];
                if begun.iter().flat_map(of).any(|t| stmt.writes().contains(&t)) {
                    return fault("it writes what a product that has begun reads");
                }
            }
        }
        if let Stmt::Sync(Sync::Products { pending }) = stmt {
            while running.len() > *pending {
                running.pop_front();
            }
        }
        // A product may go on adding to what the one before it adds to.
        let adds = matches!(stmt, Stmt::Mma(m) if m.unit == Unit::Warpgroup);
        let touches = |(dst, _): &(TileId, _)| {
            !adds && (stmt.reads().contains(dst) || stmt.writes().contains(dst))
        };
        if running.iter().any(touches) {
            return fault("a product into a tile it touches may be running");
        }
        let reads = |(_, from): &(_, [TileId; 2])| stmt.writes().iter().any(|t| from.contains(t));
        if running.iter().any(reads) {
            return fault("it writes what a running product may read");
        }
        if let Stmt::Mma(m) = stmt
            && m.unit == Unit::Warpgroup
            && kernel.tile(m.dst.tile).shared().is_none()
        {
            running.push_back((m.dst.tile, [m.a.view.tile, m.b.view.tile]));
        }
    }
    if let Some(m) = begun.front() {
        return Err(format!("`{}` begins and does not end", kernel.stmt(&Stmt::Mma((*m).clone()))));
    }
    Ok(())
}
