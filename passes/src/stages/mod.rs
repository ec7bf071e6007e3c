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
mod replay;
mod rewrite;
pub(crate) mod ring;
mod segments;
mod timetable;
mod transition;

use arrange::{Retry, arrange};
use classify::{Kind, as_steps, classify};
use distribute::distribute;
use groups::Group;
use program::{Prepared, Program};
pub use segments::segments;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::staged::{Form, Stage, Staged};
use sluice_ir::step::Recurrence;
use std::collections::{BTreeMap, BTreeSet};
use timetable::timetable;

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
    stages_apart(recurrence, extents, &BTreeSet::new())
}

/// The same, where some states, named as stages name them, share no stage with others when they run in
/// chunks, but for those that they need at every step.
///
/// # Errors
/// As for [`stages`].
pub fn stages_apart(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
    apart: &BTreeSet<String>,
) -> Result<Staged, Vec<Diagnostic>> {
    crate::lift::sizes(recurrence, extents)?;
    let (mut prepared, mut known) = prepare(recurrence, extents);
    let stages = loop {
        match cut(&prepared, known, extents, apart)? {
            Cut::Stages(stages) => break stages,
            Cut::Again(next) => prepared = *next,
        }
        let program = &Program::new(&prepared, extents);
        known = classes(program, &groups::groups(program));
    };
    Ok(Staged {
        name: recurrence.name.clone(),
        outputs: recurrence.outputs.iter().map(|o| o.name.clone()).collect(),
        states: recurrence.states.iter().map(|s| s.name.clone()).collect(),
        stages,
    })
}

/// What came of cutting a program.
enum Cut {
    Stages(Vec<Stage>),
    /// The program should be cut in this form.
    Again(Box<Prepared>),
}

fn cut(
    prepared: &Prepared,
    classes: Vec<Result<Kind, Diagnostic>>,
    extents: &BTreeMap<String, usize>,
    apart: &BTreeSet<String>,
) -> Result<Cut, Vec<Diagnostic>> {
    let program = &Program::new(prepared, extents);
    let groups = groups::groups(program);
    let mut kinds = Vec::new();
    let mut refused = Vec::new();
    for kind in classes {
        kind.map_or_else(|diagnostic| refused.push(diagnostic), |kind| kinds.push(kind));
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let named = |group: &Group| {
        let mut states = group.states.iter().map(|s| &program.recurrence.states[s.0].name);
        states.any(|name| apart.contains(name))
    };
    let mut alone: Vec<bool> = groups.iter().map(named).collect();
    loop {
        let chunks: Vec<bool> = kinds.iter().map(|kind| kind.0 == Form::Chunks).collect();
        let slots = timetable(&groups, &chunks, &alone);
        match arrange(program, &groups, &kinds, &slots) {
            Ok(stages) => return Ok(Cut::Stages(stages)),
            Err(Retry::Again(next)) => return Ok(Cut::Again(next)),
            Err(Retry::Apart(refusal))
                if refusal.groups.iter().any(|g| chunks[*g] && !alone[*g]) =>
            {
                refusal.groups.iter().for_each(|g| alone[*g] = true);
            }
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
    }
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
