//! `sluice check`: parses, types and classifies a program.

use super::Failure;
use sluice::program::recurrences;
use sluice::source::Source;
use sluice::summary::stage_classes;
use std::io::Write;

/// Parses, types and classifies every recurrence of a file.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A `.sluice` file, or the name of a program of the standard library.
    #[arg(value_name = "FILE|NAME")]
    program: String,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let source = Source::find(&arguments.program)?;
    let failure = |errors| Failure::User(errors, Some(source.clone()));
    let all = recurrences(&source.text).map_err(failure)?;
    let (mut classified, mut refusals) = (Vec::new(), Vec::new());
    for recurrence in &all {
        match stage_classes(recurrence) {
            Ok(classes) => classified.push((&recurrence.name, classes)),
            Err(errors) => refusals.extend(errors),
        }
    }
    if !refusals.is_empty() {
        return Err(failure(refusals));
    }
    for (name, classes) in classified {
        writeln!(out, "{name}: {classes}")?;
    }
    Ok(())
}
