//! The token loop: one token at a time for every recurrence of one pass, whatever its shapes.
//!
//! In: a recurrence in step form whose states have one order.  Out: a kernel whose body is one step,
//! made of loop nests over tiles in shared memory, where the states live for the whole sequence.
//!
//! ```text
//! constants and what depends on the model alone      before the loop
//! pointwise values                                   where they are read, unless that costs more than a tile
//! sums, maxima, windows, joined values               nests with tiles of their own
//! new states                                         over the old ones, or apart if both are needed
//! ```
//!
//! On a GPU inputs are loaded tokens ahead, long sums are cut into segments for more threads, and a
//! dimension whose columns are independent is cut into parts for more blocks.

pub(super) mod plan;
mod sequence;
mod value;

use self::plan::Plan;
use self::sequence::Item;
use super::draft::{Draft, Home, Shape};
use super::layout::Layout;
use super::params;
use super::{AHEAD, Build, live};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Checked, Param, ParamId, ParamKind, Schedule, Stmt, TileId};
use sluice_ir::step::{
    DimId, Init, InputId, NodeId, Op, Output, Rate, Recurrence, StateId, TableId, fold,
};
use std::collections::{BTreeMap, BTreeSet};

/// Instances of the tiles of token inputs on a GPU: loads run ahead by all but one.
const STAGES: [usize; 3] = [AHEAD + 1, 2, 1];

/// Points of a nest that one thread takes.
const POINTS: usize = 4;

/// Most threads of a block.
const THREADS: usize = 512;

/// What a barrier costs a thread, in additions.
const BARRIER: usize = 32;

/// Lowers a recurrence of one pass, which reads no last state, to a loop over its tokens.
///
/// With `cut` the kernel is for a GPU, else for one thread.
///
/// # Errors
///
/// [`Code::TooLarge`] if states and values of one step do not fit the target's shared memory.
pub fn token_loop(
    recurrence: &Recurrence,
    build: &Build<'_>,
    cut: bool,
) -> Result<Checked, Diagnostic> {
    super::without_identity(recurrence)?;
    let program = Program::new(recurrence, build, cut);
    let stages = if cut { &STAGES[..] } else { &[1] };
    let (last, others) = stages.split_last().expect("some number of stages");
    for stages in others {
        match program.kernel(*stages) {
            Err(error) if error.code == Code::TooLarge => {}
            other => return other,
        }
    }
    let remedy = "use smaller dimensions, or a target with more shared memory";
    program.kernel(*last).map_err(|refusal| refusal.with_help(remedy))
}

/// What is known of a recurrence before its statements are made.
struct Program<'a> {
    /// As it is written, where indices are no tables yet.
    unfolded: &'a Recurrence,
    /// With constants computed.
    recurrence: Recurrence,
    build: &'a Build<'a>,
    layout: Layout,
    plan: Plan,
    threads: usize,
}

/// Statements under construction.
struct Lowering<'a> {
    unfolded: &'a Recurrence,
    recurrence: &'a Recurrence,
    build: &'a Build<'a>,
    layout: &'a Layout,
    plan: &'a Plan,
    threads: usize,
    stages: usize,
    draft: Draft,
    /// Tiles of states.
    states: Vec<TileId>,
    /// States whose new value is made apart from the old one.
    apart: &'a BTreeSet<TileId>,
    /// Tiles of what has been made so far.
    kept: BTreeMap<NodeId, TileId>,
    larger: BTreeMap<NodeId, TileId>,
    inputs: BTreeMap<usize, TileId>,
    tables: BTreeMap<TableId, TileId>,
    /// Loads before the loop and of each token.
    fixed_loads: Vec<(TileId, ParamId)>,
    loads: Vec<(TileId, ParamId)>,
    /// Statements before the loop.
    before: Vec<Stmt>,
    /// Statements of one token.
    items: Vec<Item>,
    /// Tiles that a nest writes while it reads other elements of them.
    clashes: BTreeSet<TileId>,
}

