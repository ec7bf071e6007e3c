//! Elements in memory: 16-bit types are converted with integer operations, so that the code needs
//! neither instructions nor library functions for them.

use super::build::{BUILDS, Bool, Build, Ptr, Real};
use super::entry::Emitter;
use inkwell::IntPredicate;
use inkwell::types::{BasicTypeEnum, IntType};
use inkwell::values::{FloatValue, IntValue};
use sluice_ir::dtype::Dtype;

/// Integer operations on the bits of a single.
struct Bits<'c, 'b> {
    build: &'b Build<'c>,
    ty: IntType<'c>,
}

impl<'c> Bits<'c, '_> {
    fn constant(&self, value: u32) -> IntValue<'c> {
        self.ty.const_int(u64::from(value), false)
    }

    fn and(&self, a: IntValue<'c>, b: u32) -> IntValue<'c> {
        self.build.raw.build_and(a, self.constant(b), "").expect(BUILDS)
    }

    fn or(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.build.raw.build_or(a, b, "").expect(BUILDS)
    }

    /// Wrapping sum.
    fn add(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.build.raw.build_int_add(a, b, "").expect(BUILDS)
    }

    fn left(&self, a: IntValue<'c>, by: u32) -> IntValue<'c> {
        self.build.raw.build_left_shift(a, self.constant(by), "").expect(BUILDS)
    }

    fn right(&self, a: IntValue<'c>, by: u32) -> IntValue<'c> {
        self.build.raw.build_right_shift(a, self.constant(by), false, "").expect(BUILDS)
    }

    fn compare(&self, p: IntPredicate, a: IntValue<'c>, b: u32) -> Bool<'c> {
        self.build.compare(p, a, self.constant(b))
    }

    fn choose(&self, c: Bool<'c>, yes: IntValue<'c>, no: IntValue<'c>) -> IntValue<'c> {
        self.build.choose_int(c, yes, no)
    }

    fn of(&self, x: FloatValue<'c>) -> IntValue<'c> {
        self.build.raw.build_bit_cast(x, self.ty, "").expect(BUILDS).into_int_value()
    }

    fn single(&self, bits: IntValue<'c>) -> FloatValue<'c> {
        let ty = self.build.context.f32_type();
        self.build.raw.build_bit_cast(bits, ty, "").expect(BUILDS).into_float_value()
    }

    fn widen_bf16(&self, bits: IntValue<'c>) -> FloatValue<'c> {
        self.single(self.left(bits, 16))
    }

    fn narrow_bf16(&self, x: FloatValue<'c>) -> IntValue<'c> {
        let bits = self.of(x);
        let odd = self.and(self.right(bits, 16), 1);
        let nearest = self.right(self.add(self.add(bits, self.constant(0x7fff)), odd), 16);
        let magnitude = self.and(bits, 0x7fff_ffff);
        let nan = self.compare(IntPredicate::UGT, magnitude, 0x7f80_0000);
        self.choose(nan, self.constant(0x7fc0), nearest)
    }

    fn widen_f16(&self, bits: IntValue<'c>) -> FloatValue<'c> {
        // The exponent is moved to a single's by an exact product, which also makes denormals normal.
        let magnitude = self.left(self.and(bits, 0x7fff), 13);
        let rebias = self.build.context.f32_type().const_float(2f64.powi(112));
        let product = self.build.raw.build_float_mul(self.single(magnitude), rebias, "");
        let scaled = self.of(product.expect(BUILDS));
        let special = self.compare(IntPredicate::UGE, magnitude, 0x7c00 << 13);
        let value = self.choose(special, self.or(magnitude, self.constant(0x7f80_0000)), scaled);
        self.single(self.or(value, self.left(self.and(bits, 0x8000), 16)))
    }

    fn narrow_f16(&self, x: FloatValue<'c>) -> IntValue<'c> {
        let bits = self.of(x);
        let sign = self.and(self.right(bits, 16), 0x8000);
        let magnitude = self.and(bits, 0x7fff_ffff);
        // Denormal results: adding 1/2 lets the hardware round at the last place of a half.
        let half = self.build.context.f32_type().const_float(0.5);
        let shifted = self.build.raw.build_float_add(self.single(magnitude), half, "");
        let small =
            self.add(self.of(shifted.expect(BUILDS)), self.constant(0u32.wrapping_sub(126 << 23)));
        // Normal results: change the bias of the exponent and round the last 13 bits to even.
        let odd = self.and(self.right(magnitude, 13), 1);
        let rebias = self.constant((0u32.wrapping_sub(112 << 23)).wrapping_add(0xfff));
        let normal = self.right(self.add(self.add(magnitude, rebias), odd), 13);
        let is_small = self.compare(IntPredicate::ULT, magnitude, 113 << 23);
        let finite = self.choose(is_small, small, normal);
        let nan = self.compare(IntPredicate::UGT, magnitude, 0x7f80_0000);
        let special = self.choose(nan, self.constant(0x7e00), self.constant(0x7c00));
        // From 2^16 on, and for NaN; what rounds up to 2^16 is infinite by the carry.
        let is_large = self.compare(IntPredicate::UGE, magnitude, 143 << 23);
        self.or(sign, self.choose(is_large, special, finite))
    }
}

impl<'c> Emitter<'c, '_> {
    fn bits(&self) -> Bits<'c, '_> {
        Bits { build: &self.build, ty: self.build.context.i32_type() }
    }

    fn cast(&self, x: FloatValue<'c>, ty: inkwell::types::FloatType<'c>) -> FloatValue<'c> {
        if x.get_type() == ty {
            return x;
        }
        self.build.raw.build_float_cast(x, ty, "").expect(BUILDS)
    }

    /// The 16 bits of a number, as the low half of 32; doubles pass through singles.
    fn pack(&self, dtype: Dtype, value: Real<'c>) -> IntValue<'c> {
        let single = self.cast(value, self.build.context.f32_type());
        match dtype {
            Dtype::F16 => self.bits().narrow_f16(single),
            _ => self.bits().narrow_bf16(single),
        }
    }

    fn unpack(&self, dtype: Dtype, bits: IntValue<'c>) -> Real<'c> {
        let single = match dtype {
            Dtype::F16 => self.bits().widen_f16(bits),
            _ => self.bits().widen_bf16(bits),
        };
        self.cast(single, self.build.real)
    }

    /// The nearest value of a type.
    pub(super) fn round(&self, dtype: Dtype, value: Real<'c>) -> Real<'c> {
        match dtype {
            Dtype::F64 => value,
            Dtype::F32 => {
                self.cast(self.cast(value, self.build.context.f32_type()), self.build.real)
            }
            Dtype::F16 | Dtype::Bf16 => self.unpack(dtype, self.pack(dtype, value)),
        }
    }

    /// Type of elements in memory.
    pub(super) fn memory_type(&self, dtype: Dtype) -> BasicTypeEnum<'c> {
        match dtype {
            Dtype::F64 => self.build.context.f64_type().into(),
            Dtype::F32 => self.build.context.f32_type().into(),
            Dtype::F16 | Dtype::Bf16 => self.build.context.i16_type().into(),
        }
    }

    /// An element in memory as a number.
    pub(super) fn fetch(&self, dtype: Dtype, at: Ptr<'c>) -> Real<'c> {
        let raw = self.build.load(self.memory_type(dtype), at);
        if dtype.bytes() > 2 {
            return self.cast(raw.into_float_value(), self.build.real);
        }
        let wide = self.build.context.i32_type();
        let bits = self.build.raw.build_int_z_extend(raw.into_int_value(), wide, "");
        self.unpack(dtype, bits.expect(BUILDS))
    }

    /// Puts a number into memory, rounding to nearest.
    pub(super) fn deposit(&self, dtype: Dtype, at: Ptr<'c>, value: Real<'c>) {
        let raw = &self.build.raw;
        if dtype.bytes() > 2 {
            let ty = self.memory_type(dtype).into_float_type();
            raw.build_store(at, self.cast(value, ty)).expect(BUILDS);
        } else {
            let ty = self.memory_type(dtype).into_int_type();
            let narrow = raw.build_int_truncate(self.pack(dtype, value), ty, "").expect(BUILDS);
            raw.build_store(at, narrow).expect(BUILDS);
        }
    }
}
