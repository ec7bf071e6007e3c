//! Each statement against its definition, written out as loops.

use crate::draft::*;
use sluice_backends::scalar::{Options, Precision, jit};
use sluice_ir::accuracy::relative_rms;
use sluice_ir::kernel::*;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::seq::Mask;

/// A matrix of the test.
#[derive(Clone)]
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    fn noise(seed: u64, rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: noise(seed, rows * cols, -1.0, 1.0) }
    }

    fn make(rows: usize, cols: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let data = (0..rows * cols).map(|i| value(i / cols, i % cols)).collect();
        Self { rows, cols, data }
    }

    fn at(&self, row: usize, col: usize) -> f64 {
        self.data[row * self.cols + col]
    }
}

/// Runs statements on tiles that hold the inputs; they see the destination filled with 7.
fn apply(
    inputs: &[Matrix],
    shape: [usize; 2],
    precision: Precision,
    statements: impl FnOnce(&[TileId], TileId) -> Vec<Stmt>,
) -> Vec<f64> {
    let mut draft = Draft::new("statement", Schedule::FusedScan, 4);
    let mut arrays = Arrays::new();
    let mut tiles = vec![];
    for (i, m) in inputs.iter().enumerate() {
        let name = format!("x{i}");
        let param = draft.param(&name, ParamKind::ModelIn, Dtype::F64, [m.rows, m.cols]);
        let tile = draft.shared(Dtype::F64, [m.rows, m.cols], 1);
        draft.load(Phase::Setup, tile, param, 0);
        tiles.push(tile);
        arrays.insert(name, Array { shape: vec![1, m.rows, m.cols], data: m.data.clone() });
    }
    let out = draft.param("y", ParamKind::StateOut, Dtype::F64, shape);
    let dst = draft.shared(Dtype::F64, shape, 1);
    draft.push(Phase::Setup, Stmt::Fill { dst, value: 7.0 });
    for stmt in statements(&tiles, dst) {
        draft.push(Phase::Setup, stmt);
    }
    draft.store(Phase::Finish, out, dst);
    let code = jit(&draft.check(), Options::exact(precision)).expect("the host has code");
    code.run(&Problem::dense(&[], 1, 0, 1), &arrays).expect("arrays fit")["y"].data.clone()
}

fn assert_equals(inputs: &[Matrix], want: &Matrix, statement: impl Fn(&[TileId], TileId) -> Stmt) {
    for (precision, bound) in [(Precision::F64, 1e-14), (Precision::F32, 2e-6)] {
        let shape = [want.rows, want.cols];
        let got = apply(inputs, shape, precision, |x, y| vec![statement(x, y)]);
        let error = relative_rms(&got, &want.data);
        assert!(error <= bound, "{precision:?}: {error:e}\n{got:?}\n{:?}", want.data);
    }
}

fn map(dst: View, args: Vec<Arg>, expr: Expr) -> Stmt {
    Stmt::Map { dst, body: Body { expr, args } }
}

#[test]
fn unary_functions() {
    for &f in Unary::ALL {
        let lo = match f {
            Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::Recip => 0.1,
            Unary::Log1p => -0.9,
            _ => -6.0,
        };
        let x = Matrix { rows: 4, cols: 8, data: noise(1, 32, lo, 6.0) };
        let want = Matrix::make(4, 8, |r, c| f.eval(x.at(r, c)));
        assert_equals(&[x], &want, |x, y| {
            map(whole(y), vec![arg(whole(x[0]))], unary(f, Expr::Arg(0)))
        });
    }
}

