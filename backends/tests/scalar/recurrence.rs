//! Whole kernels against the recurrence they compute, written out step by step.
//!
//! The recurrence is `S' = e^g S + k v^T`, `o = q^T S'`: once token by token with the value axis cut
//! into parts and the state transposed in memory, once in chunks with loads running ahead.

use crate::draft::*;
use sluice_backends::scalar::{Options, Precision, jit};
use sluice_ir::accuracy::relative_rms;
use sluice_ir::diagnostic::Code;
use sluice_ir::kernel::*;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::seq::Mask;

const K: usize = 5;
const V: usize = 7;

struct Params {
    q: ParamId,
    k: ParamId,
    v: ParamId,
    g: ParamId,
    o: ParamId,
    before: ParamId,
    after: ParamId,
}

/// The parameters, with vectors of `dtype`; the heads of a group share `q` and `k`.
fn params(draft: &mut Draft, dtype: Dtype) -> Params {
    let mut token = |name, kind, dtype, cols| draft.param(name, kind, dtype, [1, cols]);
    let q = token("q", ParamKind::TokenIn, dtype, K);
    let k = token("k", ParamKind::TokenIn, dtype, K);
    let v = token("v", ParamKind::TokenIn, dtype, V);
    let g = token("g", ParamKind::TokenIn, Dtype::F32, 1);
    let o = token("o", ParamKind::TokenOut, dtype, V);
    let before = draft.param("S", ParamKind::StateIn, Dtype::F32, [K, V]);
    let after = draft.param("S", ParamKind::StateOut, Dtype::F32, [K, V]);
    for id in [q, k] {
        draft.adjust(id, |p| p.sharing = Sharing::Group);
    }
    Params { q, k, v, g, o, before, after }
}

fn product(dst: TileId, a: (TileId, bool), b: (TileId, bool), start: Start) -> Mma {
    let operand = |(tile, transposed)| Operand { view: whole(tile), transposed };
    let (a, b) = (operand(a), operand(b));
    Mma { dst: whole(dst), a, b, start, then: None, band: Band::Full, unit: Unit::Scalar }
}

fn body(expr: Expr, tiles: &[TileId]) -> Body {
    Body { expr, args: tiles.iter().map(|t| arg(whole(*t))).collect() }
}

/// One token at a time, in two parts of 4 and 3 columns.
fn step_kernel(dtype: Dtype, transposed: bool) -> Checked {
    let mut draft = Draft::new("decayed_sums_step", Schedule::Step, 1);
    let p = params(&mut draft, dtype);
    draft.parts(2);
    for id in [p.v, p.o, p.before, p.after] {
        draft.adjust(id, |p| p.split = true);
    }
    for id in [p.before, p.after] {
        draft.adjust(id, |p| {
            p.transposed = transposed;
            p.dims = if transposed { vec![V, K] } else { vec![K, V] };
        });
    }
    let width = V.div_ceil(2);
    let [q, k] = [(); 2].map(|()| draft.shared(Dtype::F32, [1, K], 1));
    let g = draft.shared(Dtype::F32, [1, 1], 1);
    let [v, o] = [(); 2].map(|()| draft.columns(Dtype::F32, [1, width]));
    let state = draft.columns(Dtype::F32, [K, width]);
    draft.carry(state);
    draft.push(Phase::Setup, Stmt::Fill { dst: state, value: 0.0 });
    draft.load(Phase::Setup, state, p.before, 0);
    for (tile, param) in [(q, p.q), (k, p.k), (g, p.g), (v, p.v)] {
        draft.load(Phase::Body, tile, param, 0);
    }
    let decay = body(times_exp(Expr::Arg(0), Expr::Arg(1)), &[state, g]);
    draft.push(Phase::Body, Stmt::Map { dst: whole(state), body: decay });
    let write = Mma { then: None, ..product(state, (k, true), (v, false), Start::Dst) };
    draft.push(Phase::Body, Stmt::Mma(write));
    draft.push(Phase::Body, Stmt::Mma(product(o, (q, false), (state, false), Start::Zero)));
    draft.store(Phase::Body, p.o, o);
    draft.store(Phase::Finish, p.after, state);
    draft.check()
}

