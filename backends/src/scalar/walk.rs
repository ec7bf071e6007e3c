//! Walks over the tokens of a chunk, one point after the other.

use super::build::{Int, Real};
use super::entry::{Emitter, Place};
use super::pointwise::Site;
use inkwell::IntPredicate;
use sluice_ir::kernel::{Expr, Law, Row, Walk};
use sluice_ir::pointwise::Ring;

impl<'c> Emitter<'c, '_> {
    /// Tokens of the chunk that exist.
    pub(super) fn live(&self, place: Place<'c>) -> Int<'c> {
        let b = &self.build;
        let first = b.mul(place.chunk, b.int(self.kernel.chunk));
        let left = b.sub(place.length, first);
        let more = b.compare(IntPredicate::SGT, left, b.int(self.kernel.chunk));
        b.choose_int(more, b.int(self.kernel.chunk), left)
    }

    pub(super) fn walk(&self, walk: &Walk, place: Place<'c>) {
        let b = &self.build;
        b.times(walk.points, |point| {
            b.range(b.int(0), self.live(place), |token| {
                let sums: Vec<_> = walk.results.iter().map(|_| b.variable(b.number(0.0))).collect();
                b.times(walk.inner, |n| {
                    for (result, value) in self.element_step(walk, [token, point, n], place) {
                        sums[result].add(value);
                    }
                });
                for (result, sum) in walk.results.iter().zip(&sums).filter(|(r, _)| r.sum) {
                    let at = self.access(&result.dst, &[token, point, b.int(0)], place);
                    self.put(result.dst.tile, at, sum.get());
                }
            });
        });
    }

    /// One token of one element of a point; gives the values of the results that are sums.
    fn element_step(
        &self,
        walk: &Walk,
        at: [Int<'c>; 3],
        place: Place<'c>,
    ) -> Vec<(usize, Real<'c>)> {
        let b = &self.build;
        let read = |a| b.load(b.real, self.access(a, &at, place)).into_float_value();
        let before: Vec<Real<'c>> = walk.states.iter().map(read).collect();
        let args: Vec<Real<'c>> = walk.args.iter().map(read).collect();
        // What a law may not read is never looked at.
        let known = |after: &[Real<'c>]| [&before, after, &args].concat();
        let value = |e: &Expr, all: &[Real<'c>]| self.value(e, all, Site::Point(&[]));
        let all = known(&before);
        let after: Vec<Real<'c>> = match &walk.law {
            Law::Free(after) => after.iter().map(|e| value(e, &all)).collect(),
            Law::Linear { ring, rows } => {
                rows.iter().map(|row| self.row(*ring, row, &before, &|e| value(e, &all))).collect()
            }
        };
        let all = known(&after);
        let results: Vec<Real<'c>> = walk.results.iter().map(|r| value(&r.expr, &all)).collect();
        for (state, x) in walk.states.iter().zip(after) {
            self.put(state.tile, self.access(state, &at, place), x);
        }
        let mut sums = Vec::new();
        for (i, (result, x)) in walk.results.iter().zip(results).enumerate() {
            if result.sum {
                sums.push((i, x));
            } else {
                self.put(result.dst.tile, self.access(&result.dst, &at, place), x);
            }
        }
        sums
    }

    fn row(
        &self,
        ring: Ring,
        row: &Row,
        states: &[Real<'c>],
        value: &dyn Fn(&Expr) -> Real<'c>,
    ) -> Real<'c> {
        let kept = row.gates.iter().zip(states);
        let kept =
            kept.filter_map(|(gate, x)| Some(self.binary(ring.times(), value(gate.as_ref()?), *x)));
        let sum = kept.chain(row.entry.as_ref().map(value));
        let sum = sum.reduce(|x, y| self.binary(ring.plus(), x, y));
        sum.unwrap_or_else(|| self.build.number(ring.zero()))
    }
}
