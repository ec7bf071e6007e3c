//! Blocking of a history with one dense transition.
//!
//! Step `t` of a block sees `A^{t+1} H + sum_{s<=t} A^{t-s} x_s`: a run inside the block from the state at
//! its edge. All steps of a run are found at once, by doubling: with `A`, `A^2`, `A^4`, ... as constants a
//! run of `n` steps takes `log2 n` products.
//!
//! Where all columns are written along one constant vector `b`, a read by constant vectors `c` needs no
//! state inside the block: it is the convolution of what is written with `c^T A^j b`, and `c^T A^t H`.

use super::Sizes;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let mut laws = vec![last(sizes.chunk)];
    for mask in [Mask::Incl, Mask::Strict] {
        laws.extend([in_blocks(mask, sizes.chunk), convolution(mask, sizes.chunk)]);
    }
    laws
}

/// A history of several columns that are written along one vector.
fn written_along_one(mask: Mask) -> String {
    format!("(dhist {mask} 1 ?a (mul (split ?r ?u) ?b) ?s)")
}

/// Its loop over blocks.
fn loop_of_blocks(result: &str, chunk: usize) -> String {
    format!("({result} {chunk} ?a (tr ?b) (blk {chunk} ?u) (tr ?s))")
}

/// The read of each column by a vector of its own.
fn convolution(mask: Mask, chunk: usize) -> Law {
    let states = format!("(join ?k (tr {}))", written_along_one(mask));
    let powers = |mask: Mask| format!("(krylov {mask} {chunk} (tr ?a) ?c)");
    let kernel = format!("(dots {chunk} {} (tr ?b))", powers(Mask::Strict));
    let before = format!("(dots {chunk} {} {})", powers(mask), loop_of_blocks("lhist", chunk));
    Law::new(
        ("dense-convolution", mask.name()),
        format!("(tots ?k (split ?k (mul (join ?k ?c) {states})))"),
        format!("(unblk {chunk} (add (conv {mask} {kernel} (blk {chunk} ?u)) {before}))"),
        Rounding::Reorders,
    )
    .when(&[Guard::TokenLevel("?u"), Guard::OneBlock("?c"), Guard::Constant("?b")])
    .over(&single_input())
    .over(&[
        Variable::new("?c", 0, Extent::Is(KEYS), Extent::Is(COLUMNS)),
        Variable::new("?k", 0, Extent::Is(1), Extent::Is(1)).holding(Content::Count(KEYS)),
    ])
    .from("y = K * u with K_j = C A^j B; [Gu 2021, sec. 3.2]")
}

/// The state after the last token, without those before it.
fn last(chunk: usize) -> Law {
    Law::new(
        ("dense-last", ""),
        format!("(last {} ?s)", written_along_one(Mask::Incl)),
        format!("(tr {})", loop_of_blocks("lfin", chunk)),
        Rounding::Reorders,
    )
    .when(&[Guard::TokenLevel("?u"), Guard::Constant("?b")])
    .over(&single_input())
    .from("variation of constants; [Gu 2021, sec. 3]")
}

/// Sizes with which the law test draws what has named counts.
const KEYS: usize = 3;
const COLUMNS: usize = 2;

fn single_input() -> [Variable; 5] {
    [
        Variable::new("?a", 0, Extent::Is(KEYS), Extent::Is(KEYS)).holding(Content::Contraction),
        Variable::new("?b", 0, Extent::Is(1), Extent::Is(KEYS)),
        Variable::new("?u", 1, Extent::Is(1), Extent::Is(COLUMNS)),
        Variable::new("?s", 0, Extent::Is(COLUMNS), Extent::Is(KEYS)),
        Variable::new("?r", 0, Extent::Is(1), Extent::Is(1)).holding(Content::Count(COLUMNS)),
    ]
}

fn in_blocks(mask: Mask, chunk: usize) -> Law {
    let written = format!("(blk {chunk} ?x)");
    let edges = format!("(dhist {} {chunk} ?a {written} ?s)", mask.of_blocks());
    Law::new(
        ("block-dense", mask.name()),
        format!("(dhist {mask} 1 ?a ?x ?s)"),
        format!("(unblk {chunk} (drun {mask} {chunk} ?a {written} {edges}))"),
        Rounding::Reorders,
    )
    .when(&[Guard::TokenLevel("?x")])
    .over(&[
        Variable::new("?a", 0, Extent::Keys, Extent::Keys).holding(Content::Contraction),
        Variable::new("?x", 1, Extent::Steps(1), Extent::Keys),
        Variable::new("?s", 0, Extent::Steps(1), Extent::Keys),
    ])
    .from("variation of constants; [Gu 2021, sec. 3]")
}
