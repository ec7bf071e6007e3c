//! Thin wrappers over MLIR operation builders: the operations that the emitter uses, by name.

use super::types::{Compare, CompareFloat, Types, Val};
use melior::Context;
use melior::ir::attribute::{
    DenseI32ArrayAttribute, FloatAttribute, IntegerAttribute, StringAttribute, TypeAttribute,
};
use melior::ir::operation::{OperationBuilder, OperationRef};
use melior::ir::r#type::IntegerType;
use melior::ir::{
    Attribute, Block, BlockLike, BlockRef, Identifier, Location, Region, RegionLike, Type,
    ValueLike,
};
use sluice_ir::dtype::Dtype;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Appends operations to a block and remembers constants.
pub(super) struct Builder<'c> {
    context: &'c Context,
    location: Location<'c>,
    entry: BlockRef<'c, 'c>,
    block: Cell<BlockRef<'c, 'c>>,
    constants: RefCell<BTreeMap<(u8, u64), Val<'c>>>,
    parsed: RefCell<BTreeMap<String, Attribute<'c>>>,
    pub(super) types: Types<'c>,
}

impl<'c> Builder<'c> {
    /// A builder at the end of `entry`, the first block of a function.
    pub(super) fn new(context: &'c Context, entry: BlockRef<'c, 'c>) -> Self {
        Self {
            context,
            location: Location::unknown(context),
            entry,
            block: Cell::new(entry),
            constants: RefCell::default(),
            parsed: RefCell::default(),
            types: Types::new(context),
        }
    }

