//! Statements that move elements: loads, stores, fills and copies.

use super::build::{Int, Ptr, Real};
use super::entry::{Emitter, Place};
use super::pointwise::Spot;
use inkwell::IntPredicate;
use sluice_ir::kernel::{
    Body, CopyMap, Order, Param, ParamId, ParamKind, Rows, Sharing, TileId, View,
};
use sluice_ir::pairs;

impl<'c> Emitter<'c, '_> {
    /// The whole of a tile as one block.
    fn whole(tile: TileId) -> View {
        View { tile, blocks: 1 }
    }

    /// The address of element `(row, col)` of a param in memory; of the columns the tile holds
    /// `width`. For token params `row` counts from the first row of the place's chunk.
    fn address(
        &self,
        id: ParamId,
        [row, col]: [Int<'c>; 2],
        width: usize,
        place: Place<'c>,
    ) -> Ptr<'c> {
        let b = &self.build;
        let param = self.kernel.param(id);
        let arg = &self.args.params[id.0];
        let col = self.column(param, width, col, place);
        let head = match param.sharing {
            Sharing::Head => place.head,
            Sharing::Group => place.group,
        };
        let (outer, row) = match arg.strides {
            Some([token_stride, head_stride]) => {
                let token = b.div(row, b.int(param.rows));
                let token = self.visited(b.offset(place.chunk, self.kernel.chunk, token), place);
                let token = b.mul(b.add(place.first, token), token_stride);
                (b.add(token, b.mul(head, head_stride)), b.rem(row, b.int(param.rows)))
            }
            None => {
                let entry = match param.kind {
                    ParamKind::StateIn | ParamKind::StateOut => {
                        b.add(b.mul(place.sequence, place.heads), head)
                    }
                    ParamKind::ModelIn | ParamKind::TokenIn | ParamKind::TokenOut => head,
                };
                (b.mul(entry, b.int(param.rows * param.cols)), row)
            }
        };
        let inner = if param.transposed {
            b.offset(col, param.rows, row)
        } else {
            b.offset(row, param.cols, col)
        };
        b.element(self.memory_type(param.dtype), arg.base, b.add(outer, inner))
    }

    /// The row of a param that a row of a tile stands for: [`Rows::row`].
    fn row_of_param(&self, tile: TileId, row: Int<'c>) -> Int<'c> {
        let Rows::Pairs { first, width, swapped } = self.kernel.tile(tile).stands_for else {
            return row;
        };
        let b = &self.build;
        let (count, square) = (b.int(pairs::count(width)), b.int(width * width));
        let place = b.sub(row, b.int(first));
        let i = b.rem(place, b.int(width));
        let j = b.rem(b.add(i, b.div(place, b.int(width))), b.int(width));
        let (i, j) = if swapped { (j, i) } else { (i, j) };
        let entry = b.add(b.offset(i, width, j), b.int(first));
        let after = b.add(row, b.sub(square, count));
        let inside = b.choose_int(b.less(place, count), entry, after);
        b.choose_int(b.less(row, b.int(first)), row, inside)
    }

    /// The token of the sequence that comes `nth`, and exists: [`Order::token`].
    fn visited(&self, nth: Int<'c>, place: Place<'c>) -> Int<'c> {
        let b = &self.build;
        let from_end = || b.sub(b.sub(place.length, b.int(1)), nth);
        let by_columns = |nth, columns: usize| {
            let rows = b.div(place.length, b.int(columns));
            b.offset(b.rem(nth, rows), columns, b.div(nth, rows))
        };
        match self.kernel.order {
            Order::Forward => nth,
            Order::Reverse => from_end(),
            Order::Columns(columns) => by_columns(nth, columns),
            Order::ReverseColumns(columns) => by_columns(from_end(), columns),
        }
    }

    /// The param's column that a column of a tile's range holds in this part.
    fn column(&self, param: &Param, width: usize, col: Int<'c>, place: Place<'c>) -> Int<'c> {
        if param.split { self.build.offset(place.part, width, col) } else { col }
    }

    /// Runs `body` for each row of a tile and each of its columns that stands for one of the param's,
    /// with whether the param has the element: the token exists, and the column is not past the end
    /// of a last part that is narrower than the others.
    fn each_element(
        &self,
        param: &Param,
        tile: TileId,
        width: usize,
        place: Place<'c>,
        body: impl FnOnce([Int<'c>; 2], Int<'c>),
    ) {
        let b = &self.build;
        let rows = self.kernel.tile(tile).rows;
        let token = matches!(param.kind, ParamKind::TokenIn | ParamKind::TokenOut);
        let cut = param.split && width * self.kernel.parts > param.cols;
        b.each([1, rows, width], |[_, row, col]| {
            let mut exists = b.context.bool_type().const_int(1, false);
            if token {
                exists = self.token_exists(place, b.div(row, b.int(param.rows)));
            } else if rows > param.rows {
                exists = b.less(row, b.int(param.rows));
            }
            if cut {
                let column = self.column(param, width, col, place);
                exists = b.both(exists, b.less(column, b.int(param.cols)));
            }
            body([row, col], exists);
        });
    }

    /// How many columns of a tile from `first` on stand for a param's.
    fn width(&self, param: &Param, tile: TileId, first: usize) -> usize {
        let rest = self.kernel.tile(tile).cols - first;
        if param.split { rest } else { rest.min(param.cols) }
    }

    /// Loads the rows of the place's chunk into the tile's instance for that chunk.
    pub(super) fn load(&self, dst: TileId, id: ParamId, first: usize, place: Place<'c>) {
        let b = &self.build;
        let param = self.kernel.param(id);
        let width = self.width(param, dst, first);
        let all = || {
            self.each_element(param, dst, width, place, |[row, col], exists| {
                let value = b.where_holds(exists, || {
                    let row = self.row_of_param(dst, row);
                    self.fetch(param.dtype, self.address(id, [row, col], width, place))
                });
                let at = [b.int(0), row, b.add(col, b.int(first))];
                self.write(Self::whole(dst), at, value, place);
            });
        };
        match param.kind {
            // A null pointer leaves what the tile holds: the declared initial value.
            ParamKind::StateIn => self.when_given(id, all),
            _ => all(),
        }
    }

    pub(super) fn store(&self, id: ParamId, src: TileId, first: usize, place: Place<'c>) {
        let b = &self.build;
        let param = self.kernel.param(id);
        let width = self.width(param, src, first);
        let all = || {
            self.each_element(param, src, width, place, |[row, col], exists| {
                b.when(exists, || {
                    let at = [b.int(0), row, b.add(col, b.int(first))];
                    let value = self.read(Self::whole(src), at, place);
                    let row = self.row_of_param(src, row);
                    self.deposit(param.dtype, self.address(id, [row, col], width, place), value);
                });
            });
        };
        match param.kind {
            ParamKind::StateOut => self.when_given(id, all),
            _ => all(),
        }
    }

    pub(super) fn put_out(&self, id: ParamId, shape: [usize; 3], body: &Body, place: Place<'c>) {
        let b = &self.build;
        let param = self.kernel.param(id);
        b.each(shape, |index| {
            let [block, row, col] = index;
            let row = b.offset(block, shape[1], row);
            b.when(self.token_exists(place, b.div(row, b.int(param.rows))), || {
                let value = self.body(body, Spot { shape, index, place }, None);
                self.deposit(param.dtype, self.address(id, [row, col], shape[2], place), value);
            });
        });
    }

    fn when_given(&self, id: ParamId, body: impl FnOnce()) {
        let base = self.args.params[id.0].base;
        let given = self.build.raw.build_is_not_null(base, "").expect(super::build::BUILDS);
        self.build.when(given, body);
    }

    pub(super) fn fill(&self, dst: TileId, value: f64, place: Place<'c>) {
        let (b, tile) = (&self.build, self.kernel.tile(dst));
        b.each([1, tile.rows, tile.cols], |index| {
            self.write(Self::whole(dst), index, b.number(value), place);
        });
    }

    pub(super) fn copy(&self, dst: View, src: View, map: CopyMap, place: Place<'c>) {
        let b = &self.build;
        let (to, from) = (self.kernel.shape(dst), self.kernel.shape(src));
        let set = |to: [Int<'c>; 3], from: [Int<'c>; 3]| {
            let value: Real<'c> = self.read(src, from, place);
            self.write(dst, to, value, place);
        };
        let shifted = |i, by| b.add(i, b.int(by));
        match map {
            CopyMap::Whole => b.each(to, |at| set(at, at)),
            CopyMap::Rows { dst_first, src_first, count } => {
                b.each([from[0], count, from[2]], |[n, r, c]| {
                    set([n, shifted(r, dst_first), c], [n, shifted(r, src_first), c]);
                });
            }
            CopyMap::Cols { dst_first, src_first, count } => {
                b.each([from[0], from[1], count], |[n, r, c]| {
                    set([n, r, shifted(c, dst_first)], [n, r, shifted(c, src_first)]);
                });
            }
            CopyMap::OntoDiagonal { per } => b.each(from, |[n, r, c]| {
                let (block, k) = (b.div(n, b.int(per)), b.rem(n, b.int(per)));
                set([block, b.offset(k, from[1], r), b.offset(k, from[2], c)], [n, r, c]);
            }),
            CopyMap::FromDiagonal { per } => b.each(to, |[n, r, c]| {
                let (block, k) = (b.div(n, b.int(per)), b.rem(n, b.int(per)));
                set([n, r, c], [block, b.offset(k, to[1], r), b.offset(k, to[2], c)]);
            }),
            CopyMap::Transpose => b.each(to, |[n, r, c]| set([n, r, c], [n, c, r])),
            CopyMap::PastTokens { per } => {
                let first = b.mul(self.live(place), b.int(per));
                b.each(to, |[n, r, c]| set([n, r, c], [n, b.add(first, r), c]));
            }
        }
    }

    /// Whether a mask holds for a reading step `t` and a writing step `s`.
    pub(super) fn holds(&self, mask: sluice_ir::seq::Mask, t: Int<'c>, s: Int<'c>) -> Int<'c> {
        use sluice_ir::seq::Mask;
        let predicate = match mask {
            Mask::Incl => IntPredicate::SLE,
            Mask::Strict => IntPredicate::SLT,
            Mask::Tincl => IntPredicate::SGE,
            Mask::Tstrict => IntPredicate::SGT,
        };
        self.build.compare(predicate, s, t)
    }
}
