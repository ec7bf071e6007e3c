//! Scores with a decay per channel where every row is a step: every exponent is at most 0.
//!
//! For a pair of rows `t > s` and a row `m` with `s <= m < t` the decay `e^(to[t] - from[s])` is
//! `e^(to[t] - from[m]) e^(from[m] - from[s])`, two factors of at most 1 that go on the operands. A 16x16
//! block below the diagonal takes the row before its first reader as `m`. A block on the diagonal is halved
//! again and again: at each level the readers of the second half of every run of rows see the writers of the
//! first half, and `m` is the last of those. Each level is a product of its own; the pair `(t, s)` belongs to
//! the level of the highest bit of `t ^ s`. A row is a reader or a writer of a level, never both, so that one
//! factor serves both operands.

use super::emitter::Emitter;
use super::index::Index;
use super::score::Scores;
use super::types::{Compare, Val};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Mask, Operand, TileId, View};
use std::f64::consts::LOG2_E;

/// Rows and columns of the block that a warp computes at a time, and channels of one `mma`.
const BLOCK: usize = 16;

/// Writers from which on a pair belongs to the coarse part of a block on the diagonal, in rows apart.
const COARSE: usize = 4;

/// The sign of an exponent that is a difference.
#[derive(Clone, Copy)]
enum Sign {
    /// As it stands.
    Plus,
    /// The other one.
    Minus,
    /// The one that makes it at most 0.
    Least,
}

/// A level of a block on the diagonal.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    /// Runs whose halves have so many rows.
    Half(usize),
    /// Each row by itself.
    Own,
}

/// The levels that a warp computes at a time.
#[derive(Clone, Copy)]
enum Part {
    Coarse,
    Fine,
}

impl Part {
    fn levels(self, mask: Mask) -> &'static [Level] {
        match self {
            Part::Coarse => &[Level::Half(8), Level::Half(COARSE)],
            Part::Fine if mask == Mask::Strict => &[Level::Half(2), Level::Half(1)],
            Part::Fine => &[Level::Half(2), Level::Half(1), Level::Own],
        }
    }
}

/// The row half of each of the four registers of a left and of a right operand; the other bit of their
/// numbers is the half of the channels.
const LEFT: [usize; 4] = [0, 1, 0, 1];
const RIGHT: [usize; 4] = [0, 0, 1, 1];

/// A lane's values of 16 rows and 16 channels, by halves of rows, halves of channels, neighbours.
type Lanes<'c> = [[[Val<'c>; 2]; 2]; 2];

/// 16 rows and 16 channels of an operand.
enum Fragment<'c> {
    /// The registers of an operand.
    Rounded(Vec<Val<'c>>),
    /// What is rounded when it has been scaled.
    Wide(Lanes<'c>),
}

/// A block: its first reader and its first writer as rows of whole tiles.
struct Rows<'c> {
    reader: Index<'c>,
    writer: Index<'c>,
}

