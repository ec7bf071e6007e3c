//! Kernels as ordinary CPU code, through LLVM: the code that verifies, and the code to embed.
//!
//! Every tile is a plain buffer, every statement a loop nest over its destination, in the kernel's
//! order and without threads. The backend decides nothing. What it ignores because it is about
//! GPUs: places and layouts of tiles, barriers, the bands of products into columns, and the unit of
//! a product.
//!
//! ```text
//! entry.rs      the function: loops over sequences, heads, parts, chunks
//! order.rs      statements of several roles as one list
//! build.rs      thin wrappers over the LLVM builder: numbers, loops, conditions
//! workspace.rs  where tiles lie
//! convert.rs    elements of 16 bits
//! memory.rs     loads, stores, fills, copies
//! pointwise.rs  expressions
//! product.rs    matrix products and inverses
//! decay.rs      scores and mixes with a decay per column
//! scan.rs       reductions and running sums
//! nest.rs       loop nests and tables
//! walk.rs       walks over tokens
//! object.rs     LLVM's pipeline, object files
//! jit.rs        the same code in this process
//! ```
//!
//! The function of a kernel named `NAME` is, in C,
//!
//! ```text
//! void NAME(T *param [, int64_t token_stride, int64_t head_stride], ...,
//!           const int64_t *cu_seqlens, int64_t sequences, int32_t heads, int32_t groups,
//!           void *workspace);
//! ```
//!
//! with the strides, in elements, after token params only. `workspace` has [`WORKSPACE_ALIGN`] and
//! the size that [`ObjectFile`] tells; [`crate::package::header`] writes the declaration.
#![allow(unsafe_code, reason = "LLVM is foreign code, and so is what it makes")]

mod build;
mod convert;
mod decay;
mod entry;
mod jit;
mod memory;
mod nest;
mod object;
mod order;
mod pointwise;
mod product;
mod scan;
mod walk;
mod workspace;

pub use jit::{Jit, jit};
pub use object::{ObjectFile, llvm_version, object};
pub use workspace::WORKSPACE_ALIGN;

/// The arithmetic of intermediate values, accumulators included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single: what a user embeds.
    F32,
    /// Double: what verifies the derivation.
    F64,
}

/// How to spell a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Arithmetic of intermediate values.
    pub precision: Precision,
    /// Whether tiles round to their dtype when written, as on a GPU.
    pub round_tiles: bool,
}

impl Options {
    /// Tiles keep what the arithmetic gives.
    pub fn exact(precision: Precision) -> Self {
        Self { precision, round_tiles: false }
    }
}
