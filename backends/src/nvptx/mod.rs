//! Kernels to PTX for NVIDIA GPUs, through MLIR; and PTX to machine code, through ptxas.
//!
//! The backend spells: tiles, order, fusion and barriers are the scheduler's. One kernel becomes
//! one `llvm.func` with `nvvm.kernel` in a `gpu.module`; tiles in columns are SSA values, written
//! out; everything else is a loop over threads.

mod builder;
mod control;
mod copy;
mod emitter;
mod entry;
mod fragment;
mod index;
mod inverse;
mod layout;
mod load;
mod lower;
mod memory;
mod nest;
mod pointwise;
mod product;
mod ptxas;
mod scalar;
mod scan;
mod score;
mod score_steps;
mod store;
mod table;
mod types;
mod walk;
mod warpgroup;

pub use ptxas::{Assembled, assemble};

use melior::Context;
use melior::dialect::DialectRegistry;
use melior::utility::{register_all_dialects, register_all_llvm_translations};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Checked, Kernel};
use sluice_ir::target::Target;
use std::time::{Duration, Instant};

/// Code for the driver's own compiler.
#[derive(Clone, Debug)]
pub struct Image {
    /// PTX text with one entry point.
    pub ptx: String,
    /// How long it took to build the MLIR module.
    pub building: Duration,
    /// How long MLIR and LLVM took to make PTX of it.
    pub lowering: Duration,
}

/// PTX of a kernel for a target.
///
/// # Errors
/// If a parameter or a tile is f64, which is for evaluators only.
pub fn compile(kernel: &Checked, target: &Target) -> Result<Image, Diagnostic> {
    let kernel: &Kernel = kernel;
    refuse_doubles(kernel)?;
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    let context = Context::new();
    context.append_dialect_registry(&registry);
    context.load_all_available_dialects();
    register_all_llvm_translations(&context);
    let start = Instant::now();
    let mut module = entry::build(&context, kernel, target);
    let building = start.elapsed();
    let start = Instant::now();
    let ptx = lower::to_ptx(&context, &mut module);
    Ok(Image { ptx, building, lowering: start.elapsed() })
}

fn refuse_doubles(kernel: &Kernel) -> Result<(), Diagnostic> {
    let params = kernel.params.iter().map(|p| (&p.name, p.dtype));
    let tiles = kernel.tiles.iter().map(|t| (&t.name, t.dtype));
    match params.chain(tiles).find(|(_, dtype)| *dtype == Dtype::F64) {
        None => Ok(()),
        Some((name, _)) => Err(Diagnostic::new(
            Code::DtypeMismatch,
            format!("`{name}` is f64, which GPU kernels do not compute in"),
        )
        .with_help("bind f32, bf16 or f16")),
    }
}

/// Bytes of dynamic shared memory that the launcher must give: the kernel's own, and what the
/// spelling of its statements needs besides.
pub fn shared_bytes(kernel: &Kernel) -> usize {
    mbarrier_offset(kernel) + 8 * kernel.mbarriers.iter().map(|m| m.stages).sum::<usize>()
}

/// Where the backend's own scratch memory begins.
fn scratch_offset(kernel: &Kernel) -> usize {
    kernel.shared_bytes.next_multiple_of(16)
}

/// Where the barriers in shared memory begin.
fn mbarrier_offset(kernel: &Kernel) -> usize {
    scratch_offset(kernel) + scalar::scratch_bytes(kernel).next_multiple_of(8)
}
