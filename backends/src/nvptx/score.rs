//! Scores and mixtures with a decay per channel: every exponent is at most 0.

use super::emitter::Emitter;
use super::index::Index;
use super::types::Val;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Mask, Operand, Unit, View};

/// Rows and columns of the block that a warp computes at a time on tensor cores.
const BLOCK: usize = 16;

/// The views of a `Score` statement, in its order.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    pub(super) dst: View,
    pub(super) p: View,
    pub(super) a: View,
    pub(super) to: View,
    pub(super) from: View,
    pub(super) mask: Mask,
    /// What tensor cores multiply.
    pub(super) operand: Dtype,
}

impl<'c> Emitter<'c, '_> {
    /// `Score` statements with the same decays and no barrier between them.
    pub(super) fn scores(&self, scores: &[Scores], unit: Unit) {
        let single = |s: &Scores| self.kernel.shape(s.p)[1] == self.kernel.shape(s.to)[1];
        match unit {
            Unit::Tensor | Unit::Warpgroup => {
                let (steps, blocks): (Vec<_>, Vec<_>) = scores.iter().copied().partition(single);
                if !steps.is_empty() {
                    self.score_steps(&steps);
                }
                blocks.iter().for_each(|s| self.score_blocks(s));
            }
            Unit::Scalar => scores.iter().for_each(|s| self.score_pairs(s)),
        }
        scores.iter().for_each(|s| self.zero_padding(s.dst.tile));
    }

    /// Row of a whole tile.
    fn row_in(&self, view: View, block: Index<'c>, row: Index<'c>) -> Index<'c> {
        self.b.index_add(self.b.index_mul(block, self.kernel.shape(view)[1]), row)
    }

    /// A thread for each pair of rows.
    fn score_pairs(&self, s: &Scores) {
        let b = &self.b;
        let [blocks, rows, cols] = self.kernel.shape(s.dst);
        let channels = self.kernel.shape(s.p)[2];
        let (per_t, per_s) = self.steps(s.dst, s.to, s.from);
        self.spread(blocks * rows * cols, |i| {
            let (row, writer) = b.index_split(i, cols);
            let (block, reader) = b.index_split(row, rows);
            let (t, _) = b.index_split(reader, per_t);
            let (w, _) = b.index_split(writer, per_s);
            let rows = [
                self.row_in(s.p, block, reader),
                self.row_in(s.a, block, writer),
                self.row_in(s.to, block, t),
                self.row_in(s.from, block, w),
            ];
            let sum = || {
                self.fold(channels, 8, vec![b.f32(0.0)], |c, sum| {
                    let decay = self.decay((s.to, rows[2]), (s.from, rows[3]), c);
                    let p = b.fmul(self.read(s.p.tile, rows[0], c), decay);
                    vec![b.fma(p, self.read(s.a.tile, rows[1], c), sum[0])]
                })
            };
            let value = b.choose(self.holds(s.mask, t, w), sum, &[b.f32(0.0)]);
            self.write(s.dst.tile, row, writer, value[0]);
        });
    }

    /// `2^(to - from)` in one channel.
    fn decay(&self, to: (View, Index<'c>), from: (View, Index<'c>), channel: Index<'c>) -> Val<'c> {
        let at = self.read(to.0.tile, to.1, channel);
        let since = self.read(from.0.tile, from.1, channel);
        self.exp2(self.b.fsub(at, since))
    }

    /// Rows of a result and columns of a result that share a step.
    fn steps(&self, dst: View, to: View, from: View) -> (usize, usize) {
        let [_, rows, cols] = self.kernel.shape(dst);
        (rows / self.kernel.shape(to)[1], cols / self.kernel.shape(from)[1])
    }

    /// A warp for each 16x16 block of pairs: within a block the steps are the same, so the decay
    /// is a factor for each channel and goes on the fragments of `p`.
    fn score_blocks(&self, s: &Scores) {
        let b = &self.b;
        let [blocks, rows, cols] = self.kernel.shape(s.dst);
        let (down, across) = (rows / BLOCK, cols / BLOCK);
        let (per_t, per_s) = self.steps(s.dst, s.to, s.from);
        self.spread_warps(blocks * down * across, |n| {
            let (n, j) = b.index_split(n, across);
            let (block, i) = b.index_split(n, down);
            let (i, j) = (b.index_mul(i, BLOCK), b.index_mul(j, BLOCK));
            let (t, _) = b.index_split(i, per_t);
            let (w, _) = b.index_split(j, per_s);
            let zeros = [b.f32(0.0); 8];
            let holds = self.holds(s.mask, t, w);
            let values = b.choose(holds, || self.score_block(s, block, (i, j), (t, w)), &zeros);
            for (e, value) in values.into_iter().enumerate() {
                let row = b.index_add(i, self.quad()).plus(8 * (e / 2 % 2));
                let col = b.index_add(j, self.pair()).plus(8 * (e / 4) + e % 2);
                self.write(s.dst.tile, self.row_in(s.dst, block, row), col, value);
            }
        });
    }

    /// The accumulators of one 16x16 block.
    fn score_block(
        &self,
        s: &Scores,
        block: Index<'c>,
        (i, j): (Index<'c>, Index<'c>),
        (t, w): (Index<'c>, Index<'c>),
    ) -> Vec<Val<'c>> {
        let b = &self.b;
        let dtype = s.operand;
        let channels = self.kernel.shape(s.p)[2];
        let place = (block, s.dst.blocks);
        let left = Operand { view: s.p, transposed: false };
        let right = Operand { view: s.a, transposed: true };
        let (to, from) = (self.row_in(s.to, block, t), self.row_in(s.from, block, w));
        self.fold(channels.div_ceil(BLOCK), 4, vec![b.f32(0.0); 8], |k, sums| {
            let k = b.index_mul(k, BLOCK);
            let first = b.index_add(k, self.pair());
            let factor = |by: usize| {
                let channel = first.plus(by);
                let decay = || vec![self.decay((s.to, to), (s.from, from), channel)];
                match b.index_below(channel, channels) {
                    None => decay()[0],
                    Some(exists) => b.choose(exists, decay, &[b.f32(0.0)])[0],
                }
            };
            let factors = [factor(0), factor(1), factor(8), factor(9)];
            let scaled: Vec<Val<'c>> = self
                .left_fragment(left, place, (i, k))
                .into_iter()
                .enumerate()
                .map(|(r, pair)| {
                    let [low, high] = self.unpack(dtype, pair);
                    let f = &factors[2 * (r / 2)..];
                    self.pack(dtype, b.fmul(low, f[0]), b.fmul(high, f[1]))
                })
                .collect();
            let pairs = self.right_fragment(right, place, (k, j), 4);
            let mut next = self.mma(dtype, &scaled, &pairs[..2], &sums[..4]);
            next.extend(self.mma(dtype, &scaled, &pairs[2..], &sums[4..]));
            next
        })
    }

    /// A `Mix` statement: a thread for each element of the result.
    pub(super) fn mix(&self, dst: View, [w, y, to, from]: [View; 4], mask: Mask) {
        let b = &self.b;
        let [blocks, rows, cols] = self.kernel.shape(dst);
        let writers = self.kernel.shape(y)[1];
        let per_t = rows / self.kernel.shape(to)[1];
        let per_s = writers / self.kernel.shape(from)[1];
        self.spread(blocks * rows * cols, |i| {
            let (row, col) = b.index_split(i, cols);
            let (block, reader) = b.index_split(row, rows);
            let (t, _) = b.index_split(reader, per_t);
            let own = b.index(b.index_mul(t, per_s));
            let next = b.index(b.index_mul(t.plus(1), per_s));
            let (none, all) = (b.i32(0), b.i32(writers as i64));
            let (first, end) = match mask {
                Mask::Incl => (none, next),
                Mask::Strict => (none, own),
                Mask::Tincl => (own, all),
                Mask::Tstrict => (next, all),
            };
            let reached = self.read(to.tile, self.row_in(to, block, t), col);
            let sum = b.repeat(first, end, b.i32(1), &[b.f32(0.0)], |s, sum| {
                let s = Index::below(s, writers);
                let (step, _) = b.index_split(s, per_s);
                let since = self.read(from.tile, self.row_in(from, block, step), col);
                let weight = self.read(w.tile, self.row_in(w, block, reader), s);
                let value = self.read(y.tile, self.row_in(y, block, s), col);
                let factor = b.fmul(weight, self.exp2(b.fsub(reached, since)));
                vec![b.fma(factor, value, sum[0])]
            });
            self.write(dst.tile, row, col, sum[0]);
        });
        self.zero_padding(dst.tile);
    }
}
