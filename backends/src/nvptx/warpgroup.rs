//! Matrix products by warpgroups (`wgmma`): four warps, 64 rows, one operand or both in shared memory.
//!
//! PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions". The accumulator of `m64nNk16` gives warp `w`
//! rows `16w .. 16w + 16` in the layout of `m16n8` tiles, which is that of columns in fragments: a
//! product into columns takes the registers of its right operand as they are.

use super::emitter::Emitter;
use super::fragment::Order;
use super::index::Index;
use super::pointwise::At;
use super::types::{Compare, Val};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Band, Mma, Operand, Start, TileId};
use std::fmt::Write;

/// Rows of a product.
const ROWS: usize = 64;
/// Steps over the inner dimension.
const STEP: usize = 16;
/// Warps that work together.
const WARPS: usize = 4;
/// Bytes of a row of a swizzled panel.
const PANEL_BYTES: usize = 128;
/// Bytes of eight rows of a panel, the unit of the swizzle.
const GROUP_BYTES: usize = 8 * PANEL_BYTES;

/// A matrix in shared memory as `wgmma` takes it: where it begins, and how far steps are apart.
struct Matrix<'c> {
    /// Descriptor of the first step.
    descriptor: Val<'c>,
    /// Whether the reduction runs down the rows in memory.
    transposed: bool,
    /// Rows of the tile.
    rows: usize,
}

impl Matrix<'_> {
    /// What is added to the descriptor for a step over the inner dimension.
    fn step(&self, step: usize) -> usize {
        let inner = STEP * step;
        let bytes = if self.transposed {
            inner * PANEL_BYTES
        } else {
            let per_panel = PANEL_BYTES / 2;
            inner / per_panel * self.rows * PANEL_BYTES + inner % per_panel * 2
        };
        bytes >> 4
    }
}

