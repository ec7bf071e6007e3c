//! Programs with constants, computed features, several rows a token and learned initial states.

use crate::step_form::Step;
use sluice_ir::pointwise::Unary;
use sluice_ir::step::{DimId, Formula, NodeId, Op, Recurrence, Reduction};

fn size_of(place: usize) -> Box<Formula> {
    Box::new(Formula::Dim(DimId(place)))
}

/// Keys and readers are a vector and all products of its elements.
fn quadratic_features() -> Recurrence {
    let mut p = Step::new("quadratic features");
    p.computed_dim("J", *size_of(0));
    p.computed_dim("Q", Formula::Mul(size_of(0), size_of(0)));
    p.computed_dim("L", Formula::Add(size_of(0), size_of(4)));
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let g = p.gate("g", "");
    let s = p.state("S", "LV");
    let map = |p: &mut Step, x: NodeId| {
        let other = p.reshape(x, "J");
        let products = p.outer(x, other);
        let products = p.reshape(products, "Q");
        let scale = p.number(0.7);
        let products = p.mul(products, scale);
        p.concat(x, products, "KQL")
    };
    let (q, k) = (map(&mut p, q), map(&mut p, k));
    let d = p.decayed(g, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "L");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A constant, shifted keys and all products of theirs, without decay; the constant and the shift are not
/// 0 where there is no token.
fn polynomial_features() -> Recurrence {
    let mut p = Step::new("polynomial features");
    p.computed_dim("J", *size_of(0));
    p.computed_dim("Q", Formula::Mul(size_of(0), size_of(0)));
    p.computed_dim("O", Formula::Number(1));
    p.computed_dim("N", Formula::Add(size_of(5), size_of(0)));
    p.computed_dim("L", Formula::Add(size_of(6), size_of(4)));
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let shift = p.model("shift", "K");
    let (s, z) = (p.state("S", "LV"), p.state("z", "L"));
    let map = |p: &mut Step, x: NodeId| {
        let x = p.add(x, shift);
        let (one, half) = (p.number(1.0), p.number(0.5));
        let (one, first) = (p.reshape(one, "O"), p.mul(half, x));
        let first = p.concat(one, first, "OKN");
        let other = p.reshape(x, "J");
        let products = p.outer(other, x);
        let products = p.reshape(products, "Q");
        let second = p.mul(products, half);
        p.concat(first, second, "NQL")
    };
    let (q, k) = (map(&mut p, q), map(&mut p, k));
    let write = p.outer(k, v);
    let (next, next_z) = (p.add(s, write), p.add(z, k));
    let (above, below) = (p.dot(q, next, "L"), p.dot(q, next_z, "L"));
    p.update("S", next);
    p.update("z", next_z);
    p.output("above", above);
    p.output("below", below);
    p.finish()
}

/// A running mean: the number of tokens so far is a state without dimensions.
fn running_mean() -> Recurrence {
    let mut p = Step::new("running mean");
    let x = p.token("x", "K");
    let (s, n) = (p.state("S", "K"), p.state("n", ""));
    let one = p.number(1.0);
    let count = p.add(n, one);
    let next = p.add(s, x);
    let o = p.div(next, count);
    p.update("S", next);
    p.update("n", count);
    p.output("o", o);
    p.finish()
}

/// Initial states that are per-model inputs, one of them read along its other side.
fn learned_start() -> Recurrence {
    let mut p = Step::new("learned start");
    let [q, k] = [p.token("q", "K"), p.token("k", "K")];
    let v = p.ranged("v", "V", [-0.5, 0.5]);
    let (g, beta) = (p.gate("g", "V"), p.ranged("beta", "", [0.0, 1.0]));
    let [first, first_z] =
        [("S0", "KV"), ("z0", "K")].map(|(n, d)| p.ranged_model(n, d, [-1.0, 1.0]));
    let (s, z) = (p.state("S", "KV"), p.state("z", "K"));
    p.learned("S", first);
    p.learned("z", first_z);
    let d = p.decayed(g, s);
    let seen = p.dot(d, v, "V");
    let error = p.sub(k, seen);
    let key = p.mul(beta, error);
    let write = p.outer(key, v);
    let next = p.add(d, write);
    let next_z = p.add(z, k);
    let reader = p.mul(q, next_z);
    let o = p.dot(reader, next, "K");
    p.update("S", next);
    p.update("z", next_z);
    p.output("o", o);
    p.finish()
}

/// A decay that differs by key and never changes, and features from a constant matrix.
fn constant_tables() -> Recurrence {
    let mut p = Step::new("constant tables");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let s = p.state("S", "MV");
    let [m, i] = [p.index("M"), p.index("K")];
    let angles = p.outer(m, i);
    let waves = p.unary(Unary::Cos, angles);
    let (q, k) = (p.dot(waves, q, "K"), p.dot(k, waves, "K"));
    let quarter = p.number(-0.25);
    let log = p.mul(quarter, m);
    let d = p.decayed(log, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "M");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Several writes of one token from a matrix of keys and one of values, read by each key.
fn matrices_of_a_token() -> Recurrence {
    let mut p = Step::new("matrices of a token");
    let [q, keys, values] = [p.token("q", "K"), p.token("keys", "MK"), p.token("values", "MV")];
    let g = p.gate("g", "K");
    let weights = p.ranged_model("weights", "MK", [-1.0, 1.0]);
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let write = p.dot(keys, values, "M");
    let next = p.add(d, write);
    let scores = p.dot(keys, q, "K");
    let largest = p.reduce(Reduction::Max, keys, "K");
    let weighted = p.mul(weights, keys);
    let mixed = p.reduce(Reduction::Sum, weighted, "M");
    let o = p.dot(mixed, next, "K");
    let scaled = p.mul(scores, largest);
    let own = p.dot(scaled, values, "M");
    let o = p.add(o, own);
    p.update("S", next);
    p.output("o", o);
    p.output("scaled", weighted);
    p.finish()
}

/// Readers and keys are turned by halves; values of three dimensions are summed over the middle one.
fn rearranged_vectors() -> Recurrence {
    let mut p = Step::new("rearranged vectors");
    p.computed_dim("H", Formula::Div(size_of(0), Box::new(Formula::Number(2))));
    p.computed_dim("N", Formula::Add(size_of(2), size_of(2)));
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let m = p.token("m", "M");
    let s = p.state("S", "KV");
    let map = |p: &mut Step, x: NodeId| {
        let (first, second) = (p.slice(x, "KH", 0), p.slice(x, "KH", 1));
        let second = p.unary(Unary::Neg, second);
        p.concat(second, first, "HHK")
    };
    let (q, k) = (map(&mut p, q), map(&mut p, k));
    let write = p.outer(k, v);
    let next = p.add(s, write);
    let o = p.dot(q, next, "K");
    let all = p.outer(m, write);
    let bent = p.unary(Unary::Tanh, all);
    let middle = p.reduce(Reduction::Sum, bent, "K");
    let both = p.mul(bent, middle);
    let inner = p.reduce(Reduction::Sum, both, "V");
    let inner = p.reduce(Reduction::Max, inner, "K");
    let last = p.concat(inner, inner, "MMN");
    let last = p.slice(last, "NM", 1);
    p.update("S", next);
    p.output("o", o);
    p.output("middle", middle);
    p.output("last", last);
    let marks = p.node(Op::TopK(k, DimId(0), 3));
    let largest = p.mul(marks, q);
    p.output("largest", largest);
    p.finish()
}

/// Several memories of one shape: keys and decays of their own, one value, a weighted read.
fn several_memories() -> Recurrence {
    let mut p = Step::new("several memories");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let [weight, gate] = [p.ranged("weight", "M", [0.0, 1.0]), p.gate("gate", "M")];
    let (keys, decay) = (p.token("keys", "MK"), p.gate("decay", "K"));
    let s = p.state("S", "MKV");
    let d = p.decayed(gate, s);
    let d = p.decayed(decay, d);
    let write = p.outer(k, v);
    let write = p.outer(weight, write);
    let next = p.add(d, write);
    let own = p.outer(keys, v);
    let next = p.add(next, own);
    let next = p.add(next, v);
    let values = p.token("values", "MV");
    let chosen = p.node(Op::TopK(weight, DimId(2), 2));
    let keys_of_chosen = p.mul(chosen, keys);
    let zeros = p.sub(v, v);
    let ones = p.exp(zeros);
    let spread = p.outer(keys_of_chosen, ones);
    let each = p.mul(spread, values);
    let next = p.add(next, each);
    let seen = p.dot(q, next, "K");
    let reader = p.mul(chosen, weight);
    let o = p.dot(reader, seen, "M");
    let before = p.dot(s, keys, "K");
    let weighted = p.mul(weight, before);
    let total = p.reduce(Reduction::Sum, weighted, "M");
    let along_values = p.dot(next, v, "V");
    p.update("S", next);
    p.output("o", o);
    p.output("total", total);
    p.output("along_values", along_values);
    p.finish()
}

/// A constant matrix whose powers stay bounded, with entries 1 / (2 + i + j) on two names of a dimension.
fn bounded_matrix(p: &mut Step, rows: &str, columns: &str) -> NodeId {
    let [i, j] = [p.index(rows), p.index(columns)];
    let one = p.number(1.0);
    let (i, j) = (p.add(i, one), p.add(j, one));
    let (a, b) = (p.unary(Unary::Recip, i), p.unary(Unary::Cos, j));
    let matrix = p.outer(a, b);
    let scale = p.number(0.25);
    p.mul(scale, matrix)
}

/// `X' = A X + b u^T` for a constant matrix and a constant vector: the state before and after.
fn dense_state(p: &mut Step, u: NodeId) -> [NodeId; 2] {
    p.computed_dim("J", *size_of(0));
    let s = p.state("X", "KV");
    let a = bounded_matrix(p, "J", "K");
    let moved = p.dot(a, s, "K");
    let moved = p.reshape(moved, "KV");
    let b = p.index("K");
    let b = p.unary(Unary::Sin, b);
    let write = p.outer(b, u);
    [s, p.add(moved, write)]
}

/// A dense transition of several channels, read through a per-model vector and before the step.
fn dense_channels() -> Recurrence {
    let mut p = Step::new("dense channels");
    let (u, w) = (p.token("u", "V"), p.token("w", "V"));
    let c = p.ranged_model("c", "K", [-1.0, 1.0]);
    let [s, next] = dense_state(&mut p, u);
    let next = p.add(next, w);
    let o = p.dot(c, next, "K");
    let before = p.dot(c, s, "K");
    let each = p.ranged_model("each", "KV", [-1.0, 1.0]);
    let weighted = p.mul(each, next);
    let total = p.reduce(Reduction::Sum, weighted, "K");
    p.update("X", next);
    p.output("o", o);
    p.output("total", total);
    p.output("before", before);
    p.finish()
}

/// Channels with one dense transition and one direction of what is written, each read by a vector of its
/// own, after the step and before it.
fn channels_with_readers() -> Recurrence {
    let mut p = Step::new("channels with readers");
    let u = p.token("u", "V");
    let after = p.ranged_model("after", "KV", [-1.0, 1.0]);
    let before = p.ranged_model("before", "KV", [-1.0, 1.0]);
    let [s, next] = dense_state(&mut p, u);
    let weighed = p.mul(next, after);
    let y = p.reduce(Reduction::Sum, weighed, "K");
    let weighed = p.mul(before, s);
    let z = p.reduce(Reduction::Sum, weighed, "K");
    p.update("X", next);
    p.output("y", y);
    p.output("z", z);
    p.finish()
}

/// A dense transition of a vector, all of which is seen.
fn dense_memory() -> Recurrence {
    let mut p = Step::new("dense memory");
    p.computed_dim("J", *size_of(0));
    let (u, q) = (p.token("u", ""), p.token("q", "K"));
    let w = p.ranged_model("w", "MK", [-1.0, 1.0]);
    let m = p.state("m", "K");
    let a = bounded_matrix(&mut p, "K", "J");
    let renamed = p.reshape(m, "J");
    let moved = p.dot(a, renamed, "J");
    let b = p.index("K");
    let written = p.mul(b, u);
    let next = p.add(moved, written);
    let bent = p.unary(Unary::Tanh, q);
    let next = p.add(next, bent);
    let mixed = p.dot(w, next, "K");
    let o = p.unary(Unary::Relu, mixed);
    let seen = p.dot(q, m, "K");
    p.update("m", next);
    p.output("o", o);
    p.output("seen", seen);
    p.finish()
}

/// Rows of a token that read each other without an order: few of them, written with sums over all rows
/// first.
fn few_rows_without_order() -> Recurrence {
    let mut p = Step::new("few rows without order");
    p.computed_dim("N", *size_of(2));
    let [q, k, v] = [p.token("q", "MK"), p.token("k", "NK"), p.token("v", "NV")];
    let s = p.state("s", "V");
    let sums = p.dot(k, v, "N");
    let o = p.dot(q, sums, "K");
    let x = p.token("x", "V");
    let next = p.add(s, x);
    p.update("s", next);
    p.output("o", o);
    p.finish()
}

/// The same with many rows, written with the scores of each two first.
fn many_rows_without_order() -> Recurrence {
    let mut p = Step::new("many rows without order");
    p.computed_dim("N", *size_of(0));
    let [q, k, v] = [p.token("q", "KM"), p.token("k", "NM"), p.token("v", "NV")];
    let s = p.state("s", "V");
    let scores = p.dot(q, k, "M");
    let o = p.dot(scores, v, "N");
    let x = p.token("x", "V");
    let next = p.add(s, x);
    p.update("s", next);
    p.output("o", o);
    p.finish()
}

/// All programs of this kind.
pub(crate) fn all() -> Vec<Recurrence> {
    vec![
        quadratic_features(),
        running_mean(),
        learned_start(),
        constant_tables(),
        matrices_of_a_token(),
        rearranged_vectors(),
        several_memories(),
        dense_channels(),
        channels_with_readers(),
        dense_memory(),
        polynomial_features(),
        few_rows_without_order(),
        many_rows_without_order(),
    ]
}
