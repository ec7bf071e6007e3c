//! When an elementwise form is legal.
//!
//! - Every state that changes stands in one group, and the states of a group have the same dimensions.
//! - A linear group has a row a state and a gate a state in each. Gates and entries depend on states of
//!   earlier groups only, and have no dimension that the states lack.
//! - A window group has one state, whose new value takes up the entry; the entry depends on states of earlier
//!   groups only.
//! - The new values of a free group depend on its states, and states on each other, element by element.

use super::{Elements, Group, Law};
use crate::step::{DimId, NodeId, Op, StateId};
use std::collections::BTreeSet;

/// Checks the rules at the head of this file; the message names the group that breaks one.
pub fn check(elements: &Elements) -> Result<(), String> {
    let reads = reads(elements);
    let count = elements.recurrence.states.len();
    let held = (0..count).map(StateId).filter(|s| elements.is_held(*s));
    let mut done: BTreeSet<StateId> = held.collect();
    for (number, group) in elements.groups.iter().enumerate() {
        let ensure = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(format!("group {number}: {what}")),
        };
        let own: BTreeSet<StateId> = group.states.iter().copied().collect();
        ensure(own.len() == group.states.len() && own.is_disjoint(&done), "a state twice")?;
        let Some(dims) = elements.dims(group) else {
            return Err(format!("group {number}: states of different dimensions"));
        };
        match &group.law {
            Law::Linear { rows, .. } => {
                let count = group.states.len();
                let fits = rows.len() == count && rows.iter().all(|row| row.gates.len() == count);
                ensure(fits, "gates that do not fit the states")?;
                let known = |id: NodeId| {
                    let narrow = elements.recurrence.node(id).dims.iter().all(|d| dims.contains(d));
                    narrow && reads[id.0].is_subset(&done)
                };
                ensure(group.values().all(known), "a gate or an entry that the scan changes")?;
            }
            Law::Window(entry) => {
                let [state] = group.states[..] else {
                    return Err(format!("group {number}: a window of several states"));
                };
                let recurrence = &elements.recurrence;
                let pushes = match recurrence.node(recurrence.updates[state.0]).op {
                    Op::Push(window, pushed) => {
                        recurrence.node(window).op == Op::State(state) && pushed == *entry
                    }
                    _ => false,
                };
                ensure(pushes, "a window of something else")?;
                ensure(reads[entry.0].is_subset(&done), "an entry that the scan changes")?;
            }
            Law::Free => {
                let updates = group.states.iter().map(|s| elements.recurrence.updates[s.0]);
                let mut updates =
                    updates.filter(|u| !pointwise(elements, *u, (&own, dims), &reads));
                ensure(updates.next().is_none(), "elements that are mixed")?;
            }
        }
        done.extend(own);
    }
    if done.len() == count { Ok(()) } else { Err(format!("{} of {count} states", done.len())) }
}

/// Whether a node depends on states of a group element by element.
fn pointwise(
    elements: &Elements,
    id: NodeId,
    (own, dims): (&BTreeSet<StateId>, &[DimId]),
    reads: &[BTreeSet<StateId>],
) -> bool {
    if reads[id.0].is_disjoint(own) {
        return true;
    }
    let node = elements.recurrence.node(id);
    let local = matches!(node.op, Op::State(_) | Op::Unary(..) | Op::Binary(..) | Op::Select(..));
    let operands = node.op.operands();
    local
        && same(&node.dims, dims)
        && operands.into_iter().all(|o| pointwise(elements, o, (own, dims), reads))
}

/// Whether two values have the same dimensions, in any order.
fn same(a: &[DimId], b: &[DimId]) -> bool {
    a.len() == b.len() && a.iter().all(|d| b.contains(d))
}

/// The states that each node depends on.
fn reads(elements: &Elements) -> Vec<BTreeSet<StateId>> {
    let nodes = &elements.recurrence.nodes;
    let mut reads: Vec<BTreeSet<StateId>> = Vec::with_capacity(nodes.len());
    for node in nodes {
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

impl Elements {
    /// The dimensions that all states of a group have.
    pub fn dims(&self, group: &Group) -> Option<&[DimId]> {
        let mut all = group.states.iter().map(|s| &self.recurrence.states[s.0].dims);
        let first = all.next()?;
        all.all(|dims| dims == first).then_some(first)
    }
}

impl Group {
    /// The gates and entries of all states.
    pub fn values(&self) -> impl Iterator<Item = NodeId> {
        let (rows, entry) = match &self.law {
            Law::Free => (&[][..], None),
            Law::Linear { rows, .. } => (&rows[..], None),
            Law::Window(entry) => (&[][..], Some(*entry)),
        };
        let rows = rows.iter().flat_map(|row| row.gates.iter().flatten().chain(&row.entry));
        rows.copied().chain(entry)
    }
}
