//! Why a program's kernels are right and what they cost: the derivation with its figures.

use crate::extents::Extents;
use crate::figures::Figures;
use crate::kernels::kernels;
use crate::summary::{Modes, Summary};
use serde::Serialize;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::seq::Term;
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::Build;
use sluice_passes::{Chunked, Step, Stop};
use std::fmt;
use std::time::{Duration, Instant};

/// Everything that is told of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Name of the program.
    pub program: String,
    /// Its kind: decay and feedback of each loop along the sequence.
    pub classes: Vec<String>,
    /// Its schedules.
    pub modes: Modes,
    /// Sizes of the dimensions.
    pub extents: Extents,
    /// The GPU that costs are for.
    pub target: &'static str,
    /// The sequence form, before any law.
    pub sequence: String,
    /// The laws from there to the chunked form, in order.
    pub laws: Vec<LawUse>,
    /// The chunked form.
    pub chunked: String,
    /// The search for the chunked form.
    pub search: Search,
    /// The kernels.
    pub kernels: Vec<Figures>,
}

/// Uses of one law.
#[derive(Clone, Debug, Serialize)]
pub struct LawUse {
    /// Name of the law.
    pub name: &'static str,
    /// Where it is proved.
    pub reference: &'static str,
    /// Its effect on rounding.
    pub rounding: &'static str,
}

/// Sizes and time of the search by equality saturation.
#[derive(Clone, Debug, Serialize)]
pub struct Search {
    /// Tokens of a chunk.
    pub chunk: usize,
    /// Nodes of the sequence form.
    pub nodes_before: usize,
    /// Nodes of the saturated graph.
    pub nodes: usize,
    /// Classes of equal nodes.
    pub classes: usize,
    /// Rounds in which all laws were matched.
    pub iterations: usize,
    /// Whether no law had anything to add; else a limit ended the search.
    pub saturated: bool,
    /// Loops over chunks in the result.
    pub chunk_loops: usize,
    /// Cost of the result in the model, in nanoseconds for the nominal problem.
    pub cost: f64,
    /// Wall-clock time of the search.
    pub milliseconds: f64,
}
