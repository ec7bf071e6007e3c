//! Which accesses to shared memory need a barrier between them.
//!
//! Shared memory written by one warp may be read or overwritten by another only after a barrier, and
//! memory read by one warp may be overwritten by another only after a barrier. An asynchronous
//! load writes its tile from the moment it is issued until the wait that covers its group, and is
//! visible to other warps after the next barrier. [`Hazards`] follows one role's statements; the
//! checker asks it whether a kernel is right, and the pass that places barriers where one is
//! missing.

use super::{Access, Kernel, Stmt, Swizzle, Sync, TileId};
use std::collections::VecDeque;
use std::ops::Range;

/// Byte range of shared memory.
type Bytes = Range<usize>;

fn overlap(a: &Bytes, b: &Bytes) -> bool {
    a.start < b.end && b.start < a.end
}

/// Accesses since the last barrier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hazards {
    read: Vec<Bytes>,
    written: Vec<Bytes>,
    open: Vec<Bytes>,
    groups: VecDeque<Vec<Bytes>>,
}

/// The bytes that a statement reads and writes in shared memory in chunk `chunk`.
fn accesses(kernel: &Kernel, stmt: &Stmt, chunk: usize) -> (Vec<Bytes>, Vec<Bytes>) {
    if let Stmt::Nest(nest) = stmt {
        let loops = nest.loops();
        let reads = nest.args.iter().filter_map(|a| reach(kernel, a, &loops, chunk)).collect();
        return (reads, reach(kernel, &nest.dst, &nest.extents, chunk).into_iter().collect());
    }
    if let Stmt::Walk(walk) = stmt {
        let loops = walk.loops(kernel);
        let reached = |a: &Access| reach(kernel, a, &loops, chunk);
        let writes = walk.writes().filter_map(reached);
        let all = walk.summaries().and_then(|t| whole(kernel, t, chunk));
        return (walk.reads().filter_map(reached).collect(), writes.chain(all).collect());
    }
    let bytes = |tile: TileId, chunk: usize| whole(kernel, tile, chunk);
    let ahead = if let Stmt::Load { ahead, .. } = stmt { *ahead } else { 0 };
    let reads = stmt.reads().into_iter().filter_map(|t| bytes(t, chunk)).collect();
    let writes = stmt.writes().into_iter().filter_map(|t| bytes(t, chunk + ahead)).collect();
    (reads, writes)
}

/// The bytes of a tile's instance.
fn whole(kernel: &Kernel, tile: TileId, chunk: usize) -> Option<Bytes> {
    let (tile, place) = (kernel.tile(tile), kernel.tile(tile).shared()?);
    let start = place.offset + (chunk % place.stages) * place.stage_bytes;
    Some(start..start + place.bytes(tile.dtype.bytes()))
}

/// The bytes from the first to the last element that loops of these extents name.
fn reach(kernel: &Kernel, access: &Access, extents: &[usize], chunk: usize) -> Option<Bytes> {
    let tile = kernel.tile(access.tile);
    let place = tile.shared()?;
    let element = tile.dtype.bytes();
    let start = place.offset + (chunk % place.stages) * place.stage_bytes;
    if place.swizzle != Swizzle::None {
        return Some(start..start + place.bytes(element));
    }
    let at = |n: usize| start + n / tile.cols * place.pitch + n % tile.cols * element;
    let last: Vec<usize> = extents.iter().map(|n| n - 1).collect();
    Some(at(access.offset)..at(access.at(&last)) + element)
}

impl Hazards {
    /// Why the statement may not run in chunk `chunk` without a barrier (or, for a read of a load that
    /// nobody waited for, at all) before it; `None` if it may.
    pub fn conflict(&self, kernel: &Kernel, stmt: &Stmt, chunk: usize) -> Option<&'static str> {
        let (reads, writes) = accesses(kernel, stmt, chunk);
        let hit =
            |set: &[Bytes], with: &[Bytes]| set.iter().any(|a| with.iter().any(|b| overlap(a, b)));
        let loading: Vec<Bytes> = self.groups.iter().flatten().chain(&self.open).cloned().collect();
        if hit(&loading, &reads) {
            Some("it reads a tile whose load may not be complete")
        } else if hit(&loading, &writes) {
            Some("it writes a tile that is being loaded")
        } else if hit(&self.written, &reads) {
            Some("it reads what other warps wrote since the last barrier")
        } else if hit(&self.written, &writes) {
            Some("it overwrites what other warps wrote since the last barrier")
        } else if hit(&self.read, &writes) {
            Some("it overwrites what other warps may still read")
        } else {
            None
        }
    }

    /// Takes the statement into account.
    pub fn apply(&mut self, kernel: &Kernel, stmt: &Stmt, chunk: usize) {
        match stmt {
            Stmt::Sync(Sync::Cta | Sync::Role) => {
                self.read.clear();
                self.written.clear();
            }
            Stmt::Commit => self.groups.push_back(std::mem::take(&mut self.open)),
            Stmt::WaitLoads { pending } => {
                while self.groups.len() > *pending {
                    self.written.extend(self.groups.pop_front().expect("counted above"));
                }
            }
            _ => {
                let (reads, writes) = accesses(kernel, stmt, chunk);
                self.read.extend(reads);
                if matches!(stmt, Stmt::Load { .. }) {
                    self.open.extend(writes);
                } else {
                    self.written.extend(writes);
                }
            }
        }
    }
}
