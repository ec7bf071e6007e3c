//! The step schedule: one token at a time, lowered straight from the step form.
//!
//! In: a recurrence in step form.  Out: a kernel whose body is one step. It owes nothing to the
//! sequence form, so its scalar spelling can accuse every chunked kernel; on a GPU it is the decode
//! kernel, which reads and writes the state once.
//!
//! Matrices and the vectors of the value axis live in columns, everything else in shared memory.
//! Pointwise nodes are fused into their readers unless they are large and read twice. On a GPU the first
//! token's inputs are loaded beside the states.

use super::Build;
use super::draft::{Draft, Home, Shape};
use super::lanes::{Grain, part, spread};
use super::misfit::{Way, misfit, way};
use super::params;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::kernel::{
    Arg, Band, Checked, CopyMap, Expr, Layout, Mma, Operand, Over, ParamId, ParamKind, Schedule,
    Start, Stmt, TileId, Unit, View,
};
use sluice_ir::pointwise::Binary;
use sluice_ir::step::{DimId, Init, InputId, NodeId, Op, Rate, Recurrence, Reduction, StateId};
use std::collections::BTreeMap;

/// A variant of the schedule.
#[derive(Clone, Copy)]
pub(super) struct Variety {
    pub(super) schedule: Schedule,
    /// What blocks of the grid take; none: one processor takes all.
    pub(super) grain: Option<Grain>,
    /// Instances of the tiles of token inputs: loads run ahead by all but one.
    pub(super) stages: usize,
    /// What is added to the name.
    pub(super) suffix: &'static str,
}

/// Lowers a recurrence to its step kernel.
///
/// With `cut`, the value axis is cut into parts where columns are independent; code for one processor
/// leaves it whole.
///
/// # Errors
///
/// [`Code::Unsupported`] if not all matrices have the shape of a state, or elements move to other
/// places; [`super::token_loop`] takes those.
pub fn step(recurrence: &Recurrence, build: &Build<'_>, cut: bool) -> Result<Checked, Diagnostic> {
    let (grain, stages) = if cut { (Some(Grain::COARSE), 2) } else { (None, 1) };
    let variety = Variety { schedule: Schedule::Step, grain, stages, suffix: "" };
    step_as(recurrence, build, variety)
}

/// The same in one of its varieties.
pub(super) fn step_as(
    recurrence: &Recurrence,
    build: &Build<'_>,
    variety: Variety,
) -> Result<Checked, Diagnostic> {
    super::without_identity(recurrence)?;
    if let Some((node, reason)) = misfit(recurrence) {
        let message = format!("the step schedule has no place for {reason}");
        return Err(Diagnostic::new(Code::Unsupported, message)
            .at(node.span.clone(), "here")
            .with_help("the token loop takes every shape"));
    }
    let mut lowering = Lowering::new(recurrence, build, variety);
    lowering.run();
    let matrices = || recurrence.states.iter().filter(|s| s.dims.len() == 2);
    let tiles: Vec<[usize; 2]> = matrices().map(|s| lowering.tile_size(&s.dims)).collect();
    let whole: Vec<usize> = matrices().map(|s| lowering.size(s.dims[1])).collect();
    let spread = spread(&tiles, &whole, variety.grain.unwrap_or(Grain::COARSE));
    let schedule = variety.schedule;
    let shape = Shape {
        name: format!("{}_{schedule}{}", recurrence.name, variety.suffix),
        schedule,
        chunk: 1,
        order: build.order(recurrence),
        layout: Layout::Lanes(spread.lanes),
        parts: lowering.parts(),
        warps: spread.warps,
        budget: build.target.shared_bytes,
    };
    lowering.draft.close(shape)
}

