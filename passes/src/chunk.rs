//! Token level to chunk level: saturate, extract, and check what came out.

use crate::cost::Model;
use crate::extract::{Extracted, extract};
use crate::rules::{Law, Sizes, laws};
use crate::saturate::{Saturation, saturate};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::seq::{Builder, Root, RootKind, Seq, Term};
use sluice_ir::target::Target;

/// How to chunk a term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkOptions {
    /// Tokens of a chunk, at least 2.
    pub chunk: usize,
    /// Tokens of a sub-block, for vector decays; used if it divides the chunk and is smaller.
    pub sub_block: Option<usize>,
    /// Whether scores with a vector decay stay whole: kernels then scale their operands to steps in
    /// between, and only mixes are cut into sub-blocks.
    pub whole_scores: bool,
    /// Nominal number of tokens of a sequence, for the cost model only.
    pub tokens: usize,
    /// Sequences times heads, for the cost model only.
    pub instances: usize,
    /// Rates, multiprocessors and the largest exponent.
    pub target: Target,
}

impl ChunkOptions {
    fn sizes(&self) -> Sizes {
        let cuts =
            |block: &usize| *block > 1 && *block < self.chunk && self.chunk.is_multiple_of(*block);
        Sizes { chunk: self.chunk, sub_block: self.sub_block.filter(cuts) }
    }

    /// The laws that chunking with these options may use.
    pub fn laws(&self) -> Vec<Law> {
        let mut laws = laws(self.sizes());
        laws.retain(|law| !(self.whole_scores && law.family == "score-subblock"));
        laws
    }

    fn model(&self) -> Model {
        Model { target: self.target, tokens: self.tokens, instances: self.instances }
    }
}

/// A chunked term and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunked {
    /// The chosen term; every output is an `unblk` of a chunk level array.
    pub term: Term,
    /// Its cost in nanoseconds.
    pub cost: f64,
    /// Sizes of the saturated graph.
    pub saturation: Saturation,
    /// Loops over chunks.
    pub chunk_loops: usize,
    /// What it was chunked with.
    pub options: ChunkOptions,
}

/// Chunks a lifted term.
///
/// # Errors
/// [`Code::BadBinding`] for a chunk below 2 tokens; [`Code::UnsafeExponent`] or
/// [`Code::Unsupported`] if the laws reach no safe chunked form.
pub fn chunk(term: &Term, options: &ChunkOptions) -> Result<Chunked, Vec<Diagnostic>> {
    chunk_with(term, options, &options.laws())
}

/// Chunks a lifted term by these laws only.
///
/// # Errors
/// As for [`chunk`].
pub fn chunk_with(
    term: &Term,
    options: &ChunkOptions,
    laws: &[Law],
) -> Result<Chunked, Vec<Diagnostic>> {
    if options.chunk < 2 {
        let message = format!("a chunk of {} tokens cannot be", options.chunk);
        return Err(vec![
            Diagnostic::new(Code::BadBinding, message).with_help("take 16, 32 or 64 tokens"),
        ]);
    }
    let blocked = with_blocked_outputs(term, options.chunk);
    let saturated = saturate(&blocked, laws, false);
    let extracted = extract(&saturated, &blocked, &options.model());
    if extracted.cost.is_infinite() {
        return Err(vec![
            Diagnostic::new(
                Code::UnsafeExponent,
                "every chunked form has an exponent that may be positive",
            )
            .with_help("declare log decays with a range that ends at 0, as in `in (-inf, 0]`"),
        ]);
    }
    let Extracted { term, cost } = extracted;
    if term.token_loops() > 0 {
        return Err(vec![
            Diagnostic::new(
                Code::Unsupported,
                "no law puts every state of this recurrence in chunks",
            )
            .with_help("write the update as decays, reads and outer products of one state"),
        ]);
    }
    let chunk_loops = term.loops().len();
    Ok(Chunked { term, cost, saturation: saturated.saturation, chunk_loops, options: *options })
}

/// The term with every output cut in chunks and joined again, so that the laws work at chunk level
/// up to the outputs themselves.
pub(crate) fn with_blocked_outputs(term: &Term, chunk: usize) -> Term {
    let mut builder = Builder::new(term.leaves().clone());
    for node in term.nodes() {
        builder.add(node.clone());
    }
    let root = |root: &Root, builder: &mut Builder| {
        let id = match root.kind {
            RootKind::State => root.id,
            RootKind::Output => {
                let count = builder.count(chunk);
                let blocked = builder.add(Seq::Blk([count, root.id]));
                builder.add(Seq::Unblk([count, blocked]))
            }
        };
        Root { id, ..root.clone() }
    };
    let roots = term.roots().iter().map(|r| root(r, &mut builder)).collect();
    builder.finish(roots)
}
