//! The problems on which every program is verified.

use crate::extents::{self, Extents};
use sluice_ir::problem::Problem;
use sluice_ir::step::{DimId, Op, Recurrence};
use std::collections::BTreeSet;

/// A problem with a name, independent of a program.
pub(super) struct Shape {
    /// What is special about it.
    pub(super) name: &'static str,
    /// Sizes of the dimensions left open, in order of declaration; the last one repeats.
    pub(super) sizes: &'static [usize],
    /// Size of windows, and columns of grids, where the program leaves them open.
    pub(super) small: usize,
    /// Tokens of each sequence.
    pub(super) lengths: &'static [usize],
    /// Heads.
    pub(super) heads: usize,
    /// Groups of heads.
    pub(super) groups: usize,
    /// Whether initial states are given.
    pub(super) initial: bool,
    /// Whether inputs lie at the ends of their declared ranges.
    pub(super) ends: bool,
    /// Whether only what runs on a GPU is verified at it: sizes that change nothing but the machine code.
    pub(super) device: bool,
}

const EVEN: &[usize] = &[64, 64];
const WIDE: &[usize] = &[64, 96];
const FULL: &[usize] = &[128, 128];
const ODD: &[usize] = &[20, 36];
/// Values wider than a block of the grid takes.
const CUT: &[usize] = &[16, 136, 4];

/// Elements of the largest value of a step, or as many as two dimensions of a shape span; sizes that would
/// make a larger one are halved, so that evaluators in f64 stay quick.
const LARGEST_VALUE: usize = 64 * 96;

/// Sizes are not halved below this one.
const SMALLEST: usize = 4;

/// All of them. The longest chunk has 64 tokens, so 63, 64 and 65 are one less, one, and one more
/// than a chunk of every length in use; 509 is prime. Scans in roles take widths of a multiple of 64.
/// At the ends of ranges the first sequence mixes them, the second has the upper ones only and the third
/// the lower ones. A shape's place in the list is the seed of its values: append.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    Shape { name: "no tokens", sizes: EVEN, small: 4, lengths: &[0], heads: 2, groups: 2, initial: true, ends: false, device: false },
    Shape { name: "one token", sizes: EVEN, small: 4, lengths: &[1], heads: 2, groups: 2, initial: true, ends: false, device: false },
    Shape { name: "chunk less one", sizes: EVEN, small: 4, lengths: &[63], heads: 2, groups: 2, initial: false, ends: false, device: false },
    Shape { name: "one chunk", sizes: EVEN, small: 4, lengths: &[64], heads: 2, groups: 2, initial: false, ends: false, device: false },
    Shape { name: "chunk and one", sizes: EVEN, small: 4, lengths: &[65], heads: 2, groups: 2, initial: true, ends: false, device: false },
    Shape { name: "long prime", sizes: WIDE, small: 4, lengths: &[509], heads: 1, groups: 1, initial: false, ends: false, device: false },
    Shape { name: "odd sizes", sizes: ODD, small: 3, lengths: &[100], heads: 2, groups: 2, initial: true, ends: false, device: false },
    Shape { name: "groups", sizes: WIDE, small: 4, lengths: &[70], heads: 4, groups: 2, initial: false, ends: false, device: false },
    Shape { name: "sequences", sizes: ODD, small: 3, lengths: &[7, 0, 64, 1, 90], heads: 2, groups: 1, initial: true, ends: false, device: false },
    Shape { name: "ends of ranges", sizes: ODD, small: 3, lengths: &[90, 40, 40], heads: 1, groups: 1, initial: true, ends: true, device: false },
    Shape { name: "empty sequences", sizes: ODD, small: 3, lengths: &[0, 0, 0], heads: 2, groups: 1, initial: true, ends: false, device: false },
    Shape { name: "long even", sizes: EVEN, small: 4, lengths: &[7, 260, 64], heads: 2, groups: 1, initial: true, ends: false, device: false },
    Shape { name: "even ends", sizes: EVEN, small: 4, lengths: &[90, 40, 40], heads: 1, groups: 1, initial: true, ends: true, device: false },
    Shape { name: "full heads", sizes: FULL, small: 4, lengths: &[130, 40], heads: 1, groups: 1, initial: true, ends: false, device: true },
    Shape { name: "decoding", sizes: WIDE, small: 4, lengths: &[1, 1, 1], heads: 2, groups: 1, initial: true, ends: false, device: false },
    Shape { name: "wide values", sizes: CUT, small: 4, lengths: &[70, 3], heads: 2, groups: 1, initial: false, ends: false, device: false },
];

