//! Which element of a column tile lies in which register of which lane.

use super::emitter::Emitter;
use super::index::Index;
use super::load::columns;
use super::types::Val;
use melior::ir::ValueLike;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Lanes, Layout, Param, Rows, Tile, TileId};

/// Coordinates of an element in its tile.
#[derive(Clone, Copy)]
pub(super) struct Element<'c> {
    pub(super) row: Index<'c>,
    pub(super) col: Index<'c>,
}

impl<'c> Emitter<'c, '_> {
    /// Whether two elements of a column tile share a 32-bit register.
    pub(super) fn is_packed(&self, tile: &Tile) -> bool {
        self.kernel.layout == Layout::Fragments && tile.dtype.bytes() == 2
    }

    /// The elements that a lane holds, in the order of its values.
    ///
    /// Fragments: for each 8 rows `c0 c1 c2 c3` of a transposed `m16n8` accumulator. Lanes: row by
    /// row, piece by piece.
    pub(super) fn elements(&self, tile: &Tile) -> Vec<Element<'c>> {
        match self.kernel.layout {
            Layout::Fragments => {
                let b = &self.b;
                let col = b.index_add(b.index_mul(self.warp(), 16), self.quad());
                let pair = self.pair();
                let at = |group: usize, e: usize| Element {
                    row: pair.plus(8 * group + e % 2),
                    col: col.plus(8 * (e / 2)),
                };
                let groups = tile.rows.div_ceil(8);
                (0..groups)
                    .flat_map(|group| (0..4).map(move |e| (group, e)))
                    .map(|(group, e)| at(group, e))
                    .collect()
            }
            Layout::Lanes(lanes) => {
                let b = &self.b;
                let (group, place) = b.index_split(self.lane(), lanes.across);
                let group = b.index_add(b.index_mul(self.warp(), lanes.groups()), group);
                let run = lanes.run(tile.rows, self.thread().warps);
                let row = match tile.rows {
                    1 => Index::constant(0),
                    _ => b.index_mul(group, run),
                };
                let col = b.index_mul(place, lanes.width);
                let of_row = lanes.of_row(tile.cols);
                let at = |i: usize| {
                    let (piece, e) = (i % of_row / lanes.width, i % lanes.width);
                    let col = col.plus(piece * lanes.width * lanes.across + e);
                    Element { row: row.plus(i / of_row), col }
                };
                (0..run * of_row).map(at).collect()
            }
        }
    }

    /// The kernel's way to share columns out to lanes.
    ///
    /// # Panics
    /// If columns are fragments.
    pub(super) fn lanes(&self) -> Lanes {
        match self.kernel.layout {
            Layout::Lanes(lanes) => lanes,
            Layout::Fragments => unreachable!("asked for where columns are spread over lanes"),
        }
    }

    /// Whether this thread is to write what all groups of lanes hold; none: it is the only one.
    pub(super) fn writes(&self, tile: &Tile) -> Option<Val<'c>> {
        match self.kernel.layout {
            Layout::Lanes(lanes) if tile.rows == 1 => {
                let b = &self.b;
                let me = Index::below(self.thread().index, self.threads());
                b.index_below(me, lanes.across)
            }
            _ => None,
        }
    }

    /// Neighbouring values of a lane that lie side by side in a param, too, and can be moved at once;
    /// the tile's column `first` is the param's first.
    pub(super) fn together(&self, tile: &Tile, param: &Param, first: usize) -> usize {
        let Layout::Lanes(Lanes { width, .. }) = self.kernel.layout else { return 1 };
        let whole = [first, columns(param, tile, first), param.cols];
        let plain = !param.transposed && tile.stands_for == Rows::Same;
        let aligned = param.align.is_multiple_of(width * param.dtype.bytes());
        let fits = plain && aligned && whole.iter().all(|n| n.is_multiple_of(width));
        if fits { width } else { 1 }
    }

    /// Number of values that a lane holds of a column tile.
    fn count(&self, tile: &Tile) -> usize {
        match self.kernel.layout {
            Layout::Fragments => 4 * tile.rows.div_ceil(8),
            Layout::Lanes(lanes) => {
                lanes.run(tile.rows, self.thread().warps) * lanes.of_row(tile.cols)
            }
        }
    }

    /// The registers of a column tile: pairs of 16-bit values or single f32 values; 0 if unwritten.
    pub(super) fn registers(&self, id: TileId) -> Vec<Val<'c>> {
        let tile = self.kernel.tile(id);
        self.held(id).unwrap_or_else(|| {
            if self.is_packed(tile) {
                vec![self.b.i32(0); self.count(tile) / 2]
            } else {
                vec![self.b.f32(0.0); self.count(tile)]
            }
        })
    }

    /// The values of a column tile as f32, in the order of [`Self::elements`].
    pub(super) fn values(&self, id: TileId) -> Vec<Val<'c>> {
        let tile = self.kernel.tile(id);
        let registers = self.registers(id);
        if !self.is_packed(tile) {
            return registers;
        }
        registers.into_iter().flat_map(|pair| self.unpack(tile.dtype, pair)).collect()
    }

    /// Replaces the values of a column tile, rounding to its dtype.
    pub(super) fn set_values(&self, id: TileId, values: &[Val<'c>]) {
        let registers = self.rounded_registers(self.kernel.tile(id), values);
        self.hold(id, registers);
    }

    /// The registers of a column tile with the given values, rounded to its dtype.
    pub(super) fn rounded_registers(&self, tile: &Tile, values: &[Val<'c>]) -> Vec<Val<'c>> {
        if self.is_packed(tile) {
            return values.chunks(2).map(|v| self.pack(tile.dtype, v[0], v[1])).collect();
        }
        values.iter().map(|v| self.widen(self.narrow(*v, tile.dtype))).collect()
    }

    /// Two f32 values as one register of two 16-bit values, the first in the lower half.
    pub(super) fn pack(&self, dtype: Dtype, low: Val<'c>, high: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let of = b.vector_type(2, b.float_type(dtype));
        let rounded = b.convert("llvm.fptrunc", b.vector(&[low, high]), of);
        b.convert("llvm.bitcast", rounded, b.types.i32)
    }

    /// The two values of a register.
    pub(super) fn unpack(&self, dtype: Dtype, pair: Val<'c>) -> [Val<'c>; 2] {
        let b = &self.b;
        if dtype == Dtype::Bf16 {
            let low = b.like("llvm.shl", &[pair, b.i32(16)]);
            let high = b.and(pair, b.i32(-65536));
            return [low, high].map(|bits| b.convert("llvm.bitcast", bits, b.types.f32));
        }
        let half = b.float_type(dtype);
        let vector = b.convert("llvm.bitcast", pair, b.vector_type(2, half));
        [0, 1].map(|i| b.convert("llvm.fpext", b.element(vector, i, half), b.types.f32))
    }

    /// An f32 value in a dtype.
    pub(super) fn narrow(&self, value: Val<'c>, dtype: Dtype) -> Val<'c> {
        match dtype.bytes() {
            2 => self.b.convert("llvm.fptrunc", value, self.b.float_type(dtype)),
            _ => value,
        }
    }

    /// A value of any float type as f32.
    pub(super) fn widen(&self, value: Val<'c>) -> Val<'c> {
        if value.r#type() == self.b.types.f32 {
            return value;
        }
        self.b.convert("llvm.fpext", value, self.b.types.f32)
    }

    /// The value where the condition holds, else 0; no condition: always.
    pub(super) fn or_zero(&self, condition: Option<Val<'c>>, value: Val<'c>) -> Val<'c> {
        match condition {
            Some(condition) => self.b.select(condition, value, self.b.f32(0.0)),
            None => value,
        }
    }
}
