//! Explanations name the laws that lead from the step to the chosen form.

use crate::ablation::large;
use crate::agreement::{lifted, options};
use crate::programs;
use sluice_passes::rules::Guard;
use sluice_passes::{Derivation, chunk, chunk_with, explain};
use std::collections::BTreeSet;

fn derivations(name: &str) -> Vec<Derivation> {
    let (term, options) = (lifted(&programs::named(name)), options(64, Some(16)));
    let chosen = chunk(&term, &options).expect("the program has a form").term;
    explain(&term, &chosen, &options)
}

#[test]
fn every_result_is_derived_by_known_laws() {
    let laws = options(64, Some(16)).laws();
    for recurrence in programs::all() {
        for derivation in derivations(&recurrence.name) {
            let name = format!("{} {}", recurrence.name, derivation.root);
            assert!(!derivation.steps.is_empty(), "{name}");
            for step in &derivation.steps {
                assert!(laws.iter().any(|law| law.name == step.law), "{name}: {step}");
                assert_ne!(step.before, step.after, "{name}: {step}");
            }
        }
    }
}

#[test]
fn the_chain_of_a_gated_delta_rule_names_its_ideas() {
    let (term, options) = (large("gated delta"), options(64, Some(16)));
    let chosen = chunk(&term, &options).expect("the program has a form").term;
    let all = explain(&term, &chosen, &options);
    let output = all.iter().find(|d| d.root == "o").expect("the output is explained");
    let laws: BTreeSet<&str> = output.steps.iter().map(|s| s.law.as_str()).collect();
    for idea in ["block-read-incl", "score-scalar-strict", "solve-inverse"] {
        assert!(laws.contains(idea), "{idea} is missing from {output}");
    }
}

/// The laws of an explanation suffice to find the same term.
#[test]
fn explained_laws_suffice() {
    let (term, options) = (lifted(&programs::named("gated delta")), options(64, Some(16)));
    let chosen = chunk(&term, &options).expect("the program has a form");
    let derivations = explain(&term, &chosen.term, &options);
    let used: BTreeSet<&str> =
        derivations.iter().flat_map(|d| &d.steps).map(|s| s.law.as_str()).collect();
    let mut laws = options.laws();
    // Laws about zeros act through classes that explanations leave out.
    laws.retain(|law| {
        used.contains(law.name.as_str())
            || law.guards.iter().any(|guard| matches!(guard, Guard::Zero(_)))
    });
    assert!(laws.len() < options.laws().len());
    let again = chunk_with(&term, &options, &laws).expect("the laws used suffice");
    assert!((again.cost - chosen.cost).abs() < 1e-6, "{} {}", again.cost, chosen.cost);
}
