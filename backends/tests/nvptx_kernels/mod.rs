//! Kernels written by hand, small and of the sizes that matter.

mod nests;
mod statements;
mod walks;

pub(crate) use nests::{nests, table};
pub(crate) use statements::{product_into, statements};
pub(crate) use walks::walks;

use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::*;

/// Collects the tiles of a kernel and their places in shared memory.
#[derive(Default)]
pub(crate) struct Tiles {
    pub(crate) tiles: Vec<Tile>,
    pub(crate) bytes: usize,
}

impl Tiles {
    /// A tile in registers.
    pub(crate) fn columns(&mut self, name: &str, rows: usize, cols: usize, dtype: Dtype) -> TileId {
        let name = name.to_owned();
        self.tiles.push(Tile {
            name,
            rows,
            cols,
            dtype,
            place: Place::Columns,
            stands_for: Rows::Same,
        });
        TileId(self.tiles.len() - 1)
    }

    /// A tile in shared memory; 16-bit tiles are padded to 16 rows and columns and 16 more bytes a
    /// row keep rows in different banks.
    pub(crate) fn shared(
        &mut self,
        name: &str,
        [rows, cols]: [usize; 2],
        dtype: Dtype,
        stages: usize,
    ) -> TileId {
        let half = dtype.bytes() == 2;
        let pad = |n: usize| if half { n.next_multiple_of(16) } else { n };
        let (padded_rows, padded_cols) = (pad(rows), pad(cols));
        let pitch = padded_cols * dtype.bytes() + if half { 16 } else { 0 };
        let stage_bytes = (padded_rows * pitch).next_multiple_of(16);
        let offset = self.bytes;
        self.bytes += stages * stage_bytes;
        let swizzle = Swizzle::None;
        let place = Place::Shared(Shared {
            offset,
            pitch,
            padded_rows,
            padded_cols,
            stages,
            stage_bytes,
            swizzle,
        });
        self.tiles.push(Tile {
            name: name.to_owned(),
            rows,
            cols,
            dtype,
            place,
            stands_for: Rows::Same,
        });
        TileId(self.tiles.len() - 1)
    }
}

/// The whole of a tile.
pub(crate) fn one(tile: TileId) -> View {
    View { tile, blocks: 1 }
}

/// A tile as `blocks` blocks.
pub(crate) fn cut(tile: TileId, blocks: usize) -> View {
    View { tile, blocks }
}

pub(crate) fn arg(tile: TileId) -> Arg {
    Arg { view: one(tile), transposed: false }
}

pub(crate) fn transposed(tile: TileId) -> Arg {
    Arg { view: one(tile), transposed: true }
}

pub(crate) fn plain(tile: TileId) -> Operand {
    Operand { view: one(tile), transposed: false }
}

pub(crate) fn turned(tile: TileId) -> Operand {
    Operand { view: one(tile), transposed: true }
}

pub(crate) fn x(i: usize) -> Expr {
    Expr::Arg(i)
}

pub(crate) fn exp(e: Expr) -> Expr {
    Expr::Unary(Unary::Exp, Box::new(e))
}

pub(crate) fn add(a: Expr, b: Expr) -> Expr {
    Expr::Binary(Binary::Add, Box::new(a), Box::new(b))
}

pub(crate) fn mul(a: Expr, b: Expr) -> Expr {
    Expr::Binary(Binary::Mul, Box::new(a), Box::new(b))
}

pub(crate) fn sub(a: Expr, b: Expr) -> Expr {
    add(a, Expr::Unary(Unary::Neg, Box::new(b)))
}

pub(crate) fn keep(mask: Mask, value: Expr) -> Expr {
    Expr::Keep { mask, row_step: 1, col_step: 1, value: Box::new(value) }
}

pub(crate) fn map(dst: TileId, expr: Expr, args: Vec<Arg>) -> Stmt {
    Stmt::Map { dst: one(dst), body: Body { expr, args } }
}

pub(crate) fn copy(dst: TileId, src: TileId) -> Stmt {
    Stmt::Copy { dst: one(dst), src: one(src), map: CopyMap::Whole }
}

