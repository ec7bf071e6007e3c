//! Walks over tokens: values worked out by hand, what the checker refuses, and their text.

use super::*;

const TOKENS: usize = 4;

/// Tiles 0 and 1: a gate and an entry `[4, 2]` for each token and point; the result is `[4, 2]`, and what
/// tile 3 holds is the state `[1, 2]`, which starts from 1.
fn kernel_of(walk: Walk) -> Kernel {
    let mut kernel = kernel(&[[TOKENS, 2], [TOKENS, 2]], ([TOKENS, 2], Dtype::F32), vec![]);
    kernel.chunk = TOKENS;
    for (name, size) in [("h", [1, 2]), ("parts", [2, 4])] {
        let [rows, cols] = size;
        let place = Shared {
            offset: kernel.shared_bytes,
            pitch: 16,
            padded_rows: rows,
            padded_cols: cols,
            stages: 1,
            stage_bytes: 0,
            swizzle: Swizzle::None,
        };
        kernel.shared_bytes += rows * place.pitch;
        let name = name.to_owned();
        kernel.tiles.push(Tile {
            name,
            rows,
            cols,
            dtype: Dtype::F32,
            place: Place::Shared(place),
            stands_for: Rows::Same,
        });
    }
    let start = Stmt::Fill { dst: TileId(3), value: 1.0 };
    let setup = &mut kernel.roles[0].setup;
    setup.extend([start, Stmt::Sync(Sync::Cta), Stmt::Walk(walk), Stmt::Sync(Sync::Cta)]);
    kernel
}

/// `h' = x0 h + x1` in some ring, and `h' + 10 h` as the result.
fn linear(ring: Ring) -> Walk {
    let token = |tile| at(tile, 0, &[2, 1, 0]);
    let before = binary(Binary::Mul, Expr::Const(10.0), Expr::Arg(0));
    Walk {
        points: 2,
        inner: 1,
        states: vec![at(3, 0, &[0, 1, 0])],
        law: Law::Linear {
            ring,
            rows: vec![Row { gates: vec![Some(Expr::Arg(2))], entry: Some(Expr::Arg(3)) }],
        },
        args: vec![token(0), token(1)],
        results: vec![WalkResult {
            dst: token(2),
            sum: false,
            expr: binary(Binary::Add, Expr::Arg(1), before),
        }],
        lanes: 1,
        segments: None,
    }
}

/// The result after three tokens, the last of which forgets.
fn walked(walk: Walk) -> Vec<f64> {
    let kernel = check(kernel_of(walk)).expect("a legal kernel");
    let array = |data: [f64; 8]| Array { shape: vec![1, TOKENS, 2], data: data.to_vec() };
    let arrays = Arrays::from([
        ("x0".to_owned(), array([2.0, 0.5, 3.0, 1.0, 0.0, 0.0, 9.0, 9.0])),
        ("x1".to_owned(), array([1.0, 0.0, -1.0, 4.0, 5.0, 6.0, 9.0, 9.0])),
    ]);
    eval(&kernel, &Problem::dense(&[], 1, 3, 1), &arrays, Rounding::Exact)["y"].data.clone()
}

#[test]
fn a_walk_carries_every_point_over_the_tokens_that_exist() {
    // h: 1 -> 3 -> 8 -> 5 and 1 -> 0.5 -> 4.5 -> 6; there is no fourth token.
    let want = [13.0, 10.5, 38.0, 9.5, 85.0, 51.0, 7.0, 7.0];
    assert_eq!(walked(linear(Ring::Sum)), want);
    let free = binary(Binary::Add, binary(Binary::Mul, Expr::Arg(2), Expr::Arg(0)), Expr::Arg(3));
    assert_eq!(walked(Walk { law: Law::Free(vec![free]), ..linear(Ring::Sum) }), want);
    let segments = Some(Segments { count: 2, summaries: TileId(4) });
    assert_eq!(walked(Walk { segments, ..linear(Ring::Sum) }), want);
    // max(x0 + h, x1): 1 -> 3 -> 6 -> 6 and 1 -> 1.5 -> 4 -> 6.
    let largest = [13.0, 11.5, 36.0, 19.0, 66.0, 46.0, 7.0, 7.0];
    assert_eq!(walked(linear(Ring::Max)), largest);
}