/// Chunks of `chunk` tokens, each loaded one chunk ahead.
fn chunked_kernel(dtype: Dtype, chunk: usize) -> Checked {
    let mut draft = Draft::new("decayed_sums_scan", Schedule::FusedScan, chunk);
    let p = params(&mut draft, dtype);
    let [q, k] = [(); 2].map(|()| draft.shared(dtype, [chunk, K], 2));
    let v = draft.shared(dtype, [chunk, V], 2);
    let g = draft.shared(Dtype::F32, [chunk, 1], 2);
    let sums = draft.shared(Dtype::F32, [chunk, 1], 1);
    let total = draft.shared(Dtype::F32, [1, 1], 1);
    let scores = draft.shared(dtype, [chunk, chunk], 1);
    let decayed = draft.shared(dtype, [chunk, K], 1);
    let [out, values] = [(); 2].map(|()| draft.columns(Dtype::F32, [chunk, V]));
    let state = draft.columns(Dtype::F32, [K, V]);
    draft.carry(state);
    draft.push(Phase::Setup, Stmt::Fill { dst: state, value: 0.0 });
    draft.load(Phase::Setup, state, p.before, 0);
    let staged = [(q, p.q), (k, p.k), (v, p.v), (g, p.g)];
    for (tile, param) in staged {
        draft.load(Phase::Setup, tile, param, 0);
    }
    let mut push = |stmt| draft.push(Phase::Body, stmt);
    for (tile, param) in staged {
        push(Stmt::Load { dst: tile, param, ahead: 1, col: 0 });
    }
    push(Stmt::Run { dst: whole(sums), body: Body::of(whole(g)), mask: Mask::Incl });
    let last = CopyMap::Rows { dst_first: 0, src_first: chunk - 1, count: 1 };
    push(Stmt::Copy { dst: whole(total), src: whole(sums), map: last });
    // Scores decay by the gates between the writer and the reader.
    let mut between = body(times_exp(Expr::Arg(0), minus(Expr::Arg(1), Expr::Arg(2))), &[sums; 2]);
    between.args[1].transposed = true;
    let value = Box::new(between.expr);
    between.expr = Expr::Keep { mask: Mask::Incl, row_step: 1, col_step: 1, value };
    let mut score = product(scores, (q, false), (k, true), Start::Zero);
    score.then = Some(between);
    score.band = Band::Lower;
    push(Stmt::Mma(score));
    let mut read = product(out, (q, false), (state, false), Start::Zero);
    read.then = Some(body(times_exp(Expr::Arg(0), Expr::Arg(1)), &[sums]));
    push(Stmt::Mma(read));
    push(Stmt::Copy { dst: whole(values), src: whole(v), map: CopyMap::Whole });
    push(Stmt::Mma(product(out, (scores, false), (values, false), Start::Dst)));
    push(Stmt::Store { param: p.o, src: out, col: 0 });
    let rest = times_exp(Expr::Arg(0), minus(Expr::Arg(1), Expr::Arg(2)));
    push(Stmt::Map { dst: whole(decayed), body: body(rest, &[k, total, sums]) });
    let decay = body(times_exp(Expr::Arg(0), Expr::Arg(1)), &[state, total]);
    push(Stmt::Map { dst: whole(state), body: decay });
    push(Stmt::Mma(product(state, (decayed, true), (values, false), Start::Dst)));
    draft.store(Phase::Finish, p.after, state);
    draft.check()
}

/// Sequences of the given lengths, four heads in two groups.
fn problem(lengths: &[usize]) -> Problem {
    let mut cu_seqlens = vec![0];
    for n in lengths {
        cu_seqlens.push(cu_seqlens.last().expect("starts with 0") + n);
    }
    Problem { extents: [].into(), heads: 4, groups: 2, cu_seqlens }
}

