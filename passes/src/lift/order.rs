//! Which states a node depends on, and in which order states can be lifted.

use sluice_ir::diagnostic::{Code, Diagnostic};
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

/// The states, each after those that its update reads.
///
/// # Errors
/// If states read each other in a circle: their transition mixes them.
pub(super) fn dependency_order(
    recurrence: &Recurrence,
    touches: &[BTreeSet<StateId>],
) -> Result<Vec<StateId>, Diagnostic> {
    let needs = |state: StateId| {
        touches[recurrence.updates[state.0].0].iter().copied().filter(move |other| *other != state)
    };
    let mut order: Vec<StateId> = Vec::new();
    while order.len() < recurrence.states.len() {
        let waiting = (0..recurrence.states.len()).map(StateId).filter(|s| !order.contains(s));
        let Some(next) = waiting.clone().find(|s| needs(*s).all(|n| order.contains(&n))) else {
            let names: Vec<String> =
                waiting.clone().map(|s| format!("`{}`", recurrence.states[s.0].name)).collect();
            let first = waiting.clone().next().expect("some state waits");
            let span = recurrence.node(recurrence.updates[first.0]).span.clone();
            let message = "recurrences whose states need each other have no chunked form yet";
            return Err(Diagnostic::new(Code::Unsupported, message)
                .at(span, format!("the updates of {} form a circle", names.join(", ")))
                .with_help("let each state read only states that do not read it"));
        };
        order.push(next);
    }
    Ok(order)
}
