//! The step form: one time step of a recurrence, the definition of the language.

mod check;
mod compute;
mod def;
mod eval;
mod fold;
mod matrix;
mod order;
mod print;
mod ranges;
mod sweep;

pub use check::{check, result_dims};
pub use def::*;
pub use eval::eval;
pub use fold::fold;
pub use order::Order;
pub use ranges::ranges;
pub use sweep::{Reads, Sweep, Sweeps, Tangle, reads, sweeps};

#[cfg(test)]
mod arrangement_tests;
#[cfg(test)]
mod tests;
