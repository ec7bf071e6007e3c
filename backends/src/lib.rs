//! Kernels become code: one module for each kind of machine, and one for what wraps the code.
//!
//! Backends read the kernel form and decide nothing.

#[cfg(feature = "nvptx")]
pub mod nvptx;
pub mod package;
#[cfg(feature = "scalar")]
pub mod scalar;