/// What a product adds to.
enum Sums<'c> {
    /// Nothing.
    Zero,
    /// The destination's values, or those that a running product adds to.
    InPlace(Vec<Val<'c>>),
    /// The values of another tile.
    Copied(Vec<Val<'c>>),
}

/// Where the left operand of a product comes from.
enum Left<'c> {
    Registers(Vec<Val<'c>>),
    Shared(Matrix<'c>),
}

impl<'c> Emitter<'c, '_> {
    /// A product by warpgroups.
    pub(super) fn warpgroup_product(&self, m: &Mma) {
        if self.kernel.tile(m.dst.tile).shared().is_some() {
            self.warpgroup_in_shared(m);
        } else {
            self.warpgroup_into_columns(m);
        }
    }

    /// `dst^T = b^T a^T`, left running: the registers of `b` are the left operand.
    fn warpgroup_into_columns(&self, m: &Mma) {
        let rows = self.kernel.shape(m.dst)[1];
        let inner = self.kernel.shape(m.b.view)[1];
        let start = match m.start {
            Start::Zero => Sums::Zero,
            Start::Dst => Sums::InPlace(self.start_values(m)),
            Start::Tile(view) if self.runs(view.tile) => Sums::InPlace(self.start_values(m)),
            Start::Tile(_) => Sums::Copied(self.start_values(m)),
        };
        let left = Left::Registers(self.registers(m.b.view.tile));
        let right = self.matrix(m.a, m.a.transposed, Index::constant(0));
        let dtype = self.kernel.tile(m.a.view.tile).dtype;
        let sums = self.multiply(dtype, [rows, inner], (left, right), start);
        self.hold(m.dst.tile, sums);
        self.start_running(m.dst.tile);
    }

    /// Blocks of 64 rows of the destination, dealt to the warpgroups of the role.
    fn warpgroup_in_shared(&self, m: &Mma) {
        let b = &self.b;
        let begun = self.begun.borrow_mut().pop_front();
        if let Some((_, running)) = begun {
            let younger = self.begun.borrow().len();
            let sums = self.complete(younger, &running);
            return self.write_sums(m, b.index_mul(self.group(), ROWS), &sums);
        }
        let rows = self.kernel.shape(m.dst)[1];
        let groups = self.thread().warps / WARPS;
        self.deal(rows / ROWS, groups, self.group(), |block| {
            let first = b.index_mul(block, ROWS);
            let running = self.start_in_shared(m, first);
            let sums = self.complete(0, &running);
            self.write_sums(m, first, &sums);
        });
    }

    /// Starts a product in shared memory: 64 rows for each warpgroup of the role.
    pub(super) fn begin_product(&self, m: &Mma) {
        let first = self.b.index_mul(self.group(), ROWS);
        let running = self.start_in_shared(m, first);
        self.begun.borrow_mut().push_back((m.dst.tile, running));
    }

    /// The warpgroup within the role.
    fn group(&self) -> Index<'c> {
        let b = &self.b;
        match self.thread().warps / WARPS {
            1 => Index::constant(0),
            groups => {
                let group = b.like("llvm.lshr", &[self.thread().warp, b.i32(2)]);
                Index::below(group, groups)
            }
        }
    }

    /// Starts a product in shared memory for 64 rows from `first`; the sums are not complete.
    fn start_in_shared(&self, m: &Mma, first: Index<'c>) -> Vec<Val<'c>> {
        let cols = self.kernel.shape(m.dst)[2];
        let [_, a_rows, a_cols] = self.kernel.shape(m.a.view);
        let inner = if m.a.transposed { a_rows } else { a_cols };
        let dtype = self.kernel.tile(m.a.view.tile).dtype;
        let left = Left::Shared(self.matrix(m.a, m.a.transposed, first));
        let right = self.matrix(m.b, !m.b.transposed, Index::constant(0));
        self.multiply(dtype, [cols, inner], (left, right), Sums::Zero)
    }

    /// Ends a product in shared memory: the epilogue of each element, 16 columns at a time.
    fn write_sums(&self, m: &Mma, first: Index<'c>, sums: &[Val<'c>]) {
        let b = &self.b;
        let [_, _, cols] = self.kernel.shape(m.dst);
        let warp = Index::below(b.and(self.thread().warp, b.i32(WARPS as i64 - 1)), WARPS);
        let top = b.index_add(first, b.index_mul(warp, 16));
        for (j, sums) in sums.chunks(8).enumerate() {
            let left = 16 * j;
            let finish = |below_diagonal: bool| {
                let value = |e: usize| {
                    let row = b.index_add(top, self.quad()).plus(8 * (e / 2 % 2));
                    let col = self.pair().plus(left + 8 * (e / 4) + e % 2);
                    let shape = self.kernel.shape(m.dst);
                    let block = Index::constant(0);
                    let at = At { shape, block, row, col, register: None, below_diagonal };
                    self.finish_element(m, &at, sums[e])
                };
                (0..8).map(value).collect::<Vec<_>>()
            };
            let zeros = vec![b.f32(0.0); 8];
            // Most blocks that are wanted lie wholly below the diagonal and need no mask.
            let masked = || match m.band {
                Band::Lower => {
                    let on = b.compare(Compare::Eq, b.index(top), b.i32(left as i64));
                    b.either(on, || finish(false), || finish(true))
                }
                Band::Full | Band::Upper => finish(false),
            };
            let values = match self.block_wanted(m.band, top, left, cols) {
                None => masked(),
                Some(wanted) => b.choose(wanted, masked, &zeros),
            };
            self.write_warp_block(m.dst.tile, (top, Index::constant(left)), &values);
        }
    }

    /// Whether any element of the warp's 16x16 block is in the band; none: surely.
    fn block_wanted(
        &self,
        band: Band,
        top: Index<'c>,
        left: usize,
        cols: usize,
    ) -> Option<Val<'c>> {
        let b = &self.b;
        match band {
            Band::Full => None,
            Band::Lower if left == 0 => None,
            Band::Lower => Some(b.compare(Compare::Le, b.i32(left as i64), b.index(top))),
            Band::Upper if left + 16 == cols => None,
            Band::Upper => Some(b.compare(Compare::Le, b.index(top), b.i32(left as i64))),
        }
    }

    /// Writes a warp's 16x16 block of accumulators to a shared tile.
    fn write_warp_block(
        &self,
        tile: TileId,
        (row, col): (Index<'c>, Index<'c>),
        values: &[Val<'c>],
    ) {
        let dtype = self.kernel.tile(tile).dtype;
        if dtype.bytes() == 2 {
            let packed: Vec<_> = values.chunks(2).map(|v| self.pack(dtype, v[0], v[1])).collect();
            return self.store_matrices((tile, row, col), Order::Tall, false, &packed);
        }
        let (row, col) = (self.b.index_add(row, self.quad()), self.b.index_add(col, self.pair()));
        for (e, value) in values.iter().enumerate() {
            let (row, col) = (row.plus(8 * (e / 2 % 2)), col.plus(8 * (e / 4) + e % 2));
            self.write(tile, row, col, *value);
        }
    }

    /// An operand from row or column `first` of the side that is not reduced.
    fn matrix(&self, operand: Operand, down: bool, first: Index<'c>) -> Matrix<'c> {
        let b = &self.b;
        let (tile, _) = self.shared_tile(operand.view.tile);
        let rows = tile.rows;
        let (row, col) =
            if down { (Index::constant(0), first) } else { (first, Index::constant(0)) };
        let pointer = self.address(operand.view.tile, row, col);
        let address = b.convert("llvm.ptrtoint", pointer, b.types.i32);
        let address = b.like("llvm.lshr", &[b.and(address, b.i32(0x3_FFFF)), b.i32(4)]);
        // Between panels, if the reduction runs down the rows; else the field is not read.
        let leading = if down { rows * PANEL_BYTES } else { 16 };
        const SWIZZLE_128: u64 = 1 << 62;
        let constant = (leading as u64 >> 4) << 16 | (GROUP_BYTES as u64 >> 4) << 32 | SWIZZLE_128;
        let address = b.convert("llvm.zext", address, b.types.i64);
        let descriptor = b.like("llvm.or", &[address, b.i64(constant as i64)]);
        Matrix { descriptor, transposed: down, rows }
    }

    /// All steps of a product as one group; the sums are not complete.
    ///
    /// The values of another tile are copied, at no cost, to registers of which nothing was made before: ptxas
    /// (13.5.37) may take what was made of registers before a product that adds to them in place for what
    /// is made of them after it.
    fn multiply(
        &self,
        dtype: Dtype,
        [columns, inner]: [usize; 2],
        (left, right): (Left<'c>, Matrix<'c>),
        start: Sums<'c>,
    ) -> Vec<Val<'c>> {
        let b = &self.b;
        let sums = columns / 2;
        let mut operands = Vec::new();
        let place = |operands: &[Val<'c>]| sums + operands.len();
        let accumulator: Vec<String> = (0..sums).map(|i| format!("${i}")).collect();
        let accumulator = accumulator.join(", ");
        let (first_left, left_steps) = (place(&operands), &left);
        match left_steps {
            Left::Registers(registers) => operands.extend_from_slice(registers),
            Left::Shared(matrix) => operands.push(matrix.descriptor),
        }
        let right_place = place(&operands);
        operands.push(right.descriptor);
        let turned = |yes: bool| u8::from(yes);
        let mut text = String::from("{.reg .pred go; .reg .b64 a; .reg .b64 b; ");
        if let Sums::Copied(_) = start {
            for i in 0..sums {
                write!(text, "mov.f32 ${i}, ${}; ", place(&operands) + i).expect("a string");
            }
        }
        text.push_str("wgmma.fence.sync.aligned; ");
        for step in 0..inner / STEP {
            let adds = u8::from(step > 0 || !matches!(start, Sums::Zero));
            let (a, turns) = match &left {
                Left::Registers(_) => {
                    let four: Vec<String> =
                        (0..4).map(|i| format!("${}", first_left + 4 * step + i)).collect();
                    (format!("{{{}}}", four.join(", ")), turned(right.transposed).to_string())
                }
                Left::Shared(matrix) => {
                    let by = matrix.step(step);
                    write!(text, "add.s64 a, ${first_left}, {by}; ").expect("a string");
                    let turns =
                        format!("{}, {}", turned(matrix.transposed), turned(right.transposed));
                    ("a".to_owned(), turns)
                }
            };
            write!(
                text,
                "setp.ne.b32 go, {adds}, 0; add.s64 b, ${right_place}, {}; \
                 wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{dtype}.{dtype} \
                 {{{accumulator}}}, {a}, b, go, 1, 1, {turns}; ",
                right.step(step)
            )
            .expect("a string");
        }
        text.push_str("wgmma.commit_group.sync.aligned;}");
        let result = if let Sums::Copied(_) = start { "=&f" } else { "=f" };
        let mut constraints = vec![result.to_owned(); sums];
        let registers = operands.len();
        constraints.extend((0..registers).map(|i| {
            let wide = sums + i == right_place || matches!(left, Left::Shared(_));
            (if wide { "l" } else { "r" }).to_owned()
        }));
        let tied = (0..sums).map(|i| i.to_string());
        match start {
            Sums::Copied(values) => {
                constraints.extend(values.iter().map(|_| "f".to_owned()));
                operands.extend(values);
            }
            Sums::InPlace(values) => {
                constraints.extend(tied);
                operands.extend(values);
            }
            Sums::Zero => {
                constraints.extend(tied);
                operands.extend(vec![b.poison(b.types.f32); sums]);
            }
        }
        constraints.push("~{memory}".to_owned());
        b.instruction_with(&text, &constraints.join(","), &operands, &vec![b.types.f32; sums])
    }

    /// Waits until at most `pending` products are unfinished.
    pub(super) fn wait_products(&self, pending: usize) {
        let done = self.stop_running(pending);
        let registers: Vec<Vec<Val<'c>>> = done.iter().map(|t| self.registers(*t)).collect();
        let complete = self.complete(pending, &registers.concat());
        let mut rest = &complete[..];
        for (tile, registers) in done.into_iter().zip(registers) {
            let (own, others) = rest.split_at(registers.len());
            self.hold(tile, own.to_vec());
            rest = others;
        }
    }

    /// The values of sums after a wait that covers them. They pass through the wait, so that no reader
    /// comes before it.
    fn complete(&self, pending: usize, running: &[Val<'c>]) -> Vec<Val<'c>> {
        let n = running.len();
        let mut constraints = vec!["=f".to_owned(); n];
        constraints.extend((0..n).map(|i| i.to_string()));
        constraints.push("~{memory}".to_owned());
        let text = format!("wgmma.wait_group.sync.aligned {pending};");
        let types = vec![self.b.types.f32; n];
        self.b.instruction_with(&text, &constraints.join(","), running, &types)
    }
}
