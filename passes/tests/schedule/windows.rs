//! The elementwise scan of programs with windows, against the definition.

use crate::elements::{assert_means, walks};
use crate::step_form::{Program, Step};
use sluice_ir::kernel::{CopyMap, Stmt};
use sluice_ir::pointwise::Unary;
use sluice_ir::step::Reduction;

/// `h' = 0.5 h + silu(sum_w c_w x_{t-w})`, `y = h'`: a short convolution before a decay.
fn convolution(taps: usize, width: usize) -> Program {
    let mut p = Step::over("program", "WE");
    let (x, c) = (p.token("x", "E"), p.model("c", "WE"));
    let (window, h) = (p.state("window", "WE"), p.state("h", "E"));
    let after = p.push(window, x);
    let weighed = p.mul(c, after);
    let sum = p.reduce(Reduction::Sum, weighed, "W");
    let gate = p.unary(Unary::Sigmoid, sum);
    let write = p.mul(gate, sum);
    let half = p.number(0.5);
    let kept = p.mul(half, h);
    let next = p.add(kept, write);
    p.update("window", after);
    p.update("h", next);
    p.output("y", next);
    p.sized(&[("W", taps), ("E", width)])
}

/// A window of what a scan gives, read before and after the step, through weights that depend on it, and one
/// of numbers.
fn weighed(length: usize, width: usize) -> Program {
    let mut p = Step::over("program", "WEOP");
    let (x, q, u) = (p.token("x", "E"), p.token("q", "E"), p.token("u", ""));
    let (h, latest) = (p.state("h", "E"), p.state_from("latest", "WE", 0.25));
    let numbers = p.state_from("numbers", "W", -1.0);
    let half = p.number(0.5);
    let kept = p.mul(half, h);
    let next = p.add(kept, x);
    let after = p.push(latest, next);
    let numbered = p.push(numbers, u);
    let logits = p.dot(q, after, "E");
    let logits = p.add(logits, numbered);
    let largest = p.reduce(Reduction::Max, logits, "W");
    let below = p.sub(logits, largest);
    let weights = p.exp(below);
    let read = p.dot(weights, after, "W");
    let total = p.reduce(Reduction::Sum, weights, "W");
    let read = p.div(read, total);
    let oldest = p.slice(latest, "WO", 0);
    let oldest = p.reshape(oldest, "E");
    let newest = p.slice(latest, "WO", length - 1);
    let newest = p.reshape(newest, "E");
    let last = p.reduce(Reduction::Sum, numbers, "W");
    let both = p.concat(oldest, read, "EEP");
    p.update("h", next);
    p.update("latest", after);
    p.update("numbers", numbered);
    let outputs = [("y", read), ("old", oldest), ("new", newest), ("last", last), ("both", both)];
    outputs.into_iter().for_each(|(name, value)| p.output(name, value));
    p.sized(&[("W", length), ("E", width), ("O", 1), ("P", 2 * width)])
}

#[test]
fn short_convolutions_are_read_from_the_row_of_entries() {
    for (taps, width) in [(1, 5), (4, 40), (4, 128), (70, 16)] {
        let kernel = assert_means(&convolution(taps, width), &format!("{taps} taps, {width} wide"));
        assert_eq!(walks(&kernel).len(), 1, "{}", *kernel);
        assert_eq!(kernel.parts, width.div_ceil(64), "{}", *kernel);
        let moves = |s: &&Stmt| matches!(s, Stmt::Copy { map: CopyMap::PastTokens { .. }, .. });
        assert_eq!(kernel.roles[0].body.iter().filter(moves).count(), 1, "{}", *kernel);
    }
}

#[test]
fn windows_of_states_and_of_numbers_are_read_by_weights_and_pieces() {
    for (length, width) in [(2, 3), (5, 20), (16, 33)] {
        assert_means(&weighed(length, width), &format!("{length} entries, {width} wide"));
    }
}

#[test]
fn a_window_of_itself_is_refused() {
    let mut p = Step::over("program", "WE");
    let (x, window) = (p.token("x", "E"), p.state("window", "WE"));
    let sum = p.reduce(Reduction::Sum, window, "W");
    let entry = p.add(sum, x);
    let after = p.push(window, entry);
    p.update("window", after);
    let program = p.sized(&[("W", 3), ("E", 4)]);
    let refusal = sluice_passes::elements(&program.recurrence).expect_err("entries feed entries");
    assert!(refusal.message.contains("`window`"), "{}", refusal.message);
}
