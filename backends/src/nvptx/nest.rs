//! Loop nests: points dealt to the threads, the loop of a reduction in each thread.

use super::emitter::Emitter;
use super::index::Index;
use super::pointwise::Site;
use super::types::Val;
use sluice_ir::kernel::{Access, Nest};

impl<'c> Emitter<'c, '_> {
    /// A `Nest` statement.
    pub(super) fn nest(&self, nest: &Nest) {
        self.spread(nest.extents.iter().product(), |i| {
            let point = self.point(i, &nest.extents);
            let value = |loops: &[Index<'c>]| {
                let argument = |i: usize| {
                    let (row, col) = self.element(&nest.args[i], loops);
                    self.read(nest.args[i].tile, row, col)
                };
                self.evaluate(&nest.expr, Site::Point(loops), &argument)
            };
            let value = match nest.reduce {
                None => value(&point),
                Some((op, count)) => self.sum_up(count, self.neutral(op), |k, sum| {
                    self.joined(op, sum, value(&[&*point, &[k]].concat()))
                }),
            };
            let (row, col) = self.element(&nest.dst, &point);
            self.write(nest.dst.tile, row, col, value);
        });
        self.zero_padding(nest.dst.tile);
    }

    /// A loop that carries one value; LLVM decides whether it is written out.
    fn sum_up(
        &self,
        count: usize,
        start: Val<'c>,
        body: impl Fn(Index<'c>, Val<'c>) -> Val<'c>,
    ) -> Val<'c> {
        let b = &self.b;
        if count == 1 {
            return body(Index::constant(0), start);
        }
        let (from, to, step) = (b.i32(0), b.i32(count as i64), b.i32(1));
        b.repeat(from, to, step, &[start], |k, sum| vec![body(Index::below(k, count), sum[0])])[0]
    }

    /// The indices of the loops for the `i`-th point.
    fn point(&self, i: Index<'c>, extents: &[usize]) -> Vec<Index<'c>> {
        let mut rest = i;
        let mut point: Vec<Index<'c>> = extents
            .iter()
            .rev()
            .map(|extent| {
                let (outer, index) = self.b.index_split(rest, *extent);
                rest = outer;
                index
            })
            .collect();
        point.reverse();
        point
    }

    /// Row and column of an element at a point.
    ///
    /// Rows are further apart than their columns reach, so the number of an element must be
    /// divided by the columns, unless every stride is one of whole rows or one within a row.
    pub(super) fn element(&self, access: &Access, loops: &[Index<'c>]) -> (Index<'c>, Index<'c>) {
        let b = &self.b;
        let cols = self.kernel.tile(access.tile).cols;
        let sum = |start: usize, moves: &dyn Fn(usize) -> usize| {
            let steps = access.strides.iter().zip(loops);
            steps.fold(Index::constant(start), |at, (stride, index)| {
                b.index_add(at, b.index_mul(*index, moves(*stride)))
            })
        };
        let down = |stride: usize| if stride.is_multiple_of(cols) { stride / cols } else { 0 };
        let across = |stride: usize| if stride.is_multiple_of(cols) { 0 } else { stride };
        let steps = access.strides.iter().zip(loops);
        let reach: i64 =
            steps.map(|(stride, index)| across(*stride) as i64 * index.largest()).sum();
        let first = access.offset % cols;
        if first as i64 + reach < cols as i64 {
            return (sum(access.offset / cols, &down), sum(first, &across));
        }
        b.index_split(sum(access.offset, &|stride| stride), cols)
    }
}
