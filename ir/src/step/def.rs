//! What a recurrence is: one time step as typed nodes in evaluation order.
//!
//! ```text
//! Recurrence = dims, inputs, states, nodes, one update per state, outputs
//! Node       = op, dims of its value ([] scalar, [K] vector, up to three), span, name
//! Op         = Input | State (before the step) | Final (a state after the last token)
//!            | Const | Extent (the size of a dimension) | Index (0, 1, .. along one) | Table
//!            | Unary f a | Binary f a b (broadcast by dimension name) | Select c a b
//!            | Reduce f a dim | Dot a b dim (contract one dimension) | Outer a b
//!            | Reshape a dims | Concat a b | Slice a | Push window x | TopK a | Matrix f a
//! ```
//!
//! Broadcasting is by name: in `Binary` one operand's dimensions are a subset of the other's, so a
//! vector `[V]` times a matrix `[K, V]` scales its columns and a vector `[K]` its rows.
//! A node may only use nodes before it. The new value of state `i` is node `updates[i]`.
//!
//! **Orders.** Each state passes over the tokens of a sequence in its own [`Order`], so "before the
//! step" and "after the step" mean its neighbours in that order. Nodes may join states of several
//! orders, and read a state after the last token, as long as no state needs itself that way:
//! [`super::sweeps`] says in which passes over the sequence everything can be computed.

use super::Order;
use crate::diagnostic::Span;
use crate::dtype::Dtype;
pub use crate::pointwise::{Binary, Interval, Unary};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A recurrence in step form.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrence {
    /// Name of the program.
    pub name: String,
    /// Documentation lines, without their marker.
    pub doc: Vec<String>,
    /// Named dimensions; a dimension of fixed size has it here.
    pub dims: Vec<Dim>,
    /// Inputs in order of declaration.
    pub inputs: Vec<Input>,
    /// States in order of declaration.
    pub states: Vec<State>,
    /// Everything computed in one step, in evaluation order.
    pub nodes: Vec<Node>,
    /// For each state the node that is its value after the step.
    pub updates: Vec<NodeId>,
    /// Outputs in order of declaration.
    pub outputs: Vec<Output>,
    /// Constant arrays that nodes name.
    pub tables: Vec<Table>,
    /// Whether the program says that its updates need not be affine in its states.
    pub sequential: bool,
}

/// The largest number of dimensions of a value.
pub const MAX_RANK: usize = 3;

/// Index of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimId(pub usize);

/// Index of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputId(pub usize);

/// Index of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub usize);

/// Index of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Index of a constant array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub usize);

/// A named dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dim {
    /// Name, unique in the program.
    pub name: String,
    /// Size, if the program fixes it by a number.
    pub size: Option<usize>,
    /// Size, if the program computes it from dimensions before this one.
    pub formula: Option<Formula>,
}

/// The size of a dimension in terms of others, as in `dim F = 1 + K + K * K`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formula {
    /// A number.
    Number(usize),
    /// The size of a dimension declared earlier.
    Dim(DimId),
    /// A sum.
    Add(Box<Formula>, Box<Formula>),
    /// A difference.
    Sub(Box<Formula>, Box<Formula>),
    /// A product.
    Mul(Box<Formula>, Box<Formula>),
    /// A quotient; it must come out even.
    Div(Box<Formula>, Box<Formula>),
}

/// A constant array.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its dimensions.
    pub dims: Vec<DimId>,
    /// Its elements in row-major order.
    pub values: Arc<[f64]>,
}

/// Which heads share one row of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each head has its own.
    Head,
    /// The heads of a group share one.
    Group,
}

/// How often an input changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Every token has its own.
    Token,
    /// One for the whole model (`param`).
    Model,
}

/// An input of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name, unique among inputs, states and outputs.
    pub name: String,
    /// Dimensions: none, one or two.
    pub dims: Vec<DimId>,
    /// Heads that share it.
    pub sharing: Sharing,
    /// Per token or per model.
    pub rate: Rate,
    /// Its own element type; else vectors take the build's and scalars f32.
    pub dtype: Option<Dtype>,
    /// Values that the caller promises.
    pub range: Interval,
    /// Documentation lines.
    pub doc: Vec<String>,
    /// Place of the declaration.
    pub span: Span,
}

