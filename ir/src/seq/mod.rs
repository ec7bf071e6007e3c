//! The sequence form: whole sequences as array algebra, before and after chunking.

mod mask;

pub use mask::Mask;