    /// The attribute with that text.
    pub(super) fn attribute(&self, text: &str) -> Attribute<'c> {
        *self.parsed.borrow_mut().entry(text.to_owned()).or_insert_with(|| {
            Attribute::parse(self.context, text).expect("an attribute of a loaded dialect")
        })
    }

    /// The type with that text.
    pub(super) fn parse_type(&self, text: &str) -> Type<'c> {
        Type::parse(self.context, text).expect("a type of a loaded dialect")
    }

    /// The type of a 16-bit or 32-bit float.
    pub(super) fn float_type(&self, dtype: Dtype) -> Type<'c> {
        match dtype {
            Dtype::F64 => Type::float64(self.context),
            Dtype::F32 => self.types.f32,
            Dtype::F16 => Type::float16(self.context),
            Dtype::Bf16 => Type::bfloat16(self.context),
        }
    }

    /// The type of `n` values of type `of`.
    pub(super) fn vector_type(&self, n: usize, of: Type<'c>) -> Type<'c> {
        Type::vector(&[n as u64], of)
    }

    fn integer(&self, value: i64, of: Type<'c>) -> Attribute<'c> {
        IntegerAttribute::new(of, value).into()
    }

    fn start(&self, name: &str, attributes: &[(&str, Attribute<'c>)]) -> OperationBuilder<'c> {
        let named: Vec<_> =
            attributes.iter().map(|(n, a)| (Identifier::new(self.context, n), *a)).collect();
        OperationBuilder::new(name, self.location).add_attributes(&named)
    }

    fn append(&self, operation: OperationBuilder<'c>) -> OperationRef<'c, 'c> {
        let operation = operation.build().expect("an operation with its inherent attributes");
        self.block.get().append_operation(operation)
    }

    /// Appends an operation without a result.
    pub(super) fn effect(
        &self,
        name: &str,
        operands: &[Val<'c>],
        attributes: &[(&str, Attribute<'c>)],
    ) {
        self.append(self.start(name, attributes).add_operands(operands));
    }

    /// Appends an operation with one result.
    pub(super) fn value(
        &self,
        name: &str,
        operands: &[Val<'c>],
        result: Type<'c>,
        attributes: &[(&str, Attribute<'c>)],
    ) -> Val<'c> {
        let operation = self.start(name, attributes).add_operands(operands).add_results(&[result]);
        self.append(operation).result(0).expect("one result").into()
    }

    fn constant(&self, key: (u8, u64), attribute: Attribute<'c>, of: Type<'c>) -> Val<'c> {
        *self.constants.borrow_mut().entry(key).or_insert_with(|| {
            // At the head of the function, so that it dominates every use.
            let operation = self
                .start("llvm.mlir.constant", &[("value", attribute)])
                .add_results(&[of])
                .build()
                .expect("a constant");
            self.entry.insert_operation(0, operation).result(0).expect("one result").into()
        })
    }

    /// A 32-bit constant.
    pub(super) fn i32(&self, value: i64) -> Val<'c> {
        let of = self.types.i32;
        self.constant((0, value as u64), self.integer(value, of), of)
    }

    /// A 64-bit constant.
    pub(super) fn i64(&self, value: i64) -> Val<'c> {
        let of = self.types.i64;
        self.constant((1, value as u64), self.integer(value, of), of)
    }

    /// A truth value.
    pub(super) fn bool(&self, value: bool) -> Val<'c> {
        let of = self.types.i1;
        self.constant((2, u64::from(value)), self.integer(i64::from(value), of), of)
    }

    /// A single-precision constant.
    pub(super) fn f32(&self, value: f64) -> Val<'c> {
        let of = self.types.f32;
        let attribute = FloatAttribute::new(self.context, of, value).into();
        self.constant((3, value.to_bits()), attribute, of)
    }

    /// An operation whose result has the type of its first operand.
    pub(super) fn like(&self, name: &str, operands: &[Val<'c>]) -> Val<'c> {
        self.value(name, operands, operands[0].r#type(), &[])
    }

    /// Floating-point arithmetic in which a product and a sum may become one operation.
    pub(super) fn float(&self, name: &str, operands: &[Val<'c>]) -> Val<'c> {
        let contract = self.attribute("#llvm.fastmath<contract>");
        self.value(name, operands, operands[0].r#type(), &[("fastmathFlags", contract)])
    }

    pub(super) fn add(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.like("llvm.add", &[a, b])
    }

    pub(super) fn mul(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.like("llvm.mul", &[a, b])
    }

    pub(super) fn and(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.like("llvm.and", &[a, b])
    }

    pub(super) fn fadd(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.float("llvm.fadd", &[a, b])
    }

    pub(super) fn fsub(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.float("llvm.fsub", &[a, b])
    }

    pub(super) fn fmul(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.float("llvm.fmul", &[a, b])
    }

    /// `a * b + c` with one rounding.
    pub(super) fn fma(&self, a: Val<'c>, b: Val<'c>, c: Val<'c>) -> Val<'c> {
        self.like("llvm.intr.fma", &[a, b, c])
    }

    pub(super) fn compare(&self, how: Compare, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        let how = self.integer(how as i64, self.types.i64);
        self.value("llvm.icmp", &[a, b], self.types.i1, &[("predicate", how)])
    }

    pub(super) fn compare_float(&self, how: CompareFloat, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        let how = self.integer(how as i64, self.types.i64);
        self.value("llvm.fcmp", &[a, b], self.types.i1, &[("predicate", how)])
    }

    /// `yes` where the condition holds, else `no`.
    pub(super) fn select(&self, condition: Val<'c>, yes: Val<'c>, no: Val<'c>) -> Val<'c> {
        self.value("llvm.select", &[condition, yes, no], yes.r#type(), &[])
    }

    /// A conversion such as `llvm.zext`.
    pub(super) fn convert(&self, name: &str, value: Val<'c>, to: Type<'c>) -> Val<'c> {
        self.value(name, &[value], to, &[])
    }

    /// The pointer `bytes` further on.
    pub(super) fn advance(&self, pointer: Val<'c>, bytes: Val<'c>) -> Val<'c> {
        self.element_pointer(pointer, &[bytes], i32::MIN)
    }

    /// The pointer a constant number of bytes further on.
    pub(super) fn advance_by(&self, pointer: Val<'c>, bytes: i64) -> Val<'c> {
        match i32::try_from(bytes) {
            Ok(0) => pointer,
            Ok(near) => self.element_pointer(pointer, &[], near),
            Err(_) => self.advance(pointer, self.i64(bytes)),
        }
    }

    fn element_pointer(&self, pointer: Val<'c>, dynamic: &[Val<'c>], raw: i32) -> Val<'c> {
        let byte = IntegerType::new(self.context, 8).into();
        let mut operands = vec![pointer];
        operands.extend_from_slice(dynamic);
        self.value(
            "llvm.getelementptr",
            &operands,
            pointer.r#type(),
            &[
                ("elem_type", TypeAttribute::new(byte).into()),
                ("rawConstantIndices", DenseI32ArrayAttribute::new(self.context, &[raw]).into()),
            ],
        )
    }

    pub(super) fn load(&self, pointer: Val<'c>, of: Type<'c>) -> Val<'c> {
        self.value("llvm.load", &[pointer], of, &[])
    }

    pub(super) fn store(&self, value: Val<'c>, pointer: Val<'c>) {
        self.effect("llvm.store", &[value, pointer], &[]);
    }

    /// Field `i` of a struct.
    pub(super) fn field(&self, of: Val<'c>, i: usize, result: Type<'c>) -> Val<'c> {
        let position = self.attribute(&format!("array<i64: {i}>"));
        self.value("llvm.extractvalue", &[of], result, &[("position", position)])
    }

    /// A vector of the given elements.
    pub(super) fn vector(&self, elements: &[Val<'c>]) -> Val<'c> {
        let of = self.vector_type(elements.len(), elements[0].r#type());
        let empty = self.value("llvm.mlir.poison", &[], of, &[]);
        elements.iter().enumerate().fold(empty, |v, (i, e)| {
            self.value("llvm.insertelement", &[v, *e, self.i32(i as i64)], of, &[])
        })
    }

    /// Element `i` of a vector of `of`.
    pub(super) fn element(&self, vector: Val<'c>, i: usize, of: Type<'c>) -> Val<'c> {
        self.value("llvm.extractelement", &[vector, self.i32(i as i64)], of, &[])
    }

    /// One value, or a vector of several.
    pub(super) fn together(&self, values: &[Val<'c>]) -> Val<'c> {
        if let [one] = values { *one } else { self.vector(values) }
    }

    /// So many neighbouring values of type `of`, at once.
    pub(super) fn load_together(
        &self,
        pointer: Val<'c>,
        count: usize,
        of: Type<'c>,
    ) -> Vec<Val<'c>> {
        if count == 1 {
            return vec![self.load(pointer, of)];
        }
        let all = self.load(pointer, self.vector_type(count, of));
        (0..count).map(|i| self.element(all, i, of)).collect()
    }

    /// Calls an LLVM intrinsic.
    pub(super) fn intrinsic(&self, name: &str, operands: &[Val<'c>], result: Type<'c>) -> Val<'c> {
        let segments = format!("array<i32: {}, 0>", operands.len());
        self.value(
            "llvm.call_intrinsic",
            operands,
            result,
            &[
                ("intrin", StringAttribute::new(self.context, name).into()),
                ("op_bundle_sizes", self.attribute("array<i32>")),
                ("operandSegmentSizes", self.attribute(&segments)),
            ],
        )
    }

    /// One PTX instruction for which there is no operation: `$0` is the result.
    pub(super) fn instruction(
        &self,
        text: &str,
        constraints: &str,
        operands: &[Val<'c>],
        result: Type<'c>,
    ) -> Val<'c> {
        self.value(
            "llvm.inline_asm",
            operands,
            result,
            &[
                ("asm_string", StringAttribute::new(self.context, text).into()),
                ("constraints", StringAttribute::new(self.context, constraints).into()),
                ("has_side_effects", self.attribute("unit")),
            ],
        )
    }

    /// A value that nothing depends on.
    pub(super) fn poison(&self, of: Type<'c>) -> Val<'c> {
        self.value("llvm.mlir.poison", &[], of, &[])
    }

    /// PTX text with any number of results: `$0` is the first.
    pub(super) fn instruction_with(
        &self,
        text: &str,
        constraints: &str,
        operands: &[Val<'c>],
        results: &[Type<'c>],
    ) -> Vec<Val<'c>> {
        let attributes = [
            ("asm_string", StringAttribute::new(self.context, text).into()),
            ("constraints", StringAttribute::new(self.context, constraints).into()),
            ("has_side_effects", self.attribute("unit")),
        ];
        if results.is_empty() {
            self.effect("llvm.inline_asm", operands, &attributes);
            return Vec::new();
        }
        let fields: Vec<String> = results.iter().map(ToString::to_string).collect();
        let of = self.parse_type(&format!("!llvm.struct<({})>", fields.join(", ")));
        let all = self.value("llvm.inline_asm", operands, of, &attributes);
        results.iter().enumerate().map(|(i, of)| self.field(all, i, *of)).collect()
    }

    fn region(
        &self,
        arguments: &[Type<'c>],
        fill: impl FnOnce(&[Val<'c>]) -> Vec<Val<'c>>,
    ) -> Region<'c> {
        let region = Region::new();
        let typed: Vec<_> = arguments.iter().map(|t| (*t, self.location)).collect();
        let block = region.append_block(Block::new(&typed));
        let values: Vec<Val<'c>> = (0..arguments.len())
            .map(|i| block.argument(i).expect("an argument for each type").into())
            .collect();
        let outer = self.block.replace(block);
        let results = fill(&values);
        self.effect("scf.yield", &results, &[]);
        self.block.set(outer);
        region
    }

    /// Runs `then` where the condition holds.
    pub(super) fn when(&self, condition: Val<'c>, then: impl FnOnce()) {
        let then = self.region(&[], |_| {
            then();
            vec![]
        });
        let operation = self.start("scf.if", &[]).add_operands(&[condition]);
        self.append(operation.add_regions([then, Region::new()]));
    }

    /// The values of `then` where the condition holds, else those of `other`.
    pub(super) fn choose(
        &self,
        condition: Val<'c>,
        then: impl FnOnce() -> Vec<Val<'c>>,
        other: &[Val<'c>],
    ) -> Vec<Val<'c>> {
        self.either(condition, then, || other.to_vec())
    }

    /// The values of `then` where the condition holds, else those that `other` makes.
    pub(super) fn either(
        &self,
        condition: Val<'c>,
        then: impl FnOnce() -> Vec<Val<'c>>,
        other: impl FnOnce() -> Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        let types = RefCell::new(Vec::new());
        let yes = self.region(&[], |_| {
            let values = then();
            types.replace(values.iter().map(ValueLike::r#type).collect());
            values
        });
        let no = self.region(&[], |_| other());
        let types: Vec<Type<'c>> = types.into_inner();
        let operation = self.start("scf.if", &[]).add_operands(&[condition]).add_results(&types);
        self.results(self.append(operation.add_regions([yes, no])), types.len())
    }

    /// A loop from `from` while below `to`; `body` takes the index and the carried values and
    /// gives their next values.
    pub(super) fn repeat(
        &self,
        from: Val<'c>,
        to: Val<'c>,
        step: Val<'c>,
        carried: &[Val<'c>],
        body: impl FnOnce(Val<'c>, &[Val<'c>]) -> Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        let types: Vec<_> = carried.iter().map(ValueLike::r#type).collect();
        let mut arguments = vec![from.r#type()];
        arguments.extend_from_slice(&types);
        let region = self.region(&arguments, |values| body(values[0], &values[1..]));
        let mut operands = vec![from, to, step];
        operands.extend_from_slice(carried);
        let operation = self.start("scf.for", &[]).add_operands(&operands).add_results(&types);
        self.results(self.append(operation.add_regions([region])), types.len())
    }

    fn results(&self, operation: OperationRef<'c, 'c>, count: usize) -> Vec<Val<'c>> {
        (0..count).map(|i| operation.result(i).expect("a result for each type").into()).collect()
    }
}
