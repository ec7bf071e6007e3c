//! Walks over tokens: by one thread a point, by lanes, by segments.

use super::statements::Probe;
use super::*;
use sluice_ir::pointwise::Ring;

/// Tokens of a probe's chunk.
const TOKENS: usize = 16;

fn at(tile: TileId, strides: [usize; 3]) -> Access {
    Access { tile, offset: 0, strides: strides.to_vec() }
}

fn gated() -> Law {
    let rows = vec![Row { gates: vec![Some(exp(x(2)))], entry: Some(x(3)) }];
    Law::Linear { ring: Ring::Sum, rows }
}

/// All of them, in a fixed order: alone, free, in lanes, in segments.
pub(crate) fn walks() -> Vec<Kernel> {
    vec![alone("alone", gated()), alone("free", Law::Free(vec![exp(x(0))])), lanes(), segments()]
}

/// A point a thread.
fn alone(name: &str, law: Law) -> Kernel {
    let mut p = Probe::new(Layout::Lanes(Lanes::SINGLE), 4);
    let (g, v) = (p.input(TOKENS, 40, Dtype::F32), p.input(TOKENS, 40, Dtype::Bf16));
    let (h, y) = (p.input(1, 40, Dtype::F32), p.shared(TOKENS, 40, Dtype::Bf16));
    p.then(Stmt::Walk(Walk {
        points: 40,
        inner: 1,
        states: vec![at(h, [0, 1, 0])],
        law,
        args: vec![at(g, [40, 1, 0]), at(v, [40, 1, 0])],
        results: vec![WalkResult { dst: at(y, [40, 1, 0]), sum: false, expr: x(1) }],
        lanes: 1,
        segments: None,
    }));
    p.output(h, Dtype::F32);
    p.output(y, Dtype::Bf16);
    p.kernel(&format!("walk_{name}"))
}

/// Sixteen elements of each of 64 points, four lanes a point, and their sum.
fn lanes() -> Kernel {
    let mut p = Probe::new(Layout::Lanes(Lanes::SINGLE), 8);
    let (g, v) = (p.input(TOKENS, 64, Dtype::F32), p.input(TOKENS, 16, Dtype::Bf16));
    let a = p.input(16, 64, Dtype::F32);
    let (h, y) = (p.input(16, 64, Dtype::F32), p.shared(TOKENS, 64, Dtype::F32));
    let rows = vec![Row { gates: vec![Some(exp(mul(x(2), x(4))))], entry: Some(x(3)) }];
    p.then(Stmt::Walk(Walk {
        points: 64,
        inner: 16,
        states: vec![at(h, [0, 1, 64])],
        law: Law::Linear { ring: Ring::Sum, rows },
        args: vec![at(g, [64, 1, 0]), at(v, [16, 0, 1]), at(a, [0, 1, 64])],
        results: vec![WalkResult { dst: at(y, [64, 1, 0]), sum: true, expr: mul(x(1), x(3)) }],
        lanes: 4,
        segments: None,
    }));
    p.output(h, Dtype::F32);
    p.output(y, Dtype::F32);
    p.kernel("walk_lanes")
}

/// Two states that turn into each other, four segments of 40 points: fewer than threads.
fn segments() -> Kernel {
    let mut p = Probe::new(Layout::Lanes(Lanes::SINGLE), 6);
    let (c, s) = (p.input(TOKENS, 40, Dtype::F32), p.input(TOKENS, 40, Dtype::Bf16));
    let (re, im) = (p.input(1, 40, Dtype::F32), p.input(1, 40, Dtype::F32));
    let y = p.shared(TOKENS, 40, Dtype::Bf16);
    let summaries = p.shared(4, 6 * 40, Dtype::F32);
    let row = |a, b, entry| Row { gates: vec![Some(a), Some(b)], entry };
    p.then(Stmt::Walk(Walk {
        points: 40,
        inner: 1,
        states: vec![at(re, [0, 1, 0]), at(im, [0, 1, 0])],
        law: Law::Linear {
            ring: Ring::Sum,
            rows: vec![row(x(4), x(5), Some(x(4))), row(x(5), x(4), None)],
        },
        args: vec![at(c, [40, 1, 0]), at(s, [40, 1, 0])],
        results: vec![WalkResult { dst: at(y, [40, 1, 0]), sum: false, expr: mul(x(2), x(3)) }],
        lanes: 1,
        segments: Some(Segments { count: 4, summaries }),
    }));
    for tile in [re, im] {
        p.output(tile, Dtype::F32);
    }
    p.output(y, Dtype::Bf16);
    p.kernel("walk_segments")
}
