//! `sluice check`: parses, types and classifies a program.

use super::Failure;
use sluice::extents::uniform;
use sluice::program::recurrences;
use sluice::source::Source;
use sluice::summary::{NOMINAL_EXTENT, Summary};
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
    let checked = recurrences(&source.text).and_then(|all| {
        let refusals: Vec<_> = all
            .iter()
            .filter_map(|r| sluice_passes::lift(r, &uniform(r, NOMINAL_EXTENT)).err())
            .flatten()
            .collect();
        if refusals.is_empty() { Ok(all) } else { Err(refusals) }
    });
    match checked {
        Ok(all) => {
            for recurrence in &all {
                writeln!(out, "{}: {}", recurrence.name, Summary::of(recurrence))?;
            }
            Ok(())
        }
        Err(errors) => Err(Failure::User(errors, Some(source))),
    }
}
