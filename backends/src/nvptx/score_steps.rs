//! Scores with a decay per channel where every row is a step: every exponent is at most 0.
//!
//! For a pair of rows `t > s` and a row `m` with `s <= m < t` the decay `2^(to[t] - from[s])` is
//! `2^(to[t] - from[m]) 2^(from[m] - from[s])`, two factors of at most 1 that go on the operands. A 16x16
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

/// Rows and columns of the block that a warp computes at a time, and channels of one `mma`.
const BLOCK: usize = 16;

/// Writers from which on a pair belongs to the coarse part of a block on the diagonal, in rows apart.
const COARSE: usize = 4;

/// Blocks of channels that are written out in the loop over them, if not more than so many rows are scaled.
const UNROLLED: usize = 2;
const MOST_ROWS: usize = 3;

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

/// Scores with the same decays, made together: factors serve all, scaled rows all that read them.
struct Together<'s> {
    scores: &'s [Scores],
    /// The rows that differ: those of readers and those of writers.
    sides: [Vec<View>; 2],
}

impl<'s> Together<'s> {
    fn new(scores: &'s [Scores]) -> Self {
        let different = |of: fn(&Scores) -> View| {
            let mut views = Vec::new();
            for view in scores.iter().map(of) {
                if !views.contains(&view) {
                    views.push(view);
                }
            }
            views
        };
        Together { scores, sides: [different(|s| s.p), different(|s| s.a)] }
    }

    /// Blocks of channels that are written out.
    fn unrolled(&self) -> usize {
        let [readers, writers] = &self.sides;
        if readers.len() + writers.len() > MOST_ROWS { 1 } else { UNROLLED }
    }

    /// The rows of a score among those that differ.
    fn of<'x, T>(&self, s: &Scores, [readers, writers]: &'x [Vec<T>; 2]) -> [&'x T; 2] {
        let place = |views: &[View], view| views.iter().position(|v| *v == view);
        let [reader, writer] = [place(&self.sides[0], s.p), place(&self.sides[1], s.a)];
        let known = "it was listed";
        [&readers[reader.expect(known)], &writers[writer.expect(known)]]
    }

    /// The levels of a part that any of the scores has.
    fn levels(&self, part: Part) -> &'static [Level] {
        let levels = self.scores.iter().map(|s| part.levels(s.mask));
        levels.max_by_key(|levels| levels.len()).expect("there is a score")
    }
}

