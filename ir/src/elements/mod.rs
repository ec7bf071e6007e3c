//! Elementwise form: states whose elements do not mix, as scans of an associative operation.

mod check;
mod def;
mod eval;
mod print;

pub use check::check;
pub use def::{Elements, Group, Law, Row};
pub use eval::eval;
