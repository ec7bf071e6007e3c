//! Blocking of a history with one dense transition.
//!
//! Step `t` of a block sees `A^{t+1} H + sum_{s<=t} A^{t-s} x_s`: a run inside the block from the state at
//! its edge. All steps of a run are found at once, by doubling: with `A`, `A^2`, `A^4`, ... as constants a
//! run of `n` steps takes `log2 n` products.

use super::Sizes;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    [Mask::Incl, Mask::Strict].map(|mask| in_blocks(mask, sizes.chunk)).to_vec()
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
