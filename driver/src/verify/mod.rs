//! Every form of a program against the step evaluator in f64, which defines the language.
//!
//! No form is compared with another: two that share a mistake would agree.

mod export;
mod random;
mod repeat;
mod shapes;
mod subjects;

pub use export::export;

use crate::extents::Extents;
use crate::kernels::CHUNKS;
use random::Gates;
use serde::Serialize;
use shapes::{SHAPES, Shape};
use sluice_ir::accuracy::{Kind, relative_rms, tolerance};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::step::{self, Recurrence};
use sluice_ir::target::Target;
use std::collections::BTreeMap;
use subjects::{Subject, Subjects, subjects};

/// How many shapes a program is verified at, with a GPU or without.
pub fn shape_count(device: bool) -> usize {
    SHAPES.iter().filter(|shape| device || !shape.device).count()
}

/// Arithmetic that code of this machine can have.
pub const NATIVE: &[Dtype] = &[Dtype::F64, Dtype::F32];

/// What to verify with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Element type of vectors in kernels; inputs are exact in it.
    pub dtype: Dtype,
    /// The machine that kernels are scheduled for.
    pub target: &'static Target,
    /// Arithmetic of the code of this machine, once for each type; see [`NATIVE`].
    pub native: &'static [Dtype],
    /// Whether to evaluate the kernels with the rounding of their tiles too.
    pub rounded: bool,
    /// Whether to run the kernels on a GPU too.
    pub device: bool,
}

/// What was found for one program.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProgramReport {
    /// Name of the program.
    pub program: String,
    /// Whether every check passed.
    pub passed: bool,
    /// What each of its stages is.
    pub stages: BTreeMap<String, String>,
    /// One entry a shape.
    pub cases: Vec<CaseReport>,
}

/// What was found for one shape.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// What is special about the shape.
    pub shape: &'static str,
    /// Sizes of the dimensions.
    pub extents: Extents,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Heads.
    pub heads: usize,
    /// Groups of heads.
    pub groups: usize,
    /// Whether initial states were given.
    pub initial_states: bool,
    /// Where the values of inputs with a declared range lie in it.
    pub gates: &'static str,
    /// One entry for each form and array.
    pub checks: Vec<Check>,
    /// Kernels that were left out, because their tiles do not fit the target or no schedule takes
    /// their form, and why.
    pub left_out: BTreeMap<String, String>,
}

/// One array of one form beside the definition.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The form, as in `chunked 64` or `scalar f32`.
    pub form: String,
    /// Name of the output or state.
    pub array: String,
    /// Root mean square of the error over that of the definition; `null` in JSON if not finite.
    pub relative_rms: f64,
    /// The largest allowed.
    pub bound: f64,
    /// Whether it is allowed.
    pub passed: bool,
}

/// Verifies a program at every shape; `done` is told of each as it is finished.
///
/// # Errors
///
/// Whatever a stage refuses, such as a recurrence that is not affine in its state.
pub fn verify(
    recurrence: &Recurrence,
    options: Options,
    done: &mut dyn FnMut(&CaseReport),
) -> Result<ProgramReport, Vec<Diagnostic>> {
    let mut built: BTreeMap<Extents, Subjects> = BTreeMap::new();
    let mut cases = Vec::new();
    for (seed, shape) in SHAPES.iter().enumerate() {
        if shape.device && !options.device {
            continue;
        }
        let problem = shape.problem(recurrence);
        if !built.contains_key(&problem.extents) {
            let subjects = subjects(recurrence, &problem.extents, CHUNKS, options)?;
            built.insert(problem.extents.clone(), subjects);
        }
        let sample = sample(recurrence, &problem, options.dtype, shape, seed);
        let subjects = &built[&problem.extents];
        let ready = subjects.ready.iter().filter(|subject| subject.device || !shape.device);
        let checks = compare(recurrence, &problem, &sample, ready, subjects.scans)?;
        let report = shape.report(problem, sample.gates, checks, &subjects.left_out);
        done(&report);
        cases.push(report);
    }
    let passed = cases.iter().flat_map(|case| &case.checks).all(|check| check.passed);
    let stages = built.into_values().flat_map(|subjects| subjects.stages).collect();
    Ok(ProgramReport { program: recurrence.name.clone(), passed, stages, cases })
}

