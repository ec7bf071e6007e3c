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
mod distribute;
mod gauge;
mod groups;
mod layout;
mod program;
mod reading;
mod rewrite;
pub(crate) mod ring;
mod timetable;

use arrange::{Retry, arrange};
use classify::{Kind, as_steps, classify};
use distribute::distribute;
use groups::Group;
use program::{Prepared, Program};
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
    let (prepared, classes) = prepare(recurrence, extents);
    let program = &Program::new(&prepared, extents);
    let groups = groups::groups(program);
    let mut kinds = Vec::new();
    let mut refused = Vec::new();
    for kind in classes {
        kind.map_or_else(|diagnostic| refused.push(diagnostic), |kind| kinds.push(kind));
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let stages = loop {
        let chunks: Vec<bool> = kinds.iter().map(|kind| kind.0 == Form::Chunks).collect();
        let slots = timetable(&groups, &chunks, grouping);
        match arrange(program, &groups, &kinds, &slots) {
            Ok(stages) => break stages,
            Err(Retry::Apart(_)) if grouping == Grouping::Joint => grouping = Grouping::Single,
            Err(Retry::Apart(refusal)) if !refusal.groups.iter().any(|g| chunks[*g]) => {
                return Err(vec![*refusal.diagnostic]);
            }
            Err(Retry::Apart(refusal) | Retry::Steps(refusal)) => {
                for group in refusal.groups.into_iter().collect::<BTreeSet<_>>() {
                    kinds[group] = as_steps(program, &groups[group], &refusal.diagnostic);
                }
            }
            Err(Retry::Refused(diagnostic)) => return Err(vec![*diagnostic]),
        }
    };
    Ok(Staged {
        name: recurrence.name.clone(),
        outputs: recurrence.outputs.iter().map(|o| o.name.clone()).collect(),
        states: recurrence.states.iter().map(|s| s.name.clone()).collect(),
        stages,
    })
}

fn classes(program: &Program, groups: &[Group]) -> Vec<Result<Kind, Diagnostic>> {
    groups.iter().map(|g| classify(program, g, &groups::later(groups, g))).collect()
}

/// The program rewritten such that more of it has a sequence form, and what its groups are.
fn prepare(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
) -> (Prepared, Vec<Result<Kind, Diagnostic>>) {
    let mut prepared = Prepared::new(recurrence);
    let program = Program::new(&prepared, extents);
    if let Some(distributed) = distribute(&program, &groups::groups(&program)) {
        prepared = Prepared { recurrence: distributed, ..prepared };
    }
    loop {
        let program = &Program::new(&prepared, extents);
        let groups = groups::groups(program);
        let classes = classes(program, &groups);
        match gauge::gauge(program, &groups, &classes) {
            Some(next) => prepared = next,
            None => return (prepared, classes),
        }
    }
}
