//! Thin wrappers over the LLVM builder: integers, numbers, loops and conditions.

use super::Precision;
use inkwell::IntPredicate;
use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicTypeEnum, FloatType, IntType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValueEnum, FloatValue, FunctionValue, IntValue, PointerValue,
};
use inkwell::{AddressSpace, FloatPredicate};

/// A 64-bit index.
pub(super) type Int<'c> = IntValue<'c>;
/// A truth value.
pub(super) type Bool<'c> = IntValue<'c>;
/// A number in the arithmetic of the function.
pub(super) type Real<'c> = FloatValue<'c>;
/// An address.
pub(super) type Ptr<'c> = PointerValue<'c>;

/// The builder is positioned and operands have fitting types, so LLVM refuses nothing.
pub(super) const BUILDS: &str = "well-typed instructions build";

/// Writes one function.
pub(super) struct Build<'c> {
    pub(super) context: &'c Context,
    pub(super) module: Module<'c>,
    pub(super) raw: Builder<'c>,
    pub(super) function: FunctionValue<'c>,
    /// Type of intermediate values.
    pub(super) real: FloatType<'c>,
    /// Type of indices.
    pub(super) index: IntType<'c>,
}

impl<'c> Build<'c> {
    /// Starts a function without a result.
    pub(super) fn new(
        context: &'c Context,
        name: &str,
        precision: Precision,
        params: &[BasicTypeEnum<'c>],
    ) -> Self {
        let module = context.create_module(name);
        let raw = context.create_builder();
        let params: Vec<_> = params.iter().map(|p| (*p).into()).collect();
        let function = module.add_function(name, context.void_type().fn_type(&params, false), None);
        raw.position_at_end(context.append_basic_block(function, "entry"));
        let real = match precision {
            Precision::F32 => context.f32_type(),
            Precision::F64 => context.f64_type(),
        };
        Self { context, module, raw, function, real, index: context.i64_type() }
    }

    /// Type of pointers.
    pub(super) fn pointer(&self) -> BasicTypeEnum<'c> {
        self.context.ptr_type(AddressSpace::default()).into()
    }

