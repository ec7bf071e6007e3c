//! From a recurrence to the scans of its elements, if no state mixes its elements.
//!
//! In: a recurrence of one sweep.  Out: its states in groups, each with gates and entries as nodes
//! where its update is affine over some ring, or with its entry where it is a window.

use crate::explain::{Derivation, DerivationStep};
use crate::rules::Rounding;
use crate::stages::ring::{Degree, degrees};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::elements::{Elements, Group, Law, Row, check};
use sluice_ir::pointwise::{Binary, Ring, Unary};
use sluice_ir::step::{DimId, Node, NodeId, Op, Recurrence, StateId, result_dims};
use std::collections::BTreeSet;

const RINGS: [Ring; 4] = [Ring::Sum, Ring::Max, Ring::Min, Ring::LogSum];

/// The elementwise form of a recurrence of one sweep that reads no last state.
///
/// # Errors
///
/// [`Code::Unsupported`] if a state mixes its elements.
pub fn elements(recurrence: &Recurrence) -> Result<Elements, Diagnostic> {
    let mut form = Form { recurrence: recurrence.clone() };
    let mut groups: Vec<(Group, Vec<DimId>)> = Vec::new();
    for states in in_order(recurrence) {
        let dims = form.dims_of(&states)?;
        let law = form.law(&states, &dims)?;
        let group = Group { states: states.into_iter().collect(), law };
        let reads = form.reads();
        match groups.last_mut() {
            Some((last, of_last)) if *of_last == dims && are_apart(&reads, &form, last, &group) => {
                join(last, group);
            }
            _ => groups.push((group, dims)),
        }
    }
    let groups = groups.into_iter().map(|(group, _)| group).collect();
    let elements = Elements { recurrence: form.recurrence, groups };
    debug_assert_eq!(check(&elements), Ok(()));
    Ok(elements)
}

/// Why scans of elements give what the steps give: a chain of laws for each state.
pub fn explain_elements(elements: &Elements) -> Vec<Derivation> {
    let mut derivations = Vec::new();
    for group in &elements.groups {
        let Law::Linear { ring, rows } = &group.law else { continue };
        let names = elements.names(group);
        let (plus, times) = (ring.plus().name(), ring.times().name());
        for ((state, row), name) in group.states.iter().zip(rows).zip(&names) {
            let update = elements.recurrence.updates[state.0];
            let step =
                |law: &str, rounding, reference, before: String, after: String| DerivationStep {
                    law: law.to_owned(),
                    forward: true,
                    rounding,
                    reference,
                    before,
                    after,
                };
            let all = names.join(", ");
            let steps = vec![
                step(
                    "collect",
                    Rounding::Reorders,
                    "products distribute over sums in a ring",
                    format!("{name}' = {}", elements.definition(update)),
                    format!("{name}' = {}", elements.row_text(*ring, row, &names)),
                ),
                step(
                    "compose",
                    Rounding::Reorders,
                    "[Blelloch 1990], [Martin 2018]",
                    format!("({all}) by (A, b), then by (A', b')"),
                    format!(
                        "by ({times}(A', A), {plus}({times}(A', b), b')), an associative operation"
                    ),
                ),
                step(
                    "segment",
                    Rounding::Reorders,
                    "[Blelloch 1990]",
                    format!("({all}) over all tokens of a chunk"),
                    "the changes by segments of tokens, combined, and each segment from its start"
                        .to_owned(),
                ),
            ];
            derivations.push(Derivation { root: name.clone(), steps });
        }
    }
    derivations
}

fn refusal(message: String) -> Diagnostic {
    Diagnostic::new(Code::Unsupported, message)
}

/// The states that each node depends on.
fn reads(recurrence: &Recurrence) -> Vec<BTreeSet<StateId>> {
    let mut reads: Vec<BTreeSet<StateId>> = Vec::with_capacity(recurrence.nodes.len());
    for node in &recurrence.nodes {
        let own = match node.op {
            Op::State(state) => Some(state),
            _ => None,
        };
        let operands = node.op.operands();
        let others = operands.iter().flat_map(|o| reads[o.0].iter().copied());
        reads.push(own.into_iter().chain(others).collect());
    }
    reads
}

