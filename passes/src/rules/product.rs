//! Factors of products.

use super::Sizes;
use super::law::{Extent, Guard, Law, Rounding, Variable};

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let c = sizes.chunk;
    // A factor of output rows belongs on the accumulator, so that the operand stays as loaded.
    let scale_out = Law::new(
        ("scale-out", ""),
        "(mm (mul ?x ?f) ?h)",
        "(mul (mm ?x ?h) ?f)",
        Rounding::Rescales,
    )
    .when(&[Guard::FactorOfRows("?f", "?x")])
    .over(&[
        Variable::new("?x", c, Extent::Is(c), Extent::Keys),
        Variable::new("?f", c, Extent::Is(c), Extent::Is(1)),
        Variable::new("?h", c, Extent::Keys, Extent::Values),
    ])
    .from("diag(f) x h associates");
    vec![scale_out]
}
