//! Matrix products in ordinary arithmetic: in shared memory, and with columns spread over lanes.

use super::emitter::Emitter;
use super::index::Index;
use super::pointwise::At;
use super::types::Val;
use sluice_ir::kernel::{Kernel, Layout, Mma, Operand, Place, Role, Start, Stmt, Unit};

/// Bytes of scratch memory that the statements of a kernel need.
pub(super) fn scratch_bytes(kernel: &Kernel) -> usize {
    kernel.roles.iter().map(|role| SLOTS * slot_bytes(kernel, role)).sum()
}

/// Places for the sums of a product, used in turn: while some warps still read one, others may write
/// the next.
const SLOTS: usize = 2;

/// Bytes of the sums of all warps of a role. They are those of its widest product, so that the next place
/// of one product is never the last one of another.
fn slot_bytes(kernel: &Kernel, role: &Role) -> usize {
    let Layout::Lanes(lanes) = kernel.layout else { return 0 };
    let statements = role.setup.iter().chain(&role.body).chain(&role.finish);
    let bytes = statements.filter_map(|statement| match statement {
        Stmt::Mma(m) if joins_warps(kernel, m) => {
            Some(4 * role.warps * lanes.across * lanes.of_row(kernel.tile(m.dst.tile).cols))
        }
        _ => None,
    });
    bytes.max().unwrap_or(0)
}

/// Whether the rows that a product sums over are dealt to several warps.
fn joins_warps(kernel: &Kernel, m: &Mma) -> bool {
    let in_columns =
        |view: sluice_ir::kernel::View| matches!(kernel.tile(view.tile).place, Place::Columns);
    m.unit == Unit::Scalar
        && matches!(kernel.layout, Layout::Lanes(_))
        && in_columns(m.dst)
        && kernel.tile(m.b.view.tile).rows > 1
}

