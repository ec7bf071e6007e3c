//! What the cutting of a program needs to know of it.

use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::pointwise::Interval;
use sluice_ir::staged::{From, Stage, Staged, StateLink};
use sluice_ir::step::{self, NodeId, Op, Output, Reads, Recurrence, StateId};
use std::collections::{BTreeMap, BTreeSet};

/// A program as far as it has been rewritten.
#[derive(Clone)]
pub(super) struct Prepared {
    /// What is left to be cut.
    pub(super) recurrence: Recurrence,
    /// Where each of its states comes from and goes to.
    pub(super) links: Vec<StateLink>,
    /// Stages that make last values of the program's states afterwards.
    pub(super) restores: Vec<Stage>,
}

impl Prepared {
    /// A program as it is.
    pub(super) fn new(recurrence: &Recurrence) -> Self {
        let own = |state: &step::State| StateLink {
            from: From::Initial(state.name.clone()),
            to: Some(state.name.clone()),
        };
        let links = recurrence.states.iter().map(own).collect();
        Self { recurrence: recurrence.clone(), links, restores: vec![] }
    }

    /// The same with another recurrence and one more stage afterwards. What is restored from last values
    /// of the old recurrence comes after them.
    pub(super) fn with(
        &self,
        recurrence: Recurrence,
        links: Vec<StateLink>,
        restore: Stage,
    ) -> Self {
        let restores = [vec![restore], self.restores.clone()].concat();
        Self { recurrence, links, restores }
    }
}

/// A recurrence with facts about its nodes.
pub(super) struct Program<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) recurrence: &'a Recurrence,
    pub(super) extents: &'a BTreeMap<String, usize>,
    /// What every node reads of states.
    pub(super) reads: Vec<Reads>,
    /// Bounds of every node.
    pub(super) ranges: Vec<Interval>,
    /// For every node the name under which it crosses to another stage.
    pub(super) names: Vec<String>,
    /// For every state the name under which a later stage takes its last value.
    pub(super) last_names: Vec<String>,
    constant: Vec<bool>,
}

impl<'a> Program<'a> {
    pub(super) fn new(prepared: &'a Prepared, extents: &'a BTreeMap<String, usize>) -> Self {
        let recurrence = &prepared.recurrence;
        let mut used = Names::of(recurrence, &prepared.links, &prepared.restores);
        let last_names = recurrence.states.iter().map(|s| used.fresh(&format!("{}_last", s.name)));
        let last_names = last_names.collect();
        let name = |(i, node): (usize, &step::Node)| {
            let crosses_as_it_is = |o: &&Output| {
                o.node == NodeId(i) && recurrence.output_dtype(o, Dtype::Bf16) == Dtype::F32
            };
            match (recurrence.outputs.iter().find(crosses_as_it_is), &node.name) {
                (Some(output), _) => output.name.clone(),
                (None, Some(name)) => used.fresh(name),
                (None, None) => used.fresh(&format!("value_{i}")),
            }
        };
        let names = recurrence.nodes.iter().enumerate().map(name).collect();
        let mut constant: Vec<bool> = Vec::new();
        for node in &recurrence.nodes {
            let varies = matches!(node.op, Op::Input(_) | Op::State(_) | Op::Final(_));
            constant.push(!varies && node.op.operands().iter().all(|o| constant[o.0]));
        }
        Self {
            prepared,
            recurrence,
            extents,
            reads: step::reads(recurrence),
            ranges: step::ranges(recurrence, extents),
            names,
            last_names,
            constant,
        }
    }

    /// Whether a node depends on sizes and numbers only.
    pub(super) fn is_constant(&self, id: NodeId) -> bool {
        self.constant[id.0]
    }

    /// Outputs, and updates of all states but some.
    pub(super) fn results_outside(&self, states: &BTreeSet<StateId>) -> Vec<NodeId> {
        let updates = self.recurrence.updates.iter().enumerate();
        let others = updates.filter(|(s, _)| !states.contains(&StateId(*s))).map(|(_, u)| *u);
        self.recurrence.outputs.iter().map(|o| o.node).chain(others).collect()
    }

    /// Names of states for a sentence.
    pub(super) fn state_names(&self, states: &BTreeSet<StateId>) -> String {
        let name = |s: &StateId| format!("`{}`", self.recurrence.states[s.0].name);
        states.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The refusal of a matrix that one stage would have to hand to another.
    pub(super) fn matrix_needed(&self, id: NodeId) -> Diagnostic {
        let states = self.state_names(&self.reads[id.0].states);
        let message = "a matrix is needed at every token where it cannot be computed";
        Diagnostic::new(Code::Unsupported, message)
            .at(self.recurrence.node(id).span.clone(), format!("this depends on {states}"))
            .with_help(format!("read {states} with `dot` and use what was read"))
    }
}

/// Names that are taken.
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// The names of a program's arrays, and those under which states are kept.
    pub(super) fn of(recurrence: &Recurrence, links: &[StateLink], restores: &[Stage]) -> Self {
        let restored = restores.iter().flat_map(|stage| &stage.links);
        let kept = links.iter().chain(restored).filter_map(|link| link.to.clone());
        let inputs = recurrence.inputs.iter().map(|i| i.name.clone());
        let states = recurrence.states.iter().map(|s| s.name.clone());
        let outputs = recurrence.outputs.iter().map(|o| o.name.clone());
        Self(inputs.chain(states).chain(outputs).chain(kept).collect())
    }

    /// The names of the stages of a program, of their arrays, and those under which states are kept.
    pub(super) fn of_all(staged: &Staged) -> Self {
        let of = |stage: &Stage| Self::of(&stage.recurrence, &stage.links, &[]).0;
        let stages = staged.stages.iter().map(|stage| stage.recurrence.name.clone());
        Self(staged.stages.iter().flat_map(of).chain(stages).collect())
    }

    /// A name like the one wished for that nothing else has, as identifiers of C are written.
    pub(super) fn fresh(&mut self, wished: &str) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let base: String = wished.chars().map(letter).collect();
        let numbered = (1..).map(|n| format!("{base}_{n}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        let name = names.find(|name| !self.0.contains(name)).expect("there are enough numbers");
        self.0.insert(name.clone());
        name
    }
}
