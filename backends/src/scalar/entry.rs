//! The function of a kernel: loops over sequences, heads, parts and chunks.

use super::Options;
use super::build::{Build, Int, Ptr, Real};
use super::order::interleave;
use super::workspace::{Workspace, stages};
use inkwell::IntPredicate;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::Context;
use inkwell::types::BasicTypeEnum;
use inkwell::values::IntValue;
use sluice_ir::kernel::{Kernel, ParamKind, Stmt, TileId, View};

/// Writes the function of one kernel.
pub(super) struct Emitter<'c, 'k> {
    pub(super) build: Build<'c>,
    pub(super) kernel: &'k Kernel,
    pub(super) options: Options,
    pub(super) workspace: Workspace,
    pub(super) args: Args<'c>,
}

/// Arguments of the function.
pub(super) struct Args<'c> {
    pub(super) params: Vec<ParamArg<'c>>,
    cu_seqlens: Ptr<'c>,
    sequences: Int<'c>,
    heads: Int<'c>,
    groups: Int<'c>,
    workspace: Ptr<'c>,
}

/// Arguments that stand for one param.
pub(super) struct ParamArg<'c> {
    pub(super) base: Ptr<'c>,
    /// Token stride and head stride in elements, for token params.
    pub(super) strides: Option<[Int<'c>; 2]>,
}

/// Where a statement runs.
#[derive(Clone, Copy)]
pub(super) struct Place<'c> {
    pub(super) sequence: Int<'c>,
    pub(super) head: Int<'c>,
    pub(super) heads: Int<'c>,
    pub(super) group: Int<'c>,
    pub(super) part: Int<'c>,
    /// First token of the sequence.
    pub(super) first: Int<'c>,
    /// Tokens of the sequence.
    pub(super) length: Int<'c>,
    pub(super) chunk: Int<'c>,
}

/// Whether a param is followed by its strides.
pub(super) fn has_strides(kind: ParamKind) -> bool {
    match kind {
        ParamKind::TokenIn | ParamKind::TokenOut => true,
        ParamKind::ModelIn | ParamKind::StateIn | ParamKind::StateOut => false,
    }
}

impl<'c, 'k> Emitter<'c, 'k> {
    /// Writes the whole function.
    pub(super) fn emit(context: &'c Context, kernel: &'k Kernel, options: Options) -> Self {
        let build =
            Build::new(context, &kernel.name, options.precision, &signature(context, kernel));
        let workspace = Workspace::new(kernel, options.precision);
        let args = arguments(&build, kernel);
        let emitter = Emitter { build, kernel, options, workspace, args };
        emitter.instances();
        emitter.build.finish();
        emitter
    }

    fn instances(&self) {
        let b = &self.build;
        b.range(b.int(0), self.args.sequences, |sequence| {
            let offset =
                |i| b.load(b.index, b.element(b.index, self.args.cu_seqlens, i)).into_int_value();
            let first = offset(sequence);
            let length = b.sub(offset(b.add(sequence, b.int(1))), first);
            b.range(b.int(0), self.args.heads, |head| {
                let heads = self.args.heads;
                let group = b.div(head, b.div(heads, self.args.groups));
                b.times(self.kernel.parts, |part| {
                    let chunk = b.int(0);
                    self.chunks(Place { sequence, head, heads, group, part, first, length, chunk });
                });
            });
        });
    }

    /// One sequence, head and part.
    fn chunks(&self, place: Place<'c>) {
        let b = &self.build;
        let size = self.kernel.chunk;
        for stmt in interleave(self.kernel, |r| &r.setup) {
            self.statement(stmt, place);
        }
        let chunks = b.div(b.add(place.length, b.int(size - 1)), b.int(size));
        b.range(b.int(0), chunks, |chunk| {
            for stmt in interleave(self.kernel, |r| &r.body) {
                self.statement(stmt, Place { chunk, ..place });
            }
        });
        let none = b.compare(IntPredicate::EQ, chunks, b.int(0));
        let last = b.choose_int(none, chunks, b.sub(chunks, b.int(1)));
        for stmt in interleave(self.kernel, |r| &r.finish) {
            self.statement(stmt, Place { chunk: last, ..place });
        }
    }

    fn statement(&self, stmt: &Stmt, place: Place<'c>) {
        match stmt {
            Stmt::Load { dst, param, ahead, col } => {
                let chunk = self.build.add(place.chunk, self.build.int(*ahead));
                self.load(*dst, *param, *col, Place { chunk, ..place });
            }
            Stmt::Store { param, src, col } => self.store(*param, *src, *col, place),
            Stmt::Put { param, shape, body } => self.put_out(*param, *shape, body, place),
            // One thread and no copies in flight: nothing to wait for.
            Stmt::Begin(_) | Stmt::Commit | Stmt::WaitLoads { .. } | Stmt::Sync(_) => {}
            Stmt::Fill { dst, value } => self.fill(*dst, *value, place),
            Stmt::Map { dst, body } => self.map(*dst, body, place),
            Stmt::Mma(m) => self.product(m, place),
            Stmt::Reduce { op, dst, src, over } => self.reduce(*op, *dst, *src, *over, place),
            Stmt::Run { dst, body, mask } => self.running_sum(*dst, body, *mask, place),
            Stmt::Score { dst, p, a, to, from, mask, .. } => {
                self.score(*dst, [*p, *a, *to, *from], *mask, place);
            }
            Stmt::Mix { dst, w, y, to, from, mask } => {
                self.mix(*dst, [*w, *y, *to, *from], *mask, place);
            }
            Stmt::Inverse { dst, src, upper, diagonal: _ } => {
                self.inverse(*dst, *src, *upper, place)
            }
            Stmt::Copy { dst, src, map } => self.copy(*dst, *src, *map, place),
            Stmt::Nest(nest) => self.nest(nest, place),
            Stmt::Walk(walk) => self.walk(walk, place),
            Stmt::Table { dst, values } => self.table(*dst, values, place),
        }
    }

