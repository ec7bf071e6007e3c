//! States with one constant transition and one constant direction for what is written:
//! `h <- A h + b u_t^T`, with a column of `h` for each feature of `u`.
//!
//! What such a state gives to a read `c^T h` is a convolution of `u` with `c^T A^j b`, and `c^T A^t` times
//! the state at a block's edge; both need the vectors `A^j x` only, which are the same for all blocks.

use super::shape::{any, known};
use super::{Array3, ArrayFacts, Blocks, Facts, Mask, Seq, Shape};
use crate::pointwise::Interval;
use egg::Id;

/// Facts of a node from those of its operands.
///
/// # Panics
/// If the operands do not fit.
pub(super) fn facts(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let array = |id: &Id| *of(*id).array();
    let fits = |right: bool| assert!(right, "{node}: extents of a constant transition");
    match node {
        Seq::Krylov([_, n, a, x]) => {
            let (n, a, x) = (of(*n).count(), array(a).shape, array(x));
            fits(a == Shape::one(x.shape.rows, x.shape.rows) && x.shape.blocks == Blocks::One);
            any(Shape { rows: n * x.shape.rows, ..x.shape }, x.zero)
        }
        Seq::Dots([n, p, h]) => {
            let (n, p, h) = (of(*n).count(), array(p), array(h));
            fits(p.shape.blocks == Blocks::One && p.shape.rows == n * h.shape.rows);
            let features = p.shape.features.max(h.shape.features);
            let spread = |s: Shape| s.features == features || s.features == 1;
            fits(spread(p.shape) && spread(h.shape));
            any(Shape { blocks: h.shape.blocks, rows: n, features }, p.zero || h.zero)
        }
        Seq::Conv([m, k, u]) => {
            let (k, u) = (array(k), array(u));
            fits(!of(*m).mask().is_transposed());
            fits(k.shape == Shape { blocks: Blocks::One, ..u.shape });
            any(u.shape, k.zero || u.zero)
        }
        Seq::Lhist([n, a, b, u, s]) | Seq::Lfin([n, a, b, u, s]) => {
            let (n, a, b, u, s) =
                (of(*n).count(), array(a).shape, array(b).shape, array(u), array(s));
            let [keys, values] = [s.shape.rows, s.shape.features];
            fits(a == Shape::one(keys, keys) && b == Shape::one(keys, 1));
            fits(s.shape.blocks == Blocks::One);
            fits([u.shape.rows, u.shape.features] == [n, values]);
            let last = matches!(node, Seq::Lfin(_));
            let blocks = if last { Blocks::One } else { u.shape.blocks };
            known(Shape { blocks, ..s.shape }, Interval::ALL, u.zero && s.zero)
        }
        other => unreachable!("{other} has no constant transition"),
    }
}

/// `krylov m n A x`: for each step `t` of `n` the product of `x` with `A`, as often as there are steps `s`
/// with `m(t, s)`.
pub(super) fn krylov(mask: Mask, n: usize, a: &Array3, x: &Array3) -> Array3 {
    let powers = std::iter::successors(Some(x.clone()), |x| Some(Array3::product(a, x)));
    let powers: Vec<Array3> = powers.take(n + 1).collect();
    let times = |t: usize| (0..n).filter(|s| mask.holds(t, *s)).count();
    let data = (0..n).flat_map(|t| powers[times(t)].data.iter().copied()).collect();
    Array3 { blocks: 1, rows: n * x.rows, features: x.features, data }
}

/// `dots n P H`: for each step and each column the inner product of a step's rows of `P` with `H`.
pub(super) fn dots(n: usize, p: &Array3, h: &Array3) -> Array3 {
    let features = p.features.max(h.features);
    let at = |x: &Array3, block, row, c| x.at(block, row, if x.features == 1 { 0 } else { c });
    Array3::from_fn([h.blocks, n, features], |block, t, c| {
        (0..h.rows).map(|k| at(p, 0, t * h.rows + k, c) * at(h, block, k, c)).sum()
    })
}

/// `conv m k u`: `y[t] = sum_j k[j] u[s]` over the steps `s` with `m(t, s)`, the latest of which has `j = 0`.
pub(super) fn conv(mask: Mask, k: &Array3, u: &Array3) -> Array3 {
    Array3::from_fn(u.shape(), |n, t, c| {
        let seen = (0..u.rows).rev().filter(|s| mask.holds(t, *s));
        seen.enumerate().map(|(j, s)| k.at(0, j, c) * u.at(n, s, c)).sum()
    })
}

/// The states before every block of `h <- A h + b u_t^T`, and the one after `live` steps.
pub(super) fn states([a, b, u, s]: [&Array3; 4], live: usize) -> (Array3, Array3) {
    let mut all = Array3::filled([u.blocks, s.rows, s.features], 0.0);
    let (mut state, size) = (s.clone(), s.data.len());
    let mut last = s.clone();
    for block in 0..u.blocks {
        all.data[block * size..(block + 1) * size].copy_from_slice(&state.data);
        for t in 0..u.rows {
            let moved = Array3::product(a, &state);
            let write = |_, k, c| moved.at(0, k, c) + b.at(0, k, 0) * u.at(block, t, c);
            state = Array3::from_fn(moved.shape(), write);
            if block * u.rows + t + 1 == live {
                last = state.clone();
            }
        }
    }
    (all, last)
}