#[test]
fn unary_functions_survive_their_extremes() {
    let x = Matrix { rows: 1, cols: 4, data: vec![-1e4, 1e4, f64::NEG_INFINITY, 0.0] };
    for f in [
        Unary::Sigmoid,
        Unary::LogSigmoid,
        Unary::Softplus,
        Unary::Exp,
        Unary::Expm1,
        Unary::Tanh,
        Unary::Floor,
        Unary::Sign,
    ] {
        let statement =
            |x: &[TileId], y| vec![map(whole(y), vec![arg(whole(x[0]))], unary(f, Expr::Arg(0)))];
        let want: Vec<f64> = x.data.iter().map(|v| f.eval(*v)).collect();
        let got = apply(std::slice::from_ref(&x), [1, 4], Precision::F64, statement);
        assert_eq!(got, want, "{}", f.name());
    }
}

#[test]
fn functions_near_zero_keep_what_one_would_swallow() {
    let x = Matrix { rows: 1, cols: 4, data: vec![-3e-8, 2e-9, 1e-5, -1e-5] };
    for f in [Unary::Expm1, Unary::Log1p] {
        let want = Matrix::make(1, 4, |_, c| f.eval(x.at(0, c)));
        assert_equals(std::slice::from_ref(&x), &want, |x, y| {
            map(whole(y), vec![arg(whole(x[0]))], unary(f, Expr::Arg(0)))
        });
    }
}

#[test]
fn sums_of_exponentials_survive_their_extremes() {
    let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
    let x = Matrix { rows: 1, cols: 6, data: vec![low, low, 0.5, high, high, -800.0] };
    let y = Matrix { rows: 1, cols: 6, data: vec![low, -3.0, low, high, low, 800.0] };
    let got = apply(&[x, y], [1, 6], Precision::F64, |t, dst| {
        let sum = binary(Binary::LogAddExp, Expr::Arg(0), Expr::Arg(1));
        vec![map(whole(dst), vec![arg(whole(t[0])), arg(whole(t[1]))], sum)]
    });
    assert_eq!(got, [low, -3.0, 0.5, high, high, 800.0]);
}

#[test]
fn binary_functions_and_selection() {
    let x = Matrix { rows: 3, cols: 4, data: noise(2, 12, 0.5, 2.0) };
    let mut y = Matrix { rows: 3, cols: 4, data: noise(3, 12, 0.5, 2.0) };
    y.data[5] = x.data[5];
    let args = |x: &[TileId]| vec![arg(whole(x[0])), arg(whole(x[1]))];
    for &f in Binary::ALL {
        let want = Matrix::make(3, 4, |r, c| f.eval(x.at(r, c), y.at(r, c)));
        assert_equals(&[x.clone(), y.clone()], &want, |t, dst| {
            map(whole(dst), args(t), binary(f, Expr::Arg(0), Expr::Arg(1)))
        });
    }
    let want = Matrix::make(3, 4, |r, c| if x.at(r, c) < y.at(r, c) { -1.0 } else { y.at(r, c) });
    assert_equals(&[x, y], &want, |t, dst| {
        let less = binary(Binary::Lt, Expr::Arg(0), Expr::Arg(1));
        let (yes, no) = (Expr::Const(-1.0), Expr::Arg(1));
        map(whole(dst), args(t), Expr::Select(Box::new(less), Box::new(yes), Box::new(no)))
    });
}

#[test]
fn arguments_are_repeated_and_transposed() {
    let (rows, cols) = (Matrix::noise(4, 6, 1), Matrix::noise(5, 1, 4));
    let (steps, across) = (Matrix::noise(6, 3, 1), Matrix::noise(7, 4, 1));
    let want = Matrix::make(6, 4, |r, c| {
        rows.at(r, 0) + cols.at(0, c) * steps.at(r / 2, 0) + 2.0 * across.at(c, 0)
    });
    assert_equals(&[rows, cols, steps, across], &want, |x, y| {
        let mut args: Vec<_> = x.iter().map(|t| arg(whole(*t))).collect();
        args[3].transposed = true;
        let product = binary(Binary::Mul, Expr::Arg(1), Expr::Arg(2));
        let twice = binary(Binary::Mul, Expr::Const(2.0), Expr::Arg(3));
        let sum = binary(Binary::Add, Expr::Arg(0), product);
        map(whole(y), args, binary(Binary::Add, sum, twice))
    });
}

