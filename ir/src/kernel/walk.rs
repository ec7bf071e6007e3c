//! Walks over tokens: states whose elements do not mix, each carried from token to token by itself.

use super::{Access, Expr, Kernel, TileId};
use crate::dtype::Dtype;
use crate::pointwise::Ring;

/// A walk over the tokens of this chunk, for every point by itself: for each token that exists, in
/// order, `states = law(args, states)`, then the results.
///
/// A point has `inner` elements of every state. In expressions `Expr::Arg(i)` is, of `n` states, for
/// `i < n` state `i` before the token, from `n` on state `i - n` after it, and from `2 n` on argument
/// `i - 2 n`. Of tokens that do not exist results hold anything.
///
/// On a GPU `lanes` neighbouring threads share the elements of a point and add up what results sum; with
/// segments, as many threads share the tokens of a point. Neither changes what is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Walk {
    /// Points.
    pub points: usize,
    /// Elements of a state that a point has.
    pub inner: usize,
    /// Elements of the states: one stride for points, one for elements of a point; that of tokens is 0.
    pub states: Vec<Access>,
    /// How states change.
    pub law: Law,
    /// Elements read, with strides for tokens, points and elements of a point.
    pub args: Vec<Access>,
    /// What is written for every token.
    pub results: Vec<WalkResult>,
    /// Threads that share the elements of a point.
    pub lanes: usize,
    /// How the tokens of a point are shared, if they are.
    pub segments: Option<Segments>,
}

/// How the states of a walk change with a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Law {
    /// The new value of each state as a function of the old ones.
    Free(Vec<Expr>),
    /// State `i` becomes the ring's sum of `gates[j] * state j` over all states `j`, and the entry. Gates
    /// and entries read arguments only, so the change over several tokens has the same form: `(A, b)`
    /// and then `(A', b')` is `(A' A, A' b + b')`. What is missing is the ring's zero.
    Linear {
        /// What sums and products are.
        ring: Ring,
        /// One a state.
        rows: Vec<Row>,
    },
}

/// What a state becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Factors of the states.
    pub gates: Vec<Option<Expr>>,
    /// What is added.
    pub entry: Option<Expr>,
}

/// A value written for every token: for each element of a point, or their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct WalkResult {
    /// The elements written; for a sum the stride of elements of a point is 0.
    pub dst: Access,
    /// Whether the values of a point's elements are summed.
    pub sum: bool,
    /// The value.
    pub expr: Expr,
}

/// Consecutive tokens walked by different threads: each summarises its own as `(A, b)`, all exchange
/// their summaries, and each walks from the state that those before it lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Number of segments; it divides the chunk.
    pub count: usize,
    /// Memory for the summaries, a row a segment.
    pub summaries: TileId,
}

impl Walk {
    /// Iterations of the loops that strides are for: tokens, points, elements of a point.
    pub fn loops(&self, kernel: &Kernel) -> [usize; 3] {
        [kernel.chunk, self.points, self.inner]
    }

    /// All elements read, states included.
    pub fn reads(&self) -> impl Iterator<Item = &Access> {
        self.states.iter().chain(&self.args)
    }

    /// All elements written but the summaries.
    pub fn writes(&self) -> impl Iterator<Item = &Access> {
        self.states.iter().chain(self.results.iter().map(|r| &r.dst))
    }

    /// The tile of the summaries, if there are some.
    pub fn summaries(&self) -> Option<TileId> {
        self.segments.map(|s| s.summaries)
    }

    /// Numbers in the summary of one element of a point.
    pub fn summary_size(&self) -> usize {
        let states = self.states.len();
        states * states + states
    }

    /// All expressions, each with the number of arguments that it may read.
    pub fn expressions(&self) -> impl Iterator<Item = (&Expr, usize)> {
        let (states, args) = (self.states.len(), 2 * self.states.len() + self.args.len());
        let law: Vec<(&Expr, usize)> = match &self.law {
            Law::Free(after) => after.iter().map(|e| (e, args)).collect(),
            Law::Linear { rows, .. } => rows
                .iter()
                .flat_map(|row| row.gates.iter().flatten().chain(&row.entry))
                .map(|e| (e, args))
                .collect(),
        };
        debug_assert!(states > 0 || law.is_empty(), "a law is for states");
        law.into_iter().chain(self.results.iter().map(move |r| (&r.expr, args)))
    }

