//! One small kernel for each form of each statement: model inputs to tiles, the statement, and
//! its result as a final state.

use super::*;

/// A kernel under construction around a few statements.
pub(crate) struct Probe {
    tiles: Tiles,
    params: Vec<Param>,
    setup: Vec<Stmt>,
    body: Vec<Stmt>,
    finish: Vec<Stmt>,
    layout: Layout,
    warps: usize,
}

impl Probe {
    pub(crate) fn new(layout: Layout, warps: usize) -> Self {
        let tiles = Tiles::default();
        let (params, setup, body, finish) = Default::default();
        Self { tiles, params, setup, body, finish, layout, warps }
    }

    /// A shared tile filled from a model input.
    pub(crate) fn input(&mut self, rows: usize, cols: usize, dtype: Dtype) -> TileId {
        let name = format!("in{}", self.params.len());
        let tile = self.tiles.shared(&name, [rows, cols], dtype, 1);
        self.load(tile, dtype);
        tile
    }

    /// Loads a tile from a model input of its own.
    pub(crate) fn load(&mut self, tile: TileId, dtype: Dtype) {
        let name = format!("in{}", self.params.len());
        let id = ParamId(self.params.len());
        let Tile { rows, cols, .. } = self.tiles.tiles[tile.0];
        self.params.push(param(&name, ParamKind::ModelIn, dtype, rows, cols));
        self.setup.push(Stmt::Load { dst: tile, param: id, ahead: 0, col: 0 });
    }

    /// A column tile copied from a model input.
    pub(crate) fn column_input(&mut self, rows: usize, cols: usize, dtype: Dtype) -> TileId {
        let from = self.input(rows, cols, dtype);
        let tile = self.tiles.columns("columns", rows, cols, dtype);
        self.body.push(copy(tile, from));
        tile
    }

    pub(crate) fn shared(&mut self, rows: usize, cols: usize, dtype: Dtype) -> TileId {
        self.tiles.shared("shared", [rows, cols], dtype, 1)
    }

    pub(crate) fn columns(&mut self, rows: usize, cols: usize, dtype: Dtype) -> TileId {
        self.tiles.columns("columns", rows, cols, dtype)
    }

    pub(crate) fn then(&mut self, statement: Stmt) {
        self.body.push(statement);
    }

    /// Stores a tile as a final state.
    pub(crate) fn output(&mut self, tile: TileId, dtype: Dtype) {
        let name = format!("out{}", self.finish.len());
        let id = ParamId(self.params.len());
        let Tile { rows, cols, .. } = self.tiles.tiles[tile.0];
        self.params.push(param(&name, ParamKind::StateOut, dtype, rows, cols));
        self.finish.push(Stmt::Store { param: id, src: tile, col: 0 });
    }

    pub(crate) fn kernel(self, name: &str) -> Kernel {
        let mut setup = self.setup;
        setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }, Stmt::Sync(Sync::Cta)]);
        setup.extend(self.body);
        setup.push(Stmt::Sync(Sync::Cta));
        let role = Role {
            name: "all".into(),
            warps: self.warps,
            registers: None,
            setup,
            body: vec![],
            finish: self.finish,
        };
        let name = name.replace(['-', ' '], "_");
        Kernel { layout: self.layout, ..kernel(&name, 16, self.params, self.tiles, role) }
    }
}

use Dtype::{Bf16, F16, F32};

fn fragments() -> Probe {
    Probe::new(Layout::Fragments, 4)
}

/// All of them, in a fixed order.
pub(crate) fn statements() -> Vec<Kernel> {
    [
        pointwise(),
        scans(),
        shared_products(),
        column_products(),
        copies(),
        scores(),
        inverses(),
        in_lanes(),
    ]
    .concat()
}

