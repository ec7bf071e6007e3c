//! In which passes over a sequence everything in a step can be computed.
//!
//! States of one order that do not wait for each other pass together: a [`Sweep`]. A sweep comes after
//! those whose states its nodes read in another order, and after those whose last state it reads.

use super::{NodeId, Op, Order, Recurrence, StateId};
use std::collections::BTreeSet;

/// One pass over the tokens of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The order of its tokens.
    pub order: Order,
    /// The states that it carries.
    pub states: Vec<StateId>,
}

/// The passes of a program, in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweeps {
    /// The passes; the last may carry no state.
    pub sweeps: Vec<Sweep>,
    /// For each node the first pass that can compute it.
    pub first: Vec<usize>,
    /// For each node whether it depends on a state before some step, so that only the pass named in
    /// `first` can compute it.
    pub carried: Vec<bool>,
}

/// States that need each other in a way that no sequence of passes can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tangle {
    /// The states.
    pub states: Vec<StateId>,
    /// What is wrong with them.
    pub reason: String,
}

/// What a node reads of states, itself or through its operands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// States before the step.
    pub states: BTreeSet<StateId>,
    /// States after the last token.
    pub finals: BTreeSet<StateId>,
}

/// The passes of a recurrence whose nodes use nodes before them.
///
/// # Errors
///
/// States of different orders that need each other, or a state that needs its own last value.
pub fn sweeps(recurrence: &Recurrence) -> Result<Sweeps, Tangle> {
    let reads = reads(recurrence);
    let of_update = |s: usize| &reads[recurrence.updates[s].0];
    let count = recurrence.states.len();
    let mut level = vec![0usize; count];
    // Levels only grow; more rounds than states mean that some state waits for itself.
    for round in 0.. {
        let mut changed = Vec::new();
        for state in 0..count {
            let order = recurrence.states[state].order;
            let Reads { states, finals } = of_update(state);
            let beside = states
                .iter()
                .map(|s| level[s.0] + usize::from(recurrence.states[s.0].order != order));
            let after = finals.iter().map(|s| level[s.0] + 1);
            let least = beside.chain(after).max().unwrap_or(0);
            if least > level[state] {
                level[state] = least;
                changed.push(StateId(state));
            }
        }
        if changed.is_empty() {
            break;
        }
        if round > count {
            return Err(tangle(recurrence, changed));
        }
    }
    let mut keys: Vec<(usize, Order)> =
        (0..count).map(|s| (level[s], recurrence.states[s].order)).collect();
    keys.sort_unstable();
    keys.dedup();
    let sweep_of = |s: StateId| {
        let key = (level[s.0], recurrence.states[s.0].order);
        keys.iter().position(|k| *k == key).expect("every state has a sweep")
    };
    let first = reads.iter().map(|r| {
        let beside = r.states.iter().map(|s| sweep_of(*s));
        beside.chain(r.finals.iter().map(|s| sweep_of(*s) + 1)).max().unwrap_or(0)
    });
    let first: Vec<usize> = first.collect();
    let mut sweeps: Vec<Sweep> = keys
        .iter()
        .enumerate()
        .map(|(i, (_, order))| {
            let states = (0..count).map(StateId).filter(|s| sweep_of(*s) == i).collect();
            Sweep { order: *order, states }
        })
        .collect();
    let last = recurrence.outputs.iter().map(|o| first[o.node.0]).max().unwrap_or(0);
    while sweeps.len() <= last {
        sweeps.push(Sweep { order: Order::Forward, states: vec![] });
    }
    let carried = reads.iter().map(|r| !r.states.is_empty()).collect();
    Ok(Sweeps { sweeps, first, carried })
}

fn tangle(recurrence: &Recurrence, states: Vec<StateId>) -> Tangle {
    let names: Vec<String> =
        states.iter().map(|s| format!("`{}`", recurrence.states[s.0].name)).collect();
    let names = names.join(", ");
    let reason = match states.len() {
        1 => format!("the state {names} needs its own last value"),
        _ => {
            format!("the states {names} need each other, but do not pass over the tokens together")
        }
    };
    Tangle { states, reason }
}

/// What every node reads of states.
pub fn reads(recurrence: &Recurrence) -> Vec<Reads> {
    let mut all: Vec<Reads> = Vec::with_capacity(recurrence.nodes.len());
    for node in &recurrence.nodes {
        let mut reads = Reads::default();
        for NodeId(operand) in node.op.operands() {
            reads.states.extend(&all[operand].states);
            reads.finals.extend(&all[operand].finals);
        }
        match node.op {
            Op::State(state) => drop(reads.states.insert(state)),
            Op::Final(state) => drop(reads.finals.insert(state)),
            _ => {}
        }
        all.push(reads);
    }
    all
}
