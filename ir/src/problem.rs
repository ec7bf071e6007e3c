//! One concrete problem: extents, sequences, heads, and the arrays that go in and come out.

use std::collections::BTreeMap;

/// Sizes of everything that a program leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Size of each named dimension.
    pub extents: BTreeMap<String, usize>,
    /// Heads of the values and states.
    pub heads: usize,
    /// Groups of heads; inputs declared `by group` have one row per group. Divides `heads`.
    pub groups: usize,
    /// Token offsets of the sequences: `cu_seqlens[i] .. cu_seqlens[i + 1]` are the tokens of sequence `i`.
    pub cu_seqlens: Vec<usize>,
}

impl Problem {
    /// `batch` sequences of `tokens` tokens each.
    pub fn dense(extents: &[(&str, usize)], batch: usize, tokens: usize, heads: usize) -> Self {
        Self {
            extents: extents.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect(),
            heads,
            groups: heads,
            cu_seqlens: (0..=batch).map(|i| i * tokens).collect(),
        }
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.cu_seqlens.len() - 1
    }

    /// Tokens of all sequences together.
    pub fn tokens(&self) -> usize {
        self.cu_seqlens[self.sequences()]
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.cu_seqlens.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0)
    }

    /// The group that a head belongs to.
    pub fn group_of(&self, head: usize) -> usize {
        head / (self.heads / self.groups)
    }
}

/// A dense row-major array of doubles.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<f64>,
}

impl Array {
    /// An array of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] }
    }

    /// The elements `[index * inner, (index + 1) * inner)`, where `inner` is the size of what is left
    /// after the first `depth` extents.
    pub fn row(&self, index: usize, depth: usize) -> &[f64] {
        let inner: usize = self.shape[depth..].iter().product();
        &self.data[index * inner..(index + 1) * inner]
    }
}

/// Arrays by name.
///
/// Per-token inputs and outputs are `[tokens, heads or groups, dims..]`, per-model inputs are
/// `[heads or groups, dims..]`, states (initial in, final out, both under the state's own name) are
/// `[sequences, heads, dims..]`.
pub type Arrays = BTreeMap<String, Array>;
