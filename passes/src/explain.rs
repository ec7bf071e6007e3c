//! Why a chunked term equals the lifted one: the chain of laws between them.

use crate::chunk::{ChunkOptions, with_blocked_outputs};
use crate::rules::{Law, Rounding};
use crate::saturate::{ZERO_STEP, saturate};
use egg::{FlatTerm, Symbol};
use sluice_ir::seq::{Core, Seq, Term, core_of};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The chain of laws for one result.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivation {
    /// Name of the output or state.
    pub root: String,
    /// The steps in order. A step on a sub-term that occurs several times is listed once.
    pub steps: Vec<DerivationStep>,
}

/// One use of a law.
#[derive(Clone, Debug, PartialEq)]
pub struct DerivationStep {
    /// Name of the law.
    pub law: String,
    /// Whether it was used from left to right. A chain may go through a term that both ends were
    /// rewritten to, and then leads back.
    pub forward: bool,
    /// How the step rounds.
    pub rounding: Rounding,
    /// Where the law is derived.
    pub reference: &'static str,
    /// The sub-term before the step; what lies deep in it is left out.
    pub before: String,
    /// The sub-term after the step.
    pub after: String,
}

/// Levels of a sub-term that a step shows.
const DEPTH: usize = 3;

/// The chains of laws from a lifted term to a term that [`crate::chunk`] chose for it with the same
/// options. Steps that only replace a term of zeros by zeros are left out.
///
/// # Panics
/// If `chosen` is not equal to `term` by these laws.
pub fn explain(term: &Term, chosen: &Term, options: &ChunkOptions) -> Vec<Derivation> {
    let laws = options.laws();
    let by_name: BTreeMap<&str, &Law> = laws.iter().map(|law| (law.name.as_str(), law)).collect();
    let blocked = with_blocked_outputs(term, options.chunk);
    let mut graph = saturate(&blocked, &laws, true).graph;
    let mut derivations = Vec::new();
    for (from, to) in blocked.roots().iter().zip(chosen.roots()) {
        let (left, right) = (blocked.below(from.id), chosen.below(to.id));
        let mut explanation = graph.explain_equivalence(&left, &right);
        let chain = explanation.make_flat_explanation();
        let mut listed = BTreeSet::new();
        let mut steps = Vec::new();
        for pair in chain.windows(2) {
            let Some(place) = rewritten(&pair[0], &pair[1]) else { continue };
            let Some(law) = by_name.get(place.law.as_str()) else {
                debug_assert_eq!(place.law.as_str(), ZERO_STEP, "every step has a law");
                continue;
            };
            if is_zero(place.before) && is_zero(place.after) {
                continue;
            }
            let whole = |t: &FlatTerm<Seq>| t.remove_rewrites().to_string();
            if listed.insert((place.law, place.forward, whole(place.before), whole(place.after))) {
                steps.push(DerivationStep {
                    law: law.name.clone(),
                    forward: place.forward,
                    rounding: law.rounding,
                    reference: law.reference,
                    before: elided(place.before, DEPTH),
                    after: elided(place.after, DEPTH),
                });
            }
        }
        derivations.push(Derivation { root: from.name.clone(), steps });
    }
    derivations
}

/// Where two neighbours of a chain differ.
struct Rewritten<'a> {
    law: Symbol,
    forward: bool,
    before: &'a FlatTerm<Seq>,
    after: &'a FlatTerm<Seq>,
}

fn rewritten<'a>(before: &'a FlatTerm<Seq>, after: &'a FlatTerm<Seq>) -> Option<Rewritten<'a>> {
    if let Some(law) = after.forward_rule {
        return Some(Rewritten { law, forward: true, before, after });
    }
    if let Some(law) = after.backward_rule {
        return Some(Rewritten { law, forward: false, before, after });
    }
    before.children.iter().zip(&after.children).find_map(|(b, a)| rewritten(b, a))
}

fn is_zero(term: &FlatTerm<Seq>) -> bool {
    matches!(term.node, Seq::Zero(_))
}

/// The text of a term to some depth, zeros shortened, the operands of a loop with their roles.
fn elided(term: &FlatTerm<Seq>, depth: usize) -> String {
    if is_zero(term) {
        return "0".to_owned();
    }
    if term.children.is_empty() {
        return term.node.name();
    }
    if depth == 0 {
        return "..".to_owned();
    }
    let operands = term.children.iter().map(|c| elided(c, depth - 1));
    let operands: Vec<String> = match core_of(&term.node) {
        Some(_) => Core::labelled(operands.zip(term.children.iter().map(is_zero))),
        None => operands.collect(),
    };
    format!("({} {})", term.node.name(), operands.join(" "))
}

impl fmt::Display for DerivationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.forward { "=>" } else { "<=" };
        writeln!(f, "{arrow} {} ({}; {})", self.law, self.rounding.name(), self.reference)?;
        writeln!(f, "     {}", self.before)?;
        writeln!(f, "   = {}", self.after)
    }
}

impl fmt::Display for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.root)?;
        self.steps.iter().try_for_each(|step| write!(f, "{step}"))
    }
}
