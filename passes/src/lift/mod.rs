//! Step form to sequence form: one history per state.
//!
//! A node of the step is one of three things. A *term* is an array at token level. A *matrix* of a
//! state is the decayed state plus rank-one writes ([`affine::Matrix`]). A *vector* of a state is a
//! written value that may read that state ([`affine::Vector`]). States are lifted in the order in
//! which they need each other: once a state has its history, what is read from it is a term.
//!
//! Feedback is possible along one side of a state. The natural side is tried first; if only the
//! side is in the way, the transposed state is lifted, with the roles of its dimensions exchanged.

mod affine;
mod dense;
mod gates;
mod history;
mod matrix;
mod merge;
mod mixed;
mod order;
mod padding;
mod refusal;
mod square;
mod tensor;
mod terms;
mod vector;

pub(crate) use order::taken_up;

use affine::{Matrix, Vector};
use dense::Dense;
use egg::Id;
use refusal::Lifting;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::seq::{Builder, Core, Root, RootKind, Shape, Term};
use sluice_ir::step::{DimId, NodeId, Recurrence, StateId, fold};
use std::collections::{BTreeMap, BTreeSet};

/// Lifts a checked recurrence to the sequence form. Extents not fixed by the program are in
/// `extents` by name; the number of tokens stays open.
///
/// # Errors
/// [`Code::MissingDimension`] for a dimension without a size; [`Code::NotAffine`],
/// [`Code::Unsupported`] or [`Code::UnsafeExponent`] for a program without a chunked form, at the
/// sub-term to blame.
pub fn lift(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
) -> Result<Term, Vec<Diagnostic>> {
    let sizes = sizes(recurrence, extents)?;
    let recurrence = &fold(recurrence, extents);
    let mut touches = order::touched_states(recurrence);
    let groups = order::dependency_order(recurrence, &touches);
    let leaders: BTreeMap<StateId, StateId> =
        groups.iter().flat_map(|group| group.iter().map(|state| (*state, group[0]))).collect();
    for set in &mut touches {
        *set = set.iter().map(|state| leaders[state]).collect();
    }
    let mut lifter = Lifter {
        recurrence,
        sizes,
        touches,
        leaders,
        builder: Builder::default(),
        terms: BTreeMap::new(),
        states: BTreeMap::new(),
    };
    for group in groups {
        let lifted = match group[..] {
            [state] => lifter.state(state),
            _ => lifter.mixed(&group),
        };
        lifted.map_err(|refusal| vec![*refusal.diagnostic])?;
    }
    lifter.finish()
}

/// The size of every dimension.
pub(crate) fn sizes(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let (mut sizes, mut missing) = (vec![], vec![]);
    for (i, dim) in recurrence.dims.iter().enumerate() {
        match recurrence.size(DimId(i), extents) {
            Some(size) => sizes.push(size),
            None => missing.push(
                Diagnostic::new(
                    Code::MissingDimension,
                    format!("dimension `{}` has no size", dim.name),
                )
                .with_help(format!("bind it, for example `--dims {}=64`", dim.name)),
            ),
        }
    }
    if missing.is_empty() { Ok(sizes) } else { Err(missing) }
}

/// What is known of one state.
#[derive(Clone, Debug, Default)]
struct StateValues {
    /// Dimensions of rows (keys), as the state has them; a side without any is one row or column.
    rows: Vec<DimId>,
    /// Dimensions of columns (values).
    columns: Vec<DimId>,
    /// Whether rows and columns are exchanged against the declaration.
    transposed: bool,
    /// Written values, by symbol.
    values: Vec<Vector>,
    /// Matrices found so far; a node is walked once, so that its writes are one symbol.
    matrices: BTreeMap<NodeId, Matrix>,
    /// The history, once the state is lifted.
    core: Option<Core>,
    /// The history of a state with a dense transition, which has no core.
    dense: Option<Dense>,
    /// The states that are stacked in this one's history, which stands for all of them.
    mixed: Option<mixed::Mixed>,
    /// The symbols of the core's feedback rows in order.
    feedback: Vec<affine::Symbol>,
}

struct Lifter<'a> {
    recurrence: &'a Recurrence,
    sizes: Vec<usize>,
    /// For every node the states that it depends on; of states that take up each other the first.
    touches: Vec<BTreeSet<StateId>>,
    /// For each state the first of those that it takes up and that take it up; itself if alone.
    leaders: BTreeMap<StateId, StateId>,
    builder: Builder,
    /// Token-level terms found so far.
    terms: BTreeMap<NodeId, Id>,
    states: BTreeMap<StateId, StateValues>,
}

impl Lifter<'_> {
    /// Lifts one state whose dependencies are lifted.
    fn state(&mut self, state: StateId) -> Lifting<()> {
        let dims = self.recurrence.states[state.0].dims.clone();
        // Of three dimensions the first two are keys: which of several memories, and where in it.
        let (rows, columns) = dims.split_at(dims.len().saturating_sub(1).max(1).min(dims.len()));
        match self.history(state, (rows, columns), false) {
            Err(refusal) if refusal.try_transposed && dims.len() == 2 => {
                // The natural side's reason is the one to show if both sides fail.
                self.history(state, (columns, rows), true).map_err(|_| refusal)
            }
            other => other,
        }
    }

    /// The state's name.
    fn state_name(&self, state: StateId) -> &str {
        &self.recurrence.states[state.0].name
    }

    /// Whether a node has the dimensions of a state, in either order.
    fn has_dims_of(&self, node: NodeId, state: StateId) -> bool {
        let set = |dims: &[DimId]| dims.iter().copied().collect::<BTreeSet<_>>();
        set(&self.recurrence.node(node).dims) == set(&self.recurrence.states[state.0].dims)
    }

    fn touches(&self, node: NodeId, state: StateId) -> bool {
        self.touches[node.0].contains(&state)
    }

    fn finish(mut self) -> Result<Term, Vec<Diagnostic>> {
        let (mut roots, mut refused) = (vec![], vec![]);
        for output in &self.recurrence.outputs {
            let dims = &self.recurrence.node(output.node).dims;
            let dims: Vec<usize> = dims.iter().map(|d| self.sizes[d.0]).collect();
            match self.term(output.node) {
                Ok(id) => {
                    let shape = Shape::token(1, dims.iter().product());
                    let id = self.builder.spread(id, shape);
                    let (name, kind) = (output.name.clone(), RootKind::Output);
                    roots.push(Root { name, kind, transposed: false, dims, id });
                }
                Err(refusal) => refused.push(*refusal.diagnostic),
            }
        }
        for index in 0..self.recurrence.states.len() {
            roots.push(self.final_state(StateId(index)));
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Ok(square::halve_squares(&merge::merge_columns(&self.builder.finish(roots))))
    }
}
