//! Recurrences in step form with dimensions of any sizes, named by single letters.

use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::step::{
    Dim, DimId, Formula, Init, Input, InputId, Node, NodeId, Op, Order, Output, Rate, Recurrence,
    Reduction, Sharing, State, StateId, check, result_dims,
};
use std::collections::BTreeMap;

/// A recurrence under construction.
pub(crate) struct Step(Recurrence);

impl Step {
    /// Dimensions of these sizes, left to the build.
    pub(crate) fn new(dims: &str) -> Self {
        let dim = |c: char| Dim { name: c.to_string(), size: None, formula: None };
        Self(Recurrence {
            name: "program".into(),
            doc: vec![],
            dims: dims.chars().map(dim).collect(),
            inputs: vec![],
            states: vec![],
            nodes: vec![],
            updates: vec![],
            outputs: vec![],
            tables: vec![],
            sequential: false,
        })
    }

    /// One more dimension, the sum of two others.
    pub(crate) fn joined(&mut self, name: &str, [a, b]: [&str; 2]) {
        let of = |name| Box::new(Formula::Dim(self.dim(name)));
        let formula = Some(Formula::Add(of(a), of(b)));
        self.0.dims.push(Dim { name: name.into(), size: None, formula });
    }

    pub(crate) fn dim(&self, name: &str) -> DimId {
        DimId(self.0.dims.iter().position(|d| d.name == name).expect("a dimension"))
    }

    fn dims(&self, names: &str) -> Vec<DimId> {
        names.chars().map(|c| self.dim(&c.to_string())).collect()
    }

    pub(crate) fn node(&mut self, op: Op) -> NodeId {
        let dims = result_dims(&self.0, &op).expect("operands fit");
        self.0.nodes.push(Node { op, dims, span: 0..1, name: None });
        NodeId(self.0.nodes.len() - 1)
    }

    fn input(&mut self, name: &str, dims: &str, rate: Rate) -> NodeId {
        self.0.inputs.push(Input {
            name: name.into(),
            dims: self.dims(dims),
            sharing: Sharing::Head,
            rate,
            dtype: None,
            range: Interval::ALL,
            doc: vec![],
            span: 0..0,
        });
        self.node(Op::Input(InputId(self.0.inputs.len() - 1)))
    }

    pub(crate) fn token(&mut self, name: &str, dims: &str) -> NodeId {
        self.input(name, dims, Rate::Token)
    }

    pub(crate) fn model(&mut self, name: &str, dims: &str) -> NodeId {
        self.input(name, dims, Rate::Model)
    }

    /// The last input has one row for each group.
    pub(crate) fn by_group(&mut self) {
        self.0.inputs.last_mut().expect("an input").sharing = Sharing::Group;
    }

    pub(crate) fn state(&mut self, name: &str, dims: &str, init: f64) -> NodeId {
        self.0.states.push(State {
            name: name.into(),
            dims: self.dims(dims),
            init: Init::Value(init),
            range: None,
            order: Order::Forward,
            doc: vec![],
            span: 0..0,
        });
        self.0.updates.push(NodeId(0));
        self.node(Op::State(StateId(self.0.states.len() - 1)))
    }

    /// A state that starts from a per-model input.
    pub(crate) fn learned(&mut self, name: &str, dims: &str, input: &str) -> NodeId {
        let state = self.state(name, dims, 0.0);
        let from = self.0.inputs.iter().position(|i| i.name == input).expect("an input");
        self.0.states.last_mut().expect("a state").init = Init::Input(InputId(from));
        state
    }

    /// All states pass over the tokens in this order.
    pub(crate) fn order(&mut self, order: Order) {
        self.0.states.iter_mut().for_each(|s| s.order = order);
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

    pub(crate) fn outer(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Outer(a, b))
    }

    pub(crate) fn dot(&mut self, a: NodeId, b: NodeId, dim: &str) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::Dot(a, b, dim))
    }

    pub(crate) fn reduce(&mut self, f: Reduction, a: NodeId, dim: &str) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::Reduce(f, a, dim))
    }

    pub(crate) fn index(&mut self, dim: &str) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::Index(dim))
    }

    pub(crate) fn top(&mut self, a: NodeId, dim: &str, count: usize) -> NodeId {
        let dim = self.dim(dim);
        self.node(Op::TopK(a, dim, count))
    }

    pub(crate) fn reshape(&mut self, a: NodeId, dims: &str) -> NodeId {
        let mut to = [None; 3];
        to.iter_mut().zip(self.dims(dims)).for_each(|(place, dim)| *place = Some(dim));
        self.node(Op::Reshape(a, to))
    }

    pub(crate) fn concat(&mut self, a: NodeId, b: NodeId, from: [&str; 2], to: &str) -> NodeId {
        let (from, to) = (from.map(|d| self.dim(d)), self.dim(to));
        self.node(Op::Concat(a, b, from, to))
    }

    pub(crate) fn slice(&mut self, a: NodeId, from: &str, to: &str, run: usize) -> NodeId {
        let (from, to) = (self.dim(from), self.dim(to));
        self.node(Op::Slice(a, from, to, run))
    }

    pub(crate) fn push(&mut self, window: NodeId, entry: NodeId) -> NodeId {
        self.node(Op::Push(window, entry))
    }

    /// Sets the new value of the state that was declared `number`th.
    pub(crate) fn update(&mut self, number: usize, node: NodeId) {
        self.0.updates[number] = node;
    }

    pub(crate) fn output(&mut self, name: &str, node: NodeId) {
        let output = Output { name: name.into(), node, dtype: None, doc: vec![], span: 0..0 };
        self.0.outputs.push(output);
    }

    pub(crate) fn finish(self, sizes: &[(&str, usize)]) -> Program {
        check(&self.0).expect("the program is legal");
        let extents = sizes.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
        Program { recurrence: self.0, extents }
    }
}

/// A recurrence with sizes for its dimensions.
pub(crate) struct Program {
    pub(crate) recurrence: Recurrence,
    pub(crate) extents: BTreeMap<String, usize>,
}
