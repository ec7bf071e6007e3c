//! Kernels built by hand, and data for them.

use sluice_ir::kernel::*;
use sluice_ir::problem::Array;

/// A kernel under construction: one role, every statement followed by a barrier.
pub(crate) struct Draft {
    kernel: Kernel,
}

/// Where a statement goes.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    Setup,
    Body,
    Finish,
}

impl Draft {
    pub(crate) fn new(name: &str, schedule: Schedule, chunk: usize) -> Self {
        let role = Role {
            name: "all".into(),
            warps: 1,
            registers: None,
            setup: vec![],
            body: vec![],
            finish: vec![],
        };
        let kernel = Kernel {
            name: name.into(),
            schedule,
            chunk,
            order: Order::Forward,
            params: vec![],
            layout: Layout::Fragments,
            parts: 1,
            tiles: vec![],
            carried: vec![],
            shared_bytes: 0,
            mbarriers: vec![],
            roles: vec![role],
            prepare: None,
        };
        Self { kernel }
    }

    pub(crate) fn parts(&mut self, parts: usize) {
        self.kernel.parts = parts;
    }

    pub(crate) fn param(
        &mut self,
        name: &str,
        kind: ParamKind,
        dtype: Dtype,
        [rows, cols]: [usize; 2],
    ) -> ParamId {
        self.kernel.params.push(Param {
            name: name.into(),
            kind,
            dtype,
            sharing: Sharing::Head,
            dims: vec![rows, cols],
            rows,
            cols,
            split: false,
            transposed: false,
            align: dtype.bytes(),
        });
        ParamId(self.kernel.params.len() - 1)
    }

    /// Changes a param that was just made.
    pub(crate) fn adjust(&mut self, id: ParamId, change: impl FnOnce(&mut Param)) {
        change(&mut self.kernel.params[id.0]);
    }

    /// A tile in shared memory with `stages` instances.
    pub(crate) fn shared(
        &mut self,
        dtype: Dtype,
        [rows, cols]: [usize; 2],
        stages: usize,
    ) -> TileId {
        let pitch = (cols * dtype.bytes()).next_multiple_of(16);
        let stage_bytes = rows * pitch;
        let place = Place::Shared(Shared {
            offset: self.kernel.shared_bytes,
            pitch,
            padded_rows: rows,
            padded_cols: cols,
            stages,
            stage_bytes,
            swizzle: Swizzle::None,
        });
        self.kernel.shared_bytes += stages * stage_bytes;
        self.tile(dtype, [rows, cols], place)
    }

    pub(crate) fn columns(&mut self, dtype: Dtype, shape: [usize; 2]) -> TileId {
        self.tile(dtype, shape, Place::Columns)
    }

    pub(crate) fn carry(&mut self, tile: TileId) {
        self.kernel.carried.push(tile);
    }

    fn tile(&mut self, dtype: Dtype, [rows, cols]: [usize; 2], place: Place) -> TileId {
        let name = format!("t{}", self.kernel.tiles.len());
        self.kernel.tiles.push(Tile { name, rows, cols, dtype, place, stands_for: Rows::Same });
        TileId(self.kernel.tiles.len() - 1)
    }

    pub(crate) fn push(&mut self, phase: Phase, stmt: Stmt) {
        let role = &mut self.kernel.roles[0];
        let list = match phase {
            Phase::Setup => &mut role.setup,
            Phase::Body => &mut role.body,
            Phase::Finish => &mut role.finish,
        };
        let is_load = matches!(stmt, Stmt::Load { .. });
        list.push(stmt);
        if is_load {
            list.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
        }
        list.push(Stmt::Sync(Sync::Cta));
    }

    pub(crate) fn load(&mut self, phase: Phase, dst: TileId, param: ParamId, ahead: usize) {
        self.push(phase, Stmt::Load { dst, param, ahead, col: 0 });
    }

    pub(crate) fn store(&mut self, phase: Phase, param: ParamId, src: TileId) {
        self.push(phase, Stmt::Store { param, src, col: 0 });
    }

    /// The kernel before it is checked.
    pub(crate) fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    pub(crate) fn check(self) -> Checked {
        check(self.kernel).expect("the hand-built kernel is legal")
    }
}

/// The whole of a tile as one block.
pub(crate) fn whole(tile: TileId) -> View {
    View { tile, blocks: 1 }
}

pub(crate) fn blocks(tile: TileId, blocks: usize) -> View {
    View { tile, blocks }
}

pub(crate) fn arg(view: View) -> Arg {
    Arg { view, transposed: false }
}

pub(crate) fn unary(f: Unary, x: Expr) -> Expr {
    Expr::Unary(f, Box::new(x))
}

pub(crate) fn binary(f: Binary, x: Expr, y: Expr) -> Expr {
    Expr::Binary(f, Box::new(x), Box::new(y))
}

/// `x - y`
pub(crate) fn minus(x: Expr, y: Expr) -> Expr {
    binary(Binary::Add, x, unary(Unary::Neg, y))
}

/// `x e^y`
pub(crate) fn times_exp(x: Expr, y: Expr) -> Expr {
    binary(Binary::Mul, x, unary(Unary::Exp, y))
}

/// Numbers that look random: a fixed sequence for each seed, between `lo` and `hi`.
pub(crate) fn noise(seed: u64, count: usize, lo: f64, hi: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 11
    };
    (0..count).map(|_| lo + (hi - lo) * next() as f64 / (1u64 << 53) as f64).collect()
}

pub(crate) fn noise_array(seed: u64, shape: &[usize], lo: f64, hi: f64) -> Array {
    Array { shape: shape.to_vec(), data: noise(seed, shape.iter().product(), lo, hi) }
}