impl<'c> Emitter<'c, '_> {
    /// The scores of single steps on and below the diagonal; 0 above it.
    pub(super) fn score_steps(&self, s: &Scores) {
        let b = &self.b;
        let [blocks, rows, _] = self.kernel.shape(s.dst);
        let n = rows / BLOCK;
        // The parts of diagonal blocks take longest and come first.
        let kinds = [n, n, n * (n - 1) / 2];
        let all = kinds.iter().sum();
        self.spread_warps(blocks * all, |item| {
            let (block, item) = b.index_split(item, all);
            let at = |i: Index<'c>| b.index_add(b.index_mul(block, rows), b.index_mul(i, BLOCK));
            let number = |first: usize, of: usize| Index::below(b.index(item.minus(first)), of);
            let diagonal = |part: Part, first: usize| {
                let i = number(first, n);
                self.diagonal_block(s, part, (at(i), b.index_mul(i, BLOCK)));
                Vec::new()
            };
            let lower = || {
                let (i, j) = self.below_diagonal(number(2 * n, kinds[2]), n);
                let values = self.lower_block(s, &Rows { reader: at(i), writer: at(j) });
                self.write_scores(s.dst.tile, (at(i), b.index_mul(j, BLOCK)), &values);
                self.write_scores(s.dst.tile, (at(j), b.index_mul(i, BLOCK)), &[b.f32(0.0); 8]);
                Vec::new()
            };
            let rest = || {
                let fine = || diagonal(Part::Fine, n);
                match b.index_below(item, 2 * n) {
                    None => fine(),
                    Some(is_fine) => b.either(is_fine, fine, lower),
                }
            };
            let is_coarse = b.compare(Compare::Lt, b.index(item), b.i32(n as i64));
            b.either(is_coarse, || diagonal(Part::Coarse, 0), rest);
        });
    }

    /// Row and column of the `item`-th block below the diagonal, row by row.
    fn below_diagonal(&self, item: Index<'c>, n: usize) -> (Index<'c>, Index<'c>) {
        let b = &self.b;
        let item = b.index(item);
        let (mut row, mut first) = (b.i32(1), b.i32(0));
        for i in 2..n {
            let start = b.i32((i * (i - 1) / 2) as i64);
            let reached = b.compare(Compare::Le, start, item);
            row = b.select(reached, b.i32(i as i64), row);
            first = b.select(reached, start, first);
        }
        let col = b.like("llvm.sub", &[item, first]);
        (Index::below(row, n), Index::below(col, n - 1))
    }

    /// Writes the accumulators of a block.
    fn write_scores(&self, tile: TileId, (row, col): (Index<'c>, Index<'c>), values: &[Val<'c>]) {
        let b = &self.b;
        for (e, value) in values.iter().enumerate() {
            let row = b.index_add(row, self.quad()).plus(8 * (e / 2 % 2));
            let col = b.index_add(col, self.pair()).plus(8 * (e / 4) + e % 2);
            self.write(tile, row, col, *value);
        }
    }

    /// Two neighbouring channels of an f32 tile.
    fn neighbours(&self, tile: TileId, row: Index<'c>, channel: Index<'c>) -> [Val<'c>; 2] {
        let b = &self.b;
        let of = b.vector_type(2, b.types.f32);
        let pair = b.load(self.address(tile, row, channel), of);
        [0, 1].map(|i| b.element(pair, i, b.types.f32))
    }

    /// Sums in units of the exponential unit, which takes powers of two.
    fn in_octaves(&self, sums: &Lanes<'c>) -> Lanes<'c> {
        each(|h, c, e| self.b.fmul(sums[h][c][e], self.b.f32(LOG2_E)))
    }

    /// `2^(scaled - log2(e) plain)`, or the inverse of that; `scaled` is in octaves.
    fn power(&self, scaled: Val<'c>, plain: Val<'c>, sign: Sign) -> Val<'c> {
        let b = &self.b;
        let negative = |x| b.float("llvm.fneg", &[x]);
        let difference = match sign {
            Sign::Minus => b.fma(plain, b.f32(LOG2_E), negative(scaled)),
            Sign::Plus | Sign::Least => b.fma(plain, b.f32(-LOG2_E), scaled),
        };
        self.exp2(match sign {
            Sign::Least => negative(b.like("llvm.intr.fabs", &[difference])),
            Sign::Plus | Sign::Minus => difference,
        })
    }

    /// The lane's values in an f32 tile; `row` says in which row each half of its rows looks.
    fn lane_values(
        &self,
        tile: TileId,
        channel: Index<'c>,
        row: impl Fn(usize) -> Index<'c>,
    ) -> Lanes<'c> {
        [0, 1].map(|half| {
            let row = row(half);
            [0, 1].map(|c| {
                self.neighbours(tile, row, self.b.index_add(channel, self.pair()).plus(8 * c))
            })
        })
    }

    /// `e^(scaled - plain)` of each element, or the inverse of that; `scaled` is in octaves.
    fn factors(&self, scaled: &Lanes<'c>, plain: &Lanes<'c>, sign: Sign) -> Lanes<'c> {
        each(|h, c, e| self.power(scaled[h][c][e], plain[h][c][e], sign))
    }

    /// The registers of an operand times factors of its elements; `halves` says which rows each holds.
    fn scaled(
        &self,
        dtype: Dtype,
        rows: &Fragment<'c>,
        halves: [usize; 4],
        by: Option<&Lanes<'c>>,
    ) -> Vec<Val<'c>> {
        let b = &self.b;
        let of = b.vector_type(2, b.float_type(dtype));
        let as_vector = |register: Val<'c>| b.convert("llvm.bitcast", register, of);
        let pair = |values: &Lanes<'c>, r: usize| {
            let channels = if halves == LEFT { r / 2 } else { r % 2 };
            values[halves[r]][channels]
        };
        let scaled = |r: usize| match (rows, by) {
            (Fragment::Rounded(registers), None) => registers[r],
            (Fragment::Rounded(registers), Some(by)) => {
                let [low, high] = pair(by, r);
                let factors = as_vector(self.pack(dtype, low, high));
                let product = b.like("llvm.fmul", &[as_vector(registers[r]), factors]);
                b.convert("llvm.bitcast", product, b.types.i32)
            }
            (Fragment::Wide(rows), by) => {
                let [low, high] = match (pair(rows, r), by.map(|by| pair(by, r))) {
                    (row, None) => row,
                    ([low, high], Some(by)) => [b.fmul(low, by[0]), b.fmul(high, by[1])],
                };
                self.pack(dtype, low, high)
            }
        };
        (0..4).map(scaled).collect()
    }

    /// The operands of a block at 16 channels, as they are.
    fn operands(&self, s: &Scores, rows: &Rows<'c>, k: Index<'c>) -> [Fragment<'c>; 2] {
        let place = (Index::constant(0), 1);
        let whole = |view: View| View { blocks: 1, ..view };
        let wide = |view: View, first: Index<'c>| {
            let is_wide = self.kernel.tile(view.tile).dtype != s.operand;
            let row = |half: usize| self.b.index_add(first, self.quad()).plus(8 * half);
            is_wide.then(|| Fragment::Wide(self.lane_values(view.tile, k, row)))
        };
        let left = || {
            let p = Operand { view: whole(s.p), transposed: false };
            Fragment::Rounded(self.left_fragment(p, place, (rows.reader, k)))
        };
        let right = || {
            let a = Operand { view: whole(s.a), transposed: true };
            Fragment::Rounded(self.right_fragment(a, place, (k, rows.writer), 4))
        };
        [wide(s.p, rows.reader).unwrap_or_else(left), wide(s.a, rows.writer).unwrap_or_else(right)]
    }

    /// `sums + left right` of a 16x16 block.
    fn mma_block(
        &self,
        dtype: Dtype,
        [left, right]: [&[Val<'c>]; 2],
        sums: &[Val<'c>],
    ) -> Vec<Val<'c>> {
        let mut next = self.mma(dtype, left, &right[..2], &sums[..4]);
        next.extend(self.mma(dtype, left, &right[2..], &sums[4..]));
        next
    }

    /// The accumulators of a block below the diagonal.
    fn lower_block(&self, s: &Scores, rows: &Rows<'c>) -> Vec<Val<'c>> {
        let b = &self.b;
        let dtype = s.operand;
        let channels = self.kernel.shape(s.p)[2];
        let between = rows.reader.minus(1);
        let own =
            |first: Index<'c>| move |half: usize| b.index_add(first, self.quad()).plus(8 * half);
        self.fold(channels / BLOCK, 2, vec![b.f32(0.0); 8], |k, sums| {
            let k = b.index_mul(k, BLOCK);
            let [left, right] = self.operands(s, rows, k);
            let middle = self.in_octaves(&self.lane_values(s.from.tile, k, |_| between));
            let to = self.lane_values(s.to.tile, k, own(rows.reader));
            let by = self.factors(&middle, &to, Sign::Minus);
            let left = self.scaled(dtype, &left, LEFT, Some(&by));
            let from = self.lane_values(s.from.tile, k, own(rows.writer));
            let by = self.factors(&middle, &from, Sign::Plus);
            let right = self.scaled(dtype, &right, RIGHT, Some(&by));
            self.mma_block(dtype, [&left, &right], sums)
        })
    }

    /// Computes and writes the scores of some levels of a block on the diagonal.
    fn diagonal_block(&self, s: &Scores, part: Part, (first, col): (Index<'c>, Index<'c>)) {
        let b = &self.b;
        let channels = self.kernel.shape(s.p)[2];
        let rows = Rows { reader: first, writer: first };
        let own = |half: usize| b.index_add(first, self.quad()).plus(8 * half);
        let levels = part.levels(s.mask);
        let zeros = vec![b.f32(0.0); 8 * levels.len()];
        let sums = self.fold(channels / BLOCK, 2, zeros, |k, sums| {
            let k = b.index_mul(k, BLOCK);
            let operands = self.operands(s, &rows, k);
            let octaves = |tile| self.in_octaves(&self.lane_values(tile, k, own));
            let to = octaves(s.to.tile);
            let from = if s.to == s.from { to } else { octaves(s.from.tile) };
            let product = |(level, sums): (&Level, &[Val<'c>])| {
                let by = self.level_factors(s, *level, (first, k), [&to, &from]);
                self.level_product(s, *level, (&operands, by.as_ref()), sums)
            };
            levels.iter().zip(sums.chunks(8)).flat_map(product).collect()
        });
        let (t, zero) = (b.index(self.quad()), b.f32(0.0));
        let row = b.index_add(first, self.quad());
        let col = b.index_add(col, self.pair());
        for e in 0..8 {
            let ((row_half, col_half), next) = ((e / 2 % 2, e / 4), e % 2);
            let at = (row.plus(8 * row_half), col.plus(8 * col_half + next));
            let write = |value| self.write(s.dst.tile, at.0, at.1, value);
            if row_half != col_half {
                let halves = levels.iter().position(|level| *level == Level::Half(8));
                if let Some(level) = halves {
                    write(if row_half > col_half { sums[8 * level + e] } else { zero });
                }
                continue;
            }
            let writer = b.index(self.pair().plus(next));
            let apart = b.like("llvm.xor", &[t, writer]);
            let above = b.compare(Compare::Lt, t, writer);
            // The fine levels are those of writers less than four rows apart.
            let mut value = zero;
            for (level, sums) in levels.iter().zip(sums.chunks(8)).rev() {
                let least = match level {
                    Level::Half(8) => continue,
                    Level::Half(half) => *half,
                    Level::Own => 0,
                };
                let here = b.compare(Compare::Le, b.i32(least as i64), apart);
                value = b.select(here, sums[e], value);
            }
            let coarse = b.compare(Compare::Le, b.i32(COARSE as i64), apart);
            let mine = match part {
                Part::Coarse => coarse,
                Part::Fine => b.like("llvm.xor", &[coarse, b.bool(true)]),
            };
            b.when(mine, || write(b.select(above, zero, value)));
        }
    }

    /// What the rows of a level are scaled by; none if that is 1.
    fn level_factors(
        &self,
        s: &Scores,
        level: Level,
        (first, k): (Index<'c>, Index<'c>),
        [to, from]: [&Lanes<'c>; 2],
    ) -> Option<Lanes<'c>> {
        let b = &self.b;
        let quad = b.index(self.quad());
        let same = s.to == s.from;
        let half = match level {
            Level::Own if same => return None,
            Level::Own => {
                return Some(each(|h, c, e| self.exp2(b.fsub(to[h][c][e], from[h][c][e]))));
            }
            Level::Half(half) => half,
        };
        let middle = self.lane_values(s.from.tile, k, |h| {
            if half == 8 {
                return first.plus(7);
            }
            let run = Index::below(b.and(quad, b.i32(-(2 * half as i64))), 9 - 2 * half);
            b.index_add(first, run).plus(half - 1 + 8 * h)
        });
        // Readers lie below the row in the middle, and writers above.
        if half == 8 {
            return Some(self.factors(&[from[0], to[1]], &middle, Sign::Least));
        }
        if same {
            return Some(self.factors(to, &middle, Sign::Least));
        }
        let reads = b.compare(Compare::Ne, b.and(quad, b.i32(half as i64)), b.i32(0));
        let own = each(|h, c, e| b.select(reads, to[h][c][e], from[h][c][e]));
        Some(self.factors(&own, &middle, Sign::Least))
    }

    /// `sums` and the product of a level.
    fn level_product(
        &self,
        s: &Scores,
        level: Level,
        (operands, by): (&[Fragment<'c>; 2], Option<&Lanes<'c>>),
        sums: &[Val<'c>],
    ) -> Vec<Val<'c>> {
        let dtype = s.operand;
        let left = self.scaled(dtype, &operands[0], LEFT, by);
        // Both operands would be scaled by what is the decay of a row to itself.
        let by = by.filter(|_| level != Level::Own);
        let right = self.scaled(dtype, &operands[1], RIGHT, by);
        if level != Level::Half(8) {
            return self.mma_block(dtype, [&left, &right], sums);
        }
        let mut next = self.mma(dtype, &left, &right[..2], &sums[..4]);
        next.extend(&sums[4..]);
        next
    }
}

/// For each element of a lane.
fn each<'c>(value: impl Fn(usize, usize, usize) -> Val<'c>) -> Lanes<'c> {
    [0, 1].map(|h| [0, 1].map(|c| [0, 1].map(|e| value(h, c, e))))
}
