//! The staged form: a program as recurrences of one sweep each that run one after another.

mod check;
mod def;
mod eval;
mod print;

pub use check::check;
pub use def::*;

#[cfg(test)]
mod tests;
