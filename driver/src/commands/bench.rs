//! `sluice bench`: the time of a program on a GPU.

use super::{ExtentArguments, Failure, ProgramArguments, TargetArguments};
use sluice::bench::{BenchReport, Workload, bench};
use sluice::extents;
use std::io::Write;

/// Times a program on a GPU, after checking its results against the definition.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    program: ProgramArguments,
    #[command(flatten)]
    extents: ExtentArguments,
    #[command(flatten)]
    target: TargetArguments,
    /// Sequences, tokens of each, and heads.
    #[arg(long, value_name = "BxTxH", default_value = "8x4096x16", value_parser = shape)]
    shape: [usize; 3],
    /// Groups of heads; as many as heads unless said.
    #[arg(long)]
    groups: Option<usize>,
    /// Gives states before the first token, as in decoding.
    #[arg(long)]
    initial_states: bool,
    /// Times this entry point or schedule instead of the one chosen by length.
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// `8x4096x16`.
fn shape(text: &str) -> Result<[usize; 3], String> {
    let parts: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let parts = parts.map_err(|e| e.to_string())?;
    let shape: [usize; 3] =
        parts.try_into().map_err(|_| "three numbers, as in `8x4096x16`".to_owned())?;
    if shape.contains(&0) {
        return Err("numbers are 1 or more".to_owned());
    }
    Ok(shape)
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (source, recurrence) = arguments.program.load()?;
    let user = |errors| Failure::User(errors, Some(source.clone()));
    let [sequences, tokens, heads] = arguments.shape;
    let work = Workload {
        extents: extents::bind(&recurrence, &arguments.extents.given()).map_err(user)?,
        sequences,
        tokens,
        heads,
        groups: arguments.groups.unwrap_or(heads),
        initial_states: arguments.initial_states,
        dtype: arguments.target.dtype()?,
        target: arguments.target.target()?,
        variant: arguments.variant.clone(),
    };
    let report =
        bench(&recurrence, &work).map_err(|errors| Failure::User(errors, Some(source.clone())))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).expect("a report has string keys only");
        writeln!(out, "{text}")?;
    } else {
        print(&report, out)?;
    }
    if report.passed { Ok(()) } else { Err(Failure::Check) }
}

fn print(report: &BenchReport, out: &mut dyn Write) -> Result<(), Failure> {
    let time = &report.timing;
    writeln!(
        out,
        "{}: {:.1} us ({:.1} to {:.1} over {} samples), {:.0} MB once, {:.2} TB/s",
        report.program,
        time.median_us,
        time.min_us,
        time.max_us,
        time.samples,
        report.bytes as f64 / 1e6,
        report.bytes as f64 / time.median_us / 1e6,
    )?;
    for (name, error) in &report.errors {
        writeln!(out, "  {name}: relative error {error:.1e}")?;
    }
    if !report.passed {
        writeln!(out, "  FAILED: out of tolerance, or two runs gave different bits")?;
    }
    Ok(())
}
