//! The nodes of a program under construction: equal expressions are one node, constants are folded.

use sluice_ir::diagnostic::Span;
use sluice_ir::step::{Binary, Node, NodeId, Op, Recurrence, Unary, result_dims};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// Where each operation of a program is computed.
#[derive(Default)]
pub(super) struct Nodes {
    known: HashMap<Key, NodeId>,
}

/// An operation that can be looked up: numbers are equal if their bits are.
#[derive(Clone, Copy)]
struct Key(Op);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Op::Const(x), Op::Const(y)) => x.to_bits() == y.to_bits(),
            (x, y) => x == y,
        }
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(&self.0).hash(state);
        match self.0 {
            Op::Const(x) => x.to_bits().hash(state),
            Op::Unary(f, a) => (f, a).hash(state),
            Op::Binary(f, a, b) => (f, a, b).hash(state),
            op => op.operands().hash(state),
        }
    }
}

impl Nodes {
    /// The node of an operation, new or not; an error if the operands' dimensions do not fit.
    ///
    /// A node keeps the place where it first occurred.
    pub(super) fn node(
        &mut self,
        program: &mut Recurrence,
        op: Op,
        span: &Span,
    ) -> Result<NodeId, String> {
        let op = match fold(program, op) {
            Folded::Node(id) => return Ok(id),
            Folded::Op(op) => op,
        };
        if let Some(known) = self.known.get(&Key(op)) {
            return Ok(*known);
        }
        let dims = result_dims(program, &op)?;
        program.nodes.push(Node { op, dims, span: span.clone(), name: None });
        let id = NodeId(program.nodes.len() - 1);
        self.known.insert(Key(op), id);
        Ok(id)
    }
}

enum Folded {
    Node(NodeId),
    Op(Op),
}

fn fold(program: &Recurrence, op: Op) -> Folded {
    let constant = |id: NodeId| match program.node(id).op {
        Op::Const(x) => Some(x),
        _ => None,
    };
    match op {
        Op::Unary(f, a) => match (f, program.node(a).op) {
            (_, Op::Const(x)) => Folded::Op(Op::Const(f.eval(x))),
            (Unary::Neg, Op::Unary(Unary::Neg, inner)) => Folded::Node(inner),
            _ => Folded::Op(op),
        },
        Op::Binary(f, a, b) => match (constant(a), constant(b)) {
            (Some(x), Some(y)) => Folded::Op(Op::Const(f.eval(x, y))),
            (Some(1.0), None) if f == Binary::Mul => Folded::Node(b),
            (None, Some(1.0)) if f == Binary::Mul => Folded::Node(a),
            _ => Folded::Op(op),
        },
        _ => Folded::Op(op),
    }
}

/// Removes the nodes that no update and no output needs.
pub(super) fn prune(program: &mut Recurrence) {
    let mut needed = vec![false; program.nodes.len()];
    for id in program.updates.iter().chain(program.outputs.iter().map(|o| &o.node)) {
        needed[id.0] = true;
    }
    // Operands come before their users, so one pass from the end finds everything.
    for (i, node) in program.nodes.iter().enumerate().rev() {
        if needed[i] {
            node.op.operands().into_iter().for_each(|id| needed[id.0] = true);
        }
    }
    let mut place = vec![NodeId(0); needed.len()];
    let mut kept = Vec::new();
    for (i, node) in std::mem::take(&mut program.nodes).into_iter().enumerate() {
        if needed[i] {
            place[i] = NodeId(kept.len());
            kept.push(Node { op: node.op.map_operands(|id| place[id.0]), ..node });
        }
    }
    program.nodes = kept;
    program.updates.iter_mut().for_each(|id| *id = place[id.0]);
    program.outputs.iter_mut().for_each(|o| o.node = place[o.node.0]);
}

/// Whether a node's value is the same for every input and state.
pub(super) fn is_constant(program: &Recurrence, id: NodeId) -> bool {
    let mut constant: Vec<bool> = Vec::with_capacity(id.0 + 1);
    for node in &program.nodes[..=id.0] {
        let varies = matches!(node.op, Op::Input(_) | Op::State(_) | Op::Final(_));
        constant.push(!varies && node.op.operands().iter().all(|o| constant[o.0]));
    }
    constant[id.0]
}
