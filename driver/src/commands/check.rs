//! `sluice check`: parses, types and classifies a program.

use super::Failure;
use sluice::program::recurrences;
use sluice::source::Source;
use sluice::summary::Summary;
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
    let (mut summaries, mut refusals) = (Vec::new(), Vec::new());
    for recurrence in &all {
        match Summary::of(recurrence) {
            Ok(summary) => summaries.push((&recurrence.name, summary)),
            Err(errors) => refusals.extend(errors),
        }
    }
    if !refusals.is_empty() {
        return Err(failure(refusals));
    }
    for (name, summary) in summaries {
        writeln!(out, "{name}: {summary}")?;
    }
    Ok(())
}
