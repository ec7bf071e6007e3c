//! `sluice fmt`: rewrites programs in the one layout.

use super::Failure;
use sluice::files::{self, Files};
use sluice::source::Source;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rewrites programs in the one layout.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// `.sluice` files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Changes nothing, prints which files would change, and fails if any would.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let mut changed = false;
    for path in &arguments.files {
        let source = Source::read(path)?;
        let text = match sluice_dsl::format(&source.text) {
            Ok(text) => text,
            Err(errors) => return Err(Failure::User(errors, Some(source))),
        };
        if text == source.text {
            continue;
        }
        changed = true;
        writeln!(out, "{}", path.display())?;
        if !arguments.check {
            replace(path, text)?;
        }
    }
    if changed && arguments.check { Err(Failure::Check) } else { Ok(()) }
}

fn replace(path: &Path, text: String) -> Result<(), Failure> {
    let name = path.file_name().expect("a file that was read has a name");
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let contents = Files::from([(name.to_string_lossy().into_owned(), text.into_bytes())]);
    Ok(files::write(folder, &contents)?)
}
