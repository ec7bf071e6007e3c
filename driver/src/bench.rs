//! Times a program on a GPU, after checking that what is timed is right.

use crate::execute::load;
use crate::extents::Extents;
use crate::verify::{draw, errors};
use serde::Serialize;
use sluice_ir::accuracy::tolerance;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{self, Rate, Recurrence, Sharing};
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

/// One head of one sequence of a problem.
struct Alone<'a> {
    recurrence: &'a Recurrence,
    problem: &'a Problem,
    sequence: usize,
    head: usize,
}

impl Alone<'_> {
    fn problem(&self) -> Problem {
        let (first, last) = self.span();
        let cu_seqlens = vec![0, last - first];
        Problem { heads: 1, groups: 1, cu_seqlens, ..self.problem.clone() }
    }

    fn span(&self) -> (usize, usize) {
        let ends = &self.problem.cu_seqlens;
        (ends[self.sequence], ends[self.sequence + 1])
    }

    /// Rows `first .. last` of one of `heads` heads.
    fn slice(array: &Array, (first, last): (usize, usize), (head, heads): (usize, usize)) -> Array {
        let inner = &array.shape[2..];
        let data = (first..last).flat_map(|i| array.row(i * heads + head, 2).iter().copied());
        Array { shape: [&[last - first, 1], inner].concat(), data: data.collect() }
    }

    fn inputs(&self, all: &Arrays) -> Arrays {
        let input = |input: &step::Input| {
            let rows = match input.sharing {
                Sharing::Head => (self.head, self.problem.heads),
                Sharing::Group => (self.problem.group_of(self.head), self.problem.groups),
            };
            let array = &all[&input.name];
            let part = match input.rate {
                Rate::Token => Self::slice(array, self.span(), rows),
                Rate::Model => Array {
                    shape: [&[1], &array.shape[1..]].concat(),
                    data: array.row(rows.0, 1).to_vec(),
                },
            };
            (input.name.clone(), part)
        };
        let span = (self.sequence, self.sequence + 1);
        let head = (self.head, self.problem.heads);
        let given = self.recurrence.states.iter().filter_map(|s| {
            all.get(&s.name).map(|array| (s.name.clone(), Self::slice(array, span, head)))
        });
        self.recurrence.inputs.iter().map(input).chain(given).collect()
    }

    fn results(&self, all: &Arrays) -> Arrays {
        let head = (self.head, self.problem.heads);
        let output =
            |o: &step::Output| (o.name.clone(), Self::slice(&all[&o.name], self.span(), head));
        let state = |s: &step::State| {
            let span = (self.sequence, self.sequence + 1);
            (s.name.clone(), Self::slice(&all[&s.name], span, head))
        };
        let outputs = self.recurrence.outputs.iter().map(output);
        outputs.chain(self.recurrence.states.iter().map(state)).collect()
    }
}
