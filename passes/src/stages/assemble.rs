//! Parts as recurrences, with names for what they hand to each other.

use super::Program;
use super::layout::{Content, Part};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::{
    Init, Input, InputId, Node, NodeId, Op, Order, Output, Rate, Recurrence, Sharing, State,
    StateId,
};
use std::collections::BTreeMap;

/// What a recurrence is made of.
pub(super) struct Source<'a> {
    /// The part.
    pub(super) part: &'a Part,
    /// What it computes and takes.
    pub(super) content: &'a Content,
    /// Outputs of the program that it makes, by number.
    pub(super) outputs: &'a [usize],
}

/// The recurrence of a part that makes some nodes for others. A state whose last value it takes is one
/// that no token changes, after its own states.
pub(super) fn recurrence_of(program: &Program, source: &Source, exports: &[NodeId]) -> Recurrence {
    let whole = program.recurrence;
    let Source { part, content, outputs } = source;
    let starts = |id: InputId| {
        let mut states = part.states.iter().map(|s| whole.states[s.0].init);
        states.any(|init| init == Init::Input(id))
    };
    let taken = |id: InputId| {
        let mut ops = content.nodes.iter().map(|n| whole.node(*n).op);
        ops.any(|op| op == Op::Input(id)) || starts(id)
    };
    let own: Vec<InputId> = (0..whole.inputs.len()).map(InputId).filter(|i| taken(*i)).collect();
    let place =
        |id: InputId| InputId(own.iter().position(|i| *i == id).expect("the part takes the input"));
    let imports = content.imports.iter().map(|id| program.import(*id));
    let inputs = own.iter().map(|i| whole.inputs[i.0].clone()).chain(imports).collect();

    let carried = part.states.iter().map(|s| {
        let state = whole.states[s.0].clone();
        let init = match state.init {
            Init::Input(id) => Init::Input(place(id)),
            value => value,
        };
        State { init, ..state }
    });
    let kept = content.lasts.iter().map(|s| program.last_state(*s, part.order));
    let states: Vec<State> = carried.chain(kept).collect();
    let own_state: BTreeMap<StateId, StateId> =
        part.states.iter().enumerate().map(|(i, s)| (*s, StateId(i))).collect();
    let last_state: BTreeMap<StateId, StateId> = content
        .lasts
        .iter()
        .enumerate()
        .map(|(i, s)| (*s, StateId(part.states.len() + i)))
        .collect();

    let mut nodes: Vec<Node> = Vec::new();
    let mut places: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let import_place = |id: NodeId| {
        let before = content.imports.iter().take_while(|i| **i < id).count();
        InputId(own.len() + before)
    };
    for id in content.nodes.union(&content.imports).copied() {
        let node = whole.node(id).clone();
        let op = match node.op {
            _ if content.imports.contains(&id) => Op::Input(import_place(id)),
            Op::Input(input) => Op::Input(place(input)),
            Op::State(state) => Op::State(own_state[&state]),
            Op::Final(state) => Op::State(last_state[&state]),
            op => op.map_operands(|o| places[&o]),
        };
        places.insert(id, NodeId(nodes.len()));
        nodes.push(Node { op, ..node });
    }
    let mut updates: Vec<NodeId> =
        part.states.iter().map(|s| places[&whole.updates[s.0]]).collect();
    for state in last_state.values() {
        let is_it = |n: &Node| n.op == Op::State(*state);
        let known = nodes.iter().position(is_it).expect("the last state is read");
        updates.push(NodeId(known));
    }
    let declared = outputs.iter().map(|o| {
        let output = &whole.outputs[*o];
        Output { node: places[&output.node], ..output.clone() }
    });
    let handed = exports.iter().map(|id| Output {
        name: program.names[id.0].clone(),
        node: places[id],
        dtype: Some(Dtype::F32),
        doc: vec![],
        span: whole.node(*id).span.clone(),
    });
    Recurrence {
        name: whole.name.clone(),
        doc: whole.doc.clone(),
        dims: whole.dims.clone(),
        inputs,
        states,
        updates,
        outputs: declared.chain(handed).collect(),
        nodes,
        tables: whole.tables.clone(),
        sequential: whole.sequential,
    }
}

impl Program<'_> {
    /// The input by which a part takes a value of an earlier one.
    fn import(&self, id: NodeId) -> Input {
        let node = self.recurrence.node(id);
        Input {
            name: self.names[id.0].clone(),
            dims: node.dims.clone(),
            sharing: Sharing::Head,
            rate: Rate::Token,
            dtype: Some(Dtype::F32),
            range: self.ranges[id.0],
            doc: vec![],
            span: node.span.clone(),
        }
    }

    /// The state by which a part takes the last value of a state of an earlier one.
    fn last_state(&self, state: StateId, order: Order) -> State {
        let whole = &self.recurrence.states[state.0];
        let name = self.last_names[state.0].clone();
        let nodes = self.recurrence.nodes.iter();
        let range = nodes.zip(&self.ranges).find(|(n, _)| n.op == Op::Final(state));
        State {
            name,
            init: Init::Value(0.0),
            order,
            range: range.map(|(_, range)| *range),
            doc: vec![],
            ..whole.clone()
        }
    }
}
