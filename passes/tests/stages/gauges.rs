//! Decays that may be negative or complex: stages that take signs and rotations apart.

use crate::agreement::staged;
use crate::classes::summary;
use crate::step_form::Step;
use sluice_ir::pointwise::Unary;
use sluice_ir::problem::{Array, Problem};
use sluice_ir::staged::Runs;
use sluice_ir::step::{self, NodeId, Op, Recurrence, StateId};
use sluice_passes::stages;

/// `S' = f . S + outer(k, v)` with a factor in [-1, 1], read before and after the step, along both sides.
fn signed(dims: &str) -> Recurrence {
    let mut p = Step::new(&format!("signed_{dims}"));
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let (r, f) = (p.token("r", "V"), p.ranged("f", dims, [-1.0, 1.0]));
    let g = p.gate("g", "");
    let s = p.state("S", "KV");
    let decay = p.exp(g);
    let factor = p.mul(decay, f);
    let d = p.mul(factor, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let (before, after, across) = (p.dot(q, s, "K"), p.dot(q, next, "K"), p.dot(next, r, "V"));
    p.update("S", next);
    p.output("before", before);
    p.output("after", after);
    p.output("across", across);
    p.finish()
}

/// A delta rule on a state that is negated as well as scaled, and read at the end of the sequence.
fn signed_delta() -> Recurrence {
    let mut p = Step::new("signed_delta");
    let [q, k, v] = [p.token("q", "K"), p.ranged("k", "K", [-0.5, 0.5]), p.token("v", "V")];
    let (beta, f) = (p.ranged("beta", "", [0.0, 1.0]), p.ranged("f", "K", [-1.0, 1.0]));
    let s = p.state("S", "KV");
    let negated = p.unary(Unary::Neg, s);
    let d = p.mul(f, negated);
    let next = p.delta(d, [k, v, beta]);
    let last = p.node(Op::Final(StateId(0)));
    let (now, end) = (p.dot(q, next, "K"), p.dot(q, last, "K"));
    let o = p.add(now, end);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// `(a + ib) (x + iy)` for factors that are scalars or vectors and matrices.
fn complex_product(p: &mut Step, [a, b]: [NodeId; 2], [x, y]: [NodeId; 2]) -> [NodeId; 2] {
    let (ax, by, ay, bx) = (p.mul(a, x), p.mul(b, y), p.mul(a, y), p.mul(b, x));
    [p.sub(ax, by), p.add(ay, bx)]
}

/// A state turned and scaled, with complex keys and readers.
fn turned(dims: &str, decays: bool) -> Recurrence {
    let mut p = Step::new(&format!("turned_{dims}_{decays}"));
    let [q_re, q_im] = [p.token("q_re", "K"), p.token("q_im", "K")];
    let [k_re, k_im] = [p.token("k_re", "K"), p.token("k_im", "K")];
    let (v, theta) = (p.token("v", "V"), p.ranged("theta", dims, [-9.0, 9.0]));
    let [x, y] = [p.state("S_re", "KV"), p.state("S_im", "KV")];
    let (mut a, mut b) = (p.unary(Unary::Cos, theta), p.unary(Unary::Sin, theta));
    if decays {
        let g = p.gate("g", dims);
        let r = p.exp(g);
        (a, b) = (p.mul(r, a), p.mul(r, b));
    }
    let [d_re, d_im] = complex_product(&mut p, [a, b], [x, y]);
    let (w_re, w_im) = (p.outer(k_re, v), p.outer(k_im, v));
    let (next_re, next_im) = (p.add(d_re, w_re), p.add(d_im, w_im));
    let (re, im) = (p.dot(q_re, next_re, "K"), p.dot(q_im, next_im, "K"));
    let o = p.sub(re, im);
    let (re, im) = (p.dot(q_im, x, "K"), p.dot(q_re, y, "K"));
    let before = p.add(re, im);
    let across = p.dot(next_im, v, "V");
    p.update("S_re", next_re);
    p.update("S_im", next_im);
    p.output("o", o);
    p.output("before", before);
    p.output("across", across);
    p.finish()
}

/// Real keys and values, which are written to one part only.
fn turned_real() -> Recurrence {
    let mut p = Step::new("turned_real");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let (g, theta) = (p.gate("g", "K"), p.ranged("theta", "K", [-9.0, 9.0]));
    let [x, y] = [p.state("S_re", "KV"), p.state("S_im", "KV")];
    let (r, cos, sin) = (p.exp(g), p.unary(Unary::Cos, theta), p.unary(Unary::Sin, theta));
    let (a, b) = (p.mul(r, cos), p.mul(r, sin));
    let [d_re, d_im] = complex_product(&mut p, [a, b], [x, y]);
    let write = p.outer(k, v);
    let next_re = p.add(d_re, write);
    let o = p.dot(q, next_re, "K");
    p.update("S_re", next_re);
    p.update("S_im", d_im);
    p.output("o", o);
    p.finish()
}

/// Angles along the columns, real keys and values, and a read of the last state.
fn turned_columns() -> Recurrence {
    let mut p = Step::new("turned_columns");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let (theta, f) =
        (p.ranged_model("theta", "V", [-4.0, 4.0]), p.ranged_model("f", "", [0.0, 1.0]));
    let [x, y] = [p.state("S_re", "KV"), p.state("S_im", "KV")];
    let (a, b) = (p.unary(Unary::Cos, theta), p.unary(Unary::Sin, theta));
    let [d_re, d_im] = complex_product(&mut p, [a, b], [x, y]);
    let (d_re, d_im) = (p.mul(f, d_re), p.mul(f, d_im));
    let write = p.outer(k, v);
    let next_re = p.add(d_re, write);
    let last = p.node(Op::Final(StateId(1)));
    let (now, end) = (p.dot(q, next_re, "K"), p.dot(q, last, "K"));
    let o = p.add(now, end);
    p.update("S_re", next_re);
    p.update("S_im", d_im);
    p.output("o", o);
    p.finish()
}

pub(crate) fn all() -> Vec<Recurrence> {
    vec![
        signed(""),
        signed("K"),
        signed("V"),
        signed_delta(),
        turned("", true),
        turned("K", true),
        turned("K", false),
        turned_real(),
        turned_columns(),
    ]
}

/// Signs and turns run first, histories in chunks, and last values are put together at the end.
#[test]
fn what_is_left_of_a_gauged_state_is_a_history() {
    for recurrence in all() {
        let staged = staged(&recurrence);
        let found = summary(&staged);
        assert!(found[0].ends_with(": elementwise"), "{found:?}");
        let histories =
            if recurrence.states.len() == 1 { "S: chunks" } else { "S_re S_im: chunks" };
        assert_eq!(found[1], histories);
        let last = staged.stages.last().expect("there are stages");
        assert_eq!(last.runs, Runs::Once);
    }
}

/// One head, one sequence, sizes of 1.
fn long(tokens: usize) -> Problem {
    Problem::dense(&[("K", 1), ("V", 1), ("M", 1)], 1, tokens, 1)
}

#[test]
fn parity_stays_exact() {
    const TOKENS: usize = 100_000;
    let mut p = Step::new("parity");
    let (q, f) = (p.ranged_model("q", "K", [0.0, 1.0]), p.ranged("f", "", [-1.0, 1.0]));
    let s = p.state("S", "KV");
    let next = p.mul(f, s);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    let recurrence = p.finish();
    let problem = long(TOKENS);
    let staged = stages(&recurrence, &problem.extents).expect("the program has stages");
    assert_eq!(summary(&staged)[1], "S: chunks");
    let bit = |t: usize| (t * t / 7) % 2;
    let signs = (0..TOKENS).map(|t| if bit(t) == 1 { -1.0 } else { 1.0 }).collect();
    let one = Array { shape: vec![1, 1], data: vec![1.0] };
    let start = Array { shape: vec![1, 1, 1, 1], data: vec![1.0] };
    let f = Array { shape: vec![TOKENS, 1], data: signs };
    let arrays = [("q", one), ("S", start), ("f", f)].map(|(n, a)| (n.to_owned(), a)).into();
    let found = staged.eval(&problem, &arrays);
    let ones: usize = (0..TOKENS).map(bit).sum();
    assert_eq!(found["S"].data, [if ones % 2 == 1 { -1.0 } else { 1.0 }]);
    assert_eq!(found, step::eval(&recurrence, &problem, &arrays));
}

#[test]
fn counting_modulo_three_does_not_drift() {
    const TOKENS: usize = 100_000;
    let mut p = Step::new("modulo_three");
    let (q, theta) = (p.ranged_model("q", "K", [0.0, 1.0]), p.token("theta", ""));
    let [x, y] = [p.state("S_re", "KV"), p.state("S_im", "KV")];
    let (a, b) = (p.unary(Unary::Cos, theta), p.unary(Unary::Sin, theta));
    let [next_re, next_im] = complex_product(&mut p, [a, b], [x, y]);
    let o = p.dot(q, next_re, "K");
    p.update("S_re", next_re);
    p.update("S_im", next_im);
    p.output("o", o);
    let recurrence = p.finish();
    let problem = long(TOKENS);
    let staged = stages(&recurrence, &problem.extents).expect("the program has stages");
    let third = std::f64::consts::TAU / 3.0;
    let steps = |t: usize| (t * 5 / 3) % 3;
    let array = |shape: &[usize], data: Vec<f64>| Array { shape: shape.to_vec(), data };
    let angles = (0..TOKENS).map(|t| steps(t) as f64 * third).collect();
    let arrays = [
        ("q", array(&[1, 1], vec![1.0])),
        ("S_re", array(&[1, 1, 1, 1], vec![1.0])),
        ("theta", array(&[TOKENS, 1], angles)),
    ];
    let found = staged.eval(&problem, &arrays.map(|(n, a)| (n.to_owned(), a)).into());
    let mut count = 0;
    for (t, o) in found["o"].data.iter().enumerate() {
        count = (count + steps(t)) % 3;
        let expected = if count == 0 { 1.0 } else { -0.5 };
        assert!((o - expected).abs() < 1e-9, "token {t}: {o}, not {expected}");
    }
}
