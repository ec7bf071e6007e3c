//! `sluice verify`: every stage of a program against its definition.

use super::{Failure, ProgramArguments, TargetArguments, progress, show};
use sluice::program::recurrences;
use sluice::source::Source;
use sluice::verify::{Check, NATIVE, Options, ProgramReport, export, shape_count, verify};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::step::Recurrence;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Compares every form of a program with the definition of the language, at several shapes.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A `.sluice` file, or the name of a program of the standard library.
    #[arg(value_name = "FILE|NAME", required_unless_present = "all", conflicts_with = "all")]
    program: Option<String>,
    /// Which recurrence, if the file holds several; else all of them.
    #[arg(long, value_name = "NAME")]
    recurrence: Option<String>,
    /// Every program of the standard library.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: TargetArguments,
    /// Evaluates the kernels with the rounding of their tiles too, as a GPU would.
    #[arg(long)]
    rounded: bool,
    /// Runs the kernels on a GPU too.
    #[arg(long)]
    device: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Verifies nothing, but writes programs, inputs and expected results to a folder: the suite that
    /// `sluice-run` checks on a machine with a GPU and no compiler.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "device", "rounded"])]
    export: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let programs = programs(arguments)?;
    let options = Options {
        dtype: arguments.target.dtype()?,
        target: arguments.target.target()?,
        native: NATIVE,
        rounded: arguments.rounded,
        device: arguments.device,
    };
    if let Some(folder) = &arguments.export {
        let recurrences: Vec<Recurrence> = programs.into_iter().map(|(_, r)| r).collect();
        return export(&recurrences, options, folder).map_err(|e| Failure::User(e, None));
    }
    let bar = progress::counted(programs.len() * shape_count(arguments.device));
    let mut reports = Vec::new();
    for (source, recurrence) in programs {
        bar.set_message(recurrence.name.clone());
        let report = match verify(&recurrence, options, &mut |_| bar.inc(1)) {
            Ok(report) => report,
            Err(errors) if arguments.all && !errors.iter().any(of_machine) => {
                // One refused program must not hide what is true of the others.
                bar.suspend(|| show(&errors, Some(&source)));
                ProgramReport {
                    program: recurrence.name,
                    passed: false,
                    ..ProgramReport::default()
                }
            }
            Err(errors) => return Err(Failure::User(errors, Some(source))),
        };
        if !arguments.json {
            bar.suspend(|| summarise(&report, out))?;
        }
        reports.push(report);
    }
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &reports).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    if reports.iter().all(|report| report.passed) { Ok(()) } else { Err(Failure::Check) }
}

/// Whether an error is of this machine, and so the same for every program.
fn of_machine(error: &Diagnostic) -> bool {
    matches!(error.code, Code::NoDevice | Code::OldDriver | Code::MissingTool)
}

/// Everything to verify, with the text that it comes from.
fn programs(arguments: &Arguments) -> Result<Vec<(Source, Recurrence)>, Failure> {
    let Some(program) = &arguments.program else {
        return Ok(sluice_stdlib::programs()
            .filter_map(|(name, _)| Source::standard(name))
            .flat_map(|source| {
                let all = recurrences(&source.text).expect("the standard library is well-formed");
                all.into_iter().map(move |recurrence| (source.clone(), recurrence))
            })
            .collect());
    };
    if arguments.recurrence.is_some() {
        let chosen =
            ProgramArguments { program: program.clone(), recurrence: arguments.recurrence.clone() };
        return Ok(vec![chosen.load()?]);
    }
    let source = Source::find(program)?;
    match recurrences(&source.text) {
        Ok(all) => Ok(all.into_iter().map(|r| (source.clone(), r)).collect()),
        Err(errors) => Err(Failure::User(errors, Some(source))),
    }
}

/// One line for a program, with the form that is nearest to its bound, and one for each failure.
fn summarise(report: &ProgramReport, out: &mut dyn Write) -> Result<(), Failure> {
    let checks: Vec<&Check> = report.cases.iter().flat_map(|case| &case.checks).collect();
    let share = |check: &Check| check.relative_rms / check.bound;
    let worst = checks.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
    let verdict = if report.passed { "ok" } else { "FAILED" };
    write!(
        out,
        "{}: {verdict}, {} checks at {} shapes",
        report.program,
        checks.len(),
        report.cases.len()
    )?;
    if let Some(worst) = worst {
        write!(
            out,
            "; nearest to its bound: {} of `{}`, {:.1e} of {:.0e}",
            worst.array, worst.form, worst.relative_rms, worst.bound
        )?;
    }
    writeln!(out)?;
    if report.stages.len() > 1 {
        for (name, stage) in &report.stages {
            writeln!(out, "  {name}: {stage}")?;
        }
    }
    let left_out: BTreeMap<&String, &String> =
        report.cases.iter().flat_map(|c| &c.left_out).collect();
    for (kernel, reason) in left_out {
        writeln!(out, "  left out: {kernel}: {reason}")?;
    }
    for case in &report.cases {
        for check in case.checks.iter().filter(|check| !check.passed) {
            writeln!(
                out,
                "  {}: {} of `{}` is off by {:.1e}, allowed are {:.0e}",
                case.shape, check.array, check.form, check.relative_rms, check.bound
            )?;
        }
    }
    Ok(())
}
