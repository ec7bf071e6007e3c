//! Running sums and reductions in shared memory.

use super::emitter::Emitter;
use super::index::Index;
use super::types::{Compare, Val};
use sluice_ir::kernel::{Binary, Body, Mask, Over, Reduction, TileId, View};

/// Lanes of a warp.
const LANES: usize = 32;

impl<'c> Emitter<'c, '_> {
    /// A `Run` statement.
    pub(super) fn running_sum(&self, dst: View, body: &Body, mask: Mask) {
        let b = &self.b;
        let [blocks, rows, cols] = self.kernel.shape(dst);
        if cols == 1 {
            self.spread_warps(blocks, |block| self.run_by_lanes((dst, body), block, rows, mask));
        } else {
            self.spread(blocks * cols, |i| {
                let (block, col) = b.index_split(i, cols);
                self.run_down((dst, body), (block, col), rows, mask);
            });
        }
        self.zero_padding(dst.tile);
    }

    /// Row of the whole tile for the `step`-th row that a running sum meets in a block.
    fn met(&self, mask: Mask, block: Index<'c>, rows: usize, step: Index<'c>) -> Index<'c> {
        let b = &self.b;
        let row = match mask {
            Mask::Incl | Mask::Strict => step,
            Mask::Tincl | Mask::Tstrict => b.index_flip(step, rows),
        };
        b.index_add(b.index_mul(block, rows), row)
    }

    /// One column of one block by one thread, row after row.
    fn run_down(
        &self,
        (dst, body): (View, &Body),
        (block, col): (Index<'c>, Index<'c>),
        rows: usize,
        mask: Mask,
    ) {
        let b = &self.b;
        self.fold(rows, 16, vec![b.f32(0.0)], |step, sum| {
            let row = self.met(mask, block, rows, step);
            let after = b.fadd(sum[0], self.element_of(body, &self.at(dst, row, col)));
            let result = if is_strict(mask) { sum[0] } else { after };
            self.write(dst.tile, row, col, result);
            vec![after]
        });
    }

    /// A single column of one block by one warp: each lane has a run of rows.
    fn run_by_lanes(&self, (dst, body): (View, &Body), block: Index<'c>, rows: usize, mask: Mask) {
        let b = &self.b;
        let column = Index::constant(0);
        let run = rows.div_ceil(LANES);
        let first = b.index_mul(self.lane(), run);
        let mut total = b.f32(0.0);
        let mut sums = Vec::new();
        for i in 0..run {
            let step = first.plus(i);
            let get = || {
                let row = self.met(mask, block, rows, step);
                vec![self.element_of(body, &self.at(dst, row, column))]
            };
            let value = match b.index_below(step, rows) {
                None => get()[0],
                Some(exists) => b.choose(exists, get, &[b.f32(0.0)])[0],
            };
            let after = b.fadd(total, value);
            sums.push(if is_strict(mask) { total } else { after });
            total = after;
        }
        let before = self.sum_of_lower_lanes(total);
        for (i, sum) in sums.into_iter().enumerate() {
            let step = first.plus(i);
            b.when_some(b.index_below(step, rows), || {
                let row = self.met(mask, block, rows, step);
                self.write(dst.tile, row, column, b.fadd(before, sum));
            });
        }
    }

    /// The sum of a value over the lanes below this one.
    fn sum_of_lower_lanes(&self, value: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let lane = self.thread().lane;
        let guarded = |moved: Val<'c>, by: usize| {
            let has = b.compare(Compare::Le, b.i32(by as i64), lane);
            b.select(has, moved, b.f32(0.0))
        };
        let mut sum = guarded(self.value_of_lower(value, 1), 1);
        for by in [1, 2, 4, 8, 16] {
            sum = b.fadd(sum, guarded(self.value_of_lower(sum, by), by));
        }
        sum
    }

    /// A `Reduce` statement.
    pub(super) fn reduce(&self, op: Reduction, dst: View, src: View, over: Over) {
        match over {
            Over::Cols => self.reduce_cols(op, dst, src),
            Over::Rows => self.reduce_rows(op, dst, src),
        }
        self.zero_padding(dst.tile);
    }

    /// Two values of a reduction as one.
    pub(super) fn joined(&self, op: Reduction, x: Val<'c>, y: Val<'c>) -> Val<'c> {
        match op {
            Reduction::Sum => self.b.fadd(x, y),
            Reduction::Max => self.binary(Binary::Max, x, y),
        }
    }

    /// What a reduction starts from.
    pub(super) fn neutral(&self, op: Reduction) -> Val<'c> {
        self.b.f32(match op {
            Reduction::Sum => 0.0,
            Reduction::Max => f64::NEG_INFINITY,
        })
    }

    /// Each row by a few neighbouring lanes, which then join their results.
    fn reduce_cols(&self, op: Reduction, dst: View, src: View) {
        let b = &self.b;
        let tile = self.kernel.tile(src.tile);
        let (rows, cols) = (tile.rows, tile.cols);
        let lanes = (cols / 4).clamp(1, LANES);
        let lanes = 1 << lanes.ilog2();
        let neutral = self.neutral(op);
        // All lanes of a warp must take part in the exchange, so rows past the end are met too.
        let met = (rows * lanes).next_multiple_of(self.threads());
        self.spread(met, |i| {
            let (row, lane) = b.index_split(i, lanes);
            let exists = b.index_below(row, rows);
            let mut value = self.fold(cols.div_ceil(lanes), 8, vec![neutral], |k, value| {
                let col = b.index_add(b.index_mul(k, lanes), lane);
                let inside = b.both(exists, b.index_below(col, cols));
                let get = || vec![self.joined(op, value[0], self.read(src.tile, row, col))];
                inside.map_or_else(get, |inside| b.choose(inside, get, value))
            })[0];
            let mut distance = lanes / 2;
            while distance > 0 {
                value = self.joined(op, value, self.value_of_partner(value, distance));
                distance /= 2;
            }
            let mine = b.index_below(lane, 1);
            b.when_some(b.both(exists, mine), || {
                self.write(dst.tile, row, Index::constant(0), value);
            });
        });
    }

    /// Each element of the result by one thread.
    fn reduce_rows(&self, op: Reduction, dst: View, src: View) {
        let b = &self.b;
        let [blocks, results, cols] = self.kernel.shape(dst);
        let per = self.kernel.shape(src)[1] / results;
        let count = blocks * results * cols;
        if per >= LANES && count <= self.thread().warps {
            return self.spread_warps(count, |i| {
                let (row, col) = b.index_split(i, cols);
                self.reduce_by_lanes(op, [dst, src], (row, col), per);
            });
        }
        self.spread(count, |i| {
            let (row, col) = b.index_split(i, cols);
            let first = b.index_mul(row, per);
            let value = self.fold(per, 8, vec![self.neutral(op)], |k, value| {
                let x = self.read(src.tile, b.index_add(first, k), col);
                vec![self.joined(op, value[0], x)]
            });
            self.write(dst.tile, row, col, value[0]);
        });
    }

    /// One element of the result by one warp.
    fn reduce_by_lanes(
        &self,
        op: Reduction,
        [dst, src]: [View; 2],
        (row, col): (Index<'c>, Index<'c>),
        per: usize,
    ) {
        let b = &self.b;
        let first = b.index_mul(row, per);
        let mut value = self.neutral(op);
        for k in 0..per.div_ceil(LANES) {
            let step = self.lane().plus(k * LANES);
            let get = || vec![self.read(src.tile, b.index_add(first, step), col)];
            let x = match b.index_below(step, per) {
                None => get()[0],
                Some(exists) => b.choose(exists, get, &[self.neutral(op)])[0],
            };
            value = self.joined(op, value, x);
        }
        for distance in [16, 8, 4, 2, 1] {
            value = self.joined(op, value, self.value_of_partner(value, distance));
        }
        let one = b.compare(Compare::Eq, self.thread().lane, b.i32(0));
        b.when(one, || self.write(dst.tile, row, col, value));
    }

    /// Zeros in the padding of a shared tile that a tensor product may read.
    pub(super) fn zero_padding(&self, dst: TileId) {
        let b = &self.b;
        let (tile, place) = self.shared_tile(dst);
        if tile.dtype.bytes() != 2 {
            return;
        }
        let zero = b.f32(0.0);
        let right = place.padded_cols - tile.cols;
        let below = place.padded_rows - tile.rows;
        if right > 0 {
            self.spread(tile.rows * right, |i| {
                let (row, col) = b.index_split(i, right);
                self.write(dst, row, col.plus(tile.cols), zero);
            });
        }
        if below > 0 {
            self.spread(below * place.padded_cols, |i| {
                let (row, col) = b.index_split(i, place.padded_cols);
                self.write(dst, row.plus(tile.rows), col, zero);
            });
        }
    }
}

fn is_strict(mask: Mask) -> bool {
    matches!(mask, Mask::Strict | Mask::Tstrict)
}
