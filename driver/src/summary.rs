//! What kind of recurrence a program is and which schedules it has, in a line.

use crate::extents::uniform;
use crate::kernels::{CHUNKS, Plan, StageKernels, plan};
use serde::Serialize;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::seq::{Core, RootKind, Term, core_of};
use sluice_ir::staged::{Form, Runs, Stage};
use sluice_ir::step::{Order, Recurrence};
use sluice_ir::target::Target;
use sluice_passes::schedule::Build;
use std::fmt;

/// Size of every open dimension where the user gives none.
pub const NOMINAL_EXTENT: usize = 64;

/// Between stages that run one after another.
const THEN: &str = ", then ";

/// Kind and status of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Size of its open dimensions.
    pub size: usize,
    /// Its stages, in the order in which they run.
    pub stages: Vec<StageSummary>,
    /// Status of each mode.
    pub modes: Modes,
}

/// Kind of one stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageSummary {
    /// Name.
    pub name: String,
    /// Decay and feedback of each loop along the sequence, or why there are no chunks; also why chunks
    /// have no schedule.
    pub class: String,
    /// Whether it runs at every token or once a sequence, and in which order.
    pub runs: String,
    /// Its kernels: `step` with `scan` or `elements`, or `loop`.
    pub kernels: &'static [&'static str],
}

/// Which schedules a program has.
#[derive(Clone, Debug, Serialize)]
pub struct Modes {
    /// Whole sequences in chunks: `ready`, `partly` if some stages run token by token, `absent` if all
    /// do, or the code of the diagnostic that refuses the program.
    pub scan: String,
    /// One token at a time.
    pub step: String,
    /// Gradients.
    pub backward: &'static str,
}

impl Summary {
    /// What a build with vectors in `dtype` for a target makes of a recurrence, with open dimensions of
    /// [`NOMINAL_EXTENT`] or of the largest half, quarter or eighth of it at which one token fits.
    ///
    /// # Errors
    ///
    /// Those of [`plan`].
    pub fn of(
        recurrence: &Recurrence,
        dtype: Dtype,
        target: &'static Target,
    ) -> Result<Summary, Vec<Diagnostic>> {
        at_nominal_size(|size| {
            let extents = uniform(recurrence, size);
            let build = Build { extents: &extents, dtype, compute: Dtype::F32, target };
            let plan = plan(recurrence, &build, CHUNKS, &mut |_, _| {})?;
            Ok(Summary::planned(&plan, size))
        })
    }

    fn planned(plan: &Plan, size: usize) -> Summary {
        let both = || plan.staged.stages.iter().zip(&plan.kernels);
        // What runs once a sequence has no tokens to scan.
        let passing = || both().filter(|(stage, _)| stage.runs == Runs::Tokens);
        let scanned = passing().filter(|(_, kernels)| kernels.is_scanned());
        let scan = match scanned.count() {
            0 => "absent",
            n if n < passing().count() => "partly",
            _ => "ready",
        };
        let modes = Modes { scan: scan.to_owned(), step: "ready".to_owned(), backward: "absent" };
        let stages = both().map(|(stage, kernels)| StageSummary::of(stage, kernels)).collect();
        Summary { size, stages, modes }
    }

    /// What is known of a program that is refused.
    pub fn refused(errors: &[Diagnostic]) -> Summary {
        let code = errors.first().map_or(String::new(), |e| format!("refused, {}", e.code));
        let modes = Modes { scan: code.clone(), step: code, backward: "absent" };
        Summary { size: NOMINAL_EXTENT, stages: Vec::new(), modes }
    }
}

/// What is made of open dimensions of [`NOMINAL_EXTENT`], or of the largest half, quarter or eighth of it that
/// is not too large.
///
/// # Errors
///
/// Those of the first attempt that is refused for another reason, or of the last.
pub fn at_nominal_size<T>(
    mut attempt: impl FnMut(usize) -> Result<T, Vec<Diagnostic>>,
) -> Result<T, Vec<Diagnostic>> {
    let mut made = attempt(NOMINAL_EXTENT);
    for part in [2, 4, 8] {
        let too_large = |errors: &Vec<Diagnostic>| errors.iter().all(|e| e.code == Code::TooLarge);
        if !made.as_ref().is_err_and(too_large) {
            break;
        }
        made = attempt(NOMINAL_EXTENT / part);
    }
    made
}

