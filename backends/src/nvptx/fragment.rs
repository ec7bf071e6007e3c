//! Moving 8x8 matrices between shared memory and the fragments of `mma`, and `mma` itself.
//!
//! Lane maps of `ldmatrix.x4` (which row of which matrix a lane addresses):
//!
//! ```text
//! Tall: row = lane % 16,                     column = 8 * (lane / 16)
//! Wide: row = lane % 8 + 8 * (lane / 16),    column = 8 * (lane / 8 % 2)
//! ```

use super::emitter::Emitter;
use super::index::Index;
use super::types::Val;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Operand, TileId};

/// Order of the four matrices of a 16x16 block: down the columns first or along the rows first.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Tall,
    Wide,
}

const SHAPE: &str = "#nvvm.ld_st_matrix_shape<m = 8, n = 8>";
const ELEMENTS: &str = "#nvvm.ld_st_matrix_elt_type<b16>";

fn layout_of(transpose: bool) -> &'static str {
    if transpose { "#nvvm.mma_layout<col>" } else { "#nvvm.mma_layout<row>" }
}

impl<'c> Emitter<'c, '_> {
    /// Row and column that the lane addresses within a 16x16 block.
    fn lane_place(&self, order: Order) -> (Index<'c>, Index<'c>) {
        let b = &self.b;
        let lane = self.thread().lane;
        let low = b.and(lane, b.i32(7));
        let bit = |n: i64| b.and(lane, b.i32(n));
        let half = |x| b.like("llvm.lshr", &[x, b.i32(1)]);
        match order {
            Order::Tall => (Index::below(bit(15), 16), Index::below(half(bit(16)), 9)),
            Order::Wide => (Index::below(b.add(low, half(bit(16))), 16), Index::below(bit(8), 9)),
        }
    }

    /// Pointer to the lane's row of a 16x16 block whose first element is at `(row, col)`.
    fn block_address(&self, tile: TileId, row: Index<'c>, col: Index<'c>, order: Order) -> Val<'c> {
        let (r, c) = self.lane_place(order);
        self.address(tile, self.b.index_add(row, r), self.b.index_add(col, c))
    }

    /// Loads the first `count` (2 or 4) matrices of a block.
    pub(super) fn load_matrices(
        &self,
        (tile, row, col): (TileId, Index<'c>, Index<'c>),
        order: Order,
        transpose: bool,
        count: usize,
    ) -> Vec<Val<'c>> {
        let b = &self.b;
        let pointer = self.block_address(tile, row, col, order);
        let registers = vec!["i32"; count].join(", ");
        let of = b.parse_type(&format!("!llvm.struct<({registers})>"));
        let loaded = b.value(
            "nvvm.ldmatrix",
            &[pointer],
            of,
            &[
                ("num", b.attribute(&format!("{count} : i32"))),
                ("layout", b.attribute(layout_of(transpose))),
                ("shape", b.attribute(SHAPE)),
                ("eltType", b.attribute(ELEMENTS)),
            ],
        );
        (0..count).map(|i| b.field(loaded, i, b.types.i32)).collect()
    }

    /// Stores matrices to the first places of a block.
    pub(super) fn store_matrices(
        &self,
        (tile, row, col): (TileId, Index<'c>, Index<'c>),
        order: Order,
        transpose: bool,
        matrices: &[Val<'c>],
    ) {
        let b = &self.b;
        let mut operands = vec![self.block_address(tile, row, col, order)];
        operands.extend_from_slice(matrices);
        b.effect(
            "nvvm.stmatrix",
            &operands,
            &[
                ("layout", b.attribute(layout_of(transpose))),
                ("shape", b.attribute(SHAPE)),
                ("eltType", b.attribute(ELEMENTS)),
            ],
        );
    }

    /// The transposes of 8x8 matrices that are spread over a warp.
    pub(super) fn transposes(&self, matrices: &[Val<'c>]) -> Vec<Val<'c>> {
        let b = &self.b;
        // Assembly text cannot be marked convergent in MLIR, and LLVM would copy it into both arms
        // of a branch that not all lanes take alike. It does not copy code beside this barrier.
        b.effect("nvvm.bar.warp.sync", &[b.i32(-1)], &[]);
        let text = "movmatrix.sync.aligned.m8n8.trans.b16 $0, $1;";
        matrices.iter().map(|m| b.instruction(text, "=r,r", &[*m], b.types.i32)).collect()
    }

    /// First row of an operand's block that belongs to block `block` of `of`.
    pub(super) fn first_row(&self, operand: Operand, block: Index<'c>, of: usize) -> Index<'c> {
        let [blocks, rows, _] = self.kernel.shape(operand.view);
        let (block, _) = self.b.index_split(block, of / blocks);
        self.b.index_mul(block, rows)
    }

    /// For block `block` of `of`, the 16x16 block of `op(operand)` at row `m` and column `k` as left operand of `mma`.
    pub(super) fn left_fragment(
        &self,
        operand: Operand,
        (block, of): (Index<'c>, usize),
        (m, k): (Index<'c>, Index<'c>),
    ) -> Vec<Val<'c>> {
        let tile = operand.view.tile;
        let b = &self.b;
        let first = self.first_row(operand, block, of);
        if operand.transposed {
            self.load_matrices((tile, b.index_add(first, k), m), Order::Wide, true, 4)
        } else {
            self.load_matrices((tile, b.index_add(first, m), k), Order::Tall, false, 4)
        }
    }

    /// For block `block` of `of`, the 16 x (4 `count`) block of `op(operand)` at row `k` and column `n` as right operands: two
    /// registers for each 8 columns.
    pub(super) fn right_fragment(
        &self,
        operand: Operand,
        (block, of): (Index<'c>, usize),
        (k, n): (Index<'c>, Index<'c>),
        count: usize,
    ) -> Vec<Val<'c>> {
        let tile = operand.view.tile;
        let b = &self.b;
        let first = self.first_row(operand, block, of);
        if operand.transposed {
            self.load_matrices((tile, b.index_add(first, n), k), Order::Wide, false, count)
        } else {
            self.load_matrices((tile, b.index_add(first, k), n), Order::Tall, true, count)
        }
    }

    /// An f32 value as an operand in tf32: half a unit of the last place is added, and the unit ignores the
    /// bits below it. That rounds to nearest as `cvt.rna.tf32` does, in one instruction for four.
    pub(super) fn tf32(&self, value: Val<'c>) -> Val<'c> {
        const HALF: i64 = 1 << 12;
        let b = &self.b;
        b.add(b.convert("llvm.bitcast", value, b.types.i32), b.i32(HALF))
    }

    /// What an operand in tf32 stands for.
    pub(super) fn of_tf32(&self, operand: Val<'c>) -> Val<'c> {
        const IGNORED: i64 = (1 << 13) - 1;
        let b = &self.b;
        b.convert("llvm.bitcast", b.and(operand, b.i32(!IGNORED)), b.types.f32)
    }

    /// `d = a b + c` in tf32 for a 16x8 block `a` and an 8x8 block `b`.
    pub(super) fn tf32_mma(&self, a: &[Val<'c>], right: &[Val<'c>], c: &[Val<'c>]) -> Vec<Val<'c>> {
        let b = &self.b;
        let operands: Vec<Val<'c>> = a.iter().chain(right).chain(c).copied().collect();
        let of = b.parse_type("!llvm.struct<(f32, f32, f32, f32)>");
        let kind = b.attribute("#nvvm.mma_type<tf32>");
        let sum = b.value(
            "nvvm.mma.sync",
            &operands,
            of,
            &[
                ("operandSegmentSizes", b.attribute("array<i32: 4, 2, 4>")),
                ("shape", b.attribute("#nvvm.shape<m = 16, n = 8, k = 8>")),
                ("layoutA", b.attribute(layout_of(false))),
                ("layoutB", b.attribute(layout_of(true))),
                ("multiplicandAPtxType", kind),
                ("multiplicandBPtxType", kind),
            ],
        );
        (0..4).map(|i| b.field(sum, i, b.types.f32)).collect()
    }

    /// `d = a b + c` for a 16x16 block `a` and a 16x8 block `b`.
    pub(super) fn mma(
        &self,
        dtype: Dtype,
        a: &[Val<'c>],
        right: &[Val<'c>],
        c: &[Val<'c>],
    ) -> Vec<Val<'c>> {
        let b = &self.b;
        let of = b.parse_type("!llvm.struct<(f32, f32, f32, f32)>");
        let mut operands: Vec<Val<'c>> = a.iter().chain(right).copied().collect();
        if dtype == Dtype::F16 {
            let half = b.vector_type(2, b.float_type(dtype));
            operands = operands.iter().map(|x| b.convert("llvm.bitcast", *x, half)).collect();
        }
        operands.extend_from_slice(c);
        let kind = b.attribute(&format!("#nvvm.mma_type<{dtype}>"));
        let sum = b.value(
            "nvvm.mma.sync",
            &operands,
            of,
            &[
                ("operandSegmentSizes", b.attribute("array<i32: 4, 2, 4>")),
                ("shape", b.attribute("#nvvm.shape<m = 16, n = 8, k = 16>")),
                ("layoutA", b.attribute(layout_of(false))),
                ("layoutB", b.attribute(layout_of(true))),
                ("multiplicandAPtxType", kind),
                ("multiplicandBPtxType", kind),
            ],
        );
        (0..4).map(|i| b.field(sum, i, b.types.f32)).collect()
    }
}
