//! From terms and steps to kernels: which tile lives where, and in what order statements run.

mod draft;
mod element_scan;
mod factors;
mod joint;
mod lanes;
mod layout;
mod misfit;
mod order;
mod params;
mod place;
mod prepare;
mod prepared_alike;
mod recompute;
mod roles;
mod scan;
mod step;
mod token_loop;
mod warpgroup;

pub use element_scan::element_scan;
pub use joint::joint;
pub use prepared_alike::prepared_alike;
pub use scan::{fine_scan, fused_scan, longest_chunk};
pub use step::step;
pub use token_loop::token_loop;

use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Checked, Kernel, Layout, Order, Schedule};
use sluice_ir::step::{DimId, Init, InputId, NodeId, Op, Rate, Recurrence, StateId};
use sluice_ir::target::Target;
use std::collections::BTreeMap;

/// The kernel of one token after the other: with matrices in registers where the shapes allow that,
/// else with everything in shared memory. `cut` is for GPUs: columns that are independent are spread
/// over the grid.
///
/// # Errors
///
/// [`Code::TooLarge`] if states and values of one step do not fit the target.
pub fn step_or_loop(
    recurrence: &Recurrence,
    build: &Build<'_>,
    cut: bool,
) -> Result<Checked, Diagnostic> {
    match step(recurrence, build, cut) {
        Err(refusal) if refusal.code == Code::Unsupported => token_loop(recurrence, build, cut),
        other => other,
    }
}

/// The step kernel for so few sequences and heads that blocks with finer parts of the value axis than
/// those of `coarse` all run at once, and for how many that is; none where parts cannot be finer.
pub fn fine_step(
    recurrence: &Recurrence,
    build: &Build<'_>,
    coarse: &Kernel,
) -> Option<(Checked, usize)> {
    let grain = Some(lanes::Grain::FINE);
    let variety = step::Variety { schedule: Schedule::Step, grain, stages: 2, suffix: "_fine" };
    let fine = step::step_as(recurrence, build, variety).ok()?;
    let instances = build.target.processors / fine.parts;
    (fine.parts > coarse.parts && instances > 0).then_some((fine, instances))
}

/// The kernel of sequences of any length on a GPU, with inputs loaded tokens ahead; matrices are in
/// registers or shared memory as in [`step_or_loop`].
///
/// # Errors
///
/// [`Code::TooLarge`] if states and values of one step do not fit the target.
pub fn loop_ahead(recurrence: &Recurrence, build: &Build<'_>) -> Result<Checked, Diagnostic> {
    let (schedule, grain) = (Schedule::Loop, Some(lanes::Grain::QUICK));
    let variety = step::Variety { schedule, grain, stages: AHEAD + 1, suffix: "" };
    match step::step_as(recurrence, build, variety) {
        Err(refusal) if matches!(refusal.code, Code::Unsupported | Code::TooLarge) => {
            token_loop(recurrence, build, true)
        }
        Ok(kernel) if carried_registers(&kernel) > REGISTERS => token_loop(recurrence, build, true),
        other => other,
    }
}

/// Registers that a thread of a GPU has at most.
const REGISTERS: usize = 255;

/// Registers a thread that states in columns take from one token to the next.
fn carried_registers(kernel: &Kernel) -> usize {
    let Layout::Lanes(lanes) = kernel.layout else { return 0 };
    let warps = kernel.threads() / 32;
    let tiles = kernel.carried.iter().map(|id| kernel.tile(*id));
    tiles.map(|tile| lanes.run(tile.rows, warps) * lanes.of_row(tile.cols)).sum()
}

/// Refuses states that start from an identity, of which only scans of chunks have the whole.
fn without_identity(recurrence: &Recurrence) -> Result<(), Diagnostic> {
    match recurrence.states.iter().find(|state| state.init == Init::Identity) {
        None => Ok(()),
        Some(state) => {
            let message = format!("`{}` starts from the identity in no such loop", state.name);
            Err(Diagnostic::new(Code::Unsupported, message))
        }
    }
}

/// The nodes that outputs and updates need.
fn live(recurrence: &Recurrence) -> Vec<bool> {
    let mut live = vec![false; recurrence.nodes.len()];
    results(recurrence).for_each(|id| live[id.0] = true);
    for (i, node) in recurrence.nodes.iter().enumerate().rev() {
        if live[i] {
            node.op.operands().into_iter().for_each(|id| live[id.0] = true);
        }
    }
    live
}

/// For each node whether it depends on neither a token nor a state, but for those that are `held`.
fn fixed(recurrence: &Recurrence, held: impl Fn(StateId) -> bool) -> Vec<bool> {
    let mut fixed: Vec<bool> = Vec::with_capacity(recurrence.nodes.len());
    for node in &recurrence.nodes {
        fixed.push(match node.op {
            Op::Input(InputId(i)) => recurrence.inputs[i].rate == Rate::Model,
            Op::State(state) => held(state),
            Op::Final(_) => false,
            ref op => op.operands().iter().all(|o| fixed[o.0]),
        });
    }
    fixed
}

/// The nodes that are new states or outputs.
fn results(recurrence: &Recurrence) -> impl Iterator<Item = NodeId> {
    recurrence.updates.iter().copied().chain(recurrence.outputs.iter().map(|o| o.node))
}

/// Tokens that loads run ahead in loops over tokens on a GPU: what a load takes is about what a few
/// steps take.
const AHEAD: usize = 3;

/// What a build binds.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// Size of each named dimension.
    pub extents: &'a BTreeMap<String, usize>,
    /// Element type of vectors.
    pub dtype: Dtype,
    /// Element type of states and of values between statements: f32, or f64 to verify.
    pub compute: Dtype,
    /// The machine.
    pub target: &'a Target,
}

impl Build<'_> {
    /// Size of a dimension of a recurrence.
    ///
    /// # Panics
    /// If the dimension has no size; the driver asks for missing ones first.
    pub(crate) fn size(&self, recurrence: &Recurrence, dim: DimId) -> usize {
        recurrence.size(dim, self.extents).expect("the driver has bound every dimension")
    }

    /// In which order a plain recurrence, whose states share one, visits the tokens.
    ///
    /// # Panics
    /// If a dimension has no size; the driver asks for missing ones first.
    pub fn order(&self, recurrence: &Recurrence) -> Order {
        let order = recurrence.states.first().map(|s| s.order).unwrap_or_default();
        order.with(|dim| self.size(recurrence, dim))
    }

    /// Element type of operands of matrix products on tensor cores: that of vectors if it has 16 bits,
    /// else bf16, which has the range of f32.
    pub fn operand(&self) -> Dtype {
        if self.dtype.bytes() == 2 { self.dtype } else { Dtype::Bf16 }
    }

    /// Sizes of dimensions of a recurrence.
    pub(crate) fn sizes(&self, recurrence: &Recurrence, dims: &[DimId]) -> Vec<usize> {
        dims.iter().map(|d| self.size(recurrence, *d)).collect()
    }
}
