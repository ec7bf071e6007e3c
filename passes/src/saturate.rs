//! Equality saturation: a term and everything that the laws make of it, in one graph.

use crate::rules::Law;
use egg::{
    Analysis, ConditionalApplier, DidMerge, EGraph, Id, Language, Pattern, Rewrite, Runner,
    SimpleScheduler, StopReason, Subst,
};
use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::seq::{ArrayFacts, Facts, Leaves, Seq, Term, facts};
use std::time::Duration;

/// The graph of equal terms.
pub(crate) type Graph = EGraph<Seq, Classes>;

/// The analysis: facts of every class. Holds the table of leaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    leaves: Leaves,
}

/// What is known of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Class {
    /// Shape, range, zero.
    pub(crate) facts: Facts,
    /// Whether it can be had as a product, or as a sum that starts from one: its elements are then
    /// accumulators, which are scaled on the way out.
    pub(crate) accumulates: bool,
    /// Whether it is a sum of log decays along time, or its negative: an exponent that a law made,
    /// and whose sign must be proven. What a program itself exponentiates is its own affair.
    pub(crate) sums_gates: bool,
}

/// Changes of an interval's ends below this are rounding, and would never settle.
const INTERVAL_TOLERANCE: f64 = 1e-12;

impl Analysis<Seq> for Classes {
    type Data = Class;

    fn make(graph: &mut Graph, node: &Seq, _: Id) -> Class {
        let facts = facts(node, &graph.analysis.leaves, &|id| graph[id].data.facts);
        let accumulates = match node {
            Seq::Mm(_) | Seq::Mmt(_) | Seq::Tmm(_) => true,
            Seq::Binary(Binary::Add | Binary::Mul, operands) => {
                operands.iter().any(|id| graph[*id].data.accumulates)
            }
            _ => false,
        };
        let sums_gates = match node {
            Seq::Run(_) | Seq::Tot(_) => true,
            Seq::Unary(Unary::Neg, [x]) | Seq::Blk([_, x]) | Seq::Unblk([_, x]) => {
                graph[*x].data.sums_gates
            }
            _ => false,
        };
        Class { facts, accumulates, sums_gates }
    }

    fn merge(&mut self, to: &mut Class, from: Class) -> DidMerge {
        let before = *to;
        to.accumulates |= from.accumulates;
        to.sums_gates |= from.sums_gates;
        match (&mut to.facts, from.facts) {
            (Facts::Array(a), Facts::Array(b)) => *a = intersection(*a, b),
            (a, b) => assert_eq!(*a, b, "a law equated a count or mask with something else"),
        }
        DidMerge(*to != before, *to != from)
    }

    /// A class of zeros keeps nothing but zeros: it would collect every product with zero and feed
    /// every pattern.
    fn modify(graph: &mut Graph, id: Id) {
        let Facts::Array(ArrayFacts { shape, zero: true, .. }) = graph[id].data.facts else {
            return;
        };
        if !graph[id].iter().any(|node| matches!(node, Seq::Zero(_))) {
            let extents = [shape.blocks.code(), shape.rows, shape.features];
            let extents = extents.map(|n| graph.add(Seq::Count(n)));
            let zeros = graph.add(Seq::Zero(extents));
            graph.union_trusted(id, zeros, ZERO_STEP);
        }
        graph[id].nodes.retain(|node| matches!(node, Seq::Zero(_)));
    }
}

/// Name of the step from a class of zeros to its leaf, which explanations leave out.
pub(crate) const ZERO_STEP: &str = "zero";

fn intersection(a: ArrayFacts, b: ArrayFacts) -> ArrayFacts {
    assert_eq!(a.shape, b.shape, "a law equated arrays of different shapes");
    let (mut lo, mut hi) = (a.range.lo, a.range.hi);
    if b.range.lo > lo + INTERVAL_TOLERANCE {
        lo = b.range.lo;
    }
    if b.range.hi < hi - INTERVAL_TOLERANCE {
        hi = b.range.hi;
    }
    let zero = a.zero || b.zero;
    let range = if zero { Interval::point(0.0) } else { Interval::new(lo, hi) };
    ArrayFacts { range, zero, ..a }
}

/// Why saturation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No law adds anything.
    Saturated,
    /// The graph reached its limit of nodes.
    NodeLimit,
    /// The limit of iterations was reached.
    IterationLimit,
}

/// Sizes of a saturated graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saturation {
    /// Nodes of the term at the start.
    pub nodes_before: usize,
    /// Nodes of the graph at the end.
    pub nodes: usize,
    /// Classes of equal nodes at the end.
    pub classes: usize,
    /// Rounds of matching all laws.
    pub iterations: usize,
    /// Why it ended.
    pub stop: Stop,
}

/// Limits of saturation; never the clock, so that results do not depend on the machine.
const NODE_LIMIT: usize = 50_000;
const ITERATION_LIMIT: usize = 40;

/// A saturated graph with the classes of the roots in order.
pub(crate) struct Saturated {
    pub(crate) graph: Graph,
    pub(crate) roots: Vec<Id>,
    pub(crate) saturation: Saturation,
}

/// Applies the laws to a term until they add nothing. With `explained`, the graph keeps why its
/// nodes are equal.
pub(crate) fn saturate(term: &Term, laws: &[Law], explained: bool) -> Saturated {
    let mut graph = Graph::new(Classes { leaves: term.leaves().clone() });
    if explained {
        graph = graph.with_explanations_enabled();
    }
    let mut places = Vec::new();
    for node in term.nodes() {
        let node = node.clone().map_children(|c| places[usize::from(c)]);
        places.push(graph.add(node));
    }
    let mut runner = Runner::<Seq, Classes>::new(Classes::default());
    if explained {
        runner = runner.with_explanations_enabled();
    }
    let rewrites: Vec<_> = laws.iter().map(rewrite).collect();
    let nodes_before = graph.total_size();
    let runner = runner
        .with_egraph(graph)
        .with_node_limit(NODE_LIMIT)
        .with_iter_limit(ITERATION_LIMIT)
        .with_time_limit(Duration::MAX)
        .with_scheduler(SimpleScheduler)
        .run(&rewrites);
    let stop = match runner.stop_reason {
        Some(StopReason::NodeLimit(_)) => Stop::NodeLimit,
        Some(StopReason::IterationLimit(_)) => Stop::IterationLimit,
        _ => Stop::Saturated,
    };
    let graph = runner.egraph;
    let root = |id: Id| graph.find(places[usize::from(id)]);
    let roots = term.roots().iter().map(|r| root(r.id)).collect();
    let saturation = Saturation {
        nodes_before,
        nodes: graph.total_size(),
        classes: graph.number_of_classes(),
        iterations: runner.iterations.len(),
        stop,
    };
    Saturated { roots, saturation, graph }
}

fn rewrite(law: &Law) -> Rewrite<Seq, Classes> {
    let side = |text: &str| -> Pattern<Seq> {
        text.parse().unwrap_or_else(|e| panic!("law {}: {e} in {text}", law.name))
    };
    let guards: Vec<_> = law.guards.iter().map(|guard| guard.compile()).collect();
    let condition = move |graph: &mut Graph, _: Id, subst: &Subst| {
        guards.iter().all(|holds| holds(graph, subst))
    };
    let applier = ConditionalApplier { condition, applier: side(&law.rhs) };
    Rewrite::new(law.name.clone(), side(&law.lhs), applier)
        .unwrap_or_else(|e| panic!("law {}: {e}", law.name))
}