impl Shape {
    /// The problem for a program. A program that takes the tokens as a grid gets whole rows of it.
    pub(super) fn problem(&self, recurrence: &Recurrence) -> Problem {
        let extents = self.extents(recurrence);
        let columns = recurrence.states.iter().filter_map(|s| s.order.grid());
        let columns: BTreeSet<usize> =
            columns.map(|d| extents[&recurrence.dims[d.0].name]).collect();
        let row: usize = columns.iter().product();
        let ends = self.lengths.iter().scan(0, |end, length| {
            *end += length.next_multiple_of(row.max(1));
            Some(*end)
        });
        let cu_seqlens = std::iter::once(0).chain(ends).collect();
        Problem { extents, heads: self.heads, groups: self.groups, cu_seqlens }
    }

    /// Sizes of a program's dimensions.
    fn extents(&self, recurrence: &Recurrence) -> Extents {
        let small = small(recurrence);
        let mut open = self.sizes.iter().chain(self.sizes.last().into_iter().cycle());
        let mut sizes = Sizes { recurrence, chosen: Vec::new() };
        for (i, dim) in recurrence.dims.iter().enumerate() {
            let size = match dim.size {
                _ if dim.formula.is_some() => 0,
                Some(size) => size,
                None if small.contains(&DimId(i)) => self.small,
                None => *open.next().expect("the last size repeats for ever"),
            };
            sizes.chosen.push(size);
        }
        sizes.even_out();
        sizes.shrink(&small, LARGEST_VALUE.max(self.sizes.iter().product()));
        sizes.extents()
    }
}

/// The dimensions of windows, and those that number the columns of a grid.
fn small(recurrence: &Recurrence) -> BTreeSet<DimId> {
    let windows = recurrence.nodes.iter().filter(|n| matches!(n.op, Op::Push(..)));
    let windows = windows.filter_map(|n| n.dims.first().copied());
    windows.chain(recurrence.states.iter().filter_map(|s| s.order.grid())).collect()
}

/// Sizes in the making; those of formulas are never read.
struct Sizes<'a> {
    recurrence: &'a Recurrence,
    chosen: Vec<usize>,
}

impl Sizes<'_> {
    fn extents(&self) -> Extents {
        let named = self.recurrence.dims.iter().zip(&self.chosen);
        let sizes: Extents = named.map(|(dim, size)| (dim.name.clone(), *size)).collect();
        extents::with_formulas(self.recurrence, |dim| sizes[&dim.name])
    }

    /// Whether every formula has a value.
    fn come_out(&self) -> bool {
        let extents = self.extents();
        (0..self.chosen.len()).all(|d| self.recurrence.size(DimId(d), &extents).is_some())
    }

    /// Rounds open sizes up to multiples of ever larger powers of two until quotients come out even.
    fn even_out(&mut self) {
        let first = self.chosen.clone();
        for step in [8, 16, 32, 64] {
            if self.come_out() {
                return;
            }
            for (d, size) in first.iter().enumerate() {
                if self.recurrence.is_open(DimId(d)) {
                    self.chosen[d] = size.next_multiple_of(step);
                }
            }
        }
    }

    /// Halves sizes until no value of a step has more elements than `most`, each time the one that helps most.
    fn shrink(&mut self, small: &BTreeSet<DimId>, most: usize) {
        while self.largest() > most {
            let mut best: Option<(usize, usize)> = None;
            for d in 0..self.chosen.len() {
                let size = self.chosen[d];
                let fixed = !self.recurrence.is_open(DimId(d)) || small.contains(&DimId(d));
                if fixed || size / 2 < SMALLEST {
                    continue;
                }
                self.chosen[d] = size / 2;
                if self.come_out() && best.is_none_or(|(volume, _)| self.largest() <= volume) {
                    best = Some((self.largest(), d));
                }
                self.chosen[d] = size;
            }
            let Some((_, d)) = best else { return };
            self.chosen[d] /= 2;
        }
    }

    /// Elements of the largest value.
    fn largest(&self) -> usize {
        let extents = self.extents();
        let volume = |dims: &[DimId]| {
            let sizes = dims.iter().map(|d| self.recurrence.size(*d, &extents).unwrap_or(1));
            sizes.product()
        };
        self.recurrence.nodes.iter().map(|n| volume(&n.dims)).max().unwrap_or(0)
    }
}
