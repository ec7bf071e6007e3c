//! The entry point: module, function, parameters, and what every thread works out first.

use super::builder::Builder;
use super::emitter::{Argument, Emitter, Prologue, Thread};
use super::table::{Table, symbol, tables};
use super::types::{Compare, Val};
use melior::Context;
use melior::ir::attribute::{StringAttribute, TypeAttribute};
use melior::ir::operation::OperationBuilder;
use melior::ir::{
    Attribute, Block, BlockLike, Identifier, Location, Module, Operation, Region, RegionLike, Type,
};
use sluice_ir::binding::encode;
use sluice_ir::kernel::{Kernel, ParamKind, Role, Sharing};
use sluice_ir::target::Target;
use std::fmt::Write;

/// Symbol of dynamic shared memory.
const SHARED: &str = "shared";

/// The module with one kernel, in the dialects `gpu`, `nvvm`, `llvm` and `scf`.
pub(super) fn build<'c>(context: &'c Context, kernel: &Kernel, target: &Target) -> Module<'c> {
    let location = Location::unknown(context);
    let module = Module::new(location);
    let inner = Region::new();
    let block = inner.append_block(Block::new(&[]));
    block.append_operation(shared_memory(context));
    for (number, table) in tables(kernel).iter().enumerate() {
        block.append_operation(constant(context, &symbol(number), table));
    }
    block.append_operation(function(context, kernel, target));
    let ptx = format!("+ptx{}", target.ptx);
    let nvvm = format!("[#nvvm.target<O = 2, chip = \"{}\", features = \"{ptx}\">]", target.name);
    module.body().append_operation(operation(
        context,
        "gpu.module",
        inner,
        &[
            ("sym_name", StringAttribute::new(context, "kernels").into()),
            ("targets", parse(context, &nvvm)),
        ],
    ));
    module
}

fn parse<'c>(context: &'c Context, text: &str) -> Attribute<'c> {
    Attribute::parse(context, text).expect("an attribute of a loaded dialect")
}

fn operation<'c>(
    context: &'c Context,
    name: &str,
    region: Region<'c>,
    attributes: &[(&str, Attribute<'c>)],
) -> Operation<'c> {
    let named: Vec<_> = attributes.iter().map(|(n, a)| (Identifier::new(context, n), *a)).collect();
    OperationBuilder::new(name, Location::unknown(context))
        .add_attributes(&named)
        .add_regions([region])
        .build()
        .expect("an operation with its inherent attributes")
}

/// `extern __shared__ char shared[]`.
fn shared_memory(context: &Context) -> Operation<'_> {
    let bytes = Type::parse(context, "!llvm.array<0 x i8>").expect("an array type");
    operation(
        context,
        "llvm.mlir.global",
        Region::new(),
        &[
            ("sym_name", StringAttribute::new(context, SHARED).into()),
            ("global_type", TypeAttribute::new(bytes).into()),
            ("linkage", parse(context, "#llvm.linkage<external>")),
            ("addr_space", parse(context, "3 : i32")),
            ("alignment", parse(context, "1024 : i64")),
        ],
    )
}

/// `const T name[] = { ... }` in global memory.
fn constant<'c>(context: &'c Context, name: &str, table: &Table<'_>) -> Operation<'c> {
    let (of, count) = (table.dtype, table.values.len());
    // As text of bytes, which is read much faster than that of numbers.
    let mut bytes = String::new();
    for byte in encode(table.dtype, table.values) {
        write!(bytes, "{byte:02X}").expect("writing to a string");
    }
    let array = Type::parse(context, &format!("!llvm.array<{count} x {of}>"));
    let value = format!("dense<\"0x{bytes}\"> : tensor<{count}x{of}>");
    operation(
        context,
        "llvm.mlir.global",
        Region::new(),
        &[
            ("sym_name", StringAttribute::new(context, name).into()),
            ("global_type", TypeAttribute::new(array.expect("an array type")).into()),
            ("value", parse(context, &value)),
            ("constant", parse(context, "unit")),
            ("linkage", parse(context, "#llvm.linkage<internal>")),
            ("addr_space", parse(context, "1 : i32")),
            ("alignment", parse(context, "16 : i64")),
        ],
    )
}

