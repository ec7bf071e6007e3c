//! Programs that between them have every operation, shape and way to start a state.

use crate::step_form::{Program, Step};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{Formula, MatrixFunction, NodeId, Op, Order, Reduction};

pub(crate) fn all() -> Vec<(&'static str, Program)> {
    vec![
        ("diagonal", diagonal("NDW", "ND", 200)),
        ("diagonal by rows of channels", diagonal("NDW", "DN", 200)),
        ("largest and log of sums", largest()),
        ("complex pair", complex()),
        ("routed", routed()),
        ("several channels of a cube", cube()),
        ("dense", dense(40)),
        ("dense, few and long", dense(3)),
        ("tables", tables()),
        ("rearranged", rearranged()),
        ("windows", windows()),
        ("scalars that change places", scalars()),
        ("what never changes", fixed()),
        ("learned", learned()),
        ("delayed", delayed()),
        ("backwards", ordered(|_| Order::Reverse)),
        ("column by column", ordered(|p| Order::Columns(p.dim("C")))),
        ("column by column backwards", ordered(|p| Order::ReverseColumns(p.dim("C")))),
        ("read before and after", read_before_and_after()),
        ("corrected", corrected()),
        ("normalised", normalised()),
    ]
}

/// `h' = exp(d A) h + d x b`, `y = sum of c h' + s x`, with `A = -exp(a)` of the model and a window of
/// inputs before; `shape` says whether the state has its channels as columns or as rows.
pub(crate) fn diagonal(dims: &str, shape: &str, channels: usize) -> Program {
    let mut p = Step::over("program", dims);
    let (x, d) = (p.token("x", "D"), p.token("d", "D"));
    let b = p.token("b", "N");
    p.by_group();
    let c = p.token("c", "N");
    let (a, s, w) = (p.model("a", shape), p.model("s", "D"), p.model("w", "WD"));
    let (h, line) = (p.state("h", shape), p.state("line", "WD"));
    let line = p.push(line, x);
    let taps = p.mul(w, line);
    let taps = p.reduce(Reduction::Sum, taps, "W");
    let x = p.unary(Unary::Silu, taps);
    let d = p.unary(Unary::Softplus, d);
    let rate = p.exp(a);
    let rate = p.unary(Unary::Neg, rate);
    let exponent = p.mul(rate, d);
    let decay = p.exp(exponent);
    let kept = p.mul(decay, h);
    let dx = p.mul(d, x);
    let write = if shape == "ND" { p.outer(b, dx) } else { p.outer(dx, b) };
    let next = p.add(kept, write);
    let y = p.dot(next, c, "N");
    let skip = p.mul(s, x);
    let y = p.add(y, skip);
    p.update("h", next);
    p.update("line", line);
    p.output("y", y);
    p.sized(&[("N", 3), ("D", channels), ("W", 4)])
}

/// `m' = max(m + g, k)` from minus infinity, a sum kept relative to it, and `l' = logaddexp(l + g, k)`.
fn largest() -> Program {
    let mut p = Step::over("program", "D");
    let (g, k, v) = (p.token("g", "D"), p.token("k", "D"), p.token("v", "D"));
    let m = p.state_from("m", "D", f64::NEG_INFINITY);
    let (n, l) = (p.state("n", "D"), p.state_from("l", "D", f64::NEG_INFINITY));
    let old = p.add(m, g);
    let next = p.binary(Binary::Max, old, k);
    let (from_old, from_new) = (p.sub(old, next), p.sub(k, next));
    let (from_old, from_new) = (p.exp(from_old), p.exp(from_new));
    let (kept, new) = (p.mul(from_old, n), p.mul(from_new, v));
    let sum = p.add(kept, new);
    let shifted = p.add(l, g);
    let log = p.binary(Binary::LogAddExp, shifted, k);
    p.update("m", next);
    p.update("n", sum);
    p.update("l", log);
    let o = p.mul(sum, log);
    p.output("o", o);
    p.sized(&[("D", 150)])
}

