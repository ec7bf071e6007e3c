//! Scores: decayed inner products of readers and writers in one block.

use super::Sizes;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let mut laws = vec![];
    for mask in Mask::ALL {
        for steps in sizes.grains() {
            laws.push(undecayed(*mask, steps));
            laws.extend(factored(*mask, steps));
        }
        laws.push(scalar(*mask, sizes.chunk));
        laws.extend(sizes.sub_block.map(|block| in_sub_blocks(*mask, sizes.chunk, block)));
    }
    laws
}

/// Readers, writers and gates of a score of that many steps.
fn variables(steps: usize, width: Extent) -> [Variable; 3] {
    [
        Variable::new("?p", steps, Extent::Steps(steps), Extent::Keys),
        Variable::new("?a", steps, Extent::Steps(steps), Extent::Keys),
        Variable::gate("?g", steps, steps, width),
    ]
}

fn undecayed(mask: Mask, steps: usize) -> Law {
    Law::new(
        ("score-undecayed", &format!("{mask}-{steps}")),
        format!("(score {mask} ?p ?a ?g)"),
        format!("(mask {mask} {steps} (mmt ?p ?a))"),
        Rounding::Exact,
    )
    .when(&[Guard::Rows("?g", steps), Guard::Zero("?g")])
    .over(&variables(steps, Extent::Keys))
    .from("definition of score without decay; [Katharopoulos 2020]")
}

fn scalar(mask: Mask, steps: usize) -> Law {
    Law::new(
        ("score-scalar", mask.name()),
        format!("(score {mask} ?p ?a ?g)"),
        format!("(mul (seg {mask} ?g) (mmt ?p ?a))"),
        Rounding::Rescales,
    )
    .when(&[Guard::Narrow("?g"), Guard::NonZero("?g")])
    .over(&[
        Variable::new("?p", steps, Extent::Is(steps), Extent::Keys),
        Variable::new("?a", steps, Extent::Steps(steps), Extent::Keys),
        Variable::gate("?g", steps, steps, Extent::Is(1)),
    ])
    .from("a scalar decay leaves the sum over keys; [Dao and Gu 2024, sec. 6]")
}

/// One product, with a positive exponent that the cost must bound.
fn factored(mask: Mask, steps: usize) -> Option<Law> {
    let run = match mask {
        Mask::Incl => Mask::Incl,
        Mask::Strict => Mask::Strict,
        // Stated for forward reads; their transposes have no user yet.
        Mask::Tincl | Mask::Tstrict => return None,
    };
    let reader = format!("(mul ?p (exp (run {run} ?g)))");
    let writer = "(mul ?a (exp (neg (run incl ?g))))";
    let mut variables = variables(steps, Extent::Keys);
    variables[2] = variables[2].holding(Content::BoundedGate);
    let law = Law::new(
        ("score-factored", &format!("{mask}-{steps}")),
        format!("(score {mask} ?p ?a ?g)"),
        format!("(mask {mask} {steps} (mmt {reader} {writer}))"),
        Rounding::Rescales,
    )
    .when(&[Guard::Rows("?g", steps), Guard::NonZero("?g"), Guard::Wide("?g")])
    .over(&variables)
    .from("e^{G_t - G_s} as a product, where the range of the gates allows it; [Yang 2023, eq. 4]");
    Some(law)
}

/// Whole sub-blocks decay together; only pairs inside one sub-block keep a decay of their own.
fn in_sub_blocks(mask: Mask, chunk: usize, block: usize) -> Law {
    let (coarse, count) = (mask.of_blocks(), chunk / block);
    let cut = |x: &str| format!("(unblk {count} {x})");
    let decay = |run: Mask| format!("(blk {count} (exp (run {run} {})))", cut("?g"));
    let (read, write) = (decay(mask.read_run()), decay(mask.write_run()));
    let gates = format!("(blk {count} (tot {}))", cut("?g"));
    let inside = format!("(score {mask} {} {} {})", cut("?p"), cut("?a"), cut("?g"));
    Law::new(
        ("score-subblock", mask.name()),
        format!("(score {mask} ?p ?a ?g)"),
        format!(
            "(add (score {coarse} (mul ?p {read}) (mul ?a {write}) {gates}) \
             (bdiag {count} {inside}))"
        ),
        Rounding::Rescales,
    )
    .when(&[Guard::Rows("?g", chunk), Guard::NonZero("?g"), Guard::Wide("?g")])
    .over(&variables(chunk, Extent::Keys))
    .from("secondary chunking: every exponent is a sum of gates; [Yang 2023, sec. 4.3]")
}