struct Lowering<'a> {
    recurrence: &'a Recurrence,
    build: &'a Build<'a>,
    draft: Draft,
    variety: Variety,
    /// Whether the value axis is cut into parts.
    cut: bool,
    /// How often each node is read.
    uses: Vec<usize>,
    /// Tiles of nodes, where they were made.
    tiles: BTreeMap<(NodeId, bool), TileId>,
    states: Vec<TileId>,
    /// What each token loads.
    loads: Vec<(TileId, ParamId)>,
    /// Tiles of token inputs with several instances.
    staged: BTreeMap<usize, TileId>,
}

/// Where a value is wanted.
const COLUMNS: bool = true;
const SHARED: bool = false;

impl<'a> Lowering<'a> {
    fn new(recurrence: &'a Recurrence, build: &'a Build<'a>, variety: Variety) -> Self {
        let mut uses = vec![0; recurrence.nodes.len()];
        recurrence.nodes.iter().flat_map(|n| n.op.operands()).for_each(|id| uses[id.0] += 1);
        let mut lowering = Self {
            recurrence,
            build,
            draft: Draft::default(),
            variety,
            cut: false,
            uses,
            tiles: BTreeMap::new(),
            states: Vec::new(),
            loads: Vec::new(),
            staged: BTreeMap::new(),
        };
        lowering.cut = variety.grain.is_some() && lowering.columns_are_independent();
        lowering
    }

    fn size(&self, dim: DimId) -> usize {
        self.build.size(self.recurrence, dim)
    }

    fn is_column(&self, dim: DimId) -> bool {
        self.recurrence.states.iter().any(|s| s.dims.len() == 2 && s.dims[1] == dim)
    }

    fn is_row(&self, dim: DimId) -> bool {
        self.recurrence.states.iter().any(|s| s.dims.first() == Some(&dim))
    }

    /// Whether no value mixes columns, so that the value axis can be cut.
    fn columns_are_independent(&self) -> bool {
        let nodes = &self.recurrence.nodes;
        let mixes = |op: &Op| match op {
            Op::Dot(_, _, dim) | Op::Reduce(_, _, dim) => self.is_column(*dim),
            _ => false,
        };
        let matrices = self.recurrence.states.iter().all(|s| s.dims.len() == 2);
        let both = self
            .recurrence
            .states
            .iter()
            .any(|s| s.dims.first().is_some_and(|d| self.is_column(*d)));
        let mut widths = self.recurrence.states.iter().filter_map(|s| s.dims.get(1));
        let first = widths.next();
        matrices && !both && widths.all(|w| Some(w) == first) && !nodes.iter().any(|n| mixes(&n.op))
    }

    fn parts(&self) -> usize {
        let width = self.recurrence.states.iter().filter_map(|s| s.dims.get(1)).next();
        width.map_or(1, |dim| self.size(*dim).div_ceil(self.columns(*dim)))
    }

    /// Columns of a block.
    fn columns(&self, dim: DimId) -> usize {
        let size = self.size(dim);
        match self.variety.grain {
            Some(grain) if self.cut => part(size, grain),
            _ => size,
        }
    }

    /// Dimensions of a node as a tile: matrices in the order of the state they belong to.
    fn order(&self, dims: &[DimId]) -> Vec<DimId> {
        let mut sorted = dims.to_vec();
        if let [a, b] = *dims {
            let states = &self.recurrence.states;
            if states.iter().any(|s| s.dims == [b, a]) || (self.is_column(a) && !self.is_column(b))
            {
                sorted = vec![b, a];
            }
        }
        sorted
    }

    fn tile_size(&self, dims: &[DimId]) -> [usize; 2] {
        let width = |d: DimId| if self.is_column(d) { self.columns(d) } else { self.size(d) };
        match *self.order(dims) {
            [] => [1, 1],
            [d] => [1, width(d)],
            [r, c] => [self.size(r), width(c)],
            _ => unreachable!("values have at most two dimensions"),
        }
    }

    /// Where a value of these dimensions lives when nobody asks for another place.
    fn natural(&self, dims: &[DimId]) -> bool {
        match *dims {
            [d] => self.is_column(d) && !self.is_row(d),
            [_, _] => COLUMNS,
            _ => SHARED,
        }
    }

