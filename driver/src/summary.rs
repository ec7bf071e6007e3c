//! What kind of recurrence a program is and which schedules it has, in a line.

use crate::extents::{Extents, uniform};
use serde::Serialize;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::seq::{Core, RootKind, Term, core_of};
use sluice_ir::staged::{Form, Runs, Stage};
use sluice_ir::step::{Order, Recurrence};
use std::fmt;

/// Size of every open dimension where the user gives none and the answer does not depend on it.
pub const NOMINAL_EXTENT: usize = 64;

/// Kind and status of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
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
    /// Decay and feedback of each loop along the sequence, or why there are no chunks.
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
    /// Cuts the recurrence into stages and looks at the loops that they need.
    ///
    /// # Errors
    ///
    /// Those of [`sluice_passes::stages`].
    pub fn of(recurrence: &Recurrence) -> Result<Summary, Vec<Diagnostic>> {
        let extents = uniform(recurrence, NOMINAL_EXTENT);
        let staged = sluice_passes::stages(recurrence, &extents)?;
        let stages = staged.stages.iter().map(|stage| StageSummary::of(stage, &extents));
        let stages: Vec<StageSummary> = stages.collect::<Result<_, _>>()?;
        // What runs once a sequence has no tokens to scan.
        let passing = || staged.stages.iter().filter(|stage| stage.runs == Runs::Tokens);
        let scanned = passing().filter(|stage| stage.form == Form::Chunks || is_elementwise(stage));
        let scan = match scanned.count() {
            0 => "absent",
            n if n < passing().count() => "partly",
            _ => "ready",
        };
        let modes = Modes { scan: scan.to_owned(), step: "ready".to_owned(), backward: "absent" };
        Ok(Summary { stages, modes })
    }

    /// What is known of a program that is refused.
    pub fn refused(errors: &[Diagnostic]) -> Summary {
        let code = errors.first().map_or(String::new(), |e| format!("refused, {}", e.code));
        let modes = Modes { scan: code.clone(), step: code, backward: "absent" };
        Summary { stages: Vec::new(), modes }
    }
}

impl StageSummary {
    fn of(stage: &Stage, extents: &Extents) -> Result<StageSummary, Vec<Diagnostic>> {
        let chunks = stage.form == Form::Chunks;
        let term = chunks.then(|| sluice_passes::lift(&stage.recurrence, extents)).transpose()?;
        Ok(StageSummary {
            name: stage.recurrence.name.clone(),
            class: class(stage, term.as_ref()),
            runs: runs(stage),
            kernels: match chunks {
                true => &["step", "scan"],
                false if is_elementwise(stage) => &["step", "elements"],
                false => &["loop"],
            },
        })
    }
}

/// Whether a stage is made of scans of elements.
fn is_elementwise(stage: &Stage) -> bool {
    stage.runs == Runs::Tokens && sluice_passes::elements(&stage.recurrence).is_ok()
}

/// How often and in which order a stage runs.
pub fn runs(stage: &Stage) -> String {
    let recurrence = &stage.recurrence;
    let order = recurrence.states.first().map_or(Order::Forward, |state| state.order);
    let order = order.with(|dim| recurrence.dims[dim.0].name.as_str());
    match (stage.runs, order) {
        (Runs::Once, _) | (Runs::Tokens, Order::Forward) => stage.runs.to_string(),
        (Runs::Tokens, order) => format!("{}, {order}", stage.runs),
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
        let stages = self.stages.iter().map(|stage| stage.class.as_str());
        write!(f, "{}; ", stages.collect::<Vec<_>>().join(", then "))?;
        write!(f, "scan {scan}, step {step}, backward {backward}")
    }
}
