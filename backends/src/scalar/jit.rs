//! Scalar code in this process.

use super::build::BUILDS;
use super::entry::Emitter;
use super::object::{host_machine, llvm_failed, optimize};
use super::{Options, WORKSPACE_ALIGN};
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::execution_engine::ExecutionEngine;
use sluice_ir::artifact::ParamInfo;
use sluice_ir::binding;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::kernel::{Checked, Order};
use sluice_ir::problem::{Arrays, Problem};

/// The function that takes all arguments as an array of 64-bit slots.
type Packed = unsafe extern "C" fn(*const u64);

/// A kernel compiled into this process.
pub struct Jit {
    entry: Packed,
    params: Vec<ParamInfo>,
    order: Order,
    workspace_bytes: usize,
    /// Owns the code behind `entry`, and borrows from `_context`: dropped before it.
    _engine: ExecutionEngine<'static>,
    _context: Box<Context>,
}

/// Compiles a kernel into this process.
///
/// # Errors
///
/// [`sluice_ir::diagnostic::Code::ToolFailed`] if LLVM has no code generator for the host.
pub fn jit(kernel: &Checked, options: Options) -> Result<Jit, Diagnostic> {
    let context = Box::new(Context::create());
    // SAFETY: the box does not move its content, and `Jit` drops what borrows from it first; on an
    // early return locals are dropped in reverse order, the context last.
    let lasting: &'static Context = unsafe { &*std::ptr::from_ref::<Context>(&context) };
    let emitter = Emitter::emit(lasting, kernel, options);
    let name = unpacking_function(&emitter);
    optimize(&emitter.build.module, &host_machine()?)?;
    let engine = emitter
        .build
        .module
        .create_jit_execution_engine(OptimizationLevel::Default)
        .map_err(|e| llvm_failed(&e.to_string()))?;
    let address = engine.get_function_address(&name).map_err(|e| llvm_failed(&e.to_string()))?;
    // SAFETY: the address is that of the function just written, of this very type.
    let entry = unsafe { std::mem::transmute::<usize, Packed>(address) };
    let params = kernel.params.iter().map(ParamInfo::from).collect();
    let (order, workspace_bytes) = (kernel.order, emitter.workspace.bytes);
    Ok(Jit { entry, params, order, workspace_bytes, _engine: engine, _context: context })
}

/// Adds a function that reads the arguments from 64-bit slots and calls the kernel's: Rust cannot
/// call a function whose number of arguments is known only at run time.
fn unpacking_function(emitter: &Emitter<'_, '_>) -> String {
    let b = &emitter.build;
    let name = format!("{}_from_slots", emitter.kernel.name);
    let signature = b.context.void_type().fn_type(&[b.pointer().into()], false);
    let function = b.module.add_function(&name, signature, None);
    b.raw.position_at_end(b.context.append_basic_block(function, "entry"));
    let slots = function.get_first_param().expect("one parameter").into_pointer_value();
    let types = b.function.get_type().get_param_types();
    let mut args = Vec::with_capacity(types.len());
    for (i, ty) in types.into_iter().enumerate() {
        let ty = inkwell::types::BasicTypeEnum::try_from(ty).expect("a pointer or an integer");
        let slot = b.element(b.index, slots, b.int(i));
        // A 32-bit integer is the low half of its slot on the little endian machines that exist.
        args.push(b.load(ty, slot).into());
    }
    b.raw.build_call(b.function, &args, "").expect(BUILDS);
    b.raw.build_return(None).expect(BUILDS);
    name
}

impl Jit {
    /// Runs the kernel on a problem; returns its outputs and final states by name. Inputs are
    /// rounded to the dtypes of their params. The shapes are the kernel's: extents of 1 are left out.
    ///
    /// # Errors
    ///
    /// Those of [`binding::check_launch`] and [`ParamInfo::input`].
    pub fn run(&self, problem: &Problem, arrays: &Arrays) -> Result<Arrays, Diagnostic> {
        binding::check_launch(problem, self.order)?;
        let mut buffers = Vec::with_capacity(self.params.len());
        for param in &self.params {
            buffers.push(if param.is_output() {
                Some(Aligned::from_bytes(&param.poison(problem)))
            } else {
                param.input(problem, arrays)?.map(|bytes| Aligned::from_bytes(&bytes))
            });
        }
        self.call(problem, &mut buffers);
        let outputs = self.params.iter().zip(&buffers).filter(|(p, _)| p.is_output());
        Ok(outputs
            .map(|(param, buffer)| {
                let buffer = buffer.as_ref().expect("outputs have a buffer");
                let bytes = &buffer.bytes()[..param.bytes(problem)];
                (param.name.clone(), param.output(problem, bytes))
            })
            .collect())
    }

    fn call(&self, problem: &Problem, buffers: &mut [Option<Aligned>]) {
        let mut slots: Vec<u64> = Vec::new();
        for (param, buffer) in self.params.iter().zip(buffers) {
            slots.push(buffer.as_mut().map_or(0, |b| b.address()));
            slots.extend(param.strides(problem).into_iter().flatten().map(i64::cast_unsigned));
        }
        let offsets: Vec<u64> = problem.cu_seqlens.iter().map(|n| *n as u64).collect();
        let mut workspace = Aligned::new(self.workspace_bytes);
        slots.push(offsets.as_ptr().expose_provenance() as u64);
        slots.push(problem.sequences() as u64);
        slots.extend([problem.heads as u64, problem.groups as u64]);
        slots.push(workspace.address());
        // SAFETY: the slots are the arguments in the order of the function's signature; every buffer
        // has the extents that the strides, offsets and heads describe and outlives the call.
        unsafe { (self.entry)(slots.as_ptr()) }
    }
}

/// Memory aligned as the workspace is.
struct Aligned {
    lines: Vec<Line>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; WORKSPACE_ALIGN]);

impl Aligned {
    fn new(bytes: usize) -> Self {
        Self { lines: vec![Line([0xff; WORKSPACE_ALIGN]); bytes.div_ceil(WORKSPACE_ALIGN).max(1)] }
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut aligned = Self::new(bytes.len());
        for (line, piece) in aligned.lines.iter_mut().zip(bytes.chunks(WORKSPACE_ALIGN)) {
            line.0[..piece.len()].copy_from_slice(piece);
        }
        aligned
    }

    fn bytes(&self) -> &[u8] {
        let (start, count) = (self.lines.as_ptr().cast::<u8>(), self.lines.len());
        // SAFETY: lines are arrays of bytes without padding, one after the other.
        unsafe { std::slice::from_raw_parts(start, count * WORKSPACE_ALIGN) }
    }

    fn address(&mut self) -> u64 {
        self.lines.as_mut_ptr().expose_provenance() as u64
    }
}
