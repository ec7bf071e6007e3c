//! The command `sluice`.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::report_bugs();
    commands::run()
}