impl<'a> Program<'a> {
    fn new(unfolded: &'a Recurrence, build: &'a Build<'a>, cut: bool) -> Self {
        let recurrence = fold(unfolded, build.extents);
        let live = live(&recurrence);
        let sizes = (0..recurrence.dims.len()).map(|d| build.size(&recurrence, DimId(d)));
        let layout = Layout::new(&recurrence, sizes.collect(), &live, cut);
        let work =
            recurrence.nodes.iter().zip(&live).filter(|(_, live)| **live).map(|(node, _)| {
                let points = layout.points(&node.dims);
                match node.op {
                    Op::Dot(_, _, dim) | Op::Reduce(_, _, dim) => points * layout.size(dim),
                    _ => points,
                }
            });
        let wanted = work.max().unwrap_or(1).div_ceil(POINTS).next_power_of_two();
        let threads = if cut { wanted.clamp(32, THREADS) } else { 1 };
        let barrier = if cut { BARRIER * threads } else { 0 };
        let plan = plan::plan(&recurrence, &layout, &live, barrier);
        Self { unfolded, recurrence, build, layout, plan, threads }
    }

    fn kernel(&self, stages: usize) -> Result<Checked, Diagnostic> {
        let mut apart = BTreeSet::new();
        loop {
            match self.lowering(stages, &apart).run() {
                Ok(draft) => return draft.close(self.shape()),
                Err(state) => assert!(apart.insert(state), "a value made apart is in nobody's way"),
            }
        }
    }

    fn shape(&self) -> Shape {
        Shape {
            name: format!("{}_loop", self.recurrence.name),
            schedule: Schedule::Loop,
            chunk: 1,
            order: self.build.order(self.unfolded),
            layout: kernel::Layout::Lanes(kernel::Lanes::SINGLE),
            parts: self.layout.cut.map_or(1, |cut| cut.parts),
            warps: self.threads.div_ceil(32),
            // One thread has its tiles in ordinary memory.
            budget: if self.threads > 1 { self.build.target.shared_bytes } else { usize::MAX },
        }
    }

    fn lowering<'b>(&'b self, stages: usize, apart: &'b BTreeSet<TileId>) -> Lowering<'b> {
        let Self { unfolded, recurrence, build, layout, plan, threads } = self;
        Lowering {
            unfolded,
            recurrence,
            build,
            layout,
            plan,
            threads: *threads,
            stages,
            draft: Draft::default(),
            states: Vec::new(),
            apart,
            kept: BTreeMap::new(),
            larger: BTreeMap::new(),
            inputs: BTreeMap::new(),
            tables: BTreeMap::new(),
            fixed_loads: Vec::new(),
            loads: Vec::new(),
            before: Vec::new(),
            items: Vec::new(),
            clashes: BTreeSet::new(),
        }
    }
}

