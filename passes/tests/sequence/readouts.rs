//! Programs with the maps that surround a state in practice: norms of what is read, features that sum
//! over themselves, residual networks before the state.

use crate::step_form::Step;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{NodeId, Op, Recurrence, Reduction};

/// The sum of a dimension, which stays where it was by broadcasting.
fn sum(p: &mut Step, x: NodeId, dim: &str) -> NodeId {
    p.reduce(Reduction::Sum, x, dim)
}

/// `x / sqrt(sum x^2 / 8 + 1)` over a dimension.
fn scaled_to_norm(p: &mut Step, x: NodeId, dim: &str) -> NodeId {
    let square = p.mul(x, x);
    let total = sum(p, square, dim);
    let [eighth, one] = [0.125, 1.0].map(|c| p.number(c));
    let mean = p.mul(total, eighth);
    let above = p.add(mean, one);
    let factor = p.unary(Unary::Rsqrt, above);
    p.mul(x, factor)
}

/// `e^(x - max x) / sum e^(x - max x)` over a dimension.
fn softmax(p: &mut Step, x: NodeId, dim: &str) -> NodeId {
    let largest = p.reduce(Reduction::Max, x, dim);
    let shifted = p.sub(x, largest);
    let raised = p.exp(shifted);
    let total = sum(p, raised, dim);
    p.div(raised, total)
}

/// What is read is centred and scaled to its norm, so that every column meets all others.
fn normed_read() -> Recurrence {
    let mut p = Step::new("normed read");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let g = p.gate("g", "");
    let (weight, gate) = (p.ranged_model("weight", "V", [-1.0, 1.0]), p.token("z", "V"));
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let read = p.dot(q, next, "K");
    let total = sum(&mut p, read, "V");
    let eighth = p.number(0.125);
    let mean = p.mul(total, eighth);
    let centred = p.sub(read, mean);
    let normed = scaled_to_norm(&mut p, centred, "V");
    let weighted = p.mul(normed, weight);
    let gated = p.unary(Unary::Silu, gate);
    let o = p.mul(weighted, gated);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Keys are scaled to their norm and readers are distributions; a normaliser keeps away from 0.
fn features_of_sums() -> Recurrence {
    let mut p = Step::new("features of sums");
    let [x, y, v] = [p.token("x", "K"), p.token("y", "K"), p.token("v", "V")];
    let g = p.gate("g", "K");
    let q = softmax(&mut p, x, "K");
    let k = scaled_to_norm(&mut p, y, "K");
    let (s, z) = (p.state("S", "KV"), p.state("z", "K"));
    let (kept, kept_z) = (p.decayed(g, s), p.decayed(g, z));
    let write = p.outer(k, v);
    let (next, next_z) = (p.add(kept, write), p.add(kept_z, k));
    let above = p.dot(q, next, "K");
    let below = p.dot(q, next_z, "K");
    let size = p.unary(Unary::Abs, below);
    let one = p.number(1.0);
    let bounded = p.node(Op::Binary(Binary::Max, size, one));
    let o = p.div(above, bounded);
    p.update("S", next);
    p.update("z", next_z);
    p.output("o", o);
    p.finish()
}

/// Readers and keys pass through a residual network whose matrices belong to the model.
fn residual_features() -> Recurrence {
    let mut p = Step::new("residual features");
    let [x, y, v] = [p.token("x", "K"), p.token("y", "K"), p.token("v", "V")];
    let [down, up] =
        [("down", "KM"), ("up", "MK")].map(|(name, dims)| p.ranged_model(name, dims, [-1.0, 1.0]));
    let s = p.state("S", "KV");
    let map = |p: &mut Step, x: NodeId| {
        let inner = p.dot(x, down, "K");
        let inner = p.unary(Unary::Relu, inner);
        let around = p.dot(inner, up, "M");
        let both = p.add(x, around);
        p.unary(Unary::Elu, both)
    };
    let (q, k) = (map(&mut p, x), map(&mut p, y));
    let write = p.outer(k, v);
    let next = p.add(s, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// States whose values and decays are read from another state, which no output reads.
fn fed_by_a_state() -> Recurrence {
    let mut p = Step::new("fed by a state");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let g = p.gate("g", "");
    let [first, fed, gated] = ["A", "B", "C"].map(|name| p.state(name, "KV"));
    let kept = p.decayed(g, first);
    let added = p.outer(k, v);
    let next = p.add(kept, added);
    let value = p.dot(q, next, "K");
    let write = p.outer(k, value);
    let next_fed = p.add(fed, write);
    let score = p.reduce(Reduction::Sum, value, "V");
    let factor = p.unary(Unary::Sigmoid, score);
    let kept = p.mul(factor, gated);
    let next_gated = p.add(kept, added);
    let o = p.mul(q, k);
    p.update("A", next);
    p.update("B", next_fed);
    p.update("C", next_gated);
    p.output("o", o);
    p.finish()
}

/// All programs of this kind.
pub(crate) fn all() -> Vec<Recurrence> {
    vec![normed_read(), features_of_sums(), residual_features(), fed_by_a_state()]
}
