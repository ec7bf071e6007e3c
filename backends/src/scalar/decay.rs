//! Scores and mixes whose decay differs per column, pair by pair.

use super::build::{Int, Real};
use super::entry::{Emitter, Place};
use sluice_ir::kernel::View;
use sluice_ir::seq::Mask;

impl<'c> Emitter<'c, '_> {
    /// `e^(to[n, t, c] - from[n, s, c])`
    fn decay(
        &self,
        [to, from]: [View; 2],
        [n, t, s, c]: [Int<'c>; 4],
        place: Place<'c>,
    ) -> Real<'c> {
        let (reader, writer) = (self.read(to, [n, t, c], place), self.read(from, [n, s, c], place));
        self.exp2(self.build.fsub(reader, writer))
    }

    /// The step of a row, where `steps` has one row for each step.
    fn step(&self, row: Int<'c>, rows: View, steps: View) -> Int<'c> {
        let b = &self.build;
        let ratio = self.kernel.shape(rows)[1] / self.kernel.shape(steps)[1];
        if ratio == 1 { row } else { b.div(row, b.int(ratio)) }
    }

    pub(super) fn score(
        &self,
        dst: View,
        [p, a, to, from]: [View; 4],
        mask: Mask,
        place: Place<'c>,
    ) {
        let b = &self.build;
        let features = self.kernel.shape(p)[2];
        b.each(self.kernel.shape(dst), |[n, t, s]| {
            let (step_t, step_s) = (self.step(t, p, to), self.step(s, a, from));
            let value = b.where_holds(self.holds(mask, step_t, step_s), || {
                let sum = b.variable(b.number(0.0));
                b.times(features, |c| {
                    let product =
                        b.fmul(self.read(p, [n, t, c], place), self.read(a, [n, s, c], place));
                    let decay = self.decay([to, from], [n, step_t, step_s, c], place);
                    sum.add(b.fmul(product, decay));
                });
                sum.get()
            });
            self.write(dst, [n, t, s], value, place);
        });
    }

    pub(super) fn mix(&self, dst: View, [w, y, to, from]: [View; 4], mask: Mask, place: Place<'c>) {
        let b = &self.build;
        let writers = self.kernel.shape(y)[1];
        b.each(self.kernel.shape(dst), |[n, t, v]| {
            let step_t = self.step(t, w, to);
            let sum = b.variable(b.number(0.0));
            b.times(writers, |s| {
                let step_s = self.step(s, y, from);
                b.when(self.holds(mask, step_t, step_s), || {
                    let product =
                        b.fmul(self.read(w, [n, t, s], place), self.read(y, [n, s, v], place));
                    let decay = self.decay([to, from], [n, step_t, step_s, v], place);
                    sum.add(b.fmul(product, decay));
                });
            });
            self.write(dst, [n, t, v], sum.get(), place);
        });
    }
}
