//! Matrix products in ordinary arithmetic: in shared memory, and with columns spread over lanes.

use super::emitter::Emitter;
use super::index::Index;
use super::pointwise::At;
use super::types::Val;
use sluice_ir::kernel::{Kernel, Layout, Mma, Operand, Place, Start, Stmt, Unit};

/// Bytes of scratch memory that the statements of a kernel need.
pub(super) fn scratch_bytes(kernel: &Kernel) -> usize {
    let needs = |role: &sluice_ir::kernel::Role| {
        let statements = role.setup.iter().chain(&role.body).chain(&role.finish);
        statements.map(|s| scratch_of(kernel, s, role.warps)).max().unwrap_or(0)
    };
    kernel.roles.iter().map(needs).sum()
}

fn scratch_of(kernel: &Kernel, statement: &Stmt, warps: usize) -> usize {
    match statement {
        Stmt::Mma(m) if joins_warps(kernel, m) => {
            4 * warps * 32 * kernel.tile(m.dst.tile).cols.div_ceil(32)
        }
        _ => 0,
    }
}

/// Whether the rows that a product sums over are dealt to several warps.
fn joins_warps(kernel: &Kernel, m: &Mma) -> bool {
    let in_columns =
        |view: sluice_ir::kernel::View| matches!(kernel.tile(view.tile).place, Place::Columns);
    m.unit == Unit::Scalar
        && kernel.layout == Layout::Lanes
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

    /// `[1, V] = [1, K] [K, V]`: each warp sums its own rows, then the warps join their sums.
    fn sum_down_columns(&self, m: &Mma) {
        let b = &self.b;
        let tile = self.kernel.tile(m.b.view.tile);
        let groups = tile.cols.div_ceil(32);
        let mut partial = vec![b.f32(0.0); groups];
        for (i, (e, y)) in self.elements(tile).iter().zip(self.values(m.b.view.tile)).enumerate() {
            let zero = Index::constant(0);
            let (row, col) = if m.a.transposed { (e.row, zero) } else { (zero, e.row) };
            let x = self.read_inside(m.a.view.tile, row, col);
            partial[i % groups] = b.fma(x, y, partial[i % groups]);
        }
        let warps = self.thread().warps;
        let scratch = b.advance_by(self.shared, self.scratch() as i64);
        let slot = |warp: Index<'c>, group: usize| {
            let lane = b.index_add(b.index_mul(warp, 32 * groups), self.lane());
            let bytes = b.index_mul(lane.plus(32 * group), 4);
            let base = b.advance(scratch, bytes.dynamic().expect("the lane is dynamic"));
            b.advance_by(base, bytes.offset())
        };
        for (group, sum) in partial.into_iter().enumerate() {
            b.store(sum, slot(self.warp(), group));
        }
        self.role_barrier();
        let sums = self
            .start_values(m)
            .into_iter()
            .enumerate()
            .map(|(group, start)| {
                (0..warps).fold(start, |sum, warp| {
                    b.fadd(sum, b.load(slot(Index::constant(warp), group), b.types.f32))
                })
            })
            .collect();
        // Before anything else goes to the scratch memory.
        self.role_barrier();
        self.finish_columns(m, sums);
    }

    /// `[1, K] = [1, V] [K, V]^T` or `[K, 1] = [K, V] [1, V]^T`: the lanes of a warp join the
    /// products of each of its rows.
    fn sum_along_rows(&self, m: &Mma) {
        let b = &self.b;
        let flat = self.kernel.tile(m.a.view.tile).rows == 1;
        let (matrix, row) = if flat { (m.b, m.a) } else { (m.a, m.b) };
        let tile = self.kernel.tile(matrix.view.tile);
        let groups = tile.cols.div_ceil(32);
        let row = self.values(row.view.tile);
        let values = self.values(matrix.view.tile);
        let elements = self.elements(tile);
        for (of_row, own) in elements.chunks(groups).zip(values.chunks(groups)) {
            let product = |(g, x): (usize, &Val<'c>)| {
                let product = b.fmul(*x, row[g % row.len()]);
                self.or_zero(b.index_below(of_row[g].col, tile.cols), product)
            };
            let products: Vec<Val<'c>> = own.iter().enumerate().map(product).collect();
            let mut sum = products.into_iter().reduce(|x, y| b.fadd(x, y)).expect("a column");
            for distance in [16, 8, 4, 2, 1] {
                sum = b.fadd(sum, self.value_of_partner(sum, distance));
            }
            let at_row = of_row[0].row;
            let zero = Index::constant(0);
            let (r, c) = if flat { (zero, at_row) } else { (at_row, zero) };
            let mine = b.both(b.index_below(self.lane(), 1), b.index_below(at_row, tile.rows));
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