/// A product on tensor cores.
pub(crate) fn mma(dst: TileId, a: Operand, b: Operand, start: Start, band: Band) -> Mma {
    Mma { dst: one(dst), a, b, start, then: None, band, unit: Unit::Tensor }
}

pub(crate) fn param(name: &str, kind: ParamKind, dtype: Dtype, rows: usize, cols: usize) -> Param {
    let bytes = rows * cols * dtype.bytes();
    let align = [16, 8, 4, 2].into_iter().find(|n| bytes.is_multiple_of(*n)).expect("even bytes");
    Param {
        name: name.into(),
        kind,
        dtype,
        sharing: Sharing::Head,
        dims: if rows == 1 { vec![cols] } else { vec![rows, cols] },
        rows,
        cols,
        split: false,
        transposed: false,
        align,
    }
}

pub(crate) fn kernel(
    name: &str,
    chunk: usize,
    params: Vec<Param>,
    tiles: Tiles,
    role: Role,
) -> Kernel {
    Kernel {
        name: name.into(),
        schedule: Schedule::FusedScan,
        chunk,
        order: Order::Forward,
        params,
        layout: Layout::Fragments,
        parts: 1,
        tiles: tiles.tiles,
        carried: vec![],
        shared_bytes: tiles.bytes,
        mbarriers: vec![],
        roles: vec![role],
        prepare: None,
    }
}

/// A scan with one decay a token, in variants that reach all corners of loads and stores.
#[derive(Clone, Copy)]
pub(crate) struct DecayScan {
    pub(crate) keys: usize,
    /// Of all parts together.
    pub(crate) values: usize,
    pub(crate) chunk: usize,
    pub(crate) parts: usize,
    /// Whether heads share queries and keys.
    pub(crate) grouped: bool,
    /// Type of the gates in memory.
    pub(crate) gates: Dtype,
    /// Whether the states lie transposed in memory.
    pub(crate) turned: bool,
    /// Whether a second state, the decayed sum of the keys, is one more column.
    pub(crate) normaliser: bool,
}

impl DecayScan {
    pub(crate) fn new(keys: usize, values: usize, chunk: usize) -> Self {
        Self {
            keys,
            values,
            chunk,
            parts: 1,
            grouped: false,
            gates: Dtype::F32,
            turned: false,
            normaliser: false,
        }
    }

    fn params(self) -> Vec<Param> {
        use Dtype::{Bf16, F32};
        let Self { keys, values, .. } = self;
        let sharing = if self.grouped { Sharing::Group } else { Sharing::Head };
        let shared = |p: Param| Param { sharing, ..p };
        let wide = |p: Param| Param { split: self.parts > 1, ..p };
        let state = |kind| {
            let p = wide(param("S", kind, F32, keys, values));
            let dims = if self.turned { vec![values, keys] } else { vec![keys, values] };
            Param { transposed: self.turned, dims, ..p }
        };
        let mut all = vec![
            shared(param("q", ParamKind::TokenIn, Bf16, 1, keys)),
            shared(param("k", ParamKind::TokenIn, Bf16, 1, keys)),
            wide(param("v", ParamKind::TokenIn, Bf16, 1, values)),
            param("g", ParamKind::TokenIn, self.gates, 1, 1),
            state(ParamKind::StateIn),
            state(ParamKind::StateOut),
            wide(param("o", ParamKind::TokenOut, Bf16, 1, values)),
        ];
        if self.normaliser {
            let sums = |kind| Param { dims: vec![keys], ..param("n", kind, F32, keys, 1) };
            all.push(sums(ParamKind::StateIn));
            all.push(sums(ParamKind::StateOut));
            all.push(param("d", ParamKind::TokenOut, F32, 1, 1));
        }
        all
    }

