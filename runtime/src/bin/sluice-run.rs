//! The small runner: checks a suite of built programs on a machine with a GPU and no compiler.
//!
//! ```text
//! sluice-run SUITE [--json REPORT]
//! ```
//!
//! Exit status: 0 all passed, 1 the suite or the device cannot be used, 2 a check failed.

use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_runtime::Device;
use sluice_runtime::suite::{Outcome, Report, Suite};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: sluice-run SUITE [--json REPORT]";

fn main() -> ExitCode {
    match arguments().and_then(|(suite, json)| run(&suite, json.as_deref())) {
        Ok(report) if report.passed => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(2),
        Err(error) => {
            let help = error.help.as_deref().unwrap_or(USAGE);
            // Where standard error is closed nobody reads it.
            let _ = writeln!(io::stderr(), "{error}\n  help: {help}");
            ExitCode::from(1)
        }
    }
}

/// The suite's folder and the report's file.
fn arguments() -> Result<(PathBuf, Option<PathBuf>), Diagnostic> {
    let misuse = || Diagnostic::new(Code::BadBinding, "wrong arguments").with_help(USAGE);
    let mut arguments = std::env::args_os().skip(1);
    let (mut suite, mut json) = (None, None);
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            json = Some(arguments.next().ok_or_else(misuse)?.into());
        } else if suite.is_none() {
            suite = Some(argument.into());
        } else {
            return Err(misuse());
        }
    }
    Ok((suite.ok_or_else(misuse)?, json))
}

fn run(folder: &Path, json: Option<&Path>) -> Result<Report, Diagnostic> {
    let suite = Suite::read(folder)?;
    let device = Device::open()?;
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", device.describe());
    let report = suite.run(&device, folder, |outcome| {
        let _ = writeln!(out, "{}", line(outcome));
    });
    let failed = report.results.iter().filter(|r| !r.passed).count();
    let _ = writeln!(out, "{} results, {failed} failed", report.results.len());
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report).expect("a report has string keys only");
        std::fs::write(path, text + "\n").map_err(|e| {
            Diagnostic::new(Code::File, format!("cannot write `{}`: {e}", path.display()))
                .with_help("the folder must exist and be writable")
        })?;
    }
    Ok(report)
}

/// One outcome in one line.
fn line(outcome: &Outcome) -> String {
    let verdict = if outcome.passed { "ok    " } else { "FAILED" };
    let mut text = format!("{verdict} {}", outcome.case);
    if let Some(variant) = &outcome.variant {
        text += &format!(" {variant}");
    }
    for (name, output) in &outcome.outputs {
        let error = output.error.map_or("infinite".to_owned(), |e| format!("{e:.2e}"));
        text += &format!(" {name} {error} of {:.0e}", output.bound);
    }
    if let Some(timing) = &outcome.timing {
        text += &format!(" {:.2} us", timing.median_us);
    }
    if let Some(error) = &outcome.error {
        text += &format!(" {error}");
    } else if !outcome.repeatable {
        text += " not repeatable";
    }
    text
}