fn pointwise() -> Vec<Kernel> {
    let mut p = fragments();
    let a = p.input(20, 12, F32);
    let c = p.input(20, 12, F32);
    for f in Unary::ALL {
        let dst = p.shared(20, 12, F32);
        // Functions of positive numbers see the second input.
        let positive = matches!(f, Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::Recip);
        let tile = if positive { c } else { a };
        p.then(map(dst, Expr::Unary(*f, Box::new(x(0))), vec![arg(tile)]));
        p.output(dst, F32);
    }
    for f in Binary::ALL {
        let dst = p.shared(20, 12, F32);
        let (first, second) = if *f == Binary::Pow { (c, a) } else { (a, c) };
        let expr = Expr::Binary(*f, Box::new(x(0)), Box::new(x(1)));
        p.then(map(dst, expr, vec![arg(first), arg(second)]));
        p.output(dst, F32);
    }
    let functions = p.kernel("functions");

    let mut p = fragments();
    let a = p.input(32, 24, Bf16);
    let rows = p.input(32, 1, F32);
    let cols = p.input(1, 24, F32);
    let per_block = p.input(2, 24, F32);
    let turned = p.input(24, 1, F32);
    let dst = p.shared(32, 24, Bf16);
    let sum = add(add(mul(x(0), x(1)), x(2)), add(x(3), x(4)));
    let args = vec![
        Arg { view: cut(a, 2), transposed: false },
        Arg { view: cut(rows, 2), transposed: false },
        arg(cols),
        Arg { view: cut(per_block, 2), transposed: false },
        transposed(turned),
    ];
    p.then(Stmt::Map { dst: cut(dst, 2), body: Body { expr: sum, args } });
    p.output(dst, F32);
    let kept = p.shared(32, 24, F32);
    let masked = Expr::Keep {
        mask: Mask::Strict,
        row_step: 4,
        col_step: 3,
        value: Box::new(Expr::Select(Box::new(x(1)), Box::new(x(0)), Box::new(Expr::Const(2.5)))),
    };
    p.then(map(kept, masked, vec![arg(a), arg(rows)]));
    p.output(kept, F32);
    vec![functions, p.kernel("broadcasts")]
}

fn scans() -> Vec<Kernel> {
    let mut p = fragments();
    for (rows, cols, blocks) in [(64, 1, 1), (48, 1, 3), (20, 1, 1), (64, 20, 1), (64, 24, 4)] {
        let a = p.input(rows, cols, F32);
        for mask in Mask::ALL {
            let dst = p.shared(rows, cols, F32);
            p.then(Stmt::Run {
                dst: cut(dst, blocks),
                body: Body::of(cut(a, blocks)),
                mask: *mask,
            });
            p.output(dst, F32);
        }
    }
    // Of an expression.
    let [a, scale] = [[64, 20], [1, 20]].map(|[rows, cols]| p.input(rows, cols, F32));
    let dst = p.shared(64, 20, F32);
    let expr = Expr::Binary(Binary::Max, Box::new(mul(x(0), x(1))), Box::new(Expr::Const(-0.25)));
    let body = Body { expr, args: vec![arg(a), arg(scale)] };
    p.then(Stmt::Run { dst: one(dst), body, mask: Mask::Incl });
    p.output(dst, F32);
    let runs = p.kernel("running_sums");
    let mut p = fragments();
    for (rows, cols) in [(64, 128), (20, 9), (33, 1)] {
        let a = p.input(rows, cols, F32);
        for op in [Reduction::Sum, Reduction::Max] {
            let dst = p.shared(rows, 1, F32);
            p.then(Stmt::Reduce { op, dst: one(dst), src: one(a), over: Over::Cols });
            p.output(dst, F32);
        }
    }
    let a = p.input(64, 20, Bf16);
    for (results, op) in [(16, Reduction::Sum), (8, Reduction::Max)] {
        let dst = p.shared(results, 20, Bf16);
        p.then(Stmt::Reduce { op, dst: cut(dst, 4), src: cut(a, 4), over: Over::Rows });
        p.output(dst, F32);
    }
    vec![runs, p.kernel("reductions")]
}

