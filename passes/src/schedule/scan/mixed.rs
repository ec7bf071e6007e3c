//! Loops whose states a small matrix mixes at every step: one tile in columns for each state.
//!
//! The products of the matrices between any two steps of a chunk are one table, made by doubling: what
//! leads from the start of a run to its middle times what leads from there to its end. Readers and keys
//! that are brought to the chunk's edges, the weights of scores and the matrix of the whole chunk are
//! taken from it.

use super::Scan;
use super::history::plain_product;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    Access, Arg, Band, Body, CopyMap, Expr, Mma, Nest, Operand, ParamKind, Reduction, Start, Stmt,
    TileId, Unit, View,
};
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::{Core, Mask, Root, Seq, core_of};

/// The least extent for which tensor cores are used.
const TENSOR_EXTENT: usize = 8;

/// The tiles of one loop.
#[derive(Clone)]
pub(super) struct Stacked {
    core: Core,
    /// The states, `[K, V]` in columns each.
    states: Vec<TileId>,
    /// The values that the feedback rows write.
    written: Option<TileId>,
    /// Keys by state, and values in the halves that they need, of what a chunk writes.
    writes: Vec<(Vec<TileId>, Vec<TileId>)>,
}

/// The products of the matrices between any two steps: for `i >= k` the rows of step `i` and the columns
/// of step `k` hold `R_{i-1} .. R_k`, above are zeros.
#[derive(Clone, Copy)]
struct Chain {
    tile: TileId,
    /// Rows and columns of one matrix.
    n: usize,
    /// Elements of a row.
    width: usize,
    steps: usize,
}

