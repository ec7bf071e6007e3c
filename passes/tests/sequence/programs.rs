//! Programs of the normal form in step form.

use crate::step_form::Step;
use crate::{mixed, readouts, tensors};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{NodeId, Op, Recurrence, Reduction};

/// `S' = D + outer(k, v); o = dot(q, S')`, with `D` made from the state.
fn additive(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// `S' = D + outer(k, beta * (v - dot(k, D))); o = dot(q, S')`.
fn delta(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [q, k, v] = [p.token("q", "K"), p.ranged("k", "K", [-0.5, 0.5]), p.token("v", "V")];
    let beta = p.ranged("beta", "", [0.0, 1.0]);
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let next = p.delta(d, [k, v, beta]);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

fn two_sided(p: &mut Step, s: NodeId) -> NodeId {
    let (g, w) = (p.gate("g", "K"), p.gate("w", "V"));
    let rows = p.decayed(g, s);
    p.decayed(w, rows)
}

fn gated(dims: &'static str) -> impl Fn(&mut Step, NodeId) -> NodeId {
    move |p, s| {
        let g = p.gate("g", dims);
        p.decayed(g, s)
    }
}

/// The state is read before the step, and the step's own write through a bonus factor.
fn read_before_with_bonus() -> Recurrence {
    let mut p = Step::new("read before with bonus");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let (g, u) = (p.gate("g", "K"), p.ranged_model("u", "K", [-1.0, 1.0]));
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let before = p.dot(q, s, "K");
    let bonus = p.mul(u, k);
    let weight = p.dot(q, bonus, "K");
    let own = p.mul(weight, v);
    let o = p.add(before, own);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A decayed state, a rank-one change of its transition, and a write.
fn diagonal_plus_low_rank() -> Recurrence {
    let mut p = Step::new("diagonal plus low rank");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let [a, b] = [p.ranged("a", "K", [-0.4, 0.4]), p.ranged("b", "K", [-0.4, 0.4])];
    let g = p.gate("g", "K");
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let seen = p.dot(b, s, "K");
    let change = p.outer(a, seen);
    let write = p.outer(k, v);
    let changed = p.add(d, change);
    let next = p.add(changed, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A plain state that is read along its values, with one decay.
fn read_along_values(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [k, v, r] = [p.token("k", "K"), p.token("v", "V"), p.token("r", "V")];
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(next, r, "V");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A plain state that is read along both sides before the step.
fn read_before(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [q, k] = [p.token("q", "K"), p.token("k", "K")];
    let [v, r] = [p.token("v", "V"), p.token("r", "V")];
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let along_keys = p.dot(q, s, "K");
    let along_values = p.dot(s, r, "V");
    p.update("S", next);
    p.output("along_keys", along_keys);
    p.output("along_values", along_values);
    p.finish()
}

/// The sum of all earlier tokens.
fn exclusive_sum() -> Recurrence {
    let mut p = Step::new("exclusive sum");
    let x = p.token("x", "K");
    let z = p.state("z", "K");
    let next = p.add(z, x);
    let o = p.mul(x, z);
    p.update("z", next);
    p.output("o", o);
    p.finish()
}

fn two_reflections() -> Recurrence {
    let mut p = Step::new("two reflections");
    let [q, v, u] = [p.token("q", "K"), p.token("v", "V"), p.token("u", "V")];
    let [k, b] = [p.ranged("k", "K", [-0.5, 0.5]), p.ranged("b", "K", [-0.5, 0.5])];
    let beta = [p.ranged("beta", "", [0.0, 1.0]), p.ranged("beta2", "", [0.0, 1.0])];
    let g = p.gate("g", "");
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let first = p.delta(d, [k, v, beta[0]]);
    let next = p.delta(first, [b, u, beta[1]]);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Decay and feedback on the value side: only the transposed state can be lifted.
fn feedback_along_values() -> Recurrence {
    let mut p = Step::new("feedback along values");
    let [q, k] = [p.token("q", "K"), p.token("k", "K")];
    let v = p.ranged("v", "V", [-0.5, 0.5]);
    let (g, beta) = (p.gate("g", "V"), p.ranged("beta", "", [0.0, 1.0]));
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let seen = p.dot(d, v, "V");
    let error = p.sub(k, seen);
    let value = p.mul(beta, error);
    let write = p.outer(value, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Reads between two statements, before the step, and along the values after it.
fn reads_everywhere() -> Recurrence {
    let mut p = Step::new("reads everywhere");
    let [q, v, u] = [p.token("q", "K"), p.token("v", "V"), p.token("u", "V")];
    let [k, b] = [p.ranged("k", "K", [-0.5, 0.5]), p.ranged("b", "K", [-0.5, 0.5])];
    let (g, beta) = (p.gate("g", "K"), p.ranged("beta", "", [0.0, 1.0]));
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let first = p.delta(d, [k, v, beta]);
    let write = p.outer(b, u);
    let next = p.add(first, write);
    let between = p.dot(q, first, "K");
    let before = p.dot(b, s, "K");
    let along_values = p.dot(next, u, "V");
    p.update("S", next);
    p.output("between", between);
    p.output("before", before);
    p.output("along_values", along_values);
    p.finish()
}

/// A normaliser with the same keys, feature maps that are not 0 at 0, a scaled output.
fn normalised() -> Recurrence {
    let mut p = Step::new("normalised");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let one = p.number(1.0);
    let map = |p: &mut Step, x: NodeId| {
        let x = p.unary(Unary::Elu, x);
        p.add(x, one)
    };
    let (q, k) = (map(&mut p, q), map(&mut p, k));
    let (s, z) = (p.state("S", "KV"), p.state("z", "K"));
    let write = p.outer(k, v);
    let next = p.add(s, write);
    let next_z = p.add(z, k);
    let above = p.dot(q, next, "K");
    let below = p.dot(q, next_z, "K");
    let epsilon = p.number(1e-6);
    let below = p.add(below, epsilon);
    let o = p.div(above, below);
    p.update("S", next);
    p.update("z", next_z);
    p.output("o", o);
    p.finish()
}

/// Two passes: scores from one state select what is read from the other.
fn two_passes() -> Recurrence {
    let mut p = Step::new("two passes");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let g = p.ranged("g", "M", [f64::NEG_INFINITY, 0.0]);
    let (keys, values) = (p.state("A", "KM"), p.state("B", "MV"));
    let decay = p.exp(g);
    let one = p.number(1.0);
    let write = p.sub(one, decay);
    let kept = p.mul(decay, keys);
    let added = p.outer(k, write);
    let next_keys = p.add(kept, added);
    let score = p.dot(q, next_keys, "K");
    let weight = p.unary(Unary::Sigmoid, score);
    let kept = p.mul(decay, values);
    let added = p.outer(write, v);
    let next_values = p.add(kept, added);
    let o = p.dot(weight, next_values, "M");
    p.update("A", next_keys);
    p.update("B", next_values);
    p.output("o", o);
    p.finish()
}

/// A softmax between the passes: reductions over features move with the blocks.
fn two_passes_with_softmax() -> Recurrence {
    let mut p = Step::new("two passes with softmax");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let f = p.ranged("f", "M", [0.0, 1.0]);
    let (keys, values) = (p.state("A", "KM"), p.state("B", "MV"));
    let one = p.number(1.0);
    let write = p.sub(one, f);
    let kept = p.mul(f, keys);
    let added = p.outer(k, write);
    let next_keys = p.add(kept, added);
    let score = p.dot(q, next_keys, "K");
    let largest = p.reduce(Reduction::Max, score, "M");
    let shifted = p.sub(score, largest);
    let raised = p.exp(shifted);
    let total = p.reduce(Reduction::Sum, raised, "M");
    let weight = p.div(raised, total);
    let kept = p.mul(f, values);
    let added = p.outer(write, v);
    let next_values = p.add(kept, added);
    let o = p.dot(weight, next_values, "M");
    p.update("A", next_keys);
    p.update("B", next_values);
    p.output("o", o);
    p.finish()
}

/// A step size that is no power: softplus, a per-model rate, a skip, inputs shared by groups.
fn selective() -> Recurrence {
    let mut p = Step::new("selective");
    let c = p.token("c", "K");
    p.by_group();
    let b = p.token("b", "K");
    p.by_group();
    let (x, raw) = (p.token("x", "V"), p.token("dt", ""));
    let (bias, log_rate) =
        (p.ranged_model("bias", "", [-1.0, 1.0]), p.ranged_model("log_rate", "", [-1.0, 1.0]));
    let skip = p.ranged_model("skip", "", [-1.0, 1.0]);
    let s = p.state("S", "KV");
    let biased = p.add(raw, bias);
    let dt = p.unary(Unary::Softplus, biased);
    let rate = p.exp(log_rate);
    let product = p.mul(dt, rate);
    let log = p.unary(Unary::Neg, product);
    let d = p.decayed(log, s);
    let input = p.mul(dt, x);
    let write = p.outer(b, input);
    let next = p.add(d, write);
    let read = p.dot(c, next, "K");
    let around = p.mul(skip, x);
    let o = p.add(read, around);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A vector state whose elements are the output: a decayed cumulative sum, read both ways.
fn vector_state(decayed: bool) -> Recurrence {
    let mut p = Step::new(if decayed { "decayed vector state" } else { "cumulative sum" });
    let [x, q] = [p.token("x", "K"), p.token("q", "K")];
    let z = p.state("z", "K");
    let kept = if decayed {
        let g = p.gate("g", "K");
        p.decayed(g, z)
    } else {
        z
    };
    let next = p.add(kept, x);
    let inner = p.dot(q, next, "K");
    let o = p.unary(Unary::Tanh, next);
    p.update("z", next);
    p.output("o", o);
    p.output("inner", inner);
    p.finish()
}

/// A constant decay, and a factor that is no exponential.
fn factors() -> Recurrence {
    let mut p = Step::new("factors");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let (f, x) = (p.ranged("f", "K", [0.0, 1.0]), p.token("x", ""));
    let gamma = p.ranged_model("gamma", "", [0.5, 1.0]);
    let s = p.state("S", "KV");
    let half = p.number(0.5);
    let soft = p.unary(Unary::Sigmoid, x);
    let scaled = p.mul(half, soft);
    let scaled = p.mul(scaled, gamma);
    let d = p.mul(scaled, s);
    let d = p.mul(f, d);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Keys and readers pass through a per-model matrix and several pointwise functions.
fn feature_map() -> Recurrence {
    let mut p = Step::new("feature map");
    let [x, y, v] = [p.token("x", "K"), p.token("y", "K"), p.token("v", "V")];
    let w = p.ranged_model("w", "MK", [-1.0, 1.0]);
    let g = p.gate("g", "");
    let s = p.state("S", "MV");
    let map = |p: &mut Step, x: NodeId| {
        let x = p.dot(w, x, "K");
        p.exp(x)
    };
    let (q, k) = (map(&mut p, x), map(&mut p, y));
    let d = p.decayed(g, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "M");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// The state keeps nothing: each step overwrites it.
fn overwritten() -> Recurrence {
    let mut p = Step::new("overwritten");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let s = p.state("S", "KV");
    let next = p.outer(k, v);
    let before = p.dot(q, s, "K");
    let after = p.dot(q, next, "K");
    let o = p.add(before, after);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A read of a sum of two states, of rank-one terms, and of scaled ones.
fn read_of_a_sum() -> Recurrence {
    let mut p = Step::new("read of a sum");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let [g, h] = [p.gate("g", ""), p.gate("h", "K")];
    let (a, b) = (p.state("A", "KV"), p.state("B", "KV"));
    let write = p.outer(k, v);
    let (slow, fast) = (p.decayed(g, a), p.decayed(h, b));
    let (next_a, next_b) = (p.add(slow, write), p.add(fast, write));
    let difference = p.sub(next_a, next_b);
    let scaled = p.mul(k, difference);
    let scaled = p.mul(scaled, v);
    let all = p.add(scaled, write);
    let o = p.dot(q, all, "K");
    let along_values = p.dot(all, v, "V");
    p.update("A", next_a);
    p.update("B", next_b);
    p.output("o", o);
    p.output("along_values", along_values);
    p.finish()
}

/// A state divided by a number, and reset where a flag says so.
fn divided_and_reset() -> Recurrence {
    let mut p = Step::new("divided and reset");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let flag = p.ranged("flag", "", [-1.0, 1.0]);
    let s = p.state("S", "KV");
    let [zero, one, two] = [0.0, 1.0, 2.0].map(|x| p.number(x));
    let starts = p.node(Op::Binary(Binary::Lt, flag, zero));
    let keep = p.node(Op::Select(starts, zero, one));
    let kept = p.mul(keep, s);
    let half = p.div(kept, two);
    let write = p.outer(k, v);
    let next = p.add(half, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Every program of the normal form that the tests run through.
/// A function of what is read is one of two values that a token writes.
fn written_through_a_function() -> Recurrence {
    let mut p = Step::new("written through a function");
    let (q, k, v, m) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"), p.token("m", "K"));
    let (g, b) = (p.gate("g", ""), p.token("b", ""));
    let (s, r) = (p.state("S", "KV"), p.state("R", "KV"));
    let d = p.decayed(g, s);
    let write = p.outer(k, v);
    let next_s = p.add(d, write);
    let read = p.dot(q, s, "K");
    let bent = p.unary(Unary::Sigmoid, read);
    let value = p.mul(b, bent);
    let (first, second) = (p.outer(m, value), p.outer(q, v));
    let both = p.add(first, second);
    let next_r = p.add(r, both);
    let o = p.dot(q, r, "K");
    p.update("S", next_s);
    p.update("R", next_r);
    p.output("o", o);
    p.finish()
}

pub(crate) fn all() -> Vec<Recurrence> {
    [vectors_and_states(), tensors::all(), readouts::all(), mixed::all()].concat()
}

fn vectors_and_states() -> Vec<Recurrence> {
    vec![
        additive("linear", |_, s| s),
        additive("scalar decay", gated("")),
        additive("key decay", gated("K")),
        additive("value decay", gated("V")),
        additive("two-sided decay", two_sided),
        read_before_with_bonus(),
        delta("delta", |_, s| s),
        delta("gated delta", gated("")),
        delta("vector-gated delta", gated("K")),
        diagonal_plus_low_rank(),
        two_reflections(),
        read_along_values("scalar decay read along values", gated("")),
        read_along_values("value decay read along values", gated("V")),
        read_before("scalar decay read before", gated("")),
        read_before("value decay read before", gated("V")),
        exclusive_sum(),
        feedback_along_values(),
        reads_everywhere(),
        normalised(),
        two_passes(),
        two_passes_with_softmax(),
        selective(),
        vector_state(false),
        vector_state(true),
        factors(),
        overwritten(),
        read_of_a_sum(),
        divided_and_reset(),
        feature_map(),
        written_through_a_function(),
    ]
}

/// The program of that name.
pub(crate) fn named(name: &str) -> Recurrence {
    all().into_iter().find(|r| r.name == name).expect("a program of this module")
}