#[test]
fn masks_keep_pairs_of_steps() {
    let x = Matrix::noise(8, 8, 6);
    for &mask in Mask::ALL {
        // Two blocks of 4 rows; two rows and three columns make a step.
        let want =
            Matrix::make(8, 6, |r, c| if mask.holds(r % 4 / 2, c / 3) { x.at(r, c) } else { 0.0 });
        assert_equals(std::slice::from_ref(&x), &want, |x, y| {
            let value = Box::new(Expr::Arg(0));
            let keep = Expr::Keep { mask, row_step: 2, col_step: 3, value };
            map(blocks(y, 2), vec![arg(blocks(x[0], 2))], keep)
        });
    }
}

#[test]
fn products_of_all_shapes() {
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        // Two blocks: [3, 5] times [5, 4].
        let dims = |t: bool, r: usize, c: usize| if t { (c, r) } else { (r, c) };
        let ((ar, ac), (br, bc)) = (dims(transpose_a, 3, 5), dims(transpose_b, 5, 4));
        let (a, b) = (Matrix::noise(9, 2 * ar, ac), Matrix::noise(10, 2 * br, bc));
        let bias = Matrix::noise(11, 6, 4);
        let pick = |m: &Matrix, t: bool, rows: usize, n: usize, i: usize, j: usize| {
            if t { m.at(n * rows + j, i) } else { m.at(n * rows + i, j) }
        };
        let want = Matrix::make(6, 4, |r, j| {
            let (n, i) = (r / 3, r % 3);
            let sum: f64 = (0..5)
                .map(|k| pick(&a, transpose_a, ar, n, i, k) * pick(&b, transpose_b, br, n, k, j))
                .sum();
            (bias.at(r, j) + sum) * bias.at(r, j)
        });
        assert_equals(&[a, b, bias], &want, |x, y| {
            let body = Body {
                expr: binary(Binary::Mul, Expr::Arg(0), Expr::Arg(1)),
                args: vec![arg(blocks(x[2], 2))],
            };
            Stmt::Mma(Mma {
                dst: blocks(y, 2),
                a: Operand { view: blocks(x[0], 2), transposed: transpose_a },
                b: Operand { view: blocks(x[1], 2), transposed: transpose_b },
                start: Start::Tile(blocks(x[2], 2)),
                then: Some(body),
                band: Band::Full,
                unit: Unit::Scalar,
            })
        });
    }
}

#[test]
fn products_add_to_the_destination_and_keep_their_band() {
    let (a, b) = (Matrix::noise(12, 4, 3), Matrix::noise(13, 3, 4));
    for (band, start) in
        [(Band::Lower, Start::Zero), (Band::Upper, Start::Zero), (Band::Full, Start::Dst)]
    {
        let want = Matrix::make(4, 4, |i, j| {
            let sum: f64 = (0..3).map(|k| a.at(i, k) * b.at(k, j)).sum();
            match band {
                Band::Full => 7.0 + sum,
                Band::Lower if j > i => 0.0,
                Band::Upper if j < i => 0.0,
                Band::Lower | Band::Upper => sum,
            }
        });
        assert_equals(&[a.clone(), b.clone()], &want, |x, y| {
            let operand = |t| Operand { view: whole(t), transposed: false };
            Stmt::Mma(Mma {
                dst: whole(y),
                a: operand(x[0]),
                b: operand(x[1]),
                start,
                then: None,
                band,
                unit: Unit::Scalar,
            })
        });
    }
}

