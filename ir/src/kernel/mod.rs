//! The kernel form: tiles, memory, roles and the loop over chunks.

mod check;
mod def;
mod eval;
mod handover;
mod hazard;
mod nest;
mod print;
mod rename;
mod stmt;
#[cfg(test)]
mod tests;
mod walk;

pub use check::{Checked, check};
pub use def::*;
pub use eval::{Rounding, eval};
pub use hazard::Hazards;
pub use nest::{Access, Nest};
pub use stmt::*;
pub use walk::{Law, Row, Segments, Walk, WalkResult};
