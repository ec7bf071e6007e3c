//! States that are updated together, and which of them must wait for which.

use super::Program;
use crate::lift::taken_up;
use sluice_ir::step::{Order, StateId};
use std::collections::BTreeSet;

/// States that need each other at every step.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The states.
    pub(super) states: BTreeSet<StateId>,
    /// Their order over the tokens.
    pub(super) order: Order,
    /// Groups that must be in an earlier stage or in the same.
    pub(super) beside: BTreeSet<usize>,
    /// Groups that must be in an earlier stage.
    pub(super) before: BTreeSet<usize>,
}

/// The groups of a program, each after those that it needs.
pub(super) fn groups(program: &Program) -> Vec<Group> {
    let components = components(program);
    let mut groups: Vec<Group> = Vec::new();
    let mut waiting = components;
    while !waiting.is_empty() {
        let done = |state: &StateId| groups.iter().any(|g| g.states.contains(state));
        let ready = |component: &BTreeSet<StateId>| {
            let mut needed = needs(program, component);
            needed.all(|(state, _)| component.contains(&state) || done(&state))
        };
        let next = waiting.iter().position(ready).expect("components have an order");
        let states = waiting.remove(next);
        let order = order_of(program, &states);
        let mut group = Group { order, beside: BTreeSet::new(), before: BTreeSet::new(), states };
        for (state, last) in needs(program, &group.states) {
            let Some(other) = groups.iter().position(|g| g.states.contains(&state)) else {
                continue; // A state of the group itself.
            };
            match last || groups[other].order != order {
                true => group.before.insert(other),
                false => group.beside.insert(other),
            };
        }
        groups.push(group);
    }
    wait_for_readers(program, &mut groups);
    groups
}

fn order_of(program: &Program, states: &BTreeSet<StateId>) -> Order {
    let first = states.first().expect("a group has a state");
    program.recurrence.states[first.0].order
}

/// The states that updates read, and whether after the last token.
fn needs<'a>(
    program: &'a Program,
    states: &'a BTreeSet<StateId>,
) -> impl Iterator<Item = (StateId, bool)> + 'a {
    states.iter().flat_map(|state| {
        let reads = &program.reads[program.recurrence.updates[state.0].0];
        let before = reads.states.iter().map(|s| (*s, false));
        before.chain(reads.finals.iter().map(|s| (*s, true)))
    })
}

/// Sets of states that reach each other, in the order of their first states.
fn components(program: &Program) -> Vec<BTreeSet<StateId>> {
    let count = program.recurrence.states.len();
    let mut reach: Vec<BTreeSet<StateId>> = (0..count)
        .map(|s| needs(program, &BTreeSet::from([StateId(s)])).map(|(state, _)| state).collect())
        .collect();
    for state in (0..count).map(StateId) {
        for other in taken_up(program.recurrence, state) {
            reach[other.0].insert(state);
        }
    }
    for middle in 0..count {
        for from in 0..count {
            if reach[from].contains(&StateId(middle)) {
                let through = reach[middle].clone();
                reach[from].extend(through);
            }
        }
    }
    let mut components: Vec<BTreeSet<StateId>> = Vec::new();
    for state in (0..count).map(StateId) {
        let mutual = |s: &&StateId| reach[s.0].contains(&state);
        let mut component: BTreeSet<_> = reach[state.0].iter().filter(mutual).copied().collect();
        component.insert(state);
        if !components.contains(&component) {
            components.push(component);
        }
    }
    components
}

/// A matrix cannot leave its stage, so what it is read with should be known there: the group of the
/// matrix comes after the group that makes the reader, where it can.
fn wait_for_readers(program: &Program, groups: &mut [Group]) {
    let recurrence = program.recurrence;
    for node in &recurrence.nodes {
        let operands = node.op.operands();
        for matrix in operands.iter().filter(|o| recurrence.node(**o).dims.len() > 1) {
            let (mut now, mut last) = (BTreeSet::new(), BTreeSet::new());
            for reader in operands.iter().filter(|o| *o != matrix) {
                now.extend(&program.reads[reader.0].states);
                last.extend(&program.reads[reader.0].finals);
            }
            for held in groups_of(groups, &program.reads[matrix.0].states) {
                let readers = groups_of(groups, &now).into_iter().map(|g| (g, false));
                let readers =
                    readers.chain(groups_of(groups, &last).into_iter().map(|g| (g, true)));
                for (reader, ended) in readers {
                    if reader == held || needs_group(groups, reader, held) {
                        continue;
                    }
                    match !ended && groups[held].order == groups[reader].order {
                        true => groups[held].beside.insert(reader),
                        false => groups[held].before.insert(reader),
                    };
                }
            }
        }
    }
}

/// The groups of some states, in order.
pub(super) fn groups_of(groups: &[Group], states: &BTreeSet<StateId>) -> Vec<usize> {
    let holds = |group: &Group| !group.states.is_disjoint(states);
    (0..groups.len()).filter(|g| holds(&groups[*g])).collect()
}

/// Whether a group needs another one, itself or through others.
pub(super) fn needs_group(groups: &[Group], group: usize, wanted: usize) -> bool {
    let Group { beside, before, .. } = &groups[group];
    beside.iter().chain(before).any(|g| *g == wanted || needs_group(groups, *g, wanted))
}

/// The states of the groups that need a group.
pub(super) fn later(groups: &[Group], group: &Group) -> BTreeSet<StateId> {
    let place = groups.iter().position(|g| g.states == group.states);
    let place = place.expect("the group is one of them");
    let users = (0..groups.len()).filter(|g| needs_group(groups, *g, place));
    users.flat_map(|g| groups[g].states.iter().copied()).collect()
}
