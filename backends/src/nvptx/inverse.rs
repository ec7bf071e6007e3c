//! Inverses of unit triangular matrices, by blocks of 16 rows.
//!
//! With `Y = (I - L)^-1 - I`: the diagonal blocks come from forward substitution in f32. Then each warp
//! takes block columns `j` and goes down their rows:
//! `M_ij = L_ij + sum_{j <= k < i} L_ik Y_kj` and `Y_ij = M_ij + Y_ii M_ij`.
//!
//! These products run on tensor cores, transposed (`M^T = L^T + sum Y^T L^T`), so that the accumulators of one
//! are the left operand of the next. Operands are tf32 (PTX ISA, `mma.m16n8k8`), which has the range of
//! f32; for an f32 result each is taken in two parts, which together have 22 bits. The order of the
//! steps within a product is free, which is what lets accumulators serve as operands: step `t` is
//! column `2t` and step `t + 4` column `2t + 1`.
//!
//! An upper triangular matrix is a lower one read backwards.

use super::emitter::Emitter;
use super::fragment::Order;
use super::index::Index;
use super::types::{Compare, Val};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Mask, TileId, View};

/// Rows of a block.
const BLOCK: usize = 16;

/// Values of a transposed block that a lane holds: two tiles of `m16n8`.
const VALUES: usize = 8;

/// One `Inverse` statement.
#[derive(Clone, Copy)]
struct Inversion {
    dst: View,
    src: View,
    /// The diagonal blocks of the result in f32.
    diagonal: TileId,
    upper: bool,
    /// Rows of each matrix.
    size: usize,
    /// Whether the result is f32: then products take both parts of their operands.
    exact: bool,
}

/// Operands of a product in tf32, the larger part first.
type Parts<'c> = Vec<Vec<Val<'c>>>;