impl<'c> Emitter<'c, '_> {
    /// Scores of single steps, all with the same decays, on and below the diagonal; 0 above it.
    pub(super) fn score_steps(&self, scores: &[Scores]) {
        let b = &self.b;
        let together = &Together::new(scores);
        let [blocks, rows, _] = self.kernel.shape(scores[0].dst);
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
                self.diagonal_blocks(together, part, (at(i), b.index_mul(i, BLOCK)));
                Vec::new()
            };
            let lower = || {
                let (i, j) = self.below_diagonal(number(2 * n, kinds[2]), n);
                let values = self.lower_blocks(together, &Rows { reader: at(i), writer: at(j) });
                for (s, values) in scores.iter().zip(values.chunks(8)) {
                    let zeros = [b.f32(0.0); 8];
                    self.write_scores(s.dst.tile, (at(i), b.index_mul(j, BLOCK)), values);
                    self.write_scores(s.dst.tile, (at(j), b.index_mul(i, BLOCK)), &zeros);
                }
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

    /// `2^(x - y)`, or the inverse of that.
    fn power(&self, x: Val<'c>, y: Val<'c>, sign: Sign) -> Val<'c> {
        let b = &self.b;
        self.exp2(match sign {
            Sign::Plus => b.fsub(x, y),
            Sign::Minus => b.fsub(y, x),
            Sign::Least => {
                let distance = b.like("llvm.intr.fabs", &[b.fsub(x, y)]);
                b.float("llvm.fneg", &[distance])
            }
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

    /// `2^(x - y)` of each element, or the inverse of that.
    fn factors(&self, x: &Lanes<'c>, y: &Lanes<'c>, sign: Sign) -> Lanes<'c> {
        each(|h, c, e| self.power(x[h][c][e], y[h][c][e], sign))
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

    /// The rows that differ at 16 channels of a block, as they are.
    fn fragments(
        &self,
        together: &Together<'_>,
        rows: &Rows<'c>,
        k: Index<'c>,
    ) -> [Vec<Fragment<'c>>; 2] {
        let operand = together.scores[0].operand;
        let place = (Index::constant(0), 1);
        let fragment = |view: View, is_reader: bool| {
            let first = if is_reader { rows.reader } else { rows.writer };
            if self.kernel.tile(view.tile).dtype != operand {
                let row = |half: usize| self.b.index_add(first, self.quad()).plus(8 * half);
                return Fragment::Wide(self.lane_values(view.tile, k, row));
            }
            let operand = Operand { view: View { blocks: 1, ..view }, transposed: !is_reader };
            Fragment::Rounded(match is_reader {
                true => self.left_fragment(operand, place, (first, k)),
                false => self.right_fragment(operand, place, (k, first), 4),
            })
        };
        let [readers, writers] = &together.sides;
        [
            readers.iter().map(|view| fragment(*view, true)).collect(),
            writers.iter().map(|view| fragment(*view, false)).collect(),
        ]
    }

    /// All readers and all writers times factors.
    fn all_scaled(
        &self,
        dtype: Dtype,
        [readers, writers]: &[Vec<Fragment<'c>>; 2],
        [left, right]: [Option<&Lanes<'c>>; 2],
    ) -> [Vec<Vec<Val<'c>>>; 2] {
        [
            readers.iter().map(|rows| self.scaled(dtype, rows, LEFT, left)).collect(),
            writers.iter().map(|rows| self.scaled(dtype, rows, RIGHT, right)).collect(),
        ]
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

    /// The accumulators of a block below the diagonal, for one score after another.
    fn lower_blocks(&self, together: &Together<'_>, rows: &Rows<'c>) -> Vec<Val<'c>> {
        let b = &self.b;
        let Scores { to, from, p, operand, .. } = together.scores[0];
        let channels = self.kernel.shape(p)[2];
        let between = rows.reader.minus(1);
        let own =
            |first: Index<'c>| move |half: usize| b.index_add(first, self.quad()).plus(8 * half);
        let zeros = vec![b.f32(0.0); 8 * together.scores.len()];
        self.fold(channels / BLOCK, together.unrolled(), zeros, |k, sums| {
            let k = b.index_mul(k, BLOCK);
            let fragments = self.fragments(together, rows, k);
            let middle = self.lane_values(from.tile, k, |_| between);
            let reached = self.lane_values(to.tile, k, own(rows.reader));
            let left = self.factors(&middle, &reached, Sign::Minus);
            let since = self.lane_values(from.tile, k, own(rows.writer));
            let right = self.factors(&middle, &since, Sign::Plus);
            let scaled = self.all_scaled(operand, &fragments, [Some(&left), Some(&right)]);
            let product = |(s, sums): (&Scores, &[Val<'c>])| {
                let [left, right] = together.of(s, &scaled);
                self.mma_block(operand, [left, right], sums)
            };
            together.scores.iter().zip(sums.chunks(8)).flat_map(product).collect()
        })
    }

    /// Computes and writes the scores of some levels of a block on the diagonal.
    fn diagonal_blocks(
        &self,
        together: &Together<'_>,
        part: Part,
        (first, col): (Index<'c>, Index<'c>),
    ) {
        let b = &self.b;
        let Scores { to, from, p, operand, .. } = together.scores[0];
        let channels = self.kernel.shape(p)[2];
        let rows = Rows { reader: first, writer: first };
        let own = |half: usize| b.index_add(first, self.quad()).plus(8 * half);
        let levels = together.levels(part);
        let of_level = 8 * together.scores.len();
        let zeros = vec![b.f32(0.0); of_level * levels.len()];
        let sums = self.fold(channels / BLOCK, together.unrolled(), zeros, |k, sums| {
            let k = b.index_mul(k, BLOCK);
            let fragments = self.fragments(together, &rows, k);
            let reached = self.lane_values(to.tile, k, own);
            let since = if to == from { reached } else { self.lane_values(from.tile, k, own) };
            let at_level = |(level, sums): (&Level, &[Val<'c>])| {
                let by = self.level_factors([to, from], *level, (first, k), [&reached, &since]);
                // Both operands would be scaled by what is the decay of a row to itself.
                let right = by.as_ref().filter(|_| *level != Level::Own);
                let scaled = self.all_scaled(operand, &fragments, [by.as_ref(), right]);
                let product = |(s, sums): (&Scores, &[Val<'c>])| {
                    if !part.levels(s.mask).contains(level) {
                        return sums.to_vec();
                    }
                    let [left, right] = together.of(s, &scaled);
                    self.level_product(operand, *level, [left, right], sums)
                };
                let scores = together.scores.iter().zip(sums.chunks(8));
                scores.flat_map(product).collect::<Vec<_>>()
            };
            levels.iter().zip(sums.chunks(of_level)).flat_map(at_level).collect()
        });
        for (i, s) in together.scores.iter().enumerate() {
            let own = sums.chunks(of_level).map(|sums| &sums[8 * i..8 * i + 8]);
            let own: Vec<(Level, &[Val<'c>])> = levels.iter().copied().zip(own).collect();
            let own = own.into_iter().filter(|(level, _)| part.levels(s.mask).contains(level));
            self.write_diagonal(s.dst.tile, part, (first, col), &own.collect::<Vec<_>>());
        }
    }

    /// Writes the elements of a block on the diagonal that belong to a part.
    fn write_diagonal(
        &self,
        tile: TileId,
        part: Part,
        (first, col): (Index<'c>, Index<'c>),
        levels: &[(Level, &[Val<'c>])],
    ) {
        let b = &self.b;
        let (t, zero) = (b.index(self.quad()), b.f32(0.0));
        let row = b.index_add(first, self.quad());
        let col = b.index_add(col, self.pair());
        for e in 0..8 {
            let ((row_half, col_half), next) = ((e / 2 % 2, e / 4), e % 2);
            let at = (row.plus(8 * row_half), col.plus(8 * col_half + next));
            let write = |value| self.write(tile, at.0, at.1, value);
            if row_half != col_half {
                let halves = levels.iter().find(|(level, _)| *level == Level::Half(8));
                if let Some((_, sums)) = halves {
                    write(if row_half > col_half { sums[e] } else { zero });
                }
                continue;
            }
            let writer = b.index(self.pair().plus(next));
            let apart = b.like("llvm.xor", &[t, writer]);
            let above = b.compare(Compare::Lt, t, writer);
            // The fine levels are those of writers less than four rows apart.
            let mut value = zero;
            for (level, sums) in levels.iter().rev() {
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
        [to_view, from_view]: [View; 2],
        level: Level,
        (first, k): (Index<'c>, Index<'c>),
        [to, from]: [&Lanes<'c>; 2],
    ) -> Option<Lanes<'c>> {
        let b = &self.b;
        let quad = b.index(self.quad());
        let same = to_view == from_view;
        let half = match level {
            Level::Own if same => return None,
            Level::Own => {
                return Some(each(|h, c, e| self.exp2(b.fsub(to[h][c][e], from[h][c][e]))));
            }
            Level::Half(half) => half,
        };
        let middle = self.lane_values(from_view.tile, k, |h| {
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
        dtype: Dtype,
        level: Level,
        [left, right]: [&[Val<'c>]; 2],
        sums: &[Val<'c>],
    ) -> Vec<Val<'c>> {
        if level != Level::Half(8) {
            return self.mma_block(dtype, [left, right], sums);
        }
        let mut next = self.mma(dtype, left, &right[..2], &sums[..4]);
        next.extend(&sums[4..]);
        next
    }
}

/// For each element of a lane.
fn each<'c>(value: impl Fn(usize, usize, usize) -> Val<'c>) -> Lanes<'c> {
    [0, 1].map(|h| [0, 1].map(|c| [0, 1].map(|e| value(h, c, e))))
}
