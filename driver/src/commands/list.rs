//! `sluice list`: the programs of the standard library.

use super::{Failure, TargetArguments};
use serde::Serialize;
use sluice::program::recurrences;
use sluice::summary::Summary;
use sluice_ir::dtype::Dtype;
use sluice_ir::target::Target;
use sluice_stdlib::Absent;
use std::io::Write;
use std::thread;

/// Lists the programs of the standard library, and what has no program; dimensions without a size have 64 elements, or fewer where so many do not fit.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// One row.
#[derive(Serialize)]
struct Entry {
    name: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Program {
        #[serde(flatten)]
        summary: Summary,
        /// What its text says is not confirmed.
        unconfirmed: Vec<&'static str>,
    },
    Absent {
        reference: String,
        absent: String,
    },
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (dtype, target) = (arguments.target.dtype()?, arguments.target.target()?);
    let programs = programs(dtype, target);
    let absent = sluice_stdlib::absent().into_iter().map(|Absent { name, reference, reason }| {
        Entry { name, content: Content::Absent { reference, absent: reason } }
    });
    let entries: Vec<Entry> = programs.into_iter().chain(absent).collect();
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &entries).map_err(std::io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    let width = entries.iter().map(|e| e.name.len()).max().unwrap_or(0);
    for Entry { name, content } in &entries {
        match content {
            Content::Program { summary, unconfirmed } => {
                writeln!(out, "{name:width$}  {summary}")?;
                for line in unconfirmed {
                    writeln!(out, "{:width$}  unconfirmed: {line}", "")?;
                }
            }
            Content::Absent { reference, absent } => {
                writeln!(out, "{name:width$}  no program: {absent} ({reference})")?;
            }
        }
    }
    Ok(())
}

/// The rows of all programs. Each is planned as a build would plan it, which takes most of the time.
fn programs(dtype: Dtype, target: &'static Target) -> Vec<Entry> {
    let all: Vec<(&str, &str)> = sluice_stdlib::programs().collect();
    let share = all.len().div_ceil(thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| {
        let workers: Vec<_> = all
            .chunks(share.max(1))
            .map(|some| {
                let rows = || some.iter().map(|(name, text)| program(name, text, dtype, target));
                scope.spawn(move || rows().collect::<Vec<Entry>>())
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().expect("a row is a result")).collect()
    })
}

/// The row of a program: of the recurrence that has the file's name, else of the first.
fn program(name: &str, text: &'static str, dtype: Dtype, target: &'static Target) -> Entry {
    let all = recurrences(text).expect("the standard library is well-formed");
    let main = all.iter().find(|r| r.name == name).or(all.first());
    let main = main.expect("a file holds a recurrence");
    let summary =
        Summary::of(main, dtype, target).unwrap_or_else(|errors| Summary::refused(&errors));
    let unconfirmed = sluice_stdlib::unconfirmed(text).collect();
    Entry { name: name.to_owned(), content: Content::Program { summary, unconfirmed } }
}