/// Inputs whose elements are values of `dtype`.
fn inputs(problem: &Problem, dtype: Dtype) -> Arrays {
    let (t, h, n) = (problem.tokens(), problem.heads, problem.sequences());
    let mut arrays = Arrays::from([
        ("q".to_owned(), noise_array(1, &[t, problem.groups, 1, K], -1.0, 1.0)),
        ("k".to_owned(), noise_array(2, &[t, problem.groups, 1, K], -1.0, 1.0)),
        ("v".to_owned(), noise_array(3, &[t, h, 1, V], -1.0, 1.0)),
        ("g".to_owned(), noise_array(4, &[t, h, 1, 1], -0.5, 0.0)),
        ("S".to_owned(), noise_array(5, &[n, h, K, V], -1.0, 1.0)),
    ]);
    for (name, array) in &mut arrays {
        let dtype = if ["g", "S"].contains(&name.as_str()) { Dtype::F32 } else { dtype };
        array.data.iter_mut().for_each(|x| *x = dtype.round(*x));
    }
    arrays
}

/// The recurrence over the tokens in an order, step by step.
fn definition(order: Order, problem: &Problem, arrays: &Arrays) -> Arrays {
    let mut o = Array::zeros(&[problem.tokens(), problem.heads, 1, V]);
    let mut last = Array::zeros(&[problem.sequences(), problem.heads, K, V]);
    for sequence in 0..problem.sequences() {
        for head in 0..problem.heads {
            let at = sequence * problem.heads + head;
            let mut state = match arrays.get("S") {
                Some(initial) => initial.row(at, 2).to_vec(),
                None => vec![0.0; K * V],
            };
            let (first, end) = (problem.cu_seqlens[sequence], problem.cu_seqlens[sequence + 1]);
            for place in 0..end - first {
                let t = first + order.token(place, end - first);
                let shared = t * problem.groups + problem.group_of(head);
                let own = t * problem.heads + head;
                let (q, k) = (arrays["q"].row(shared, 2), arrays["k"].row(shared, 2));
                let (v, g) = (arrays["v"].row(own, 2), arrays["g"].row(own, 2)[0]);
                for (i, j) in (0..K * V).map(|e| (e / V, e % V)) {
                    state[i * V + j] = g.exp() * state[i * V + j] + k[i] * v[j];
                    o.data[own * V + j] += q[i] * state[i * V + j];
                }
            }
            last.data[at * K * V..(at + 1) * K * V].copy_from_slice(&state);
        }
    }
    Arrays::from([("o".to_owned(), o), ("S".to_owned(), last)])
}

fn assert_agree(got: &Arrays, want: &Arrays, bound: f64, what: &str) {
    for (name, array) in want {
        let error = relative_rms(&got[name].data, &array.data);
        assert!(error <= bound, "{what}, `{name}`: {error:e}");
    }
}

fn lengths() -> Vec<Vec<usize>> {
    vec![vec![0], vec![1], vec![3], vec![4], vec![5], vec![0, 9, 1, 17, 0, 4]]
}

#[test]
fn both_schedules_compute_the_recurrence() {
    let kernels = [step_kernel(Dtype::F32, false), chunked_kernel(Dtype::F32, 4)];
    // Singles hold inputs and outputs, so doubles in between show the algebra up to one rounding.
    for (precision, bound) in [(Precision::F64, 6e-8), (Precision::F32, 1e-6)] {
        for kernel in &kernels {
            let code = jit(kernel, Options::exact(precision)).expect("the host has code");
            for lengths in lengths() {
                let problem = problem(&lengths);
                let mut arrays = inputs(&problem, Dtype::F32);
                let what = format!("{} {precision:?} {lengths:?}", kernel.name);
                let got = code.run(&problem, &arrays).expect("arrays fit");
                assert_agree(&got, &definition(Order::Forward, &problem, &arrays), bound, &what);
                arrays.remove("S");
                let got = code.run(&problem, &arrays).expect("arrays fit");
                assert_agree(&got, &definition(Order::Forward, &problem, &arrays), bound, &what);
            }
        }
    }
}

