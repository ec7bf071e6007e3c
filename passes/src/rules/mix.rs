//! Mixing: sums of written values, decayed on the way, in one block.

use super::Sizes;
use super::law::{Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let mut laws = vec![];
    for mask in Mask::ALL {
        for steps in sizes.grains() {
            laws.push(undecayed(*mask, steps));
        }
        laws.push(scalar(*mask, sizes.chunk));
        laws.extend(sizes.sub_block.map(|block| in_sub_blocks(*mask, sizes.chunk, block)));
    }
    laws
}

/// Weights, values and gates of a mix of that many steps.
fn variables(steps: usize, width: Extent) -> [Variable; 3] {
    [
        Variable::new("?x", steps, Extent::Steps(steps), Extent::Steps(steps)),
        Variable::new("?y", steps, Extent::Steps(steps), Extent::Values),
        Variable::gate("?g", steps, steps, width),
    ]
}

fn undecayed(mask: Mask, steps: usize) -> Law {
    Law::new(
        ("mix-undecayed", &format!("{mask}-{steps}")),
        format!("(vmix {mask} ?x ?y ?g)"),
        format!("(mm (mask {mask} {steps} ?x) ?y)"),
        Rounding::Exact,
    )
    .when(&[Guard::Rows("?g", steps), Guard::Zero("?g")])
    .over(&variables(steps, Extent::Values))
    .from("definition of vmix without decay")
}

fn scalar(mask: Mask, steps: usize) -> Law {
    Law::new(
        ("mix-scalar", mask.name()),
        format!("(vmix {mask} ?x ?y ?g)"),
        format!("(mm (mul (seg {mask} ?g) ?x) ?y)"),
        Rounding::Rescales,
    )
    .when(&[Guard::Narrow("?g"), Guard::NonZero("?g")])
    .over(&variables(steps, Extent::Is(1)))
    .from("a scalar decay leaves the sum over values")
}

fn in_sub_blocks(mask: Mask, chunk: usize, block: usize) -> Law {
    let (coarse, count) = (mask.of_blocks(), chunk / block);
    let cut = |x: &str| format!("(unblk {count} {x})");
    let decay = |run: Mask| format!("(blk {count} (exp (run {run} {})))", cut("?g"));
    let (read, write) = (decay(mask.read_run()), decay(mask.write_run()));
    let gates = format!("(blk {count} (tot {}))", cut("?g"));
    let inside = format!("(vmix {mask} (bget {count} ?x) {} {})", cut("?y"), cut("?g"));
    Law::new(
        ("mix-subblock", mask.name()),
        format!("(vmix {mask} ?x ?y ?g)"),
        format!(
            "(add (mul {read} (vmix {coarse} ?x (mul ?y {write}) {gates})) (blk {count} {inside}))"
        ),
        Rounding::Rescales,
    )
    .when(&[Guard::Rows("?g", chunk), Guard::NonZero("?g"), Guard::Wide("?g")])
    .over(&variables(chunk, Extent::Values))
    .from("secondary chunking of the value side")
}
