//! States that a small matrix mixes at every step: `n` states of one shape, stacked, with
//! `H' = (R_t x I) H + ..` for an `n x n` matrix `R_t`.
//!
//! Arrays of matrices are `[N, Cn, n]`, the rows of one step after those of another; what is stacked is
//! `[.., nK]`. Matrices are multiplied, never inverted, later ones from the left.

use super::shape::any;
use super::{Array3, ArrayFacts, Facts, Mask, Seq, Shape};
use egg::Id;

/// Facts of a node of mixed states from those of its operands.
///
/// # Panics
/// If the operands do not fit.
pub(super) fn facts(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let array = |id: &Id| *of(*id).array();
    let fits = |right: bool| assert!(right, "{node}: extents of mixed states");
    let steps = |r: Shape| {
        fits(r.rows.is_multiple_of(r.features));
        r.rows / r.features
    };
    match node {
        Seq::Mprod([_, r]) => {
            let r = array(r).shape;
            steps(r);
            any(r, false)
        }
        Seq::Mall([r]) => {
            let r = array(r).shape;
            steps(r);
            any(Shape { rows: r.features, ..r }, false)
        }
        Seq::Blend([r, x]) | Seq::Blendt([r, x]) => {
            let (r, x) = (array(r).shape, array(x));
            fits(x.shape.rows.is_multiple_of(steps(r)) && r.blocks == x.shape.blocks);
            fits(x.shape.features.is_multiple_of(r.features));
            any(x.shape, x.zero)
        }
        Seq::Mscore([m, p, a, r]) => {
            let (p, a, r) = (array(p), array(a), array(r).shape);
            let whole = |rows: usize| rows.is_multiple_of(steps(r));
            fits(!of(*m).mask().is_transposed() && whole(p.shape.rows) && whole(a.shape.rows));
            fits(p.shape.features == a.shape.features && p.shape.blocks == a.shape.blocks);
            fits(p.shape.features.is_multiple_of(r.features) && r.blocks == p.shape.blocks);
            any(Shape { features: a.shape.rows, ..p.shape }, p.zero || a.zero)
        }
        other => unreachable!("{other} mixes nothing"),
    }
}

/// Matrix `step` of a block.
fn matrix(r: &Array3, block: usize, step: usize) -> Array3 {
    let n = r.features;
    Array3::from_fn([1, n, n], |_, i, j| r.at(block, step * n + i, j))
}

/// The product of the matrices of some steps of a block, the last from the left.
fn product(r: &Array3, block: usize, steps: impl Iterator<Item = usize>) -> Array3 {
    steps.fold(Array3::identity(1, r.features), |all, step| {
        Array3::product(&matrix(r, block, step), &all)
    })
}

/// `mprod m R`: at step `t` the product of the matrices at all `s` with `m(t, s)`.
pub(super) fn running(mask: Mask, r: &Array3) -> Array3 {
    let (n, steps) = (r.features, r.rows / r.features);
    let mut all = Array3::filled(r.shape(), 0.0);
    for block in 0..r.blocks {
        for t in 0..steps {
            let found = product(r, block, (0..steps).filter(|s| mask.holds(t, *s)));
            let first = (block * r.rows + t * n) * n;
            all.data[first..first + n * n].copy_from_slice(&found.data);
        }
    }
    all
}

/// `mall R`: the product of all matrices of a block.
pub(super) fn total(r: &Array3) -> Array3 {
    let n = r.features;
    let all: Vec<Array3> = (0..r.blocks).map(|block| product(r, block, 0..r.rows / n)).collect();
    Array3::from_fn([r.blocks, n, n], |block, i, j| all[block].at(0, i, j))
}

/// `blend R x` or, transposed, `blendt R x`: the matrix of each step applied to the parts of its rows.
pub(super) fn blend(r: &Array3, x: &Array3, transposed: bool) -> Array3 {
    let n = r.features;
    let (width, per) = (x.features / n, x.rows / (r.rows / n));
    Array3::from_fn(x.shape(), |block, row, c| {
        let (i, c) = (c / width, c % width);
        let entry = |j: usize| {
            let (i, j) = if transposed { (j, i) } else { (i, j) };
            r.at(block, row / per * n + i, j)
        };
        (0..n).map(|j| entry(j) * x.at(block, row, j * width + c)).sum()
    })
}

/// `mscore m p a R`: inner products of readers with what the steps between make of writers.
pub(super) fn score(mask: Mask, [p, a, r]: [&Array3; 3]) -> Array3 {
    let n = r.features;
    let steps = r.rows / n;
    let (per_t, per_s, width) = (p.rows / steps, a.rows / steps, p.features / n);
    Array3::from_fn([p.blocks, p.rows, a.rows], |block, row, col| {
        let (t, s) = (row / per_t, col / per_s);
        if !mask.holds(t, s) {
            return 0.0;
        }
        let between = product(r, block, mask.segment(t, s));
        let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
        pairs
            .map(|(i, j)| {
                let dot =
                    |c: usize| p.at(block, row, i * width + c) * a.at(block, col, j * width + c);
                between.at(0, i, j) * (0..width).map(dot).sum::<f64>()
            })
            .sum()
    })
}

/// `(R x I) H` for one matrix and stacked states `[1, nK, V]`.
pub(super) fn advanced(r: &Array3, state: &Array3) -> Array3 {
    let (n, keys) = (r.features, state.rows / r.features);
    Array3::from_fn(state.shape(), |_, row, v| {
        (0..n).map(|j| r.at(0, row / keys, j) * state.at(0, j * keys + row % keys, v)).sum()
    })
}