/// Types of the entry point's parameters: see `ir::artifact::Variant::params`.
fn parameter_types(kernel: &Kernel) -> Vec<&'static str> {
    let mut types = Vec::new();
    for param in &kernel.params {
        types.push("!llvm.ptr<1>");
        if is_token(param.kind) {
            types.extend(["i64", "i64"]);
        }
    }
    types.extend(["!llvm.ptr<1>", "i32", "i32"]);
    types
}

fn is_token(kind: ParamKind) -> bool {
    matches!(kind, ParamKind::TokenIn | ParamKind::TokenOut)
}

fn function<'c>(context: &'c Context, kernel: &Kernel, target: &Target) -> Operation<'c> {
    let types = parameter_types(kernel);
    let location = Location::unknown(context);
    let typed: Vec<_> = types
        .iter()
        .map(|t| (Type::parse(context, t).expect("a parameter type"), location))
        .collect();
    let region = Region::new();
    let block = region.append_block(Block::new(&typed));
    let values: Vec<Val<'c>> = (0..types.len())
        .map(|i| block.argument(i).expect("an argument for each parameter").into())
        .collect();
    let b = Builder::new(context, block);
    let prologue = prologue(&b, kernel, &values);
    let whole = prologue.thread;
    let emitter = Emitter::new(b, kernel, target, prologue);
    body(&emitter, whole);
    emitter.b.effect("llvm.return", &[], &[]);
    let signature = format!("!llvm.func<void ({})>", types.join(", "));
    let signature = Type::parse(context, &signature).expect("a function type");
    let text = |value: &str| parse(context, value);
    let mut attributes = vec![
        ("sym_name", StringAttribute::new(context, &kernel.name).into()),
        ("function_type", TypeAttribute::new(signature).into()),
        ("CConv", text("#llvm.cconv<ccc>")),
        ("linkage", text("#llvm.linkage<external>")),
        ("visibility_", text("0 : i64")),
        ("nvvm.kernel", text("unit")),
        ("nvvm.reqntid", text(&format!("array<i32: {}, 1, 1>", kernel.threads()))),
    ];
    // Several roles deal registers out among themselves.
    if let [Role { registers: Some(most), .. }] = &kernel.roles[..] {
        attributes.push(("nvvm.maxnreg", text(&format!("{most} : i32"))));
    } else if kernel.roles.iter().any(|role| role.registers.is_some()) {
        // Else the assembler may not know how many registers there are to deal.
        attributes.push(("nvvm.minctasm", text("1 : i32")));
    }
    operation(context, "llvm.func", region, &attributes)
}