#[test]
fn a_result_may_sum_the_elements_of_a_point() {
    // The two columns as two elements of one point.
    let mut walk = Walk { points: 1, inner: 2, ..linear(Ring::Sum) };
    walk.states[0].strides = vec![0, 0, 1];
    walk.args.iter_mut().for_each(|a| a.strides = vec![2, 0, 1]);
    walk.results[0].dst.strides = vec![2, 0, 0];
    walk.results[0].sum = true;
    assert_eq!(walked(walk), [23.5, 7.0, 47.5, 7.0, 136.0, 7.0, 7.0, 7.0]);
}

/// Changes a legal walk; the checker must say `why`.
fn refused_walk(why: &str, change: impl FnOnce(&mut Walk)) {
    let mut walk = linear(Ring::Sum);
    change(&mut walk);
    let error = check(kernel_of(walk)).expect_err(why);
    assert!(error.contains(why), "{error}");
}

#[test]
fn walks_that_are_not_legal() {
    refused_walk("element 8 of the 8 of x0", |w| w.args[0].offset = 1);
    refused_walk("2 strides of y for 3 loops", |w| w.results[0].dst.strides = vec![2, 1]);
    refused_walk("two points write one element", |w| w.results[0].dst.strides = vec![2, 0, 0]);
    refused_walk("two points write one element", |w| w.states[0].strides = vec![0, 0, 0]);
    refused_walk("beside another use", |w| w.args[0] = at(3, 0, &[0, 1, 0]));
    refused_walk("beside another use", |w| w.results.push(w.results[0].clone()));
    refused_walk("1 states over [4, 0, 1]", |w| w.points = 0);
    refused_walk("argument 4 of 4", |w| w.results[0].expr = Expr::Arg(4));
    refused_walk("index of loop 0 of 0", |w| w.results[0].expr = Expr::Index(0));
    refused_walk("2 lanes for 1 elements", |w| w.lanes = 2);
    // Gates of the scan know nothing of states, and no new state knows another one.
    let rows = |gate| vec![Row { gates: vec![Some(gate)], entry: None }];
    let ring = Ring::Sum;
    refused_walk("law does not fit", |w| w.law = Law::Linear { ring, rows: rows(Expr::Arg(0)) });
    refused_walk("law does not fit", |w| w.law = Law::Free(vec![Expr::Arg(1)]));
    refused_walk("law does not fit", |w| w.law = Law::Free(vec![]));
    let segments = |count, tile| Some(Segments { count, summaries: TileId(tile) });
    refused_walk("4 segments in parts", |w| w.segments = segments(4, 4));
    refused_walk("2 segments in h", |w| w.segments = segments(2, 3));
    refused_walk("2 segments in parts", |w| {
        w.law = Law::Free(vec![Expr::Arg(0)]);
        w.segments = segments(2, 4);
    });
}

#[test]
fn walks_print_their_laws() {
    let kernel = kernel_of(linear(Ring::Sum));
    let text = |walk| kernel.stmt(&Stmt::Walk(walk));
    assert_eq!(
        text(linear(Ring::Sum)),
        "walk t over i1<2: h[i1] = add(mul(x0[2*t + i1], h[i1]), x1[2*t + i1]); \
         y[2*t + i1] = add(h'[i1], mul(10, h[i1]))"
    );
    let segments = Some(Segments { count: 2, summaries: TileId(4) });
    let expected = "walk t over i1<2, 2 segments in parts: h[i1] = max(add(x0[2*t + i1], h[i1]), \
                    x1[2*t + i1]);";
    let found = text(Walk { segments, ..linear(Ring::Max) });
    assert!(found.starts_with(expected), "{found}");
}
