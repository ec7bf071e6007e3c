//! Loop nests and tables: values worked out by hand, and those that the kernel form means.

use crate::draft::*;
use sluice_backends::scalar::{Options, Precision, jit};
use sluice_ir::kernel::*;
use sluice_ir::problem::{Arrays, Problem};

/// Element `offset + strides * loops` of a tile.
fn at(tile: TileId, offset: usize, strides: &[usize]) -> Access {
    Access { tile, offset, strides: strides.to_vec() }
}

fn product(a: Expr, b: Expr) -> Expr {
    binary(Binary::Mul, a, b)
}

/// A table for a tile of its own and statements on it and on the result, which is filled with 7.
fn on_table(
    table: ([usize; 2], &[f64]),
    shape: [usize; 2],
    options: Options,
    statements: impl FnOnce(TileId, TileId) -> Vec<Nest>,
) -> Vec<f64> {
    let mut draft = Draft::new("nests", Schedule::Step, 1);
    let out = draft.param("y", ParamKind::StateOut, Dtype::F64, shape);
    let x = draft.shared(Dtype::F32, table.0, 1);
    let y = draft.shared(Dtype::Bf16, shape, 1);
    draft.push(Phase::Setup, Stmt::Table { dst: x, values: table.1.into() });
    draft.push(Phase::Setup, Stmt::Fill { dst: y, value: 7.0 });
    for nest in statements(x, y) {
        draft.push(Phase::Finish, Stmt::Nest(nest));
    }
    draft.store(Phase::Finish, out, y);
    let code = jit(&draft.check(), options).expect("the host has code");
    let arrays = Arrays::new();
    code.run(&Problem::dense(&[], 1, 0, 1), &arrays).expect("arrays fit")["y"].data.clone()
}

const X: ([usize; 2], &[f64]) = ([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, -6.0]);

#[test]
fn a_nest_writes_the_elements_that_it_names() {
    let options = Options::exact(Precision::F32);
    // y[r, c] = x[c, r] + 10 c for the first two columns of three.
    let turned = on_table(X, [3, 3], options, |x, y| {
        let place = product(Expr::Const(10.0), Expr::Index(1));
        let expr = binary(Binary::Add, Expr::Arg(0), place);
        let args = vec![at(x, 0, &[1, 3])];
        vec![Nest { extents: vec![3, 2], dst: at(y, 0, &[3, 1]), reduce: None, expr, args }]
    });
    assert_eq!(turned, [1.0, 14.0, 7.0, 2.0, 15.0, 7.0, 3.0, 4.0, 7.0]);
    for (op, want) in [(Reduction::Sum, [14.0, -4.0]), (Reduction::Max, [9.0, 10.0])] {
        // y[1 + r] = sum or maximum over c of x[r, c] x[0, c].
        let combined = on_table(X, [1, 4], options, |x, y| {
            vec![Nest {
                extents: vec![2],
                dst: at(y, 1, &[1]),
                reduce: Some((op, 3)),
                expr: product(Expr::Arg(0), Expr::Arg(1)),
                args: vec![at(x, 0, &[3, 1]), at(x, 0, &[0, 1])],
            }]
        });
        assert_eq!(combined, [7.0, want[0], want[1], 7.0]);
    }
    // No outer loop, and the index of the inner one.
    let point = on_table(X, [1, 2], options, |x, y| {
        let expr = product(Expr::Arg(0), Expr::Index(0));
        let reduce = Some((Reduction::Sum, 6));
        vec![Nest { extents: vec![], dst: at(y, 1, &[]), reduce, expr, args: vec![at(x, 0, &[1])] }]
    });
    assert_eq!(point, [7.0, 2.0 + 6.0 + 12.0 + 20.0 - 30.0]);
}

#[test]
fn tables_and_nests_round_only_when_asked() {
    let third = 1.0 / 3.0;
    let table = ([1, 1], &[third][..]);
    let copied = |options| {
        on_table(table, [1, 1], options, |x, y| {
            let (dst, args) = (at(y, 0, &[]), vec![at(x, 0, &[])]);
            vec![Nest { extents: vec![], dst, reduce: None, expr: Expr::Arg(0), args }]
        })
    };
    assert_eq!(copied(Options::exact(Precision::F64)), [third]);
    let stored = Options { precision: Precision::F64, round_tiles: true };
    assert_eq!(copied(stored), [Dtype::Bf16.round(third)]);
}