/// A state that the recurrence carries.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Name without the prime.
    pub name: String,
    /// Dimensions: rows (keys) and columns (values), or fewer, or three.
    pub dims: Vec<DimId>,
    /// Value before the first token when the caller gives none.
    pub init: Init,
    /// Values that the caller promises for a state that is passed in.
    pub range: Option<Interval>,
    /// In which order it passes over the tokens.
    pub order: Order,
    /// Documentation lines.
    pub doc: Vec<String>,
    /// Place of the declaration.
    pub span: Span,
}

/// What a state starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// This number in every element.
    Value(f64),
    /// 1 where both indices are the same, else 0; both dimensions of the state have one size.
    Identity,
    /// A per-model input of the state's dimensions: a learned initial state.
    Input(InputId),
}

/// An output of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Name.
    pub name: String,
    /// The node that is its value.
    pub node: NodeId,
    /// Its own element type; else as for inputs.
    pub dtype: Option<Dtype>,
    /// Documentation lines.
    pub doc: Vec<String>,
    /// Place of the declaration.
    pub span: Span,
}

/// One computed value.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// How it is computed.
    pub op: Op,
    /// Dimensions of the value.
    pub dims: Vec<DimId>,
    /// Place in the source.
    pub span: Span,
    /// Name given by `let`, for printing.
    pub name: Option<String>,
}

/// Reductions over one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sum of the elements.
    Sum,
    /// The largest element.
    Max,
}

/// Functions of square matrices that are known when a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixFunction {
    /// The exponential.
    Exp,
    /// The inverse.
    Inverse,
}

/// How a node is computed from earlier ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// An input at this token.
    Input(InputId),
    /// A state before the step.
    State(StateId),
    /// A state after the last token of the sequence in the state's order.
    Final(StateId),
    /// A number.
    Const(f64),
    /// The size of a dimension, as a number.
    Extent(DimId),
    /// The vector 0, 1, 2, .. along a dimension.
    Index(DimId),
    /// A constant array.
    Table(TableId),
    /// A pointwise function.
    Unary(Unary, NodeId),
    /// A pointwise function with broadcasting by name.
    Binary(Binary, NodeId, NodeId),
    /// `a` where the condition is not 0, else `b`; broadcasting by name.
    Select(NodeId, NodeId, NodeId),
    /// A reduction over one dimension of the operand.
    Reduce(Reduction, NodeId, DimId),
    /// The sum over one dimension that both operands have; the left operand's other dimensions, then
    /// those that only the right one has, are the result's. A product for each index of a dimension
    /// that both keep.
    Dot(NodeId, NodeId, DimId),
    /// The product of two values without a common dimension.
    Outer(NodeId, NodeId),
    /// The same elements in row-major order under other dimensions, of as many elements.
    Reshape(NodeId, [Option<DimId>; MAX_RANK]),
    /// The elements of two values one after the other along one dimension of each, which becomes the
    /// last one named; its size is the sum of theirs.
    Concat(NodeId, NodeId, [DimId; 2], DimId),
    /// Elements of a value along the first dimension named, as many as the second one's size, which
    /// takes its place; the number counts runs of that size, from 0.
    Slice(NodeId, DimId, DimId, usize),
    /// A window `[W, ..]` without its first entry, and the second operand `[..]` after the others.
    Push(NodeId, NodeId),
    /// 1 where fewer than so many elements along the dimension are larger, or as large and before
    /// it, else 0.
    TopK(NodeId, DimId, usize),
    /// A function of a square matrix that does not depend on any input.
    Matrix(MatrixFunction, NodeId),
}

