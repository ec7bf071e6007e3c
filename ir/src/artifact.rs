//! Code and how to call it: what a backend makes and what a launcher reads.

use crate::dtype::Dtype;
use crate::kernel::Order;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the manifest's layout; a launcher refuses others.
pub const MANIFEST_VERSION: u32 = 1;

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
    /// Kernels that compute the same function; a launcher takes the first that allows the shape.
    pub variants: Vec<Variant>,
}

/// One kernel and how to launch it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Entry point.
    pub entry: String,
    /// `scan` or `step`.
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