    fn new_tile(&mut self, name: &str, dims: &[DimId], columns: bool) -> TileId {
        let home = if columns { Home::Columns } else { Home::Shared { stages: 1 } };
        let size = self.tile_size(dims);
        self.draft.tile(name, size, self.build.compute, home)
    }

    fn run(&mut self) {
        for index in 0..self.recurrence.states.len() {
            self.open_state(index);
        }
        for output in &self.recurrence.outputs {
            let node = self.recurrence.node(output.node);
            let src = self.tile(output.node, self.natural(&node.dims));
            let dtype = self.recurrence.output_dtype(output, self.build.dtype);
            let dims = self.build.sizes(self.recurrence, &node.dims);
            let split = self.splits(&node.dims);
            let param = self.draft.param(params::token_out(&output.name, dtype, &dims, split));
            self.draft.body.push(Stmt::Store { param, src, col: 0 });
        }
        let updates = self.recurrence.updates.clone();
        let new: Vec<TileId> = updates
            .iter()
            .map(|id| self.tile(*id, self.natural(&self.recurrence.node(*id).dims)))
            .collect();
        for (index, src) in new.into_iter().enumerate() {
            self.close_state(index, src);
        }
        self.draft.pipeline(&self.loads, self.variety.stages);
    }

    /// Whether the parts of the value axis cut values of these dimensions.
    fn splits(&self, dims: &[DimId]) -> bool {
        self.cut && dims.iter().any(|d| self.is_column(*d))
    }

    /// The parameter of a state before or after the sequence.
    fn state_param(&mut self, index: usize, kind: ParamKind) -> ParamId {
        let state = &self.recurrence.states[index];
        let dims = self.build.sizes(self.recurrence, &state.dims);
        let columns = (self.splits(&state.dims), false);
        let param = params::state(&state.name, kind, &dims, columns, self.build.compute);
        self.draft.param(param)
    }

    fn open_state(&mut self, index: usize) {
        let state = &self.recurrence.states[index];
        let columns = self.natural(&state.dims);
        let tile = self.new_tile(&state.name, &state.dims, columns);
        let param = self.state_param(index, ParamKind::StateIn);
        let opening = match state.init {
            Init::Value(value) => Stmt::Fill { dst: tile, value },
            Init::Identity => unreachable!("refused before"),
            Init::Input(InputId(input)) => {
                let param = self.input_param(input);
                Stmt::Load { dst: tile, param, ahead: 0, col: 0 }
            }
        };
        self.draft.setup.push(opening);
        if matches!(state.init, Init::Input(_)) {
            // The caller's state comes over the initial one.
            self.draft.setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
        }
        self.draft.setup.push(Stmt::Load { dst: tile, param, ahead: 0, col: 0 });
        if columns {
            self.draft.carried.push(tile);
        } else {
            self.draft.setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
        }
        self.states.push(tile);
    }

    fn close_state(&mut self, index: usize, src: TileId) {
        let dst = self.states[index];
        let (to, from) = (self.draft.whole(dst), self.draft.whole(src));
        self.draft.body.push(Stmt::Copy { dst: to, src: from, map: CopyMap::Whole });
        let param = self.state_param(index, ParamKind::StateOut);
        self.draft.finish.push(Stmt::Store { param, src: dst, col: 0 });
    }

    /// The tile of a node in the place wanted.
    fn tile(&mut self, id: NodeId, columns: bool) -> TileId {
        if let Some(tile) = self.tiles.get(&(id, columns)) {
            return *tile;
        }
        let node = self.recurrence.node(id);
        let natural = self.natural(&node.dims);
        let tile = if natural == columns || matches!(node.op, Op::Input(_)) {
            self.compute(id, columns)
        } else {
            let src = self.tile(id, natural);
            let name = node.name.as_deref().unwrap_or("moved");
            let dst = self.new_tile(name, &node.dims, columns);
            let (to, from) = (self.draft.whole(dst), self.draft.whole(src));
            self.draft.body.push(Stmt::Copy { dst: to, src: from, map: CopyMap::Whole });
            dst
        };
        self.tiles.insert((id, columns), tile);
        tile
    }