    /// Why the walk is not legal, what expressions read aside.
    pub(super) fn fault(&self, kernel: &Kernel) -> Option<String> {
        let states = self.states.len();
        let loops = self.loops(kernel);
        if states == 0 || loops.contains(&0) {
            return Some(format!("{states} states over {loops:?}"));
        }
        let mut all = self.reads().chain(self.writes());
        if let Some(fault) = all.find_map(|a| a.outside(kernel, &loops)) {
            return Some(fault);
        }
        self.law_fault().or_else(|| self.overlap(&loops)).or_else(|| self.sharing(kernel))
    }

    fn law_fault(&self) -> Option<String> {
        let states = self.states.len();
        let fits = match &self.law {
            Law::Free(after) => {
                after.len() == states && after.iter().all(|e| !reads(e, &(states..2 * states)))
            }
            Law::Linear { rows, .. } => {
                let gates =
                    rows.iter().flat_map(|row| row.gates.iter().flatten().chain(&row.entry));
                rows.len() == states
                    && rows.iter().all(|row| row.gates.len() == states)
                    && gates.into_iter().all(|e| !reads(e, &(0..2 * states)))
            }
        };
        (!fits).then(|| "the law does not fit the states".to_owned())
    }

    /// Whether something is written twice, or read beside its writing.
    fn overlap(&self, loops: &[usize; 3]) -> Option<String> {
        let [_, points, inner] = *loops;
        let distinct = |a: &Access, extents: [usize; 3]| a.is_injective(&extents);
        let states =
            self.states.iter().all(|a| a.strides[0] == 0 && distinct(a, [1, points, inner]));
        let results = self.results.iter().all(|r| {
            let elements = if r.sum { 1 } else { inner };
            (!r.sum || r.dst.strides[2] == 0) && distinct(&r.dst, [loops[0], points, elements])
        });
        if !(states && results) {
            return Some("two points write one element".to_owned());
        }
        let written: Vec<TileId> = self.writes().map(|a| a.tile).chain(self.summaries()).collect();
        let twice = (1..written.len()).any(|i| written[..i].contains(&written[i]));
        let read = self.args.iter().any(|a| written.contains(&a.tile));
        (twice || read).then(|| "a tile is written beside another use".to_owned())
    }

    /// What is wrong with how threads share the work.
    fn sharing(&self, kernel: &Kernel) -> Option<String> {
        let even = self.lanes.is_power_of_two()
            && self.lanes <= 32
            && self.inner.is_multiple_of(self.lanes)
            && (self.lanes == 1 || (self.points * self.lanes).is_multiple_of(32));
        if !even {
            return Some(format!(
                "{} lanes for {} elements of {} points",
                self.lanes, self.inner, self.points
            ));
        }
        let Segments { count, summaries } = self.segments?;
        let tile = kernel.tile(summaries);
        let fits = tile.shared().is_some()
            && tile.dtype == Dtype::F32
            && tile.rows == count
            && tile.cols == self.summary_size() * self.points * self.inner;
        let dealt = kernel.chunk.is_multiple_of(count)
            && self.points * self.lanes * count <= kernel.threads()
            && matches!(self.law, Law::Linear { .. });
        (!(fits && dealt)).then(|| format!("{count} segments in {}", tile.name))
    }
}

/// Whether an expression reads an argument of these numbers.
fn reads(expr: &Expr, numbers: &std::ops::Range<usize>) -> bool {
    match expr {
        Expr::Arg(i) => numbers.contains(i),
        Expr::Const(_) | Expr::Index(_) => false,
        Expr::Unary(_, a) => reads(a, numbers),
        Expr::Binary(_, a, b) => reads(a, numbers) || reads(b, numbers),
        Expr::Select(c, a, b) => [c, a, b].into_iter().any(|e| reads(e, numbers)),
        Expr::Keep { value, .. } | Expr::Live { value, .. } => reads(value, numbers),
    }
}
