//! A builder of recurrences in step form, whose dimensions have single letters for names.

use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::step::{
    Dim, DimId, Formula, Init, Input, InputId, Node, NodeId, Op, Order, Output, Rate, Recurrence,
    Reduction, Sharing, State, StateId, check, result_dims,
};
use std::collections::BTreeMap;

/// A recurrence under construction.
pub(crate) struct Step {
    recurrence: Recurrence,
}

impl Step {
    /// Dimensions `K`, `V` and `M`.
    pub(crate) fn new(name: &str) -> Self {
        Self::over(name, "KVM")
    }

    /// Dimensions of these names, whose sizes are left to the build.
    pub(crate) fn over(name: &str, dims: &str) -> Self {
        let dim = |c: char| Dim { name: c.to_string(), size: None, formula: None };
        let recurrence = Recurrence {
            name: name.into(),
            doc: vec![],
            dims: dims.chars().map(dim).collect(),
            inputs: vec![],
            states: vec![],
            nodes: vec![],
            updates: vec![],
            outputs: vec![],
            tables: vec![],
            sequential: false,
        };
        Self { recurrence }
    }

    pub(crate) fn dim(&self, name: &str) -> DimId {
        let place = self.recurrence.dims.iter().position(|d| d.name == name);
        DimId(place.expect("a dimension of the builder"))
    }

    fn dims(&self, names: &str) -> Vec<DimId> {
        names.chars().map(|c| self.dim(&c.to_string())).collect()
    }

    /// Adds a node; its span is its index, so that diagnostics can be told apart.
    pub(crate) fn node(&mut self, op: Op) -> NodeId {
        let dims = result_dims(&self.recurrence, &op).expect("operands fit");
        let index = self.recurrence.nodes.len();
        self.recurrence.nodes.push(Node { op, dims, span: index..index + 1, name: None });
        NodeId(index)
    }

    fn input(&mut self, name: &str, dims: &str, range: [f64; 2], rate: Rate) -> NodeId {
        let input = Input {
            name: name.into(),
            dims: self.dims(dims),
            sharing: Sharing::Head,
            rate,
            dtype: None,
            range: Interval::new(range[0], range[1]),
            doc: vec![],
            span: 0..0,
        };
        self.recurrence.inputs.push(input);
        let id = InputId(self.recurrence.inputs.len() - 1);
        self.node(Op::Input(id))
    }

    /// An input per token of any numbers.
    pub(crate) fn token(&mut self, name: &str, dims: &str) -> NodeId {
        self.ranged(name, dims, [f64::NEG_INFINITY, f64::INFINITY])
    }

    pub(crate) fn ranged(&mut self, name: &str, dims: &str, range: [f64; 2]) -> NodeId {
        self.input(name, dims, range, Rate::Token)
    }

    /// A log decay.
    pub(crate) fn gate(&mut self, name: &str, dims: &str) -> NodeId {
        self.ranged(name, dims, [f64::NEG_INFINITY, 0.0])
    }

    /// An input per model of any numbers.
    pub(crate) fn model(&mut self, name: &str, dims: &str) -> NodeId {
        self.ranged_model(name, dims, [f64::NEG_INFINITY, f64::INFINITY])
    }

    pub(crate) fn ranged_model(&mut self, name: &str, dims: &str, range: [f64; 2]) -> NodeId {
        self.input(name, dims, range, Rate::Model)
    }

    /// The state starts from a per-model input.
    pub(crate) fn learned(&mut self, state: &str, input: NodeId) {
        let Op::Input(input) = self.recurrence.nodes[input.0].op else { panic!("an input") };
        let find = |s: &&mut State| s.name == state;
        let state = self.recurrence.states.iter_mut().find(find).expect("the state is declared");
        state.init = Init::Input(input);
    }

