//! Which states a node depends on, and in which order states can be lifted.

use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{Op, Recurrence, StateId};
use std::collections::BTreeSet;

/// For every node the states whose values before the step it depends on.
pub(super) fn touched_states(recurrence: &Recurrence) -> Vec<BTreeSet<StateId>> {
    let mut touches: Vec<BTreeSet<StateId>> = Vec::new();
    for node in &recurrence.nodes {
        let mut set: BTreeSet<StateId> =
            node.op.operands().iter().flat_map(|o| touches[o.0].iter().copied()).collect();
        if let Op::State(state) = node.op {
            set.insert(state);
        }
        touches.push(set);
    }
    touches
}

/// The other states of two dimensions whose elements become part of a state's, so that both are one
/// recurrence: those of its own order.
pub(crate) fn taken_up(recurrence: &Recurrence, state: StateId) -> BTreeSet<StateId> {
    let dims = recurrence.states[state.0].dims.as_slice();
    let order = |state: StateId| recurrence.states[state.0].order;
    let mut found = BTreeSet::new();
    let mut waiting = vec![recurrence.updates[state.0]];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop().filter(|_| dims.len() == 2) {
        let node = recurrence.node(id);
        if node.dims != dims || !seen.insert(id) {
            continue;
        }
        match node.op {
            Op::State(other) if other != state && order(other) == order(state) => {
                found.insert(other);
            }
            Op::Unary(Unary::Neg, _) | Op::Binary(Binary::Add | Binary::Mul | Binary::Div, ..) => {
                waiting.extend(node.op.operands());
            }
            _ => {}
        }
    }
    found
}

/// The states, each after those that its update reads; states that read each other together.
pub(super) fn dependency_order(
    recurrence: &Recurrence,
    touches: &[BTreeSet<StateId>],
) -> Vec<Vec<StateId>> {
    let all = || (0..recurrence.states.len()).map(StateId);
    // What each state needs, itself or through others.
    let mut needs: Vec<BTreeSet<StateId>> =
        all().map(|s| touches[recurrence.updates[s.0].0].clone()).collect();
    for state in all() {
        for other in taken_up(recurrence, state) {
            needs[other.0].insert(state);
        }
    }
    for middle in all() {
        for state in all() {
            if needs[state.0].contains(&middle) {
                let through = needs[middle.0].clone();
                needs[state.0].extend(through);
            }
        }
    }
    let circle = |state: StateId| -> Vec<StateId> {
        let mutual = |s: &StateId| needs[state.0].contains(s) && needs[s.0].contains(&state);
        all().filter(|s| *s == state || mutual(s)).collect()
    };
    let mut order: Vec<Vec<StateId>> = Vec::new();
    let mut done: BTreeSet<StateId> = BTreeSet::new();
    while done.len() < recurrence.states.len() {
        let ready = |state: &StateId| {
            let group = circle(*state);
            needs[state.0].iter().all(|n| done.contains(n) || group.contains(n))
        };
        let next = all().filter(|s| !done.contains(s)).find(ready);
        let group = circle(next.expect("circles of states have an order"));
        done.extend(&group);
        order.push(group);
    }
    order
}
