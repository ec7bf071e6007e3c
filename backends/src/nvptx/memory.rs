//! Addresses in shared and global memory, and access to single elements.

use super::emitter::Emitter;
use super::index::Index;
use super::types::{Compare, Val};
use sluice_ir::kernel::{Order, Param, ParamId, ParamKind, Rows, Shared, Swizzle, Tile, TileId};
use sluice_ir::pairs;

/// Bit of a byte offset where the number of a 16-byte piece begins.
const PIECE_SHIFT: i64 = 4;

impl<'c> Emitter<'c, '_> {
    /// A tile known to be in shared memory.
    pub(super) fn shared_tile(&self, id: TileId) -> (&Tile, Shared) {
        let tile = self.kernel.tile(id);
        (tile, tile.shared().expect("a tile in shared memory"))
    }

    /// Pointer to an element of this chunk's instance of a shared tile.
    pub(super) fn address(&self, id: TileId, row: Index<'c>, col: Index<'c>) -> Val<'c> {
        self.address_in(id, self.now().chunk, row, col)
    }

    /// Pointer to an element of the instance of a shared tile that a chunk uses.
    pub(super) fn address_in(
        &self,
        id: TileId,
        chunk: Val<'c>,
        row: Index<'c>,
        col: Index<'c>,
    ) -> Val<'c> {
        let b = &self.b;
        let (tile, place) = self.shared_tile(id);
        let rows = b.index_mul(row, place.pitch);
        let within = match place.swizzle {
            Swizzle::None => b.index_add(rows, b.index_mul(col, tile.dtype.bytes())),
            Swizzle::Xor128 => {
                let (panel, col) = b.index_split(col, place.pitch / tile.dtype.bytes());
                let panel = b.index_mul(panel, place.padded_rows * place.pitch);
                let cols = b.index_mul(col, tile.dtype.bytes());
                let phase = b.and(b.index(row), b.i32(7));
                let phase = b.like("llvm.shl", &[phase, b.i32(PIECE_SHIFT)]);
                let moved = b.like("llvm.xor", &[b.index(cols), phase]);
                b.index_add(b.index_add(panel, rows), Index::below(moved, place.pitch))
            }
        };
        let mut base = self.shared;
        if place.stages > 1 {
            let instance = b.like("llvm.urem", &[chunk, b.i32(place.stages as i64)]);
            base = b.advance(base, b.mul(instance, b.i32(place.stage_bytes as i64)));
        }
        if let Some(dynamic) = within.dynamic() {
            base = b.advance(base, dynamic);
        }
        b.advance_by(base, place.offset as i64 + within.offset())
    }

    /// An element of a shared tile as f32.
    pub(super) fn read(&self, id: TileId, row: Index<'c>, col: Index<'c>) -> Val<'c> {
        let of = self.b.float_type(self.kernel.tile(id).dtype);
        self.widen(self.b.load(self.address(id, row, col), of))
    }

    /// Writes an f32 value to an element of a shared tile, rounding to its dtype.
    pub(super) fn write(&self, id: TileId, row: Index<'c>, col: Index<'c>, value: Val<'c>) {
        let value = self.narrow(value, self.kernel.tile(id).dtype);
        self.b.store(value, self.address(id, row, col));
    }

    /// Whether an element is neither in the padding of rows nor of columns; none: always.
    pub(super) fn inside(&self, tile: &Tile, row: Index<'c>, col: Index<'c>) -> Option<Val<'c>> {
        self.b.both(self.b.index_below(row, tile.rows), self.b.index_below(col, tile.cols))
    }

    /// Pointer to an element of a param: row `row` of the tile that holds `chunk` (token params
    /// have several rows a token), column `col` of this part, whose tile has `width` columns.
    pub(super) fn global(
        &self,
        id: ParamId,
        chunk: Val<'c>,
        row: Index<'c>,
        col: Index<'c>,
        width: usize,
    ) -> Val<'c> {
        let b = &self.b;
        let (param, argument) = (self.kernel.param(id), self.arguments[id.0]);
        let bytes = b.i64(param.dtype.bytes() as i64);
        let (token, row) = match param.kind {
            ParamKind::TokenIn | ParamKind::TokenOut => b.index_split(row, param.rows),
            ParamKind::ModelIn | ParamKind::StateIn | ParamKind::StateOut => {
                (Index::constant(0), row)
            }
        };
        let col = self.whole_column(param, col, width);
        let inner = if param.transposed {
            b.index_add(b.index_mul(col, param.rows), row)
        } else {
            b.index_add(b.index_mul(row, param.cols), col)
        };
        let mut pointer = argument.base;
        if let Some(stride) = argument.token_stride {
            let first = b.mul(self.wide(chunk), b.i64(self.kernel.chunk as i64));
            let token = self.visited(b.add(first, self.wide(b.index(token))));
            pointer = b.advance(pointer, b.mul(b.mul(token, stride), bytes));
        }
        let inner = b.index_mul(inner, param.dtype.bytes());
        if let Some(dynamic) = inner.dynamic() {
            pointer = b.advance(pointer, self.wide(dynamic));
        }
        b.advance_by(pointer, inner.offset())
    }

    /// The row of a param that a row of a tile stands for: [`Rows::row`].
    pub(super) fn row_of_param(&self, tile: &Tile, row: Index<'c>) -> Index<'c> {
        let Rows::Pairs { first, width, swapped } = tile.stands_for else { return row };
        let b = &self.b;
        let number = |n: usize| b.i32(n as i64);
        let (pairs, square) = (pairs::count(width), width * width);
        let row = b.index(row);
        let place = b.like("llvm.sub", &[row, number(first)]);
        let ahead = b.like("llvm.udiv", &[place, number(width)]);
        let i = b.like("llvm.urem", &[place, number(width)]);
        let j = b.like("llvm.urem", &[b.add(i, ahead), number(width)]);
        let (i, j) = if swapped { (j, i) } else { (i, j) };
        let entry = b.add(b.add(b.mul(i, number(width)), j), number(first));
        let after = b.add(row, number(square - pairs));
        let in_square = b.compare(Compare::Lt, place, number(pairs));
        let inside = b.select(in_square, entry, after);
        let before = b.compare(Compare::Lt, row, number(first));
        let limit = tile.rows + square - pairs;
        Index::below(b.select(before, row, inside), limit)
    }

    /// The token of the sequence (i64) that comes `nth`: [`Order::token`], and any number where no
    /// token comes.
    fn visited(&self, nth: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let last = || b.add(self.wide(self.tokens), b.i64(-1));
        let from_end = || b.like("llvm.sub", &[last(), nth]);
        // Division of 32 bits takes a fraction of the time, and no sequence has more tokens.
        let by_columns = |nth: Val<'c>, columns: usize| {
            let columns = b.i32(columns as i64);
            let rows = b.like("llvm.udiv", &[self.tokens, columns]);
            // An empty sequence has no row to divide by.
            let rows = b.like("llvm.intr.umax", &[rows, b.i32(1)]);
            let nth = b.convert("llvm.trunc", nth, b.types.i32);
            let row = b.like("llvm.urem", &[nth, rows]);
            let col = b.like("llvm.udiv", &[nth, rows]);
            self.wide(b.add(b.mul(row, columns), col))
        };
        match self.kernel.order {
            Order::Forward => nth,
            Order::Reverse => from_end(),
            Order::Columns(columns) => by_columns(nth, columns),
            Order::ReverseColumns(columns) => by_columns(from_end(), columns),
        }
    }

    /// A column of a param from a column of this part, whose tile has `width` columns.
    pub(super) fn whole_column(&self, param: &Param, col: Index<'c>, width: usize) -> Index<'c> {
        if !param.split || self.kernel.parts == 1 {
            return col;
        }
        let b = &self.b;
        b.index_add(b.index_mul(Index::below(self.part, self.kernel.parts), width), col)
    }

    /// A 32-bit value that is not negative, in 64 bits.
    pub(super) fn wide(&self, value: Val<'c>) -> Val<'c> {
        self.b.convert("llvm.zext", value, self.b.types.i64)
    }
}