fn shared_products() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for (i, ([m, n, k], blocks, dtype)) in
        [([64, 64, 128], 1, Bf16), ([20, 40, 24], 1, F16), ([32, 16, 16], 4, Bf16)]
            .into_iter()
            .enumerate()
    {
        let mut p = fragments();
        let factor = p.input(blocks * m, 1, F32);
        let extra = p.input(blocks * m, n, F32);
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if ta { p.input(blocks * k, m, dtype) } else { p.input(blocks * m, k, dtype) };
            let b = if tb { p.input(blocks * n, k, dtype) } else { p.input(blocks * k, n, dtype) };
            let to = if tb { F32 } else { dtype };
            let dst = p.shared(blocks * m, n, to);
            let body = Body {
                expr: keep(Mask::Incl, mul(x(0), x(1))),
                args: vec![Arg { view: cut(factor, blocks), transposed: false }],
            };
            p.then(Stmt::Mma(Mma {
                dst: cut(dst, blocks),
                a: Operand { view: cut(a, blocks), transposed: ta },
                b: Operand { view: cut(b, blocks), transposed: tb },
                start: if ta { Start::Tile(cut(extra, blocks)) } else { Start::Zero },
                then: Some(body),
                band: if tb { Band::Lower } else { Band::Full },
                unit: if i == 1 && ta && tb { Unit::Scalar } else { Unit::Tensor },
            }));
            p.output(dst, F32);
        }
        kernels.push(p.kernel(&format!("shared_products_{i}")));
    }
    kernels
}

/// A product into f32 columns of any number, which are not padded.
pub(crate) fn product_into(cols: usize) -> Kernel {
    let mut p = fragments();
    let [a, b] = [(16, 32), (32, cols)].map(|(rows, cols)| p.input(rows, cols, Bf16));
    let dst = p.shared(16, cols, F32);
    let [a, b] = [a, b].map(|t| Operand { view: one(t), transposed: false });
    let (start, band, unit) = (Start::Zero, Band::Full, Unit::Tensor);
    p.then(Stmt::Mma(Mma { dst: one(dst), a, b, start, then: None, band, unit }));
    p.output(dst, F32);
    p.kernel(&format!("product_into_{cols}"))
}

fn column_products() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for (i, ([m, n, k], blocks)) in
        [([64, 64, 128], 1), ([20, 36, 24], 1), ([16, 64, 32], 4)].into_iter().enumerate()
    {
        let mut p = fragments();
        let b = p.column_input(blocks * k, n, Bf16);
        let factor = p.input(blocks * m, 1, F32);
        let across = p.input(1, n, F32);
        for turned in [false, true] {
            let a =
                if turned { p.input(blocks * k, m, Bf16) } else { p.input(blocks * m, k, Bf16) };
            let dst = p.columns(blocks * m, n, F32);
            let body = Body {
                expr: add(mul(x(0), x(1)), x(2)),
                args: vec![Arg { view: cut(factor, blocks), transposed: false }, arg(across)],
            };
            p.then(Stmt::Fill { dst, value: 0.5 });
            p.then(Stmt::Mma(Mma {
                dst: cut(dst, blocks),
                a: Operand { view: cut(a, blocks), transposed: turned },
                b: Operand { view: cut(b, blocks), transposed: false },
                start: Start::Dst,
                then: Some(body),
                band: Band::Full,
                unit: Unit::Tensor,
            }));
            p.output(dst, F32);
            p.output(dst, Bf16);
        }
        kernels.push(p.kernel(&format!("column_products_{i}")));
    }
    kernels
}

