//! The elementwise scan: states whose elements do not mix, chunk by chunk, without a barrier a token.
//!
//! In: an elementwise form.  Out: a kernel whose body is one chunk:
//!
//! ```text
//! what states do not touch, where it is dear or summed     nests over all tokens of the chunk
//! each group of states                                     a walk: states in registers, every point by itself
//! each window                                              its entries in a row, of which every token reads a piece
//! sums of what walks give, and all after them              nests over all tokens of the chunk
//! ```
//!
//! Inputs are loaded chunks ahead. The tokens of a linear group are cut into segments for more threads,
//! long points into lanes, and independent columns into parts for more blocks.

mod flat;
mod value;
mod wanted;
mod window;

use self::flat::Flat;
use self::value::Site;
use self::wanted::{Wanted, wanted};
use self::window::Window;
use super::draft::{Draft, Home, Shape};
use super::layout::Layout;
use super::{Build, fixed, live, params};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::elements::{self, Elements, Group};
use sluice_ir::kernel::{
    self, Access, Checked, Expr, Law, Param, ParamId, ParamKind, Row, Schedule, Segments, Stmt,
    TileId, Walk, WalkResult,
};
use sluice_ir::step::{
    DimId, Init, InputId, NodeId, Output, Rate, Recurrence, StateId, TableId, fold,
};
use std::collections::BTreeMap;

/// Tokens of a chunk and instances of the tiles of inputs, those that hide more of memory first.
const PIPELINES: [(usize, usize); 5] = [(64, 3), (64, 2), (32, 3), (32, 2), (16, 2)];

/// Columns of a part, those first of which 16 bits fill a line of the cache.
const WIDTHS: [usize; 2] = [64, 32];

/// Threads that a walk is cut into segments and lanes for.
const THREADS: usize = 256;

/// Elements of a point that one thread takes, if more threads can have them.
const ELEMENTS: usize = 4;

/// Most numbers that a thread keeps of its points and its segment.
const KEPT: usize = 64;

/// Blocks of the grid that are to share a processor, so that one loads while another computes.
const BLOCKS: usize = 2;

/// Lowers an elementwise form to a kernel for sequences of any length.
///
/// # Errors
///
/// [`Code::Unsupported`] if values are rearranged or states have too many elements for registers,
/// [`Code::TooLarge`] if no chunk fits the target.
pub fn element_scan(form: &Elements, build: &Build<'_>) -> Result<Checked, Diagnostic> {
    super::without_identity(&form.recurrence)?;
    let all = build.target.shared_bytes;
    let flat = Flat::of(form, |dim| build.size(&form.recurrence, dim));
    let form = flat.as_ref().map_or(form, |flat| &flat.form);
    let budgets = || [all / BLOCKS, all].into_iter();
    for (width, budget) in WIDTHS.into_iter().flat_map(|width| budgets().map(move |b| (width, b))) {
        for (chunk, stages) in PIPELINES {
            match kernel(form, flat.as_ref(), build, (chunk, stages), (width, budget)) {
                Err(refusal) if refusal.code == Code::TooLarge => {}
                other => return other,
            }
        }
    }
    let message = "values of a few tokens do not fit the target's shared memory";
    Err(Diagnostic::new(Code::TooLarge, message))
}

fn kernel(
    form: &Elements,
    flat: Option<&Flat>,
    build: &Build<'_>,
    (chunk, stages): (usize, usize),
    (width, budget): (usize, usize),
) -> Result<Checked, Diagnostic> {
    let recurrence = fold(&form.recurrence, build.extents);
    let live = live(&recurrence);
    let sizes = (0..recurrence.dims.len()).map(|d| build.size(&recurrence, DimId(d)));
    let layout = Layout::of_width(&recurrence, sizes.collect(), &live, width);
    let fixed = fixed(&recurrence, |state| form.is_held(state));
    let shapes: Result<Vec<Points>, Diagnostic> =
        form.groups.iter().map(|group| Points::of(&recurrence, &layout, group, chunk)).collect();
    let shapes = shapes?;
    let threads = shapes.iter().map(Points::threads).max().unwrap_or(THREADS);
    let wanted = wanted(&recurrence, &form.groups, &shapes);
    let lowering = Lowering {
        recurrence: &recurrence,
        groups: &form.groups,
        build,
        layout: &layout,
        shapes: &shapes,
        fixed: &fixed,
        wanted: &wanted,
        chunk,
        stages,
        draft: Draft::default(),
        states: Vec::new(),
        kept: BTreeMap::new(),
        larger: BTreeMap::new(),
        inputs: BTreeMap::new(),
        windows: BTreeMap::new(),
        tables: BTreeMap::new(),
        fixed_loads: Vec::new(),
        loads: Vec::new(),
        before: Vec::new(),
    };
    let mut draft = lowering.run()?;
    if let Some(flat) = flat {
        draft.params.iter_mut().for_each(|param| flat.restore(param));
    }
    draft.close(Shape {
        name: format!("{}_elements", recurrence.name),
        schedule: Schedule::ElementScan,
        chunk,
        order: build.order(&recurrence),
        layout: kernel::Layout::Lanes(kernel::Lanes::SINGLE),
        parts: layout.cut.map_or(1, |cut| cut.parts),
        warps: threads.min(MOST_THREADS).div_ceil(32),
        budget,
    })
}

