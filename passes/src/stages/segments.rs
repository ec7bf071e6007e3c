//! A stage on segments of its sequences side by side: few long sequences on many processors.
//!
//! A state that is updated by itself alone changes over a segment of tokens as over one token,
//! `S_end = A S_start + B`: element by element where its elements do not mix, else with a matrix `A` for
//! each of its columns. So four kinds of stages do what one does:
//!
//! ```text
//! summary      each segment is a sequence: B is the state from zero, and an A of elements is a state that
//!              starts from one and is only decayed; nothing is read
//! transition   the same for a matrix A, which is a state that starts from the identity
//! joint        of each state, each segment is a token: S' = A S + B gives the state before each segment,
//!              and the one after the last token
//! completion   each segment is a sequence that starts from that state: the stage as it was
//! ```
//!
//! This is exact, whatever the lengths: states pass through the same sums, in another order.

use super::program::Names;
use super::rewrite::Rewriter;
use super::transition::{Named, Transition, transition};
use sluice_ir::dtype::Dtype;
use sluice_ir::elements::{Elements, Law};
use sluice_ir::pointwise::{Interval, Ring};
use sluice_ir::staged::{Class, Form, From, Runs, Stage, Staged, StateLink};
use sluice_ir::step::{
    self, DimId, Init, Input, InputId, MAX_RANK, NodeId, Op, Output, Rate, Recurrence, Sharing,
    State, StateId,
};
use std::collections::BTreeSet;

/// What takes the place of a stage on segments of `tokens` tokens, in the order in which it runs: the
/// summary, transitions, a joint for each state, the completion. None for a stage whose states mix each
/// other or, but for the rows of a matrix, their elements, or never change, or whose tokens are visited as
/// a grid.
pub fn segments(staged: &Staged, stage: usize, tokens: usize) -> Option<Vec<Stage>> {
    let mut names = Names::of_all(staged);
    let stage = &staged.stages[stage];
    let in_rows = stage.recurrence.states.iter().all(|state| state.order.grid().is_none());
    if stage.form != Form::Chunks || stage.runs != Runs::Tokens || !in_rows {
        return None;
    }
    let silent = Recurrence { outputs: vec![], ..stage.recurrence.clone() };
    let (step, gates) = match crate::elements(&silent) {
        Ok(form) if is_held(&form) => return None,
        Ok(form) => {
            let gates = gates(&form)?;
            (form.recurrence, Some(gates))
        }
        Err(_) => (silent, None),
    };
    let name = &stage.recurrence.name;
    let mut seams = Vec::with_capacity(step.states.len());
    for (index, state) in stage.recurrence.states.iter().enumerate() {
        let mut fresh = |what: &str| names.fresh(&format!("{name}_{}_{what}", state.name));
        let (part, decay, start) = (fresh("part"), fresh("decay"), fresh("start"));
        let gate = match &gates {
            Some(gates) => Gate::clone(&gates[index]),
            None => {
                let (recurrence, dimension) = (fresh("transition"), fresh("before"));
                let named = Named { recurrence: &recurrence, state: &decay, dimension: &dimension };
                Gate::Matrix(Box::new(transition(&step, StateId(index), named)?))
            }
        };
        seams.push(Seam { gate, part, decay, start, joint: fresh("joint") });
    }
    let summary = summary(stage, &step, &seams, names.fresh(&format!("{name}_summary")));
    let transitions = seams.iter().filter_map(|seam| {
        let links = vec![StateLink { from: From::Declared, to: Some(seam.decay.clone()) }];
        let recurrence = seam.transition()?.recurrence.clone();
        Some(Stage { recurrence, links, ..stage.clone() })
    });
    let joints = seams.iter().enumerate().map(|(i, seam)| joint(stage, &step, StateId(i), seam));
    let from_start = |seam: &Seam| StateLink { from: From::Last(seam.start.clone()), to: None };
    let completion = Stage {
        links: seams.iter().map(from_start).collect(),
        runs: Runs::Segments(tokens),
        ..stage.clone()
    };
    let summaries = [summary].into_iter().chain(transitions);
    let mut stages: Vec<Stage> =
        summaries.map(|part| Stage { runs: Runs::Segments(tokens), ..part }).collect();
    stages.extend(joints.map(|joint| Stage { runs: Runs::Joints(tokens), ..joint }));
    stages.push(completion);
    Some(stages)
}