    /// `S_t = e^g_t S_{t-1} + k_t v_t^T`, `o_t = S_t^T q_t`: loads one chunk ahead.
    pub(crate) fn kernel(self) -> Kernel {
        use Dtype::{Bf16, F32};
        let Self { keys, chunk, .. } = self;
        let own = self.values.div_ceil(self.parts);
        let values = own + usize::from(self.normaliser);
        let warps = values.div_ceil(16);
        let mut t = Tiles::default();
        let q = t.shared("q", [chunk, keys], Bf16, 2);
        let k = t.shared("k", [chunk, keys], Bf16, 2);
        let v = t.shared("v", [chunk, values], Bf16, 2);
        let g = t.shared("g", [chunk, 1], F32, 2);
        let ones = t.shared("ones", [chunk, 1], Bf16, 1);
        let sum = t.shared("sum", [chunk, 1], F32, 1);
        let total = t.shared("total", [1, 1], F32, 1);
        let p = t.shared("p", [chunk, chunk], Bf16, 1);
        let s = t.columns("s", keys, values, F32);
        let sb = t.columns("sb", keys, values, Bf16);
        let o = t.columns("o", chunk, values, F32);
        let vc = t.columns("vc", chunk, values, Bf16);
        let u = t.columns("u", chunk, values, Bf16);
        let load = |ahead: usize| -> Vec<Stmt> {
            let all = [q, k, v, g].into_iter().enumerate();
            all.map(|(i, dst)| Stmt::Load { dst, param: ParamId(i), ahead, col: 0 })
                .chain([Stmt::Commit])
                .collect()
        };
        let with_ones: Vec<Stmt> = if self.normaliser {
            let map = CopyMap::Cols { dst_first: own, src_first: 0, count: 1 };
            vec![Stmt::Copy { dst: one(v), src: one(ones), map }]
        } else {
            vec![]
        };
        let decayed = keep(Mask::Incl, mul(x(0), exp(sub(x(1), x(2)))));
        let scores = Body { expr: decayed, args: vec![arg(sum), transposed(sum)] };
        let from_start = Body { expr: mul(x(0), exp(x(1))), args: vec![arg(sum)] };
        let last = CopyMap::Rows { dst_first: 0, src_first: chunk - 1, count: 1 };
        let mut body = vec![Stmt::WaitLoads { pending: 0 }, Stmt::Sync(Sync::Cta)];
        body.extend(load(1));
        body.extend(with_ones);
        body.extend([
            Stmt::Run { dst: one(sum), body: Body::of(one(g)), mask: Mask::Incl },
            Stmt::Sync(Sync::Cta),
            Stmt::Copy { dst: one(total), src: one(sum), map: last },
            Stmt::Mma(Mma {
                then: Some(scores),
                ..mma(p, plain(q), turned(k), Start::Zero, Band::Lower)
            }),
            copy(vc, v),
            copy(sb, s),
            Stmt::Mma(Mma {
                then: Some(from_start),
                ..mma(o, plain(q), plain(sb), Start::Zero, Band::Full)
            }),
            Stmt::Sync(Sync::Cta),
            Stmt::Mma(mma(o, plain(p), plain(vc), Start::Dst, Band::Lower)),
            Stmt::Store { param: ParamId(6), src: o, col: 0 },
            map(u, mul(x(0), exp(sub(x(2), x(1)))), vec![arg(vc), arg(sum), arg(total)]),
            map(s, mul(x(0), exp(x(1))), vec![arg(s), arg(total)]),
            Stmt::Mma(mma(s, turned(k), plain(u), Start::Dst, Band::Full)),
        ]);
        let mut setup = vec![
            Stmt::Fill { dst: ones, value: 1.0 },
            Stmt::Fill { dst: s, value: 0.0 },
            Stmt::Load { dst: s, param: ParamId(4), ahead: 0, col: 0 },
        ];
        let mut finish = vec![Stmt::Store { param: ParamId(5), src: s, col: 0 }];
        if self.normaliser {
            setup.push(Stmt::Load { dst: s, param: ParamId(7), ahead: 0, col: own });
            finish.push(Stmt::Store { param: ParamId(8), src: s, col: own });
            body.push(Stmt::Store { param: ParamId(9), src: o, col: own });
        }
        setup.extend(load(0));
        let role = Role { name: "all".into(), warps, registers: None, setup, body, finish };
        let mut name = format!("decay_scan_{keys}_{}_{chunk}_x{}", self.values, self.parts);
        for (is, letter) in [
            (self.grouped, 'g'),
            (self.gates == Bf16, 'h'),
            (self.turned, 't'),
            (self.normaliser, 'n'),
        ] {
            name.extend(is.then_some(letter));
        }
        let kernel = kernel(&name, chunk, self.params(), t, role);
        Kernel { carried: vec![s], parts: self.parts, ..kernel }
    }
}

