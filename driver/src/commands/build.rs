//! `sluice build`: from a program to files that other projects embed.

use super::{ExtentArguments, Failure, ProgramArguments, TargetArguments, progress};
use clap::ValueEnum;
use sluice::figures::counted;
use sluice::kernels::chunk_lengths;
use sluice::package::Package;
use sluice::source::Source;
use sluice::tool::{PTXAS_VARIABLE, ptxas};
use sluice::{Options, compile, files};
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Compiles a program to PTX, machine code, an object file, a header and a manifest.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    program: ProgramArguments,
    #[command(flatten)]
    extents: ExtentArguments,
    #[command(flatten)]
    target: TargetArguments,
    /// Tokens of a chunk, 16, 32 or 64; else the longest that fits the target.
    #[arg(long, value_name = "TOKENS")]
    chunk: Option<usize>,
    /// The folder to write to.
    #[arg(short, long, value_name = "DIR", required_unless_present = "emit")]
    output: Option<PathBuf>,
    /// Prints a stage instead of the times; files are written only if a folder is named.
    #[arg(long, value_name = "STAGE")]
    emit: Option<Stage>,
}

/// The stages that print themselves.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    Ast,
    Step,
    Staged,
    Sequence,
    Chunked,
    Kernels,
    Ptx,
}

impl Stage {
    /// The name under which the compiler shows it.
    fn name(self) -> String {
        self.to_possible_value().expect("no stage is skipped").get_name().to_owned()
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let source = Source::find(&arguments.program.program)?;
    let ptxas = ptxas()?;
    let given = arguments.extents.given();
    let options = Options {
        recurrence: arguments.program.recurrence.as_deref(),
        extents: &given,
        dtype: arguments.target.dtype()?,
        target: arguments.target.target()?,
        chunks: chunk_lengths(arguments.chunk)?,
        ptxas: ptxas.as_deref(),
    };
    let mut watch = Watch::new(arguments.emit);
    let result = compile(&source.text, &options, &mut |stage, value| watch.seen(stage, value));
    let emitted = watch.emitted;
    let package = match result {
        Ok(package) => package,
        // A stage that was reached is worth seeing even where a later one objects.
        Err(errors) if emitted.is_empty() => return Err(Failure::User(errors, Some(source))),
        Err(errors) => {
            out.write_all(emitted.as_bytes())?;
            return Err(Failure::User(errors, Some(source)));
        }
    };
    if let Some(folder) = &arguments.output {
        files::write(folder, &package.files)?;
    }
    if arguments.emit.is_some() {
        return Ok(out.write_all(emitted.as_bytes())?);
    }
    report(&package, &watch.times, out)
}

/// Takes the time of each stage and keeps the text of the one to print.
struct Watch {
    emit: Option<String>,
    emitted: String,
    times: Vec<(&'static str, Duration)>,
    last: Instant,
    spinner: indicatif::ProgressBar,
}

impl Watch {
    fn new(emit: Option<Stage>) -> Self {
        Self {
            emit: emit.map(Stage::name),
            emitted: String::new(),
            times: Vec::new(),
            last: Instant::now(),
            spinner: progress::spinner(),
        }
    }

    fn seen(&mut self, stage: &'static str, value: &dyn Display) {
        self.times.push((stage, self.last.elapsed()));
        self.spinner.set_message(stage);
        self.spinner.tick();
        if self.emit.as_deref() == Some(stage) {
            self.emitted += &format!("{value}\n");
        }
        self.last = Instant::now();
    }
}

fn report(
    package: &Package,
    times: &[(&str, Duration)],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for (stage, time) in times {
        writeln!(out, "{stage:<10} {:>8.1} ms", 1e3 * time.as_secs_f64())?;
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    writeln!(out, "{:<10} {:>8.1} ms", "total", 1e3 * total.as_secs_f64())?;
    for variant in package.manifest.stages.iter().flat_map(|stage| &stage.variants) {
        write!(
            out,
            "{} for {}: {} an iteration, {} threads, {} bytes of shared memory",
            variant.entry,
            variant.target,
            counted(variant.chunk, "token"),
            variant.threads,
            variant.shared_bytes
        )?;
        match (variant.registers, variant.spill_bytes) {
            (Some(registers), Some(spilled)) => {
                writeln!(out, ", {registers} registers, {spilled} bytes spilled")?;
            }
            _ => writeln!(out, "; no cubin: ptxas was not found, name it in {PTXAS_VARIABLE}")?,
        }
    }
    for (name, contents) in &package.files {
        writeln!(out, "{:>10} bytes  {name}", contents.len())?;
    }
    Ok(())
}
