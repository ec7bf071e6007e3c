//! Code and how to call it: what a backend makes and what a launcher reads.

use crate::dtype::Dtype;
use crate::kernel::Order;
use crate::staged::{Runs, StateLink};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the manifest's layout; a launcher refuses others.
pub const MANIFEST_VERSION: u32 = 2;

/// Everything that a launcher must know about the kernels of one program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// Version of the compiler.
    pub compiler: String,
    /// Name of the program.
    pub program: String,
    /// Documentation lines of the program.
    pub doc: Vec<String>,
    /// Sizes bound at build time.
    pub dims: BTreeMap<String, usize>,
    /// The arrays of the caller, and those that pass from stage to stage.
    pub arrays: Vec<ArrayInfo>,
    /// What runs, one after another on one stream.
    pub stages: Vec<StageInfo>,
}

/// One array of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrayInfo {
    /// Name, unique among the arrays; initial and final states share one.
    pub name: String,
    /// Who makes it.
    pub role: ArrayRole,
    /// What its outer axes are.
    pub per: Per,
    /// Element type in memory.
    pub dtype: Dtype,
    /// Its inner axes.
    pub dims: Vec<usize>,
    /// Whether the heads of a group share one row.
    pub by_group: bool,
    /// Documentation lines.
    pub doc: Vec<String>,
}

/// Who makes an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrayRole {
    /// The caller.
    Input,
    /// The program, for the caller.
    Output,
    /// The caller may give the value before the first token; the program makes the one after the last.
    State,
    /// A stage, for later ones; the launcher owns the memory.
    Between,
}

/// The outer axes of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// `[tokens, heads or groups, dims..]`
    Token,
    /// `[heads or groups, dims..]`
    Model,
    /// `[sequences, heads, dims..]`
    Sequence,
}

/// One pass over the tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageInfo {
    /// Name of the stage.
    pub name: String,
    /// Over what its kernels run.
    pub runs: Runs,
    /// What it computes, in a few words.
    pub class: String,
    /// Where its states come from and go to. Its other params are arrays of their own names.
    pub states: Vec<StateInfo>,
    /// Kernels that compute the same function; a launcher takes the first that allows the shape.
    pub variants: Vec<Variant>,
}

/// A state of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateInfo {
    /// Name of its params.
    pub name: String,
    /// Where the value before the first token comes from, and where the one after the last is kept.
    #[serde(flatten)]
    pub link: StateLink,
}

/// One kernel and how to launch it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Entry point.
    pub entry: String,
    /// `scan`, `elements`, `step` or `loop`.
    pub schedule: String,
    /// Target name.
    pub target: String,
    /// File with PTX, beside the manifest.
    pub ptx: Option<String>,
    /// File with machine code, beside the manifest.
    pub cubin: Option<String>,
    /// Tokens per iteration.
    pub chunk: usize,
    /// In which order the tokens of a sequence are visited, as in `reverse` or `columns 16`; a
    /// launcher must see that every sequence is whole rows of such a grid.
    #[serde(default)]
    pub order: Order,
    /// Largest number of tokens of a sequence for which the variant is meant; none: any.
    pub max_tokens: Option<usize>,
    /// Threads of a block.
    pub threads: usize,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: usize,
    /// The grid is `[sequences * heads, grid_y, 1]`.
    pub grid_y: usize,
    /// Parameters of the entry point in order. Each is a pointer; a token param is followed by its
    /// token stride and its head stride (i64, in elements). After all params come the pointer to
    /// `cu_seqlens` (i64, sequences + 1 entries), `heads` (i32) and `groups` (i32).
    pub params: Vec<ParamInfo>,
    /// Registers a thread, as reported by ptxas.
    pub registers: Option<usize>,
    /// Bytes spilled to local memory, as reported by ptxas.
    pub spill_bytes: Option<usize>,
}

/// One parameter of an entry point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamInfo {
    /// Name of the input, output or state.
    pub name: String,
    /// What it holds.
    pub kind: ParamRole,
    /// Element type in memory.
    pub dtype: Dtype,
    /// Dimensions of one token, model entry or state.
    pub dims: Vec<usize>,
    /// Whether the heads of a group share one row.
    pub by_group: bool,
    /// Pointers and strides in bytes must be multiples of this.
    pub align: usize,
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamRole {
    /// `[tokens, heads or groups, dims..]`, read.
    TokenIn,
    /// `[heads or groups, dims..]`, read.
    ModelIn,
    /// `[tokens, heads or groups, dims..]`, written.
    TokenOut,
    /// `[sequences, heads, dims..]`, read; null for the declared initial value.
    StateIn,
    /// `[sequences, heads, dims..]`, written; null if not wanted.
    StateOut,
}
