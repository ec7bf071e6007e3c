//! `sluice explain`: the derivation of a program's kernels and what they cost.

use super::{ExtentArguments, Failure, ProgramArguments, TargetArguments};
use clap::ValueEnum;
use sluice::error_index;
use sluice::explain::{self, Explanation};
use sluice::extents::{self, Extents};
use sluice::kernels::chunk_lengths;
use sluice::summary::at_nominal_size;
use sluice::{Options, compile, tool};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::Build;
use std::io::Write;

/// Prints the laws from the step to the kernels, and what the kernels cost; of the code of an error, such as E0301, its page.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    program: ProgramArguments,
    /// Dimensions without a size have 64 elements, or fewer where so many do not fit.
    #[command(flatten)]
    extents: ExtentArguments,
    #[command(flatten)]
    target: TargetArguments,
    /// Tokens of a chunk, 16, 32 or 64; else the longest that fits the target.
    #[arg(long, value_name = "TOKENS")]
    chunk: Option<usize>,
    /// Assembles the kernels too, and says how many registers they take; this needs ptxas and seconds.
    #[arg(long)]
    assemble: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Prints JSON: `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Md,
    Json,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(page) = error_index::page(&arguments.program.program) {
        return Ok(write!(out, "{page}")?);
    }
    let (source, recurrence) = arguments.program.load()?;
    let chunks = chunk_lengths(arguments.chunk)?;
    let (dtype, target) = (arguments.target.dtype()?, arguments.target.target()?);
    let failure = |errors| Failure::User(errors, Some(source.clone()));
    let given = arguments.extents.given();
    let explained = at_nominal_size(|size| {
        let extents = sized(&recurrence, &given, size)?;
        let build = Build { extents: &extents, dtype, compute: Dtype::F32, target };
        let explanation = explain::explain(&recurrence, &build, chunks)?;
        Ok((extents, explanation))
    });
    let (extents, mut explanation) = explained.map_err(failure)?;
    if arguments.assemble {
        let ptxas = tool::ptxas()?;
        let options = Options {
            recurrence: Some(&recurrence.name),
            extents: &extents,
            dtype,
            target,
            chunks,
            ptxas: ptxas.as_deref(),
        };
        let package = compile(&source.text, &options, &mut |_, _| {}).map_err(failure)?;
        explanation.assembled(&package.manifest);
    }
    let format = match arguments.format {
        Format::Json => return json(&explanation, out),
        _ if arguments.json => return json(&explanation, out),
        Format::Text => explain::Format::Text,
        Format::Md => explain::Format::Markdown,
    };
    Ok(write!(out, "{}", explanation.document(format))?)
}

fn json(explanation: &Explanation, out: &mut dyn Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, explanation).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// The sizes given, and this one for what is left open.
fn sized(
    recurrence: &Recurrence,
    given: &Extents,
    size: usize,
) -> Result<Extents, Vec<Diagnostic>> {
    let open = recurrence.dims.iter().filter(|dim| dim.size.is_none() && dim.formula.is_none());
    let mut extents: Extents = open.map(|dim| (dim.name.clone(), size)).collect();
    extents.extend(given.clone());
    extents::bind(recurrence, &extents)
}