    /// The vector 0, 1, 2, ..
    pub(crate) fn index(&mut self, dim: &str) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::Index(dim))
    }

    /// The same elements under other dimensions.
    pub(crate) fn reshape(&mut self, a: NodeId, dims: &str) -> NodeId {
        let dims = self.dims(dims);
        let place = |i: usize| dims.get(i).copied();
        self.node(Op::Reshape(a, [place(0), place(1), place(2)]))
    }

    /// A dimension that the program computes.
    pub(crate) fn computed_dim(&mut self, name: &str, formula: Formula) {
        let (name, size) = (name.to_owned(), None);
        self.recurrence.dims.push(Dim { name, size, formula: Some(formula) });
    }

    pub(crate) fn concat(&mut self, a: NodeId, b: NodeId, dims: &str) -> NodeId {
        let dims = self.dims(dims);
        self.node(Op::Concat(a, b, [dims[0], dims[1]], dims[2]))
    }

    pub(crate) fn slice(&mut self, a: NodeId, dims: &str, run: usize) -> NodeId {
        let dims = self.dims(dims);
        self.node(Op::Slice(a, dims[0], dims[1], run))
    }

    /// The last input has one row for each group.
    pub(crate) fn by_group(&mut self) {
        let last = self.recurrence.inputs.last_mut().expect("an input was declared");
        last.sharing = Sharing::Group;
    }

    pub(crate) fn state(&mut self, name: &str, dims: &str) -> NodeId {
        self.state_from(name, dims, 0.0)
    }

    /// A state of this number before the first token.
    pub(crate) fn state_from(&mut self, name: &str, dims: &str, init: f64) -> NodeId {
        let dims = self.dims(dims);
        self.recurrence.states.push(State {
            name: name.into(),
            dims,
            init: Init::Value(init),
            range: None,
            order: Order::Forward,
            doc: vec![],
            span: 0..0,
        });
        self.recurrence.updates.push(NodeId(0));
        let id = StateId(self.recurrence.states.len() - 1);
        self.node(Op::State(id))
    }

    /// All states pass over the tokens in this order.
    pub(crate) fn order(&mut self, order: Order) {
        self.recurrence.states.iter_mut().for_each(|s| s.order = order);
    }

    pub(crate) fn number(&mut self, x: f64) -> NodeId {
        self.node(Op::Const(x))
    }

    pub(crate) fn unary(&mut self, f: Unary, a: NodeId) -> NodeId {
        self.node(Op::Unary(f, a))
    }

    pub(crate) fn exp(&mut self, a: NodeId) -> NodeId {
        self.unary(Unary::Exp, a)
    }

    pub(crate) fn binary(&mut self, f: Binary, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(f, a, b))
    }

    pub(crate) fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Mul, a, b)
    }

    pub(crate) fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Add, a, b)
    }

    pub(crate) fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let b = self.unary(Unary::Neg, b);
        self.add(a, b)
    }

    pub(crate) fn div(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Div, a, b)
    }

    pub(crate) fn outer(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Outer(a, b))
    }

    pub(crate) fn dot(&mut self, a: NodeId, b: NodeId, dim: &str) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::Dot(a, b, dim))
    }

    pub(crate) fn reduce(&mut self, reduction: Reduction, a: NodeId, dim: &str) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::Reduce(reduction, a, dim))
    }

    pub(crate) fn top(&mut self, a: NodeId, dim: &str, count: usize) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::TopK(a, dim, count))
    }

    pub(crate) fn push(&mut self, window: NodeId, entry: NodeId) -> NodeId {
        self.node(Op::Push(window, entry))
    }

    /// `a * S` with `a = exp(gate)`.
    pub(crate) fn decayed(&mut self, gate: NodeId, state: NodeId) -> NodeId {
        let factor = self.exp(gate);
        self.mul(factor, state)
    }

    /// `D + outer(k, beta * (v - dot(k, D)))`.
    pub(crate) fn delta(&mut self, d: NodeId, [k, v, beta]: [NodeId; 3]) -> NodeId {
        let seen = self.dot(k, d, "K");
        let error = self.sub(v, seen);
        let value = self.mul(beta, error);
        let write = self.outer(k, value);
        self.add(d, write)
    }

    pub(crate) fn update(&mut self, state: &str, node: NodeId) {
        let find = |s: &State| s.name == state;
        let index = self.recurrence.states.iter().position(find).expect("the state is declared");
        self.recurrence.updates[index] = node;
    }

    pub(crate) fn output(&mut self, name: &str, node: NodeId) {
        let output = Output { name: name.into(), node, dtype: None, doc: vec![], span: 0..0 };
        self.recurrence.outputs.push(output);
    }

    /// A program whose updates need not be affine.
    pub(crate) fn finish_sequential(mut self) -> Recurrence {
        self.recurrence.sequential = true;
        self.finish()
    }

    pub(crate) fn finish(self) -> Recurrence {
        check(&self.recurrence).expect("the program is legal");
        self.recurrence
    }

    /// The same with sizes for its dimensions.
    pub(crate) fn sized(self, sizes: &[(&str, usize)]) -> Program {
        let extents = sizes.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
        Program { recurrence: self.finish(), extents }
    }
}

/// A recurrence with sizes for its dimensions.
pub(crate) struct Program {
    pub(crate) recurrence: Recurrence,
    pub(crate) extents: BTreeMap<String, usize>,
}
