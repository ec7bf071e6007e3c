//! One form becomes the next: lift, saturate, extract, schedule.
//!
//! ```text
//! Recurrence --stages--> Staged; of each stage:
//! Recurrence --lift--> Term (token level) --chunk--> Term (chunk level) --schedule--> Kernel
//! Recurrence --elements--> Elements --schedule--> Kernel
//! ```
//!
//! [`stages()`] cuts a program into recurrences of one sweep each. [`lift`] writes a step as one history
//! per state. [`chunk`] lets egg apply the laws of [`rules`] and extracts the cheapest equal term;
//! [`explain`] prints the chain of laws between the two. [`elements()`] finds the states that have no
//! chunked form and do not mix their elements.

mod chunk;
mod cost;
mod elements;
mod explain;
mod extract;
mod lift;
pub mod rules;
mod saturate;
pub mod schedule;
mod stages;

pub use chunk::{ChunkOptions, Chunked, chunk, chunk_with};
pub use elements::{elements, explain_elements};
pub use explain::{Derivation, DerivationStep, explain};
pub use lift::lift;
pub use saturate::{Saturation, Stop};
pub use stages::{segments, stages, stages_apart};
