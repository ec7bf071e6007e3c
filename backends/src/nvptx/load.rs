//! Global memory to shared memory or registers.

use super::builder::Builder;
use super::emitter::Emitter;
use super::index::Index;
use super::layout::Element;
use super::types::{Compare, Val};
use sluice_ir::kernel::{Order, Param, ParamId, ParamKind, Place, Rows, Swizzle, Tile, TileId};

/// What a `Load` statement says.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) dst: TileId,
    pub(super) param: ParamId,
    pub(super) ahead: usize,
    /// Tile column of the param's first column.
    pub(super) col: usize,
}

/// Columns of a tile that hold columns of a param, from `first` on.
pub(super) fn columns(param: &Param, tile: &Tile, first: usize) -> usize {
    if param.split { tile.cols } else { (tile.cols - first).min(param.cols) }
}

impl<'c> Emitter<'c, '_> {
    /// A `Load` statement.
    pub(super) fn load(&self, load: Load) {
        let b = &self.b;
        let param = self.kernel.param(load.param);
        let to_registers = matches!(self.kernel.tile(load.dst).place, Place::Columns);
        let pointer = self.arguments[load.param.0].pointer;
        let known = self.now().whole && load.ahead == 0;
        let given = match param.kind {
            ParamKind::StateIn => Some(self.b.is_given(pointer)),
            // Of a chunk of one token nobody reads a token that does not exist.
            ParamKind::TokenIn if self.kernel.chunk == 1 && !known => {
                Some(self.is_live(Index::constant(0), 1, self.live_in(self.chunk_of(&load))))
            }
            _ => None,
        };
        match (to_registers, given) {
            (true, None) => self.hold(load.dst, self.load_columns(&load)),
            (true, Some(given)) => {
                let before = self.registers(load.dst);
                let after = b.choose(given, || self.load_columns(&load), &before);
                self.hold(load.dst, after);
            }
            (false, given) => b.when_some(given, || self.load_shared(&load)),
        }
    }

    /// Number of the chunk that a load fetches.
    fn chunk_of(&self, load: &Load) -> Val<'c> {
        let chunk = self.now().chunk;
        if load.ahead == 0 { chunk } else { self.b.add(chunk, self.b.i32(load.ahead as i64)) }
    }

    /// Whether element `(row, col)` of the tile exists in the param; none: always.
    fn exists(
        &self,
        load: &Load,
        chunk: Val<'c>,
        row: Index<'c>,
        col: Index<'c>,
    ) -> Option<Val<'c>> {
        let b = &self.b;
        let (param, tile) = (self.kernel.param(load.param), self.kernel.tile(load.dst));
        let live = match param.kind {
            // One token is loaded only if it exists.
            ParamKind::TokenIn if self.kernel.chunk > 1 => {
                Some(self.is_live(row, param.rows, self.live_in(chunk)))
            }
            _ => None,
        };
        let whole = self.whole_column(param, col.minus(load.col), tile.cols);
        [
            b.index_below(row, tile.rows),
            b.index_below(col, load.col + columns(param, tile, load.col)),
            b.index_below(whole, param.cols),
        ]
        .into_iter()
        .fold(live, |all, one| b.both(all, one))
    }

    /// Neighbouring elements of the param from `(row, col)` of the tile on, as f32; 0 if they do not exist.
    fn fetch(
        &self,
        load: &Load,
        chunk: Val<'c>,
        (row, col): (Index<'c>, Index<'c>),
        count: usize,
    ) -> Vec<Val<'c>> {
        let b = &self.b;
        let (param, tile) = (self.kernel.param(load.param), self.kernel.tile(load.dst));
        let get = || -> Vec<Val<'c>> {
            let row = self.row_of_param(tile, row);
            let at = self.global(load.param, chunk, row, col.minus(load.col), tile.cols);
            let values = b.load_together(at, count, b.float_type(param.dtype));
            values.into_iter().map(|value| self.widen(value)).collect()
        };
        let in_range =
            b.both(self.exists(load, chunk, row, col), b.index_positive(col.minus(load.col)));
        match in_range {
            None => get(),
            Some(condition) => b.choose(condition, get, &vec![b.f32(0.0); count]),
        }
    }

    /// The registers of a column tile after a load.
    fn load_columns(&self, load: &Load) -> Vec<Val<'c>> {
        let b = &self.b;
        let (param, tile) = (self.kernel.param(load.param), self.kernel.tile(load.dst));
        let chunk = self.chunk_of(load);
        let end = load.col + columns(param, tile, load.col);
        let whole = load.col == 0 && end == tile.cols;
        let elements = self.elements(tile);
        let count = self.together(tile, param, load.col);
        let before = self.values(load.dst);
        let piece = |(e, old): (&[Element<'c>], &[Val<'c>])| -> Vec<Val<'c>> {
            let new = self.fetch(load, chunk, (e[0].row, e[0].col), count);
            if whole {
                return new;
            }
            let touched = |e: &Element<'c>| {
                b.both(b.index_positive(e.col.minus(load.col)), b.index_below(e.col, end))
            };
            let select = |((new, e), old)| touched(e).map_or(new, |t| b.select(t, new, old));
            new.into_iter().zip(e).zip(old.iter().copied()).map(select).collect()
        };
        let pieces = elements.chunks(count).zip(before.chunks(count));
        let values: Vec<Val<'c>> = pieces.flat_map(piece).collect();
        self.rounded_registers(tile, &values)
    }

    /// Fills the columns of the param, and the padding that they border on, of a shared tile.
    fn load_shared(&self, load: &Load) {
        let b = &self.b;
        let (tile, place) = self.shared_tile(load.dst);
        let param = self.kernel.param(load.param);
        let width = columns(param, tile, load.col);
        let end = if load.col + width == tile.cols { place.padded_cols } else { load.col + width };
        let chunk = self.chunk_of(load);
        if let Some(bytes) = self.piece(load, end) {
            let elements = bytes / tile.dtype.bytes();
            let pieces = (end - load.col) / elements;
            if let Some(rows) = self.rows_at_once(load, pieces) {
                return self.copy_rows(load, chunk, (rows, pieces), bytes);
            }
            self.spread(place.padded_rows * pieces, |i| {
                let (row, piece) = b.index_split(i, pieces);
                let col = b.index_mul(piece, elements).plus(load.col);
                self.copy_piece(load, chunk, (row, col), bytes);
            });
            return;
        }
        let cols = end - load.col;
        self.spread(place.padded_rows * cols, |i| {
            let (row, col) = b.index_split(i, cols);
            let col = col.plus(load.col);
            let value = self.narrow(self.fetch(load, chunk, (row, col), 1)[0], tile.dtype);
            b.store(value, self.address_in(load.dst, chunk, row, col));
        });
    }

    /// Rows of which the role's threads take a piece each at a time, if pieces a thread takes one after
    /// the other lie a fixed distance apart.
    fn rows_at_once(&self, load: &Load, pieces: usize) -> Option<usize> {
        let (tile, place) = self.shared_tile(load.dst);
        let param = self.kernel.param(load.param);
        // Where registers are dealt, a loader has those that the addresses take.
        let dealt = self.kernel.roles[self.thread().role].registers.is_some();
        let one_a_token = param.rows == 1 && self.kernel.order == Order::Forward;
        let at_a_distance = param.kind == ParamKind::TokenIn
            && tile.stands_for == Rows::Same
            && (one_a_token || self.kernel.chunk == 1);
        let rows = self.threads() / pieces;
        let even = self.threads().is_multiple_of(pieces)
            && rows > 0
            && place.padded_rows.is_multiple_of(rows)
            && place.padded_rows > rows;
        // The swizzle repeats after eight rows.
        let in_step = place.swizzle == Swizzle::None || rows.is_multiple_of(8);
        (dealt && at_a_distance && even && in_step).then_some(rows)
    }

    /// Copies pieces of `rows` rows at a time: addresses are computed for the first of each thread.
    fn copy_rows(&self, load: &Load, chunk: Val<'c>, (rows, pieces): (usize, usize), bytes: usize) {
        let b = &self.b;
        let (tile, place) = self.shared_tile(load.dst);
        let me = Index::below(self.thread().index, self.threads());
        let (row, piece) = b.index_split(me, pieces);
        let col = b.index_mul(piece, bytes / tile.dtype.bytes()).plus(load.col);
        let to = self.address_in(load.dst, chunk, row, col);
        let from = self.global(load.param, chunk, row, col.minus(load.col), tile.cols);
        let param = self.kernel.param(load.param);
        let step = b.i64((rows * tile.dtype.bytes()) as i64);
        let step = match self.arguments[load.param.0].token_stride {
            Some(stride) if param.rows == 1 => b.mul(stride, step),
            // The rows of one token.
            _ => b.i64((rows * param.cols * param.dtype.bytes()) as i64),
        };
        let mut from = from;
        for first in (0..place.padded_rows).step_by(rows) {
            let to = b.advance_by(to, (first * place.pitch) as i64);
            if first > 0 {
                from = b.advance(from, step);
            }
            let size = match self.exists(load, chunk, row.plus(first), col) {
                Some(exists) => b.select(exists, b.i32(bytes as i64), b.i32(0)),
                None => b.i32(bytes as i64),
            };
            // Of a piece of size 0 nothing is read.
            b.copy_async(to, from, bytes, size);
        }
    }

    /// Bytes of the pieces that can be copied asynchronously, if the load can be.
    fn piece(&self, load: &Load, end: usize) -> Option<usize> {
        let (tile, place) = self.shared_tile(load.dst);
        let param = self.kernel.param(load.param);
        let width = columns(param, tile, load.col);
        if param.dtype != tile.dtype || (param.transposed && param.rows > 1 && param.cols > 1) {
            return None;
        }
        let bytes = tile.dtype.bytes();
        let mut extents = vec![
            param.align,
            load.col * bytes,
            width * bytes,
            (end - load.col) * bytes,
            place.offset,
            place.pitch,
        ];
        if place.stages > 1 {
            extents.push(place.stage_bytes);
        }
        if param.rows > 1 {
            extents.push(param.cols * bytes);
        }
        if param.split && self.kernel.parts > 1 {
            extents.push(param.cols * bytes);
        }
        debug_assert!(place.swizzle == Swizzle::None || place.pitch.is_multiple_of(16));
        [16, 8, 4].into_iter().find(|n| extents.iter().all(|e| e.is_multiple_of(*n)))
    }

    /// Copies one piece asynchronously, or zeros if it does not exist.
    fn copy_piece(
        &self,
        load: &Load,
        chunk: Val<'c>,
        (row, col): (Index<'c>, Index<'c>),
        bytes: usize,
    ) {
        let b = &self.b;
        let tile = self.kernel.tile(load.dst);
        let to = self.address_in(load.dst, chunk, row, col);
        let source = self.row_of_param(tile, row);
        let from = self.global(load.param, chunk, source, col.minus(load.col), tile.cols);
        let Some(exists) = self.exists(load, chunk, row, col) else {
            return b.copy_async(to, from, bytes, b.i32(bytes as i64));
        };
        // A piece of size 0 is not read, but its address should still be that of an array.
        let from = b.select(exists, from, self.arguments[load.param.0].pointer);
        let size = b.select(exists, b.i32(bytes as i64), b.i32(0));
        b.copy_async(to, from, bytes, size);
    }
}

impl<'c> Builder<'c> {
    /// Whether a pointer is not null.
    pub(super) fn is_given(&self, pointer: Val<'c>) -> Val<'c> {
        let address = self.convert("llvm.ptrtoint", pointer, self.types.i64);
        self.compare(Compare::Ne, address, self.i64(0))
    }

    /// Copies `size` of `bytes` (4, 8 or 16) bytes asynchronously and fills the rest with 0.
    fn copy_async(&self, to: Val<'c>, from: Val<'c>, bytes: usize, size: Val<'c>) {
        // Only 16-byte pieces can bypass the first cache.
        let cache = if bytes == 16 { "cg" } else { "ca" };
        self.effect(
            "nvvm.cp.async.shared.global",
            &[to, from, size],
            &[
                ("size", self.attribute(&format!("{bytes} : i32"))),
                ("modifier", self.attribute(&format!("#nvvm<load_cache_modifier {cache}>"))),
            ],
        );
    }
}
