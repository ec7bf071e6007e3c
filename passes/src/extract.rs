//! The cheapest term of a saturated graph, where what is shared is paid once.
//!
//! For each class the best node is kept with the *set* of everything below it; its total is the sum
//! over the union of its operands' sets. Classes are improved in order until nothing changes.
//! Two refinements matter: history, written values and final state of one core share a loop, which
//! is paid once; and since the choice in one class cannot see that two users would profit from one
//! loop, extraction is repeated with each loop taken as free, priced truthfully, and the cheapest
//! result kept.

use crate::cost::Model;
use crate::saturate::{Graph, Saturated};
use egg::{Id, Language};
use sluice_ir::seq::{Builder, Core, Root, Seq, Term, core_of};
use std::collections::BTreeMap;

/// A term and its cost.
pub(crate) struct Extracted {
    pub(crate) term: Term,
    pub(crate) cost: f64,
}

/// Improvements smaller than this are rounding of the sums.
const TOLERANCE: f64 = 1e-9;
/// Rounds of improving all classes; far more than any graph has needed.
const ROUNDS: usize = 200;

/// Extracts the cheapest term; its cost is infinite if no safe one exists.
pub(crate) fn extract(saturated: &Saturated, original: &Term, model: &Model) -> Extracted {
    let search = Search::new(&saturated.graph, model);
    let mut best = search.choose(&saturated.roots, None);
    for index in 0..search.loops.len() {
        let other = search.choose(&saturated.roots, Some(index));
        if other.1 < best.1 - TOLERANCE {
            best = other;
        }
    }
    let term = build(&saturated.graph, &saturated.roots, original, &best.0);
    Extracted { term, cost: best.1 }
}

/// Something paid once: a class, or a loop (numbered after the classes).
type Resource = usize;

/// What a node's class costs with everything below it.
#[derive(Clone, Debug)]
struct Choice<'g> {
    node: &'g Seq,
    /// Resources below and including it, ascending, with their costs.
    paid: Vec<(Resource, f64)>,
    total: f64,
}

/// Chosen nodes by class.
type Choices<'g> = BTreeMap<Id, Choice<'g>>;

