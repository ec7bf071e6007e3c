//! What a recurrence is: one time step as typed nodes in evaluation order.
//!
//! ```text
//! Recurrence = dims, inputs, states, nodes, one update per state, outputs
//! Node       = op, dims of its value ([] scalar, [K] vector, [K, V] matrix), span, name
//! Op         = Input | State (before the step) | Const | Extent (the size of a dimension)
//!            | Unary f a | Binary f a b (broadcast by dimension name) | Select c a b
//!            | Reduce f a dim | Dot a b dim (contract one dimension) | Outer a b
//! ```
//!
//! Broadcasting is by name: in `Binary` one operand's dimensions are a subset of the other's, so a
//! vector `[V]` times a matrix `[K, V]` scales its columns and a vector `[K]` its rows.
//! A node may only use nodes before it. The new value of state `i` is node `updates[i]`.

use crate::diagnostic::Span;
use crate::dtype::Dtype;
pub use crate::pointwise::{Binary, Interval, Unary};

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
}

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

/// A named dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dim {
    /// Name, unique in the program.
    pub name: String,
    /// Size, if the program fixes it.
    pub size: Option<usize>,
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
    /// Place of the declaration.
    pub span: Span,
}

/// A state that the recurrence carries.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Name without the prime.
    pub name: String,
    /// Dimensions: rows (keys) and columns (values), or one.
    pub dims: Vec<DimId>,
    /// Value of every element before the first token when the caller gives none.
    pub init: f64,
    /// Place of the declaration.
    pub span: Span,
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

/// How a node is computed from earlier ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// An input at this token.
    Input(InputId),
    /// A state before the step.
    State(StateId),
    /// A number.
    Const(f64),
    /// The size of a dimension, as a number.
    Extent(DimId),
    /// A pointwise function.
    Unary(Unary, NodeId),
    /// A pointwise function with broadcasting by name.
    Binary(Binary, NodeId, NodeId),
    /// `a` where the condition is not 0, else `b`; broadcasting by name.
    Select(NodeId, NodeId, NodeId),
    /// A reduction over one dimension of the operand.
    Reduce(Reduction, NodeId, DimId),
    /// The sum over one dimension that both operands have; the other dimensions, first the left
    /// operand's, are the result's.
    Dot(NodeId, NodeId, DimId),
    /// The product of two vectors with different dimensions: a matrix.
    Outer(NodeId, NodeId),
}

impl Op {
    /// The nodes that it uses.
    pub fn operands(&self) -> Vec<NodeId> {
        match *self {
            Op::Input(_) | Op::State(_) | Op::Const(_) | Op::Extent(_) => vec![],
            Op::Unary(_, a) | Op::Reduce(_, a, _) => vec![a],
            Op::Binary(_, a, b) | Op::Dot(a, b, _) | Op::Outer(a, b) => vec![a, b],
            Op::Select(c, a, b) => vec![c, a, b],
        }
    }
}

impl Recurrence {
    /// The node of an index.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
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
