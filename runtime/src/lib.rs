//! What runs built programs: loads an artifact, moves buffers, launches; compiles nothing.
//!
//! ```text
//! npz      arrays in and out of files
//! device   the GPU and its driver, opened at run time
//! program  an artifact on a device: choice of the variant, launches
//! buffers  arrays in device memory as the arguments of an entry point
//! timing   how long a launch takes
//! suite    many programs with inputs and expected outputs: `sluice-run`
//! check    runs a suite
//! ```
#![cfg_attr(feature = "cuda", allow(unsafe_code, reason = "launches call foreign code"))]

#[cfg(feature = "cuda")]
mod buffers;
#[cfg(feature = "cuda")]
mod check;
#[cfg(feature = "cuda")]
mod device;
pub mod npz;
#[cfg(feature = "cuda")]
mod program;
pub mod suite;
#[cfg(feature = "cuda")]
mod timing;

#[cfg(feature = "cuda")]
pub use device::Device;
#[cfg(feature = "cuda")]
pub use program::Program;
