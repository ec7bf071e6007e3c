//! Matrix products and the inverse of unit triangular matrices.

use super::build::{BUILDS, Int, Real};
use super::entry::{Emitter, Place};
use super::pointwise::Spot;
use inkwell::IntPredicate;
use sluice_ir::kernel::{Band, Mma, Operand, Place as TilePlace, Start, View};

impl<'c> Emitter<'c, '_> {
    /// Rows of the destination one after the other; a row is summed in the scratch, over the inner
    /// dimension from its first element on, so that the innermost loop walks along rows.
    pub(super) fn product(&self, m: &Mma, place: Place<'c>) {
        let b = &self.build;
        let shape = self.kernel.shape(m.dst);
        let [_, rows, cols] = self.kernel.shape(m.a.view);
        let inner = if m.a.transposed { rows } else { cols };
        b.times(shape[0], |n| {
            b.times(shape[1], |i| {
                b.times(shape[2], |j| {
                    let start = match m.start {
                        Start::Zero => b.number(0.0),
                        Start::Dst => self.read(m.dst, [n, i, j], place),
                        Start::Tile(view) => self.read(view, [n, i, j], place),
                    };
                    self.keep(j, start);
                });
                b.times(inner, |k| {
                    let left = self.operand(m.a, shape[0], [n, i, k], place);
                    b.times(shape[2], |j| {
                        let right = self.operand(m.b, shape[0], [n, k, j], place);
                        self.keep(j, b.fadd(self.kept(j), b.fmul(left, right)));
                    });
                });
                b.times(shape[2], |j| self.finish_element(m, [n, i, j], place));
            });
        });
    }

    /// Applies `then` and the band to a sum and writes it.
    fn finish_element(&self, m: &Mma, index: [Int<'c>; 3], place: Place<'c>) {
        let b = &self.build;
        let [_, i, j] = index;
        let sum = self.kept(j);
        let value = match &m.then {
            Some(body) => {
                let shape = self.kernel.shape(m.dst);
                self.body(body, Spot { shape, index, place }, Some(sum))
            }
            None => sum,
        };
        let predicate = match (m.band, self.kernel.tile(m.dst.tile).place) {
            // Into columns the band only promises where `a` is zero.
            (Band::Full, _) | (_, TilePlace::Columns) => None,
            (Band::Lower, TilePlace::Shared(_)) => Some(IntPredicate::SLE),
            (Band::Upper, TilePlace::Shared(_)) => Some(IntPredicate::SGE),
        };
        let value = match predicate {
            Some(p) => b.choose(b.compare(p, j, i), value, b.number(0.0)),
            None => value,
        };
        self.write(m.dst, index, value, place);
    }

    /// Element of an operand; one with fewer blocks than the destination serves several.
    fn operand(
        &self,
        operand: Operand,
        blocks: usize,
        [n, i, j]: [Int<'c>; 3],
        place: Place<'c>,
    ) -> Real<'c> {
        let b = &self.build;
        let n = match blocks / self.kernel.shape(operand.view)[0] {
            1 => n,
            ratio => b.div(n, b.int(ratio)),
        };
        let index = if operand.transposed { [n, j, i] } else { [n, i, j] };
        self.read(operand.view, index, place)
    }

    fn kept(&self, index: Int<'c>) -> Real<'c> {
        self.build.load(self.build.real, self.scratch(index)).into_float_value()
    }

    fn keep(&self, index: Int<'c>, value: Real<'c>) {
        self.build.raw.build_store(self.scratch(index), value).expect(BUILDS);
    }

    /// `X = (I - L)^-1 - I` row by row from `X = L + L X`, unrounded in the scratch.
    pub(super) fn inverse(&self, dst: View, src: View, upper: bool, place: Place<'c>) {
        let b = &self.build;
        let [blocks, size, _] = self.kernel.shape(dst);
        let at = |i, j| b.offset(i, size, j);
        let last = b.int(size - 1);
        b.times(blocks, |n| {
            b.times(size, |step| {
                let i = if upper { b.sub(last, step) } else { step };
                let beside = |j| if upper { b.less(i, j) } else { b.less(j, i) };
                b.times(size, |j| {
                    let own = self.read(src, [n, i, j], place);
                    self.keep(at(i, j), b.choose(beside(j), own, b.number(0.0)));
                });
                let (from, to) =
                    if upper { (b.add(i, b.int(1)), b.int(size)) } else { (b.int(0), i) };
                b.range(from, to, |k| {
                    let factor = self.read(src, [n, i, k], place);
                    b.times(size, |j| {
                        let through = b.fmul(factor, self.kept(at(k, j)));
                        self.keep(at(i, j), b.fadd(self.kept(at(i, j)), through));
                    });
                });
            });
            b.each([1, size, size], |[_, i, j]| {
                self.write(dst, [n, i, j], self.kept(at(i, j)), place)
            });
        });
    }
}
