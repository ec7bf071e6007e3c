//! Types and comparisons of the `llvm` dialect that the emitter uses.

use melior::Context;
use melior::ir::r#type::IntegerType;
use melior::ir::{Type, Value};

/// A value of the function under construction.
pub(super) type Val<'c> = Value<'c, 'c>;

/// The types in use.
#[derive(Clone, Copy)]
pub(super) struct Types<'c> {
    pub(super) i1: Type<'c>,
    pub(super) i32: Type<'c>,
    pub(super) i64: Type<'c>,
    pub(super) f32: Type<'c>,
    /// Pointer to shared memory.
    pub(super) shared: Type<'c>,
}

impl<'c> Types<'c> {
    pub(super) fn new(context: &'c Context) -> Self {
        Self {
            i1: IntegerType::new(context, 1).into(),
            i32: IntegerType::new(context, 32).into(),
            i64: IntegerType::new(context, 64).into(),
            f32: Type::float32(context),
            shared: Type::parse(context, "!llvm.ptr<3>").expect("a pointer type"),
        }
    }
}

/// Integer comparisons, with their numbers in the `llvm` dialect.
#[derive(Clone, Copy)]
pub(super) enum Compare {
    Eq = 0,
    Ne = 1,
    Lt = 2,
    Le = 3,
}

/// Ordered comparisons of floats, with their numbers in the `llvm` dialect.
#[derive(Clone, Copy)]
pub(super) enum CompareFloat {
    Eq = 1,
    Gt = 2,
    Lt = 4,
    Le = 5,
    /// Unordered or different: true of a NaN.
    Ne = 13,
}