/// What was found for one problem.
#[derive(Clone, Debug)]
pub struct Trial {
    /// One entry for each form and array.
    pub checks: Vec<Check>,
    /// Kernels that were left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// Verifies a program on one problem with given inputs, in chunks of these lengths.
///
/// # Errors
///
/// As for [`verify`].
pub fn at(
    recurrence: &Recurrence,
    problem: &Problem,
    inputs: &Arrays,
    chunks: &[usize],
    options: Options,
) -> Result<Trial, Vec<Diagnostic>> {
    let subjects = subjects(recurrence, &problem.extents, chunks, options)?;
    let want = step::eval(recurrence, problem, inputs);
    let sample = Sample { gates: Gates::Drawn.name(), inputs: inputs.clone(), want };
    let checks = compare(recurrence, problem, &sample, &subjects.ready, subjects.scans)?;
    Ok(Trial { checks, left_out: subjects.left_out })
}

/// Random inputs that keep a program's promises, the same for the same number on every machine.
pub fn draw(
    recurrence: &Recurrence,
    problem: &Problem,
    dtype: Dtype,
    initial: bool,
    number: usize,
) -> Arrays {
    random::arrays(recurrence, problem, dtype, initial, Gates::Drawn, number as u64)
}

/// Inputs with what the definition makes of them.
struct Sample {
    gates: &'static str,
    inputs: Arrays,
    want: Arrays,
}

/// The inputs of a shape. Where gates at the ends of their ranges make a program's own definition
/// divide nothing by nothing, infinite ends are taken to be far away, or else values are drawn.
fn sample(
    recurrence: &Recurrence,
    problem: &Problem,
    dtype: Dtype,
    shape: &Shape,
    number: usize,
) -> Sample {
    let all: &[Gates] = match shape.ends {
        true => &[Gates::Ends, Gates::FiniteEnds, Gates::Drawn],
        false => &[Gates::Drawn],
    };
    let attempt = |gates: &Gates| {
        let seed = number as u64;
        let inputs = random::arrays(recurrence, problem, dtype, shape.initial, *gates, seed);
        let want = step::eval(recurrence, problem, &inputs);
        Sample { gates: gates.name(), inputs, want }
    };
    let defined = |s: &Sample| s.want.values().all(|a| a.data.iter().all(|x| !x.is_nan()));
    let mut samples = all.iter().map(attempt);
    let first = samples.next().expect("there is a way to draw");
    if defined(&first) { first } else { samples.find(defined).unwrap_or(first) }
}

/// Forms of a program of so many scans on one problem.
fn compare<'a>(
    recurrence: &Recurrence,
    problem: &Problem,
    sample: &Sample,
    subjects: impl IntoIterator<Item = &'a Subject>,
    scans: usize,
) -> Result<Vec<Check>, Vec<Diagnostic>> {
    let mut checks = Vec::new();
    for subject in subjects {
        let got = (subject.run)(problem, &sample.inputs).map_err(|e| vec![e])?;
        let found = errors(recurrence, problem, &sample.want, &got);
        checks.extend(found.into_iter().map(|error| {
            let bound = tolerance(subject.dtype, error.tokens, error.kind, scans);
            Check {
                form: subject.name.clone(),
                array: error.array,
                relative_rms: error.relative_rms,
                bound,
                passed: error.relative_rms <= bound,
            }
        }));
        if subject.device {
            let found = repeat::checks(recurrence, problem, &sample.inputs, subject, &got);
            checks.extend(found.map_err(|e| vec![e])?);
        }
    }
    Ok(checks)
}

/// How far one array is from the definition.
#[derive(Clone, Debug)]
pub struct ArrayError {
    /// Name of the output or state.
    pub array: String,
    /// What it is.
    pub kind: Kind,
    /// Tokens of the longest sequence.
    pub tokens: usize,
    /// Root mean square of the error over that of the definition; infinite if the array is absent.
    pub relative_rms: f64,
}

/// The error of each output and final state of a recurrence.
pub fn errors(
    recurrence: &Recurrence,
    problem: &Problem,
    want: &Arrays,
    got: &Arrays,
) -> Vec<ArrayError> {
    let tokens = problem.longest();
    let outputs = recurrence.outputs.iter().map(|o| (&o.name, Kind::Output));
    let states = recurrence.states.iter().map(|s| (&s.name, Kind::State));
    outputs
        .chain(states)
        .map(|(name, kind)| {
            let of = |arrays: &Arrays| arrays.get(name).map_or(vec![f64::NAN], |a| a.data.clone());
            let relative_rms = relative_rms(&of(got), &of(want));
            ArrayError { array: name.clone(), kind, tokens, relative_rms }
        })
        .collect()
}

impl Shape {
    fn report(
        &self,
        problem: Problem,
        gates: &'static str,
        checks: Vec<Check>,
        left_out: &[(String, String)],
    ) -> CaseReport {
        CaseReport {
            shape: self.name,
            lengths: problem.cu_seqlens.windows(2).map(|ends| ends[1] - ends[0]).collect(),
            extents: problem.extents,
            heads: self.heads,
            groups: self.groups,
            initial_states: self.initial,
            gates,
            checks,
            left_out: left_out.iter().cloned().collect(),
        }
    }
}
