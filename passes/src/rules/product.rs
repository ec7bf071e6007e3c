//! Factors of products, and inner products of features that are made of others.

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
    [vec![scale_out], inner_products(c), regrouped()].concat()
}

/// Products of three matrices of a token: which two come first is a question of their sizes.
fn regrouped() -> Vec<Law> {
    let rows = |name, steps, width| Variable::new(name, 1, Extent::Steps(steps), width);
    let (scores, state) = ("(mm (mmt ?q ?k) ?v)", "(mm ?q (tmm ?k ?v))");
    let law = |name, lhs: &str, rhs: &str| {
        Law::new(("product-regroup", name), lhs, rhs, Rounding::Reorders)
            .when(&[Guard::TokenLevel("?q")])
            .over(&[
                rows("?q", 2, Extent::Keys),
                rows("?k", 3, Extent::Keys),
                rows("?v", 3, Extent::Values),
            ])
            .from("(Q K^T) V = Q (K^T V); [Katharopoulos 2020, sec. 3.2]")
    };
    vec![law("state", scores, state), law("scores", state, scores)]
}

/// Scores of features need not have the features: those of all products of two vectors' elements are
/// products of two scores.
fn inner_products(c: usize) -> Vec<Law> {
    let rows = |name, width| Variable::new(name, c, Extent::Steps(c), width);
    let [a, b, x, y] = [
        rows("?a", Extent::Keys),
        rows("?b", Extent::Values),
        rows("?x", Extent::Keys),
        rows("?y", Extent::Values),
    ];
    let parts = [a, b, x, y];
    let factor = Variable::new("?f", 0, Extent::Is(1), Extent::Is(1));
    let other = Variable { name: "?z", ..x };
    let scaled = |side, lhs: &str| {
        let law =
            Law::new(("product-scale", side), lhs, "(mul (mmt ?x ?z) ?f)", Rounding::Reorders);
        law.when(&[Guard::Scalar("?f")]).over(&[x, other, factor]).from("inner products are linear")
    };
    vec![
        Law::new(
            ("product-kron", ""),
            "(mmt (kron ?a ?b) (kron ?x ?y))",
            "(mul (mmt ?a ?x) (mmt ?b ?y))",
            Rounding::Reorders,
        )
        .when(&[Guard::SameWidth("?a", "?x")])
        .over(&parts)
        .from("(a (x) b) . (x (x) y) = (a . x) (b . y); [Arora 2024, sec. 4]"),
        // Readers count the pairs that keys have once.
        Law::new(
            ("product-pairs", ""),
            "(mmt (pairs 2 ?a) (pairs 1 ?x))",
            "(mul (mmt ?a ?x) (mmt ?a ?x))",
            Rounding::Reorders,
        )
        .over(&[a, x])
        .from("a_i a_j x_i x_j is symmetric in i and j; [Arora 2024, sec. 4]"),
        Law::new(
            ("product-cat", ""),
            "(mmt (cat ?a ?b) (cat ?x ?y))",
            "(add (mmt ?a ?x) (mmt ?b ?y))",
            Rounding::Reorders,
        )
        .when(&[Guard::SameWidth("?a", "?x")])
        .over(&parts)
        .from("an inner product is the sum of those of its parts"),
        scaled("left", "(mmt (mul ?x ?f) ?z)"),
        scaled("right", "(mmt ?x (mul ?z ?f))"),
    ]
}