    fn compute(&mut self, id: NodeId, columns: bool) -> TileId {
        let node = self.recurrence.node(id);
        let name = node.name.clone().unwrap_or_else(|| "t".to_owned());
        match way(&node.op).expect("what moves elements is refused at first") {
            Way::Input(input) => self.input(input, columns),
            Way::State(StateId(state)) => self.states[state],
            Way::Product(operands, dim) => self.dot(id, operands, dim),
            Way::Reduction(op, x) => self.reduce(id, op, x),
            Way::Pointwise => {
                let mut args = Vec::new();
                let expr = self.inlined(id, &node.dims, &mut args);
                let dst = self.new_tile(&name, &node.dims, columns);
                let view = self.draft.whole(dst);
                self.draft.map(view, expr, args);
                dst
            }
        }
    }

    fn input_param(&mut self, index: usize) -> ParamId {
        let input = &self.recurrence.inputs[index];
        let dtype = self.recurrence.input_dtype(input, self.build.dtype);
        let dims = self.build.sizes(self.recurrence, &input.dims);
        let transposed = self.order(&input.dims) != input.dims;
        let split = self.splits(&input.dims);
        self.draft.param(params::input(input, dtype, &dims, split, transposed))
    }

    fn input(&mut self, InputId(index): InputId, columns: bool) -> TileId {
        let input = &self.recurrence.inputs[index];
        if input.rate == Rate::Token && self.variety.stages > 1 {
            return self.staged_input(index, columns);
        }
        let dst = self.new_tile(&input.name, &input.dims, columns);
        let param = self.input_param(index);
        match input.rate {
            Rate::Token => self.loads.push((dst, param)),
            Rate::Model => {
                let load = Stmt::Load { dst, param, ahead: 0, col: 0 };
                self.draft.setup.extend([load, Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
            }
        }
        dst
    }

    /// A token input that is loaded tokens ahead, which only shared memory can hold.
    fn staged_input(&mut self, index: usize, columns: bool) -> TileId {
        let input = &self.recurrence.inputs[index];
        let staged = match self.staged.get(&index) {
            Some(tile) => *tile,
            None => {
                let dtype = self.recurrence.input_dtype(input, self.build.dtype);
                let (size, home) =
                    (self.tile_size(&input.dims), Home::Packed { stages: self.variety.stages });
                let tile = self.draft.tile(&input.name, size, dtype, home);
                let param = self.input_param(index);
                self.loads.push((tile, param));
                self.staged.insert(index, tile);
                tile
            }
        };
        if !columns {
            return staged;
        }
        let dst = self.new_tile(&input.name, &input.dims, COLUMNS);
        let (to, from) = (self.draft.whole(dst), self.draft.whole(staged));
        self.draft.body.push(Stmt::Copy { dst: to, src: from, map: CopyMap::Whole });
        dst
    }

    /// An expression for a node inside the tile of another node of dimensions `within`.
    fn operand(&mut self, id: NodeId, within: &[DimId], args: &mut Vec<Arg>) -> Expr {
        let node = self.recurrence.node(id);
        if let Some(value) = self.constant(id) {
            return Expr::Const(value);
        }
        let pointwise =
            matches!(node.op, Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::Outer(..));
        let same = self.order(&node.dims) == self.order(within);
        // What all threads work out costs less than a barrier behind those that would, if it is little.
        let again = match self.variety.grain {
            Some(grain) => node.dims.is_empty() || grain == Grain::FINE && within.len() == 2,
            None => false,
        };
        if pointwise && (same || again) && self.uses[id.0] == 1 {
            return self.inlined(id, within, args);
        }
        let tile = self.tile(id, self.natural(&node.dims));
        let rows = self.order(within);
        // A vector of the row axis varies down the rows of a matrix but is stored as one row.
        let transposed = node.dims.len() == 1 && rows.len() == 2 && rows[0] == node.dims[0];
        let arg = Arg { view: View { tile, blocks: 1 }, transposed };
        let index = args.iter().position(|a| *a == arg).unwrap_or_else(|| {
            args.push(arg);
            args.len() - 1
        });
        Expr::Arg(index)
    }

    /// The value of a node that depends on sizes and numbers only.
    fn constant(&self, id: NodeId) -> Option<f64> {
        match self.recurrence.node(id).op {
            Op::Const(x) => Some(x),
            Op::Extent(dim) => Some(self.size(dim) as f64),
            Op::Unary(f, a) => Some(f.eval(self.constant(a)?)),
            Op::Binary(f, a, b) => Some(f.eval(self.constant(a)?, self.constant(b)?)),
            _ => None,
        }
    }

    fn inlined(&mut self, id: NodeId, within: &[DimId], args: &mut Vec<Arg>) -> Expr {
        let mut operand = |this: &mut Self, id| Box::new(this.operand(id, within, args));
        match self.recurrence.node(id).op {
            Op::Const(x) => Expr::Const(x),
            Op::Extent(dim) => Expr::Const(self.size(dim) as f64),
            Op::Unary(f, a) => Expr::Unary(f, operand(self, a)),
            Op::Binary(f, a, b) => Expr::Binary(f, operand(self, a), operand(self, b)),
            Op::Outer(a, b) => Expr::Binary(Binary::Mul, operand(self, a), operand(self, b)),
            Op::Select(c, a, b) => {
                Expr::Select(operand(self, c), operand(self, a), operand(self, b))
            }
            _ => unreachable!("only pointwise nodes are inlined"),
        }
    }

    fn dot(&mut self, id: NodeId, [a, b]: [NodeId; 2], dim: DimId) -> TileId {
        let recurrence = self.recurrence;
        let node = recurrence.node(id);
        let rank = |id: NodeId| recurrence.node(id).dims.len();
        // The vector is the left operand.
        let (vector, other) = if rank(a) <= rank(b) { (a, b) } else { (b, a) };
        let over_rows = rank(other) == 2 && self.order(&recurrence.node(other).dims)[0] == dim;
        let columns = if over_rows { SHARED } else { self.natural(&[dim]) || rank(other) == 2 };
        let left = self.tile(vector, columns);
        let right = self.tile(other, if rank(other) == 2 { COLUMNS } else { columns });
        let name = node.name.clone().unwrap_or_else(|| "dot".to_owned());
        let dst = self.new_tile(&name, &node.dims, over_rows);
        let operand = |tile, transposed| Operand { view: View { tile, blocks: 1 }, transposed };
        self.draft.body.push(Stmt::Mma(Mma {
            dst: View { tile: dst, blocks: 1 },
            a: operand(left, false),
            b: operand(right, !over_rows),
            start: Start::Zero,
            then: None,
            band: Band::Full,
            unit: Unit::Scalar,
        }));
        let natural = self.natural(&node.dims);
        if over_rows == natural {
            return dst;
        }
        let moved = self.new_tile(&name, &node.dims, natural);
        let (to, from) = (self.draft.whole(moved), self.draft.whole(dst));
        self.draft.body.push(Stmt::Copy { dst: to, src: from, map: CopyMap::Whole });
        moved
    }

    fn reduce(&mut self, id: NodeId, op: Reduction, x: NodeId) -> TileId {
        let node = self.recurrence.node(id);
        let src = self.tile(x, SHARED);
        let dst = self.new_tile(node.name.as_deref().unwrap_or("sum"), &node.dims, SHARED);
        let (to, from) = (self.draft.whole(dst), self.draft.whole(src));
        self.draft.body.push(Stmt::Reduce { op, dst: to, src: from, over: Over::Cols });
        dst
    }
}
