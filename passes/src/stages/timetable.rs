//! In which stages the groups of a program run: as few as possible.

use super::groups::Group;
use sluice_ir::step::Order;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Groups that run together, by number, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The groups.
    pub(super) groups: Vec<usize>,
    /// Their order over the tokens.
    pub(super) order: Order,
    /// Whether they run in chunks.
    pub(super) chunks: bool,
}

/// The shortest list of stages for groups, some of which run in chunks.
///
/// Each stage takes all groups of one order and form that are ready, or one that runs in chunks and is to
/// be `alone`; the lists of such stages are searched by length.
pub(super) fn timetable(groups: &[Group], chunks: &[bool], alone: &[bool]) -> Vec<Slot> {
    let all: BTreeSet<usize> = (0..groups.len()).collect();
    let mut seen: BTreeMap<BTreeSet<usize>, Vec<Slot>> = BTreeMap::new();
    let mut waiting = VecDeque::from([BTreeSet::new()]);
    seen.insert(BTreeSet::new(), vec![]);
    while let Some(done) = waiting.pop_front() {
        if done == all {
            break;
        }
        for slot in next_slots(groups, chunks, alone, &done) {
            let after: BTreeSet<usize> = done.iter().chain(&slot.groups).copied().collect();
            if !seen.contains_key(&after) {
                let list = [seen[&done].clone(), vec![slot]].concat();
                seen.insert(after.clone(), list);
                waiting.push_back(after);
            }
        }
    }
    seen.remove(&all).expect("groups do not wait for each other in a circle")
}

/// The stages that may come next: in steps before in chunks, so that what gates need is early.
fn next_slots(
    groups: &[Group],
    chunks: &[bool],
    alone: &[bool],
    done: &BTreeSet<usize>,
) -> Vec<Slot> {
    let single = |g: usize| chunks[g] && alone[g];
    let kind = |g: usize| (chunks[g], single(g), groups[g].order);
    let left = || (0..groups.len()).filter(|g| !done.contains(g));
    let kinds: BTreeSet<(bool, bool, Order)> = left().map(kind).collect();
    let mut slots = Vec::new();
    for (in_chunks, by_itself, order) in kinds {
        let mut ready: Vec<usize> = Vec::new();
        // Groups that wait beside each other follow in later rounds.
        while let Some(next) = left().find(|g| {
            let group = &groups[*g];
            let present = |other: &usize| done.contains(other) || ready.contains(other);
            kind(*g) == (in_chunks, by_itself, order)
                && !ready.contains(g)
                && (!by_itself || ready.is_empty())
                && group.before.iter().all(|other| done.contains(other))
                && group.beside.iter().all(present)
        }) {
            ready.push(next);
        }
        if !ready.is_empty() {
            slots.push(Slot { groups: ready, order, chunks: in_chunks });
        }
    }
    slots
}