    pub(super) fn int(&self, value: usize) -> Int<'c> {
        self.index.const_int(value as u64, false)
    }

    pub(super) fn number(&self, value: f64) -> Real<'c> {
        self.real.const_float(value)
    }

    pub(super) fn add(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        self.raw.build_int_nsw_add(a, b, "").expect(BUILDS)
    }

    pub(super) fn sub(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        self.raw.build_int_nsw_sub(a, b, "").expect(BUILDS)
    }

    pub(super) fn mul(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        self.raw.build_int_nsw_mul(a, b, "").expect(BUILDS)
    }

    /// Quotient of numbers that are not negative.
    pub(super) fn div(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        self.raw.build_int_unsigned_div(a, b, "").expect(BUILDS)
    }

    /// Remainder of numbers that are not negative.
    pub(super) fn rem(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        self.raw.build_int_unsigned_rem(a, b, "").expect(BUILDS)
    }

    /// `outer * extent + inner`
    pub(super) fn offset(&self, outer: Int<'c>, extent: usize, inner: Int<'c>) -> Int<'c> {
        self.add(self.mul(outer, self.int(extent)), inner)
    }

    pub(super) fn compare(&self, p: IntPredicate, a: Int<'c>, b: Int<'c>) -> Bool<'c> {
        self.raw.build_int_compare(p, a, b, "").expect(BUILDS)
    }

    pub(super) fn less(&self, a: Int<'c>, b: Int<'c>) -> Bool<'c> {
        self.compare(IntPredicate::SLT, a, b)
    }

    pub(super) fn both(&self, a: Bool<'c>, b: Bool<'c>) -> Bool<'c> {
        self.raw.build_and(a, b, "").expect(BUILDS)
    }

    pub(super) fn fadd(&self, a: Real<'c>, b: Real<'c>) -> Real<'c> {
        self.raw.build_float_add(a, b, "").expect(BUILDS)
    }

    pub(super) fn fsub(&self, a: Real<'c>, b: Real<'c>) -> Real<'c> {
        self.raw.build_float_sub(a, b, "").expect(BUILDS)
    }

    pub(super) fn fmul(&self, a: Real<'c>, b: Real<'c>) -> Real<'c> {
        self.raw.build_float_mul(a, b, "").expect(BUILDS)
    }

    pub(super) fn fdiv(&self, a: Real<'c>, b: Real<'c>) -> Real<'c> {
        self.raw.build_float_div(a, b, "").expect(BUILDS)
    }

    pub(super) fn fneg(&self, a: Real<'c>) -> Real<'c> {
        self.raw.build_float_neg(a, "").expect(BUILDS)
    }

    pub(super) fn fcompare(&self, p: FloatPredicate, a: Real<'c>, b: Real<'c>) -> Bool<'c> {
        self.raw.build_float_compare(p, a, b, "").expect(BUILDS)
    }

    pub(super) fn choose(&self, c: Bool<'c>, yes: Real<'c>, no: Real<'c>) -> Real<'c> {
        self.raw.build_select(c, yes, no, "").expect(BUILDS).into_float_value()
    }

    pub(super) fn choose_int(&self, c: Bool<'c>, yes: Int<'c>, no: Int<'c>) -> Int<'c> {
        self.raw.build_select(c, yes, no, "").expect(BUILDS).into_int_value()
    }

    /// 1 or 0.
    pub(super) fn truth(&self, c: Bool<'c>) -> Real<'c> {
        self.raw.build_unsigned_int_to_float(c, self.real, "").expect(BUILDS)
    }

    /// An LLVM intrinsic on numbers, such as `llvm.exp`; becomes a call of the C library.
    pub(super) fn intrinsic(&self, name: &str, args: &[Real<'c>]) -> Real<'c> {
        let intrinsic = Intrinsic::find(name).expect("LLVM knows the intrinsic");
        let function = intrinsic
            .get_declaration(&self.module, &[self.real.into()])
            .expect("the intrinsic is defined for floats");
        self.call(function, args)
    }

    /// A function of one number in the C library that LLVM has no intrinsic for; `name` is that of
    /// the function on doubles.
    pub(super) fn library(&self, name: &str, arg: Real<'c>) -> Real<'c> {
        let single = self.real == self.context.f32_type();
        let name = if single { format!("{name}f") } else { name.to_owned() };
        let function = self.module.get_function(&name).unwrap_or_else(|| {
            let signature = self.real.fn_type(&[self.real.into()], false);
            self.module.add_function(&name, signature, None)
        });
        self.call(function, &[arg])
    }

    fn call(&self, function: FunctionValue<'c>, args: &[Real<'c>]) -> Real<'c> {
        let args: Vec<BasicMetadataValueEnum<'c>> = args.iter().map(|a| (*a).into()).collect();
        let call = self.raw.build_call(function, &args, "").expect(BUILDS);
        call.try_as_basic_value().basic().expect("the function has a result").into_float_value()
    }

    pub(super) fn load(&self, ty: impl Into<BasicTypeEnum<'c>>, at: Ptr<'c>) -> BasicValueEnum<'c> {
        self.raw.build_load(ty.into(), at, "").expect(BUILDS)
    }

    /// The address of element `index` of an array of `ty`.
    pub(super) fn element(
        &self,
        ty: impl Into<BasicTypeEnum<'c>>,
        base: Ptr<'c>,
        index: Int<'c>,
    ) -> Ptr<'c> {
        // SAFETY: every index emitted is below the extents that the caller of the emitted function
        // vouches for; nothing is dereferenced here.
        unsafe { self.raw.build_in_bounds_gep(ty.into(), base, &[index], "") }.expect(BUILDS)
    }

    fn here(&self) -> BasicBlock<'c> {
        self.raw.get_insert_block().expect("the builder is positioned")
    }

    fn go_to(&self, block: BasicBlock<'c>) {
        self.raw.build_unconditional_branch(block).expect(BUILDS);
    }

    /// Runs `body` for each index from `from` up to and without `to`.
    pub(super) fn range(&self, from: Int<'c>, to: Int<'c>, body: impl FnOnce(Int<'c>)) {
        let block = |name| self.context.append_basic_block(self.function, name);
        let (head, inside, after) = (block("head"), block("body"), block("after"));
        let before = self.here();
        self.go_to(head);
        self.raw.position_at_end(head);
        let phi = self.raw.build_phi(self.index, "").expect(BUILDS);
        let index = phi.as_basic_value().into_int_value();
        let again = self.less(index, to);
        self.raw.build_conditional_branch(again, inside, after).expect(BUILDS);
        self.raw.position_at_end(inside);
        body(index);
        let next = self.add(index, self.int(1));
        phi.add_incoming(&[(&from, before), (&next, self.here())]);
        self.go_to(head);
        self.raw.position_at_end(after);
    }

    /// Runs `body` `count` times.
    pub(super) fn times(&self, count: usize, body: impl FnOnce(Int<'c>)) {
        if count == 1 {
            body(self.int(0));
        } else {
            self.range(self.int(0), self.int(count), body);
        }
    }

    /// Runs `body` for each index of an array of three dimensions, in row-major order.
    pub(super) fn each(&self, shape: [usize; 3], body: impl FnOnce([Int<'c>; 3])) {
        self.times(shape[0], |i| {
            self.times(shape[1], |j| self.times(shape[2], |k| body([i, j, k])));
        });
    }

    /// Runs `body` if the condition holds.
    pub(super) fn when(&self, condition: Bool<'c>, body: impl FnOnce()) {
        let block = |name| self.context.append_basic_block(self.function, name);
        let (then, after) = (block("then"), block("after"));
        self.raw.build_conditional_branch(condition, then, after).expect(BUILDS);
        self.raw.position_at_end(then);
        body();
        self.go_to(after);
        self.raw.position_at_end(after);
    }

    /// A variable that starts as `value`; LLVM turns it into a register.
    pub(super) fn variable(&self, value: Real<'c>) -> Variable<'c, '_> {
        let entry = self.function.get_first_basic_block().expect("the function has begun");
        let at_start = self.context.create_builder();
        match entry.get_first_instruction() {
            Some(first) => at_start.position_before(&first),
            None => at_start.position_at_end(entry),
        }
        let variable =
            Variable { build: self, at: at_start.build_alloca(self.real, "").expect(BUILDS) };
        variable.set(value);
        variable
    }

    /// The value of `body` where the condition holds, else 0; `body` runs only there.
    pub(super) fn where_holds(
        &self,
        condition: Bool<'c>,
        body: impl FnOnce() -> Real<'c>,
    ) -> Real<'c> {
        let result = self.variable(self.number(0.0));
        self.when(condition, || result.set(body()));
        result.get()
    }

    /// Ends the function.
    pub(super) fn finish(&self) {
        self.raw.build_return(None).expect(BUILDS);
    }
}

/// A variable of the emitted function.
pub(super) struct Variable<'c, 'b> {
    build: &'b Build<'c>,
    at: Ptr<'c>,
}

impl<'c> Variable<'c, '_> {
    pub(super) fn get(&self) -> Real<'c> {
        self.build.load(self.build.real, self.at).into_float_value()
    }

    pub(super) fn set(&self, value: Real<'c>) {
        self.build.raw.build_store(self.at, value).expect(BUILDS);
    }

    /// Adds to the variable.
    pub(super) fn add(&self, value: Real<'c>) {
        self.set(self.build.fadd(self.get(), value));
    }
}
