//! Reductions and running sums.

use super::build::{Int, Real};
use super::entry::{Emitter, Place};
use super::pointwise::Spot;
use sluice_ir::kernel::{Body, Over, Reduction, View};
use sluice_ir::seq::Mask;

impl<'c> Emitter<'c, '_> {
    /// Sum or maximum of `count` values, in their order.
    pub(super) fn combine(
        &self,
        op: Reduction,
        count: usize,
        value: impl FnOnce(Int<'c>) -> Real<'c>,
    ) -> Real<'c> {
        let b = &self.build;
        let result = b.variable(b.number(match op {
            Reduction::Sum => 0.0,
            Reduction::Max => f64::NEG_INFINITY,
        }));
        b.times(count, |k| {
            let (before, x) = (result.get(), value(k));
            result.set(match op {
                Reduction::Sum => b.fadd(before, x),
                Reduction::Max => b.intrinsic("llvm.maxnum", &[before, x]),
            });
        });
        result.get()
    }

    pub(super) fn reduce(&self, op: Reduction, dst: View, src: View, over: Over, place: Place<'c>) {
        let b = &self.build;
        let (to, from) = (self.kernel.shape(dst), self.kernel.shape(src));
        let run = from[1] / to[1];
        let count = match over {
            Over::Cols => from[2],
            Over::Rows => run,
        };
        b.each(to, |[n, r, c]| {
            let value = self.combine(op, count, |k| {
                let at = match over {
                    Over::Cols => [n, r, k],
                    Over::Rows => [n, b.offset(r, run, k), c],
                };
                self.read(src, at, place)
            });
            self.write(dst, [n, r, c], value, place);
        });
    }

    pub(super) fn running_sum(&self, dst: View, body: &Body, mask: Mask, place: Place<'c>) {
        let b = &self.build;
        let shape = self.kernel.shape(dst);
        let [blocks, rows, cols] = shape;
        let backward = matches!(mask, Mask::Tincl | Mask::Tstrict);
        let own = matches!(mask, Mask::Incl | Mask::Tincl);
        b.each([blocks, 1, cols], |[n, _, c]| {
            let sum = b.variable(b.number(0.0));
            b.times(rows, |step| {
                let t = if backward { b.sub(b.int(rows - 1), step) } else { step };
                let spot = Spot { shape, index: [n, t, c], place };
                let (before, x) = (sum.get(), self.body(body, spot, None));
                sum.add(x);
                self.write(dst, [n, t, c], if own { sum.get() } else { before }, place);
            });
        });
    }
}