/// Two states that turn into each other.
fn complex() -> Program {
    let mut p = Step::over("program", "ND");
    let (x, angle) = (p.token("x", "D"), p.model("angle", "N"));
    let (re, im) = (p.state("H_re", "ND"), p.state("H_im", "ND"));
    let (c, s) = (p.unary(Unary::Cos, angle), p.unary(Unary::Sin, angle));
    let cross = |p: &mut Step, a: NodeId, x: NodeId, b: NodeId, y: NodeId, minus: bool| {
        let (ax, by) = (p.mul(a, x), p.mul(b, y));
        if minus { p.sub(ax, by) } else { p.add(ax, by) }
    };
    let turned_re = cross(&mut p, c, re, s, im, true);
    let turned_im = cross(&mut p, s, re, c, im, false);
    let next = p.add(turned_re, x);
    p.update("H_re", next);
    p.update("H_im", turned_im);
    let (squared, other) = (p.mul(next, next), p.mul(turned_im, turned_im));
    let norm = p.add(squared, other);
    let o = p.reduce(Reduction::Max, norm, "N");
    p.output("o", o);
    p.sized(&[("N", 5), ("D", 70)])
}

/// A state for each of several slots, of which a token reads and writes those that it likes most.
fn routed() -> Program {
    let mut p = Step::over("program", "MKV");
    let (r, k, v) = (p.token("r", "M"), p.token("k", "K"), p.token("v", "V"));
    let s = p.state("S", "MKV");
    let mask = p.top(r, "M", 2);
    let weight = p.unary(Unary::Sigmoid, r);
    let weight = p.mul(mask, weight);
    let half = p.number(0.5);
    let forgotten = p.mul(half, mask);
    let kept = p.sub(s, s);
    let kept = p.add(kept, s);
    let lost = p.mul(forgotten, s);
    let kept = p.sub(kept, lost);
    let key = p.outer(weight, k);
    let write = p.outer(key, v);
    let next = p.add(kept, write);
    let read = p.dot(k, next, "K");
    let o = p.dot(weight, read, "M");
    p.update("S", next);
    p.output("o", o);
    p.output("mask", mask);
    p.sized(&[("M", 4), ("K", 3), ("V", 5)])
}

/// Three dimensions, of which the first is the one without sums; a product for each index of another.
fn cube() -> Program {
    let mut p = Step::over("program", "DMN");
    let (x, q, w) = (p.token("x", "DM"), p.token("q", "MN"), p.model("w", "DMN"));
    let s = p.state_from("S", "DMN", 1.0);
    let decay = p.unary(Unary::Sigmoid, w);
    let kept = p.mul(decay, s);
    let write = p.mul(x, x);
    let next = p.add(kept, write);
    let o = p.dot(next, q, "N");
    let all = p.reduce(Reduction::Max, o, "M");
    p.update("S", next);
    p.output("o", o);
    p.output("all", all);
    p.sized(&[("D", 70), ("M", 2), ("N", 3)])
}

/// `h' = tanh(W h + x)`, with sums long enough for several threads.
fn dense(rows: usize) -> Program {
    let mut p = Step::over("program", "HIX");
    let (x, w) = (p.token("x", "I"), p.model("w", "HI"));
    let (u, z) = (p.model("u", "IH"), p.model("z", "I"));
    let h = p.state_from("h", "H", 0.5);
    let hidden = p.dot(h, w, "H");
    let quarter = p.number(0.25);
    let hidden = p.mul(hidden, quarter);
    let hidden = p.mul(hidden, z);
    let mixed = p.add(hidden, x);
    let a = p.dot(mixed, u, "I");
    // Small enough for the state to forget, so that rounding does not grow.
    let tenth = p.number(0.1);
    let a = p.mul(a, tenth);
    let next = p.unary(Unary::Tanh, a);
    let size = p.dot(mixed, mixed, "I");
    p.update("h", next);
    p.output("o", next);
    p.output("size", size);
    p.sized(&[("H", rows), ("I", 96), ("X", 1)])
}

/// The exponential of a constant matrix, places along a dimension, and a table read in two ways.
fn tables() -> Program {
    let mut p = Step::over("program", "NMD");
    let x = p.token("x", "D");
    let s = p.state("S", "ND");
    let (i, j) = (p.index("N"), p.index("M"));
    let (i, j) = (p.unary(Unary::Sqrt, i), p.unary(Unary::Neg, j));
    let generator = p.outer(i, j);
    let a = p.node(Op::Matrix(MatrixFunction::Exp, generator));
    let moved = p.reshape(s, "MD");
    let turned = p.dot(a, moved, "M");
    let places = p.index("D");
    let write = p.mul(places, x);
    let next = p.add(turned, write);
    let two = p.number(2.0);
    let twos = row_of(&mut p, two);
    let o = p.dot(next, twos, "N");
    p.update("S", next);
    p.output("o", o);
    p.sized(&[("N", 3), ("M", 3), ("D", 4)])
}

