//! Cuts a program into stages: recurrences of one sweep each, with the form that their kernels may take.
//!
//! States that need each other at every step are a *group*. A group whose recurrence, alone and with
//! what it needs of others as inputs, has a sequence form runs in chunks; any other is classified and
//! runs token by token. Groups of one order and form that do not wait for others share a stage; pointwise
//! work goes to the stage that makes its operands, or to one of its own where chunks cannot do it. What a
//! later stage needs and cannot compute again crosses as an array over the tokens.

mod arrange;
mod assemble;
mod classify;
mod groups;
mod layout;
mod program;
mod reading;
mod ring;
mod timetable;

use arrange::{Retry, arrange};
use classify::{as_steps, classify};
use program::Program;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::staged::{Form, Staged};
use sluice_ir::step::Recurrence;
use std::collections::{BTreeMap, BTreeSet};
use timetable::timetable;

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
/// [`Code::MissingDimension`](sluice_ir::diagnostic::Code::MissingDimension) for a dimension without a
/// size, `NotAffine` for an update that is not affine without the word for it, `UnsafeExponent` for a
/// history that may grow without bound, `Unsupported` for a matrix that stages would have to hand to
/// each other at every token; each at the sub-term to blame.
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
    mut grouping: Grouping,
) -> Result<Staged, Vec<Diagnostic>> {
    crate::lift::sizes(recurrence, extents)?;
    let program = &Program::new(recurrence, extents);
    let groups = groups::groups(program);
    let (kinds, refused): (Vec<_>, Vec<_>) =
        groups.iter().map(|g| classify(program, g)).partition(Result::is_ok);
    let refused: Vec<Diagnostic> = refused.into_iter().filter_map(Result::err).collect();
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut kinds: Vec<_> = kinds.into_iter().filter_map(Result::ok).collect();
    loop {
        let chunks: Vec<bool> = kinds.iter().map(|kind| kind.0 == Form::Chunks).collect();
        let slots = timetable(&groups, &chunks, grouping);
        match arrange(program, &groups, &kinds, &slots) {
            Ok(staged) => return Ok(staged),
            Err(Retry::Apart(_)) if grouping == Grouping::Joint => grouping = Grouping::Single,
            Err(Retry::Apart(refusal)) if !refusal.groups.iter().any(|g| chunks[*g]) => {
                return Err(vec![refusal.diagnostic]);
            }
            Err(Retry::Apart(refusal) | Retry::Steps(refusal)) => {
                for group in refusal.groups.into_iter().collect::<BTreeSet<_>>() {
                    kinds[group] = as_steps(program, &groups[group], &refusal.diagnostic);
                }
            }
            Err(Retry::Refused(diagnostic)) => return Err(vec![diagnostic]),
        }
    }
}
