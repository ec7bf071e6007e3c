//! What each law is needed for: without it some cost rises, or some program has no chunked form.

use crate::agreement::{REVERSED, options, reversed};
use crate::programs;
use sluice_ir::seq::Term;
use sluice_passes::rules::Law;
use sluice_passes::{ChunkOptions, chunk_with, lift};
use std::collections::BTreeSet;

/// A rise of cost, in nanoseconds, that is no rounding.
const RISE: f64 = 1e-6;

/// A lifted program at sizes where matrix units count.
pub(crate) fn large(name: &str) -> Term {
    let extents = [("K", 128), ("V", 128), ("M", 16)].map(|(n, size)| (n.to_owned(), size));
    lift(&programs::named(name), &extents.into()).expect("the program lifts")
}

/// Lifted programs and reversed histories.
fn terms() -> Vec<Term> {
    let programs = programs::all().into_iter().map(|r| large(&r.name));
    let reversed = REVERSED.iter().map(|(name, after)| reversed(&large(name), *after));
    let mut terms: Vec<Term> = programs.chain(reversed).collect();
    // Small graphs first: most laws are needed by some of them.
    terms.sort_by_key(|term| term.nodes().len());
    terms
}

fn cost(term: &Term, options: &ChunkOptions, laws: &[Law]) -> f64 {
    chunk_with(term, options, laws).map_or(f64::INFINITY, |chunked| chunked.cost)
}

fn without(laws: &[Law], is_removed: impl Fn(&Law) -> bool) -> Vec<Law> {
    laws.iter().filter(|law| !is_removed(law)).cloned().collect()
}

/// A law's name without the number of steps that it is instantiated for.
fn name_without_size(law: &Law) -> &str {
    law.name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-')
}

#[test]
fn every_law_is_needed_by_some_program() {
    let options = options(64, Some(16));
    let laws = options.laws();
    let terms = terms();
    let full: Vec<f64> = terms.iter().map(|term| cost(term, &options, &laws)).collect();
    assert!(full.iter().all(|c| c.is_finite()));
    // These have tests of their own below.
    let elsewhere = ["blk-pointwise", "blk-product", "score-factored"];
    let names: BTreeSet<&str> =
        laws.iter().filter(|law| !elsewhere.contains(&law.family)).map(name_without_size).collect();
    let needless: Vec<&str> = names
        .into_iter()
        .filter(|name| {
            let fewer = without(&laws, |law| name_without_size(law) == *name);
            let rises = |(term, full): (&Term, &f64)| cost(term, &options, &fewer) > full + RISE;
            !terms.iter().zip(&full).any(rises)
        })
        .collect();
    assert!(needless.is_empty(), "no program needs {needless:?}");
}

/// Blocks move through every function: without that its result passes through memory.
#[test]
fn every_function_needs_its_blk_law() {
    let options = options(64, None);
    let laws = options.laws();
    for law in laws.iter().filter(|law| law.family == "blk-pointwise") {
        let inner = law.lhs.strip_prefix("(blk 64 ").and_then(|s| s.strip_suffix(')'));
        let value = inner.expect("the law moves a blk").replace('?', "%");
        let leaf = |name: &str| format!("leaf {name} token [T, 1, 8] in [-inf, inf] by head\n");
        let leaves = ["x", "y", "z"].map(leaf).concat();
        let term = Term::parse(&format!("{leaves}output o [8] = {value}")).expect("one operator");
        let fewer = without(&laws, |other| other.name == law.name);
        assert!(
            cost(&term, &options, &fewer) > cost(&term, &options, &laws) + RISE,
            "{}",
            law.name
        );
    }
}

/// Where the range of a gate bounds the sum over a chunk, one product serves for all scores.
#[test]
fn short_ranges_need_the_factored_score() {
    let mut options = options(64, None);
    options.target.rates.max_exponent = 6.0;
    let text = large("key decay").to_string();
    let bounded = |lo: &str| {
        let text = text.replace("in [-inf, 0]", &format!("in [{lo}, 0]"));
        Term::parse(&text).expect("only a range was replaced")
    };
    let laws = options.laws();
    let fewer = without(&laws, |law| law.family == "score-factored");
    let short = bounded("-0.05");
    assert!(cost(&short, &options, &fewer) > cost(&short, &options, &laws) + RISE);
    // 64 * 1 is beyond the largest exponent, so the law must not be used.
    let long = bounded("-1");
    assert!((cost(&long, &options, &fewer) - cost(&long, &options, &laws)).abs() <= RISE);
}