#[test]
fn reductions() {
    let x = Matrix::noise(14, 6, 5);
    for (op, start) in [(Reduction::Sum, 0.0), (Reduction::Max, f64::NEG_INFINITY)] {
        let join = |a: f64, b: f64| if op == Reduction::Sum { a + b } else { a.max(b) };
        let cols = Matrix::make(6, 1, |r, _| (0..5).map(|c| x.at(r, c)).fold(start, join));
        assert_equals(std::slice::from_ref(&x), &cols, |x, y| Stmt::Reduce {
            op,
            dst: whole(y),
            src: whole(x[0]),
            over: Over::Cols,
        });
        let rows = Matrix::make(2, 5, |r, c| (0..3).map(|k| x.at(3 * r + k, c)).fold(start, join));
        assert_equals(std::slice::from_ref(&x), &rows, |x, y| Stmt::Reduce {
            op,
            dst: whole(y),
            src: whole(x[0]),
            over: Over::Rows,
        });
    }
}

#[test]
fn running_sums_with_every_mask() {
    let x = Matrix::noise(15, 8, 3);
    for &mask in Mask::ALL {
        let want = Matrix::make(8, 3, |r, c| {
            let (block, t) = (r / 4, r % 4);
            (0..4).filter(|s| mask.holds(t, *s)).map(|s| x.at(4 * block + s, c)).sum()
        });
        assert_equals(std::slice::from_ref(&x), &want, |x, y| Stmt::Run {
            dst: blocks(y, 2),
            body: Body::of(blocks(x[0], 2)),
            mask,
        });
    }
}

#[test]
fn running_sums_of_expressions() {
    let (x, scale) = (Matrix::noise(22, 6, 3), Matrix::noise(23, 1, 3));
    let scaled = |r: usize, c: usize| (x.at(r, c) * scale.at(0, c)).max(-0.25);
    let want = Matrix::make(6, 3, |r, c| (0..=r).map(|s| scaled(s, c)).sum());
    let product = binary(Binary::Mul, Expr::Arg(0), Expr::Arg(1));
    let expr = binary(Binary::Max, product, Expr::Const(-0.25));
    assert_equals(&[x.clone(), scale.clone()], &want, |x, y| {
        let args = vec![arg(whole(x[0])), arg(whole(x[1]))];
        let body = Body { expr: expr.clone(), args };
        Stmt::Run { dst: whole(y), body, mask: Mask::Incl }
    });
}

#[test]
fn decayed_scores_and_mixes() {
    // Two blocks of two steps; two readers and three writers a step.
    let (p, a) = (Matrix::noise(16, 8, 5), Matrix::noise(17, 12, 5));
    let (to, from) = (Matrix::noise(18, 4, 5), Matrix::noise(19, 4, 5));
    let (w, y) = (Matrix::noise(20, 8, 6), Matrix::noise(21, 12, 5));
    for &mask in Mask::ALL {
        let decay = |n: usize, t: usize, s: usize, c: usize| {
            (to.at(2 * n + t / 2, c) - from.at(2 * n + s / 3, c)).exp2()
        };
        let holds = |t: usize, s: usize| mask.holds(t / 2, s / 3);
        let score = Matrix::make(8, 6, |r, s| {
            let (n, t) = (r / 4, r % 4);
            let pair = |c| p.at(r, c) * a.at(6 * n + s, c) * decay(n, t, s, c);
            if holds(t, s) { (0..5).map(pair).sum() } else { 0.0 }
        });
        let inputs = [p.clone(), a.clone(), to.clone(), from.clone()];
        assert_equals(&inputs, &score, |x, dst| Stmt::Score {
            dst: blocks(dst, 2),
            p: blocks(x[0], 2),
            a: blocks(x[1], 2),
            to: blocks(x[2], 2),
            from: blocks(x[3], 2),
            mask,
            unit: Unit::Scalar,
            operand: Dtype::Bf16,
        });
        let mix = Matrix::make(8, 5, |r, v| {
            let (n, t) = (r / 4, r % 4);
            let term = |s: usize| w.at(r, s) * y.at(6 * n + s, v) * decay(n, t, s, v);
            (0..6).filter(|s| holds(t, *s)).map(term).sum()
        });
        let inputs = [w.clone(), y.clone(), to.clone(), from.clone()];
        assert_equals(&inputs, &mix, |x, dst| Stmt::Mix {
            dst: blocks(dst, 2),
            w: blocks(x[0], 2),
            y: blocks(x[1], 2),
            to: blocks(x[2], 2),
            from: blocks(x[3], 2),
            mask,
        });
    }
}

