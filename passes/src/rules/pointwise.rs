//! Neutral elements, and decays that meet as exponents.

use super::Sizes;
use super::law::{Extent, Guard, Law, Rounding, Variable};

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let c = sizes.chunk;
    let x = Variable::new("?x", c, Extent::Is(c), Extent::Keys);
    let y = Variable { name: "?y", ..x };
    let g = Variable::gate("?g", c, c, Extent::Keys);
    let neutral = |family, lhs: &str, rhs: &str| {
        Law::new((family, ""), lhs, rhs, Rounding::Exact).from("neutral element")
    };
    vec![
        neutral("mul-exp-zero", "(mul ?x (exp ?g))", "?x")
            .when(&[Guard::Zero("?g"), Guard::Covers("?x", "?g")])
            .over(&[x, g]),
        neutral("add-zero", "(add ?x ?y)", "?x")
            .when(&[Guard::Zero("?y"), Guard::Covers("?x", "?y")])
            .over(&[x, y]),
        neutral("zero-add", "(add ?x ?y)", "?y")
            .when(&[Guard::Zero("?x"), Guard::Covers("?y", "?x")])
            .over(&[x, y]),
        Law::new(
            ("exp-run", ""),
            "(mul (mul ?x (exp ?g)) (exp (run strict ?g)))",
            "(mul ?x (exp (run incl ?g)))",
            Rounding::Rescales,
        )
        .over(&[x, g])
        .from("e^a e^b = e^{a+b}"),
    ]
}
