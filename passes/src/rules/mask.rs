//! Masks: where a mask says nothing new, and the mask that is a running sum.

use super::Sizes;
use super::law::{Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let mut laws = vec![];
    for mask in Mask::ALL {
        for steps in sizes.grains() {
            laws.extend(repeated(*mask, steps));
        }
        laws.push(running_sum(*mask, sizes.chunk));
    }
    laws
}

/// A mask of what is masked already.
fn repeated(mask: Mask, steps: usize) -> [Law; 3] {
    let law = |family, masked: &str| {
        Law::new(
            (family, &format!("{mask}-{steps}")),
            format!("(mask {mask} {steps} {masked})"),
            masked,
            Rounding::Exact,
        )
        .from("a mask twice is the mask once")
    };
    let rows = Extent::Steps(steps);
    let gate = Variable::gate("?g", steps, steps, Extent::Keys);
    let scores = Variable::new("?x", steps, Extent::Is(steps), Extent::Is(steps));
    [
        law("mask-score", &format!("(score {mask} ?p ?a ?g)"))
            .when(&[Guard::Rows("?g", steps)])
            .over(&[
                Variable::new("?p", steps, rows, Extent::Keys),
                Variable::new("?a", steps, rows, Extent::Keys),
                gate,
            ]),
        law("mask-seg", &format!("(mul (seg {mask} ?g) ?x)"))
            .when(&[Guard::Rows("?g", steps), Guard::Rows("?x", steps)])
            .over(&[Variable::gate("?g", steps, steps, Extent::Is(1)), scores]),
        law("mask-mask", &format!("(mask {mask} {steps} ?x)"))
            .over(&[Variable::new("?x", steps, rows, rows)]),
    ]
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