/// Whether no state changes.
fn is_held(form: &Elements) -> bool {
    (0..form.recurrence.states.len()).all(|state| form.is_held(StateId(state)))
}

/// What a token multiplies a state by.
#[derive(Clone)]
enum Gate {
    /// Nothing of the state is left.
    Zero,
    One,
    /// A node of the elementwise form.
    Node(NodeId),
    /// A matrix.
    Matrix(Box<Transition>),
}

/// A state between segments.
struct Seam {
    gate: Gate,
    /// Name of the state after a segment that starts from zero.
    part: String,
    /// Name of the product of the gates of a segment, if they are nodes or matrices.
    decay: String,
    /// Name of the state before a segment.
    start: String,
    /// Name of the stage that makes it.
    joint: String,
}

/// The gate of each state, if each is a scalar or a vector and no state needs another one.
fn gates(form: &Elements) -> Option<Vec<Gate>> {
    let recurrence = &form.recurrence;
    let reads = step::reads(recurrence);
    let mut gates = Vec::with_capacity(recurrence.states.len());
    for state in (0..recurrence.states.len()).map(StateId) {
        if form.is_held(state) {
            gates.push(Gate::One);
            continue;
        }
        let (law, place) = form.groups.iter().find_map(|group| {
            let place = group.states.iter().position(|s| *s == state)?;
            Some((&group.law, place))
        })?;
        let Law::Linear { ring: Ring::Sum, rows } = law else { return None };
        let row = &rows[place];
        let alone = row.gates.iter().enumerate().all(|(i, gate)| i == place || gate.is_none());
        let mut values = row.gates[place].iter().chain(&row.entry);
        if !alone || values.any(|id| !reads[id.0].states.is_empty()) {
            return None;
        }
        gates.push(match row.gates[place] {
            None => Gate::Zero,
            Some(gate) if recurrence.node(gate).op == Op::Const(1.0) => Gate::One,
            Some(gate) if recurrence.node(gate).dims.len() < 2 => Gate::Node(gate),
            Some(_) => return None,
        });
    }
    Some(gates)
}

/// The state after each segment that starts from zero, and the product of its gates.
fn summary(stage: &Stage, old: &Recurrence, seams: &[Seam], name: String) -> Stage {
    let empty = Recurrence { name, states: vec![], updates: vec![], ..old.clone() };
    let mut made = Rewriter::new(&empty);
    let kept = |name: &str| StateLink { from: From::Declared, to: Some(name.to_owned()) };
    let mut links = Vec::new();
    for (state, seam) in old.states.iter().zip(seams) {
        made.state(State { init: Init::Value(0.0), range: None, ..state.clone() });
        links.push(kept(&seam.part));
    }
    let gates = seams.iter().filter_map(Seam::node);
    let mut live: BTreeSet<NodeId> = old.updates.iter().copied().chain(gates).collect();
    for id in (0..old.nodes.len()).rev().map(NodeId) {
        if live.contains(&id) {
            live.extend(old.node(id).op.operands());
        }
    }
    let mut of = vec![NodeId(0); old.nodes.len()];
    for id in live {
        made.stand_for(old.node(id));
        of[id.0] = made.copy(|operand| of[operand.0]);
    }
    for (state, update) in old.updates.iter().enumerate() {
        made.update(StateId(state), of[update.0]);
    }
    for (state, seam) in old.states.iter().zip(seams) {
        let Some(gate) = seam.node() else { continue };
        let gate = of[gate.0];
        let decay = made.state(State {
            name: seam.decay.clone(),
            dims: made.dims(gate).to_vec(),
            init: Init::Value(1.0),
            range: None,
            doc: vec![],
            ..state.clone()
        });
        let before = made.node(Op::State(decay));
        let after = made.mul(gate, before);
        made.update(decay, after);
        links.push(kept(&seam.decay));
    }
    Stage { recurrence: made.finish(&[]), links, ..stage.clone() }
}

