//! The elementwise scan against the definition: chunks, segments, lanes, rings, ragged lengths.

use crate::agreement::{arrays, assert_agree, build};
use crate::step_form::{Program, Step};
use sluice_ir::elements;
use sluice_ir::kernel::{self, Checked, Rounding, Stmt, Walk};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::problem::Problem;
use sluice_ir::step;
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::elements;
use sluice_passes::schedule::element_scan;

fn scanned(program: &Program) -> Checked {
    let target = Target::find("sm_90a").unwrap_or(&TARGETS[0]);
    let form = elements(&program.recurrence).expect("elements do not mix");
    element_scan(&form, &build(program, target)).expect("a chunk fits")
}

/// Sequences that end within a chunk, with one, and before their first token.
fn problem(program: &Program) -> Problem {
    let mut problem = Problem::dense(&[], 0, 0, 2);
    problem.extents = program.extents.clone();
    problem.groups = 1;
    problem.cu_seqlens = vec![0, 0, 1, 65, 65, 140];
    problem
}

pub(crate) fn assert_means(program: &Program, what: &str) -> Checked {
    let form = elements(&program.recurrence).expect("elements do not mix");
    let kernel = scanned(program);
    let problem = problem(program);
    for states in [false, true] {
        let arrays = arrays(program, &problem, states);
        let reference = step::eval(&program.recurrence, &problem, &arrays);
        let found = kernel::eval(&kernel, &problem, &arrays, Rounding::Exact);
        assert_agree(&found, &reference, &format!("{what}, states given: {states}"));
        let found = elements::eval(&form, &problem, &arrays, 7);
        assert_agree(&found, &reference, &format!("{what}, segments, states given: {states}"));
    }
    kernel
}

pub(crate) fn walks(kernel: &Checked) -> Vec<&Walk> {
    let body = kernel.roles[0].body.iter();
    let walks = body.filter_map(|s| if let Stmt::Walk(walk) = s { Some(walk) } else { None });
    walks.collect()
}

/// `h' = sigmoid(f) h + (1 - sigmoid(f)) x`, `y = sigmoid(r) h' + h`, with a reset where `f` is far below 0.
fn gated(width: usize) -> Program {
    let mut p = Step::over("program", "E");
    let (x, f, r) = (p.token("x", "E"), p.token("f", "E"), p.token("r", "E"));
    let h = p.state("h", "E");
    let gate = p.unary(Unary::Sigmoid, f);
    let one = p.number(1.0);
    let rest = p.sub(one, gate);
    let zero = p.number(0.0);
    let low = p.number(-0.9);
    let reset = p.binary(Binary::Lt, f, low);
    let gate = p.node(sluice_ir::step::Op::Select(reset, zero, gate));
    let (kept, new) = (p.mul(gate, h), p.mul(rest, x));
    let next = p.add(kept, new);
    let out = p.unary(Unary::Sigmoid, r);
    let out = p.mul(out, next);
    let out = p.add(out, h);
    p.update("h", next);
    p.output("y", out);
    p.sized(&[("E", width)])
}

#[test]
fn gates_of_vectors_are_scanned_in_segments() {
    for width in [3, 40, 100] {
        let kernel = assert_means(&gated(width), &format!("{width} columns"));
        let [walk] = walks(&kernel)[..] else { panic!("one group: {}", *kernel) };
        assert!(walk.segments.is_some_and(|s| s.count > 1), "{}", *kernel);
        assert_eq!(kernel.parts, width.div_ceil(64), "{}", *kernel);
    }
}

/// `h' = exp(-e^A) h + W u`, `y = h'^T C + d u`: every state sees every input, of which there are as many as
/// outputs.
fn projected(width: usize, ends: usize) -> Program {
    let mut p = Step::over("program", "EHG");
    let (u, a, d) = (p.token("u", "H"), p.model("a", "E"), p.model("d", "H"));
    let (w, c, h) = (p.model("w", "EH"), p.model("c", "EG"), p.state("h", "E"));
    let rate = p.exp(a);
    let exponent = p.unary(Unary::Neg, rate);
    let decay = p.exp(exponent);
    let (kept, write) = (p.mul(decay, h), p.dot(w, u, "H"));
    let next = p.add(kept, write);
    let read = p.dot(next, c, "E");
    let skip = p.mul(d, u);
    let skip = p.reshape(skip, "G");
    let y = p.add(read, skip);
    p.update("h", next);
    p.output("y", y);
    p.sized(&[("E", width), ("H", ends), ("G", ends)])
}