/// Tokens of a linear cell with a cyclic delay line as two instances of a tile, by nests alone:
/// `S' = g S + T k^T`, `o = (S' q) max over keys, then times its place`, four loops and all.
fn cell() -> Draft {
    let mut draft = Draft::new("cell", Schedule::Step, 1);
    let token = ParamKind::TokenIn;
    let k = draft.param("k", token, Dtype::F32, [2, 3]);
    let v = draft.param("v", token, Dtype::Bf16, [2, 4]);
    let o = draft.param("o", ParamKind::TokenOut, Dtype::F32, [2, 5]);
    let end = draft.param("S", ParamKind::StateOut, Dtype::F32, [6, 4]);
    let (kt, vt) = (draft.shared(Dtype::F32, [2, 3], 2), draft.shared(Dtype::Bf16, [2, 4], 2));
    let s = draft.shared(Dtype::F32, [6, 4], 1);
    let w = draft.shared(Dtype::F32, [3, 5], 1);
    let r = draft.shared(Dtype::F32, [2, 5], 1);
    draft.push(Phase::Setup, Stmt::Fill { dst: s, value: 0.25 });
    draft.push(Phase::Setup, Stmt::Table { dst: w, values: noise(3, 15, -1.0, 1.0).into() });
    draft.load(Phase::Body, kt, k, 0);
    draft.load(Phase::Body, vt, v, 0);
    // S[h, i, j] = 0.5 S[h, i, j] + k[h, i] v[h, j]
    let update = binary(
        Binary::Add,
        product(Expr::Const(0.5), Expr::Arg(0)),
        product(Expr::Arg(1), Expr::Arg(2)),
    );
    draft.push(
        Phase::Body,
        Stmt::Nest(Nest {
            extents: vec![2, 3, 4],
            dst: at(s, 0, &[12, 4, 1]),
            reduce: None,
            expr: update,
            args: vec![at(s, 0, &[12, 4, 1]), at(kt, 0, &[3, 1, 0]), at(vt, 0, &[4, 0, 1])],
        }),
    );
    // r[h, n] = max over i of tanh(S[h, i, 3] w[i, n]) + i
    let tanh = unary(Unary::Tanh, product(Expr::Arg(0), Expr::Arg(1)));
    draft.push(
        Phase::Body,
        Stmt::Nest(Nest {
            extents: vec![2, 5],
            dst: at(r, 0, &[5, 1]),
            reduce: Some((Reduction::Max, 3)),
            expr: binary(Binary::Add, tanh, Expr::Index(2)),
            args: vec![at(s, 3, &[12, 0, 4]), at(w, 0, &[0, 1, 5])],
        }),
    );
    draft.store(Phase::Body, o, r);
    draft.store(Phase::Finish, end, s);
    draft
}

#[test]
fn a_cell_of_nests_means_what_the_kernel_form_says() {
    let kernel = cell().check();
    let problem = Problem::dense(&[], 2, 5, 3);
    let tokens = problem.tokens();
    let arrays = Arrays::from([
        ("k".to_owned(), noise_array(1, &[tokens, 3, 2, 3], -1.0, 1.0)),
        ("v".to_owned(), noise_array(2, &[tokens, 3, 2, 4], -1.0, 1.0)),
    ]);
    let want = eval(&kernel, &problem, &arrays, Rounding::Stored);
    let options = Options { precision: Precision::F64, round_tiles: true };
    let got = jit(&kernel, options).expect("code").run(&problem, &arrays).expect("arrays fit");
    for name in ["o", "S"] {
        let (got, want) = (&got[name].data, &want[name].data);
        assert_eq!(got.len(), want.len());
        let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-6, "{name}: {worst:e}");
    }
}

#[test]
fn a_large_table_reads_back() {
    let values: Vec<f64> = (0..65_536).map(|i| f64::from(i % 251)).collect();
    let sums = on_table(([256, 256], &values), [1, 2], Options::exact(Precision::F64), |x, y| {
        let whole = Nest {
            extents: vec![],
            dst: at(y, 0, &[]),
            reduce: Some((Reduction::Sum, 65_536)),
            expr: Expr::Arg(0),
            args: vec![at(x, 0, &[1])],
        };
        let last = Nest {
            dst: at(y, 1, &[]),
            reduce: None,
            args: vec![at(x, 65_535, &[])],
            ..whole.clone()
        };
        vec![whole, last]
    });
    assert_eq!(sums, [values.iter().sum::<f64>(), f64::from(65_535 % 251)]);
}
