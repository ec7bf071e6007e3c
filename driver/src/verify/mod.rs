//! Every stage of a program against the step evaluator in f64, which defines the language.
//!
//! No stage is compared with another: two forms that share a mistake would agree.

mod export;
mod random;
mod shapes;
mod stages;

pub use export::export;

use crate::extents::Extents;
use random::Random;
use serde::Serialize;
use shapes::{SHAPES, Shape};
use sluice_ir::accuracy::{Kind, relative_rms, tolerance};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::step::{self, Recurrence};
use sluice_ir::target::Target;
use stages::{Stage, Stages, stages};
use std::collections::BTreeMap;

/// How many shapes a program is verified at.
pub const SHAPE_COUNT: usize = SHAPES.len();

/// What to verify with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Element type of vectors in kernels; inputs are exact in it.
    pub dtype: Dtype,
    /// The machine that kernels are scheduled for.
    pub target: &'static Target,
    /// Whether to evaluate the kernels with the rounding of their tiles too.
    pub rounded: bool,
    /// Whether to run the kernels on a GPU too.
    pub device: bool,
}

/// What was found for one program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramReport {
    /// Name of the program.
    pub program: String,
    /// Whether every check passed.
    pub passed: bool,
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
    /// One entry for each stage and array.
    pub checks: Vec<Check>,
    /// Kernels that were left out because their tiles do not fit the target, and why.
    pub too_large: BTreeMap<String, String>,
}

/// One array of one stage beside the definition.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The stage, as in `chunked 64` or `scalar f32`.
    pub stage: String,
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
    let mut built: BTreeMap<Extents, Stages> = BTreeMap::new();
    let mut cases = Vec::new();
    for (seed, shape) in SHAPES.iter().enumerate() {
        let problem = shape.problem(recurrence);
        if !built.contains_key(&problem.extents) {
            built.insert(problem.extents.clone(), stages(recurrence, &problem.extents, options)?);
        }
        let inputs = draw(recurrence, &problem, options.dtype, shape.initial, seed);
        let stages = &built[&problem.extents];
        let checks = compare(recurrence, &problem, &inputs, &stages.ready)?;
        let report = shape.report(problem, checks, &stages.too_large);
        done(&report);
        cases.push(report);
    }
    let passed = cases.iter().flat_map(|case| &case.checks).all(|check| check.passed);
    Ok(ProgramReport { program: recurrence.name.clone(), passed, cases })
}

/// Random inputs that keep a program's promises, the same for the same number on every machine.
pub fn draw(
    recurrence: &Recurrence,
    problem: &Problem,
    dtype: Dtype,
    initial: bool,
    number: usize,
) -> Arrays {
    random::arrays(recurrence, problem, dtype, initial, &mut Random::new(number as u64))
}

/// Every stage on one problem.
fn compare(
    recurrence: &Recurrence,
    problem: &Problem,
    inputs: &Arrays,
    stages: &[Stage],
) -> Result<Vec<Check>, Vec<Diagnostic>> {
    let want = step::eval(recurrence, problem, inputs);
    let mut checks = Vec::new();
    for stage in stages {
        let got = (stage.run)(problem, inputs).map_err(|e| vec![e])?;
        checks.extend(errors(recurrence, problem, &want, &got).into_iter().map(|error| {
            let bound = tolerance(stage.dtype, error.tokens, error.kind);
            Check {
                stage: stage.name.clone(),
                array: error.array,
                relative_rms: error.relative_rms,
                bound,
                passed: error.relative_rms <= bound,
            }
        }));
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
        checks: Vec<Check>,
        too_large: &[(String, String)],
    ) -> CaseReport {
        CaseReport {
            shape: self.name,
            extents: problem.extents,
            lengths: problem.cu_seqlens.windows(2).map(|ends| ends[1] - ends[0]).collect(),
            heads: self.heads,
            groups: self.groups,
            initial_states: self.initial,
            checks,
            too_large: too_large.iter().cloned().collect(),
        }
    }
}