/// States that change and need each other, before those that need them.
fn in_order(recurrence: &Recurrence) -> Vec<BTreeSet<StateId>> {
    let reads = reads(recurrence);
    let count = recurrence.states.len();
    let mut needs: Vec<BTreeSet<StateId>> =
        recurrence.updates.iter().map(|update| reads[update.0].clone()).collect();
    for _ in 0..count {
        for state in 0..count {
            let further = needs[state].iter().flat_map(|s| needs[s.0].iter().copied());
            let further: BTreeSet<StateId> = further.collect();
            needs[state].extend(further);
        }
    }
    let together = |a: StateId| {
        let mutual = |b: &StateId| *b == a || (needs[a.0].contains(b) && needs[b.0].contains(&a));
        (0..count).map(StateId).filter(mutual).collect::<BTreeSet<StateId>>()
    };
    let changes = |s: &StateId| recurrence.node(recurrence.updates[s.0]).op != Op::State(*s);
    let groups: BTreeSet<BTreeSet<StateId>> =
        (0..count).map(StateId).filter(changes).map(together).collect();
    let mut groups: Vec<BTreeSet<StateId>> = groups.into_iter().collect();
    // A group needs more states than each group that it needs.
    let all = |group: &BTreeSet<StateId>| {
        group.iter().flat_map(|s| &needs[s.0]).chain(group).collect::<BTreeSet<_>>().len()
    };
    groups.sort_by_key(|group| (all(group), group.first().copied()));
    groups
}

/// Whether a group neither reads the other nor changes in another way, so that both can be scanned
/// together.
fn are_apart(reads: &[BTreeSet<StateId>], form: &Form, first: &Group, then: &Group) -> bool {
    let (Law::Linear { ring, .. }, Law::Linear { ring: other, .. }) = (&first.law, &then.law)
    else {
        return false;
    };
    let needed = then.states.iter().flat_map(|s| &reads[form.recurrence.updates[s.0].0]);
    ring == other && !needed.clone().any(|s| first.states.contains(s))
}

/// Adds states that do not read those of the group.
fn join(group: &mut Group, more: Group) {
    let (Law::Linear { rows, .. }, Law::Linear { rows: others, .. }) = (&mut group.law, more.law)
    else {
        unreachable!("only linear groups are joined")
    };
    let (before, after) = (group.states.len(), more.states.len());
    rows.iter_mut().for_each(|row| row.gates.extend(vec![None; after]));
    rows.extend(
        others
            .into_iter()
            .map(|row| Row { gates: [vec![None; before], row.gates].concat(), entry: row.entry }),
    );
    group.states.extend(more.states);
}

/// A recurrence to which nodes are added.
struct Form {
    recurrence: Recurrence,
}

/// A factor of a state.
#[derive(Clone, Copy)]
enum Gate {
    One,
    Node(NodeId),
}

/// A node as a sum of products over a ring.
struct Affine {
    gates: Vec<Option<Gate>>,
    entry: Option<NodeId>,
}

impl Form {
    fn node(&self, id: NodeId) -> &Node {
        self.recurrence.node(id)
    }

    fn reads(&self) -> Vec<BTreeSet<StateId>> {
        reads(&self.recurrence)
    }

    /// The dimensions that the states of a group have in common.
    fn dims_of(&self, states: &BTreeSet<StateId>) -> Result<Vec<DimId>, Diagnostic> {
        let mut all = states.iter().map(|s| &self.recurrence.states[s.0]);
        let first = all.next().expect("a group has states");
        match all.find(|state| state.dims != first.dims) {
            None => Ok(first.dims.clone()),
            Some(other) => Err(refusal(format!(
                "`{}` and `{}` take up each other and differ in their dimensions",
                first.name, other.name
            ))),
        }
    }

