//! What each walk must write, because something outside of it is computed from it.

use super::Points;
use sluice_ir::elements::{Group, Law};
use sluice_ir::step::{DimId, NodeId, Op, Recurrence, Reduction, StateId};
use std::collections::BTreeSet;

/// The operands of a sum over a point's elements: one value, or two to be multiplied.
pub(super) type Summed = [Option<NodeId>; 2];

/// What walks write.
pub(super) struct Wanted {
    /// For each group the nodes, and for sums over the elements of a point their operands.
    pub(super) of: Vec<Vec<(NodeId, Option<Summed>)>>,
    /// Nodes that are read, not only stored.
    pub(super) read: BTreeSet<NodeId>,
    /// For each node the groups whose states it depends on.
    pub(super) depends: Vec<BTreeSet<usize>>,
}

struct Search<'a> {
    recurrence: &'a Recurrence,
    groups: &'a [Group],
    shapes: &'a [Points],
    wanted: Wanted,
    seen: BTreeSet<NodeId>,
}

/// What the walks of all groups write.
pub(super) fn wanted(recurrence: &Recurrence, groups: &[Group], shapes: &[Points]) -> Wanted {
    let depends = depends(recurrence, groups);
    let wanted = Wanted { of: vec![vec![]; groups.len()], read: BTreeSet::new(), depends };
    let mut search = Search { recurrence, groups, shapes, wanted, seen: BTreeSet::new() };
    for (number, group) in groups.iter().enumerate() {
        let law: Vec<NodeId> = match &group.law {
            Law::Free => group.states.iter().map(|s| recurrence.updates[s.0]).collect(),
            Law::Linear { .. } => group.values().collect(),
            Law::Window(entry) => {
                search.want(*entry);
                continue;
            }
        };
        law.into_iter().for_each(|id| search.given(number, id));
    }
    recurrence.outputs.iter().for_each(|output| search.want(output.node));
    for node in &recurrence.nodes {
        search.wanted.read.extend(node.op.operands());
    }
    search.wanted
}

/// For each node the groups whose states it depends on.
fn depends(recurrence: &Recurrence, groups: &[Group]) -> Vec<BTreeSet<usize>> {
    // Windows are not walked: what is read of them is there before.
    let walks = |g: &Group, s: StateId| !matches!(g.law, Law::Window(_)) && g.states.contains(&s);
    let group_of = |s: StateId| groups.iter().position(|g| walks(g, s));
    let mut depends: Vec<BTreeSet<usize>> = Vec::with_capacity(recurrence.nodes.len());
    for node in &recurrence.nodes {
        let own = match node.op {
            Op::State(state) => group_of(state),
            _ => None,
        };
        let operands = node.op.operands();
        let others = operands.iter().flat_map(|o| depends[o.0].iter().copied());
        depends.push(own.into_iter().chain(others).collect());
    }
    depends
}

impl Search<'_> {
    fn on(&self, id: NodeId, group: usize) -> bool {
        self.wanted.depends[id.0].contains(&group)
    }

    /// Whether a node is made of the states of a group element by element.
    fn inside(&self, group: usize, id: NodeId) -> bool {
        let node = self.recurrence.node(id);
        let states = &self.groups[group].states;
        let dims = &self.recurrence.states[states[0].0].dims;
        let pointwise =
            matches!(node.op, Op::State(_) | Op::Unary(..) | Op::Binary(..) | Op::Select(..));
        let own = |d: &DimId| dims.contains(d);
        pointwise
            && node.dims.len() == dims.len()
            && node.dims.iter().all(own)
            && node.op.operands().into_iter().all(|o| {
                if self.on(o, group) {
                    self.inside(group, o)
                } else {
                    self.recurrence.node(o).dims.iter().all(own)
                }
            })
    }

    /// Asks for a value outside of walks.
    fn want(&mut self, id: NodeId) {
        let Some(&group) = self.wanted.depends[id.0].last() else { return };
        if !self.seen.insert(id) {
            return;
        }
        if self.inside(group, id) {
            self.wanted.of[group].push((id, None));
            return self.given(group, id);
        }
        if let Some(summed) = self.sum(group, id) {
            self.wanted.of[group].push((id, Some(summed)));
            return summed.into_iter().flatten().for_each(|operand| self.given(group, operand));
        }
        self.recurrence.node(id).op.operands().into_iter().for_each(|o| self.want(o));
    }

    /// Asks for what the walk of a group needs of earlier walks to compute a value.
    fn given(&mut self, group: usize, id: NodeId) {
        if !self.on(id, group) {
            return self.want(id);
        }
        self.recurrence.node(id).op.operands().into_iter().for_each(|o| self.given(group, o));
    }

    /// The operands, if the node is a sum over the elements of a group's points.
    fn sum(&self, group: usize, id: NodeId) -> Option<Summed> {
        let (summed, dim) = match self.recurrence.node(id).op {
            Op::Dot(a, b, dim) => ([Some(a), Some(b)], dim),
            Op::Reduce(Reduction::Sum, a, dim) => ([Some(a), None], dim),
            _ => return None,
        };
        let Points { along, inside, .. } = self.shapes[group];
        let own = |d: &DimId| Some(*d) == along || Some(*d) == inside;
        let fits = |id: NodeId| match self.on(id, group) {
            true => self.inside(group, id),
            false => self.recurrence.node(id).dims.iter().all(own),
        };
        let result = self.recurrence.node(id).dims.iter().all(|d| Some(*d) == along);
        (Some(dim) == inside && result && summed.into_iter().flatten().all(fits)).then_some(summed)
    }
}
