//! Code and how to call it: what a backend makes and what a launcher reads.

use crate::dtype::Dtype;
use crate::kernel::Order;
use crate::problem::Problem;
use crate::staged::{Runs, StateLink};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the manifest's layout; a launcher refuses others.
pub const MANIFEST_VERSION: u32 = 4;

/// What a launcher is asked for to run segments wherever a stage has them.
pub const SEGMENTS: &str = "segments";

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
    /// `[segments, heads, dims..]`
    Segment,
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
    /// What runs instead where sequences and heads are too few for the processors.
    #[serde(default)]
    pub segments: Option<Segmented>,
}

/// How a stage runs on segments of its sequences side by side: stages that compute the same function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segmented {
    /// Tokens of a segment are a multiple of this.
    pub multiple: usize,
    /// Blocks of the grid that a segment takes for each head.
    pub blocks: usize,
    /// How often each token of a segment is passed over: for summaries, for transitions, and for outputs.
    pub passes: usize,
    /// How many tokens one after another take as long as the launches of what joins the segments.
    pub overhead: usize,
    /// How many tokens one after another take as long as joining one segment to the next.
    pub joining: usize,
    /// What runs, one after another, with segments of `multiple` tokens; a launcher puts the number that
    /// [`Segmented::tokens`] finds in their `runs`.
    pub stages: Vec<StageInfo>,
}

impl Segmented {
    /// Tokens of the segments that are fastest on so many `processors`: as short as lets segments of all
    /// sequences, heads and blocks run at once, but longer where joining them would take longer, and never
    /// longer than the longest sequence.
    pub fn tokens(&self, problem: &Problem, processors: usize) -> usize {
        let blocks = |tokens: usize| {
            let segments = Runs::Segments(tokens).problem(problem).sequences();
            segments * problem.heads * self.blocks
        };
        let longest = problem.longest().div_ceil(self.multiple).max(1);
        // Longer segments are never more.
        let (mut least, mut most) = (1, longest);
        while least < most {
            let middle = usize::midpoint(least, most);
            if blocks(middle * self.multiple) <= processors {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        let lengths = (least..=longest).map(|count| count * self.multiple);
        lengths.min_by_key(|tokens| self.cost(*tokens, problem)).unwrap_or(self.multiple)
    }

    /// What segments of so many tokens cost, in tokens one after another.
    fn cost(&self, tokens: usize, problem: &Problem) -> usize {
        let joined = problem.longest().div_ceil(tokens);
        self.passes * tokens + self.overhead + self.joining * joined
    }

    /// The same, if segments are faster than whole sequences, of which so many parts run side by side.
    pub fn chosen(&self, problem: &Problem, processors: usize, parts: usize) -> Option<usize> {
        let tokens = self.tokens(problem, processors);
        let whole = if parts > self.blocks { problem.longest() / 4 * 3 } else { problem.longest() };
        (self.cost(tokens, problem) < whole).then_some(tokens)
    }
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

/// One kernel and how to launch it, and what must run before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Entry point.
    pub entry: String,
    /// `scan`, `elements`, `step` or `loop`; `prepare` for a kernel that runs before another.
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
    /// Largest number of sequences times heads for which the variant is meant; none: any.
    #[serde(default)]
    pub max_instances: Option<usize>,
    /// Threads of a block.
    pub threads: usize,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: usize,
    /// The grid is `[sequences * heads, grid_y, z]`; `z` is 1, unless chunks are independent.
    pub grid_y: usize,
    /// Whether blocks along the grid's z axis share out the chunks of a sequence: any number of them does,
    /// and one a chunk is best.
    #[serde(default)]
    pub chunks_apart: bool,
    /// Parameters of the entry point in order. Each is a pointer; a token param is followed by its
    /// token stride and its head stride (i64, in elements). After all params come the pointer to
    /// `cu_seqlens` (i64, sequences + 1 entries; for `chunk` 1 it may be null, and then every sequence has
    /// one token), `heads` (i32) and `groups` (i32).
    pub params: Vec<ParamInfo>,
    /// Registers a thread, as reported by ptxas.
    pub registers: Option<usize>,
    /// Bytes spilled to local memory, as reported by ptxas.
    pub spill_bytes: Option<usize>,
    /// What runs before it. Its token outputs are token inputs of this kernel, in memory of the launcher's;
    /// none of them is among the program's arrays.
    #[serde(default)]
    pub prepare: Option<Box<Variant>>,
}

impl Manifest {
    /// The variants of all stages, those on segments among them.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        let cut = self.stages.iter().filter_map(|stage| stage.segments.as_ref());
        let stages = self.stages.iter().chain(cut.flat_map(|cut| &cut.stages));
        stages.flat_map(|stage| &stage.variants)
    }
}

impl Variant {
    /// Whether what runs before it makes an array.
    pub fn prepares(&self, name: &str) -> bool {
        let made = |p: &ParamInfo| p.kind == ParamRole::TokenOut && p.name == name;
        self.prepare.as_ref().is_some_and(|before| before.params.iter().any(made))
    }

