//! One program for each diagnostic code, with the whole rendered text.

use crate::{files, root, snapshot, trial};
use libtest_mimic::{Failed, Trial};
use sluice::extents::uniform;
use sluice::program::recurrences;
use sluice::render::{Style, render};
use sluice::source::Source;
use sluice_ir::diagnostic::Diagnostic;
use std::path::{Path, PathBuf};

/// The programs, each named by the number of the code that it must raise.
pub(crate) fn cases() -> Vec<PathBuf> {
    files(&root().join("tests/cases/errors"), "sluice")
}

pub(crate) fn trials() -> Vec<Trial> {
    cases()
        .into_iter()
        .map(|path| {
            let stem = path.file_stem().expect("a case has a name").to_string_lossy().into_owned();
            trial(format!("errors::{stem}"), move || check(&path, &stem))
        })
        .collect()
}

fn check(path: &Path, stem: &str) -> Result<(), Failed> {
    snapshot::check(path, &rendered(path, stem)?)
}

/// What the command prints of a case; fails unless the case raises the code that it is named for.
pub(crate) fn rendered(path: &Path, stem: &str) -> Result<String, Failed> {
    let mut source = Source::read(path).map_err(|e| e.message)?;
    // A path of the machine has no place in a snapshot.
    source.name = format!("{stem}.sluice");
    let errors = refusals(&source.text);
    let number = stem.split('_').next().expect("splitting gives at least one part");
    if !errors.iter().any(|e| e.code.number().eq_ignore_ascii_case(number)) {
        return Err(format!("expected {number}, got {errors:?}").into());
    }
    Ok(render(&errors, Some(&source), Style::Plain))
}

/// Whatever the first stage that refuses the text says.
fn refusals(text: &str) -> Vec<Diagnostic> {
    let all = match recurrences(text) {
        Ok(all) => all,
        Err(errors) => return errors,
    };
    all.iter()
        .filter_map(|recurrence| sluice_passes::stages(recurrence, &uniform(recurrence, 16)).err())
        .flatten()
        .collect()
}
