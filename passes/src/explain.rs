//! Why a chunked term equals the lifted one: the chain of laws between them.

use crate::chunk::{ChunkOptions, with_blocked_outputs};
use crate::rules::{Law, Rounding};
use crate::saturate::{ZERO_STEP, saturate};
use egg::{Id, Language, Symbol, TreeTerm};
use sluice_ir::seq::{Core, Seq, Term, core_of};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

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
        let proof = graph.explain_equivalence(&left, &right).explanation_trees;
        let mut walk = Walk::default();
        walk.proof(&proof);
        let mut steps = Vec::new();
        for step in walk.found {
            let Some(law) = by_name.get(step.law.as_str()) else {
                debug_assert_eq!(step.law.as_str(), ZERO_STEP, "every step has a law");
                continue;
            };
            if walk.terms.is_zero(step.before) && walk.terms.is_zero(step.after) {
                continue;
            }
            steps.push(DerivationStep {
                law: law.name.clone(),
                forward: step.forward,
                rounding: law.rounding,
                reference: law.reference,
                before: walk.terms.elided(step.before, DEPTH),
                after: walk.terms.elided(step.after, DEPTH),
            });
        }
        derivations.push(Derivation { root: from.name.clone(), steps });
    }
    derivations
}

/// A tree of a proof. A chain of them leads from the last term of each to the first of the next by the
/// law that the next one names; within a tree, a chain for each operand leads from the first term to the
/// last.
type Tree = Rc<TreeTerm<Seq>>;

/// A walk through the steps of a proof in order. Its trees share what they have in common and may be
/// exponentially larger when they are written out, so each tree is visited once.
#[derive(Default)]
struct Walk {
    terms: Terms,
    /// The first term of each tree that was met, by the tree's address.
    first: BTreeMap<*const TreeTerm<Seq>, Id>,
    /// The last term of each tree that was visited.
    last: BTreeMap<*const TreeTerm<Seq>, Id>,
    /// The steps in order, each once.
    found: Vec<Step>,
    listed: BTreeSet<Step>,
}

/// A law takes one sub-term to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    law: Symbol,
    forward: bool,
    before: Id,
    after: Id,
}

impl Walk {
    /// Visits a chain of trees and gives its last term.
    fn proof(&mut self, chain: &[Tree]) -> Id {
        let mut last = None;
        for tree in chain {
            let rule = tree.forward_rule.map(|law| (law, true));
            let rule = rule.or(tree.backward_rule.map(|law| (law, false)));
            if let (Some((law, forward)), Some(before)) = (rule, last) {
                let step = Step { law, forward, before, after: self.first(tree) };
                if self.listed.insert(step) {
                    self.found.push(step);
                }
            }
            last = Some(self.tree(tree));
        }
        last.expect("a proof begins with a term")
    }

    /// Visits the chains of a tree's operands and gives the tree's last term.
    fn tree(&mut self, tree: &Tree) -> Id {
        if let Some(last) = self.last.get(&Rc::as_ptr(tree)) {
            return *last;
        }
        let operands = tree.child_proofs.iter().map(|chain| self.proof(chain)).collect();
        let last = self.terms.add(&tree.node, operands);
        self.last.insert(Rc::as_ptr(tree), last);
        last
    }

    /// The first term of a tree.
    fn first(&mut self, tree: &Tree) -> Id {
        if let Some(first) = self.first.get(&Rc::as_ptr(tree)) {
            return *first;
        }
        let operands = tree.child_proofs.iter().map(|chain| self.first(&chain[0])).collect();
        let first = self.terms.add(&tree.node, operands);
        self.first.insert(Rc::as_ptr(tree), first);
        first
    }
}

/// Terms that share what is equal: two are equal if their numbers are.
#[derive(Default)]
struct Terms {
    nodes: Vec<Seq>,
    numbers: BTreeMap<Seq, Id>,
}

impl Terms {
    fn add(&mut self, node: &Seq, operands: Vec<Id>) -> Id {
        let mut node = node.clone();
        node.children_mut().copy_from_slice(&operands);
        let next = Id::from(self.nodes.len());
        *self.numbers.entry(node.clone()).or_insert_with(|| {
            self.nodes.push(node);
            next
        })
    }

    fn is_zero(&self, id: Id) -> bool {
        matches!(self.nodes[usize::from(id)], Seq::Zero(_))
    }

    /// The text of a term to some depth, zeros shortened, the operands of a loop with their roles.
    fn elided(&self, id: Id, depth: usize) -> String {
        if self.is_zero(id) {
            return "0".to_owned();
        }
        let node = &self.nodes[usize::from(id)];
        if node.is_leaf() {
            return node.name();
        }
        if depth == 0 {
            return "..".to_owned();
        }
        let operands = node.operands().iter().map(|x| self.elided(*x, depth - 1));
        let operands: Vec<String> = match core_of(node) {
            Some(_) => {
                Core::labelled(operands.zip(node.operands().iter().map(|x| self.is_zero(*x))))
            }
            None => operands.collect(),
        };
        format!("({} {})", node.name(), operands.join(" "))
    }
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