/// Most threads of a block.
const MOST_THREADS: usize = 512;

/// How the elements of a group's states are dealt to threads.
pub(super) struct Points {
    /// The dimension of points: that which is cut, or else the last.
    along: Option<DimId>,
    /// The dimension of a point's elements.
    inside: Option<DimId>,
    points: usize,
    inner: usize,
    lanes: usize,
    segments: usize,
}

impl Points {
    fn of(
        recurrence: &Recurrence,
        layout: &Layout,
        group: &Group,
        chunk: usize,
    ) -> Result<Self, Diagnostic> {
        if let elements::Law::Window(_) = group.law {
            // Nothing walks it, and nests take all threads.
            return Ok(Self {
                along: None,
                inside: None,
                points: THREADS,
                inner: 1,
                lanes: 1,
                segments: 1,
            });
        }
        let first = group.states.first().map_or(&[][..], |s| &recurrence.states[s.0].dims);
        let (along, inside) = match layout.order(first)[..] {
            [] => (None, None),
            [along] => (Some(along), None),
            [inside, along] => (Some(along), Some(inside)),
            _ => {
                let message = "states have more than two dimensions";
                return Err(Diagnostic::new(Code::Unsupported, message));
            }
        };
        let size = |dim: Option<DimId>| dim.map_or(1, |d| layout.size(d));
        let (points, inner) = (size(along), size(inside));
        let even = |lanes: &usize| {
            let whole = inner.is_multiple_of(*lanes) && (points * lanes).is_multiple_of(32);
            *lanes == 1 || (whole && inner / lanes >= ELEMENTS)
        };
        let lanes = [32, 16, 8, 4, 2, 1].into_iter().find(even).unwrap_or(1);
        let states = group.states.len();
        let elements = inner / lanes;
        if elements * states > KEPT {
            let message = format!("a thread would keep {} numbers of states", elements * states);
            return Err(Diagnostic::new(Code::Unsupported, message));
        }
        let segments = match &group.law {
            elements::Law::Free | elements::Law::Window(_) => 1,
            elements::Law::Linear { rows, .. } => {
                let change =
                    |row: &elements::Row| row.gates.iter().flatten().chain(&row.entry).count();
                let numbers = elements * rows.iter().map(change).sum::<usize>();
                let mut segments = 1;
                // More threads, and no more numbers than registers.
                while 2 * segments * points * lanes <= MOST_THREADS
                    && 2 * segments < chunk
                    && (segments * points * lanes < THREADS || chunk / segments * numbers > KEPT)
                {
                    segments *= 2;
                }
                if chunk / segments * numbers <= KEPT { segments } else { 1 }
            }
        };
        Ok(Self { along, inside, points, inner, lanes, segments })
    }

    fn threads(&self) -> usize {
        self.points * self.lanes * self.segments
    }
}

/// Statements under construction.
struct Lowering<'a> {
    recurrence: &'a Recurrence,
    groups: &'a [Group],
    build: &'a Build<'a>,
    layout: &'a Layout,
    shapes: &'a [Points],
    fixed: &'a [bool],
    wanted: &'a Wanted,
    chunk: usize,
    stages: usize,
    draft: Draft,
    /// Tiles of states.
    states: Vec<TileId>,
    /// Tiles of what has been made so far.
    kept: BTreeMap<NodeId, TileId>,
    /// For choices of the largest, tiles of how many come before each.
    larger: BTreeMap<NodeId, TileId>,
    inputs: BTreeMap<usize, TileId>,
    windows: BTreeMap<StateId, Window>,
    tables: BTreeMap<TableId, TileId>,
    /// Loads before the loop and of each chunk.
    fixed_loads: Vec<(TileId, ParamId)>,
    loads: Vec<(TileId, ParamId)>,
    /// Statements before the loop.
    before: Vec<Stmt>,
}

