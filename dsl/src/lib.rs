//! What a text means: source text to syntax tree to step form. `grammar.pest` is the whole syntax.
//!
//! - A dimension is declared by its first use in an input or a state, or with its size by `dim F = 16`; in
//!   an expression it is its size.
//! - Operators broadcast by dimension name: one operand has every dimension of the other. `dot(a, b)`
//!   contracts the one dimension that both have, `outer(x, y)` multiplies two vectors into a matrix.
//! - Statements take effect in order. `S` is a state before the step, `S'` after it; every state and every
//!   output is assigned once, intermediate values are named by `let`.
//! - `fn` defines a function; it sees only its parameters, whose shapes are patterns for the arguments'.
//! - `l2norm`, `rmsnorm` and `layernorm` add 1e-6 under the root; comparisons give 1 or 0.
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
