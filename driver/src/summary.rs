//! What kind of recurrence a program is and which schedules it has, in a line.

use crate::extents::uniform;
use serde::Serialize;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::seq::{Core, RootKind, Term, core_of};
use sluice_ir::step::Recurrence;
use std::fmt;

/// Size of every open dimension where the user gives none and the answer does not depend on it.
pub const NOMINAL_EXTENT: usize = 64;

/// Kind and status of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// One entry for each loop along the sequence: its decay and its feedback.
    pub classes: Vec<String>,
    /// Status of each mode.
    pub modes: Modes,
}

/// Which schedules a program has.
#[derive(Clone, Debug, Serialize)]
pub struct Modes {
    /// Whole sequences in chunks: `ready`, or the code of the diagnostic that refuses it.
    pub scan: String,
    /// One token at a time.
    pub step: &'static str,
    /// Gradients.
    pub backward: &'static str,
}

impl Summary {
    /// Lifts the recurrence and looks at the loops that it needs.
    pub fn of(recurrence: &Recurrence) -> Summary {
        let lifted = sluice_passes::lift(recurrence, &uniform(recurrence, NOMINAL_EXTENT));
        Summary {
            classes: lifted.as_ref().map(classes).unwrap_or_default(),
            modes: Modes { scan: status(&lifted), step: "ready", backward: "absent" },
        }
    }
}

fn status(lifted: &Result<Term, Vec<Diagnostic>>) -> String {
    match lifted.as_ref().map_err(|errors| errors.first()) {
        Err(Some(error)) => format!("refused, {}", error.code),
        _ => "ready".to_owned(),
    }
}

/// The loops of a lifted term, each described.
pub fn classes(term: &Term) -> Vec<String> {
    let natural = term.roots().iter().filter(|root| root.kind == RootKind::State);
    let transposed: Vec<Core> = natural
        .filter(|root| root.transposed)
        .filter_map(|root| Some(core_of(term.node(root.id))?.1))
        .collect();
    term.loops().iter().map(|(core, _)| describe(term, core, transposed.contains(core))).collect()
}

fn describe(term: &Term, core: &Core, transposed: bool) -> String {
    let (rows, columns) = if transposed { ("values", "keys") } else { ("keys", "values") };
    let vector = |gate, side| {
        let per_channel = !term.is_zero(gate) && term.shape(gate).features > 1;
        per_channel.then(|| format!("decay per channel of the {side}"))
    };
    let scalar = |gate| !term.is_zero(gate) && term.shape(gate).features == 1;
    let mut parts: Vec<String> =
        vector(core.g, rows).into_iter().chain(vector(core.w, columns)).collect();
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
        write!(f, "{}; ", self.classes.join(" + "))?;
        write!(f, "scan {scan}, step {step}, backward {backward}")
    }
}
