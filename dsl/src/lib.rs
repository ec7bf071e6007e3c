//! What a text means: source text to syntax tree to step form.
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
pub use lower::lower;
pub use parse::parse;
