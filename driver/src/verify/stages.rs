//! The stages that a program passes through, each as something that computes its outputs.

use super::Options;
use crate::execute::{Run, native, on_device};
use crate::extents::Extents;
use crate::kernels::{CHUNKS, chunk_options, step_loop};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Checked, Order, Rounding};
use sluice_ir::seq::{self, Term};
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::{self, Build};
use std::rc::Rc;

/// One stage, ready to run on any problem of its extents.
pub(super) struct Stage {
    /// Name in reports.
    pub(super) name: String,
    /// Element type whose tolerance applies.
    pub(super) dtype: Dtype,
    /// The stage's own evaluator or its code.
    pub(super) run: Run,
}

/// The stages of a recurrence for given extents.
pub(super) struct Stages {
    /// Those that can run.
    pub(super) ready: Vec<Stage>,
    /// Kernels whose tiles do not fit the target: name and reason. One chunk length fits at least.
    pub(super) too_large: Vec<(String, String)>,
}

/// All stages of a recurrence for given extents.
pub(super) fn stages(
    recurrence: &Recurrence,
    extents: &Extents,
    options: Options,
) -> Result<Stages, Vec<Diagnostic>> {
    let term = sluice_passes::lift(recurrence, extents)?;
    let build =
        Build { extents, dtype: options.dtype, compute: Dtype::F32, target: options.target };
    let order = build.order(recurrence);
    let mut ready = vec![sequence("sequence".to_owned(), term.clone(), order)];
    let longest = schedule::longest_chunk(&term);
    let (mut too_large, mut refusal) = (Vec::new(), None);
    for &chunk in CHUNKS {
        let chunked = sluice_passes::chunk(&term, &chunk_options(options.target, chunk))?.term;
        match schedule::fused_scan(recurrence, &chunked, &build, chunk) {
            Ok(kernel) => {
                // Kernels that no build makes need not be accurate once rounded.
                let built = longest.is_none_or(|longest| chunk <= longest);
                let options = Options { rounded: options.rounded && built, ..options };
                let name = format!("scan {chunk}");
                ready.extend(kernels(&name, kernel, build.operand(), options));
            }
            Err(e) if e.code == Code::TooLarge => {
                too_large.push((format!("scan {chunk}"), e.message.clone()));
                refusal = Some(e);
            }
            Err(e) => return Err(vec![e]),
        }
        ready.push(sequence(format!("chunked {chunk}"), chunked, order));
    }
    if let Some(error) = refusal.filter(|_| too_large.len() == CHUNKS.len()) {
        return Err(vec![error]);
    }
    ready.extend(step_kernels(recurrence, &build, options).map_err(|e| vec![e])?);
    if options.device {
        let (_, variants) = on_device(recurrence, &build)?;
        let stage = |(schedule, run)| {
            let name = format!("device {schedule}");
            Stage { name, dtype: build.operand(), run }
        };
        ready.extend(variants.into_iter().map(stage));
    }
    Ok(Stages { ready, too_large })
}

/// A term in f64, before or after chunking.
fn sequence(name: String, term: Term, order: Order) -> Stage {
    Stage { name, dtype: Dtype::F64, run: Box::new(move |p, a| Ok(seq::run(&term, order, p, a))) }
}

/// A kernel without rounding, which must be exact, and if wanted with the rounding of its tiles.
fn kernels(name: &str, kernel: Checked, operand: Dtype, options: Options) -> Vec<Stage> {
    let kernel = Rc::new(kernel);
    let exact = [(Rounding::Exact, Dtype::F64)].into_iter();
    let rounded = options.rounded.then_some((Rounding::Stored, operand));
    exact
        .chain(rounded)
        .map(|(rounding, dtype)| {
            let kernel = Rc::clone(&kernel);
            let run: Run = Box::new(move |p, a| Ok(kernel::eval(&kernel, p, a, rounding)));
            Stage { name: format!("{name} {dtype}"), dtype, run }
        })
        .collect()
}

/// The step schedule as a GPU would run it, and as code of this machine in f64 and f32.
fn step_kernels(
    recurrence: &Recurrence,
    build: &Build<'_>,
    options: Options,
) -> Result<Vec<Stage>, Diagnostic> {
    let mut stages =
        kernels("step", schedule::step(recurrence, build, true)?, build.operand(), options);
    if cfg!(feature = "scalar") {
        for dtype in [Dtype::F64, Dtype::F32] {
            let run = native(&step_loop(recurrence, build, dtype)?, dtype)?;
            stages.push(Stage { name: format!("scalar {dtype}"), dtype, run });
        }
    }
    Ok(stages)
}
