//! Programs whose states take up each other.

use crate::agreement::{difference, inputs, options, problem, target};
use crate::step_form::Step;
use sluice_ir::accuracy::{Kind, tolerance};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Rounding};
use sluice_ir::step::{self, Recurrence};
use sluice_passes::schedule::{Build, fused_scan};
use sluice_passes::{chunk, lift};

/// A velocity that remembers the errors of reads of a position, which takes it up.
fn velocity_and_position() -> Recurrence {
    let mut p = Step::new("velocity and position");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let [mu, eta, a] = ["mu", "eta", "a"].map(|name| p.ranged(name, "", [0.0, 1.0]));
    let (velocity, position) = (p.state("M", "KV"), p.state("S", "KV"));
    let seen = p.dot(k, position, "K");
    let error = p.sub(v, seen);
    let write = p.outer(k, error);
    let write = p.mul(eta, write);
    let kept = p.mul(mu, velocity);
    let velocity = p.add(kept, write);
    let faded = p.mul(a, position);
    let next = p.add(faded, velocity);
    let o = p.dot(q, next, "K");
    let half = p.number(0.5);
    let half = p.mul(half, velocity);
    let moved = p.dot(q, half, "K");
    p.update("M", velocity);
    p.update("S", next);
    p.output("o", o);
    p.output("moved", moved);
    p.finish()
}

/// Two matrices that turn into each other by a constant angle and fade a little.
fn pendulum() -> Recurrence {
    let mut p = Step::new("pendulum");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let (x, y) = (p.state("X", "KV"), p.state("Y", "KV"));
    let [keep, turn] = [p.number(0.8), p.number(0.55)];
    let write = p.outer(k, v);
    let [kept_x, kept_y] = [p.mul(keep, x), p.mul(keep, y)];
    let [turned_x, turned_y] = [p.mul(turn, x), p.mul(turn, y)];
    let next_x = p.sub(kept_x, turned_y);
    let next_y = p.add(kept_y, turned_x);
    let next_y = p.add(next_y, write);
    let o = p.dot(q, next_x, "K");
    let before = p.dot(q, y, "K");
    p.update("X", next_x);
    p.update("Y", next_y);
    p.output("o", o);
    p.output("before", before);
    p.finish()
}

/// Three matrices in a ring, each of which passes a share on that differs by token; two write back what
/// is read of them between updates.
fn ring() -> Recurrence {
    let mut p = Step::new("ring");
    let [q, k, r] = [p.token("q", "K"), p.token("k", "K"), p.token("r", "K")];
    let v = p.token("v", "V");
    let [share, rest] = ["share", "rest"].map(|name| p.ranged(name, "", [-0.5, 0.5]));
    let [a, b, c] = ["A", "B", "C"].map(|name| p.state(name, "KV"));
    let passed = |p: &mut Step, own, other| {
        let (own, other) = (p.mul(rest, own), p.mul(share, other));
        p.add(own, other)
    };
    let next_a = passed(&mut p, a, c);
    let write = p.outer(k, v);
    let next_a = p.add(next_a, write);
    let next_b = passed(&mut p, b, a);
    let seen = p.dot(r, next_b, "K");
    let small = p.number(0.125);
    let seen = p.mul(small, seen);
    let back = p.outer(k, seen);
    let next_b = p.sub(next_b, back);
    let next_c = passed(&mut p, c, b);
    let seen = p.dot(k, next_c, "K");
    let seen = p.mul(small, seen);
    let back = p.outer(r, seen);
    let next_c = p.add(next_c, back);
    let o = p.dot(q, next_c, "K");
    let other = p.dot(q, next_b, "K");
    for (name, next) in [("A", next_a), ("B", next_b), ("C", next_c)] {
        p.update(name, next);
    }
    p.output("o", o);
    p.output("other", other);
    p.finish()
}

/// All programs of this kind.
pub(crate) fn all() -> Vec<Recurrence> {
    vec![velocity_and_position(), pendulum(), ring()]
}

/// Where nothing fades, every error that feeds back stays; both halves of all operands keep it small.
#[test]
fn errors_stay_small_where_nothing_fades() {
    let (recurrence, problem) = (velocity_and_position(), problem());
    let mut arrays = inputs(&recurrence, &problem);
    for array in arrays.values_mut() {
        array.data.iter_mut().for_each(|x| *x = Dtype::Bf16.round(*x));
    }
    for (name, value) in [("mu", 0.5), ("a", 1.0), ("eta", 0.125)] {
        arrays.get_mut(name).expect("an input").data.fill(value);
    }
    let extents = &problem.extents;
    let term = lift(&recurrence, extents).expect("a mix of two states");
    let chunked = chunk(&term, &options(16, None)).expect("laws put it in chunks");
    let (dtype, compute) = (Dtype::Bf16, Dtype::F32);
    let build = Build { extents, dtype, compute, target: &target() };
    let kernel = fused_scan(&recurrence, &chunked.term, &build, 16, &[]).expect("it has a scan");
    let reference = step::eval(&recurrence, &problem, &arrays);
    let found = kernel::eval(&kernel, &problem, &arrays, Rounding::Stored);
    let (error, most) = (difference(&found, &reference), tolerance(dtype, 1, Kind::Output, 1));
    assert!(error <= most, "{error:.1e} of {most:.1e}");
}
