//! States that run twice: what their matrices are read with may be known only after they have run.
//!
//! A matrix does not leave its stage. Where it is read along a vector that needs the state itself in a
//! stage before, as a query made of the state's last value or of what another history makes of its
//! reads, the state runs again after the readers. Only the second run keeps the last value for the
//! caller, who may have given the same memory for the state before and after.

use super::groups::{Group, groups_of, needs_group};
use super::layout::{Layout, Part};
use super::program::Names;
use super::reading::closure;
use super::rewrite::Rewriter;
use super::{Prepared, Program};
use sluice_ir::staged::StateLink;
use sluice_ir::step::{NodeId, Op, State, StateId};
use std::collections::{BTreeMap, BTreeSet};

/// The program in which the states of a matrix that would cross run a second time for those nodes that
/// need them in later parts; none if no second run can serve those, or the states have had theirs.
pub(super) fn replay(
    program: &Program,
    groups: &[Group],
    parts: &[Part],
    matrix: NodeId,
) -> Option<Prepared> {
    let recurrence = program.recurrence;
    let Prepared { links, restores, .. } = program.prepared;
    let held = groups_of(groups, &program.reads[matrix.0].states);
    let states: BTreeSet<StateId> =
        held.iter().flat_map(|g| groups[*g].states.iter().copied()).collect();
    let has_run_twice =
        |s: &StateId| links.iter().filter(|l| l.from == links[s.0].from).count() > 1;
    if states.iter().any(has_run_twice) {
        return None;
    }
    let consumers = consumers(program, groups, parts, &states);
    if consumers.is_empty() {
        return None;
    }
    let mut names = Names::of(recurrence, links, restores);
    let mut second = Second { program, states: BTreeMap::new(), made: Rewriter::new(recurrence) };
    let mut links = links.clone();
    for s in &states {
        let state = &recurrence.states[s.0];
        let name = names.fresh(&format!("{}_again", state.name));
        second.states.insert(*s, second.made.state(State { name, ..state.clone() }));
        let is_read = recurrence.nodes.iter().any(|n| n.op == Op::Final(*s));
        let kept = is_read.then(|| names.fresh(&format!("{}_kept", state.name)));
        let first = StateLink { from: links[s.0].from.clone(), to: kept };
        let last = std::mem::replace(&mut links[s.0], first);
        links.push(last);
    }
    let (mut places, mut copies) = (Vec::new(), BTreeMap::new());
    for (i, node) in recurrence.nodes.iter().enumerate() {
        let consumes = consumers.contains(&NodeId(i));
        let mut operands = BTreeMap::new();
        for operand in node.op.operands() {
            let again = consumes && second.is_matrix_of(operand);
            let place = match again {
                true => second.copy(operand, &places, &mut copies),
                false => places[operand.0],
            };
            operands.insert(operand, place);
        }
        second.made.stand_for(node);
        places.push(second.made.copy(|o| operands[&o]));
    }
    for (s, update) in recurrence.updates.iter().enumerate() {
        second.made.update(StateId(s), places[update.0]);
        if let Some(again) = second.states.get(&StateId(s)).copied() {
            let update = second.copy(*update, &places, &mut copies);
            second.made.update(again, update);
        }
    }
    let outputs: Vec<NodeId> = recurrence.outputs.iter().map(|o| places[o.node.0]).collect();
    let recurrence = second.made.finish(&outputs);
    Some(Prepared { recurrence, links, restores: restores.clone() })
}

/// The nodes that take matrices of some states in parts after theirs, if those states can run once more
/// before all of them: nothing that they take besides may need them.
fn consumers(
    program: &Program,
    groups: &[Group],
    parts: &[Part],
    states: &BTreeSet<StateId>,
) -> BTreeSet<NodeId> {
    let recurrence = program.recurrence;
    let layout = Layout::new(program, parts);
    let of = |s: &StateId| recurrence.states[s.0].order;
    let order = states.first().map(of);
    let own = parts.iter().rposition(|part| !part.states.is_disjoint(states));
    let own = own.expect("every state has a part");
    let live = closure(program, program.results_outside(&BTreeSet::new()));
    let takes = |id: &NodeId| {
        let mut operands = recurrence.node(*id).op.operands().into_iter();
        let matrix = |o: NodeId| {
            let reads = &program.reads[o.0].states;
            let crosses = layout.first[o.0] <= own && !reads.is_disjoint(states);
            crosses && recurrence.node(o).dims.len() > 1
        };
        layout.first[id.0] > own && operands.any(matrix)
    };
    let mut found = BTreeSet::new();
    let mut users: Vec<usize> = Vec::new();
    for id in live.into_iter().filter(takes) {
        let needs = |s: &StateId| closure(program, [recurrence.updates[s.0]]).contains(&id);
        let using = (0..recurrence.states.len()).map(StateId).filter(needs).collect();
        let reads = &program.reads[id.0];
        let beside: BTreeSet<StateId> = reads.states.difference(states).copied().collect();
        let ready = [&beside, &reads.finals].map(|taken| groups_of(groups, taken)).concat();
        let mut waiting = users.clone();
        waiting.extend(groups_of(groups, &using));
        let waits = |group: &usize| {
            waiting.iter().any(|user| group == user || needs_group(groups, *group, *user))
        };
        if !ready.iter().any(waits) && beside.iter().all(|s| Some(of(s)) == order) {
            found.insert(id);
            users = waiting;
        }
    }
    found
}

/// The second run of some states.
struct Second<'a> {
    program: &'a Program<'a>,
    /// The states of the second run by those of the first.
    states: BTreeMap<StateId, StateId>,
    made: Rewriter,
}

impl Second<'_> {
    fn depends(&self, id: NodeId) -> bool {
        self.program.reads[id.0].states.iter().any(|s| self.states.contains_key(s))
    }

    fn is_matrix_of(&self, id: NodeId) -> bool {
        self.depends(id) && self.program.recurrence.node(id).dims.len() > 1
    }

    /// A node of the second run.
    fn copy(
        &mut self,
        id: NodeId,
        places: &[NodeId],
        copies: &mut BTreeMap<NodeId, NodeId>,
    ) -> NodeId {
        if !self.depends(id) {
            return places[id.0];
        }
        if let Some(copy) = copies.get(&id) {
            return *copy;
        }
        let node = self.program.recurrence.node(id);
        let made = match node.op {
            Op::State(s) => {
                self.made.stand_for(node);
                self.made.node(Op::State(self.states[&s]))
            }
            op => {
                let operands = op.operands().into_iter();
                let operands: BTreeMap<NodeId, NodeId> =
                    operands.map(|o| (o, self.copy(o, places, copies))).collect();
                self.made.stand_for(node);
                self.made.copy(|o| operands[&o])
            }
        };
        copies.insert(id, made);
        made
    }
}
