//! Everything that crosses a border between crates, in the one test binary that links LLVM.

mod agreement;
mod architecture;
mod assembly;
mod cases;
mod cli;
mod embedding;
mod error_index;
mod errors;
mod explanations;
mod figures;
mod generated;
mod parts;
mod schedules;
mod segments;
mod snapshot;
mod stages;
mod state_tracking;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut trials = architecture::trials();
    trials.extend(errors::trials());
    trials.extend(error_index::trials());
    trials.extend(cases::trials());
    trials.extend(explanations::trials());
    trials.extend(agreement::trials());
    trials.extend(cli::trials());
    trials.extend(assembly::trials());
    trials.extend(parts::trials());
    trials.extend(embedding::trials());
    trials.extend(figures::trials());
    trials.extend(schedules::trials());
    trials.extend(segments::trials());
    trials.extend(stages::trials());
    trials.extend(state_tracking::trials());
    trials.extend(generated::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A named check as a test of its own.
fn trial(name: String, check: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name, check)
}

/// The folder of the root package.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of the extensions, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("folders of the repository can be read");
        for entry in entries {
            let path = entry.expect("entries of a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