impl StageSummary {
    fn of(stage: &Stage, kernels: &StageKernels) -> StageSummary {
        StageSummary {
            name: stage.recurrence.name.clone(),
            class: kernels.describe(stage),
            runs: runs(stage),
            kernels: match (&kernels.scan, &kernels.elements) {
                (Some(_), _) => &["step", "scan"],
                (None, Some(_)) => &["step", "elements"],
                (None, None) => &["loop"],
            },
        }
    }
}

/// The class of each stage of a recurrence, in the order in which they run. Whether there is a schedule
/// for it depends on sizes and on a target.
///
/// # Errors
///
/// Those of [`sluice_passes::stages`].
pub fn stage_classes(recurrence: &Recurrence) -> Result<String, Vec<Diagnostic>> {
    let extents = uniform(recurrence, NOMINAL_EXTENT);
    let staged = sluice_passes::stages(recurrence, &extents)?;
    let classes = staged.stages.iter().map(|stage| {
        let chunks = stage.form == Form::Chunks;
        let term = chunks.then(|| sluice_passes::lift(&stage.recurrence, &extents)).transpose()?;
        Ok(class(stage, term.as_ref()))
    });
    let classes: Vec<String> = classes.collect::<Result<_, Vec<_>>>()?;
    Ok(classes.join(THEN))
}

/// How often and in which order a stage runs.
pub fn runs(stage: &Stage) -> String {
    let recurrence = &stage.recurrence;
    let order = recurrence.states.first().map_or(Order::Forward, |state| state.order);
    let order = order.with(|dim| recurrence.dims[dim.0].name.as_str());
    match (stage.runs, order) {
        (Runs::Once, _) | (_, Order::Forward) => stage.runs.to_string(),
        (_, order) => format!("{}, {order}", stage.runs),
    }
}

/// What a stage is, in words; `term` is its sequence form if it has one.
pub fn class(stage: &Stage, term: Option<&Term>) -> String {
    match (&stage.form, term) {
        (Form::Steps { class, .. }, _) => class.name().to_owned(),
        (Form::Chunks, Some(term)) => classes(term).join(" + "),
        (Form::Chunks, None) => "in chunks".to_owned(),
    }
}

/// The loops of a lifted term, each described.
pub fn classes(term: &Term) -> Vec<String> {
    let natural = term.roots().iter().filter(|root| root.kind == RootKind::State);
    let transposed: Vec<Core> = natural
        .filter(|root| root.transposed)
        .filter_map(|root| Some(core_of(term.node(root.id))?.1))
        .collect();
    let loops = term.loops();
    if loops.is_empty() {
        let dense = term.token_loops() > 0;
        return vec![if dense { "constant dense transition" } else { "pointwise" }.to_owned()];
    }
    loops.iter().map(|(core, _)| describe(term, core, transposed.contains(core))).collect()
}

fn describe(term: &Term, core: &Core, transposed: bool) -> String {
    let (rows, columns) = if transposed { ("values", "keys") } else { ("keys", "values") };
    let vector = |gate, side| {
        let per_channel = !term.is_zero(gate) && term.shape(gate).features > 1;
        per_channel.then(|| format!("decay per channel of the {side}"))
    };
    let scalar = |gate| !term.is_zero(gate) && term.shape(gate).features == 1;
    let mixed = term.shape(core.g).rows;
    let mut parts: Vec<String> = match mixed {
        1 => vector(core.g, rows).into_iter().chain(vector(core.w, columns)).collect(),
        n => vec![format!("{n} states mixed by a matrix")],
    };
    if scalar(core.g) || scalar(core.w) {
        parts.push("scalar decay".to_owned());
    }
    if parts.is_empty() {
        parts.push("no decay".to_owned());
    }
    if !term.is_zero(core.p) {
        let rank = term.shape(core.p).rows;
        parts.push(format!("rank-{rank} feedback from the {rows}"));
    }
    parts.join(", ")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Modes { scan, step, backward } = &self.modes;
        if self.size != NOMINAL_EXTENT {
            write!(f, "with sizes of {}: ", self.size)?;
        }
        let stages: Vec<&str> = self.stages.iter().map(|stage| stage.class.as_str()).collect();
        write!(f, "{}; ", stages.join(THEN))?;
        write!(f, "scan {scan}, step {step}, backward {backward}")
    }
}
