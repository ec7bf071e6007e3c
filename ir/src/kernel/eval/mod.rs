//! What a kernel means: it is run tile by tile on the CPU, with or without real rounding.
//!
//! Every instance (sequence, head, part) starts with tiles of NaN, so that a read of something
//! never written shows. Statements of one role run in order; with several roles, each runs until
//! it waits for an mbarrier that is not complete, then the next one runs.

mod stmt;

use super::{Checked, Kernel, Param, ParamKind, Schedule, Stmt, Sync, TileId};
use crate::problem::{Array, Arrays, Problem};
use crate::step::Sharing;
use std::collections::BTreeMap;
use std::ops::Range;

/// Whether tiles round to their dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Doubles everywhere: tests the schedule alone.
    Exact,
    /// Inputs, tiles and outputs round to their dtypes: what the hardware would give.
    Stored,
}

/// Runs the kernel on a problem; returns its outputs and final states by name.
///
/// # Panics
/// If an input array is missing or mis-shaped (the driver checks the user's arrays before).
pub fn eval(kernel: &Checked, problem: &Problem, inputs: &Arrays, rounding: Rounding) -> Arrays {
    if let Some(before) = &kernel.prepare {
        let mut inputs = inputs.clone();
        inputs.extend(eval(before, problem, &inputs, rounding));
        return eval_alone(kernel, problem, &inputs, rounding);
    }
    eval_alone(kernel, problem, inputs, rounding)
}

/// Runs the kernel itself; what prepares it has run.
fn eval_alone(kernel: &Kernel, problem: &Problem, inputs: &Arrays, rounding: Rounding) -> Arrays {
    let mut outputs: Vec<Option<Array>> =
        kernel.params.iter().map(|p| output_shape(p, problem).map(|s| Array::zeros(&s))).collect();
    if kernel.schedule == Schedule::Prepare {
        // A read of what nobody made shows.
        outputs.iter_mut().flatten().for_each(|array| array.data.fill(f64::NAN));
    }
    for sequence in 0..problem.sequences() {
        for head in 0..problem.heads {
            for part in 0..kernel.parts {
                let at = Instance { sequence, head, part };
                let mut run = Run::new(kernel, problem, inputs, rounding, at);
                run.all(&mut outputs);
            }
        }
    }
    let named = kernel.params.iter().zip(outputs);
    named.filter_map(|(p, a)| a.map(|a| (p.name.clone(), a))).collect()
}

fn output_shape(param: &Param, problem: &Problem) -> Option<Vec<usize>> {
    let outer = match param.kind {
        ParamKind::TokenOut => problem.tokens(),
        ParamKind::StateOut => problem.sequences(),
        ParamKind::TokenIn | ParamKind::ModelIn | ParamKind::StateIn => return None,
    };
    Some([&[outer, problem.heads], &*param.dims].concat())
}

/// Which sequence, head and part of the value axis.
#[derive(Clone, Copy)]
struct Instance {
    sequence: usize,
    head: usize,
    part: usize,
}

/// One instance of the kernel while it runs.
struct Run<'a> {
    kernel: &'a Kernel,
    problem: &'a Problem,
    inputs: &'a Arrays,
    rounding: Rounding,
    at: Instance,
    /// Elements of each tile's instances, row-major without padding.
    tiles: Vec<Vec<Vec<f64>>>,
    /// The chunk that each tile instance of the running statement belongs to.
    chunk: usize,
    /// Arrivals at (mbarrier, chunk).
    arrivals: BTreeMap<(usize, usize), usize>,
}

impl<'a> Run<'a> {
    fn new(
        kernel: &'a Kernel,
        problem: &'a Problem,
        inputs: &'a Arrays,
        rounding: Rounding,
        at: Instance,
    ) -> Self {
        let instances = |t: &super::Tile| t.shared().map_or(1, |s| s.stages);
        let fresh = |t: &super::Tile| vec![vec![f64::NAN; t.rows * t.cols]; instances(t)];
        let tiles = kernel.tiles.iter().map(fresh).collect();
        let arrivals = BTreeMap::new();
        Self { kernel, problem, inputs, rounding, at, tiles, chunk: 0, arrivals }
    }

    fn first_token(&self) -> usize {
        self.problem.cu_seqlens[self.at.sequence]
    }

    fn length(&self) -> usize {
        self.problem.cu_seqlens[self.at.sequence + 1] - self.first_token()
    }

