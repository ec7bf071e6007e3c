//! Histories whose transition is one dense matrix for all steps, and the powers that blocks of them need.

use super::shape::{any, known};
use super::{Array3, ArrayFacts, Facts, Mask, Seq, Shape};
use egg::Id;

/// Facts of a node of a dense history from those of its operands.
///
/// # Panics
/// If the operands do not fit.
pub(super) fn facts(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let array = |id: &Id| *of(*id).array();
    let fits = |right: bool| assert!(right, "{node}: extents of a dense transition");
    match node {
        Seq::Tr([x]) => {
            let x = array(x);
            let shape = Shape { rows: x.shape.features, features: x.shape.rows, ..x.shape };
            known(shape, x.range, x.zero)
        }
        Seq::Power([_, a]) => any(array(a).shape, false),
        Seq::Orbit([_, n, a, b]) => {
            let (n, a, b) = (of(*n).count(), array(a), array(b));
            fits(a.shape == Shape::one(b.shape.features, b.shape.features));
            any(Shape::one(n * b.shape.rows, b.shape.features), b.zero)
        }
        Seq::Impulse([_, n, a, q, b]) => {
            let (n, a, q, b) = (of(*n).count(), array(a).shape, array(q), array(b));
            fits(a == Shape::one(q.shape.features, b.shape.features));
            any(Shape::one(n * q.shape.rows, n * b.shape.rows), q.zero || b.zero)
        }
        Seq::Dhist([_, a, b, d, s]) => {
            let (a, b, d, s) = (array(a).shape, array(b), array(d), array(s));
            let (keys, values) = (b.shape.features, d.shape.features);
            fits(a == Shape::one(keys, keys) && s.shape == Shape::one(keys, values));
            fits(b.shape == Shape::one(d.shape.rows, keys));
            let shape = Shape { rows: keys, ..d.shape };
            any(shape, s.zero && (b.zero || d.zero))
        }
        _ => {
            let o = node.operands();
            let (x, s) = (array(&o[0]), array(&o[1]));
            fits(x.shape == Shape::token(s.shape.rows, s.shape.features));
            any(s.shape, x.zero && s.zero)
        }
    }
}

/// `a^n` for a square matrix.
pub(super) fn power(a: &Array3, n: usize) -> Array3 {
    let (mut result, mut square, mut rest) = (Array3::identity(1, a.rows), a.clone(), n);
    while rest > 0 {
        if rest % 2 == 1 {
            result = Array3::product(&result, &square);
        }
        square = Array3::product(&square, &square);
        rest /= 2;
    }
    result
}

/// `orbit m n A B`: rows of `B (A^T)^e` for each of `n` steps, with `e` the steps that `m` holds for.
pub(super) fn orbit(mask: Mask, n: usize, a: &Array3, b: &Array3) -> Array3 {
    let transition = a.transposed();
    let mut turned = vec![b.clone()];
    for e in 0..n {
        turned.push(Array3::product(&turned[e], &transition));
    }
    let exponent = |t: usize| (0..n).filter(|s| mask.holds(t, *s)).count();
    Array3::from_fn([1, n * b.rows, b.features], |_, row, c| {
        turned[exponent(row / b.rows)].at(0, row % b.rows, c)
    })
}

/// `impulse m n A q B`: `m(t,s) q A^e B^T` for each pair of `n` steps, with `e` the steps between them.
pub(super) fn impulse(mask: Mask, n: usize, [a, q, b]: [&Array3; 3]) -> Array3 {
    let keys = b.transposed();
    let mut moved = q.clone();
    let mut responses = vec![];
    for _ in 0..n {
        responses.push(Array3::product(&moved, &keys));
        moved = Array3::product(&moved, a);
    }
    Array3::from_fn([1, n * q.rows, n * b.rows], |_, row, col| {
        let (t, s) = (row / q.rows, col / b.rows);
        let response = &responses[mask.segment(t, s).len()];
        if mask.holds(t, s) { response.at(0, row % q.rows, col % b.rows) } else { 0.0 }
    })
}

/// `dhist m A B d S`: the states of `H' = A H + B^T d`, block by block.
pub(super) fn states(mask: Mask, [a, b, d, s]: [&Array3; 4]) -> Array3 {
    let (keys, values) = (s.rows, s.features);
    let mut all = Array3::filled([d.blocks, keys, values], 0.0);
    let mut state = s.clone();
    for i in 0..d.blocks {
        let n = if mask.is_transposed() { d.blocks - 1 - i } else { i };
        let written = Array3::product(&b.transposed(), &d.block(n));
        let add = |x: &Array3| Array3::zip(&[x, &written], |x| x[0] + x[1]);
        let (seen, next) = match mask {
            Mask::Strict | Mask::Tstrict => (state.clone(), add(&Array3::product(a, &state))),
            Mask::Incl => {
                let next = add(&Array3::product(a, &state));
                (next.clone(), next)
            }
            Mask::Tincl => {
                let seen = add(&state);
                (seen.clone(), Array3::product(a, &seen))
            }
        };
        let size = keys * values;
        all.data[n * size..(n + 1) * size].copy_from_slice(&seen.data);
        state = next;
    }
    all
}