    /// The address of the first element of a tile's instance for a chunk.
    pub(super) fn tile_base(&self, id: TileId, chunk: Int<'c>) -> Ptr<'c> {
        let b = &self.build;
        let tile = self.kernel.tile(id);
        let first = b.int(self.workspace.tile(id));
        let stage = match stages(tile) {
            1 => b.int(0),
            n => b.rem(chunk, b.int(n)),
        };
        let at = b.add(first, b.mul(stage, b.int(tile.rows * tile.cols)));
        b.element(b.real, self.args.workspace, at)
    }

    /// The address of an element of the scratch.
    pub(super) fn scratch(&self, index: Int<'c>) -> Ptr<'c> {
        let b = &self.build;
        let at = b.add(b.int(self.workspace.scratch), index);
        b.element(b.real, self.args.workspace, at)
    }

    fn view_element(&self, view: View, [block, row, col]: [Int<'c>; 3], chunk: Int<'c>) -> Ptr<'c> {
        let b = &self.build;
        let [_, rows, cols] = self.kernel.shape(view);
        let at = b.offset(b.offset(block, rows, row), cols, col);
        b.element(b.real, self.tile_base(view.tile, chunk), at)
    }

    /// An element of a view.
    pub(super) fn read(&self, view: View, index: [Int<'c>; 3], place: Place<'c>) -> Real<'c> {
        let b = &self.build;
        b.load(b.real, self.view_element(view, index, place.chunk)).into_float_value()
    }

    /// Sets an element of a view, rounding it if asked to.
    pub(super) fn write(&self, view: View, index: [Int<'c>; 3], value: Real<'c>, place: Place<'c>) {
        self.put(view.tile, self.view_element(view, index, place.chunk), value);
    }

    /// Sets the element of a tile at an address, rounding it if asked to.
    pub(super) fn put(&self, tile: TileId, at: Ptr<'c>, value: Real<'c>) {
        let dtype = self.kernel.tile(tile).dtype;
        let value = if self.options.round_tiles { self.round(dtype, value) } else { value };
        self.build.raw.build_store(at, value).expect(super::build::BUILDS);
    }

    /// Tokens of a chunk's first row and whether a token of it exists.
    pub(super) fn token_exists(&self, place: Place<'c>, token: Int<'c>) -> IntValue<'c> {
        let b = &self.build;
        b.less(b.offset(place.chunk, self.kernel.chunk, token), place.length)
    }
}

/// Types of the function's parameters.
fn signature<'c>(context: &'c Context, kernel: &Kernel) -> Vec<BasicTypeEnum<'c>> {
    let pointer: BasicTypeEnum = context.ptr_type(inkwell::AddressSpace::default()).into();
    let (long, short) = (context.i64_type().into(), context.i32_type().into());
    let mut types = Vec::new();
    for param in &kernel.params {
        types.push(pointer);
        if has_strides(param.kind) {
            types.extend([long, long]);
        }
    }
    types.extend([pointer, long, short, short, pointer]);
    types
}

fn arguments<'c>(b: &Build<'c>, kernel: &Kernel) -> Args<'c> {
    let mut values = b.function.get_param_iter();
    let mut next = || values.next().expect("the signature lists every argument");
    let mut params = Vec::with_capacity(kernel.params.len());
    for param in &kernel.params {
        let base = next().into_pointer_value();
        let mut stride = || next().into_int_value();
        let strides = has_strides(param.kind).then(|| [stride(), stride()]);
        params.push(ParamArg { base, strides });
    }
    let cu_seqlens = next().into_pointer_value();
    let sequences = next().into_int_value();
    let mut wide = || {
        let narrow = next().into_int_value();
        b.raw.build_int_s_extend(narrow, b.index, "").expect(super::build::BUILDS)
    };
    let (heads, groups) = (wide(), wide());
    let workspace = next().into_pointer_value();
    // Nothing else points into the workspace; states may be updated in place, so params may alias.
    let noalias = Attribute::get_named_enum_kind_id("noalias");
    let last = b.function.count_params() - 1;
    let attribute = b.context.create_enum_attribute(noalias, 0);
    b.function.add_attribute(AttributeLoc::Param(last), attribute);
    Args { params, cu_seqlens, sequences, heads, groups, workspace }
}
