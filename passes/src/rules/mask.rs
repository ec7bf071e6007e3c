//! Masks: where a mask says nothing new, and the mask that is a running sum.

use super::Sizes;
use super::law::{Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let mut laws = vec![];
    for mask in Mask::ALL {
        for steps in sizes.grains() {
            laws.push(repeated(*mask, steps));
        }
        laws.push(running_sum(*mask, sizes.chunk));
    }
    laws
}

/// Scores are masked already. Masked products and segments are in the classes of scores, so this
/// one law serves them too.
fn repeated(mask: Mask, steps: usize) -> Law {
    let score = format!("(score {mask} ?p ?a ?g)");
    let rows = Extent::Steps(steps);
    Law::new(
        ("mask-score", &format!("{mask}-{steps}")),
        format!("(mask {mask} {steps} {score})"),
        score,
        Rounding::Exact,
    )
    .when(&[Guard::Rows("?g", steps)])
    .over(&[
        Variable::new("?p", steps, rows, Extent::Keys),
        Variable::new("?a", steps, rows, Extent::Keys),
        Variable::gate("?g", steps, steps, Extent::Keys),
    ])
    .from("definition of score")
}

/// Masked scores of ones are the mask itself, and its product is a running sum.
fn running_sum(mask: Mask, chunk: usize) -> Law {
    let ones = format!("(ones {chunk} {chunk} 1)");
    Law::new(
        ("mask-run", mask.name()),
        format!("(mm (mask {mask} {chunk} (mmt {ones} {ones})) ?x)"),
        format!("(run {mask} ?x)"),
        Rounding::Reorders,
    )
    .when(&[Guard::Rows("?x", chunk)])
    .over(&[Variable::new("?x", chunk, Extent::Is(chunk), Extent::Values)])
    .from("definition of run")
}
