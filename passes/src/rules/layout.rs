//! Index maps: blocks moved to the leaves, where they are views of what is loaded.

use super::Sizes;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::pointwise::{Binary, Unary};

const REFERENCE: &str = "a reshape of time commutes with what acts on single rows";

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let c = sizes.chunk;
    let token = |name| Variable::new(name, 1, Extent::Steps(1), Extent::Keys);
    let mut laws = vec![
        law(("blk-unblk", ""), format!("(blk {c} (unblk {c} ?x))"), "?x".into())
            .over(&[Variable::new("?x", c, Extent::Steps(c), Extent::Keys)]),
        law(("blk-constant", ""), format!("(blk {c} ?x)"), "?x".into())
            .when(&[Guard::Constant("?x")])
            .over(&[Variable::new("?x", 0, Extent::Is(1), Extent::Keys)]),
        law(("blk-ones", ""), format!("(blk {c} (ones 1 1 1))"), format!("(ones {c} {c} 1)")),
    ];
    let unary = Unary::ALL.iter().map(|f| f.name());
    for name in unary.chain(["rowsum", "rowmax", "live"]) {
        let (lhs, rhs) = (format!("(blk {c} ({name} ?x))"), format!("({name} (blk {c} ?x))"));
        let moved = law(("blk-pointwise", name), lhs, rhs).when(&[Guard::TokenLevel("?x")]);
        laws.push(moved.over(&[token("?x")]));
    }
    for name in Binary::ALL.iter().map(|f| f.name()) {
        let lhs = format!("(blk {c} ({name} ?x ?y))");
        let rhs = format!("({name} (blk {c} ?x) (blk {c} ?y))");
        let moved = law(("blk-pointwise", name), lhs, rhs);
        let moved = moved.when(&[Guard::Blockable("?x"), Guard::Blockable("?y")]);
        laws.push(moved.over(&[token("?x"), token("?y")]));
    }
    let select = law(
        ("blk-pointwise", "select"),
        format!("(blk {c} (select ?x ?y ?z))"),
        format!("(select (blk {c} ?x) (blk {c} ?y) (blk {c} ?z))"),
    );
    let operands = ["?x", "?y", "?z"];
    laws.push(select.when(&operands.map(Guard::Blockable)).over(&operands.map(token)));
    laws.extend(products_with_constants(c));
    laws.extend(features(c));
    laws.extend(rows(c));
    laws
}

fn law(name: (&'static str, &str), lhs: String, rhs: String) -> Law {
    Law::new(name, lhs, rhs, Rounding::Exact).from(REFERENCE)
}

/// Products of token rows with one matrix for all tokens.
fn products_with_constants(c: usize) -> Vec<Law> {
    let rows = Variable::new("?x", 1, Extent::Steps(1), Extent::Keys);
    let product = |name: &str, matrix: Variable| {
        let (lhs, rhs) = (format!("(blk {c} ({name} ?x ?y))"), format!("({name} (blk {c} ?x) ?y)"));
        let moved = law(("blk-product", name), lhs, rhs);
        moved.when(&[Guard::TokenLevel("?x"), Guard::OneBlock("?y")]).over(&[rows, matrix])
    };
    vec![
        product("mm", Variable::new("?y", 0, Extent::Keys, Extent::Values)),
        product("mmt", Variable::new("?y", 0, Extent::Values, Extent::Keys)),
    ]
}

/// Rows of one token cut, joined, repeated, paired or summed.
fn rows(c: usize) -> Vec<Law> {
    let moved = |name: &'static str, x: Variable| {
        let count = Variable::new("?n", 0, Extent::Is(1), Extent::Is(1)).holding(Content::Count(2));
        let (lhs, rhs) = (format!("(blk {c} ({name} ?n ?x))"), format!("({name} ?n (blk {c} ?x))"));
        law(("blk-rows", name), lhs, rhs).when(&[Guard::TokenLevel("?x")]).over(&[x, count])
    };
    let one = Variable::new("?x", 1, Extent::Steps(1), Extent::Keys);
    let two = Variable::new("?x", 1, Extent::Steps(2), Extent::Keys);
    let operators =
        [("split", one), ("tile", one), ("pairs", one), ("top", one), ("join", two), ("tots", two)];
    operators.map(|(name, x)| moved(name, x)).to_vec()
}

/// Features joined or cut.
fn features(c: usize) -> Vec<Law> {
    let token = |name, width| Variable::new(name, 1, Extent::Steps(1), width);
    let count =
        |name, n| Variable::new(name, 0, Extent::Is(1), Extent::Is(1)).holding(Content::Count(n));
    vec![
        law(
            ("blk-features", "cat"),
            format!("(blk {c} (cat ?x ?y))"),
            format!("(cat (blk {c} ?x) (blk {c} ?y))"),
        )
        .when(&[Guard::TokenLevel("?x")])
        .over(&[token("?x", Extent::Keys), token("?y", Extent::Values)]),
        law(
            ("blk-features", "kron"),
            format!("(blk {c} (kron ?x ?y))"),
            format!("(kron (blk {c} ?x) (blk {c} ?y))"),
        )
        .when(&[Guard::TokenLevel("?x")])
        .over(&[token("?x", Extent::Keys), token("?y", Extent::Values)]),
        law(
            ("blk-features", "cols"),
            format!("(blk {c} (cols ?i ?n ?x))"),
            format!("(cols ?i ?n (blk {c} ?x))"),
        )
        .when(&[Guard::TokenLevel("?x")])
        .over(&[token("?x", Extent::Keys), count("?i", 1), count("?n", 2)]),
    ]
}