    /// Tokens of a chunk that exist.
    fn live(&self, chunk: usize) -> usize {
        self.length().saturating_sub(chunk * self.kernel.chunk).min(self.kernel.chunk)
    }

    /// Runs every role over all chunks; chunks that are independent start afresh.
    fn all(&mut self, outputs: &mut [Option<Array>]) {
        let chunks = self.length().div_ceil(self.kernel.chunk);
        if self.kernel.schedule != Schedule::Prepare {
            return self.chunks(0..chunks, outputs);
        }
        for chunk in 0..chunks {
            let mut alone =
                Run::new(self.kernel, self.problem, self.inputs, self.rounding, self.at);
            alone.chunks(chunk..chunk + 1, outputs);
        }
    }

    /// Runs every role to its end.
    fn chunks(&mut self, chunks: Range<usize>, outputs: &mut [Option<Array>]) {
        let kernel = self.kernel;
        let mut streams: Vec<Vec<(usize, &Stmt)>> = Vec::new();
        for role in &kernel.roles {
            let setup = role.setup.iter().map(|s| (0, s));
            let body = chunks.clone().flat_map(|c| role.body.iter().map(move |s| (c, s)));
            let finish = role.finish.iter().map(|s| (chunks.end.saturating_sub(1), s));
            streams.push(setup.chain(body).chain(finish).collect());
        }
        let mut next = vec![0; streams.len()];
        while next.iter().zip(&streams).any(|(n, s)| *n < s.len()) {
            let mut moved = false;
            for (role, stream) in streams.iter().enumerate() {
                while let Some((chunk, stmt)) = stream.get(next[role]) {
                    if !self.ready(*chunk, stmt) {
                        break;
                    }
                    self.chunk = *chunk;
                    self.step(stmt, role, outputs);
                    next[role] += 1;
                    moved = true;
                }
            }
            assert!(moved, "a checked kernel's roles do not wait for each other in a circle");
        }
    }

    /// Whether a role may pass the statement now.
    fn ready(&self, chunk: usize, stmt: &Stmt) -> bool {
        match stmt {
            Stmt::Sync(Sync::Wait(barrier)) => {
                let arrived = self.arrivals.get(&(*barrier, chunk)).copied().unwrap_or(0);
                arrived >= self.kernel.mbarriers[*barrier].count
            }
            Stmt::Sync(Sync::Free { barrier, ahead }) => {
                let mbarrier = &self.kernel.mbarriers[*barrier];
                let before = (chunk + ahead).checked_sub(mbarrier.stages);
                let left = |c| self.arrivals.get(&(*barrier, c)).copied().unwrap_or(0);
                before.is_none_or(|c| left(c) >= mbarrier.count)
            }
            _ => true,
        }
    }

    fn step(&mut self, stmt: &Stmt, role: usize, outputs: &mut [Option<Array>]) {
        match stmt {
            Stmt::Sync(Sync::Arrive(barrier)) => {
                let warps = self.kernel.roles[role].warps;
                *self.arrivals.entry((*barrier, self.chunk)).or_default() += warps;
            }
            Stmt::Begin(_) | Stmt::Sync(_) | Stmt::Commit | Stmt::WaitLoads { .. } => {}
            Stmt::Load { dst, param, ahead, col } => {
                self.load(*dst, param.0, self.chunk + ahead, *col);
            }
            Stmt::Store { param, src, col } => {
                let out = outputs[param.0].as_mut().expect("a checked store goes to an output");
                self.store(*src, param.0, *col, out);
            }
            Stmt::Put { param, shape, body } => {
                let values = self.values(*shape, body);
                let out = outputs[param.0].as_mut().expect("a checked put goes to an output");
                self.put_out(param.0, shape[2], &values, out);
            }
            compute => self.compute(compute),
        }
    }

    /// Index of the tile instance that a chunk uses.
    fn slot(&self, tile: TileId, chunk: usize) -> usize {
        chunk % self.tiles[tile.0].len()
    }

    /// Elements of a tile for the running chunk.
    fn data(&self, tile: TileId) -> &[f64] {
        &self.tiles[tile.0][self.slot(tile, self.chunk)]
    }

    /// Replaces elements of a tile for the running chunk, rounding them.
    fn put(&mut self, tile: TileId, data: Vec<f64>) {
        let slot = self.slot(tile, self.chunk);
        self.put_at(tile, slot, data);
    }

