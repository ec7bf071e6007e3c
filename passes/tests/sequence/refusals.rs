//! Programs without a chunked form are refused at the sub-term to blame.

use crate::agreement::{options, problem};
use crate::step_form::Step;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::pointwise::Unary;
use sluice_ir::step::{DimId, Formula, NodeId, Recurrence};
use sluice_passes::{chunk, lift};

fn refusal(recurrence: &Recurrence) -> Diagnostic {
    let mut refused = lift(recurrence, &problem().extents).expect_err("the program has no form");
    assert_eq!(refused.len(), 1);
    refused.remove(0)
}

/// A program with inputs and a state, an update made by `make`, and the node to blame.
fn refused(make: impl Fn(&mut Step, NodeId) -> (NodeId, NodeId)) -> Diagnostic {
    let mut p = Step::new("refused");
    let s = p.state("S", "KV");
    let (next, blamed) = make(&mut p, s);
    let q = p.token("q", "K");
    let o = p.dot(q, s, "K");
    p.update("S", next);
    p.output("o", o);
    let diagnostic = refusal(&p.finish());
    let (span, _) = diagnostic.primary.clone().expect("the refusal has a place");
    assert_eq!(span.start, blamed.0, "{diagnostic:?}");
    assert!(diagnostic.help.is_some(), "{diagnostic:?}");
    diagnostic
}

#[test]
fn a_function_of_the_state_is_not_affine() {
    let diagnostic = refused(|p, s| {
        let bent = p.unary(Unary::Tanh, s);
        (bent, bent)
    });
    assert_eq!(diagnostic.code, Code::NotAffine);
    assert!(diagnostic.message.contains("`S`"));
}

#[test]
fn a_product_of_reads_is_not_affine() {
    let diagnostic = refused(|p, s| {
        let k = p.token("k", "K");
        let seen = p.dot(k, s, "K");
        let square = p.mul(seen, seen);
        let write = p.outer(k, square);
        (p.add(s, write), square)
    });
    assert_eq!(diagnostic.code, Code::NotAffine);
}

#[test]
fn a_growing_state_names_the_range_that_would_do() {
    let diagnostic = refused(|p, s| {
        let g = p.ranged("g", "", [-1.0, 0.5]);
        (p.decayed(g, s), g)
    });
    assert_eq!(diagnostic.code, Code::UnsafeExponent);
    assert!(diagnostic.message.contains("`g`") && diagnostic.message.contains("0.5"));
    assert!(diagnostic.help.expect("a remedy").contains("(-inf, 0]"));
}

#[test]
fn a_factor_beyond_one_is_unsafe() {
    let diagnostic = refused(|p, s| {
        let f = p.ranged("f", "K", [0.0, 2.0]);
        (p.mul(f, s), f)
    });
    assert_eq!(diagnostic.code, Code::UnsafeExponent);
}

