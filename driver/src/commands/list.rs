//! `sluice list`: the programs of the standard library.

use super::Failure;
use serde::Serialize;
use sluice::program::recurrences;
use sluice::summary::Summary;
use sluice_stdlib::Absent;
use std::io::Write;

/// Lists the programs of the standard library, and what has no program.
#[derive(clap::Args)]
pub(super) struct Arguments {
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
    let programs = sluice_stdlib::programs().map(|(name, text)| program(name, text));
    let absent = sluice_stdlib::absent().into_iter().map(|Absent { name, reference, reason }| {
        Entry { name, content: Content::Absent { reference, absent: reason } }
    });
    let entries: Vec<Entry> = programs.chain(absent).collect();
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

/// The row of a program: of the recurrence that has the file's name, else of the first.
fn program(name: &str, text: &'static str) -> Entry {
    let all = recurrences(text).expect("the standard library is well-formed");
    let main = all.iter().find(|r| r.name == name).or(all.first());
    let main = main.expect("a file holds a recurrence");
    let summary = Summary::of(main).unwrap_or_else(|errors| Summary::refused(&errors));
    let unconfirmed = sluice_stdlib::unconfirmed(text).collect();
    Entry { name: name.to_owned(), content: Content::Program { summary, unconfirmed } }
}
