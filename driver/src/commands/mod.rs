//! What each command does: arguments in, text and an exit status out.

#[cfg(feature = "cuda")]
mod bench;
mod build;
mod check;
mod doctor;
mod explain;
mod fmt;
mod list;
mod new;
mod progress;
mod run;
mod verify;

use clap::{Parser, Subcommand};
use sluice::extents::Extents;
use sluice::program;
use sluice::render::{Style, render};
use sluice::source::Source;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

/// Exit status when a check failed.
const CHECK_FAILED: u8 = 2;

/// Exit status for a bug of the compiler (`EX_SOFTWARE`).
const BUG: i32 = 70;

/// A compiler for gated linear recurrences.
///
/// Exit status: 0 done, 1 the user's error, 2 a check failed, 70 a bug of the compiler.
#[derive(Parser)]
#[command(name = "sluice", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Build(build::Arguments),
    Verify(verify::Arguments),
    Run(run::Arguments),
    #[cfg(feature = "cuda")]
    Bench(bench::Arguments),
    Fmt(fmt::Arguments),
    New(new::Arguments),
    /// Says what this build and this machine can do.
    Doctor,
}

/// Why a command did not do what it was asked.
enum Failure {
    /// The user's errors, with the text that they point into.
    User(Vec<Diagnostic>, Option<Source>),
    /// A check failed; the command has said which.
    Check,
    /// The command's own output could not be written.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

impl From<Diagnostic> for Failure {
    fn from(error: Diagnostic) -> Self {
        Failure::User(vec![error], None)
    }
}

/// Turns every panic into the exit status and message of a bug.
pub(crate) fn report_bugs() {
    std::panic::set_hook(Box::new(|info| {
        let mut stderr = io::stderr().lock();
        // Nothing is left to do if standard error is closed.
        let _ = writeln!(
            stderr,
            "sluice {}: this is a bug of the compiler, not of your program\n{info}\n\
             please report it with the program and the command line",
            env!("CARGO_PKG_VERSION"),
        );
        std::process::exit(BUG);
    }));
}

/// Runs the command line.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are no errors; clap's own status for wrong usage means another thing here.
            let _ = usage.print();
            return ExitCode::from(u8::from(usage.use_stderr()));
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match &cli.command {
        Command::List(arguments) => list::run(arguments, &mut out),
        Command::Check(arguments) => check::run(arguments, &mut out),
        Command::Explain(arguments) => explain::run(arguments, &mut out),
        Command::Build(arguments) => build::run(arguments, &mut out),
        Command::Verify(arguments) => verify::run(arguments, &mut out),
        Command::Run(arguments) => run::run(arguments, &mut out),
        #[cfg(feature = "cuda")]
        Command::Bench(arguments) => bench::run(arguments, &mut out),
        Command::Fmt(arguments) => fmt::run(arguments, &mut out),
        Command::New(arguments) => new::run(arguments, &mut out),
        Command::Doctor => doctor::run(&mut out),
    };
    status(out.flush().map_err(Failure::from).and(result))
}

fn status(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Check) => ExitCode::from(CHECK_FAILED),
        // The reader has seen enough.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(e)) => {
            let message = format!("cannot write the output: {e}");
            show(&[Diagnostic::new(Code::File, message).with_help("is the disk full?")], None);
            ExitCode::FAILURE
        }
        Err(Failure::User(errors, source)) => {
            show(&errors, source.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Renders diagnostics on standard error; nothing is left to do if that is closed.
fn show(errors: &[Diagnostic], source: Option<&Source>) {
    let mut text = render(errors, source, error_style());
    if let Some(error) = errors.first() {
        text.push_str(&format!("\n`sluice explain {}` says more\n", error.code));
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

fn error_style() -> Style {
    let plain = std::env::var_os("NO_COLOR").is_some() || !io::stderr().is_terminal();
    if plain { Style::Plain } else { Style::Coloured }
}

/// Which program is meant.
#[derive(clap::Args)]
struct ProgramArguments {
    /// A `.sluice` file, or the name of a program of the standard library.
    #[arg(value_name = "FILE|NAME")]
    program: String,
    /// Which recurrence, if the file holds several.
    #[arg(long, value_name = "NAME")]
    recurrence: Option<String>,
}

impl ProgramArguments {
    /// The text and its recurrence.
    fn load(&self) -> Result<(Source, Recurrence), Failure> {
        let source = Source::find(&self.program)?;
        let found = program::recurrences(&source.text)
            .and_then(|all| program::select(all, self.recurrence.as_deref()));
        match found {
            Ok(recurrence) => Ok((source, recurrence)),
            Err(errors) => Err(Failure::User(errors, Some(source))),
        }
    }
}

/// Sizes of dimensions.
#[derive(clap::Args)]
struct ExtentArguments {
    /// Sizes of the dimensions that the program leaves open.
    #[arg(long, value_name = "K=128,V=128", value_delimiter = ',', value_parser = extent)]
    dims: Vec<(String, usize)>,
}

impl ExtentArguments {
    fn given(&self) -> Extents {
        self.dims.iter().cloned().collect()
    }
}

/// What to compile for.
#[derive(clap::Args)]
struct TargetArguments {
    /// The GPU to compile for.
    #[arg(long, value_name = "NAME", default_value = "sm_90a")]
    target: String,
    /// Element type of vectors on the GPU: bf16, f16 or f32.
    #[arg(long, value_name = "TYPE", default_value = "bf16")]
    dtype: String,
}

impl TargetArguments {
    fn target(&self) -> Result<&'static Target, Diagnostic> {
        Target::find(&self.target).ok_or_else(|| {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            Diagnostic::new(Code::UnknownTarget, format!("there is no target `{}`", self.target))
                .with_help(format!("the targets are {}", names.join(", ")))
        })
    }

    fn dtype(&self) -> Result<Dtype, Diagnostic> {
        let known = self.dtype.parse().ok().filter(|dtype| *dtype != Dtype::F64);
        known.ok_or_else(|| {
            Diagnostic::new(
                Code::DtypeMismatch,
                format!("kernels take no vectors of `{}`", self.dtype),
            )
            .with_help("the element types are bf16, f16 and f32")
        })
    }
}

fn extent(text: &str) -> Result<(String, usize), String> {
    let (name, size) = text.split_once('=').ok_or("expected NAME=SIZE")?;
    let size = size.trim().parse().map_err(|e| format!("{e}"))?;
    Ok((name.trim().to_owned(), size))
}
