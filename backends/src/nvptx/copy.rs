//! Fills, maps and copies between tiles.

use super::emitter::Emitter;
use super::fragment::Order;
use super::index::Index;
use super::pointwise::{At, Site};
use super::types::Val;
use sluice_ir::kernel::{Body, CopyMap, Layout, Place, Tile, TileId, View};

impl<'c> Emitter<'c, '_> {
    /// A `Fill` statement.
    pub(super) fn fill(&self, dst: TileId, value: f64) {
        let tile = self.kernel.tile(dst);
        let value = self.b.f32(value);
        match tile.place {
            Place::Columns => self.set_values(dst, &vec![value; self.elements(tile).len()]),
            Place::Shared(_) => self.over_shared(dst, |_, _| value),
        }
    }

    /// A `Map` statement.
    pub(super) fn map(&self, dst: View, body: &Body) {
        match self.kernel.tile(dst.tile).place {
            Place::Columns => {
                let values = self.map_columns(dst, body, None);
                self.set_values(dst.tile, &values);
            }
            Place::Shared(_) => self
                .over_shared(dst.tile, |row, col| self.element_of(body, &self.at(dst, row, col))),
        }
    }

    /// The value of a body on shared tiles for an element of the destination.
    pub(super) fn element_of(&self, body: &Body, at: &At<'c>) -> Val<'c> {
        let value = |i: usize| self.argument(&body.args[i], at, None);
        self.evaluate(&body.expr, Site::Element(at), &value)
    }

    /// The values of a pointwise expression on a column tile; `sums` is argument 0 of a product's
    /// epilogue. Rows of padding become 0.
    pub(super) fn map_columns(
        &self,
        dst: View,
        body: &Body,
        sums: Option<&[Val<'c>]>,
    ) -> Vec<Val<'c>> {
        let tile = self.kernel.tile(dst.tile);
        let columns: Vec<_> = body.args.iter().map(|a| self.column_argument(a, dst)).collect();
        let shift = usize::from(sums.is_some());
        let value = |(register, e): (usize, &super::layout::Element<'c>)| {
            let at = At { register: Some(register), ..self.at(dst, e.row, e.col) };
            let argument = |i: usize| match sums {
                Some(sums) if i == 0 => sums[register],
                _ => {
                    let i = i - shift;
                    self.argument(&body.args[i], &at, columns[i].as_deref())
                }
            };
            let inside = self.b.index_below(e.row, tile.rows);
            self.or_zero(inside, self.evaluate(&body.expr, Site::Element(&at), &argument))
        };
        self.elements(tile).iter().enumerate().map(value).collect()
    }

    /// The one row of a column tile `[1, V]` with the same value in every row of a fragment.
    pub(super) fn broadcast_row(&self, values: Vec<Val<'c>>) -> Vec<Val<'c>> {
        match self.kernel.layout {
            Layout::Lanes(_) => values,
            Layout::Fragments => {
                let b = &self.b;
                let source = b.and(self.thread().lane, b.i32(28));
                let of = |value| self.value_of_lane(value, source);
                let (low, high) = (of(values[0]), of(values[2]));
                vec![low, low, high, high]
            }
        }
    }

    /// Writes every element of a shared tile, 0 in its padding.
    pub(super) fn over_shared(&self, dst: TileId, value: impl Fn(Index<'c>, Index<'c>) -> Val<'c>) {
        let b = &self.b;
        let (tile, place) = self.shared_tile(dst);
        let by = |n: &usize| [tile.cols, place.padded_cols].iter().all(|e| e.is_multiple_of(*n));
        let run = [4, 2].into_iter().find(by).unwrap_or(1);
        let runs = place.padded_cols / run;
        self.spread(place.padded_rows * runs, |i| {
            let (row, piece) = b.index_split(i, runs);
            let col = b.index_mul(piece, run);
            let compute = || (0..run).map(|k| value(row, col.plus(k))).collect::<Vec<_>>();
            let values = match self.inside(tile, row, col) {
                None => compute(),
                Some(inside) => b.choose(inside, compute, &vec![b.f32(0.0); run]),
            };
            for (k, value) in values.into_iter().enumerate() {
                self.write(dst, row, col.plus(k), value);
            }
        });
    }

    /// A `Copy` statement.
    pub(super) fn copy(&self, dst: View, src: View, map: CopyMap) {
        let places = (self.kernel.tile(dst.tile).place, self.kernel.tile(src.tile).place);
        match (places, map) {
            ((Place::Shared(_), Place::Columns), CopyMap::Whole) => self.publish(dst, src),
            ((Place::Columns, Place::Shared(_)), CopyMap::Whole) => self.take(dst, src),
            ((Place::Columns, Place::Columns), CopyMap::Whole) => {
                self.set_values(dst.tile, &self.values(src.tile));
            }
            ((Place::Shared(_), Place::Shared(_)), CopyMap::Whole) => {
                self.over_shared(dst.tile, |row, col| self.read(src.tile, row, col));
            }
            ((Place::Shared(_), Place::Shared(_)), _) => self.copy_shared(dst, src, map),
            ((Place::Shared(_), Place::Columns), _) => self.copy_from_columns(dst, src, map),
            ((Place::Columns, _), _) => self.copy_into_columns(dst, src, map),
        }
    }

    /// Columns to shared memory, all of a tile and its padding.
    fn publish(&self, dst: View, src: View) {
        let b = &self.b;
        let (tile, place) = self.shared_tile(dst.tile);
        let elements = self.elements(self.kernel.tile(src.tile));
        if tile.dtype.bytes() != 2 || self.kernel.layout != Layout::Fragments {
            for (e, value) in elements.iter().zip(self.values(src.tile)) {
                let fits = b.both(
                    b.index_below(e.row, place.padded_rows),
                    b.index_below(e.col, place.padded_cols),
                );
                b.when_some(b.both(self.writes(self.kernel.tile(src.tile)), fits), || {
                    let value = self.or_zero(self.inside(tile, e.row, e.col), value);
                    self.write(dst.tile, e.row, e.col, value);
                });
            }
            return;
        }
        let mut packed = self.packed_as(src.tile, tile.dtype);
        packed.resize(2 * place.padded_rows.div_ceil(8), b.i32(0));
        self.store_fragments(dst.tile, &packed);
    }

    /// Packed registers of a column tile in another 16-bit dtype, 0 outside of the tile.
    pub(super) fn packed_as(&self, src: TileId, dtype: sluice_ir::dtype::Dtype) -> Vec<Val<'c>> {
        let tile = self.kernel.tile(src);
        let width = 16 * self.thread().warps;
        let exact = tile.rows.is_multiple_of(8) && tile.cols == width;
        if exact && tile.dtype == dtype && self.is_packed(tile) {
            return self.registers(src);
        }
        let values: Vec<Val<'c>> = self
            .elements(tile)
            .iter()
            .zip(self.values(src))
            .map(|(e, value)| self.or_zero(self.inside(tile, e.row, e.col), value))
            .collect();
        values.chunks(2).map(|v| self.pack(dtype, v[0], v[1])).collect()
    }

    /// Stores packed fragments, two for each 8 rows, to a shared tile of 16-bit elements.
    fn store_fragments(&self, dst: TileId, packed: &[Val<'c>]) {
        let b = &self.b;
        let (_, place) = self.shared_tile(dst);
        let first = b.index_mul(self.warp(), 16);
        for (i, matrices) in packed.chunks(4).enumerate() {
            let row = 16 * i;
            let whole =
                place.padded_rows >= row + 16 && place.padded_cols >= 16 * self.thread().warps;
            if self.target.stores_matrices && matrices.len() == 4 && whole {
                let at = (dst, Index::constant(row), first);
                self.store_matrices(at, Order::Wide, true, matrices);
                continue;
            }
            for (k, pair) in self.transposes(matrices).into_iter().enumerate() {
                let row = self.quad().plus(row + 8 * (k / 2));
                let col = b.index_add(first, self.pair()).plus(8 * (k % 2));
                let fits = b.both(
                    b.index_below(row, place.padded_rows),
                    b.index_below(col, place.padded_cols),
                );
                b.when_some(fits, || b.store(pair, self.address(dst, row, col)));
            }
        }
    }

    /// Shared memory to columns, all of a tile.
    fn take(&self, dst: View, src: View) {
        let b = &self.b;
        let (from, to) = (self.kernel.tile(src.tile), self.kernel.tile(dst.tile));
        let by_matrices = from.dtype.bytes() == 2
            && self.kernel.layout == Layout::Fragments
            && from.rows.is_multiple_of(8);
        if !by_matrices {
            let read = |e: &super::layout::Element<'c>| self.read_inside(src.tile, e.row, e.col);
            let values: Vec<Val<'c>> = self.elements(to).iter().map(read).collect();
            return self.set_values(dst.tile, &values);
        }
        // Warps beyond the tile's last column read its last ones: what they hold does not matter.
        let last = self.shared_tile(src.tile).1.padded_cols.saturating_sub(16);
        let first = b.index_min(b.index_mul(self.warp(), 16), last);
        let registers: Vec<Val<'c>> = (0..from.rows / 8)
            .step_by(2)
            .flat_map(|group| {
                let count = if group + 1 < from.rows / 8 { 4 } else { 2 };
                let at = (src.tile, Index::constant(8 * group), first);
                self.load_matrices(at, Order::Wide, true, count)
            })
            .collect();
        if self.is_packed(to) && to.dtype == from.dtype {
            return self.hold(dst.tile, registers);
        }
        let values: Vec<Val<'c>> =
            registers.into_iter().flat_map(|pair| self.unpack(from.dtype, pair)).collect();
        self.set_values(dst.tile, &values);
    }

    /// An element of a shared tile, 0 outside of it.
    pub(super) fn read_inside(&self, src: TileId, row: Index<'c>, col: Index<'c>) -> Val<'c> {
        let b = &self.b;
        match self.inside(self.kernel.tile(src), row, col) {
            None => self.read(src, row, col),
            Some(inside) => b.choose(inside, || vec![self.read(src, row, col)], &[b.f32(0.0)])[0],
        }
    }

    /// A partial copy within shared memory, element by element.
    fn copy_shared(&self, dst: View, src: View, map: CopyMap) {
        let b = &self.b;
        let (to, from) = (self.kernel.shape(dst), self.kernel.shape(src));
        let [blocks, rows, cols] = match map {
            CopyMap::Whole | CopyMap::OntoDiagonal { .. } | CopyMap::Transpose => from,
            CopyMap::FromDiagonal { .. } | CopyMap::PastTokens { .. } => to,
            CopyMap::Rows { count, .. } => [from[0], count, from[2]],
            CopyMap::Cols { count, .. } => [from[0], from[1], count],
        };
        self.spread(blocks * rows * cols, |i| {
            let (n, c) = b.index_split(i, cols);
            let (n, r) = b.index_split(n, rows);
            let here = [n, r, c];
            let on_diagonal = |per: usize| {
                let (outer, k) = b.index_split(n, per);
                let row = b.index_add(b.index_mul(k, rows), r);
                [outer, row, b.index_add(b.index_mul(k, cols), c)]
            };
            let (into, out_of) = match map {
                CopyMap::Whole => (here, here),
                CopyMap::Rows { dst_first, src_first, .. } => {
                    ([n, r.plus(dst_first), c], [n, r.plus(src_first), c])
                }
                CopyMap::Cols { dst_first, src_first, .. } => {
                    ([n, r, c.plus(dst_first)], [n, r, c.plus(src_first)])
                }
                CopyMap::OntoDiagonal { per } => (on_diagonal(per), here),
                CopyMap::FromDiagonal { per } => (here, on_diagonal(per)),
                CopyMap::Transpose => ([n, c, r], here),
                CopyMap::PastTokens { per } => {
                    let tokens = Index::below(self.now().live, self.kernel.chunk + 1);
                    let first = b.index_mul(tokens, per);
                    (here, [n, b.index_add(first, r), c])
                }
            };
            let row = |[n, r, _]: [Index<'c>; 3], rows| b.index_add(b.index_mul(n, rows), r);
            let value = self.read(src.tile, row(out_of, from[1]), out_of[2]);
            self.write(dst.tile, row(into, to[1]), into[2], value);
        });
        self.zero_padding(dst.tile);
    }

    /// Where a row and a column of a source block go, if the map moves columns or rows only.
    fn moved(&self, map: CopyMap) -> [(usize, usize, usize); 2] {
        let all = (0, 0, usize::MAX);
        match map {
            CopyMap::Rows { dst_first, src_first, count } => [(dst_first, src_first, count), all],
            CopyMap::Cols { dst_first, src_first, count } => [all, (dst_first, src_first, count)],
            CopyMap::Whole => [all, all],
            CopyMap::OntoDiagonal { .. }
            | CopyMap::FromDiagonal { .. }
            | CopyMap::Transpose
            | CopyMap::PastTokens { .. } => {
                unreachable!("a checked kernel permutes blocks in shared memory only")
            }
        }
    }

    /// Some rows or columns of a column tile to shared memory.
    fn copy_from_columns(&self, dst: View, src: View, map: CopyMap) {
        let b = &self.b;
        let [row_map, col_map] = self.moved(map);
        let from: &Tile = self.kernel.tile(src.tile);
        let to = self.kernel.shape(dst);
        for (e, value) in self.elements(from).iter().zip(self.values(src.tile)) {
            let at = self.at(src, e.row, e.col);
            let within = |index: Index<'c>, (_, first, count): (usize, usize, usize)| {
                let index = index.minus(first);
                let below = (count < usize::MAX).then(|| b.index_below(index, count)).flatten();
                b.both(b.index_positive(index), below)
            };
            let wanted = b.both(within(at.row, row_map), within(at.col, col_map));
            b.when_some(b.both(self.inside(from, e.row, e.col), wanted), || {
                let row = at.row.minus(row_map.1).plus(row_map.0);
                let row = b.index_add(b.index_mul(at.block, to[1]), row);
                self.write(dst.tile, row, at.col.minus(col_map.1).plus(col_map.0), value);
            });
        }
        self.zero_padding(dst.tile);
    }

    /// Some rows or columns to a column tile; elements not named keep their values. The source is
    /// in shared memory, or lies in the same lanes.
    fn copy_into_columns(&self, dst: View, src: View, map: CopyMap) {
        let b = &self.b;
        let [row_map, col_map] = self.moved(map);
        let (to, from) = (self.kernel.tile(dst.tile), self.kernel.tile(src.tile));
        let rows_of_source = self.kernel.shape(src)[1];
        let sources = self.elements(from);
        let held = matches!(from.place, Place::Columns).then(|| self.values(src.tile));
        let value = |(e, old): (&super::layout::Element<'c>, Val<'c>)| {
            let at = self.at(dst, e.row, e.col);
            let within = |index: Index<'c>, (first, _, count): (usize, usize, usize)| {
                let index = index.minus(first);
                let below = (count < usize::MAX).then(|| b.index_below(index, count)).flatten();
                b.both(b.index_positive(index), below)
            };
            let wanted = b.both(within(at.row, row_map), within(at.col, col_map));
            let row = at.row.minus(row_map.0).plus(row_map.1);
            let row = b.index_add(b.index_mul(at.block, rows_of_source), row);
            let col = at.col.minus(col_map.0).plus(col_map.1);
            match (&held, wanted) {
                (Some(values), wanted) => {
                    let same = |s: &super::layout::Element<'c>| {
                        s.row.offset() == row.offset() && s.col.offset() == col.offset()
                    };
                    let source = sources.iter().position(same).map(|register| values[register]);
                    let Some(wanted) = wanted else {
                        return source.expect("rows move by multiples of what a lane holds");
                    };
                    source.map_or(old, |source| b.select(wanted, source, old))
                }
                (None, None) => self.read_inside(src.tile, row, col),
                (None, Some(w)) => {
                    b.choose(w, || vec![self.read_inside(src.tile, row, col)], &[old])[0]
                }
            }
        };
        let values: Vec<Val<'c>> =
            self.elements(to).iter().zip(self.values(dst.tile)).map(value).collect();
        self.set_values(dst.tile, &values);
    }
}
