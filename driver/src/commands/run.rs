//! `sluice run`: arrays in, arrays out.

use super::{Failure, ProgramArguments, TargetArguments, progress};
use clap::ValueEnum;
use sluice::execute::{Engine, execute};
use sluice::infer;
use sluice::verify::errors;
use sluice_ir::accuracy::tolerance;
use sluice_ir::dtype::Dtype;
use sluice_ir::step;
use sluice_runtime::npz;
use std::io::Write;
use std::path::PathBuf;

/// Runs a program on arrays.
///
/// Inputs are `[tokens, heads or groups, dims..]`, parameters `[heads or groups, dims..]`, initial
/// states `[sequences, heads, dims..]` under the state's name; an integer array `cu_seqlens` cuts the
/// tokens into sequences. The output holds the outputs and the final states.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    program: ProgramArguments,
    /// The arrays, as written by `numpy.savez`.
    #[arg(long, value_name = "X.NPZ")]
    input: PathBuf,
    /// Where to write the results.
    #[arg(long, value_name = "Y.NPZ")]
    output: PathBuf,
    /// Arithmetic of code on the CPU.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Runs on a GPU instead.
    #[arg(long)]
    device: bool,
    #[command(flatten)]
    target: TargetArguments,
    /// Compares with the definition of the language in f64 on the same rounded inputs, prints the
    /// error of each result, and fails if one is above its tolerance.
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
    F64,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (source, recurrence) = arguments.program.load()?;
    let inputs = npz::read(&arguments.input)?;
    let problem = infer::problem(&recurrence, &inputs).map_err(|e| Failure::User(e, None))?;
    let dtype = match arguments.precision {
        Precision::F32 => Dtype::F32,
        Precision::F64 => Dtype::F64,
    };
    let engine = if arguments.device {
        Engine::Device(arguments.target.dtype()?, arguments.target.target()?)
    } else {
        Engine::Scalar(dtype)
    };
    let spinner = progress::spinner();
    spinner.set_message("running");
    let (results, scans) = execute(&recurrence, &problem, &inputs, engine)
        .map_err(|e| Failure::User(e, Some(source)))?;
    npz::write(&arguments.output, &results, dtype)?;
    if !arguments.check {
        return Ok(());
    }
    let want = step::eval(&recurrence, &problem, &engine.received(&recurrence, &inputs));
    let mut passed = true;
    writeln!(out, "compared with the step of `{}`, evaluated in f64", recurrence.name)?;
    for error in errors(&recurrence, &problem, &want, &results) {
        let bound = tolerance(engine.dtype(), error.tokens, error.kind, scans);
        passed &= error.relative_rms <= bound;
        writeln!(
            out,
            "  {:<10} relative rms error {:.2e}, allowed {:.0e}",
            error.array, error.relative_rms, bound
        )?;
    }
    if passed { Ok(()) } else { Err(Failure::Check) }
}