#[test]
fn tokens_are_visited_in_the_kernels_order() {
    let orders = [Order::Reverse, Order::Columns(3), Order::ReverseColumns(3), Order::Columns(1)];
    for kernel in [step_kernel(Dtype::F32, false), chunked_kernel(Dtype::F32, 4)] {
        for order in orders {
            let ordered = check(Kernel { order, ..(*kernel).clone() }).expect("a legal kernel");
            let code = jit(&ordered, Options::exact(Precision::F64)).expect("code");
            let problem = problem(&[0, 9, 3, 18, 0, 6]);
            let arrays = inputs(&problem, Dtype::F32);
            let want = definition(order, &problem, &arrays);
            let got = code.run(&problem, &arrays).expect("arrays fit");
            assert_agree(&got, &want, 6e-8, &format!("{} {order}", kernel.name));
        }
    }
}

#[test]
fn a_grid_of_tokens_has_whole_rows() {
    let order = Order::Columns(3);
    let kernel = Kernel { order, ..(*step_kernel(Dtype::F32, false)).clone() };
    let code = jit(&check(kernel).expect("a legal kernel"), Options::exact(Precision::F64));
    let problem = problem(&[6, 7]);
    let refused = code.expect("code").run(&problem, &inputs(&problem, Dtype::F32));
    assert_eq!(refused.expect_err("7 tokens").code, Code::BadArray);
}

#[test]
fn a_transposed_state_is_the_same_state() {
    let code = jit(&step_kernel(Dtype::F32, true), Options::exact(Precision::F64)).expect("code");
    let problem = problem(&[6, 2]);
    let arrays = inputs(&problem, Dtype::F32);
    let mut turned = arrays.clone();
    let flip = |from: &Array, rows: usize, cols: usize| {
        let entry = |e: usize| (e / (rows * cols), e % (rows * cols));
        let pick = |e| {
            let (n, e) = entry(e);
            from.data[n * rows * cols + e % rows * cols + e / rows]
        };
        let shape = vec![from.shape[0], from.shape[1], cols, rows];
        Array { shape, data: (0..from.data.len()).map(pick).collect() }
    };
    turned.insert("S".into(), flip(&arrays["S"], K, V));
    let mut got = code.run(&problem, &turned).expect("arrays fit");
    assert_eq!(got["S"].shape, [2, 4, V, K]);
    got.insert("S".into(), flip(&got["S"], V, K));
    assert_agree(&got, &definition(Order::Forward, &problem, &arrays), 6e-8, "transposed state");
}

#[test]
fn bf16_inputs_and_outputs_round_once() {
    let code = jit(&chunked_kernel(Dtype::Bf16, 4), Options::exact(Precision::F32)).expect("code");
    let problem = problem(&[11, 6]);
    let arrays = inputs(&problem, Dtype::Bf16);
    let mut want = definition(Order::Forward, &problem, &arrays);
    let got = code.run(&problem, &arrays).expect("arrays fit");
    assert!(relative_rms(&got["S"].data, &want["S"].data) < 1e-6);
    let one_rounding = Dtype::Bf16.unit_roundoff() / 7f64.sqrt();
    assert!(relative_rms(&got["o"].data, &want["o"].data) < 1.2 * one_rounding);
    for x in &mut want.get_mut("o").expect("an output").data {
        *x = Dtype::Bf16.round(*x);
    }
    let equal = got["o"].data.iter().zip(&want["o"].data).filter(|(a, b)| a == b).count();
    assert!(equal * 100 >= got["o"].data.len() * 99, "only ties may round otherwise: {equal}");
}

#[test]
fn rounded_tiles_follow_the_kernel_forms_own_evaluator() {
    let kernel = chunked_kernel(Dtype::Bf16, 4);
    let problem = problem(&[11, 6]);
    let arrays = inputs(&problem, Dtype::Bf16);
    let options = Options { precision: Precision::F64, round_tiles: true };
    let got = jit(&kernel, options).expect("code").run(&problem, &arrays).expect("arrays fit");
    let want = eval(&kernel, &problem, &arrays, Rounding::Stored);
    assert_agree(&got, &want, 1e-12, "rounded tiles");
    let exact = definition(Order::Forward, &problem, &arrays);
    let error = relative_rms(&got["o"].data, &exact["o"].data);
    assert!((1e-3..4e-3).contains(&error), "rounded scores must show: {error:e}");
}

