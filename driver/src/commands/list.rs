//! `sluice list`: the programs of the standard library.

use super::Failure;
use serde::Serialize;
use sluice::program::recurrences;
use sluice::summary::Summary;
use std::io::Write;

/// Lists the programs of the standard library.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    #[serde(flatten)]
    summary: Summary,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let entries: Vec<Entry> = sluice_stdlib::programs()
        .map(|(name, text)| {
            let recurrences = recurrences(text).expect("the standard library is well-formed");
            Entry { name, summary: Summary::of(&recurrences[0]) }
        })
        .collect();
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &entries).map_err(std::io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    let width = entries.iter().map(|e| e.name.len()).max().unwrap_or(0);
    for Entry { name, summary } in &entries {
        writeln!(out, "{name:width$}  {summary}")?;
    }
    Ok(())
}
