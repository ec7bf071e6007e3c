//! The kernel form: tiles, memory, roles and the loop over chunks.

mod check;
mod def;
mod eval;
mod hazard;
mod print;
mod stmt;

pub use check::{Checked, check};
pub use def::*;
pub use eval::{Rounding, eval};
pub use hazard::Hazards;
pub use stmt::*;