#[test]
fn values_under_other_names_stand_where_they_stood() {
    for (width, ends) in [(5, 3), (40, 33)] {
        assert_means(&projected(width, ends), &format!("{width} states, {ends} inputs"));
    }
}

/// `h' = exp(-softplus(d) exp(A)) h + b softplus(d) x`, `y = c h' + s x`, over both indices of the state.
fn selective(inner: usize, width: usize) -> Program {
    let mut p = Step::over("program", "NE");
    let (x, d, b, c) = (p.token("x", "E"), p.token("d", "E"), p.token("b", "N"), p.token("c", "N"));
    let (a, s, h) = (p.model("a", "NE"), p.model("s", "E"), p.state("h", "NE"));
    let d = p.unary(Unary::Softplus, d);
    let rate = p.exp(a);
    let rate = p.unary(Unary::Neg, rate);
    let exponent = p.mul(rate, d);
    let decay = p.exp(exponent);
    let kept = p.mul(decay, h);
    let dx = p.mul(d, x);
    let write = p.outer(b, dx);
    let next = p.add(kept, write);
    let read = p.dot(c, next, "N");
    let skip = p.mul(s, x);
    let y = p.add(read, skip);
    p.update("h", next);
    p.output("y", y);
    p.sized(&[("N", inner), ("E", width)])
}

#[test]
fn gates_of_matrices_are_walked_by_lanes() {
    for (inner, width) in [(16, 96), (3, 5), (5, 64)] {
        let kernel = assert_means(&selective(inner, width), &format!("{inner} by {width}"));
        let [walk] = walks(&kernel)[..] else { panic!("one group: {}", *kernel) };
        assert_eq!(walk.lanes, if inner == 16 { 4 } else { 1 }, "{}", *kernel);
        assert!(walk.results[0].sum, "{}", *kernel);
    }
}

/// A running maximum and a running log-sum-exp, and sums relative to the first of them.
#[test]
fn other_rings_and_what_reads_them() {
    let mut p = Step::over("program", "E");
    let (k, v, w) = (p.token("k", "E"), p.token("v", "E"), p.model("w", "E"));
    let top = p.state_from("top", "E", f64::NEG_INFINITY);
    let total = p.state_from("total", "E", f64::NEG_INFINITY);
    let (a, b) = (p.state("a", "E"), p.state("b", "E"));
    let faded = p.sub(top, w);
    let highest = p.binary(Binary::Max, faded, k);
    let all = p.binary(Binary::LogAddExp, total, k);
    let (past, now) = (p.sub(faded, highest), p.sub(k, highest));
    let (past, now) = (p.exp(past), p.exp(now));
    let (kept, new) = (p.mul(past, a), p.mul(now, v));
    let a = p.add(kept, new);
    let kept = p.mul(past, b);
    let b = p.add(kept, now);
    let mean = p.binary(Binary::Div, a, b);
    let out = p.add(mean, all);
    for (state, node) in [("top", highest), ("total", all), ("a", a), ("b", b)] {
        p.update(state, node);
    }
    p.output("o", out);
    let kernel = assert_means(&p.sized(&[("E", 40)]), "rings");
    let sizes: Vec<usize> = walks(&kernel).iter().map(|walk| walk.states.len()).collect();
    assert_eq!(sizes, [1, 1, 2], "{}", *kernel);
    assert!(walks(&kernel).iter().all(|walk| walk.segments.is_some()), "{}", *kernel);
}

