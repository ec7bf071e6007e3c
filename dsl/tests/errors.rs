//! The error cases of the repository: which codes they raise, at which words.

use sluice_dsl::{lower, lower_with, parse};
use sluice_ir::diagnostic::Diagnostic;
use std::fs;

/// The errors of a case, each as its code and the words that it blames.
fn blamed(case: &str) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/errors");
    let text = fs::read_to_string(format!("{folder}/{case}.sluice")).expect("the case exists");
    let errors = parse(&text).and_then(|ast| lower(&ast)).expect_err("the case is refused");
    for error in &errors {
        assert!(error.help.is_some(), "every error has a remedy: {error}");
        for (span, _) in &error.labels {
            assert!(text.get(span.clone()).is_some_and(|words| !words.is_empty()));
        }
    }
    let place = |e: &Diagnostic| match &e.primary {
        Some((span, _)) => text[span.clone()].to_owned(),
        None => "-".to_owned(),
    };
    errors.iter().map(|e| format!("{} {}", e.code, place(e))).collect()
}

#[test]
fn slips_of_syntax_are_found_together() {
    assert_eq!(blamed("E0001_foreign_comment"), ["E0001 /"]);
    assert_eq!(blamed("E0001_no_program"), ["E0001 -"]);
    assert_eq!(blamed("E0001_unclosed"), ["E0001 -"]);
    assert_eq!(
        blamed("E0001_several_slips"),
        ["E0001 (K)", "E0001 :", "E0001 **", "E0001 ;", "E0001 o", "E0001 @"]
    );
}

#[test]
fn names_are_known_and_declared_once() {
    assert_eq!(blamed("E0101_outside_a_function"), ["E0101 gate"]);
    assert_eq!(
        blamed("E0101_unknown_name"),
        ["E0101 pair", "E0101 M", "E0101 gat", "E0101 value", "E0101 decayed", "E0101 k'"]
    );
    assert_eq!(blamed("E0102_built_in"), ["E0102 softmax"]);
    assert_eq!(blamed("E0102_declared_twice"), ["E0102 k", "E0102 scaled", "E0102 v"]);
}

#[test]
fn functions_exist_and_take_what_they_are_given() {
    assert_eq!(
        blamed("E0103_wrong_call"),
        ["E0103 outer", "E0103 sofplus", "E0103 phi(v)", "E0103 v", "E0103 rotate", "E0103 clamp"]
    );
    assert_eq!(blamed("E0201_parameters"), ["E0201 v", "E0201 dot(x, x)"]);
    assert_eq!(blamed("E0205_recursion"), ["E0205 even"]);
}

#[test]
fn shapes_fit() {
    assert_eq!(blamed("E0201_sizes"), ["E0201 0", "E0201 2.5"]);
    assert_eq!(
        blamed("E0201_shapes"),
        [
            "E0201 [K, V, K]",
            "E0201 [K, K]",
            "E0201 k + v",
            "E0201 dot(S, S)",
            "E0201 S",
            "E0201 sum(v, K)",
            "E0201 outer(v, k)",
            "E0201 dot(k, v)",
            "E0201 dot(q, S)",
        ]
    );
}

#[test]
fn declarations_make_sense() {
    assert_eq!(blamed("E0202_dtype"), ["E0202 float16", "E0202 f64", "E0202 fp8"]);
    assert_eq!(blamed("E0204_range"), ["E0204 in [1, 0]", "E0204 in (0, -inf)", "E0204 in (1, 1]"]);
}

#[test]
fn states_and_outputs_are_assigned_once_and_in_time() {
    assert_eq!(blamed("E0203_used_before"), ["E0203 s'", "E0203 o"]);
    assert_eq!(
        blamed("E0203_unassigned"),
        ["E0203 S'", "E0203 S'", "E0203 z", "E0203 state z: [K] = 0", "E0203 p: [V]"]
    );
}

#[test]
fn states_do_not_wait_for_each_other() {
    assert_eq!(blamed("E0206_tangled"), ["E0206 state a: [V] = 0", "E0206 state s: [V] = 0"]);
}

/// A program with most constructs of the language.
const EVERYTHING: &str = "use other
dim D
dim F = 1 + D * 2 # size
fn phi(x: [D], w: [D, F]) -> [F] { let y = dot(x, w)  y + 1 }
sequential recurrence r(x: complex [D], /// W
 param w: [D, F] in [0, 1], g: [] by group) -> (o: complex [F], p: [D] f32) {
    state n: [] in [0, inf) reverse = 0
    window B: [F, D] columns(D) = re(x)
    let (a, b) = reverse pair(x, theta = -2 * g)
    n' = max(n, 1) + last(n)
    o = polar(exp(g), im(b)) * phi(re(x), w) - concat(index(D), x, D, D, F)
    p = reshape(spread(n', [D]), [D]) / slice(x, D, D, 0)
}
recurrence pair(x: complex [D], theta: []) -> (u: [D], v: [D]) { u = abs(x)  v = u * theta }
";

#[test]
fn no_text_makes_the_compiler_panic() {
    let library = |_: &str| Some("fn chi(x) = x".to_owned());
    // Every prefix, and every text with one letter replaced by a sign or a letter of two bytes.
    for at in 0..EVERYTHING.len() {
        drop(parse(&EVERYTHING[..at]));
        for sign in ["(", "}", "'", "é", "-", "#", "D", "0"] {
            let changed = format!("{}{sign}{}", &EVERYTHING[..at], &EVERYTHING[at + 1..]);
            drop(parse(&changed).and_then(|ast| lower_with(&ast, &library)));
            drop(sluice_dsl::format(&changed));
        }
    }
    for deep in [
        "(".repeat(100_000),
        format!("recurrence r() -> o: [V] {{ o = {} 1 }}", "-".repeat(100_000)),
    ] {
        assert!(parse(&deep).is_err());
    }
}
