//! Makes a recurrence out of the nodes of another one.

use sluice_ir::step::{
    Binary, DimId, Node, NodeId, Op, Recurrence, State, StateId, Unary, result_dims,
};

/// A recurrence whose nodes are made anew; equal nodes are one.
pub(super) struct Rewriter {
    made: Recurrence,
    /// The node of the old recurrence that is being rewritten.
    like: Option<Node>,
}

impl Rewriter {
    /// The declarations of a recurrence without its nodes.
    pub(super) fn new(old: &Recurrence) -> Self {
        Self { made: Recurrence { nodes: vec![], ..old.clone() }, like: None }
    }

    /// Nodes made from now on stand for this one, in messages and names.
    pub(super) fn stand_for(&mut self, node: &Node) {
        self.like = Some(node.clone());
    }

    pub(super) fn node(&mut self, op: Op) -> NodeId {
        let known = self.made.nodes.iter().position(|n| n.op == op);
        let span = self.like.as_ref().map(|n| n.span.clone()).unwrap_or_default();
        NodeId(known.unwrap_or_else(|| {
            let dims = result_dims(&self.made, &op).expect("the operands fit");
            self.made.nodes.push(Node { op, dims, span, name: None });
            self.made.nodes.len() - 1
        }))
    }

    /// The node that is being rewritten, on other operands, under its name.
    pub(super) fn copy(&mut self, operand: impl FnMut(NodeId) -> NodeId) -> NodeId {
        let like = self.like.clone().expect("a node is being rewritten");
        let id = self.node(like.op.map_operands(operand));
        let made = &mut self.made.nodes[id.0];
        made.name = made.name.take().or(like.name);
        id
    }

    pub(super) fn dims(&self, id: NodeId) -> &[DimId] {
        &self.made.node(id).dims
    }

    pub(super) fn number(&mut self, x: f64) -> NodeId {
        self.node(Op::Const(x))
    }

    pub(super) fn unary(&mut self, f: Unary, a: NodeId) -> NodeId {
        self.node(Op::Unary(f, a))
    }

    pub(super) fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(Binary::Add, a, b))
    }

    pub(super) fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let b = self.unary(Unary::Neg, b);
        self.add(a, b)
    }

    pub(super) fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(Binary::Mul, a, b))
    }

    /// A state, whose update is given later.
    pub(super) fn state(&mut self, state: State) -> StateId {
        self.made.states.push(state);
        self.made.updates.push(NodeId(0));
        StateId(self.made.states.len() - 1)
    }

    pub(super) fn update(&mut self, state: StateId, node: NodeId) {
        self.made.updates[state.0] = node;
    }

    /// The recurrence, whose outputs are these nodes.
    pub(super) fn finish(mut self, outputs: &[NodeId]) -> Recurrence {
        for (output, node) in self.made.outputs.iter_mut().zip(outputs) {
            output.node = *node;
        }
        self.made
    }
}
