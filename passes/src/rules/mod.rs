//! The laws: equations between sequence terms, as data; `README.md` says how to write one.

mod dense;
mod feedback;
mod history;
mod law;
mod layout;
mod mask;
mod mix;
mod mixing;
mod pointwise;
mod product;
mod score;

pub use law::{Content, Extent, Guard, Law, Rounding, Variable};

/// Sizes that laws are instantiated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Tokens of a chunk.
    pub chunk: usize,
    /// Tokens of a sub-block, if chunks are cut again; divides the chunk.
    pub sub_block: Option<usize>,
}

impl Sizes {
    /// The numbers of steps that a gate of a chunk level term can have: tokens of a chunk, tokens
    /// of a sub-block, sub-blocks of a chunk.
    fn grains(self) -> Vec<usize> {
        let mut grains = vec![self.chunk];
        if let Some(block) = self.sub_block {
            grains.extend([block, self.chunk / block]);
        }
        grains.sort_unstable();
        grains.dedup();
        grains
    }
}

/// Every law for these sizes, with unique names, in a fixed order.
pub fn laws(sizes: Sizes) -> Vec<Law> {
    [
        history::laws(sizes),
        dense::laws(sizes),
        mixing::laws(sizes),
        feedback::laws(sizes),
        score::laws(sizes),
        mix::laws(sizes),
        mask::laws(sizes),
        layout::laws(sizes),
        pointwise::laws(sizes),
        product::laws(sizes),
    ]
    .concat()
}
