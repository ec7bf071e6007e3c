//! From the module in several dialects to PTX text, by MLIR's own passes.

use melior::Context;
use melior::ir::attribute::AttributeLike;
use melior::ir::operation::OperationLike;
use melior::ir::{Attribute, BlockLike, Module};
use melior::pass::PassManager;
use melior::utility::{parse_pass_pipeline, register_all_passes};
use mlir_sys::{mlirArrayAttrGetElement, mlirGPUObjectAttrGetObject};

/// Structured loops to branches, everything to `llvm`, then PTX by LLVM.
const PIPELINE: &str = "builtin.module(convert-scf-to-cf,convert-arith-to-llvm,\
                        convert-cf-to-llvm,reconcile-unrealized-casts,\
                        gpu-module-to-binary{format=isa})";

/// PTX of a module with one `gpu.module`, which it consumes.
pub(super) fn to_ptx<'c>(context: &'c Context, module: &mut Module<'c>) -> String {
    register_all_passes();
    let manager = PassManager::new(context);
    parse_pass_pipeline(manager.as_operation_pass_manager(), PIPELINE).expect("a pipeline");
    manager.run(module).expect("a module that the emitter made lowers");
    let binary = module.body().first_operation().expect("the binary of the gpu module");
    let objects = binary.attribute("objects").expect("a binary has objects");
    text_of(&objects)
}

/// The text of the first object of an array of `gpu.object`.
#[expect(unsafe_code, reason = "melior has no binding for the attribute of an object")]
fn text_of(objects: &Attribute<'_>) -> String {
    // SAFETY: `gpu.binary` verifies that `objects` is a non-empty array of object attributes. The
    // text is owned by the context, which outlives the attribute, and is copied here.
    let bytes = unsafe {
        let object = mlirArrayAttrGetElement(objects.to_raw(), 0);
        let text = mlirGPUObjectAttrGetObject(object);
        std::slice::from_raw_parts(text.data.cast::<u8>(), text.length)
    };
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    String::from_utf8(text.to_vec()).expect("PTX is ASCII")
}