/// A state before each segment, and after the last one.
fn joint(stage: &Stage, old: &Recurrence, state: StateId, seam: &Seam) -> Stage {
    let declared = &old.states[state.0];
    let of_segments = |name: &str, dims: &[DimId]| Input {
        name: name.to_owned(),
        dims: dims.to_vec(),
        sharing: Sharing::Head,
        rate: Rate::Token,
        dtype: Some(Dtype::F32),
        range: Interval::ALL,
        doc: vec![],
        span: declared.span.clone(),
    };
    let decay = match &seam.gate {
        Gate::Zero | Gate::One => None,
        Gate::Node(gate) => Some(old.node(*gate).dims.clone()),
        Gate::Matrix(transition) => Some(transition.recurrence.states[0].dims.clone()),
    };
    let mut inputs = vec![of_segments(&seam.part, &declared.dims)];
    inputs.extend(decay.map(|dims| of_segments(&seam.decay, &dims)));
    let init = match declared.init {
        Init::Value(_) | Init::Identity => declared.init,
        Init::Input(learned) => {
            inputs.push(old.inputs[learned.0].clone());
            Init::Input(InputId(inputs.len() - 1))
        }
    };
    let start = Output {
        name: seam.start.clone(),
        node: NodeId(0),
        dtype: Some(Dtype::F32),
        doc: vec![],
        span: declared.span.clone(),
    };
    let dims = seam.transition().map_or(&old.dims, |transition| &transition.recurrence.dims);
    let empty = Recurrence {
        name: seam.joint.clone(),
        dims: dims.clone(),
        inputs,
        states: vec![],
        updates: vec![],
        outputs: vec![start],
        ..old.clone()
    };
    let mut made = Rewriter::new(&empty);
    let id = made.state(State { init, ..declared.clone() });
    let before = made.node(Op::State(id));
    let part = made.node(Op::Input(InputId(0)));
    let after = match &seam.gate {
        Gate::Zero => part,
        Gate::Matrix(transition) => {
            let Transition { rows, before: moved, .. } = **transition;
            let decay = made.node(Op::Input(InputId(1)));
            let mut dims = [None; MAX_RANK];
            for (to, dim) in dims.iter_mut().zip(&declared.dims) {
                *to = Some(if *dim == rows { moved } else { *dim });
            }
            let earlier = made.node(Op::Reshape(before, dims));
            // The dimensions of a product are those of the left operand first.
            let [left, right] = match declared.dims[0] == rows {
                true => [decay, earlier],
                false => [earlier, decay],
            };
            let passed = made.node(Op::Dot(left, right, moved));
            made.add(passed, part)
        }
        Gate::One => made.add(before, part),
        Gate::Node(_) => {
            let decay = made.node(Op::Input(InputId(1)));
            let decayed = made.mul(decay, before);
            made.add(decayed, part)
        }
    };
    made.update(id, after);
    let reason = format!("states of the segments of `{}`, one after another", old.name);
    let class = if seam.transition().is_some() { Class::Dense } else { Class::Elementwise };
    Stage {
        recurrence: made.finish(&[before]),
        links: vec![stage.links[state.0].clone()],
        form: Form::Steps { class, reason },
        ..stage.clone()
    }
}

impl Seam {
    /// The node of the gate, if it is one.
    fn node(&self) -> Option<NodeId> {
        match self.gate {
            Gate::Node(id) => Some(id),
            Gate::Zero | Gate::One | Gate::Matrix(_) => None,
        }
    }

    /// The matrix of the gate, if it is one.
    fn transition(&self) -> Option<&Transition> {
        match &self.gate {
            Gate::Matrix(transition) => Some(transition),
            Gate::Zero | Gate::One | Gate::Node(_) => None,
        }
    }
}
