//! The forms of a program and what each means: the hub that every other crate uses.
//!
//! Text becomes [`step`] (one time step), then [`staged`] (recurrences of one sweep each), then
//! [`seq`] (whole sequences as array algebra, before and after chunking) or [`elements`] (scans of single
//! elements), then [`kernel`] (tiles,
//! memory, roles), then [`artifact`] (code and how to call it). Each form has a definition, a checker, a printer and an evaluator; this crate
//! transforms nothing and does no input or output.

pub mod accuracy;
pub mod artifact;
pub mod binding;
pub mod diagnostic;
pub mod dtype;
pub mod elements;
pub mod kernel;
pub mod pairs;
pub mod pointwise;
pub mod problem;
pub mod seq;
pub mod staged;
pub mod step;
pub mod target;
