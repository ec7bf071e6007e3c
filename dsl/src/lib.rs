//! What a text means: source text to syntax tree to step form. `grammar.pest` is the whole syntax.
//!
//! - A dimension is declared by its first use in an input or a state, by `dim D`, or with a size that is
//!   a number or computed from others: `dim F = 1 + D`. In an expression it is its size.
//! - Operators broadcast by dimension name: one operand has every dimension of the other. `dot(a, b)`
//!   contracts the one dimension that both have, `outer(x, y)` has the dimensions of both;
//!   `spread(x, [A, B])` repeats a value along the dimensions that it lacks.
//! - Statements take effect in order. `S` is a state before the step, `S'` after it; every state and every
//!   output is assigned once, intermediate values are named by `let`.
//! - A state passes over the tokens from the first to the last, `reverse`, or over a grid of tokens
//!   column by column (`columns(W)`). `last(S)` is the state after all tokens. `window B: [W, K] = k`
//!   holds the last values of `k` in `B'`, the current one last.
//! - `fn` defines a function; it sees only its parameters, whose shapes are patterns for the arguments'.
//!   `let y = name(..)` puts a recurrence in place, whose states become `y_S`; of several outputs,
//!   `let (a, b) = name(..)` names the states `a_S`. `reverse name(..)` reverses their orders.
//! - `use name` gives the functions and recurrences of another file; its own declarations hide them.
//! - Complex values are pairs: `x: complex [K]` has the arrays `x_re` and `x_im`.
//! - `l2norm`, `rmsnorm` and `layernorm` add 1e-6 under the root; comparisons give 1 or 0.
//! - What `concat`, `reshape` and `slice` ask of sizes must hold for every size of the open dimensions.
//!
//! ```
//! let text = "recurrence running_sum(x: [V]) -> o: [V] {
//!     state s: [V] = 0
//!     s' = s + x
//!     o = s'
//! }";
//! let ast = sluice_dsl::parse(text).expect("the text follows the grammar");
//! let programs = sluice_dsl::lower(&ast).expect("names and shapes fit");
//! assert_eq!(programs[0].name, "running_sum");
//! ```

pub mod ast;
mod format;
mod lower;
mod parse;
mod suggest;

pub use format::format;
pub use lower::{Library, lower, lower_with};
pub use parse::parse;
