//! Inverses of unit triangular matrices, in f32.
//!
//! With `Y = (I - L)^-1 - I` and blocks of 16 rows: the diagonal blocks come from forward
//! substitution, one thread a column; then, block row after block row,
//! `M_ij = L_ij + sum_{j <= k < i} L_ik Y_kj` and `Y_ij = M_ij + Y_ii M_ij`.
//! An upper triangular matrix is a lower one read backwards.

use super::emitter::Emitter;
use super::index::Index;
use super::types::Val;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Kernel, View};

/// Rows of a block.
const BLOCK: usize = 16;

/// Rows that one thread computes of a column of `M`.
const ROWS: usize = 4;

/// Bytes of scratch memory: the f32 result if the destination cannot hold it.
pub(super) fn scratch_bytes(kernel: &Kernel, dst: View) -> usize {
    let tile = kernel.tile(dst.tile);
    if tile.dtype == Dtype::F32 { 0 } else { 4 * tile.rows * tile.cols }
}

/// One `Inverse` statement.
#[derive(Clone, Copy)]
struct Inversion {
    dst: View,
    src: View,
    upper: bool,
    /// Rows of each matrix.
    size: usize,
}

impl<'c> Emitter<'c, '_> {
    /// An `Inverse` statement.
    pub(super) fn inverse(&self, dst: View, src: View, upper: bool) {
        let [matrices, size, _] = self.kernel.shape(src);
        let whole = Inversion { dst, src, upper, size };
        let exact = scratch_bytes(self.kernel, dst) == 0;
        if exact {
            self.fill(dst.tile, 0.0);
            self.role_barrier();
        }
        self.invert_diagonal(&whole, matrices);
        for block in 1..size.div_ceil(BLOCK) {
            self.role_barrier();
            self.gather(&whole, matrices, block);
            self.role_barrier();
            self.apply_diagonal(&whole, matrices, block);
        }
        if !exact {
            self.role_barrier();
            self.over_shared(dst.tile, |row, col| {
                let at = self.at(dst, row, col);
                let (r, c) = (self.facing(&whole, at.row), self.facing(&whole, at.col));
                let below = self.holds(sluice_ir::kernel::Mask::Strict, r, c);
                let value = self.b.choose(
                    below,
                    || vec![self.result(&whole, at.block, r, c)],
                    &[self.b.f32(0.0)],
                );
                value[0]
            });
            // Before anything else goes to the scratch memory.
            self.role_barrier();
        }
    }

    /// Row or column of the tile for one of the lower triangular matrix.
    fn facing(&self, v: &Inversion, index: Index<'c>) -> Index<'c> {
        if v.upper { self.b.index_flip(index, v.size) } else { index }
    }

    /// An element of the matrix to invert.
    fn given(&self, v: &Inversion, matrix: Index<'c>, row: Index<'c>, col: Index<'c>) -> Val<'c> {
        let b = &self.b;
        let first = b.index_mul(matrix, v.size);
        self.read(v.src.tile, b.index_add(first, self.facing(v, row)), self.facing(v, col))
    }

    /// Pointer to an element of the f32 result.
    fn slot(&self, v: &Inversion, matrix: Index<'c>, row: Index<'c>, col: Index<'c>) -> Val<'c> {
        let b = &self.b;
        let first = b.index_mul(matrix, v.size);
        if scratch_bytes(self.kernel, v.dst) == 0 {
            let row = b.index_add(first, self.facing(v, row));
            return self.address(v.dst.tile, row, self.facing(v, col));
        }
        let place = b.index_add(b.index_mul(b.index_add(first, row), v.size), col);
        let bytes = b.index_mul(place, 4);
        let base = b.advance_by(self.shared, self.scratch() as i64 + bytes.offset());
        bytes.dynamic().map_or(base, |dynamic| b.advance(base, dynamic))
    }

    fn result(&self, v: &Inversion, matrix: Index<'c>, row: Index<'c>, col: Index<'c>) -> Val<'c> {
        self.b.load(self.slot(v, matrix, row, col), self.b.types.f32)
    }

    /// The inverses of all diagonal blocks, a thread for each column.
    fn invert_diagonal(&self, v: &Inversion, matrices: usize) {
        let b = &self.b;
        let size = v.size.min(BLOCK);
        let blocks = v.size.div_ceil(BLOCK);
        self.spread(matrices * blocks * size, |i| {
            let (i, col) = b.index_split(i, size);
            let (matrix, block) = b.index_split(i, blocks);
            let first = b.index_mul(block, BLOCK);
            let column = b.index_add(first, col);
            let mut found: Vec<Val<'c>> = Vec::new();
            for step in 0..size {
                let row = first.plus(step);
                let exists = b.both(b.index_below(row, v.size), b.index_below(column, v.size));
                let clamped = b.index_min(row, v.size - 1);
                let element = |col: Index<'c>| {
                    let col = b.index_min(col, v.size - 1);
                    self.or_zero(exists, self.given(v, matrix, clamped, col))
                };
                let below = self.holds(sluice_ir::kernel::Mask::Strict, Index::constant(step), col);
                let own = b.select(below, element(column), b.f32(0.0));
                let value = found
                    .iter()
                    .enumerate()
                    .fold(own, |sum, (k, y)| b.fma(element(first.plus(k)), *y, sum));
                b.when_some(exists, || b.store(value, self.slot(v, matrix, row, column)));
                found.push(value);
            }
        });
    }

    /// `M` for one block row, in the place of the result: a thread for some rows of a column.
    fn gather(&self, v: &Inversion, matrices: usize, block: usize) {
        let b = &self.b;
        let before = block * BLOCK;
        let rows = (v.size - before).min(BLOCK);
        let runs = rows.div_ceil(ROWS);
        self.spread(matrices * runs * before, |i| {
            let (i, col) = b.index_split(i, before);
            let (matrix, run) = b.index_split(i, runs);
            let first = b.index_mul(run, ROWS).plus(before);
            let rows: Vec<Index<'c>> =
                (0..ROWS).map(|r| b.index_min(first.plus(r), v.size - 1)).collect();
            let start: Vec<Val<'c>> =
                rows.iter().map(|row| self.given(v, matrix, *row, col)).collect();
            let (from, _) = b.index_split(col, BLOCK);
            let from = b.index(b.index_mul(from, BLOCK));
            let sums = b.repeat(from, b.i32(before as i64), b.i32(4), &start, |k, sums| {
                let k = Index::below(k, before - 3);
                (0..4).fold(sums.to_vec(), |sums, step| {
                    let k = k.plus(step);
                    let y = self.result(v, matrix, k, col);
                    let add = |(row, sum): (&Index<'c>, &Val<'c>)| {
                        b.fma(self.given(v, matrix, *row, k), y, *sum)
                    };
                    rows.iter().zip(&sums).map(add).collect()
                })
            });
            // A row that was met twice is written twice, with the same value.
            for (row, sum) in rows.iter().zip(sums) {
                b.store(sum, self.slot(v, matrix, *row, col));
            }
        });
    }

    /// `Y = M + Y_ii M` for one block row: a thread for each column.
    fn apply_diagonal(&self, v: &Inversion, matrices: usize, block: usize) {
        let b = &self.b;
        let before = block * BLOCK;
        let rows = (v.size - before).min(BLOCK);
        self.spread(matrices * before, |i| {
            let (matrix, col) = b.index_split(i, before);
            let row = |r: usize| Index::constant(before + r);
            let m: Vec<Val<'c>> = (0..rows).map(|r| self.result(v, matrix, row(r), col)).collect();
            for r in 1..rows {
                let value = (0..r)
                    .fold(m[r], |sum, k| b.fma(self.result(v, matrix, row(r), row(k)), m[k], sum));
                b.store(value, self.slot(v, matrix, row(r), col));
            }
        });
    }
}