fn copies() -> Vec<Kernel> {
    let mut p = fragments();
    let c = p.column_input(40, 60, Bf16);
    let f = p.column_input(20, 60, F32);
    let row = p.column_input(1, 60, F32);
    let scaled = p.columns(20, 60, Bf16);
    p.then(map(scaled, mul(x(0), x(1)), vec![arg(f), arg(row)]));
    p.output(scaled, Bf16);
    for (src, rows) in [(c, 40), (f, 20)] {
        for dtype in [Bf16, F32] {
            let dst = p.shared(rows, 60, dtype);
            p.then(copy(dst, src));
            p.output(dst, F32);
        }
        p.output(src, F16);
    }
    let back = p.input(40, 60, F32);
    let wide = p.columns(40, 60, F32);
    p.then(copy(wide, back));
    p.then(Stmt::Copy {
        dst: one(wide),
        src: one(c),
        map: CopyMap::Rows { dst_first: 16, src_first: 8, count: 16 },
    });
    p.output(wide, F32);
    let some = p.input(40, 60, F32);
    let part = CopyMap::Rows { dst_first: 3, src_first: 5, count: 11 };
    p.then(Stmt::Copy { dst: one(some), src: one(wide), map: part });
    p.output(some, F32);
    let columns = p.kernel("column_copies");

    let mut p = fragments();
    let blocks = p.input(64, 16, F32);
    let matrix = p.input(32, 32, F32);
    let diagonal = p.input(64, 32, Bf16);
    p.then(Stmt::Copy {
        dst: cut(diagonal, 2),
        src: cut(blocks, 4),
        map: CopyMap::OntoDiagonal { per: 2 },
    });
    p.output(diagonal, F32);
    let taken = p.shared(32, 16, F32);
    p.then(Stmt::Copy {
        dst: cut(taken, 2),
        src: one(matrix),
        map: CopyMap::FromDiagonal { per: 2 },
    });
    p.output(taken, F32);
    let later = p.shared(8, 16, F32);
    let past = CopyMap::PastTokens { per: 2 };
    p.then(Stmt::Copy { dst: one(later), src: one(blocks), map: past });
    p.output(later, F32);
    let flipped = p.shared(64, 16, Bf16);
    p.then(Stmt::Copy { dst: cut(flipped, 4), src: cut(blocks, 4), map: CopyMap::Transpose });
    p.output(flipped, F32);
    let some = p.input(64, 16, F32);
    let wide = p.input(64, 24, Bf16);
    p.then(Stmt::Copy {
        dst: cut(some, 4),
        src: cut(wide, 4),
        map: CopyMap::Cols { dst_first: 2, src_first: 9, count: 5 },
    });
    p.output(some, F32);
    vec![columns, p.kernel("shared_copies")]
}

fn scores() -> Vec<Kernel> {
    let mut p = fragments();
    let (a, q) = (p.input(64, 40, Bf16), p.input(64, 40, Bf16));
    let steps = p.input(64, 40, F32);
    for mask in Mask::ALL {
        let dst = p.shared(64, 16, F32);
        p.then(Stmt::Score {
            dst: cut(dst, 4),
            p: cut(q, 4),
            a: cut(a, 4),
            to: cut(steps, 4),
            from: cut(steps, 4),
            mask: *mask,
            unit: Unit::Scalar,
            operand: Bf16,
        });
        p.output(dst, F32);
    }
    let by_pairs = p.kernel("scores_by_pairs");

    let mut p = fragments();
    let (a, q) = (p.input(64, 40, Bf16), p.input(64, 40, Bf16));
    let steps = p.input(4, 40, F32);
    for mask in Mask::ALL {
        let dst = p.shared(64, 64, Bf16);
        p.then(Stmt::Score {
            dst: one(dst),
            p: one(q),
            a: one(a),
            to: one(steps),
            from: one(steps),
            mask: *mask,
            unit: Unit::Tensor,
            operand: Bf16,
        });
        p.output(dst, F32);
    }
    let by_blocks = p.kernel("scores_by_blocks");

    let mut p = fragments();
    let (w, y) = (p.input(64, 32, F32), p.input(64, 20, Bf16));
    let steps = p.input(32, 20, F32);
    for mask in Mask::ALL {
        let dst = p.shared(64, 20, F32);
        p.then(Stmt::Mix {
            dst: cut(dst, 2),
            w: cut(w, 2),
            y: cut(y, 2),
            to: cut(steps, 2),
            from: cut(steps, 2),
            mask: *mask,
        });
        p.output(dst, F32);
    }
    vec![by_pairs, by_blocks, p.kernel("mixtures")]
}