#[test]
fn negative_factors_are_not_supported() {
    let diagnostic = refused(|p, s| {
        let f = p.ranged("f", "", [-1.0, 1.0]);
        (p.mul(f, s), f)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
    assert!(diagnostic.message.contains("negative"));
    let diagnostic = refused(|p, s| {
        let negated = p.unary(Unary::Neg, s);
        (negated, negated)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
}

#[test]
fn two_decayed_states_are_one_product_to_be_written() {
    let diagnostic = refused(|p, s| {
        let f = p.ranged("f", "", [0.0, 1.0]);
        let scaled = p.mul(f, s);
        let sum = p.add(s, scaled);
        (sum, sum)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
    assert!(diagnostic.help.expect("a remedy").contains("(1 - f) * S"));
}

#[test]
fn feedback_from_both_sides_is_not_supported() {
    let diagnostic = refused(|p, s| {
        let (k, v) = (p.token("k", "K"), p.token("v", "V"));
        let along_keys = p.dot(k, s, "K");
        let along_values = p.dot(s, v, "V");
        let a = p.outer(k, along_keys);
        let b = p.outer(along_values, v);
        let once = p.add(s, a);
        (p.add(once, b), along_values)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
    assert!(diagnostic.message.contains("both sides"));
}

#[test]
fn feedback_across_a_vector_decay_is_not_supported() {
    let diagnostic = refused(|p, s| {
        let (k, g) = (p.token("k", "K"), p.gate("g", "V"));
        let seen = p.dot(k, s, "K");
        let write = p.outer(k, seen);
        let once = p.add(s, write);
        let next = p.decayed(g, once);
        (next, next)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
    assert!(diagnostic.message.contains("feedback on one side"));
}

#[test]
fn a_decay_for_every_element_is_not_supported() {
    let diagnostic = refused(|p, s| {
        let f = p.ranged("f", "KV", [0.0, 1.0]);
        (p.mul(f, s), f)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
    assert!(diagnostic.message.contains("matrix for every token"));
}

/// `S' = A S` with `A = scale * 1`, as a state's update, and `A`.
fn multiplied(p: &mut Step, s: NodeId, scale: f64) -> (NodeId, NodeId) {
    p.computed_dim("J", Formula::Dim(DimId(0)));
    let (i, j, scale) = (p.index("J"), p.index("K"), p.number(scale));
    let zero = p.outer(i, j);
    let one = p.unary(Unary::Exp, zero);
    let ones = p.div(one, one);
    let a = p.mul(scale, ones);
    let moved = p.dot(a, s, "K");
    (p.reshape(moved, "KV"), a)
}

#[test]
fn a_dense_transition_must_stay_bounded() {
    let diagnostic = refused(|p, s| multiplied(p, s, 0.5));
    assert_eq!(diagnostic.code, Code::UnsafeExponent);
    assert!(diagnostic.message.contains("transition"), "{diagnostic:?}");
}

#[test]
fn a_dense_transition_stands_alone() {
    let diagnostic = refused(|p, s| {
        let (moved, _) = multiplied(p, s, 0.1);
        let g = p.gate("g", "");
        let next = p.decayed(g, moved);
        (next, next)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
    assert!(diagnostic.help.expect("a remedy").contains("one matrix"));
}

#[test]
fn states_that_need_each_other_are_named() {
    let mut p = Step::new("circle");
    let (k, v) = (p.token("k", "K"), p.token("v", "V"));
    let (a, b) = (p.state("A", "KV"), p.state("B", "V"));
    let (from_a, to_a) = (p.dot(k, a, "K"), p.outer(k, b));
    let (next_a, next_b) = (p.add(a, to_a), p.add(b, from_a));
    let o = p.dot(next_a, v, "V");
    p.update("A", next_a);
    p.update("B", next_b);
    p.output("o", o);
    let diagnostic = refusal(&p.finish());
    assert_eq!(diagnostic.code, Code::Unsupported);
    let (_, phrase) = diagnostic.primary.expect("the refusal has a place");
    assert!(phrase.contains("`A`, `B`"), "{phrase}");
}

#[test]
fn memories_added_to_memories_are_not_supported() {
    let mut p = Step::new("memories");
    let (m, k, v) = (p.token("m", "M"), p.token("k", "K"), p.token("v", "V"));
    let (a, b) = (p.state("A", "MKV"), p.state("B", "MKV"));
    let write = p.outer(k, v);
    let write = p.outer(m, write);
    let next_a = p.add(a, write);
    let next_b = p.add(b, next_a);
    let o = p.dot(k, next_b, "K");
    p.update("A", next_a);
    p.update("B", next_b);
    p.output("o", o);
    let diagnostic = refusal(&p.finish());
    assert_eq!(diagnostic.code, Code::Unsupported);
    let (span, phrase) = diagnostic.primary.expect("the refusal has a place");
    assert_eq!((span.start, phrase.as_str()), (a.0, "`A` becomes part of `B`"));
}

#[test]
fn a_dimension_without_a_size_is_named() {
    let recurrence = crate::programs::named("linear");
    let refused = lift(&recurrence, &[("K".to_owned(), 4)].into()).expect_err("V has no size");
    let codes: Vec<Code> = refused.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::MissingDimension, Code::MissingDimension]);
    assert!(refused[0].message.contains("`V`"));
}

#[test]
fn a_chunk_of_one_token_is_refused() {
    let term = lift(&crate::programs::named("linear"), &problem().extents).expect("it lifts");
    let refused = chunk(&term, &options(1, None)).expect_err("no chunk has one token");
    assert_eq!(refused[0].code, Code::BadBinding);
}

#[test]
fn contracted_matrices_have_their_dimensions_in_one_order() {
    let diagnostic = refused(|p, s| {
        let (a, b) = (p.token("a", "KV"), p.token("b", "VK"));
        let (key, v) = (p.dot(a, b, "V"), p.token("v", "V"));
        let write = p.outer(key, v);
        (p.add(s, write), a)
    });
    assert_eq!(diagnostic.code, Code::Unsupported);
}