/// Coordinates, the sequence's extent, and the parameters' first elements for this head.
fn prologue<'c>(b: &Builder<'c>, kernel: &Kernel, values: &[Val<'c>]) -> Prologue<'c> {
    let special =
        |name: &str| b.value(&format!("nvvm.read.ptx.sreg.{name}"), &[], b.types.i32, &[]);
    let warps: usize = kernel.roles.iter().map(|r| r.warps).sum();
    let index = special("tid.x");
    let warp = b.like("llvm.lshr", &[index, b.i32(5)]);
    let thread = Thread {
        index,
        lane: b.and(index, b.i32(31)),
        // From lane 0, so that branches on it are seen to be the same for all lanes.
        warp: b.shuffle("idx", warp, b.i32(0), 31),
        warps,
        role: 0,
    };
    let [offsets, heads, groups] = values[values.len() - 3..] else {
        unreachable!("three parameters of every entry point")
    };
    // Blocks start in the order of x first. Parts of one instance come one after another, so that rows
    // of memory that they share are open at the same time.
    let (instance, part) = match kernel.parts {
        1 => (special("ctaid.x"), b.i32(0)),
        parts => {
            let parts = b.i32(parts as i64);
            let before = b.mul(special("ctaid.y"), special("nctaid.x"));
            let block = b.add(before, special("ctaid.x"));
            (b.like("llvm.udiv", &[block, parts]), b.like("llvm.urem", &[block, parts]))
        }
    };
    // Where one token is all there is, what comes before it counts.
    let short = kernel.chunk == 1;
    let choose = |condition, then: &dyn Fn() -> Vec<Val<'c>>, otherwise: &[Val<'c>]| {
        if short { b.choose(condition, then, otherwise) } else { then() }
    };
    // Divisions take long: one sequence needs none, nor do heads that share nothing.
    let several = b.compare(Compare::Le, heads, instance);
    let divide =
        || vec![b.like("llvm.udiv", &[instance, heads]), b.like("llvm.urem", &[instance, heads])];
    let divided = choose(several, &divide, &[b.i32(0), instance]);
    let (sequence, head) = (divided[0], divided[1]);
    let shared = b.compare(Compare::Ne, heads, groups);
    let of_head = || {
        let heads_of_group = b.like("llvm.udiv", &[heads, groups]);
        vec![b.like("llvm.udiv", &[head, heads_of_group])]
    };
    let group = choose(shared, &of_head, &[head])[0];
    let wide = |x| b.convert("llvm.zext", x, b.types.i64);
    // Without offsets every sequence has one token, and nothing has to be read before it; launchers leave
    // them out for kernels of one token a chunk only.
    let given = b.is_given(offsets);
    let ends = || {
        let at = b.advance(offsets, b.mul(wide(sequence), b.i64(8)));
        let first = b.load(at, b.types.i64);
        let end = b.load(b.advance_by(at, 8), b.types.i64);
        let tokens = b.convert("llvm.trunc", b.like("llvm.sub", &[end, first]), b.types.i32);
        vec![first, tokens]
    };
    let ends = choose(given, &ends, &[wide(sequence), b.i32(1)]);
    let (first, tokens) = (ends[0], ends[1]);
    // A thread waits for all of its loads that count on one of a few scoreboards. Where states are loaded
    // beside the first token, they must not stand between the offsets and the token's address: so their
    // own address waits for the offsets, by way of a sign that is never set.
    let nothing = b.like("llvm.lshr", &[tokens, b.i32(31)]);
    let mut arguments = Vec::new();
    let mut next = values;
    for param in &kernel.params {
        let pointer = next[0];
        let bytes = b.i64(param.dtype.bytes() as i64);
        let row = wide(if param.sharing == Sharing::Group { group } else { head });
        let inner = b.i64((param.rows * param.cols) as i64);
        let (skipped, token_stride) = match param.kind {
            ParamKind::TokenIn | ParamKind::TokenOut => {
                let skipped = b.add(b.mul(first, next[1]), b.mul(row, next[2]));
                (skipped, Some(next[1]))
            }
            ParamKind::ModelIn => (b.mul(row, inner), None),
            // Not by way of sequence and head, which take divisions; of those a scan has the results anyway.
            ParamKind::StateIn | ParamKind::StateOut if short => {
                (b.add(b.mul(wide(instance), inner), wide(nothing)), None)
            }
            ParamKind::StateIn | ParamKind::StateOut => {
                let outer = b.mul(wide(sequence), wide(heads));
                (b.mul(b.add(outer, wide(head)), inner), None)
            }
        };
        next = &next[if token_stride.is_some() { 3 } else { 1 }..];
        let base = b.advance(pointer, b.mul(skipped, bytes));
        arguments.push(Argument { pointer, base, token_stride });
    }
    let shared = b.value(
        "llvm.mlir.addressof",
        &[],
        b.types.shared,
        &[("global_name", b.attribute(&format!("@{SHARED}")))],
    );
    Prologue { shared, part, arguments, tokens, thread }
}

/// The work of all roles, each on its own warps.
fn body<'c>(emitter: &Emitter<'c, '_>, whole: Thread<'c>) {
    let b = &emitter.b;
    emitter.init_mbarriers();
    if let [only] = &emitter.kernel.roles[..] {
        return emitter.role(only);
    }
    let mut first = 0;
    for (number, role) in emitter.kernel.roles.iter().enumerate() {
        let past = b.i32((first + role.warps) as i64);
        let from = b.compare(Compare::Le, b.i32(first as i64), whole.warp);
        let to = b.compare(Compare::Lt, whole.warp, past);
        b.when(b.and(from, to), || {
            emitter.enter(number, role, first, whole);
            if let Some(registers) = role.registers {
                emitter.set_registers(registers);
            }
            emitter.role(role);
        });
        first += role.warps;
    }
}