impl<'c> Emitter<'c, '_> {
    /// Byte offset of the role's scratch memory.
    pub(super) fn scratch(&self) -> usize {
        let before = Kernel {
            roles: self.kernel.roles[..self.thread().role].to_vec(),
            ..self.kernel.clone()
        };
        super::scratch_offset(self.kernel) + scratch_bytes(&before)
    }

    /// A product without tensor cores.
    pub(super) fn scalar_product(&self, m: &Mma) {
        let place = |view: sluice_ir::kernel::View| self.kernel.tile(view.tile).place;
        match (place(m.dst), place(m.a.view), place(m.b.view)) {
            (Place::Shared(_), Place::Shared(_), Place::Shared(_)) => self.scalar_in_shared(m),
            (Place::Columns, Place::Shared(_), Place::Columns) => {
                if joins_warps(self.kernel, m) {
                    self.sum_down_columns(m);
                } else {
                    self.outer_product(m);
                }
            }
            (Place::Shared(_), Place::Columns, Place::Columns) => self.sum_along_rows(m),
            _ => unreachable!("a checked kernel has no such product"),
        }
    }

    /// Element `(i, j)` of `op(operand)` in a block of the destination.
    fn operand(
        &self,
        operand: Operand,
        (block, of): (Index<'c>, usize),
        (i, j): (Index<'c>, Index<'c>),
    ) -> Val<'c> {
        let (row, col) = if operand.transposed { (j, i) } else { (i, j) };
        let first = self.first_row(operand, block, of);
        self.read(operand.view.tile, self.b.index_add(first, row), col)
    }

    /// A thread for each element of the result.
    fn scalar_in_shared(&self, m: &Mma) {
        let b = &self.b;
        let [blocks, rows, cols] = self.kernel.shape(m.dst);
        let [_, a_rows, a_cols] = self.kernel.shape(m.a.view);
        let inner = if m.a.transposed { a_rows } else { a_cols };
        self.spread(blocks * rows * cols, |i| {
            let (row, col) = b.index_split(i, cols);
            let at = self.at(m.dst, row, col);
            let start = match m.start {
                Start::Zero => b.f32(0.0),
                Start::Dst => self.read(m.dst.tile, row, col),
                Start::Tile(view) => self.read(view.tile, row, col),
            };
            let place = (at.block, blocks);
            let sum = self.fold(inner, 8, vec![start], |k, sum| {
                let x = self.operand(m.a, place, (at.row, k));
                let y = self.operand(m.b, place, (k, at.col));
                vec![b.fma(x, y, sum[0])]
            });
            self.write(m.dst.tile, row, col, self.finish_element(m, &at, sum[0]));
        });
        self.zero_padding(m.dst.tile);
    }

    /// `[R, V] = [R, 1] [1, V]` with the row replicated over the warps.
    fn outer_product(&self, m: &Mma) {
        let b = &self.b;
        let tile = self.kernel.tile(m.dst.tile);
        let row = self.values(m.b.view.tile);
        let sums = self
            .elements(tile)
            .iter()
            .zip(self.start_values(m))
            .enumerate()
            .map(|(i, (e, start))| {
                let index = if m.a.transposed {
                    (Index::constant(0), e.row)
                } else {
                    (e.row, Index::constant(0))
                };
                let x = self.read_inside(m.a.view.tile, index.0, index.1);
                b.fma(x, row[i % row.len()], start)
            })
            .collect();
        self.finish_columns(m, sums);
    }

    /// `[1, V] = [1, K] [K, V]`: each group of lanes sums its own rows, then the groups of a warp and
    /// the warps join their sums.
    fn sum_down_columns(&self, m: &Mma) {
        let b = &self.b;
        let tile = self.kernel.tile(m.b.view.tile);
        let (lanes, warps) = (self.lanes(), self.thread().warps);
        let (width, of_row) = (lanes.width, lanes.of_row(tile.cols));
        let mut partial = vec![b.f32(0.0); of_row];
        for (i, (e, y)) in self.elements(tile).iter().zip(self.values(m.b.view.tile)).enumerate() {
            let zero = Index::constant(0);
            let (row, col) = if m.a.transposed { (e.row, zero) } else { (zero, e.row) };
            let x = self.read_inside(m.a.view.tile, row, col);
            partial[i % of_row] = b.fma(x, y, partial[i % of_row]);
        }
        let mut distance = lanes.across;
        while distance < lanes.across * lanes.groups() {
            for sum in &mut partial {
                *sum = b.fadd(*sum, self.value_of_partner(*sum, distance));
            }
            distance *= 2;
        }
        let slot = self.take_slot();
        let role = &self.kernel.roles[self.thread().role];
        let first = self.scratch() + slot * slot_bytes(self.kernel, role);
        let scratch = b.advance_by(self.shared, first as i64);
        let (group, place) = b.index_split(self.lane(), lanes.across);
        let at = |warp: Index<'c>, piece: usize| {
            let piece = b.index_add(b.index_mul(warp, of_row / width), Index::constant(piece));
            let lane = b.index_add(b.index_mul(piece, lanes.across), place);
            let bytes = b.index_mul(lane, 4 * width);
            let base = bytes.dynamic().map_or(scratch, |bytes| b.advance(scratch, bytes));
            b.advance_by(base, bytes.offset())
        };
        b.when_some(b.index_below(group, 1), || {
            for (piece, sums) in partial.chunks(width).enumerate() {
                b.store(b.together(sums), at(self.warp(), piece));
            }
        });
        self.role_barrier();
        let mut sums = self.start_values(m);
        for warp in 0..warps {
            for (piece, sums) in sums.chunks_mut(width).enumerate() {
                let of_warp = b.load_together(at(Index::constant(warp), piece), width, b.types.f32);
                for (sum, more) in sums.iter_mut().zip(of_warp) {
                    *sum = b.fadd(*sum, more);
                }
            }
        }
        self.leave_slot(slot);
        self.finish_columns(m, sums);
    }

    /// `[1, K] = [1, V] [K, V]^T` or `[K, 1] = [K, V] [1, V]^T`: the lanes of a group join the
    /// products of each of its rows.
    fn sum_along_rows(&self, m: &Mma) {
        let b = &self.b;
        let flat = self.kernel.tile(m.a.view.tile).rows == 1;
        let (matrix, row) = if flat { (m.b, m.a) } else { (m.a, m.b) };
        let tile = self.kernel.tile(matrix.view.tile);
        let lanes = self.lanes();
        let count = lanes.of_row(tile.cols);
        let (_, place) = b.index_split(self.lane(), lanes.across);
        let row = self.values(row.view.tile);
        let values = self.values(matrix.view.tile);
        let elements = self.elements(tile);
        for (of_row, own) in elements.chunks(count).zip(values.chunks(count)) {
            let product = |(g, x): (usize, &Val<'c>)| {
                let product = b.fmul(*x, row[g % row.len()]);
                self.or_zero(b.index_below(of_row[g].col, tile.cols), product)
            };
            let products: Vec<Val<'c>> = own.iter().enumerate().map(product).collect();
            let mut sum = products.into_iter().reduce(|x, y| b.fadd(x, y)).expect("a column");
            let mut distance = lanes.across / 2;
            while distance > 0 {
                sum = b.fadd(sum, self.value_of_partner(sum, distance));
                distance /= 2;
            }
            let at_row = of_row[0].row;
            let zero = Index::constant(0);
            let (r, c) = if flat { (zero, at_row) } else { (at_row, zero) };
            let mine = b.both(b.index_below(place, 1), b.index_below(at_row, tile.rows));
            let mine = b.both(mine, self.writes(tile));
            b.when_some(mine, || {
                let at = At { ..self.at(m.dst, r, c) };
                let start = match m.start {
                    Start::Zero => b.f32(0.0),
                    Start::Dst => self.read(m.dst.tile, r, c),
                    Start::Tile(view) => self.read(view.tile, r, c),
                };
                let value = self.finish_element(m, &at, b.fadd(start, sum));
                self.write(m.dst.tile, r, c, value);
            });
        }
        self.zero_padding(m.dst.tile);
    }
}