/// Scans of many shapes.
pub(crate) fn scans() -> Vec<Kernel> {
    let plain = DecayScan::new;
    [
        plain(128, 128, 64),
        plain(64, 64, 64),
        plain(20, 40, 32),
        plain(128, 129, 64),
        plain(13, 7, 16),
        DecayScan { grouped: true, parts: 2, ..plain(64, 64, 64) },
        DecayScan { parts: 3, turned: true, ..plain(32, 40, 32) },
        DecayScan { gates: Dtype::Bf16, turned: true, ..plain(64, 32, 16) },
        DecayScan { normaliser: true, grouped: true, ..plain(64, 64, 32) },
        DecayScan { normaliser: true, gates: Dtype::Bf16, ..plain(24, 17, 48) },
    ]
    .map(DecayScan::kernel)
    .into_iter()
    .chain([two_roles()])
    .collect()
}

/// Scans whose tokens come in other orders.
pub(crate) fn ordered() -> Vec<Kernel> {
    let scan = DecayScan { parts: 2, grouped: true, ..DecayScan::new(64, 64, 32) }.kernel();
    let order = |(order, letters)| Kernel {
        name: format!("{}_{letters}", scan.name),
        order,
        ..scan.clone()
    };
    [
        (Order::Forward, "f"),
        (Order::Reverse, "r"),
        (Order::Columns(16), "c"),
        (Order::ReverseColumns(12), "rc"),
    ]
    .map(order)
    .into()
}

/// `o_t = e^(g_1 + .. + g_t within the chunk) x_t`: one role prepares the sums for the other.
pub(crate) fn two_roles() -> Kernel {
    use Dtype::{Bf16, F32};
    let (chunk, values) = (32, 64);
    let mut t = Tiles::default();
    let from = t.shared("x", [chunk, values], Bf16, 2);
    let g = t.shared("g", [chunk, 1], F32, 2);
    // An instance for each chunk: the evaluator does not hold roles together at barriers.
    let sum = t.shared("sum", [chunk, 1], F32, 8);
    let y = t.columns("y", chunk, values, F32);
    let params = vec![
        param("x", ParamKind::TokenIn, Bf16, 1, values),
        param("g", ParamKind::TokenIn, F32, 1, 1),
        param("o", ParamKind::TokenOut, Bf16, 1, values),
    ];
    let load = |dst, param| {
        vec![
            Stmt::Load { dst, param: ParamId(param), ahead: 0, col: 0 },
            Stmt::Commit,
            Stmt::WaitLoads { pending: 0 },
            Stmt::Sync(Sync::Role),
        ]
    };
    let mut scale = load(from, 0);
    scale.extend([
        copy(y, from),
        Stmt::Sync(Sync::Wait(0)),
        map(y, mul(x(0), exp(x(1))), vec![arg(y), arg(sum)]),
        Stmt::Store { param: ParamId(2), src: y, col: 0 },
        Stmt::Sync(Sync::Cta),
    ]);
    let mut prepare = load(g, 1);
    prepare.extend([
        Stmt::Run { dst: one(sum), body: Body::of(one(g)), mask: Mask::Incl },
        Stmt::Sync(Sync::Arrive(0)),
        Stmt::Sync(Sync::Cta),
    ]);
    let role = |name: &str, warps, body| Role {
        name: name.into(),
        warps,
        registers: None,
        setup: vec![],
        body,
        finish: vec![],
    };
    let whole = kernel("two_roles", chunk, params, t, role("scale", 4, scale));
    let mut roles = whole.roles.clone();
    roles.push(role("prepare", 1, prepare));
    let ready = Mbarrier { name: "ready".into(), count: 1, stages: 2 };
    Kernel { roles, mbarriers: vec![ready], ..whole }
}