impl Op {
    /// The nodes that it uses.
    pub fn operands(&self) -> Vec<NodeId> {
        match *self {
            Op::Input(_)
            | Op::State(_)
            | Op::Final(_)
            | Op::Const(_)
            | Op::Extent(_)
            | Op::Index(_)
            | Op::Table(_) => vec![],
            Op::Unary(_, a)
            | Op::Reduce(_, a, _)
            | Op::Reshape(a, _)
            | Op::Slice(a, ..)
            | Op::TopK(a, ..)
            | Op::Matrix(_, a) => vec![a],
            Op::Binary(_, a, b)
            | Op::Dot(a, b, _)
            | Op::Outer(a, b)
            | Op::Concat(a, b, ..)
            | Op::Push(a, b) => vec![a, b],
            Op::Select(c, a, b) => vec![c, a, b],
        }
    }

    /// The same operation on other nodes.
    pub fn map_operands(self, mut at: impl FnMut(NodeId) -> NodeId) -> Op {
        match self {
            Op::Input(_)
            | Op::State(_)
            | Op::Final(_)
            | Op::Const(_)
            | Op::Extent(_)
            | Op::Index(_)
            | Op::Table(_) => self,
            Op::Unary(f, a) => Op::Unary(f, at(a)),
            Op::Binary(f, a, b) => Op::Binary(f, at(a), at(b)),
            Op::Select(c, a, b) => Op::Select(at(c), at(a), at(b)),
            Op::Reduce(f, a, d) => Op::Reduce(f, at(a), d),
            Op::Dot(a, b, d) => Op::Dot(at(a), at(b), d),
            Op::Outer(a, b) => Op::Outer(at(a), at(b)),
            Op::Reshape(a, dims) => Op::Reshape(at(a), dims),
            Op::Concat(a, b, from, to) => Op::Concat(at(a), at(b), from, to),
            Op::Slice(a, from, to, run) => Op::Slice(at(a), from, to, run),
            Op::Push(a, b) => Op::Push(at(a), at(b)),
            Op::TopK(a, d, k) => Op::TopK(at(a), d, k),
            Op::Matrix(f, a) => Op::Matrix(f, at(a)),
        }
    }
}

impl Formula {
    /// The size, given those of the dimensions that it names; none if it is not a whole number from 1.
    pub fn eval(&self, size: &dyn Fn(DimId) -> Option<usize>) -> Option<usize> {
        let pair = |a: &Formula, b: &Formula| Some((a.eval(size)?, b.eval(size)?));
        match self {
            Formula::Number(n) => Some(*n),
            Formula::Dim(dim) => size(*dim),
            Formula::Add(a, b) => pair(a, b).and_then(|(a, b)| a.checked_add(b)),
            Formula::Sub(a, b) => pair(a, b).and_then(|(a, b)| a.checked_sub(b)),
            Formula::Mul(a, b) => pair(a, b).and_then(|(a, b)| a.checked_mul(b)),
            Formula::Div(a, b) => {
                pair(a, b).and_then(|(a, b)| (b > 0 && a % b == 0).then(|| a / b))
            }
        }
    }
}

impl Recurrence {
    /// The node of an index.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The size of a dimension, given those that the program leaves open by name; none if it is not
    /// known or its formula has no whole number from 1 as value.
    pub fn size(&self, dim: DimId, given: &BTreeMap<String, usize>) -> Option<usize> {
        let Dim { name, size, formula } = self.dims.get(dim.0)?;
        match formula {
            // A formula names dimensions before its own only, so this ends.
            Some(formula) => {
                formula.eval(&|d| self.size(d, given).filter(|_| d < dim)).filter(|n| *n > 0)
            }
            None => size.or_else(|| given.get(name).copied()),
        }
    }

    /// Whether the program leaves the size of a dimension to the build.
    pub fn is_open(&self, dim: DimId) -> bool {
        let Dim { size, formula, .. } = &self.dims[dim.0];
        size.is_none() && formula.is_none()
    }

    /// The element type of an input under a build's vector type.
    pub fn input_dtype(&self, input: &Input, vector: Dtype) -> Dtype {
        input.dtype.unwrap_or(if input.dims.is_empty() { Dtype::F32 } else { vector })
    }

    /// The element type of an output under a build's vector type.
    pub fn output_dtype(&self, output: &Output, vector: Dtype) -> Dtype {
        let scalar = self.node(output.node).dims.is_empty();
        output.dtype.unwrap_or(if scalar { Dtype::F32 } else { vector })
    }
}