/// A vector along `N` of one number.
fn row_of(p: &mut Step, number: NodeId) -> NodeId {
    let places = p.index("N");
    let none = p.number(0.0);
    let nothing = p.mul(places, none);
    p.add(nothing, number)
}

/// Joined, cut and seen under other dimensions; computed, read from memory, and written to a state.
fn rearranged() -> Program {
    let mut p = Step::over("program", "ABCDE");
    for (name, [a, b]) in [("F", ["A", "B"]), ("G", ["F", "F"])] {
        let part = |dim| Box::new(Formula::Dim(p.dim(dim)));
        let both = Formula::Add(part(a), part(b));
        p.computed_dim(name, both);
    }
    let (x, y) = (p.token("x", "A"), p.token("y", "B"));
    let z = p.token("z", "CD");
    let (s, t) = (p.state_from("S", "G", 0.25), p.state_from("T", "DC", -1.0));
    let halved = p.exp(x);
    let join = p.concat(halved, y, "ABF");
    let last = p.slice(s, "GF", 1);
    let next = p.concat(last, join, "FFG");
    // As a matrix of D rows what memory has as C rows, computed and from memory.
    let squares = p.mul(z, z);
    let seen = p.reshape(squares, "DC");
    let plain = p.reshape(z, "DC");
    let turned = p.add(seen, t);
    let turned = p.mul(turned, plain);
    let flat = p.reshape(turned, "E");
    let again = p.reshape(flat, "CD");
    let o = p.mul(again, z);
    let both = p.reduce(Reduction::Sum, o, "C");
    p.update("S", next);
    p.update("T", turned);
    p.output("last", last);
    p.output("next", next);
    p.output("both", both);
    p.output("flat", flat);
    p.sized(&[("A", 2), ("B", 3), ("C", 2), ("D", 4), ("E", 8)])
}

/// A window of matrices, one of a single entry, and a softmax over the last entries.
fn windows() -> Program {
    let mut p = Step::over("program", "WOKV");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let (keys, writes) = (p.state("B", "WK"), p.state_from("C", "WKV", 0.5));
    let single = p.state("L", "OK");
    let keys = p.push(keys, k);
    let write = p.outer(k, v);
    let writes = p.push(writes, write);
    let before = p.reshape(single, "K");
    let single = p.push(single, q);
    let scores = p.dot(keys, q, "K");
    let most = p.reduce(Reduction::Max, scores, "W");
    let scores = p.sub(scores, most);
    let weights = p.exp(scores);
    let total = p.reduce(Reduction::Sum, weights, "W");
    let weights = p.binary(Binary::Div, weights, total);
    let mixed = p.dot(weights, writes, "W");
    let o = p.dot(before, mixed, "K");
    p.update("B", keys);
    p.update("C", writes);
    p.update("L", single);
    p.output("o", o);
    p.sized(&[("W", 3), ("O", 1), ("K", 4), ("V", 6)])
}

/// A counter, a delay line of scalars, two that change places, and one that is set anew.
fn scalars() -> Program {
    let mut p = Step::over("program", "");
    let x = p.token("x", "");
    let (n, a, b) = (p.state("n", ""), p.state_from("a", "", 1.0), p.state_from("b", "", 2.0));
    let (one, two) = (p.state_from("one", "", 3.0), p.state_from("two", "", 4.0));
    let last = p.state_from("last", "", -1.0);
    let step = p.number(1.0);
    let count = p.add(n, step);
    let three = p.number(3.0);
    let early = p.binary(Binary::Lt, n, three);
    let o = p.node(Op::Select(early, a, two));
    let o = p.add(o, last);
    p.update("n", count);
    p.update("a", b);
    p.update("b", a);
    p.update("one", x);
    p.update("two", one);
    p.update("last", step);
    p.output("o", o);
    p.output("before", n);
    p.output("same", x);
    p.output("always", step);
    p.sized(&[])
}

/// Learned initial states, one that stays, one that becomes what the model says, and work on the model
/// alone.
fn fixed() -> Program {
    let mut p = Step::over("program", "KV");
    let (x, w, first) = (p.token("x", "V"), p.model("w", "KV"), p.model("first", "KV"));
    let (s, kept) = (p.state("S", "KV"), p.state("kept", "KV"));
    p.learned("S", first);
    p.learned("kept", first);
    p.state_from("set", "KV", 7.0);
    let norm = p.mul(w, w);
    let norm = p.reduce(Reduction::Sum, norm, "V");
    let norm = p.unary(Unary::Rsqrt, norm);
    let unit = p.mul(w, norm);
    let decay = p.unary(Unary::Sigmoid, unit);
    let kept_part = p.mul(decay, s);
    let next = p.add(kept_part, x);
    p.update("S", next);
    p.update("kept", kept);
    p.update("set", unit);
    let o = p.dot(next, first, "V");
    let o2 = p.dot(unit, kept, "V");
    p.output("o", o);
    p.output("p", o2);
    p.output("norm", norm);
    p.sized(&[("K", 3), ("V", 4)])
}

