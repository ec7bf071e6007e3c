//! Gives every tile in shared memory its address.
//!
//! In: tiles without addresses.  Out: offsets; either all apart, or with temporaries that share
//! memory when their lives in the body do not overlap.

use sluice_ir::kernel::{Place, Stmt, Swizzle, Tile, TileId};
use std::ops::Range;

/// What swizzled tiles need; others need less and are small beside them.
const SWIZZLED: usize = 1024;
const ALIGNMENT: usize = 128;

fn alignment(tile: &Tile) -> usize {
    let swizzled = tile.shared().is_some_and(|s| s.swizzle != Swizzle::None);
    if swizzled { SWIZZLED } else { ALIGNMENT }
}

/// Bytes of a tile, if some statement touches it.
fn bytes(tile: &Tile) -> Option<usize> {
    tile.shared().map(|s| (s.stages * s.stage_bytes).next_multiple_of(ALIGNMENT))
}

fn set_offset(tile: &mut Tile, offset: usize) {
    if let Place::Shared(s) = &mut tile.place {
        s.offset = offset;
    }
}

/// Places all tiles apart; returns the bytes used.
pub(super) fn apart(tiles: &mut [Tile]) -> usize {
    let mut end = 0;
    // The largest units first, so that little is lost between.
    for unit in [SWIZZLED, ALIGNMENT] {
        for tile in tiles.iter_mut().filter(|t| alignment(t) == unit) {
            if let Some(bytes) = bytes(tile) {
                set_offset(tile, end);
                end += bytes;
            }
        }
    }
    end
}

/// Places tiles so that temporaries of the body reuse memory; returns the bytes used.
///
/// A temporary is a tile that only the ordered body touches, first by writing it. Everything else
/// (loaded ahead, set up before the loop, carried in shared memory) keeps its own place. First fit
/// in order of birth; the largest first among equals.
pub(super) fn reusing(
    tiles: &mut [Tile],
    kept: &[&Vec<Stmt>],
    opening: &[Stmt],
    body: &[Stmt],
) -> usize {
    let outside: Vec<TileId> = kept
        .iter()
        .flat_map(|s| s.iter())
        .chain(opening)
        .flat_map(|s| s.reads().into_iter().chain(s.writes()))
        .collect();
    let mut end = 0;
    let mut temporaries: Vec<(Range<usize>, usize, usize)> = Vec::new();
    for (index, tile) in tiles.iter_mut().enumerate() {
        let Some(bytes) = bytes(tile) else { continue };
        match life(TileId(index), body) {
            Some(life) if !outside.contains(&TileId(index)) => {
                temporaries.push((life, bytes, index))
            }
            _ => {
                set_offset(tile, end);
                end += bytes;
            }
        }
    }
    temporaries.sort_by_key(|(life, bytes, index)| (std::cmp::Reverse(*bytes), life.start, *index));
    let first = end;
    let mut taken: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (life, bytes, index) in temporaries {
        let mut at = first;
        // Raise the offset past every tile in the way until none is.
        while let Some((_, memory)) = taken.iter().find(|(other, memory)| {
            other.start < life.end
                && life.start < other.end
                && memory.start < at + bytes
                && at < memory.end
        }) {
            at = memory.end;
        }
        set_offset(&mut tiles[index], at);
        taken.push((life, at..at + bytes));
        end = end.max(at + bytes);
    }
    end
}

/// From the first to the last statement that touches a tile, if the first one writes it without
/// reading it.
fn life(tile: TileId, body: &[Stmt]) -> Option<Range<usize>> {
    let touches = |s: &Stmt| s.writes().contains(&tile) || s.reads().contains(&tile);
    let first = body.iter().position(touches)?;
    let last = body.iter().rposition(touches)?;
    let fresh = body[first].writes().contains(&tile) && !body[first].reads().contains(&tile);
    fresh.then_some(first..last + 1)
}
