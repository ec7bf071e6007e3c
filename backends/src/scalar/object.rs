//! LLVM's pipeline, and object files for the host.

use super::Options;
use super::entry::Emitter;
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine,
};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::kernel::Checked;

/// An object file with one function. It needs the C library's mathematics (`-lm`).
#[derive(Clone, Debug)]
pub struct ObjectFile {
    /// The file.
    pub bytes: Vec<u8>,
    /// Name of the function.
    pub symbol: String,
    /// Bytes of workspace that a call needs, aligned to [`super::WORKSPACE_ALIGN`].
    pub workspace_bytes: usize,
}

/// Compiles a kernel for the host's family of processors (its baseline, not this very machine) as
/// position independent code.
///
/// # Errors
///
/// [`Code::ToolFailed`] if LLVM has no code generator for the host.
pub fn object(kernel: &Checked, options: Options) -> Result<ObjectFile, Diagnostic> {
    let context = Context::create();
    let emitter = Emitter::emit(&context, kernel, options);
    let machine = host_machine()?;
    optimize(&emitter.build.module, &machine)?;
    let buffer = machine
        .write_to_memory_buffer(&emitter.build.module, FileType::Object)
        .map_err(|e| llvm_failed(&e.to_string()))?;
    Ok(ObjectFile {
        bytes: buffer.as_slice().to_vec(),
        symbol: kernel.name.clone(),
        workspace_bytes: emitter.workspace.bytes,
    })
}

/// A code generator for the baseline of the host's family.
pub(super) fn host_machine() -> Result<TargetMachine, Diagnostic> {
    Target::initialize_native(&InitializationConfig::default()).map_err(|e| llvm_failed(&e))?;
    let triple = TargetMachine::get_default_triple();
    let target = Target::from_triple(&triple).map_err(|e| llvm_failed(&e.to_string()))?;
    let cpu = if cfg!(target_arch = "x86_64") { "x86-64" } else { "generic" };
    target
        .create_target_machine(
            &triple,
            cpu,
            "",
            OptimizationLevel::Default,
            RelocMode::PIC,
            CodeModel::Default,
        )
        .ok_or_else(|| llvm_failed("no code generator for this processor"))
}

/// Runs LLVM's `-O2`.
pub(super) fn optimize(module: &Module<'_>, machine: &TargetMachine) -> Result<(), Diagnostic> {
    debug_assert_eq!(
        module.verify().map_err(|e| e.to_string()),
        Ok(()),
        "the module is well formed"
    );
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    module
        .run_passes("default<O2>", machine, PassBuilderOptions::create())
        .map_err(|e| llvm_failed(&e.to_string()))
}

pub(super) fn llvm_failed(reason: &str) -> Diagnostic {
    Diagnostic::new(Code::ToolFailed, format!("LLVM cannot make code for this machine: {reason}"))
        .with_help("`sluice doctor` shows which LLVM is in use")
}

/// The version of LLVM in this build, as in `22.1.8`.
pub fn llvm_version() -> String {
    let (major, minor, patch) = inkwell::support::get_llvm_version();
    format!("{major}.{minor}.{patch}")
}