#[test]
fn inverses_of_unit_triangular_matrices() {
    for upper in [false, true] {
        // Two blocks of 5; what is not strictly triangular must not matter.
        let l = Matrix::noise(22, 10, 5);
        let scratch = Matrix::noise(23, 32, 16);
        let x = apply(&[l.clone(), scratch], [10, 5], Precision::F64, |t, dst| {
            let [dst, src] = [dst, t[0]].map(|tile| blocks(tile, 2));
            vec![Stmt::Inverse { dst, src, upper, diagonal: t[1] }]
        });
        for n in 0..2 {
            let strict = |i: usize, j: usize| {
                let beside = if upper { j > i } else { j < i };
                if beside { l.at(5 * n + i, j) } else { 0.0 }
            };
            // (I - L) (I + X) = I
            let unit = |i: usize, j: usize| f64::from(u8::from(i == j));
            for (i, j) in (0..25).map(|e| (e / 5, e % 5)) {
                let product: f64 = (0..5)
                    .map(|k| (unit(i, k) - strict(i, k)) * (unit(k, j) + x[(5 * n + k) * 5 + j]))
                    .sum();
                assert!((product - unit(i, j)).abs() < 1e-13, "[{n}, {i}, {j}]: {product}");
            }
        }
    }
}

#[test]
fn copies_move_the_elements_named() {
    let x = Matrix::noise(23, 8, 4);
    let copy = |map| {
        move |dst_blocks, src_blocks| {
            move |x: &[TileId], y: TileId| Stmt::Copy {
                dst: blocks(y, dst_blocks),
                src: blocks(x[0], src_blocks),
                map,
            }
        }
    };
    let input = std::slice::from_ref(&x);
    assert_equals(input, &x, copy(CopyMap::Whole)(1, 1));
    let transposed = Matrix::make(8, 4, |r, c| x.at(r / 4 * 4 + c, r % 4));
    assert_equals(input, &transposed, copy(CopyMap::Transpose)(2, 2));
    let rows = Matrix::make(6, 4, |r, c| if r % 3 == 0 { 7.0 } else { x.at(r / 3 * 4 + r % 3, c) });
    let some_rows = CopyMap::Rows { dst_first: 1, src_first: 1, count: 2 };
    assert_equals(input, &rows, copy(some_rows)(2, 2));
    let cols = Matrix::make(8, 5, |r, c| if c < 3 { 7.0 } else { x.at(r, c - 2) });
    let some_cols = CopyMap::Cols { dst_first: 3, src_first: 1, count: 2 };
    assert_equals(input, &cols, copy(some_cols)(1, 1));
    // No token exists.
    let first = Matrix::make(4, 4, |r, c| x.at(r, c));
    assert_equals(input, &first, copy(CopyMap::PastTokens { per: 1 })(1, 1));
    // Two blocks of [4, 4] on the diagonal of one [8, 8].
    let wide = Matrix::make(8, 8, |r, c| if r / 4 == c / 4 { x.at(r, c % 4) } else { 7.0 });
    assert_equals(input, &wide, copy(CopyMap::OntoDiagonal { per: 2 })(1, 2));
    let y = Matrix::noise(24, 8, 8);
    let diagonal = Matrix::make(8, 4, |r, c| y.at(r, r / 4 * 4 + c));
    assert_equals(&[y], &diagonal, copy(CopyMap::FromDiagonal { per: 2 })(2, 1));
}
