//! The step form: one time step of a recurrence, the definition of the language.

mod check;
mod def;
mod eval;
mod print;

pub use check::{check, result_dims};
pub use def::*;
pub use eval::eval;

#[cfg(test)]
mod tests;
