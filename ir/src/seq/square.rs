//! Squares of features and of rows, in which mirrored entries are one: see [`crate::pairs`].

use super::shape::{any, known};
use super::{Array3, ArrayFacts, Facts, Seq, Shape};
use crate::pairs::{Rows, count, pair};
use crate::pointwise::Interval;
use egg::Id;

/// Rows that stand for a square of `width` by `width` from row `first` on, the second index of a pair
/// first if `swapped`.
fn rows(first: usize, width: usize, swapped: bool) -> Rows {
    Rows::Pairs { first, width, swapped }
}

/// Facts of a node that pairs elements from those of its operands.
///
/// # Panics
/// If the operands do not fit.
pub(super) fn facts(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let o = node.operands();
    let last = *of(*o.last().expect("these operators have operands")).array();
    let shape = last.shape;
    if let Seq::Pairs(_) = node {
        let shape = Shape { features: count(shape.features), ..shape };
        return known(shape, Interval::ALL, last.zero);
    }
    let paired = rows(of(o[0]).count(), of(o[1]).count(), false).count(shape.rows);
    let paired = Shape { rows: paired.expect("a square fits its array"), ..shape };
    match node {
        Seq::Paired(_) => known(paired, last.range, last.zero),
        _ => {
            let means = *of(o[2]).array();
            assert_eq!(means.shape, paired, "{node}: {}", means.shape);
            any(shape, means.zero && last.zero)
        }
    }
}

/// `pairs c x`.
pub(super) fn pairs(factor: usize, x: &Array3) -> Array3 {
    let extents = [x.blocks, x.rows, count(x.features)];
    Array3::from_fn(extents, |n, r, c| {
        let [i, j] = pair(x.features, c);
        let factor = if i == j { 1 } else { factor };
        factor as f64 * x.at(n, r, i) * x.at(n, r, j)
    })
}

/// `paired i n S`.
pub(super) fn paired([first, width]: [usize; 2], s: &Array3) -> Array3 {
    let [one, other] = [false, true].map(|swapped| rows(first, width, swapped));
    let count = one.count(s.rows).expect("a square fits its array");
    Array3::from_fn([s.blocks, count, s.features], |n, r, c| {
        (s.at(n, one.row(r), c) + s.at(n, other.row(r), c)) / 2.0
    })
}

/// `unpaired i n R S`.
pub(super) fn unpaired([first, width]: [usize; 2], means: &Array3, s: &Array3) -> Array3 {
    let mut result = s.clone();
    for r in 0..means.rows {
        let [one, other] = [false, true].map(|swapped| rows(first, width, swapped).row(r));
        for c in 0..s.features {
            let half = (s.at(0, one, c) - s.at(0, other, c)) / 2.0;
            result.data[one * s.features + c] = means.at(0, r, c) + half;
            result.data[other * s.features + c] = means.at(0, r, c) - half;
        }
    }
    result
}