/// Two states that turn into each other, scalars, a value that is no affine function of its state, and
/// sums before and after the states.
#[test]
fn mixed_scalar_and_free_states() {
    let mut p = Step::over("program", "EF");
    let (x, t, m) = (p.token("x", "E"), p.token("t", "E"), p.model("m", "EF"));
    let (re, im) = (p.state("re", "E"), p.state_from("im", "E", 1.0));
    let (count, soft) = (p.state("count", ""), p.state_from("soft", "E", 0.5));
    let (c, s) = (p.unary(Unary::Cos, t), p.unary(Unary::Sin, t));
    let (cr, si) = (p.mul(c, re), p.mul(s, im));
    let turned = p.sub(cr, si);
    let next_re = p.add(turned, x);
    let (sr, ci) = (p.mul(s, re), p.mul(c, im));
    let next_im = p.add(sr, ci);
    let size = p.dot(x, t, "E");
    let next_count = p.add(count, size);
    let sum = p.add(soft, x);
    let next_soft = p.unary(Unary::Tanh, sum);
    let all = p.add(next_re, next_soft);
    let y = p.dot(all, m, "E");
    let z = p.mul(next_im, next_count);
    let updates = [("re", next_re), ("im", next_im), ("count", next_count), ("soft", next_soft)];
    for (state, node) in updates {
        p.update(state, node);
    }
    p.output("y", y);
    p.output("z", z);
    let kernel = assert_means(&p.sized(&[("E", 24), ("F", 10)]), "mixed");
    assert_eq!(kernel.parts, 1, "{}", *kernel);
    let segments = walks(&kernel).into_iter().map(|walk| walk.segments.is_some());
    assert_eq!(segments.filter(|s| *s).count(), 2, "{}", *kernel);
}

#[test]
fn what_never_changes_is_computed_once_and_nothing_may_change() {
    for with_scan in [false, true] {
        let mut p = Step::over("program", "E");
        let (x, held) = (p.token("x", "E"), p.state_from("held", "E", 0.5));
        let scale = p.exp(held);
        let mut y = p.mul(scale, x);
        p.update("held", held);
        if with_scan {
            let sum = p.state("sum", "E");
            let next = p.add(sum, y);
            p.update("sum", next);
            y = p.mul(next, held);
        }
        p.output("y", y);
        p.output("held_too", held);
        p.output("scale", scale);
        let kernel = assert_means(&p.sized(&[("E", 100)]), &format!("held, scan: {with_scan}"));
        assert_eq!((walks(&kernel).len(), kernel.parts), (usize::from(with_scan), 2));
        let exponentials =
            |stmts: &[Stmt]| stmts.iter().filter(|s| kernel.stmt(s).contains("exp(held")).count();
        let role = &kernel.roles[0];
        assert_eq!((exponentials(&role.setup), exponentials(&role.body)), (1, 0), "{}", *kernel);
    }
}

#[test]
fn the_largest_of_what_a_scan_gives_are_counted() {
    for (width, count) in [(5, 2), (40, 1)] {
        let mut p = Step::over("program", "E");
        let (x, s) = (p.token("x", "E"), p.state("s", "E"));
        let half = p.number(0.5);
        let kept = p.mul(half, s);
        let sum = p.add(kept, x);
        let next = p.unary(Unary::Floor, sum);
        let chosen = p.top(next, "E", count);
        let total = p.state("total", "E");
        let more = p.add(total, chosen);
        p.update("s", next);
        p.update("total", more);
        p.output("chosen", chosen);
        p.output("total_too", more);
        assert_means(&p.sized(&[("E", width)]), &format!("{count} of {width}"));
    }
}

#[test]
fn states_that_mix_their_elements_are_refused() {
    let mut p = Step::over("program", "E");
    let (x, s) = (p.token("x", "E"), p.state("s", "E"));
    let total = p.dot(s, x, "E");
    let next = p.mul(total, x);
    p.update("s", next);
    let program = p.sized(&[("E", 4)]);
    let refusal = elements(&program.recurrence).expect_err("a sum over elements");
    assert!(refusal.message.contains("`s`"), "{}", refusal.message);
}

/// `S' = a S + x` with a scalar `a`, and the state before the step as output: as for states of segments.
#[test]
fn matrices_without_rows_and_columns_are_vectors() {
    let mut p = Step::over("program", "KV");
    let (x, a, s) = (p.token("x", "KV"), p.token("a", ""), p.state("S", "KV"));
    let decayed = p.mul(a, s);
    let next = p.add(decayed, x);
    p.update("S", next);
    p.output("before", s);
    let kernel = assert_means(&p.sized(&[("K", 30), ("V", 50)]), "elements of a matrix");
    assert_eq!(kernel.parts, 24, "{}", *kernel);
    let whole = kernel.params.iter().filter(|param| param.dims == [30, 50]);
    assert_eq!(whole.count(), 4, "{}", *kernel);
}
