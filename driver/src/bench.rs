//! Times a program on a GPU, after checking that what is timed is right.

use crate::alone::Alone;
use crate::execute::load;
use crate::extents::Extents;
use crate::verify::{draw, errors};
use serde::Serialize;
use sluice_ir::accuracy::tolerance;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::Problem;
use sluice_ir::step::{self, Recurrence};
use sluice_ir::target::Target;
use sluice_passes::schedule::Build;
use sluice_runtime::suite::Timing;
use std::collections::BTreeMap;

/// Replays of the graph of launches.
const SAMPLES: usize = 15;
/// Heads that are compared with the definition; heads are independent.
const CHECKED_HEADS: usize = 2;

/// What to time.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Sizes of the dimensions.
    pub extents: Extents,
    /// Sequences of equal length.
    pub sequences: usize,
    /// Tokens of each sequence.
    pub tokens: usize,
    /// Heads of the values and states.
    pub heads: usize,
    /// Groups of heads.
    pub groups: usize,
    /// Whether states are given and not as declared: what decoding reads.
    pub initial_states: bool,
    /// Element type of vectors.
    pub dtype: Dtype,
    /// The machine to compile for.
    pub target: &'static Target,
    /// An entry point or a schedule; without one the launcher's choice by length.
    pub variant: Option<String>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Name of the program.
    pub program: String,
    /// Schedule asked for, if any.
    pub variant: Option<String>,
    /// Element type of vectors.
    pub dtype: Dtype,
    /// Sizes of the dimensions.
    pub extents: Extents,
    /// Sequences of equal length.
    pub sequences: usize,
    /// Tokens of each sequence.
    pub tokens: usize,
    /// Heads of the values and states.
    pub heads: usize,
    /// Groups of heads.
    pub groups: usize,
    /// Whether states were given.
    pub initial_states: bool,
    /// Relative root mean square of each result against the definition, on a sample of heads.
    pub errors: BTreeMap<String, f64>,
    /// Whether the errors are within their tolerances and a second run gave the same bits.
    pub passed: bool,
    /// Bytes of all inputs once and all results once.
    pub bytes: usize,
    /// Times of a launch.
    pub timing: Timing,
}

/// Checks and times a program on the first GPU.
///
/// # Errors
///
/// Those of the stages that make the kernels, and of the device.
pub fn bench(recurrence: &Recurrence, work: &Workload) -> Result<BenchReport, Vec<Diagnostic>> {
    let extents = &work.extents;
    let build = Build { extents, dtype: work.dtype, compute: Dtype::F32, target: work.target };
    let (program, scans) = load(recurrence, &build)?;
    let problem = Problem {
        extents: extents.clone(),
        heads: work.heads,
        groups: work.groups,
        cu_seqlens: (0..=work.sequences).map(|i| i * work.tokens).collect(),
    };
    let inputs = draw(recurrence, &problem, work.dtype, work.initial_states, 0);
    let variant = work.variant.as_deref();
    let one = |e| vec![e];
    let (got, repeatable) = program.run_twice(&problem, &inputs, variant).map_err(one)?;
    let mut report = BenchReport {
        program: recurrence.name.clone(),
        variant: work.variant.clone(),
        dtype: work.dtype,
        extents: extents.clone(),
        sequences: work.sequences,
        tokens: work.tokens,
        heads: work.heads,
        groups: work.groups,
        initial_states: work.initial_states,
        errors: BTreeMap::new(),
        passed: repeatable,
        bytes: 0,
        timing: program.time(&problem, &inputs, variant, SAMPLES).map_err(one)?,
    };
    report.bytes = report.timing.bytes;
    for sample in 0..CHECKED_HEADS.min(work.heads) {
        // The first head of the first sequence and the last of the last.
        let (sequence, head) =
            if sample == 0 { (0, 0) } else { (work.sequences - 1, work.heads - 1) };
        let alone = Alone { recurrence, problem: &problem, sequence, head };
        let part = alone.problem();
        let want = step::eval(recurrence, &part, &alone.inputs(&inputs));
        let got = alone.results(&got);
        for found in errors(recurrence, &part, &want, &got) {
            let worst = report.errors.entry(found.array).or_insert(0.0);
            *worst = worst.max(found.relative_rms);
            let bound = tolerance(build.operand(), found.tokens, found.kind, scans);
            report.passed &= found.relative_rms <= bound;
        }
    }
    Ok(report)
}
