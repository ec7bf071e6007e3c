//! Walks over tokens as code of this machine: what the kernel form means.

use crate::draft::*;
use sluice_backends::scalar::{Options, Precision, jit};
use sluice_ir::kernel::*;
use sluice_ir::pointwise::Ring;
use sluice_ir::problem::{Arrays, Problem};

/// Element `strides * loops` of a tile.
fn at(tile: TileId, strides: [usize; 3]) -> Access {
    Access { tile, offset: 0, strides: strides.to_vec() }
}

fn product(a: Expr, b: Expr) -> Expr {
    binary(Binary::Mul, a, b)
}

/// Two states that turn into each other by gates `[4 tokens, 3, 5]` with an entry a token, then a running
/// maximum of what they sum to, then a state that is no affine function of itself.
fn chain() -> Draft {
    let mut draft = Draft::new("chain", Schedule::ElementScan, 4);
    let token = ParamKind::TokenIn;
    let g = draft.param("g", token, Dtype::F32, [3, 5]);
    let x = draft.param("x", token, Dtype::Bf16, [1, 5]);
    let y = draft.param("y", ParamKind::TokenOut, Dtype::F32, [1, 5]);
    let z = draft.param("z", ParamKind::TokenOut, Dtype::F32, [1, 5]);
    let end = draft.param("s", ParamKind::StateOut, Dtype::F32, [3, 5]);
    let (gt, xt) = (draft.shared(Dtype::F32, [12, 5], 2), draft.shared(Dtype::Bf16, [4, 5], 2));
    let (s, r) = (draft.shared(Dtype::F32, [3, 5], 1), draft.shared(Dtype::F32, [3, 5], 1));
    let (top, soft) = (draft.shared(Dtype::F32, [1, 5], 1), draft.shared(Dtype::F32, [1, 5], 1));
    let sums = draft.shared(Dtype::F32, [4, 5], 1);
    let (yt, zt) = (draft.shared(Dtype::F32, [4, 5], 1), draft.shared(Dtype::F32, [4, 5], 1));
    for (tile, value) in [(s, 0.5), (r, -0.25), (top, f64::NEG_INFINITY), (soft, 0.0)] {
        draft.push(Phase::Setup, Stmt::Fill { dst: tile, value });
    }
    draft.load(Phase::Body, gt, g, 0);
    draft.load(Phase::Body, xt, x, 0);
    let gate = |expr| Some(unary(Unary::Tanh, expr));
    let row = |gates, entry| Row { gates, entry };
    let turn = Walk {
        points: 5,
        inner: 3,
        states: vec![at(s, [0, 1, 5]), at(r, [0, 1, 5])],
        law: Law::Linear {
            ring: Ring::Sum,
            rows: vec![
                row(vec![gate(Expr::Arg(4)), gate(Expr::Arg(5))], Some(Expr::Arg(5))),
                row(vec![gate(Expr::Arg(5)), None], None),
            ],
        },
        args: vec![at(gt, [15, 1, 5]), at(xt, [5, 1, 0])],
        results: vec![WalkResult {
            dst: at(sums, [5, 1, 0]),
            sum: true,
            expr: binary(Binary::Add, Expr::Arg(2), product(Expr::Arg(1), Expr::Arg(4))),
        }],
        lanes: 1,
        segments: None,
    };
    draft.push(Phase::Body, Stmt::Walk(turn));
    let largest = Walk {
        points: 5,
        inner: 1,
        states: vec![at(top, [0, 1, 0])],
        law: Law::Linear {
            ring: Ring::Max,
            rows: vec![row(vec![Some(Expr::Const(-0.5))], Some(Expr::Arg(2)))],
        },
        args: vec![at(sums, [5, 1, 0])],
        results: vec![WalkResult { dst: at(yt, [5, 1, 0]), sum: false, expr: Expr::Arg(1) }],
        lanes: 1,
        segments: None,
    };
    draft.push(Phase::Body, Stmt::Walk(largest));
    let free = Walk {
        points: 5,
        inner: 1,
        states: vec![at(soft, [0, 1, 0])],
        law: Law::Free(vec![unary(Unary::Tanh, binary(Binary::Add, Expr::Arg(0), Expr::Arg(2)))]),
        args: vec![at(sums, [5, 1, 0])],
        results: vec![WalkResult {
            dst: at(zt, [5, 1, 0]),
            sum: false,
            expr: minus(Expr::Arg(1), Expr::Arg(0)),
        }],
        lanes: 1,
        segments: None,
    };
    draft.push(Phase::Body, Stmt::Walk(free));
    draft.store(Phase::Body, y, yt);
    draft.store(Phase::Body, z, zt);
    draft.store(Phase::Finish, end, s);
    draft
}

#[test]
fn walks_mean_what_the_kernel_form_says() {
    let kernel = chain().check();
    // Lengths that end within a chunk, with it, and before the first.
    let mut problem = Problem::dense(&[], 0, 0, 2);
    problem.cu_seqlens = vec![0, 6, 6, 14, 15];
    let tokens = problem.tokens();
    // The machine's memory holds bf16, the exact evaluator whatever it is given.
    let mut x = noise_array(2, &[tokens, 2, 1, 5], -1.0, 1.0);
    x.data.iter_mut().for_each(|x| *x = Dtype::Bf16.round(*x));
    let arrays = Arrays::from([
        ("g".to_owned(), noise_array(1, &[tokens, 2, 3, 5], -1.0, 1.0)),
        ("x".to_owned(), x),
    ]);
    for round_tiles in [false, true] {
        let rounding = if round_tiles { Rounding::Stored } else { Rounding::Exact };
        let want = eval(&kernel, &problem, &arrays, rounding);
        let options = Options { precision: Precision::F64, round_tiles };
        let got = jit(&kernel, options).expect("code").run(&problem, &arrays).expect("arrays fit");
        for name in ["y", "z", "s"] {
            let (got, want) = (&got[name].data, &want[name].data);
            assert_eq!(got.len(), want.len());
            let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-6, "{name}: {worst:e}");
        }
    }
}