impl<'c> Emitter<'c, '_> {
    /// An `Inverse` statement.
    pub(super) fn inverse(&self, [dst, src]: [View; 2], upper: bool, diagonal: TileId) {
        let b = &self.b;
        let [matrices, size, _] = self.kernel.shape(src);
        let exact = self.kernel.tile(dst.tile).dtype == Dtype::F32;
        let whole = Inversion { dst, src, diagonal, upper, size, exact };
        self.invert_diagonal(&whole, matrices);
        self.role_barrier();
        let blocks = size.div_ceil(BLOCK);
        let warps = self.thread().warps;
        for matrix in 0..matrices {
            for column in 0..blocks {
                let turn = (matrix * blocks + column) % warps;
                let mine = b.compare(Compare::Eq, b.index(self.warp()), b.i32(turn as i64));
                b.when(mine, || self.descend(&whole, matrix, column));
            }
        }
        self.zero_padding(dst.tile);
    }

    /// Row or column of the tile for one of the lower triangular matrix.
    fn facing(&self, v: &Inversion, index: Index<'c>) -> Index<'c> {
        if v.upper { self.b.index_flip(index, v.size) } else { index }
    }

    /// An element of the matrix to invert, 0 outside.
    fn given(&self, v: &Inversion, matrix: Index<'c>, [row, col]: [Index<'c>; 2]) -> Val<'c> {
        let b = &self.b;
        let first = b.index_mul(matrix, v.size);
        let [r, c] = [row, col].map(|i| self.facing(v, b.index_min(i, v.size - 1)));
        let inside = b.both(b.index_below(row, v.size), b.index_below(col, v.size));
        self.or_zero(inside, self.read(v.src.tile, b.index_add(first, r), c))
    }

    /// Writes an element of the result, if it is inside.
    fn put(&self, v: &Inversion, matrix: Index<'c>, [row, col]: [Index<'c>; 2], value: Val<'c>) {
        let b = &self.b;
        let inside = b.both(b.index_below(row, v.size), b.index_below(col, v.size));
        b.when_some(inside, || {
            let row = b.index_add(b.index_mul(matrix, v.size), self.facing(v, row));
            self.write(v.dst.tile, row, self.facing(v, col), value);
        });
    }

    /// Pointer to an element of a diagonal block in f32.
    fn diagonal(
        &self,
        v: &Inversion,
        (matrix, block): (Index<'c>, Index<'c>),
        [row, col]: [Index<'c>; 2],
    ) -> Val<'c> {
        let b = &self.b;
        let blocks = v.size.div_ceil(BLOCK);
        let block = b.index_add(b.index_mul(matrix, blocks), block);
        self.address(v.diagonal, b.index_add(b.index_mul(block, BLOCK), row), col)
    }

    /// The inverses of all diagonal blocks in f32.
    ///
    /// Kernels that want an f32 result have full registers: there a thread solves for a whole column. Else a
    /// warp solves for the two halves of a block's rows apart and joins them, which takes half the steps:
    /// `Y_10 = M + Y_11 M` with `M = L_10 + L_10 Y_00`, two elements a lane.
    fn invert_diagonal(&self, v: &Inversion, matrices: usize) {
        const HALF: usize = BLOCK / 2;
        let b = &self.b;
        let blocks = v.size.div_ceil(BLOCK);
        if v.exact {
            return self.spread(matrices * blocks * BLOCK, |i| {
                let (i, col) = b.index_split(i, BLOCK);
                self.solve_column(v, b.index_split(i, blocks), (Index::constant(0), BLOCK), col);
            });
        }
        let meet = || b.effect("nvvm.bar.warp.sync", &[b.i32(-1)], &[]);
        self.spread_warps(matrices * blocks, |i| {
            let place = b.index_split(i, blocks);
            let given = |at| self.given_in_block(v, place, at);
            let solved = |at| b.load(self.diagonal(v, place, at), b.types.f32);
            let (group, col) = b.index_split(self.lane(), HALF);
            b.when_some(b.index_below(group, 2), || {
                let first = b.index_mul(Index::below(b.index(group), 2), HALF);
                self.solve_column(v, place, (first, HALF), col);
                for row in (0..HALF).map(Index::constant) {
                    b.store(b.f32(0.0), self.diagonal(v, place, [row, col.plus(HALF)]));
                }
            });
            meet();
            let rows = [group.plus(HALF), group.plus(HALF + HALF / 2)];
            let m = rows.map(|row| {
                (0..HALF)
                    .map(Index::constant)
                    .fold(given([row, col]), |sum, k| b.fma(given([row, k]), solved([k, col]), sum))
            });
            let put = |values: [Val<'c>; 2]| {
                for (row, value) in rows.into_iter().zip(values) {
                    b.store(value, self.diagonal(v, place, [row, col]));
                }
            };
            put(m);
            meet();
            let y = [0, 1].map(|i| {
                (HALF..BLOCK)
                    .map(Index::constant)
                    .fold(m[i], |sum, k| b.fma(solved([rows[i], k]), solved([k, col]), sum))
            });
            meet();
            put(y);
        });
    }

    /// An element of the matrix to invert, by its place in a diagonal block.
    fn given_in_block(
        &self,
        v: &Inversion,
        (matrix, block): (Index<'c>, Index<'c>),
        at: [Index<'c>; 2],
    ) -> Val<'c> {
        let b = &self.b;
        let first = b.index_mul(block, BLOCK);
        self.given(v, matrix, at.map(|i| b.index_add(first, i)))
    }

    /// Column `c` of the inverse of `rows` rows of a diagonal block from `first` on: `x = e_c + L x`.
    fn solve_column(
        &self,
        v: &Inversion,
        block: (Index<'c>, Index<'c>),
        (first, rows): (Index<'c>, usize),
        col: Index<'c>,
    ) {
        let b = &self.b;
        let mut found: Vec<Val<'c>> = Vec::new();
        for step in 0..rows {
            let own = b.compare(Compare::Eq, b.index(col), b.i32(step as i64));
            let unit = b.select(own, b.f32(1.0), b.f32(0.0));
            let x = found.iter().enumerate().fold(unit, |sum, (k, x)| {
                let l = self.given_in_block(v, block, [first.plus(step), first.plus(k)]);
                b.fma(l, *x, sum)
            });
            found.push(x);
        }
        for (step, x) in found.into_iter().enumerate() {
            let below = self.holds(Mask::Strict, Index::constant(step), col);
            let y = b.select(below, x, b.f32(0.0));
            b.store(y, self.diagonal(v, block, [first.plus(step), b.index_add(first, col)]));
        }
    }

    /// Block column `column` of one matrix by one warp, and the zeros above it.
    fn descend(&self, v: &Inversion, matrix: usize, column: usize) {
        let b = &self.b;
        let matrix = Index::constant(matrix);
        for above in 0..column {
            self.put_block(v, (matrix, above, column), &[b.f32(0.0); VALUES]);
        }
        let own: Vec<Val<'c>> = self.transposed_block(|at| {
            let column = Index::constant(column);
            b.load(self.diagonal(v, (matrix, column), at), b.types.f32)
        });
        self.put_block(v, (matrix, column, column), &own);
        let mut found = vec![self.parts(v, &own)];
        for row in column + 1..v.size.div_ceil(BLOCK) {
            let of = |k: usize| {
                let first = [row, k].map(|i| Index::constant(i * BLOCK));
                move |at: [Index<'c>; 2]| {
                    let at = [0, 1].map(|i| b.index_add(first[i], at[i]));
                    self.given(v, matrix, at)
                }
            };
            let mut m = self.transposed_block(of(column));
            for (k, y) in found.iter().enumerate() {
                let right = self.right_parts(v, of(column + k));
                m = self.tf32_product(y, &right, m);
            }
            let diagonal = self.right_parts(v, |at| {
                b.load(self.diagonal(v, (matrix, Index::constant(row)), at), b.types.f32)
            });
            let y = self.tf32_product(&self.parts(v, &m), &diagonal, m);
            self.put_block(v, (matrix, row, column), &y);
            found.push(self.parts(v, &y));
        }
    }

    /// The lane's values of a transposed block, given by its elements `[row, column]`: for each 8
    /// rows of the block, columns `quad` and `quad + 8` of rows `pair` and `pair + 1`.
    fn transposed_block(&self, element: impl Fn([Index<'c>; 2]) -> Val<'c>) -> Vec<Val<'c>> {
        (0..VALUES)
            .map(|e| {
                let row = self.pair().plus(8 * (e / 4) + e % 2);
                element([row, self.quad().plus(8 * (e / 2 % 2))])
            })
            .collect()
    }

    /// A block as the right operand `X^T` of products: for each 8 rows of `X` and each 8 of its columns
    /// two values.
    fn right_parts(&self, v: &Inversion, element: impl Fn([Index<'c>; 2]) -> Val<'c>) -> Parts<'c> {
        let values: Vec<Val<'c>> = (0..VALUES)
            .map(|e| {
                let row = self.quad().plus(8 * (e / 4));
                element([row, self.pair().plus(8 * (e / 2 % 2) + e % 2)])
            })
            .collect();
        self.parts(v, &values)
    }

    /// Values as operands in tf32: rounded, and for an exact result also what the rounding lost.
    fn parts(&self, v: &Inversion, values: &[Val<'c>]) -> Parts<'c> {
        let b = &self.b;
        let rounded: Vec<Val<'c>> = values.iter().map(|x| self.tf32(*x)).collect();
        if !v.exact {
            return vec![rounded];
        }
        let lost =
            values.iter().zip(&rounded).map(|(x, r)| self.tf32(b.fsub(*x, self.of_tf32(*r))));
        let lost = lost.collect();
        vec![rounded, lost]
    }

    /// `start + left right` for 16x16 blocks: `left` in the places of accumulators.
    fn tf32_product(
        &self,
        left: &Parts<'c>,
        right: &Parts<'c>,
        start: Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        let mut sums = start;
        // The least first; what both lost is below the last bit.
        for (i, j) in [(1, 0), (0, 1), (0, 0)] {
            let (Some(a), Some(c)) = (left.get(i), right.get(j)) else { continue };
            for half in 0..2 {
                for group in 0..2 {
                    // Columns `2t` and `2t + 1` of the accumulators as steps `t` and `t + 4`.
                    let a = &a[4 * half..4 * half + 4];
                    let a = [a[0], a[2], a[1], a[3]];
                    let c = &c[4 * group + 2 * half..][..2];
                    let place = 4 * group..4 * group + 4;
                    let sum = self.tf32_mma(&a, c, &sums[place.clone()]);
                    sums.splice(place, sum);
                }
            }
        }
        sums
    }

    /// Writes a transposed block to the result.
    fn put_block(
        &self,
        v: &Inversion,
        (matrix, row, column): (Index<'c>, usize, usize),
        values: &[Val<'c>],
    ) {
        let b = &self.b;
        let dtype = self.kernel.tile(v.dst.tile).dtype;
        let whole = v.size.is_multiple_of(BLOCK) && !v.upper;
        if self.target.stores_matrices && dtype.bytes() == 2 && whole {
            let packed: Vec<_> = values.chunks(2).map(|x| self.pack(dtype, x[0], x[1])).collect();
            let row = b.index_mul(matrix, v.size).plus(row * BLOCK);
            let at = (v.dst.tile, row, Index::constant(column * BLOCK));
            return self.store_matrices(at, Order::Wide, true, &packed);
        }
        for (e, value) in values.iter().enumerate() {
            let r = self.pair().plus(row * BLOCK + 8 * (e / 4) + e % 2);
            let c = self.quad().plus(column * BLOCK + 8 * (e / 2 % 2));
            self.put(v, matrix, [r, c], *value);
        }
    }
}
