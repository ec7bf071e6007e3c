//! Chunked terms as equations for people.

use crate::agreement::{lifted, options};
use crate::programs;
use sluice_ir::seq::Style;
use sluice_passes::chunk;

fn equations(name: &str, style: Style) -> Vec<String> {
    let term = lifted(&programs::named(name));
    let chunked = chunk(&term, &options(64, Some(16))).expect("the program has a form");
    chunked.term.equations(style)
}

#[test]
fn feedback_is_a_solve_inside_the_chunk() {
    let want = [
        "X1 = beta ⊙ (-k)",
        "X2 = Γ[s<t; g] ⊙ (X1 ⊙ exp(g)) kᵀ",
        "X3 = exp(Σ[s≤t] g)",
        "Z = (I - X2)⁻¹ (X1 ⊙ X3) H + (I - X2)⁻¹ (beta ⊙ v)",
        "H⁺ = exp(Σ[s] g) ⊙ H + (k ⊙ exp(Σ[s>t] g))ᵀ Z",
        "H = S before the first chunk",
        "o = q H ⊙ X3 + (Γ[s≤t; g] ⊙ q kᵀ) Z",
        "last(S) = H⁺ of the last chunk",
    ];
    assert_eq!(equations("gated delta", Style::Text), want);
}

#[test]
fn shorter_blocks_say_how_many_tokens_they_have() {
    let text = equations("key decay", Style::Text);
    let output = "o = (q ⊙ exp(Σ[s≤t] g)) H + (⟨q ⊙ exp(Σ[s≤t, 16] g), k ⊙ exp(Σ[s>t, 16] g)⟩\
                  [s<t; Σ[s, 16] g] + ⟨q, k⟩[s≤t, 16; g]) v";
    assert!(text.iter().any(|line| line == output), "{text:#?}");
    let latex = equations("key decay", Style::Latex);
    assert_eq!(
        latex[0],
        r"H^{+} &= e^{\textstyle\sum_{s} g} \odot H + (k \odot e^{\textstyle\sum_{s>t} g})^{\top} v"
    );
}

#[test]
fn every_program_has_equations_that_name_only_what_they_define() {
    for recurrence in programs::all() {
        let lines = equations(&recurrence.name, Style::Text);
        let results = recurrence.outputs.len() + recurrence.states.len();
        assert!(lines.len() > results, "{}: {lines:#?}", recurrence.name);
        let mut defined: Vec<&str> = Vec::new();
        for line in &lines {
            let (name, value) = line.split_once(" = ").expect("a line is an equation");
            let words = value.split(|c: char| !c.is_alphanumeric());
            let is_part = |word: &&str| {
                word.strip_prefix('X').is_some_and(|n| !n.is_empty() && n.parse::<u32>().is_ok())
            };
            for word in words.filter(is_part) {
                assert!(defined.contains(&word), "{}: {line}", recurrence.name);
            }
            defined.push(name);
        }
    }
}
