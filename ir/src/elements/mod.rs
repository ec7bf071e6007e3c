//! Elementwise form: states whose elements do not mix, as scans of an associative operation.

mod def;

pub use def::{Elements, Group, Law, Row};
