//! The kernel form: tiles, memory, roles and the loop over chunks.

mod check;
mod def;
mod eval;
mod hazard;
mod nest;
mod print;
mod stmt;
#[cfg(test)]
mod tests;

pub use check::{Checked, check};
pub use def::*;
pub use eval::{Rounding, eval};
pub use hazard::Hazards;
pub use nest::{Access, Nest};
pub use stmt::*;
