//! The sequence form: whole sequences as array algebra, before and after chunking.
//!
//! A [`Term`] is a shared graph of [`Seq`] operators on arrays `[blocks, rows, features]` with named
//! roots. "Token level", "chunk level" and "sub-block level" are three views of one axis of time,
//! so the same operators serve all of them. The number of tokens is a symbol.

mod array;
mod dense;
mod eval;
mod lti;
mod mask;
mod mixing;
mod notation;
mod op;
mod print;
mod shape;
mod square;
mod term;

pub use array::Array3;
pub use eval::{Values, eval, run};
pub use mask::Mask;
pub use notation::Style;
pub use op::{Core, Number, Seq, core_of};
pub use shape::{ArrayFacts, Blocks, Facts, Leaves, Shape, facts};
pub use term::{Builder, Leaf, LeafKind, Root, RootKind, Source, Term};