#[test]
fn rows_past_the_end_are_not_live() {
    let mut draft = Draft::new("counts", Schedule::FusedScan, 4);
    let out = draft.param("n", ParamKind::StateOut, Dtype::F32, [1, 1]);
    let ones = draft.shared(Dtype::F32, [8, 1], 1);
    let [here, sum] = [(); 2].map(|()| draft.shared(Dtype::F32, [1, 1], 1));
    draft.push(Phase::Setup, Stmt::Fill { dst: sum, value: 0.0 });
    // Two rows a token, of which those that exist count 1.
    let expr = Expr::Live { rows: 2, value: Box::new(Expr::Const(1.0)) };
    let (op, over) = (Reduction::Sum, Over::Rows);
    draft.push(Phase::Body, Stmt::Map { dst: blocks(ones, 2), body: body(expr, &[]) });
    draft.push(Phase::Body, Stmt::Reduce { op, dst: whole(here), src: whole(ones), over });
    let more = body(binary(Binary::Add, Expr::Arg(0), Expr::Arg(1)), &[sum, here]);
    draft.push(Phase::Body, Stmt::Map { dst: whole(sum), body: more });
    draft.store(Phase::Finish, out, sum);
    let code = jit(&draft.check(), Options::exact(Precision::F32)).expect("code");
    let problem = Problem::dense(&[], 1, 11, 1);
    assert_eq!(code.run(&problem, &Arrays::new()).expect("no inputs")["n"].data, [22.0]);
}

#[test]
fn roles_wait_for_each_other() {
    let mut draft = Draft::new("roles", Schedule::FusedScan, 1);
    let x = draft.param("x", ParamKind::TokenIn, Dtype::F32, [1, 1]);
    let y = draft.param("y", ParamKind::TokenOut, Dtype::F32, [1, 1]);
    let [given, doubled] = [(); 2].map(|()| draft.shared(Dtype::F32, [1, 1], 1));
    let kernel = draft.kernel();
    let barrier = |name: &str| Mbarrier { name: name.into(), count: 1, stages: 1 };
    kernel.mbarriers = vec![barrier("given"), barrier("doubled")];
    let role = |name: &str, body| Role { name: name.into(), body, ..kernel.roles[0].clone() };
    let twice = body(binary(Binary::Mul, Expr::Const(2.0), Expr::Arg(0)), &[given]);
    // The first role needs what the second makes of what the third loads.
    let wait = |m| Stmt::Sync(Sync::Wait(m));
    let arrive = |m| Stmt::Sync(Sync::Arrive(m));
    let store = Stmt::Store { param: y, src: doubled, col: 0 };
    let load = Stmt::Load { dst: given, param: x, ahead: 0, col: 0 };
    let loaded = Stmt::WaitLoads { pending: 0 };
    let all = || Stmt::Sync(Sync::Cta);
    let map = Stmt::Map { dst: whole(doubled), body: twice };
    kernel.roles = vec![
        role("store", vec![wait(1), store, all()]),
        role("double", vec![wait(0), map, arrive(1), all()]),
        role("load", vec![load, Stmt::Commit, loaded, arrive(0), all()]),
    ];
    let code = jit(&draft.check(), Options::exact(Precision::F32)).expect("code");
    let data = vec![1.0, 2.0, 3.0];
    let arrays = Arrays::from([("x".to_owned(), Array { shape: vec![3, 1, 1, 1], data })]);
    let got = code.run(&Problem::dense(&[], 1, 3, 1), &arrays).expect("arrays fit");
    assert_eq!(got["y"].data, [2.0, 4.0, 6.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let code = jit(&step_kernel(Dtype::F32, false), Options::exact(Precision::F32)).expect("code");
    let problem = problem(&[3]);
    let arrays = inputs(&problem, Dtype::F32);
    let refusal = |p: &Problem, a: &Arrays| code.run(p, a).expect_err("refused").code;
    let mut fewer = arrays.clone();
    fewer.remove("k");
    assert_eq!(refusal(&problem, &fewer), Code::MissingArray);
    fewer.insert("k".into(), Array::zeros(&[3, 4, 1, K]));
    assert_eq!(refusal(&problem, &fewer), Code::BadArray);
    let uneven = Problem { groups: 3, ..problem.clone() };
    assert_eq!(refusal(&uneven, &arrays), Code::BadBinding);
}