impl Lowering<'_> {
    /// All statements, or the tile of a state whose new value must be made apart.
    fn run(mut self) -> Result<Draft, TileId> {
        let recurrence = self.recurrence;
        for state in &recurrence.states {
            let tile = self.tile(&state.name, &state.dims);
            self.states.push(tile);
        }
        for output in &recurrence.outputs {
            self.store(output);
        }
        for index in 0..recurrence.states.len() {
            self.update(StateId(index));
        }
        if let Some(clash) = self.clashes.first() {
            return Err(*clash);
        }
        self.draft.body = sequence::ordered(std::mem::take(&mut self.items))?;
        self.open_states();
        self.draft.pipeline(&self.loads, self.stages);
        Ok(self.draft)
    }

    fn new_tile(&mut self, name: &str, size: [usize; 2], dtype: Dtype, stages: usize) -> TileId {
        self.draft.tile(name, size, dtype, Home::Packed { stages })
    }

    /// A new tile for a value of these dimensions.
    fn tile(&mut self, name: &str, dims: &[DimId]) -> TileId {
        self.new_tile(name, self.layout.tile(dims), self.build.compute, 1)
    }

    /// A new tile for a node, with statements that fill it.
    fn made(&mut self, id: NodeId) -> TileId {
        let node = self.recurrence.node(id);
        let tile = self.tile(node.name.as_deref().unwrap_or("t"), &node.dims);
        self.write(id, tile);
        tile
    }

    /// The tile of a node that the plan keeps.
    fn kept(&mut self, id: NodeId) -> TileId {
        if let Some(tile) = self.kept.get(&id) {
            return *tile;
        }
        let tile = match self.home(id) {
            Some(StateId(state)) => {
                let tile = self.states[state];
                self.write(id, tile);
                tile
            }
            None => self.made(id),
        };
        self.kept.insert(id, tile);
        tile
    }

    /// The state over whose old value the node is written.
    fn home(&self, id: NodeId) -> Option<StateId> {
        let updates = self.recurrence.updates.iter().enumerate();
        let free = |state: &usize| !self.apart.contains(&self.states[*state]);
        let mut states = updates.filter(|(_, update)| **update == id).map(|(state, _)| state);
        let computed = self.plan.kept[id.0] && !self.plan.fixed[id.0];
        states.find(free).filter(|_| computed).map(StateId)
    }

    /// The new value of a state into its tile.
    fn update(&mut self, state: StateId) {
        let id = self.recurrence.updates[state.0];
        if self.recurrence.node(id).op == Op::State(state) {
            return;
        }
        let own = self.states[state.0];
        if self.home(id) == Some(state) {
            self.kept(id);
        } else if self.plan.kept[id.0] {
            let made = self.kept(id);
            self.copy(id, made, own);
        } else if self.apart.contains(&own) {
            let made = self.made(id);
            self.copy(id, made, own);
        } else {
            self.write(id, own);
        }
    }

    fn store(&mut self, output: &Output) {
        let id = output.node;
        let src = if self.plan.kept[id.0] { self.kept(id) } else { self.made(id) };
        let dtype = self.recurrence.output_dtype(output, self.build.dtype);
        let node_dims = &self.recurrence.node(id).dims;
        let dims = self.layout.whole(node_dims);
        let split = self.layout.splits(node_dims);
        let param = params::token_out(&output.name, dtype, &dims, split);
        let param = self.param(param, node_dims);
        let stmt = Stmt::Store { param, src, col: 0 };
        self.items.push(Item { stmt, old: BTreeSet::new() });
    }

    /// The tile of an input, which is loaded into it.
    fn input(&mut self, index: usize) -> TileId {
        if let Some(tile) = self.inputs.get(&index) {
            return *tile;
        }
        let input = &self.recurrence.inputs[index];
        let dtype = self.recurrence.input_dtype(input, self.build.dtype);
        let stages = if input.rate == Rate::Token { self.stages } else { 1 };
        let tile = self.new_tile(&input.name, self.layout.tile(&input.dims), dtype, stages);
        let param = self.input_param(index);
        match input.rate {
            Rate::Token => self.loads.push((tile, param)),
            Rate::Model => self.fixed_loads.push((tile, param)),
        }
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
        let tile = self.tile("table", &table.dims);
        self.draft.setup.push(Stmt::Table { dst: tile, values: table.values.clone() });
        self.tables.insert(id, tile);
        tile
    }

    /// Everything before the loop and after it that concerns states, and what is computed once.
    fn open_states(&mut self) {
        let mut given = Vec::new();
        for (state, &tile) in self.recurrence.states.iter().zip(&self.states.clone()) {
            let dims = self.layout.whole(&state.dims);
            let columns = (self.layout.splits(&state.dims), false);
            let param = |kind| params::state(&state.name, kind, &dims, columns, self.build.compute);
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