impl Lowering<'_> {
    fn run(mut self) -> Result<Draft, Diagnostic> {
        let recurrence = self.recurrence;
        for (number, state) in recurrence.states.iter().enumerate() {
            let [rows, cols] = self.layout.tile(&state.dims);
            let size = if self.is_column(StateId(number)) { [cols, rows] } else { [rows, cols] };
            let tile = self.new_tile(&state.name, size, self.build.compute, 1);
            self.states.push(tile);
        }
        for (number, group) in self.groups.iter().enumerate() {
            match group.law {
                elements::Law::Window(entry) => self.window(group.states[0], entry)?,
                elements::Law::Free | elements::Law::Linear { .. } => self.walk(number)?,
            }
        }
        for output in &recurrence.outputs {
            self.store(output)?;
        }
        self.open_states();
        let loads = std::mem::take(&mut self.loads);
        self.draft.pipeline(&loads, self.stages);
        Ok(self.draft)
    }

    fn new_tile(&mut self, name: &str, size: [usize; 2], dtype: Dtype, stages: usize) -> TileId {
        self.draft.tile(name, size, dtype, Home::Packed { stages })
    }

    /// Rows and columns of a value for every token of the chunk, or for all tokens.
    fn size(&self, dims: &[DimId], fixed: bool) -> [usize; 2] {
        let [rows, cols] = self.layout.tile(dims);
        [if fixed { rows } else { self.chunk * rows }, cols]
    }

    /// A new tile for a node, of all tokens or of each: in the type of the output if nothing but the
    /// output needs it.
    fn tile_for(&mut self, id: NodeId, fixed: bool) -> TileId {
        let node = self.recurrence.node(id);
        let output = self.recurrence.outputs.iter().find(|o| o.node == id);
        let dtype = match output {
            Some(output) if !self.wanted.read.contains(&id) => {
                self.recurrence.output_dtype(output, self.build.dtype)
            }
            _ => self.build.compute,
        };
        let size = self.size(&node.dims, fixed);
        self.new_tile(node.name.as_deref().unwrap_or("t"), size, dtype, 1)
    }

    /// The walk of a group of states.
    fn walk(&mut self, number: usize) -> Result<(), Diagnostic> {
        let (group, shape) = (&self.groups[number], &self.shapes[number]);
        let mut site = Site::of_walk(number, shape);
        let law = match &group.law {
            elements::Law::Free => {
                let updates = group.states.iter().map(|s| self.recurrence.updates[s.0]);
                let after = updates.map(|update| self.value(update, &mut site));
                Law::Free(after.collect::<Result<_, _>>()?)
            }
            elements::Law::Linear { ring, rows } => {
                let mut all = Vec::with_capacity(rows.len());
                for row in rows {
                    let mut value =
                        |id: Option<NodeId>| id.map(|id| self.value(id, &mut site)).transpose();
                    let gates = row.gates.iter().map(|gate| value(*gate));
                    let gates = gates.collect::<Result<_, _>>()?;
                    all.push(Row { gates, entry: value(row.entry)? });
                }
                Law::Linear { ring: *ring, rows: all }
            }
            elements::Law::Window(_) => unreachable!("nothing walks a window"),
        };
        site.after = true;
        let mut results = Vec::new();
        let mut made = Vec::new();
        for &(id, sum) in &self.wanted.of[number] {
            let expr = match sum {
                None => self.value(id, &mut site)?,
                Some([a, b]) => self.product([a, b], &mut site)?,
            };
            let tile = self.tile_for(id, self.fixed[id.0]);
            made.push((id, tile));
            let dims = &self.recurrence.node(id).dims;
            let dst = self.access(tile, dims, false, &site);
            results.push(WalkResult { dst, sum: sum.is_some(), expr });
        }
        self.kept.extend(made);
        let states: Vec<Access> = group
            .states
            .iter()
            .map(|s| {
                let dims = &self.recurrence.states[s.0].dims;
                self.access(self.states[s.0], dims, true, &site)
            })
            .collect();
        let &Points { points, inner, lanes, segments, .. } = shape;
        let summary = states.len() * states.len() + states.len();
        let segments = (segments > 1).then(|| {
            let size = [segments, summary * points * inner];
            Segments { count: segments, summaries: self.new_tile("summaries", size, Dtype::F32, 1) }
        });
        let args = site.args;
        let walk = Walk { points, inner, states, law, args, results, lanes, segments };
        self.draft.body.push(Stmt::Walk(walk));
        Ok(())
    }

    /// The value of a sum's operand, or the product of its two operands.
    fn product(
        &mut self,
        [a, b]: [Option<NodeId>; 2],
        site: &mut Site,
    ) -> Result<Expr, Diagnostic> {
        let values = [a, b].into_iter().flatten().map(|id| self.value(id, site));
        let values: Vec<Expr> = values.collect::<Result<_, _>>()?;
        let product = values.into_iter().reduce(value::product);
        Ok(product.expect("a sum has an operand"))
    }

    fn store(&mut self, output: &Output) -> Result<(), Diagnostic> {
        let src = if self.fixed[output.node.0] {
            self.at_each_token(output.node)?
        } else {
            self.tile_of(output.node)?
        };
        let dtype = self.recurrence.output_dtype(output, self.build.dtype);
        let dims = &self.recurrence.node(output.node).dims;
        let split = self.layout.splits(dims);
        let param = params::token_out(&output.name, dtype, &self.layout.whole(dims), split);
        let param = self.param(param, dims);
        self.draft.body.push(Stmt::Store { param, src, col: 0 });
        Ok(())
    }

    /// The tile of an input, which is loaded into it.
    fn input(&mut self, index: usize) -> TileId {
        if let Some(tile) = self.inputs.get(&index) {
            return *tile;
        }
        let input = &self.recurrence.inputs[index];
        let dtype = self.recurrence.input_dtype(input, self.build.dtype);
        let fixed = input.rate == Rate::Model;
        let stages = if fixed { 1 } else { self.stages };
        let tile = self.new_tile(&input.name, self.size(&input.dims, fixed), dtype, stages);
        let param = self.input_param(index);
        if fixed { &mut self.fixed_loads } else { &mut self.loads }.push((tile, param));
        self.inputs.insert(index, tile);
        tile
    }

    fn input_param(&mut self, index: usize) -> ParamId {
        let input = &self.recurrence.inputs[index];
        let dtype = self.recurrence.input_dtype(input, self.build.dtype);
        let dims = self.layout.whole(&input.dims);
        let split = self.layout.splits(&input.dims);
        self.param(params::input(input, dtype, &dims, split, false), &input.dims)
    }

    /// Adds the parameter of a value of these dimensions.
    fn param(&mut self, param: Param, dims: &[DimId]) -> ParamId {
        let transposed = self.layout.transposes(dims);
        self.draft.param(if transposed { params::by_first(param) } else { param })
    }

    fn table(&mut self, id: TableId) -> TileId {
        if let Some(tile) = self.tables.get(&id) {
            return *tile;
        }
        let table = &self.recurrence.tables[id.0];
        let tile = self.new_tile("table", self.layout.tile(&table.dims), self.build.compute, 1);
        self.draft.setup.push(Stmt::Table { dst: tile, values: table.values.clone() });
        self.tables.insert(id, tile);
        tile
    }

    /// Everything before the loop and after it that concerns states, and what is computed once.
    fn open_states(&mut self) {
        let mut given = Vec::new();
        for (number, state) in self.recurrence.states.iter().enumerate() {
            let (tile, is_column) = (self.states[number], self.is_column(StateId(number)));
            let dims = self.layout.whole(&state.dims);
            let columns = (self.layout.splits(&state.dims), false);
            let param = |kind| {
                let param = params::state(&state.name, kind, &dims, columns, self.build.compute);
                if is_column { params::as_column(param) } else { param }
            };
            given.push((tile, self.param(param(ParamKind::StateIn), &state.dims)));
            let after = self.param(param(ParamKind::StateOut), &state.dims);
            self.draft.finish.push(Stmt::Store { param: after, src: tile, col: 0 });
            match state.init {
                Init::Value(value) => self.draft.setup.push(Stmt::Fill { dst: tile, value }),
                Init::Identity => unreachable!("refused before"),
                Init::Input(InputId(input)) => {
                    let param = self.input_param(input);
                    self.fixed_loads.push((tile, param));
                }
            }
        }
        // The caller's states come over the initial ones.
        for loads in [&self.fixed_loads, &given] {
            if !loads.is_empty() {
                let load = |(dst, param): &(TileId, ParamId)| Stmt::Load {
                    dst: *dst,
                    param: *param,
                    ahead: 0,
                    col: 0,
                };
                self.draft.setup.extend(loads.iter().map(load));
                self.draft.setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
            }
        }
        self.draft.setup.append(&mut self.before);
    }
}