fn inverses() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for (size, blocks) in [(64, 1), (16, 4), (20, 2), (128, 1), (8, 2)] {
        for upper in [false, true] {
            let mut p = fragments();
            let given = p.input(blocks * size, size, F32);
            let mask = if upper { Mask::Tstrict } else { Mask::Strict };
            let l = p.shared(blocks * size, size, F32);
            let strict = Body {
                expr: keep(mask, x(0)),
                args: vec![Arg { view: cut(given, blocks), transposed: false }],
            };
            p.then(Stmt::Map { dst: cut(l, blocks), body: strict });
            p.then(Stmt::Sync(Sync::Cta));
            for dtype in if size > 64 { vec![F32] } else { vec![F32, Bf16] } {
                let dst = p.shared(blocks * size, size, dtype);
                let rows = blocks * usize::next_multiple_of(size, 16);
                let diagonal = p.shared(rows, 16, F32);
                let (dst_view, src) = (cut(dst, blocks), cut(l, blocks));
                p.then(Stmt::Inverse { dst: dst_view, src, upper, diagonal });
                p.output(dst, F32);
            }
            kernels.push(p.kernel(&format!("inverse_{size}_{upper}")));
        }
    }
    kernels
}

fn in_lanes() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    // A column a lane; pieces with groups of lanes that share a warp, and with lanes that have nothing.
    let pieces = |across, width| Lanes { width, across };
    for (rows, cols, lanes) in [
        (64, 64, Lanes::SINGLE),
        (20, 40, Lanes::SINGLE),
        (64, 64, pieces(16, 4)),
        (20, 40, pieces(16, 4)),
        (50, 80, pieces(8, 4)),
        (33, 6, pieces(4, 2)),
    ] {
        let mut p = Probe::new(Layout::Lanes(lanes), 4);
        let s = p.column_input(rows, cols, F32);
        let v = p.column_input(1, cols, F32);
        let k = p.input(1, rows, F32);
        let k_column = p.input(rows, 1, F32);
        let scalar = |dst, a, b, start, then| {
            Stmt::Mma(Mma { dst, a, b, start, then, band: Band::Full, unit: Unit::Scalar })
        };
        let read = p.columns(1, cols, F32);
        let scale = Body { expr: mul(x(0), x(1)), args: vec![arg(v)] };
        p.then(scalar(one(read), plain(k), plain(s), Start::Zero, Some(scale)));
        p.output(read, F32);
        let again = p.columns(1, cols, Bf16);
        p.then(scalar(one(again), turned(k_column), plain(s), Start::Tile(one(read)), None));
        p.output(again, F32);
        let flat = p.shared(1, rows, F32);
        p.then(scalar(one(flat), plain(v), turned(s), Start::Zero, None));
        p.output(flat, F32);
        let upright = p.shared(rows, 1, F32);
        p.then(scalar(one(upright), plain(s), turned(v), Start::Zero, None));
        p.output(upright, F32);
        p.then(map(s, mul(x(0), exp(x(1))), vec![arg(s), arg(k_column)]));
        p.then(scalar(one(s), plain(k_column), plain(v), Start::Dst, None));
        p.output(s, F32);
        // From memory and back without shared memory between.
        let moved = p.columns(rows, cols, F32);
        p.load(moved, F32);
        p.output(moved, F32);
        let Lanes { width, across } = lanes;
        kernels.push(p.kernel(&format!("lanes_{rows}_{cols}_{across}_{width}")));
    }
    kernels
}
