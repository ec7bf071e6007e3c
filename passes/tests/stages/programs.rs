//! Programs of several stages and of every class.

use crate::step_form::Step;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{DimId, Init, NodeId, Op, Order, Recurrence, Reduction, StateId, check};

const K: DimId = DimId(0);
const M: DimId = DimId(2);

fn max(p: &mut Step, a: NodeId, b: NodeId) -> NodeId {
    p.node(Op::Binary(Binary::Max, a, b))
}

fn finished(p: Step, change: impl Fn(&mut Recurrence)) -> Recurrence {
    let mut recurrence = p.finish();
    change(&mut recurrence);
    check(&recurrence).expect("the program is legal");
    recurrence
}

/// `D + outer(k, v)` and its read with `q`.
fn additive(p: &mut Step, d: NodeId, [q, k, v]: [NodeId; 3]) -> (NodeId, NodeId) {
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "K");
    (next, o)
}

fn qkv(p: &mut Step) -> [NodeId; 3] {
    [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")]
}

/// A history and its normaliser.
pub(crate) fn normalised() -> Recurrence {
    let mut p = Step::new("normalised");
    let [q, v] = [p.ranged("q", "K", [0.1, 1.0]), p.token("v", "V")];
    let (k, g) = (p.ranged("k", "K", [0.1, 1.0]), p.gate("g", ""));
    let (s, z) = (p.state("S", "KV"), p.state("z", "K"));
    let (d, e) = (p.decayed(g, s), p.decayed(g, z));
    let (next, o) = additive(&mut p, d, [q, k, v]);
    let sum = p.add(e, k);
    let total = p.dot(q, sum, "K");
    let o = p.div(o, total);
    p.update("S", next);
    p.update("z", sum);
    p.output("o", o);
    p.finish()
}

/// A decay for every element.
pub(crate) fn elementwise() -> Recurrence {
    let mut p = Step::new("elementwise");
    let (a, dt, x) = (
        p.ranged_model("A", "KV", [-1.0, 0.0]),
        p.ranged("dt", "V", [0.0, 1.0]),
        p.token("x", "V"),
    );
    let (b, c) = (p.token("b", "K"), p.token("c", "K"));
    let s = p.state("S", "KV");
    let log = p.mul(dt, a);
    let d = p.decayed(log, s);
    let (next, o) = {
        let value = p.mul(dt, x);
        additive(&mut p, d, [c, b, value])
    };
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Gates stabilised by a running maximum before a history and its normaliser.
pub(crate) fn stabilised() -> Recurrence {
    let mut p = Step::new("stabilised");
    let [q, k, v] = qkv(&mut p);
    let (f, i) = (p.gate("f", ""), p.token("i", ""));
    let (m, s, z) = (p.state("m", ""), p.state("S", "KV"), p.state("z", "K"));
    let kept = p.add(f, m);
    let m_next = max(&mut p, kept, i);
    let (log_f, log_i) = (p.sub(kept, m_next), p.sub(i, m_next));
    let weight = p.exp(log_i);
    let k = p.mul(weight, k);
    let (d, e) = (p.decayed(log_f, s), p.decayed(log_f, z));
    let (next, o) = additive(&mut p, d, [q, k, v]);
    let sum = p.add(e, k);
    let total = p.dot(q, sum, "K");
    let (total, minus) = (p.unary(Unary::Abs, total), p.unary(Unary::Neg, m_next));
    let floor = p.exp(minus);
    let total = max(&mut p, total, floor);
    let o = p.div(o, total);
    p.update("m", m_next);
    p.update("S", next);
    p.update("z", sum);
    p.output("o", o);
    p.finish()
}

/// A decay that is the change of a running log-sum-exp.
pub(crate) fn running_softmax() -> Recurrence {
    let mut p = Step::new("running_softmax");
    let [q, k, v] = qkv(&mut p);
    let (c, s) = (p.state("c", "K"), p.state("S", "KV"));
    let next_c = p.node(Op::Binary(Binary::LogAddExp, c, k));
    let (gate, log_key) = (p.sub(c, next_c), p.sub(k, next_c));
    let key = p.exp(log_key);
    let d = p.decayed(gate, s);
    let (next, o) = additive(&mut p, d, [q, key, v]);
    p.update("c", next_c);
    p.update("S", next);
    p.output("o", o);
    finished(p, |r| r.states[0].init = Init::Value(f64::NEG_INFINITY))
}

/// Two histories with a softmax of what the first gives between them.
pub(crate) fn two_passes() -> Recurrence {
    let mut p = Step::new("two_passes");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let g = p.gate("g", "M");
    let (a, b) = (p.state("A", "KM"), p.state("B", "MV"));
    let factor = p.exp(g);
    let one = p.number(1.0);
    let slot = p.sub(one, factor);
    let (kept_a, kept_b) = (p.mul(factor, a), p.mul(factor, b));
    let (write_a, write_b) = (p.outer(k, slot), p.outer(slot, v));
    let (next_a, next_b) = (p.add(kept_a, write_a), p.add(kept_b, write_b));
    let logits = p.dot(q, next_a, "K");
    let weights = softmax(&mut p, logits, "M");
    let o = p.dot(weights, next_b, "M");
    p.update("A", next_a);
    p.update("B", next_b);
    p.output("o", o);
    p.finish()
}

fn softmax(p: &mut Step, x: NodeId, dim: &str) -> NodeId {
    let largest = p.reduce(Reduction::Max, x, dim);
    let shifted = p.sub(x, largest);
    let weights = p.exp(shifted);
    let total = p.reduce(Reduction::Sum, weights, dim);
    p.div(weights, total)
}

/// A history forwards and one backwards; `own` says how often the token itself counts.
pub(crate) fn two_directions(own: usize) -> Recurrence {
    let mut p = Step::new(&format!("two_directions_{own}"));
    let [q, k, v] = qkv(&mut p);
    let (g, h) = (p.gate("g", "K"), p.gate("h", ""));
    let (s, r) = (p.state("S", "KV"), p.state("R", "KV"));
    let (d, e) = (p.decayed(g, s), p.decayed(h, r));
    let (next_s, after) = additive(&mut p, d, [q, k, v]);
    let (next_r, ahead) = additive(&mut p, e, [q, k, v]);
    let (before, behind) = (p.dot(q, s, "K"), p.dot(q, r, "K"));
    let o = match own {
        0 => p.add(before, behind),
        1 => p.add(after, behind),
        _ => p.add(after, ahead),
    };
    p.update("S", next_s);
    p.update("R", next_r);
    p.output("o", o);
    finished(p, |r| r.states[1].order = Order::Reverse)
}

/// Histories over a grid by rows and by columns, both ways.
pub(crate) fn grid() -> Recurrence {
    let mut p = Step::new("grid");
    let [q, k, v] = qkv(&mut p);
    let g = p.gate("g", "");
    let mut sum = v;
    for name in ["A", "B", "C", "D"] {
        let s = p.state(name, "KV");
        let d = p.decayed(g, s);
        let (next, o) = additive(&mut p, d, [q, k, v]);
        p.update(name, next);
        sum = p.add(sum, o);
    }
    p.output("o", sum);
    finished(p, |r| {
        let orders = [Order::Forward, Order::Reverse, Order::Columns(M), Order::ReverseColumns(M)];
        r.states.iter_mut().zip(orders).for_each(|(state, order)| state.order = order);
    })
}

/// All tokens read the sum over all tokens.
pub(crate) fn order_free() -> Recurrence {
    let mut p = Step::new("order_free");
    let [q, k, v] = qkv(&mut p);
    let s = p.state("S", "KV");
    let write = p.outer(k, v);
    let next = p.add(s, write);
    let last = p.node(Op::Final(StateId(0)));
    let o = p.dot(q, last, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Keys weighted by how they agree with the mean query of the whole sequence.
pub(crate) fn two_levels() -> Recurrence {
    let mut p = Step::new("two_levels");
    let [q, k, v] = qkv(&mut p);
    let (n, a, t) = (p.state("n", ""), p.state("a", "K"), p.state("t", ""));
    let s = p.state("S", "KV");
    let one = p.number(1.0);
    let (next_n, next_a) = (p.add(n, one), p.add(a, q));
    let (count, all) = (p.node(Op::Final(StateId(0))), p.node(Op::Final(StateId(1))));
    let mean = p.div(all, count);
    let logit = p.dot(mean, k, "K");
    let weight = p.exp(logit);
    let next_t = p.add(t, weight);
    let key = p.mul(weight, k);
    let write = p.outer(key, v);
    let next = p.add(s, write);
    let (total, sum) = (p.node(Op::Final(StateId(2))), p.node(Op::Final(StateId(3))));
    let seen = p.dot(q, sum, "K");
    let o = p.div(seen, total);
    for (name, node) in [("n", next_n), ("a", next_a), ("t", next_t), ("S", next)] {
        p.update(name, node);
    }
    p.output("o", o);
    p.finish()
}

/// The last keys weighted, into a history, beside a softmax over the window.
pub(crate) fn windows() -> Recurrence {
    let mut p = Step::new("windows");
    let [q, k, v] = qkv(&mut p);
    let w = p.ranged_model("w", "MK", [-1.0, 1.0]);
    let (keys, values, s) = (p.state("keys", "MK"), p.state("values", "MV"), p.state("S", "KV"));
    let next_keys = p.node(Op::Push(keys, k));
    let next_values = p.node(Op::Push(values, v));
    let weighted = p.mul(w, next_keys);
    let mixed = p.reduce(Reduction::Sum, weighted, "M");
    let g = p.gate("g", "K");
    let d = p.decayed(g, s);
    let (next, far) = additive(&mut p, d, [q, mixed, v]);
    let logits = p.dot(q, next_keys, "K");
    let weights = softmax(&mut p, logits, "M");
    let near = p.dot(weights, next_values, "M");
    let o = p.add(far, near);
    for (name, node) in [("keys", next_keys), ("values", next_values), ("S", next)] {
        p.update(name, node);
    }
    p.output("o", o);
    p.finish()
}

/// A few memories of which every token writes the best, read by weight.
pub(crate) fn routed() -> Recurrence {
    let mut p = Step::new("routed");
    let [q, k, v] = qkv(&mut p);
    let (logits, g) = (p.token("logits", "M"), p.ranged("g", "", [-1.0, 0.0]));
    let s = p.state("S", "MKV");
    let weights = softmax(&mut p, logits, "M");
    let chosen = p.node(Op::TopK(logits, M, 2));
    let weights = p.mul(weights, chosen);
    let masked = p.mul(chosen, g);
    let decay = p.exp(masked);
    let d = p.mul(decay, s);
    let write = p.outer(k, v);
    let write = p.outer(chosen, write);
    let next = p.add(d, write);
    let seen = p.dot(q, next, "K");
    let o = p.dot(weights, seen, "M");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A dense transition for every token.
pub(crate) fn dense() -> Recurrence {
    let mut p = Step::new("dense");
    let (a, b, c) = (p.ranged_model("A", "KM", [-0.5, 0.5]), p.token("b", "M"), p.token("c", "K"));
    let (h, u) = (p.state("h", "K"), p.ranged_model("U", "KM", [-0.5, 0.5]));
    let inner = p.dot(h, a, "K");
    let inner = p.add(inner, b);
    let next = p.dot(u, inner, "M");
    let o = p.dot(c, next, "K");
    p.update("h", next);
    p.output("o", o);
    p.finish()
}

/// A momentum that becomes part of a state, with feedback.
pub(crate) fn momentum() -> Recurrence {
    let mut p = Step::new("momentum");
    let [q, k, v] = [p.token("q", "K"), p.ranged("k", "K", [-0.5, 0.5]), p.token("v", "V")];
    let (a, b) = (p.ranged("a", "", [0.0, 1.0]), p.ranged("b", "", [0.0, 1.0]));
    let (s, m) = (p.state("S", "KV"), p.state("P", "KV"));
    let seen = p.dot(k, s, "K");
    let error = p.sub(v, seen);
    let write = p.outer(k, error);
    let kept = p.mul(b, m);
    let next_m = p.add(kept, write);
    let kept = p.mul(a, s);
    let next = p.add(kept, next_m);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.update("P", next_m);
    p.output("o", o);
    p.finish()
}

/// A vector state that goes through a function at every step, with the word for it.
pub(crate) fn bent() -> Recurrence {
    let mut p = Step::new("bent");
    let (x, c) = (p.token("x", "K"), p.token("c", "K"));
    let h = p.state("h", "K");
    let sum = p.add(h, x);
    let next = p.unary(Unary::Tanh, sum);
    let o = p.dot(c, next, "K");
    p.update("h", next);
    p.output("o", o);
    finished(p, |r| r.sequential = true)
}

/// Only pointwise work.
pub(crate) fn pointwise() -> Recurrence {
    let mut p = Step::new("pointwise");
    let (x, y) = (p.token("x", "K"), p.token("y", "K"));
    let sum = p.dot(x, y, "K");
    let o = p.mul(sum, x);
    p.output("o", o);
    p.finish()
}

/// A history whose read goes through what chunks cannot do.
pub(crate) fn sparse_read() -> Recurrence {
    let mut p = Step::new("sparse_read");
    let [q, k, v] = qkv(&mut p);
    let mask = p.node(Op::TopK(q, K, 3));
    let q = p.mul(mask, q);
    let s = p.state("S", "KV");
    let (next, read) = additive(&mut p, s, [q, k, v]);
    let best = p.node(Op::TopK(read, DimId(1), 2));
    let o = p.mul(best, read);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A state read by what a later state gives, although that state needs it at every token.
pub(crate) fn read_by_a_later_one() -> Recurrence {
    let mut p = Step::new("read_by_a_later_one");
    let [q, k, v] = qkv(&mut p);
    let (a, b) = (p.state("A", "KV"), p.state("B", "KV"));
    let (next_a, seen) = additive(&mut p, a, [q, k, v]);
    let (next_b, again) = additive(&mut p, b, [q, k, seen]);
    let o = p.dot(next_a, again, "V");
    p.update("A", next_a);
    p.update("B", next_b);
    p.output("o", o);
    p.finish()
}

/// Two states that are added before they are read.
pub(crate) fn sum_of_states() -> Recurrence {
    let mut p = Step::new("sum_of_states");
    let [q, k, v] = qkv(&mut p);
    let (g, h) = (p.gate("g", "K"), p.gate("h", "V"));
    let (a, b) = (p.state("A", "KV"), p.state("B", "KV"));
    let (d, e) = (p.decayed(g, a), p.decayed(h, b));
    let (next_a, _) = additive(&mut p, d, [q, k, v]);
    let (next_b, _) = additive(&mut p, e, [k, q, v]);
    let sum = p.add(next_a, next_b);
    let o = p.dot(q, sum, "K");
    p.update("A", next_a);
    p.update("B", next_b);
    p.output("o", o);
    p.finish()
}

/// A mean over the tokens so far, in every token.
pub(crate) fn running_mean() -> Recurrence {
    let mut p = Step::new("running_mean");
    let [q, k, v] = qkv(&mut p);
    let (n, s) = (p.state("n", ""), p.state("S", "KV"));
    let one = p.number(1.0);
    let count = p.add(n, one);
    let (next, seen) = additive(&mut p, s, [q, k, v]);
    let o = p.div(seen, count);
    p.update("n", count);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// The best path through a few hidden states.
pub(crate) fn viterbi() -> Recurrence {
    let mut p = Step::new("viterbi");
    let (x, w) = (p.token("x", "K"), p.token("w", "MK"));
    let a = p.state("a", "M");
    let moves = p.add(w, a);
    let best = p.reduce(Reduction::Max, moves, "M");
    let scored = p.add(best, x);
    // From K to M states again.
    let again = p.token("u", "KM");
    let moves = p.add(again, scored);
    let next = p.reduce(Reduction::Max, moves, "K");
    let o = p.reduce(Reduction::Max, next, "M");
    p.update("a", next);
    p.output("o", o);
    p.finish()
}

/// All paths through a few hidden states.
pub(crate) fn forward_sums() -> Recurrence {
    let mut p = Step::new("forward_sums");
    let (w, a) = (p.token("w", "KM"), p.state("a", "M"));
    let u = p.token("u", "KM");
    let moves = p.add(w, a);
    let all = log_sum_exp(&mut p, moves, "M");
    // What was found for K is spread over M by ones.
    let one = p.number(1.0);
    let spread = p.mul(one, all);
    let moves = p.add(u, spread);
    let next = log_sum_exp(&mut p, moves, "K");
    p.update("a", next);
    p.output("o", next);
    p.finish()
}

fn log_sum_exp(p: &mut Step, x: NodeId, dim: &str) -> NodeId {
    let largest = p.reduce(Reduction::Max, x, dim);
    let shifted = p.sub(x, largest);
    let weights = p.exp(shifted);
    let total = p.reduce(Reduction::Sum, weights, dim);
    let rest = p.unary(Unary::Log, total);
    p.add(largest, rest)
}

/// Two vectors that take up each other.
pub(crate) fn coupled_vectors() -> Recurrence {
    let mut p = Step::new("coupled_vectors");
    let (c, u) = (p.ranged("c", "K", [-0.5, 0.5]), p.token("u", "K"));
    let (x, y) = (p.state("x", "K"), p.state("y", "K"));
    let (cx, cy) = (p.mul(c, x), p.mul(c, y));
    let (next_x, next_y) = (p.add(cy, u), p.sub(u, cx));
    p.update("x", next_x);
    p.update("y", next_y);
    p.output("o", next_x);
    p.finish()
}

pub(crate) fn all() -> Vec<Recurrence> {
    vec![
        normalised(),
        elementwise(),
        stabilised(),
        running_softmax(),
        two_passes(),
        two_directions(0),
        two_directions(1),
        two_directions(2),
        grid(),
        order_free(),
        two_levels(),
        windows(),
        routed(),
        dense(),
        momentum(),
        bent(),
        pointwise(),
        sparse_read(),
        read_by_a_later_one(),
        sum_of_states(),
        running_mean(),
        viterbi(),
        forward_sums(),
        coupled_vectors(),
    ]
}
