//! `sluice new`: the file of a new program.

use super::Failure;
use clap::builder::PossibleValuesParser;
use sluice::files;
use sluice::template;
use std::io::Write;
use std::path::PathBuf;

/// Writes NAME.sluice, a commented program to start from.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Name of the program.
    name: String,
    /// What it does: carry a number for each channel (vector), a complex one (rotation), one from
    /// either end (bidirectional); remember keys and values and forget as a whole (matrix) or by
    /// channel (channels), correct itself (delta), take means (normalised); look back at a few
    /// tokens (convolution); or update its state in a way that no chunk can (nonlinear).
    #[arg(long, default_value = "matrix", value_parser = PossibleValuesParser::new(template::classes()))]
    class: String,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let text = template::program(&arguments.class, &arguments.name)
        .expect("only known classes are accepted")?;
    let path = PathBuf::from(format!("{}.sluice", arguments.name));
    files::create(&path, text.as_bytes())?;
    Ok(writeln!(out, "{}; next: sluice check {0}", path.display())?)
}
