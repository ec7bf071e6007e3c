//! Where the solve of a history's feedback happens: in the loop, before it, or after it.

use super::Sizes;
use super::history::core_variables;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

const REFERENCE: &str =
    "(I - L) Z = p H + b solved for Z; [Bischof and Van Loan 1987], [Yang 2024]";

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let mut laws = vec![];
    for mask in [Mask::Strict, Mask::Tstrict] {
        for result in ["hist", "hz", "fin"] {
            laws.push(solve_early(mask, result, sizes.chunk));
        }
        let lhs = format!("(hz {mask} ?g ?w ?a ?l ?p ?b ?c ?d ?s)");
        let rhs = format!("(solve ?l (add (mm ?p (hist {mask} ?g ?w ?a ?l ?p ?b ?c ?d ?s)) ?b))");
        laws.push(
            Law::new(("written", mask.name()), lhs, rhs, Rounding::Reorders)
                .when(&[Guard::BlockLevel("?g")])
                .over(&core_variables(sizes.chunk, mask.is_transposed()))
                .from("definition of the written values"),
        );
    }
    let c = sizes.chunk;
    let square = Extent::Is(c);
    let l = Variable::new("?l", c, square, square).holding(Content::Lower);
    let x = Variable::new("?x", c, square, Extent::Values);
    let law = |family, lhs: &str, rhs: &str, rounding| {
        Law::new((family, ""), lhs, rhs, rounding).from(REFERENCE)
    };
    laws.push(
        law("solve-mm", "(solve ?l (mm ?x ?h))", "(mm (solve ?l ?x) ?h)", Rounding::Reorders).over(
            &[
                l,
                Variable::new("?x", c, square, Extent::Keys),
                Variable::new("?h", c, Extent::Keys, Extent::Values),
            ],
        ),
    );
    laws.push(
        law("solve-inverse", "(solve ?l ?x)", "(mm (tinv ?l) ?x)", Rounding::Reorders)
            .when(&[Guard::NonZero("?l"), Guard::ManyRows("?l"), Guard::BlockLevel("?l")])
            .over(&[l, x]),
    );
    laws
}

/// The loop's feedback without its triangle: readers and free parts are solved ahead of the loop.
fn solve_early(mask: Mask, result: &str, chunk: usize) -> Law {
    let lhs = format!("({result} {mask} ?g ?w ?a ?l ?p ?b ?c ?d ?s)");
    let rhs = format!(
        "({result} {mask} ?g ?w ?a (mul ?l (zero 0 1 1)) (solve ?l ?p) (solve ?l ?b) ?c ?d ?s)"
    );
    let instance = format!("{result}-{mask}");
    Law::new(("solve-early", &instance), lhs, rhs, Rounding::Reorders)
        .when(&[Guard::NonZero("?l"), Guard::BlockLevel("?g")])
        .over(&core_variables(chunk, mask.is_transposed()))
        .from(REFERENCE)
}
