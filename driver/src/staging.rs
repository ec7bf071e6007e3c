//! The stages that a program is cut into by what schedules there are for their histories.

use crate::kernels::{Scan, refusal, scan};
use crate::{Labelled, Observer};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::seq::Term;
use sluice_ir::staged::{Form, Stage, Staged};
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::Build;
use sluice_passes::stages_apart;
use std::collections::BTreeSet;

/// For each stage that has a chunked form its sequence form, and its scan or why there is none.
pub(crate) type Scans = Vec<Option<(Term, Result<Scan, Diagnostic>)>>;

/// Cuts a program into stages, with the scan of each that has a chunked form.
///
/// Histories of one pass share a stage if there is a schedule for them together, unless that schedule has one
/// role and some of them alone are served by several; else each of them gets its own, and other stages stay
/// as they are.
///
/// # Errors
///
/// Those of [`stages_apart`] and of [`scan`], but for schedules that there are not.
pub(crate) fn cut(
    recurrence: &Recurrence,
    build: &Build<'_>,
    chunks: &[usize],
    seen: Observer<'_>,
) -> Result<(Staged, Scans), Vec<Diagnostic>> {
    let mut apart = BTreeSet::new();
    let mut staged = stages_apart(recurrence, build.extents, &apart)?;
    let scans = loop {
        seen("staged", &staged);
        let scans = scans(&staged, build, chunks, seen)?;
        let known = apart.len();
        apart.extend(without_scan(&staged, &scans));
        if apart.len() == known {
            break scans;
        }
        let next = stages_apart(recurrence, build.extents, &apart)?;
        if next.stages.len() <= staged.stages.len() {
            break scans;
        }
        staged = next;
    };
    match for_roles(recurrence, build, chunks, (&staged, &scans, apart))? {
        Some(next) => {
            seen("staged", &next);
            let scans = self::scans(&next, build, chunks, seen)?;
            Ok((next, scans))
        }
        None => Ok((staged, scans)),
    }
}

/// The stages with every matrix apart that shares a scan of one role, if that leaves fewer such scans.
fn for_roles(
    recurrence: &Recurrence,
    build: &Build<'_>,
    chunks: &[usize],
    (staged, found, mut apart): (&Staged, &Scans, BTreeSet<String>),
) -> Result<Option<Staged>, Vec<Diagnostic>> {
    let known = apart.len();
    for stage in of_one_role(staged, found) {
        let states = stage.recurrence.states.iter();
        if states.len() > 1 {
            apart.extend(states.filter(|s| s.dims.len() > 1).map(|state| state.name.clone()));
        }
    }
    if apart.len() == known {
        return Ok(None);
    }
    let next = stages_apart(recurrence, build.extents, &apart)?;
    let scans = scans(&next, build, chunks, &mut |_, _| {})?;
    let fewer = of_one_role(&next, &scans).len() < of_one_role(staged, found).len();
    Ok((fewer && without_scan(&next, &scans).is_empty()).then_some(next))
}

/// The stages that scan matrices on one role.
fn of_one_role<'a>(staged: &'a Staged, scans: &Scans) -> Vec<&'a Stage> {
    let in_one =
        |stage: &Stage, scan: &Scan| scan.kernel.roles.len() == 1 && !is_of_vectors(stage, scan);
    let stages = staged.stages.iter().zip(scans);
    let stages = stages.filter(|(stage, scan)| match scan {
        Some((_, Ok(scan))) => in_one(stage, scan),
        _ => false,
    });
    stages.map(|(stage, _)| stage).collect()
}

/// The states of stages whose chunks have no schedule.
fn without_scan(staged: &Staged, scans: &Scans) -> Vec<String> {
    let stages = staged.stages.iter().zip(scans);
    let refused = stages.filter(|(_, scan)| matches!(scan, Some((_, Err(_)))));
    let states = refused.flat_map(|(stage, _)| &stage.recurrence.states);
    states.map(|state| state.name.clone()).collect()
}

fn scans(
    staged: &Staged,
    build: &Build<'_>,
    chunks: &[usize],
    seen: Observer<'_>,
) -> Result<Scans, Vec<Diagnostic>> {
    let several = staged.stages.len() > 1;
    let scan_of = |stage: &Stage| {
        if stage.form != Form::Chunks {
            return Ok(None);
        }
        let label = several.then_some(stage.recurrence.name.as_str());
        let term = sluice_passes::lift(&stage.recurrence, build.extents)?;
        seen("sequence", &Labelled { label, value: &term });
        let mixed = staged.mixed(stage);
        let found = scan(&stage.recurrence, (&term, &mixed), build, chunks, &mut |chunked| {
            seen("chunked", &Labelled { label, value: &chunked.term });
        });
        let found = match found {
            Ok(scan) => Ok(scan),
            Err(errors) => Err(refusal(errors)?),
        };
        Ok(Some((term, found)))
    };
    staged.stages.iter().map(scan_of).collect()
}

/// Whether a scan on one role carries nothing but vectors.
pub(crate) fn is_of_vectors(stage: &Stage, scan: &Scan) -> bool {
    let states = &stage.recurrence.states;
    scan.kernel.roles.len() == 1 && states.iter().all(|state| state.dims.len() < 2)
}
