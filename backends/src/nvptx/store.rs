//! Shared memory or registers to global memory.

use super::emitter::Emitter;
use super::index::Index;
use super::load::columns;
use super::pointwise::At;
use super::types::{Compare, Val};
use sluice_ir::kernel::{Body, Param, ParamId, ParamKind, Place, Tile, TileId};

/// Rows that a thread puts to memory side by side.
const PUT_TOGETHER: usize = 4;

/// What a `Store` statement says.
#[derive(Clone, Copy)]
pub(super) struct Store {
    pub(super) param: ParamId,
    pub(super) src: TileId,
    /// Tile column that goes to the param's first column.
    pub(super) col: usize,
}

impl<'c> Emitter<'c, '_> {
    /// A `Store` statement.
    pub(super) fn store(&self, store: Store) {
        let param = self.kernel.param(store.param);
        let pointer = self.arguments[store.param.0].pointer;
        let wanted = (param.kind == ParamKind::StateOut).then(|| self.b.is_given(pointer));
        let tile = self.kernel.tile(store.src);
        self.b.when_some(wanted, || match tile.place {
            Place::Shared(_) => self.store_shared(store, param, tile),
            Place::Columns if self.goes_by_pairs(store, param, tile) => {
                self.store_pairs(store, param, tile);
            }
            Place::Columns => {
                let (elements, values) = (self.elements(tile), self.values(store.src));
                let count = self.together(tile, param, store.col);
                self.b.when_some(self.writes(tile), || {
                    for (e, values) in elements.chunks(count).zip(values.chunks(count)) {
                        self.put_run(store, (e[0].row, e[0].col), values);
                    }
                });
            }
        });
    }

    /// Whether element `(row, col)` of the tile goes to the param; none: always.
    fn goes(&self, store: Store, row: Index<'c>, col: Index<'c>) -> Option<Val<'c>> {
        let b = &self.b;
        let (param, tile) = (self.kernel.param(store.param), self.kernel.tile(store.src));
        let live = match param.kind {
            ParamKind::TokenOut if self.now().whole => None,
            ParamKind::TokenOut => Some(self.is_live(row, param.rows, self.now().live)),
            _ => None,
        };
        let col_in_part = col.minus(store.col);
        [
            b.index_below(row, tile.rows),
            b.index_positive(col_in_part),
            b.index_below(col, store.col + columns(param, tile, store.col)),
            b.index_below(self.whole_column(param, col_in_part, tile.cols), param.cols),
        ]
        .into_iter()
        .fold(live, |all, one| b.both(all, one))
    }

    fn target_of(&self, store: Store, row: Index<'c>, col: Index<'c>) -> Val<'c> {
        let tile = self.kernel.tile(store.src);
        let row = self.row_of_param(tile, row);
        self.global(store.param, self.now().chunk, row, col.minus(store.col), tile.cols)
    }

    /// Stores neighbouring elements at once.
    fn put_run(&self, store: Store, (row, col): (Index<'c>, Index<'c>), values: &[Val<'c>]) {
        let b = &self.b;
        b.when_some(self.goes(store, row, col), || {
            let dtype = self.kernel.param(store.param).dtype;
            let values: Vec<Val<'c>> = values.iter().map(|v| self.narrow(*v, dtype)).collect();
            b.store(b.together(&values), self.target_of(store, row, col));
        });
    }

    /// Whether lanes can exchange values so that each stores two neighbours of 16 bits at once.
    fn goes_by_pairs(&self, store: Store, param: &Param, tile: &Tile) -> bool {
        let even = [store.col, param.cols, columns(param, tile, store.col)]
            .iter()
            .all(|n| n.is_multiple_of(2));
        self.kernel.layout == sluice_ir::kernel::Layout::Fragments
            && param.dtype.bytes() == 2
            && param.align.is_multiple_of(4)
            && !param.transposed
            && even
    }

    /// Stores fragments of 8x8 elements, transposed within the warp so that rows lie together.
    fn store_pairs(&self, store: Store, param: &Param, tile: &Tile) {
        let b = &self.b;
        let packed = self.packed_as(store.src, param.dtype);
        let first = b.index_add(b.index_mul(self.warp(), 16), self.pair());
        for (i, pair) in self.transposes(&packed).into_iter().enumerate() {
            let row = self.quad().plus(8 * (i / 2));
            let col = first.plus(8 * (i % 2));
            b.when_some(self.goes(store, row, col), || {
                b.store(pair, self.target_of(store, row, col));
            });
        }
        debug_assert!(tile.rows > 0, "a tile has rows");
    }

    /// A `Put` statement.
    pub(super) fn put_out(&self, id: ParamId, shape: [usize; 3], body: &Body) {
        let b = &self.b;
        let param = self.kernel.param(id);
        let [blocks, rows, cols] = shape;
        let fits = |n: &usize| {
            cols.is_multiple_of(*n) && param.align.is_multiple_of(n * param.dtype.bytes())
        };
        let run = [4, 2].into_iter().find(fits).unwrap_or(1);
        let put = |row: Index<'c>, piece: Index<'c>| {
            let col = b.index_mul(piece, run);
            let (block, in_block) = b.index_split(row, rows);
            let at = At { shape, block, row: in_block, col, register: None, below_diagonal: false };
            let value = |k: usize| self.element_of(body, &At { col: col.plus(k), ..at });
            let values: Vec<Val<'c>> =
                (0..run).map(|k| self.narrow(value(k), param.dtype)).collect();
            b.store(b.together(&values), self.global(id, self.now().chunk, row, col, cols));
        };
        let (all, pieces) = (blocks * rows, cols / run);
        // Of a whole chunk no row is asked about: then rows can be computed side by side.
        let chunk = b.i32(self.kernel.chunk as i64);
        let is_whole = b.compare(Compare::Eq, self.now().live, chunk);
        let whole = || {
            self.spread_rows(all, pieces, PUT_TOGETHER, put);
            Vec::new()
        };
        let part = || {
            self.spread_rows(all, pieces, 1, |row, piece| {
                let exists = self.is_live(row, param.rows, self.now().live);
                b.when(exists, || put(row, piece));
            });
            Vec::new()
        };
        b.either(is_whole, whole, part);
    }

    /// Deals runs of neighbouring columns to the threads.
    fn store_shared(&self, store: Store, param: &Param, tile: &Tile) {
        let b = &self.b;
        let place = tile.shared().expect("a shared tile");
        let width = columns(param, tile, store.col);
        let bytes = param.dtype.bytes();
        let fits = |n: usize| {
            [width, store.col].iter().all(|e| e.is_multiple_of(n))
                && (param.rows == 1 && !(param.split && self.kernel.parts > 1)
                    || param.cols.is_multiple_of(n))
                && param.align.is_multiple_of(n * bytes)
        };
        let same = param.dtype == tile.dtype && !param.transposed;
        let by = |n: &usize| {
            same && fits(*n)
                && [place.offset, place.pitch, place.stage_bytes]
                    .iter()
                    .all(|e| e.is_multiple_of(*n * bytes))
        };
        let run = [16 / bytes, 8 / bytes, 4 / bytes].into_iter().find(by).unwrap_or(1);
        let runs = width / run;
        self.spread(tile.rows * runs, |i| {
            let (row, piece) = b.index_split(i, runs);
            let col = b.index_mul(piece, run).plus(store.col);
            if run == 1 {
                return self.put_run(store, (row, col), &[self.read(store.src, row, col)]);
            }
            b.when_some(self.goes(store, row, col), || {
                let of = b.vector_type(run, b.float_type(tile.dtype));
                let values = b.load(self.address(store.src, row, col), of);
                b.store(values, self.target_of(store, row, col));
            });
        });
    }
}
