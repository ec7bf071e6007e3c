//! Blocking of a history with one dense transition: its powers, and the convolution inside a block.
//!
//! Row `t` of a block reads `A^{t+1} H + sum_{s<=t} A^{t-s} B^T d_s`. The powers are constants: the first
//! part is a product with the state at the block's edge, the second a product with the Toeplitz matrix of
//! the impulse response. With one block for all tokens only the convolution is left.

use super::Sizes;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    [Mask::Incl, Mask::Strict].map(|mask| in_blocks(mask, sizes.chunk)).to_vec()
}

fn in_blocks(mask: Mask, chunk: usize) -> Law {
    let (before, read, write) = (mask.of_blocks(), mask.read_run(), mask.write_run());
    let values = format!("(blk {chunk} ?d)");
    let states =
        format!("(dhist {before} (power {chunk} ?a) (orbit {write} {chunk} ?a ?b) {values} ?s)");
    let from_edge = format!("(mm (orbit {read} {chunk} (tr ?a) ?q) {states})");
    let inside = format!("(mm (impulse {mask} {chunk} ?a ?q ?b) {values})");
    let square = Variable::new("?a", 0, Extent::Keys, Extent::Keys);
    Law::new(
        ("block-dense", mask.name()),
        format!("(mm ?q (dhist {mask} ?a ?b ?d ?s))"),
        format!("(unblk {chunk} (add {from_edge} {inside}))"),
        Rounding::Reorders,
    )
    .when(&[Guard::TokenLevel("?d"), Guard::OneBlock("?q")])
    .over(&[
        square.holding(Content::Contraction),
        Variable::new("?b", 0, Extent::Steps(1), Extent::Keys),
        Variable::new("?q", 0, Extent::Is(2), Extent::Keys),
        Variable::new("?d", 1, Extent::Steps(1), Extent::Values),
        Variable::new("?s", 0, Extent::Keys, Extent::Values),
    ])
    .from("variation of constants; [Gu 2021, sec. 3]")
}
