//! States whose transition is one dense matrix for all steps. They are rows: `h <- h A^T + x_t`.

use super::shape::{any, known};
use super::{Array3, ArrayFacts, Blocks, Facts, Mask, Seq, Shape};
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
        Seq::Drun([m, n, a, x, edge]) | Seq::Dhist([m, n, a, x, edge]) => {
            let (n, a, x, edge) = (of(*n).count(), array(a).shape, array(x), array(edge));
            let (rows, keys) = (edge.shape.rows, x.shape.features);
            fits(!of(*m).mask().is_transposed());
            fits(a == Shape::one(keys, keys) && x.shape.rows == n * rows);
            let run = matches!(node, Seq::Drun(_));
            let blocks = if run { x.shape.blocks } else { Blocks::One };
            fits(edge.shape == Shape { blocks, rows, features: keys });
            any(if run { x.shape } else { Shape { rows, ..x.shape } }, x.zero && edge.zero)
        }
        _ => {
            let o = node.operands();
            let (x, s) = (array(&o[0]), array(&o[1]));
            fits(x.shape == Shape::token(s.shape.rows, s.shape.features));
            any(s.shape, x.zero && s.zero)
        }
    }
}

/// The state after one step more.
fn advanced(h: &Array3, transition: &Array3, x: impl Fn(usize, usize) -> f64) -> Array3 {
    let moved = Array3::product(h, transition);
    Array3::from_fn(moved.shape(), |_, r, c| moved.at(0, r, c) + x(r, c))
}

/// `drun m n A x H`: the states at every step of each block.
pub(super) fn run(mask: Mask, n: usize, [a, x, h]: [&Array3; 3]) -> Array3 {
    let transition = a.transposed();
    let mut all = Vec::with_capacity(x.data.len());
    for block in 0..x.blocks {
        let mut state = h.block(block);
        for t in 0..n {
            let next = advanced(&state, &transition, |r, c| x.at(block, t * h.rows + r, c));
            let seen = if mask == Mask::Strict { &state } else { &next };
            all.extend_from_slice(&seen.data);
            state = next;
        }
    }
    Array3 { blocks: x.blocks, rows: x.rows, features: x.features, data: all }
}

/// `dhist m n A x S`: the states at the edges of blocks of `n` steps.
pub(super) fn states(mask: Mask, n: usize, [a, x, s]: [&Array3; 3]) -> Array3 {
    let transition = a.transposed();
    let mut all = Array3::filled([x.blocks, s.rows, s.features], 0.0);
    let (mut state, size) = (s.clone(), s.data.len());
    for block in 0..x.blocks {
        let before = state.clone();
        for t in 0..n {
            state = advanced(&state, &transition, |r, c| x.at(block, t * s.rows + r, c));
        }
        let seen = if mask == Mask::Strict { &before } else { &state };
        all.data[block * size..(block + 1) * size].copy_from_slice(&seen.data);
    }
    all
}
