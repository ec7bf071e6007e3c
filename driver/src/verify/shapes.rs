//! The problems on which every program is verified.

use crate::extents::{self, Extents};
use sluice_ir::problem::Problem;
use sluice_ir::step::{Recurrence, State};
use std::collections::BTreeSet;

/// A problem with a name, independent of a program.
pub(super) struct Shape {
    /// What is special about it.
    pub(super) name: &'static str,
    /// Sizes of the dimensions left open, in order of declaration; the last one repeats.
    pub(super) sizes: &'static [usize],
    /// Tokens of each sequence.
    pub(super) lengths: &'static [usize],
    /// Heads.
    pub(super) heads: usize,
    /// Groups of heads.
    pub(super) groups: usize,
    /// Whether initial states are given.
    pub(super) initial: bool,
}

const EVEN: &[usize] = &[64, 64];
const WIDE: &[usize] = &[64, 96];
const ODD: &[usize] = &[20, 36];

/// All of them. The longest chunk has 64 tokens, so 63, 64 and 65 are one less, one, and one more
/// than a chunk of every length in use; 509 is prime.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    Shape { name: "no tokens", sizes: EVEN, lengths: &[0], heads: 2, groups: 2, initial: true },
    Shape { name: "one token", sizes: EVEN, lengths: &[1], heads: 2, groups: 2, initial: true },
    Shape { name: "chunk less one", sizes: EVEN, lengths: &[63], heads: 2, groups: 2, initial: false },
    Shape { name: "one chunk", sizes: EVEN, lengths: &[64], heads: 2, groups: 2, initial: false },
    Shape { name: "chunk and one", sizes: EVEN, lengths: &[65], heads: 2, groups: 2, initial: true },
    Shape { name: "long prime", sizes: WIDE, lengths: &[509], heads: 1, groups: 1, initial: false },
    Shape { name: "odd sizes", sizes: ODD, lengths: &[100], heads: 2, groups: 2, initial: true },
    Shape { name: "groups", sizes: WIDE, lengths: &[70], heads: 4, groups: 2, initial: false },
    Shape { name: "sequences", sizes: ODD, lengths: &[7, 0, 64, 1, 90], heads: 2, groups: 1, initial: true },
];

impl Shape {
    /// Sizes of a program's dimensions.
    fn extents(&self, recurrence: &Recurrence) -> Extents {
        let mut open = self.sizes.iter().chain(self.sizes.last().into_iter().cycle());
        extents::with_formulas(recurrence, |dim| {
            let size = dim.size.or_else(|| open.next().copied());
            size.expect("the last size repeats for ever")
        })
    }

    /// The problem for a program; sequences are as long as the shape says, or as the next whole row of
    /// a grid that the program passes over.
    pub(super) fn problem(&self, recurrence: &Recurrence) -> Problem {
        let extents = self.extents(recurrence);
        let columns =
            |state: &State| state.order.grid().map(|dim| extents[&recurrence.dims[dim.0].name]);
        let grids: BTreeSet<usize> = recurrence.states.iter().filter_map(columns).collect();
        let row: usize = grids.iter().product();
        let ends = self.lengths.iter().scan(0, |end, length| {
            *end += length.next_multiple_of(row);
            Some(*end)
        });
        Problem {
            extents,
            heads: self.heads,
            groups: self.groups,
            cu_seqlens: std::iter::once(0).chain(ends).collect(),
        }
    }
}