/// A matrix and a vector that start from the model's.
fn learned() -> Program {
    let mut p = Step::over("program", "KV");
    let (k, v) = (p.token("k", "K"), p.token("v", "V"));
    let (first, first_n) = (p.model("S0", "KV"), p.model("n0", "K"));
    let (s, n) = (p.state("S", "KV"), p.state("n", "K"));
    p.learned("S", first);
    p.learned("n", first_n);
    let write = p.outer(k, v);
    let (next, sum) = (p.add(s, write), p.add(n, k));
    let o = p.dot(sum, next, "K");
    p.update("S", next);
    p.update("n", sum);
    p.output("o", o);
    p.sized(&[("K", 3), ("V", 40)])
}

/// A matrix as it was a token before.
fn delayed() -> Program {
    let mut p = Step::over("program", "KV");
    let (k, v) = (p.token("k", "K"), p.token("v", "V"));
    let (s, before) = (p.state("S", "KV"), p.state_from("P", "KV", 1.0));
    let write = p.outer(k, v);
    let next = p.add(s, write);
    let o = p.dot(k, before, "K");
    p.update("S", next);
    p.update("P", s);
    p.output("o", o);
    p.sized(&[("K", 3), ("V", 5)])
}

fn ordered(order: impl Fn(&Step) -> Order) -> Program {
    let mut p = Step::over("program", "CKV");
    let (k, v, g) = (p.token("k", "K"), p.token("v", "V"), p.token("g", ""));
    let s = p.state("S", "KV");
    let decay = p.unary(Unary::Sigmoid, g);
    let seen = p.dot(k, s, "K");
    let error = p.sub(v, seen);
    let write = p.outer(k, error);
    let kept = p.mul(decay, s);
    let next = p.add(kept, write);
    p.update("S", next);
    p.output("o", seen);
    let order = order(&p);
    p.order(order);
    p.sized(&[("C", 3), ("K", 3), ("V", 4)])
}

/// One value from the state before and after the step, so that both must be there at once.
fn read_before_and_after() -> Program {
    let mut p = Step::over("program", "KV");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let s = p.state("S", "KV");
    let write = p.outer(k, v);
    let half = p.number(0.5);
    let kept = p.mul(half, s);
    let next = p.add(kept, write);
    let after = p.dot(q, next, "K");
    // Reads the new state's readout and the old state in one sum.
    let scaled = p.mul(after, s);
    let o = p.dot(k, scaled, "K");
    let mean = p.add(s, next);
    p.update("S", next);
    p.output("o", o);
    p.output("mean", mean);
    p.sized(&[("K", 3), ("V", 70)])
}

/// An erasure and a write along a unit key.
fn corrected() -> Program {
    let mut p = Step::over("program", "KV");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let beta = p.token("beta", "");
    let s = p.state("S", "KV");
    let square = p.dot(k, k, "K");
    let length = p.unary(Unary::Rsqrt, square);
    let k = p.mul(k, length);
    let seen = p.dot(k, s, "K");
    let error = p.sub(v, seen);
    let strength = p.unary(Unary::Sigmoid, beta);
    let value = p.mul(strength, error);
    let write = p.outer(k, value);
    let next = p.add(s, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.sized(&[("K", 40), ("V", 70)])
}

/// A matrix state and its normaliser, which needs all keys.
fn normalised() -> Program {
    let mut p = Step::over("program", "KV");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let (s, n) = (p.state("S", "KV"), p.state("n", "K"));
    let (q, k) = (p.exp(q), p.exp(k));
    let write = p.outer(k, v);
    let (next, sum) = (p.add(s, write), p.add(n, k));
    let (above, below) = (p.dot(q, next, "K"), p.dot(q, sum, "K"));
    let o = p.binary(Binary::Div, above, below);
    p.update("S", next);
    p.update("n", sum);
    p.output("o", o);
    p.sized(&[("K", 34), ("V", 6)])
}