struct Search<'g> {
    graph: &'g Graph,
    /// Classes in order of their ids, with their nodes' own costs.
    classes: Vec<(Id, Vec<(&'g Seq, f64)>)>,
    resources: BTreeMap<Id, Resource>,
    loops: BTreeMap<(Core, bool), Resource>,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph, model: &Model) -> Self {
        let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
        ids.sort_unstable();
        let of = |id: Id| graph[id].data;
        let priced = |id: &Id| {
            let class = &graph[*id];
            let nodes = class.nodes.iter();
            (*id, nodes.map(|n| (n, model.cost(n, &class.data, &of))).collect::<Vec<_>>())
        };
        let classes: Vec<_> = ids.iter().map(priced).collect();
        let resources: BTreeMap<Id, Resource> =
            ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        let mut search = Self { graph, classes, resources, loops: BTreeMap::new() };
        for (_, nodes) in &search.classes {
            for key in nodes.iter().filter_map(|(node, _)| loop_of(graph, node)) {
                let next = search.resources.len() + search.loops.len();
                search.loops.entry(key).or_insert(next);
            }
        }
        search
    }

    /// The resource that pays for a node: its loop, or its class.
    fn payer(&self, class: Id, node: &Seq) -> Resource {
        loop_of(self.graph, node).map_or(self.resources[&class], |key| self.loops[&key])
    }

    /// Chooses a node for every class, and prices what the roots need. One loop may be taken as
    /// free while choosing.
    fn choose(&self, roots: &[Id], free: Option<usize>) -> (Choices<'g>, f64) {
        let free = free.map(|index| self.resources.len() + index);
        let mut choices: Choices<'g> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let mut changed = false;
            for (id, nodes) in &self.classes {
                for (node, cost) in nodes {
                    let payer = self.payer(*id, node);
                    let own = if free == Some(payer) { 0.0 } else { *cost };
                    let Some(choice) = self.with_operands(*id, node, (payer, own), &choices) else {
                        continue;
                    };
                    let known = choices.get(id).map(|c| c.total);
                    if known.is_none_or(|total| choice.total < total - TOLERANCE) {
                        choices.insert(*id, choice);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        let cost = self.price(roots, &choices);
        (choices, cost)
    }

    /// A node with the choices of its operands; none if one is missing or would hold itself.
    fn with_operands(
        &self,
        id: Id,
        node: &'g Seq,
        (payer, own): (Resource, f64),
        choices: &Choices<'g>,
    ) -> Option<Choice<'g>> {
        let me = self.resources[&id];
        let mut paid = Vec::new();
        for operand in node.children() {
            let choice = choices.get(&self.graph.find(*operand))?;
            paid = union(&paid, &choice.paid);
        }
        if paid.binary_search_by_key(&me, |entry| entry.0).is_ok() {
            return None;
        }
        let mut this = vec![(me, 0.0)];
        if payer != me {
            this.push((payer, own));
        } else {
            this[0].1 = own;
        }
        paid = union(&paid, &this);
        let total = paid.iter().map(|entry| entry.1).sum();
        Some(Choice { node, paid, total })
    }

    /// The true cost of what the roots need.
    fn price(&self, roots: &[Id], choices: &Choices<'g>) -> f64 {
        let mut needed: BTreeMap<Id, ()> = BTreeMap::new();
        let mut waiting = roots.to_vec();
        let mut paid: BTreeMap<Resource, f64> = BTreeMap::new();
        while let Some(id) = waiting.pop() {
            if needed.insert(id, ()).is_none() {
                let Some(choice) = choices.get(&id) else { return f64::INFINITY };
                let (_, nodes) = &self.classes[self.resources[&id]];
                let own = nodes.iter().find(|(node, _)| *node == choice.node);
                paid.insert(self.payer(id, choice.node), own.map_or(f64::INFINITY, |n| n.1));
                waiting.extend(choice.node.children().iter().map(|c| self.graph.find(*c)));
            }
        }
        paid.values().sum()
    }
}

/// Core, with operands by class, and direction of a node that is the result of a loop.
fn loop_of(graph: &Graph, node: &Seq) -> Option<(Core, bool)> {
    let (mask, _) = core_of(node)?;
    let node = node.clone().map_children(|c| graph.find(c));
    let (_, core) = core_of(&node)?;
    Some((core, graph[mask].data.facts.mask().is_transposed()))
}

/// The union of two ascending sets; what both hold costs the same.
fn union(a: &[(Resource, f64)], b: &[(Resource, f64)]) -> Vec<(Resource, f64)> {
    let (mut i, mut j) = (0, 0);
    let mut both = Vec::with_capacity(a.len() + b.len());
    while i < a.len() && j < b.len() {
        if a[i].0 <= b[j].0 {
            j += usize::from(a[i].0 == b[j].0);
            both.push(a[i]);
            i += 1;
        } else {
            both.push(b[j]);
            j += 1;
        }
    }
    both.extend_from_slice(&a[i..]);
    both.extend_from_slice(&b[j..]);
    both
}

fn build(graph: &Graph, roots: &[Id], original: &Term, choices: &Choices<'_>) -> Term {
    let mut builder = Builder::new(original.leaves().clone());
    let mut places = BTreeMap::new();
    let mut place = |root: &Root, id: Id| {
        let id = add(graph, choices, id, &mut builder, &mut places);
        Root { id, ..root.clone() }
    };
    let roots = original.roots().iter().zip(roots).map(|(root, id)| place(root, *id)).collect();
    builder.finish(roots)
}

fn add(
    graph: &Graph,
    choices: &Choices<'_>,
    id: Id,
    builder: &mut Builder,
    places: &mut BTreeMap<Id, Id>,
) -> Id {
    let id = graph.find(id);
    if let Some(place) = places.get(&id) {
        return *place;
    }
    let node = choices[&id].node.clone();
    let node = node.map_children(|c| add(graph, choices, c, builder, places));
    let place = builder.add(node);
    places.insert(id, place);
    place
}
