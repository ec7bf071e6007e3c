//! Matrix products on tensor cores.

use super::emitter::Emitter;
use super::index::Index;
use super::pointwise::{At, Site};
use super::types::{Compare, Val};
use sluice_ir::kernel::{Band, Mma, Operand, Place, Start, View};

/// Rows and columns of the block that a warp computes at a time.
const BLOCK: usize = 16;

impl<'c> Emitter<'c, '_> {
    /// A product with 16-bit operands.
    pub(super) fn tensor_product(&self, m: &Mma) {
        match self.kernel.tile(m.dst.tile).place {
            Place::Columns => self.product_into_columns(m),
            Place::Shared(_) => self.product_in_shared(m),
        }
    }

    /// `dst^T = b^T a^T`: the registers of `b` are the left operand.
    fn product_into_columns(&self, m: &Mma) {
        let [blocks, rows, _] = self.kernel.shape(m.dst);
        let inner = self.kernel.shape(m.b.view)[1];
        let mut sums = self.start_values(m);
        let b_registers = self.registers(m.b.view.tile);
        let right = Operand { view: m.a.view, transposed: !m.a.transposed };
        let dtype = self.kernel.tile(m.a.view.tile).dtype;
        let (row_groups, inner_groups) = (rows.div_ceil(8), inner.div_ceil(8));
        for block in 0..blocks {
            let of_b = block * m.b.view.blocks / blocks;
            for k in (0..inner_groups).step_by(2) {
                let group = of_b * inner_groups + k;
                let mut left =
                    b_registers[2 * group..(2 * group + 4).min(b_registers.len())].to_vec();
                if k + 1 == inner_groups {
                    left.truncate(2);
                }
                left.resize(4, self.b.i32(0));
                for n in (0..row_groups).step_by(2) {
                    let wanted: Vec<usize> = (n..(n + 2).min(row_groups))
                        .filter(|g| in_band(m.band, 8 * g, 8, 8 * k, 16))
                        .collect();
                    if wanted.is_empty() {
                        continue;
                    }
                    let count = if n + 1 < row_groups { 4 } else { 2 };
                    let at = (Index::constant(8 * k), Index::constant(8 * n));
                    let pairs =
                        self.right_fragment(right, (Index::constant(block), blocks), at, count);
                    for g in wanted {
                        let first = 4 * (block * row_groups + g);
                        let pair = &pairs[2 * (g - n)..2 * (g - n) + 2];
                        let sum = self.mma(dtype, &left, pair, &sums[first..first + 4]);
                        sums.splice(first..first + 4, sum);
                    }
                }
            }
        }
        self.finish_columns(m, sums);
    }

    /// What a product into columns is added to.
    pub(super) fn start_values(&self, m: &Mma) -> Vec<Val<'c>> {
        let tile = self.kernel.tile(m.dst.tile);
        let elements = self.elements(tile);
        match m.start {
            Start::Zero => vec![self.b.f32(0.0); elements.len()],
            Start::Dst => self.values(m.dst.tile),
            Start::Tile(view) => match self.kernel.tile(view.tile).place {
                Place::Columns => self.values(view.tile),
                Place::Shared(_) => {
                    elements.iter().map(|e| self.read_inside(view.tile, e.row, e.col)).collect()
                }
            },
        }
    }

    /// Applies the epilogue to the sums of a product into columns and keeps them.
    pub(super) fn finish_columns(&self, m: &Mma, sums: Vec<Val<'c>>) {
        let Some(body) = &m.then else {
            return self.set_values(m.dst.tile, &sums);
        };
        let values = self.map_columns(m.dst, body, Some(&sums));
        self.set_values(m.dst.tile, &values);
    }

    /// 16x16 blocks of the destination, dealt to the warps: wanted blocks first, then zeros.
    fn product_in_shared(&self, m: &Mma) {
        let b = &self.b;
        let (tile, place) = self.shared_tile(m.dst.tile);
        let [blocks, rows, cols] = self.kernel.shape(m.dst);
        let extent = if blocks == 1 { place.padded_rows } else { rows };
        let (down, across) = (extent.div_ceil(BLOCK), place.padded_cols.div_ceil(BLOCK));
        let wanted = |i: usize, j: usize| {
            i * BLOCK < rows
                && j * BLOCK < cols
                && in_band(m.band, i * BLOCK, BLOCK, j * BLOCK, BLOCK)
        };
        let mut order: Vec<[usize; 3]> = (0..blocks * down * across)
            .map(|n| [n / (down * across), n / across % down, n % across])
            .collect();
        order.sort_by_key(|[_, i, j]| !wanted(*i, *j));
        let full = order.iter().filter(|[_, i, j]| wanted(*i, *j)).count();
        self.spread_warps(order.len(), |piece| {
            let place = if full == order.len() {
                let (block, rest) = b.index_split(piece, down * across);
                let (i, j) = b.index_split(rest, across);
                [block, i, j]
            } else {
                [0, 1, 2].map(|axis| {
                    let column: Vec<usize> = order.iter().map(|o| o[axis]).collect();
                    self.lookup(&column, piece)
                })
            };
            let [block, i, j] = place;
            let (i, j) = (b.index_mul(i, BLOCK), b.index_mul(j, BLOCK));
            match b.index_below(piece, full) {
                None => self.product_block(m, block, i, j),
                Some(_) if piece.offset() as usize >= full => self.zero_block(m, block, i, j),
                Some(is_wanted) => {
                    b.when(is_wanted, || self.product_block(m, block, i, j));
                    let is_zero = b.compare(Compare::Eq, is_wanted, b.bool(false));
                    b.when(is_zero, || self.zero_block(m, block, i, j));
                }
            }
        });
        debug_assert!(tile.rows == blocks * rows, "a view divides its tile");
    }

    /// One 16x16 block at row `i` and column `j` of a block of the destination.
    fn product_block(&self, m: &Mma, block: Index<'c>, i: Index<'c>, j: Index<'c>) {
        /// Steps over the inner dimension that are written out.
        const UNROLLED: usize = 8;
        let b = &self.b;
        let inner = {
            let [_, rows, cols] = self.kernel.shape(m.a.view);
            if m.a.transposed { rows } else { cols }
        };
        let dtype = self.kernel.tile(m.a.view.tile).dtype;
        let places: Vec<At<'c>> = (0..8).map(|e| self.block_element(m, block, i, j, e)).collect();
        let start = places
            .iter()
            .map(|at| match m.start {
                Start::Zero => b.f32(0.0),
                Start::Dst => self.read_at(m.dst, at),
                Start::Tile(view) => self.read_at(view, at),
            })
            .collect();
        let sums = self.fold(inner.div_ceil(BLOCK), UNROLLED, start, |k, sums| {
            let k = b.index_mul(k, BLOCK);
            let left = self.left_fragment(m.a, (block, m.dst.blocks), (i, k));
            let right = self.right_fragment(m.b, (block, m.dst.blocks), (k, j), 4);
            let mut next = self.mma(dtype, &left, &right[..2], &sums[..4]);
            next.extend(self.mma(dtype, &left, &right[2..], &sums[4..]));
            next
        });
        let values: Vec<Val<'c>> =
            places.iter().zip(sums).map(|(at, sum)| self.finish_element(m, at, sum)).collect();
        self.write_block(m, &places, &values);
    }

    /// The element of a tile of the destination's shape.
    fn read_at(&self, view: View, at: &At<'c>) -> Val<'c> {
        let row = self.b.index_add(self.b.index_mul(at.block, at.shape[1]), at.row);
        self.read_inside(view.tile, row, at.col)
    }

    /// Zeros in a block that is not wanted.
    fn zero_block(&self, m: &Mma, block: Index<'c>, i: Index<'c>, j: Index<'c>) {
        let places: Vec<At<'c>> = (0..8).map(|e| self.block_element(m, block, i, j, e)).collect();
        self.write_block(m, &places, &[self.b.f32(0.0); 8]);
    }

    /// Where value `e` of a lane lies: four for each 8 columns, two in each of rows `r` and `r + 8`.
    fn block_element(
        &self,
        m: &Mma,
        block: Index<'c>,
        i: Index<'c>,
        j: Index<'c>,
        e: usize,
    ) -> At<'c> {
        let b = &self.b;
        let row = b.index_add(i, self.quad()).plus(8 * (e / 2 % 2));
        let col = b.index_add(j, self.pair()).plus(8 * (e / 4) + e % 2);
        At {
            shape: self.kernel.shape(m.dst),
            block,
            row,
            col,
            register: None,
            below_diagonal: false,
        }
    }

    /// The epilogue of one element in shared memory: 0 in the padding.
    pub(super) fn finish_element(&self, m: &Mma, at: &At<'c>, sum: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let inside = b.both(b.index_below(at.row, at.shape[1]), b.index_below(at.col, at.shape[2]));
        let value = match &m.then {
            None => sum,
            Some(body) => self.evaluate(&body.expr, Site::Element(at), &|i| match i {
                0 => sum,
                _ => self.argument(&body.args[i - 1], at, None),
            }),
        };
        self.or_zero(inside, value)
    }

    /// Writes the eight values of a lane, in pairs of neighbouring columns; the last column of an odd
    /// number has no neighbour.
    fn write_block(&self, m: &Mma, places: &[At<'c>], values: &[Val<'c>]) {
        let b = &self.b;
        let (tile, place) = self.shared_tile(m.dst.tile);
        let [blocks, rows, _] = self.kernel.shape(m.dst);
        let extent = if blocks == 1 { place.padded_rows } else { rows };
        let together = if place.padded_cols.is_multiple_of(2) { 2 } else { 1 };
        for (at, pair) in places.iter().step_by(2).zip(values.chunks(2)) {
            for first in (0..2).step_by(together) {
                let last = at.col.plus(first + together - 1);
                let fits =
                    b.both(b.index_below(at.row, extent), b.index_below(last, place.padded_cols));
                b.when_some(fits, || {
                    let row = b.index_add(b.index_mul(at.block, rows), at.row);
                    if tile.dtype.bytes() == 2 {
                        let packed = self.pack(tile.dtype, pair[0], pair[1]);
                        return b.store(packed, self.address(m.dst.tile, row, at.col));
                    }
                    for (i, value) in pair.iter().enumerate().skip(first).take(together) {
                        self.write(m.dst.tile, row, at.col.plus(i), *value);
                    }
                });
            }
        }
    }

    /// Entry `index` of a table of numbers below 256.
    fn lookup(&self, table: &[usize], index: Index<'c>) -> Index<'c> {
        let b = &self.b;
        let limit = table.iter().max().map_or(1, |m| m + 1);
        let index = b.index(index);
        let in_word = b.like("llvm.shl", &[b.and(index, b.i32(7)), b.i32(3)]);
        let word = b.like("llvm.lshr", &[index, b.i32(3)]);
        let words = table.chunks(8).map(|bytes| {
            let bits = bytes.iter().enumerate().fold(0u64, |w, (i, v)| w | (*v as u64) << (8 * i));
            b.i64(bits as i64)
        });
        let chosen = words
            .enumerate()
            .reduce(|(_, so_far), (i, w)| {
                let here = b.compare(Compare::Eq, word, b.i32(i as i64));
                (i, b.select(here, w, so_far))
            })
            .expect("a table with an entry")
            .1;
        let entry = b.like("llvm.lshr", &[chosen, self.wide(in_word)]);
        let entry = b.and(b.convert("llvm.trunc", entry, b.types.i32), b.i32(255));
        Index::below(entry, limit)
    }
}

/// Whether any element of `rows x cols` at `(row, col)` is in the band.
fn in_band(band: Band, row: usize, rows: usize, col: usize, cols: usize) -> bool {
    match band {
        Band::Full => true,
        Band::Lower => col < row + rows,
        Band::Upper => row < col + cols,
    }
}