    /// Blocks along the grid's z axis, where the longest sequence has so many tokens.
    pub fn grid_z(&self, longest: usize) -> usize {
        /// The most that a grid has.
        const MOST: usize = 65_535;
        match self.chunks_apart {
            true => longest.div_ceil(self.chunk).clamp(1, MOST),
            false => 1,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(blocks: usize) -> Segmented {
        let stages = vec![];
        Segmented { multiple: 64, blocks, passes: 2, overhead: 512, joining: 0, stages }
    }

    fn problem(cu_seqlens: &[usize], heads: usize) -> Problem {
        Problem { cu_seqlens: cu_seqlens.to_vec(), ..Problem::dense(&[], 0, 0, heads) }
    }

    #[test]
    fn segments_are_the_shortest_that_all_run_at_once() {
        let long = problem(&[0, 16384], 4);
        assert_eq!(cut(1).tokens(&long, 132), 512);
        // 4 heads, 2 blocks and 16 segments; with 17 there would be 136 blocks.
        assert_eq!(cut(2).tokens(&long, 132), 1024);
        assert_eq!(cut(1).tokens(&long, 1 << 20), 64);
        assert_eq!(cut(1).tokens(&long, 3), 16384);
        // 1, 0, 25 and 1 segments; with 64 tokens the long sequence alone would have 50.
        let ragged = problem(&[0, 100, 100, 3300, 3364], 1);
        assert_eq!(cut(1).tokens(&ragged, 32), 128);
        let pieces = Runs::Segments(128).problem(&ragged);
        assert!(pieces.sequences() <= 32 && pieces.longest() == 128);
        assert_eq!(pieces.cu_seqlens[..4], [0, 100, 228, 356]);
        assert_eq!(pieces.tokens(), 3364);
        assert_eq!(Runs::Joints(128).problem(&ragged).cu_seqlens, [0, 1, 1, 26, 27]);
        assert_eq!(cut(1).tokens(&problem(&[0, 0], 1), 132), 64);
    }

    #[test]
    fn segments_are_longer_where_they_take_long_to_join() {
        let slow = Segmented { passes: 3, joining: 16, ..cut(1) };
        let tokens = |heads| slow.tokens(&problem(&[0, 16384], heads), 132);
        // 33 segments a head at most: 32 of 512 tokens.
        assert_eq!(tokens(4), 512);
        // Of 64, 128, .. tokens 256 are least, the first of two: 3 * 256 and 16 * 64.
        assert_eq!((tokens(1), slow.cost(256, &problem(&[0, 16384], 1))), (256, 512 + 768 + 1024));
        assert_eq!(slow.chosen(&problem(&[0, 640], 4), 132, 1), None);
    }

    #[test]
    fn whole_sequences_stay_whole_where_segments_would_not_be_faster() {
        let chosen = |tokens: usize, heads| cut(1).chosen(&problem(&[0, tokens], heads), 132, 1);
        assert_eq!(chosen(16384, 4), Some(512));
        assert_eq!(chosen(1024, 4), Some(64));
        assert_eq!(chosen(640, 4), None);
        assert_eq!(chosen(1 << 20, 128), None);
        // Halves are as long as the whole, one after the other.
        assert_eq!(chosen(16384, 64), None);
        assert_eq!(chosen(16384, 44), Some(5504));
        // Unless finer parts of whole sequences run side by side.
        let shorter = problem(&[0, 6000], 44);
        assert_eq!([1, 2].map(|parts| cut(1).chosen(&shorter, 132, parts)), [Some(2048), None]);
        assert_eq!(cut(1).chosen(&problem(&[0, 16384], 4), 132, 2), Some(512));
    }
}