    fn law(&mut self, states: &BTreeSet<StateId>, dims: &[DimId]) -> Result<Law, Diagnostic> {
        if let Some(entry) = self.window(states) {
            return Ok(Law::Window(entry));
        }
        let updates: Vec<NodeId> = states.iter().map(|s| self.recurrence.updates[s.0]).collect();
        for ring in RINGS {
            let degrees = degrees(&self.recurrence, states, ring);
            if updates.iter().any(|u| degrees[u.0] == Degree::Beyond) {
                continue;
            }
            let states: Vec<StateId> = states.iter().copied().collect();
            let mut scan = Scan { form: self, states: &states, dims, ring, degrees };
            let rows: Option<Vec<Row>> = updates.iter().map(|u| scan.row(*u)).collect();
            if let Some(rows) = rows {
                return Ok(Law::Linear { ring, rows });
            }
        }
        let reads = self.reads();
        let depends = |id: NodeId| !reads[id.0].is_disjoint(states);
        match updates.iter().find_map(|u| self.mixed(*u, dims, &depends)) {
            None => Ok(Law::Free),
            Some(_) => {
                let names = states.iter().map(|s| self.recurrence.states[s.0].name.as_str());
                let names = names.collect::<Vec<_>>().join("` and `");
                Err(refusal(format!("elements of `{names}` are mixed")))
            }
        }
    }

    /// What a state takes up that holds the last values of something else.
    fn window(&self, states: &BTreeSet<StateId>) -> Option<NodeId> {
        let [state] = states.iter().copied().collect::<Vec<_>>()[..] else { return None };
        let Op::Push(window, entry) = self.node(self.recurrence.updates[state.0]).op else {
            return None;
        };
        let own = self.node(window).op == Op::State(state);
        (own && !self.reads()[entry.0].contains(&state)).then_some(entry)
    }

    /// A node below that depends on other elements than its own.
    fn mixed(
        &self,
        id: NodeId,
        dims: &[DimId],
        depends: &dyn Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        if !depends(id) {
            return None;
        }
        let node = self.node(id);
        let pointwise =
            matches!(node.op, Op::State(_) | Op::Unary(..) | Op::Binary(..) | Op::Select(..));
        if !pointwise || !same(&node.dims, dims) {
            return Some(id);
        }
        node.op.operands().into_iter().find_map(|o| self.mixed(o, dims, depends))
    }

    /// Adds a node.
    fn add(&mut self, op: Op) -> Option<NodeId> {
        let dims = result_dims(&self.recurrence, &op).ok()?;
        self.recurrence.nodes.push(Node { op, dims, span: 0..0, name: None });
        Some(NodeId(self.recurrence.nodes.len() - 1))
    }

    /// Adds the function of two nodes, which may have no dimension in common.
    fn binary(&mut self, f: Binary, a: NodeId, b: NodeId) -> Option<NodeId> {
        self.add(Op::Binary(f, a, b)).or_else(|| match f {
            Binary::Mul => self.add(Op::Outer(a, b)),
            _ => None,
        })
    }
}

fn same(a: &[DimId], b: &[DimId]) -> bool {
    a.len() == b.len() && a.iter().all(|d| b.contains(d))
}

/// The way from an update to gates and entries.
struct Scan<'a> {
    form: &'a mut Form,
    states: &'a [StateId],
    dims: &'a [DimId],
    ring: Ring,
    /// Of the nodes that were there before.
    degrees: Vec<Degree>,
}

