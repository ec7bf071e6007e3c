//! How the columns of a step's states are shared out to blocks, warps and lanes.
//!
//! In: sizes.  Out: parts of the value axis, pieces of rows a lane, warps a block. What a block loads at
//! once hides the latency of memory, so a lane holds many values of a state; pieces are what one load
//! moves.

use sluice_ir::kernel::Lanes;

/// What a block takes of the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grain {
    /// Columns at most.
    pub(super) columns: usize,
    /// Values a lane, which decides how many warps there are.
    pub(super) values: usize,
}

impl Grain {
    /// For many states: 16 pieces a lane are under way before the first is needed.
    pub(super) const COARSE: Grain = Grain { columns: 64, values: 64 };
    /// For few states, where more blocks share the work.
    pub(super) const FINE: Grain = Grain { columns: 32, values: 32 };
    /// For many tokens after each other, where the states stay and each token should be quick.
    pub(super) const QUICK: Grain = Grain { columns: 32, values: 16 };
}

/// Columns of a part, and how they are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) lanes: Lanes,
    pub(super) warps: usize,
}

/// Values of the largest piece: 16 bytes of f32.
const PIECE: usize = 4;
const MOST_WARPS: usize = 16;
const WARP: usize = 32;

/// Columns of one part of an axis.
pub(super) fn part(width: usize, grain: Grain) -> usize {
    let parts = width.div_ceil(grain.columns);
    width.div_ceil(parts).next_multiple_of(PIECE).min(width)
}

/// How states of these rows and columns (of one part) are spread; `whole` are the columns of all parts.
pub(super) fn spread(states: &[[usize; 2]], whole: &[usize], grain: Grain) -> Spread {
    let even = |width: &usize| whole.iter().all(|columns| columns.is_multiple_of(*width));
    let width = [PIECE, PIECE / 2].into_iter().find(even).unwrap_or(1);
    let widest = states.iter().map(|[_, columns]| *columns).max().unwrap_or(1);
    let across = widest.div_ceil(width).next_power_of_two().min(WARP);
    let values: usize = states.iter().map(|[rows, columns]| rows * columns).sum();
    let warps = values.div_ceil(grain.values * WARP).next_power_of_two().min(MOST_WARPS);
    Spread { lanes: Lanes { width, across }, warps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_alike_and_made_of_pieces() {
        for width in 1..300 {
            let part = part(width, Grain::COARSE);
            let parts = width.div_ceil(part);
            assert!(part <= 64 && parts == width.div_ceil(64), "{width}: {part}");
            assert!(part == width || part.is_multiple_of(4), "{width}: {part}");
        }
        assert_eq!([96, 128, 70].map(|width| part(width, Grain::COARSE)), [48, 64, 36]);
    }

    #[test]
    fn lanes_hold_pieces_of_rows_and_what_the_grain_says() {
        let lanes = |width, across| Lanes { width, across };
        let found = spread(&[[128, 64]], &[128], Grain::COARSE);
        assert_eq!(found, Spread { lanes: lanes(4, 16), warps: 4 });
        assert_eq!(found.lanes.run(128, 4) * found.lanes.of_row(64), 64);
        let found = spread(&[[128, 32]], &[128], Grain::FINE);
        assert_eq!(found, Spread { lanes: lanes(4, 8), warps: 4 });
        // Rows that are no whole pieces, and lanes that have nothing.
        assert_eq!(spread(&[[20, 35]], &[35], Grain::COARSE).lanes, lanes(1, 32));
        assert_eq!(spread(&[[20, 36]], &[70], Grain::COARSE).lanes, lanes(2, 32));
        assert_eq!(spread(&[[20, 36]], &[36], Grain::COARSE).lanes, lanes(4, 16));
    }
}