impl Scan<'_> {
    /// The core of a history of stacked states.
    fn stacked_core(&self, id: Id) -> Option<Core> {
        let (_, core) = core_of(self.term.node(self.base(id)))?;
        (self.term.shape(core.g).rows > 1).then_some(core)
    }

    /// Whether a node is a history, a written value or a final state of stacked states.
    pub(super) fn is_stacked(&self, id: Id) -> bool {
        self.stacked_core(id).is_some()
    }

    /// Whether a product reads stacked states.
    pub(super) fn reads_stacked(&self, id: Id) -> bool {
        let Seq::Mm([_, h]) = *self.term.node(id) else { return false };
        matches!(self.term.node(self.base(h)), Seq::Hist(_)) && self.is_stacked(h)
    }

    /// Opens every loop of stacked states and makes what chunks write to it, before any state changes.
    pub(super) fn prepare_stacked(&mut self) -> Result<(), Diagnostic> {
        for id in self.term.ids() {
            let Some(core) = self.stacked_core(id) else { continue };
            let index = self.open_stacked(core)?;
            if !self.stacked[index].writes.is_empty() {
                continue;
            }
            let zero = |id| self.term.is_zero(id);
            let mut writes = vec![];
            if !(zero(core.a) || zero(core.p) && zero(core.b)) {
                let z = self.stacked_written(core)?;
                writes.push((self.parts_of(core.a, index)?, self.both_halves(z)));
            }
            if !zero(core.c) && !zero(core.d) {
                let values = match self.is_exact(core.d) {
                    true => vec![self.view(core.d, Form::ColumnsOperand)?.tile],
                    false => {
                        let exact = self.view(core.d, Form::Columns)?.tile;
                        self.both_halves(exact)
                    }
                };
                writes.push((self.parts_of(core.c, index)?, values));
            }
            self.stacked[index].writes = writes;
        }
        Ok(())
    }

    /// Keys are products of matrices and rounded, so values take both halves.
    fn both_halves(&mut self, exact: TileId) -> Vec<TileId> {
        let rounded = self.packed(exact);
        vec![rounded, self.lost(exact, rounded)]
    }

    fn open_stacked(&mut self, core: Core) -> Result<usize, Diagnostic> {
        if let Some(index) = self.stacked.iter().position(|known| known.core == core) {
            return Ok(index);
        }
        let starts = self.starts(core.s);
        if starts.len() != self.term.shape(core.g).rows {
            return Err(refused("mixed states that start from something computed"));
        }
        let [rows, cols] = self.state_size(core);
        let size = [rows / starts.len(), cols];
        let mut states = vec![];
        for start in starts {
            let state = self.draft.tile("state", size, self.build.compute, Home::Columns);
            let loads = self.loads(start, state, 0)?;
            self.draft.setup.extend(loads);
            self.draft.carried.push(state);
            states.push(state);
        }
        self.stacked.push(Stacked { core, states, written: None, writes: vec![] });
        Ok(self.stacked.len() - 1)
    }

    /// What is woven to the start of stacked states.
    fn starts(&self, s: Id) -> Vec<Id> {
        match *self.term.node(s) {
            Seq::Weave([above, below]) => [self.starts(above), self.starts(below)].concat(),
            _ => vec![s],
        }
    }

    /// `sum_i p_i H_i + start` in columns.
    fn stacked_product(
        &mut self,
        index: usize,
        (dst, reader): (TileId, Id),
        start: Start,
    ) -> Result<(), Diagnostic> {
        let parts = self.parts_of(reader, index)?;
        let mut start = start;
        for (i, part) in parts.into_iter().enumerate() {
            let before = self.packed(self.stacked[index].states[i]);
            let [to, p, h] = [dst, part, before].map(|tile| self.draft.whole(tile));
            self.draft.body.push(Stmt::Mma(plain_product(to, p, h, start)));
            start = Start::Dst;
        }
        Ok(())
    }

    /// A read of stacked states before the chunk.
    pub(super) fn stacked_read(&mut self, id: Id, dtype: Dtype) -> Result<TileId, Diagnostic> {
        let Seq::Mm([reader, h]) = *self.term.node(id) else {
            return Err(refused("mixed states that are read in another way than by a product"));
        };
        let (Seq::Hist([m, ..]), Some(core)) =
            (self.term.node(self.base(h)).clone(), self.stacked_core(h))
        else {
            return Err(refused("a product with something else than states"));
        };
        if self.mask(m) != Mask::Strict || !self.lives_in_columns(id) {
            return Err(refused("mixed states that are read after a chunk"));
        }
        let index = self.open_stacked(core)?;
        let dst = self.fresh(id, "y", dtype);
        self.stacked_product(index, (dst, reader), Start::Zero)?;
        Ok(dst)
    }

    /// The values that the feedback rows write.
    pub(super) fn stacked_values(&mut self, id: Id, dtype: Dtype) -> Result<TileId, Diagnostic> {
        let (Seq::Hz(_), Some(core)) = (self.term.node(id), self.stacked_core(id)) else {
            return Err(refused("mixed states that are read in another way than by a product"));
        };
        let z = self.stacked_written(core)?;
        Ok(if dtype == self.operand { self.packed(z) } else { z })
    }

    fn stacked_written(&mut self, core: Core) -> Result<TileId, Diagnostic> {
        let index = self.open_stacked(core)?;
        if let Some(tile) = self.stacked[index].written {
            return Ok(tile);
        }
        let size = [self.size(core.p)[0], self.state_size(core)[1]];
        let start = match self.term.is_zero(core.b) {
            true => Start::Zero,
            false => Start::Tile(View { blocks: 1, ..self.view(core.b, Form::Columns)? }),
        };
        let x = self.draft.tile("feedback", size, self.build.compute, Home::Columns);
        self.stacked_product(index, (x, core.p), start)?;
        let mut z = x;
        if !self.term.is_zero(core.l) {
            let inverse = self.inverse_halves(core)?;
            z = self.draft.tile("written", size, self.build.compute, Home::Columns);
            let right = self.halves(core, x);
            let (dst, start) = (self.draft.whole(z), Start::Tile(self.draft.whole(x)));
            self.solve_products(dst, (&inverse, &right), (start, self.band(core.l)));
        }
        self.stacked[index].written = Some(z);
        Ok(z)
    }

    /// Makes stacked states the states after the chunk.
    pub(super) fn update_stacked(&mut self) -> Result<(), Diagnostic> {
        for Stacked { core, states, writes, .. } in self.stacked.clone() {
            let r = self.view(core.g, Form::Shared)?.tile;
            let mixed = self.mixed_states(&states, r);
            for (i, (state, mixed)) in states.iter().zip(mixed).enumerate() {
                let [dst, src] = [*state, mixed].map(|tile| self.draft.whole(tile));
                self.draft.body.push(Stmt::Copy { dst, src, map: CopyMap::Whole });
                for (keys, values) in &writes {
                    let [a, b] = [keys[i], values[0]].map(|tile| self.draft.whole(tile));
                    let mut write = plain_product(dst, a, b, Start::Dst);
                    write.a.transposed = true;
                    self.products(&[keys[i]], values, write);
                }
            }
        }
        Ok(())
    }

    /// `sum_j r_ij S_j` for each state.
    fn mixed_states(&mut self, states: &[TileId], r: TileId) -> Vec<TileId> {
        let (n, compute) = (states.len(), self.build.compute);
        let mut all = vec![];
        for i in 0..n {
            let mut sum: Option<Expr> = None;
            let mut args = vec![];
            for (j, state) in states.iter().enumerate() {
                let home = Home::Shared { stages: 1 };
                let factor = self.draft.tile("factor", [1, 1], compute, home);
                self.nest(vec![1], (factor, 0, vec![1]), &[(r, i * n + j, vec![1])], None);
                for tile in [factor, *state] {
                    args.push(Arg { view: self.draft.whole(tile), transposed: false });
                }
                let [factor, state] = [2 * j, 2 * j + 1].map(|i| Box::new(Expr::Arg(i)));
                let part = Expr::Binary(Binary::Mul, factor, state);
                sum = Some(match sum {
                    None => part,
                    Some(sum) => Expr::Binary(Binary::Add, Box::new(sum), Box::new(part)),
                });
            }
            let source = &self.draft.tiles[states[i].0];
            let size = [source.rows, source.cols];
            let dst = self.draft.tile("mixed", size, compute, Home::Columns);
            let to = self.draft.whole(dst);
            self.draft.map(to, sum.unwrap_or(Expr::Const(0.0)), args);
            all.push(dst);
        }
        all
    }

    /// Stores one of stacked states after the last token.
    pub(super) fn final_part(
        &mut self,
        root: &Root,
        (first, states): (Id, Id),
    ) -> Result<(), Diagnostic> {
        let Some(core) = self.stacked_core(states) else {
            return Err(refused("a final state that is part of another one"));
        };
        let index = self.open_stacked(core)?;
        let loops = &self.stacked[index];
        let rows = self.draft.tiles[loops.states[0].0].rows;
        let src = loops.states[self.term.facts(first).count() / rows];
        let param = self.state_param(&root.name, ParamKind::StateOut, root.transposed);
        let param = self.draft.param(param);
        self.draft.finish.push(Stmt::Store { param, src, col: 0 });
        Ok(())
    }

    /// `blend R x` or `blendt R x` with all parts in one tile.
    pub(super) fn blended(
        &mut self,
        id: Id,
        (r, x): (Id, Id),
        dtype: Dtype,
    ) -> Result<TileId, Diagnostic> {
        let ([rows, width], n) = (self.size(id), self.term.shape(r).features);
        let transposed = matches!(self.term.node(id), Seq::Blendt(_));
        let (by_part, by_term) = if transposed { (1, n) } else { (n, 1) };
        let (steps, keys) = (self.size(r)[0] / n, width / n);
        let per = rows / steps;
        let r = self.view(r, Form::Shared)?.tile;
        let x = self.view(x, Form::Shared)?.tile;
        let dst = self.fresh(id, "blend", dtype);
        let to = (dst, 0, vec![per * width, width, keys, 1]);
        let from = (x, 0, vec![per * width, width, 0, 1, keys]);
        let factor = (r, 0, vec![n * n, 0, by_part, 0, by_term]);
        self.nest(vec![steps, per, n, keys], to, &[from, factor], Some(n));
        Ok(dst)
    }

    /// The parts of rows that belong to each state, as operands.
    fn parts_of(&mut self, id: Id, index: usize) -> Result<Vec<TileId>, Diagnostic> {
        let id = self.base(id);
        let n = self.stacked[index].states.len();
        if let Some(parts) = self.stacked_parts.get(&id) {
            return Ok(parts.clone());
        }
        let ([rows, width], home) = (self.size(id), Home::Shared { stages: 1 });
        let keys = width / n;
        // What each part is a sum of: a source, and the matrix's element by part and by term.
        let (source, matrices) = match *self.term.node(id) {
            Seq::Blend([r, x]) => (x, Some((r, n, 1))),
            Seq::Blendt([r, x]) => (x, Some((r, 1, n))),
            _ => (id, None),
        };
        let x = self.view(source, Form::Shared)?.tile;
        let mut parts = vec![];
        for i in 0..n {
            let dst = self.draft.tile("part", [rows, keys], self.operand, home);
            match matrices {
                None => {
                    let from = (x, i * keys, vec![width, 1]);
                    self.nest(vec![rows, keys], (dst, 0, vec![keys, 1]), &[from], None);
                }
                Some((r, by_part, by_term)) => {
                    let steps = self.size(r)[0] / n;
                    let r = self.view(r, Form::Shared)?.tile;
                    let per = rows / steps;
                    let to = (dst, 0, vec![per * keys, keys, 1]);
                    let from = (x, 0, vec![per * width, width, 1, keys]);
                    let factor = (r, i * by_part, vec![n * n, 0, 0, by_term]);
                    self.nest(vec![steps, per, keys], to, &[from, factor], Some(n));
                }
            }
            parts.push(dst);
        }
        self.stacked_parts.insert(id, parts.clone());
        Ok(parts)
    }

    /// The product of all arguments, summed over one more loop if there is one.
    fn nest(&mut self, extents: Vec<usize>, dst: Place, args: &[Place], sum: Option<usize>) {
        let access = |(tile, offset, strides): Place| Access { tile, offset, strides };
        let factor = |expr: Option<Expr>, i| match expr {
            None => Some(Expr::Arg(i)),
            Some(expr) => Some(Expr::Binary(Binary::Mul, Box::new(expr), Box::new(Expr::Arg(i)))),
        };
        let expr = (0..args.len()).fold(None, factor).unwrap_or(Expr::Const(1.0));
        self.draft.body.push(Stmt::Nest(Nest {
            extents,
            dst: access(dst),
            reduce: sum.map(|count| (Reduction::Sum, count)),
            expr,
            args: args.iter().cloned().map(access).collect(),
        }));
    }

    /// The products of matrices between the steps of a chunk.
    fn chain(&mut self, r: Id) -> Result<Chain, Diagnostic> {
        let (key, [rows, n]) = (self.base(r), self.size(r));
        let (steps, blocks) = (rows / n, self.blocks(r));
        if blocks != 1 || !steps.is_power_of_two() {
            return Err(refused("mixed states in blocks that are no chunks"));
        }
        let width = (steps + 1) * n;
        if let Some(tile) = self.chains.get(&key) {
            return Ok(Chain { tile: *tile, n, width, steps });
        }
        let source = self.view(r, Form::Shared)?.tile;
        let (home, compute) = (Home::Shared { stages: 1 }, self.build.compute);
        let tile = self.draft.tile("chain", [width, width], compute, home);
        self.chains.insert(key, tile);
        self.draft.body.push(Stmt::Fill { dst: tile, value: 0.0 });
        self.nest(vec![width], (tile, 0, vec![width + 1]), &[], None);
        let step = (tile, n * width, vec![n * width + n, width, 1]);
        self.nest(vec![steps, n, n], step, &[(source, 0, vec![n * n, n, 1])], None);
        let mut half = 1;
        while half < steps {
            // Runs of twice that length: from their first half to their second.
            let (side, next) = (half * n, 2 * half * n * (width + 1));
            let extents = vec![steps / half / 2, side, side];
            let found = [extents[0] * side, side];
            let between = self.draft.tile("between", found, compute, home);
            let later = (tile, (side + n) * width + side, vec![next, width, 0, 1]);
            let earlier = (tile, side * width, vec![next, 0, 1, width]);
            let to = (between, 0, vec![side * side, side, 1]);
            self.nest(extents.clone(), to.clone(), &[later, earlier], Some(n));
            let both = (tile, (side + n) * width, vec![next, width, 1]);
            self.nest(extents, both, &[to], None);
            half *= 2;
        }
        Ok(Chain { tile, n, width, steps })
    }

    /// `mprod m R`, or without a mask `mall R`.
    pub(super) fn mixing_product(
        &mut self,
        id: Id,
        (mask, r): (Option<Mask>, Id),
    ) -> Result<TileId, Diagnostic> {
        let Chain { tile, n, width, steps } = self.chain(r)?;
        let dst = self.fresh(id, "mixing", self.build.compute);
        let end = steps * n * width;
        let (first, next) = match mask {
            None => (end, 0),
            Some(Mask::Strict) => (0, n * width),
            Some(Mask::Incl) => (n * width, n * width),
            Some(Mask::Tstrict) => (end + n, n),
            Some(Mask::Tincl) => (end, n),
        };
        let count = if mask.is_some() { steps } else { 1 };
        let to = (dst, 0, vec![n * n, n, 1]);
        self.nest(vec![count, n, n], to, &[(tile, first, vec![next, width, 1])], None);
        Ok(dst)
    }

    /// `mscore m p a R`: products of parts, weighed by what leads from step to step, and summed.
    pub(super) fn mixing_score(
        &mut self,
        id: Id,
        (mask, [p, a, r]): (Mask, [Id; 3]),
        dtype: Dtype,
    ) -> Result<TileId, Diagnostic> {
        let Chain { tile, n, width, steps } = self.chain(r)?;
        let (home, compute) = (Home::Shared { stages: 1 }, self.build.compute);
        let side = steps * n;
        let weights = self.draft.tile("weights", [side, side], compute, home);
        let first = match mask {
            Mask::Incl => n * width + n,
            Mask::Strict => n,
            Mask::Tincl | Mask::Tstrict => return Err(refused("mixed states in reverse")),
        };
        let from = (tile, first, vec![width, 1]);
        self.nest(vec![side, side], (weights, 0, vec![side, 1]), &[from], None);
        let [left, right] =
            [self.rows_of_parts(p, (steps, n))?, self.rows_of_parts(a, (steps, n))?];
        let [down, across] = [left, right].map(|tile| self.draft.tiles[tile.0].rows);
        let keys = self.draft.tiles[left.0].cols;
        let pairs = self.draft.tile("pairs", [down, across], compute, home);
        let operand = |tile, transposed| Operand { view: self.draft.whole(tile), transposed };
        let [product, weight] = [0, 1].map(|i| Box::new(Expr::Arg(i)));
        let weight_arg = Arg { view: self.draft.whole(weights), transposed: false };
        self.draft.body.push(Stmt::Mma(Mma {
            dst: self.draft.whole(pairs),
            a: operand(left, false),
            b: operand(right, true),
            start: Start::Zero,
            then: Some(Body {
                expr: Expr::Binary(Binary::Mul, product, weight),
                args: vec![weight_arg],
            }),
            band: Band::Full,
            unit: if keys < TENSOR_EXTENT { Unit::Scalar } else { Unit::Tensor },
        }));
        let (per, per_col) = (down / side, across / side);
        let rows = self.draft.tile("rows", [steps * per, across], compute, home);
        let to = (rows, 0, vec![per * across, across, 1]);
        let from = (pairs, 0, vec![n * per * across, across, 1, per * across]);
        self.nest(vec![steps, per, across], to, &[from], Some(n));
        let dst = self.fresh(id, "score", dtype);
        let to = (dst, 0, vec![steps * per_col, per_col, 1]);
        let from = (rows, 0, vec![across, n * per_col, 1, per_col]);
        self.nest(vec![steps * per, steps, per_col], to, &[from], Some(n));
        Ok(dst)
    }

    /// Stacked rows with the parts of a step as rows, all rows of its first part first.
    fn rows_of_parts(&mut self, x: Id, (steps, n): (usize, usize)) -> Result<TileId, Diagnostic> {
        let [rows, width] = self.size(x);
        let (per, keys) = (rows / steps, width / n);
        let source = self.view(x, Form::Shared)?.tile;
        let home = Home::Shared { stages: 1 };
        let dst = self.draft.tile("parts", [rows * n, keys], self.operand, home);
        let to = (dst, 0, vec![n * per * keys, per * keys, keys, 1]);
        let from = (source, 0, vec![per * width, keys, width, 1]);
        self.nest(vec![steps, n, per, keys], to, &[from], None);
        Ok(dst)
    }
}

/// Elements of a tile in a nest: the first, and how far each loop goes.
type Place = (TileId, usize, Vec<usize>);

fn refused(what: &str) -> Diagnostic {
    Diagnostic::new(Code::Unsupported, format!("the fused scan cannot have {what}"))
}