    fn put_at(&mut self, tile: TileId, slot: usize, mut data: Vec<f64>) {
        if self.rounding == Rounding::Stored {
            let dtype = self.kernel.tile(tile).dtype;
            data.iter_mut().for_each(|x| *x = dtype.round(*x));
        }
        self.tiles[tile.0][slot] = data;
    }

    /// First element in its array of the token, model entry or state of a param that row `row` of a
    /// chunk's tile belongs to; none: the token does not exist.
    fn base(&self, param: &Param, chunk: usize, row: usize) -> Option<usize> {
        let (heads, head) = match param.sharing {
            Sharing::Head => (self.problem.heads, self.at.head),
            Sharing::Group => (self.problem.groups, self.problem.group_of(self.at.head)),
        };
        let entry = match param.kind {
            ParamKind::ModelIn => head,
            ParamKind::StateIn | ParamKind::StateOut => self.at.sequence * heads + head,
            ParamKind::TokenIn | ParamKind::TokenOut => {
                let in_chunk = row / param.rows;
                if in_chunk >= self.live(chunk) {
                    return None;
                }
                let place = chunk * self.kernel.chunk + in_chunk;
                let token = self.first_token() + self.kernel.order.token(place, self.length());
                token * heads + head
            }
        };
        Some(entry * param.rows * param.cols)
    }

    /// Offset of element `(row, col)` of this part within one token, model entry or state.
    fn element(&self, param: &Param, width: usize, row: usize, col: usize) -> Option<usize> {
        let col = if param.split { self.at.part * width + col } else { col };
        if col >= param.cols {
            return None;
        }
        Some(if param.transposed { col * param.rows + row } else { row * param.cols + col })
    }

    /// How many of a param's columns a tile of `width` columns holds from `first` on.
    fn columns(param: &Param, width: usize, first: usize) -> usize {
        if param.split { width } else { (width - first).min(param.cols) }
    }

    fn load(&mut self, dst: TileId, param: usize, chunk: usize, first_col: usize) {
        let param = &self.kernel.params[param];
        let tile = self.kernel.tile(dst);
        let slot = self.slot(dst, chunk);
        let Some(array) = self.inputs.get(&param.name) else {
            assert!(param.kind == ParamKind::StateIn, "input `{}` was not given", param.name);
            return;
        };
        let mut data = self.tiles[dst.0][slot].clone();
        // A read of a chunk without tokens shows; in others the tokens that are missing are 0.
        let missing = if self.kernel.chunk == 1 { f64::NAN } else { 0.0 };
        for row in 0..tile.rows {
            let base = self.base(param, chunk, row);
            for col in 0..Self::columns(param, tile.cols, first_col) {
                let row_of_param = tile.stands_for.row(row) % param.rows;
                let at = self.element(param, tile.cols, row_of_param, col);
                let x = match (base, at) {
                    (Some(base), Some(at)) => array.data[base + at],
                    (None, _) => missing,
                    (_, None) => 0.0,
                };
                let stored = self.rounding == Rounding::Stored;
                let x = if stored { param.dtype.round(x) } else { x };
                data[row * tile.cols + first_col + col] = x;
            }
        }
        self.put_at(dst, slot, data);
    }

    /// Rows of a chunk's elements to the param of which they have the columns.
    fn put_out(&self, param: usize, cols: usize, values: &[f64], out: &mut Array) {
        let param = &self.kernel.params[param];
        let stored = self.rounding == Rounding::Stored;
        for (row, values) in values.chunks(cols).enumerate() {
            let Some(base) = self.base(param, self.chunk, row) else { continue };
            let at = base + row % param.rows * param.cols;
            for (to, x) in out.data[at..].iter_mut().zip(values) {
                *to = if stored { param.dtype.round(*x) } else { *x };
            }
        }
    }

    fn store(&self, src: TileId, param: usize, first_col: usize, out: &mut Array) {
        let param = &self.kernel.params[param];
        let tile = self.kernel.tile(src);
        for row in 0..tile.rows {
            let Some(base) = self.base(param, self.chunk, row) else { continue };
            for col in 0..Self::columns(param, tile.cols, first_col) {
                let row_of_param = tile.stands_for.row(row) % param.rows;
                if let Some(at) = self.element(param, tile.cols, row_of_param, col) {
                    let x = self.data(src)[row * tile.cols + first_col + col];
                    let stored = self.rounding == Rounding::Stored;
                    out.data[base + at] = if stored { param.dtype.round(x) } else { x };
                }
            }
        }
    }
}