impl Scan<'_> {
    fn row(&mut self, update: NodeId) -> Option<Row> {
        let Affine { gates, entry } = self.affine(update)?;
        let gates: Option<_> = gates.into_iter().map(|gate| self.named(gate)).collect();
        Some(Row { gates: gates?, entry })
    }

    /// A gate as a node.
    fn gate(&mut self, gate: Gate) -> Option<NodeId> {
        match gate {
            Gate::One => self.form.add(Op::Const(self.ring.one())),
            Gate::Node(id) => Some(id),
        }
    }

    /// The node as a sum of products, if no element meets another.
    fn affine(&mut self, id: NodeId) -> Option<Affine> {
        let none = vec![None; self.states.len()];
        if self.degrees[id.0] == Degree::Free {
            return Some(Affine { gates: none, entry: Some(id) });
        }
        let node = self.form.node(id);
        if !same(&node.dims, self.dims) {
            return None;
        }
        let is_free = |id: NodeId| self.degrees[id.0] == Degree::Free;
        match node.op {
            Op::State(state) => {
                let own = |s: &StateId| (*s == state).then_some(Gate::One);
                Some(Affine { gates: self.states.iter().map(own).collect(), entry: None })
            }
            Op::Binary(f, a, b) if f == self.ring.times() && (is_free(a) || is_free(b)) => {
                let (factor, rest) = if is_free(a) { (a, b) } else { (b, a) };
                let rest = self.affine(rest)?;
                self.each(rest, &mut |form, x| form.binary(f, factor, x), Some(factor))
            }
            Op::Binary(f, a, b) if f == self.ring.plus() => {
                let (a, b) = (self.affine(a)?, self.affine(b)?);
                self.sum(a, b)
            }
            Op::Binary(Binary::Div, a, divisor) if self.ring == Ring::Sum => {
                let a = self.affine(a)?;
                let inverse = self.form.add(Op::Unary(Unary::Recip, divisor));
                self.each(a, &mut |form, x| form.binary(Binary::Div, x, divisor), inverse)
            }
            Op::Unary(Unary::Neg, a) if self.ring == Ring::Sum => {
                let a = self.affine(a)?;
                let minus = self.form.add(Op::Const(-1.0));
                self.each(a, &mut |form, x| form.add(Op::Unary(Unary::Neg, x)), minus)
            }
            Op::Select(condition, a, b) => {
                let (a, b) = (self.affine(a)?, self.affine(b)?);
                self.choice(condition, a, b)
            }
            _ => None,
        }
    }

    /// A function of each gate and of the entry; `of_one` is its value of a gate that is one.
    fn each(
        &mut self,
        affine: Affine,
        f: &mut dyn FnMut(&mut Form, NodeId) -> Option<NodeId>,
        of_one: Option<NodeId>,
    ) -> Option<Affine> {
        let mut gates = Vec::with_capacity(affine.gates.len());
        for gate in affine.gates {
            gates.push(match gate {
                None => None,
                Some(Gate::One) => Some(Gate::Node(of_one?)),
                Some(Gate::Node(x)) => Some(Gate::Node(f(self.form, x)?)),
            });
        }
        let entry = match affine.entry {
            None => None,
            Some(x) => Some(f(self.form, x)?),
        };
        Some(Affine { gates, entry })
    }

    fn sum(&mut self, a: Affine, b: Affine) -> Option<Affine> {
        let mut gates = Vec::with_capacity(a.gates.len());
        for pair in a.gates.into_iter().zip(b.gates) {
            gates.push(match pair {
                (Some(x), Some(y)) => {
                    let (x, y) = (self.gate(x)?, self.gate(y)?);
                    Some(Gate::Node(self.form.binary(self.ring.plus(), x, y)?))
                }
                (x, y) => x.or(y),
            });
        }
        let entry = match (a.entry, b.entry) {
            (Some(x), Some(y)) => Some(self.form.binary(self.ring.plus(), x, y)?),
            (x, y) => x.or(y),
        };
        Some(Affine { gates, entry })
    }

    fn choice(&mut self, condition: NodeId, a: Affine, b: Affine) -> Option<Affine> {
        let mut gates = Vec::with_capacity(a.gates.len());
        for (x, y) in a.gates.into_iter().zip(b.gates) {
            let (x, y) = (self.named(x)?, self.named(y)?);
            gates.push(self.choose(condition, x, y)?.map(Gate::Node));
        }
        let entry = self.choose(condition, a.entry, b.entry)?;
        Some(Affine { gates, entry })
    }

    /// The same gate as a node.
    fn named(&mut self, gate: Option<Gate>) -> Option<Option<NodeId>> {
        match gate {
            None => Some(None),
            Some(gate) => self.gate(gate).map(Some),
        }
    }

    fn choose(
        &mut self,
        condition: NodeId,
        x: Option<NodeId>,
        y: Option<NodeId>,
    ) -> Option<Option<NodeId>> {
        if x.is_none() && y.is_none() {
            return Some(None);
        }
        let zero = self.form.add(Op::Const(self.ring.zero()))?;
        self.form.add(Op::Select(condition, x.unwrap_or(zero), y.unwrap_or(zero))).map(Some)
    }
}
