//! The loops of a term: states in registers, what they write, and how they are updated.

use super::Scan;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    Arg, Band, Body, CopyMap, Expr, Mma, Operand, Start, Stmt, TileId, Unit, View,
};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Core, Mask, Seq, core_of};

/// The tiles of one loop.
#[derive(Clone, Copy)]
pub(super) struct Loop {
    /// The state, `[K, V]` in columns; in shared memory if it only decays and is never read.
    pub(super) state: TileId,
    /// The state before the chunk as a matrix operand.
    before: Option<TileId>,
    /// The values that the feedback rows write.
    written: Option<TileId>,
    /// Whether the body has made the state the one after the chunk.
    updated: bool,
    /// The last state of one that keeps one row for each pair, both ways.
    pub(super) restored: Option<[TileId; 2]>,
}

impl Scan<'_> {
    fn core(&self, id: Id) -> Core {
        core_of(self.term.node(id)).expect("the node is a history").1
    }

    /// The loop of a core, opened if it is new: the state is loaded before the first chunk.
    pub(super) fn open(&mut self, id: Id) -> Result<usize, Diagnostic> {
        let Some((mask, core)) = core_of(self.term.node(id)) else {
            let message = format!("the fused scan keeps no `{}` as a state", self.term.node(id));
            return Err(Diagnostic::new(Code::Unsupported, message));
        };
        if let Some(index) = self.loops.iter().position(|(c, _)| *c == core) {
            return Ok(index);
        }
        if self.mask(mask) != Mask::Strict {
            let message = "the fused scan runs forward in time and reads states before a chunk";
            return Err(Diagnostic::new(Code::Unsupported, message));
        }
        let size = self.state_size(core);
        let home = if self.only_decays(core) { Home::Shared { stages: 1 } } else { Home::Columns };
        let state = self.draft.tile("state", size, self.build.compute, home);
        let loads = self.start(core.s, state)?;
        self.draft.setup.extend(loads);
        match home {
            Home::Columns => self.draft.carried.push(state),
            _ => self.draft.setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]),
        }
        let fresh = Loop { state, before: None, written: None, updated: false, restored: None };
        self.loops.push((core, fresh));
        Ok(self.loops.len() - 1)
    }

    /// Whether chunks add nothing to the states of a loop, which are read after the last token alone.
    fn only_decays(&self, core: Core) -> bool {
        let zero = |id| self.term.is_zero(id);
        let fed_back = !(zero(core.a) || zero(core.p) && zero(core.b));
        let written = fed_back || !zero(core.c) && !zero(core.d);
        let reads = |id| match self.term.node(id) {
            Seq::Fin(_) => false,
            node => core_of(node).is_some_and(|(_, read)| read == core),
        };
        !written && !self.term.ids().any(reads)
    }

    pub(super) fn state_size(&self, core: Core) -> [usize; 2] {
        let width = self.term.shape(core.s).features;
        let parts = self.setting.parts;
        let cut = parts > 1 && width > 1;
        let cols = if cut { width.div_ceil(parts).next_multiple_of(16) } else { width };
        [self.term.shape(core.s).rows, cols]
    }

    /// The state before the chunk, in columns.
    pub(super) fn state_before(&mut self, id: Id, dtype: Dtype) -> Result<TileId, Diagnostic> {
        let index = self.open(id)?;
        let Loop { state, before, .. } = self.loops[index].1;
        if dtype != self.operand {
            return Ok(state);
        }
        if let Some(tile) = before {
            return Ok(tile);
        }
        let tile = self.packed(state);
        self.loops[index].1.before = Some(tile);
        Ok(tile)
    }

    /// The values written by the feedback rows: `(I - L)^-1 (p H + b)`, in columns.
    pub(super) fn written(&mut self, id: Id, dtype: Dtype) -> Result<TileId, Diagnostic> {
        let index = self.open(id)?;
        let tile = match self.loops[index].1.written {
            Some(tile) => tile,
            None => {
                let tile = self.feedback(id, index)?;
                self.loops[index].1.written = Some(tile);
                tile
            }
        };
        if dtype != self.operand {
            return Ok(tile);
        }
        Ok(self.packed(tile))
    }

    /// A column tile as a matrix operand.
    pub(super) fn packed(&mut self, tile: TileId) -> TileId {
        if let Some(operand) = self.operands.get(&tile) {
            return *operand;
        }
        let source = &self.draft.tiles[tile.0];
        let (name, size) = (source.name.clone(), [source.rows, source.cols]);
        let dst = self.draft.tile(&format!("{name}_operand"), size, self.operand, Home::Columns);
        let (to, from) = (self.draft.whole(dst), self.draft.whole(tile));
        self.draft.body.push(Stmt::Copy { dst: to, src: from, map: CopyMap::Whole });
        self.operands.insert(tile, dst);
        dst
    }

    fn feedback(&mut self, id: Id, index: usize) -> Result<TileId, Diagnostic> {
        let core = self.core(id);
        let rows = self.size(core.p)[0];
        let size = [rows, self.state_size(core)[1]];
        let before = self.state_before(id, self.operand)?;
        let start =
            if self.term.is_zero(core.b) { None } else { Some(self.view(core.b, Form::Columns)?) };
        let x = self.draft.tile("feedback", size, self.build.compute, Home::Columns);
        let (reader, factors) = self.row_factors(core.p);
        let (exact, halves) = (self.is_exact_loop(core), self.feeds_halves(core));
        let (p, readers) = self.halves(reader, Form::SharedOperand, exact)?;
        let (dst, h) = (self.draft.whole(x), self.draft.whole(before));
        let then = self.scaled_sum(&factors, start)?;
        let start = match (&then, start) {
            (None, Some(view)) => Start::Tile(View { blocks: 1, ..view }),
            _ => Start::Zero,
        };
        let read = Mma { then, ..plain_product(dst, p, h, start) };
        let state = self.loops[index].1.state;
        let before = self.with_lost(halves, state, before);
        self.products(&readers, &before, read);
        if self.term.is_zero(core.l) {
            return Ok(x);
        }
        let inverse = self.inverse_halves(core.l, exact)?;
        let z = self.draft.tile("written", size, self.build.compute, Home::Columns);
        let rounded = self.packed(x);
        let right = self.with_lost(halves, x, rounded);
        let (dst, start) = (self.draft.whole(z), Start::Tile(self.draft.whole(x)));
        let band = self.band(core.l);
        self.solve_products(dst, (&inverse, &right), (start, band));
        debug_assert!(self.loops[index].1.written.is_none(), "a loop writes once a chunk");
        Ok(z)
    }

    /// `sum * factors + start` at the end of a product into columns; nothing if there are no factors.
    fn scaled_sum(
        &mut self,
        factors: &[Id],
        start: Option<View>,
    ) -> Result<Option<Body>, Diagnostic> {
        if factors.is_empty() {
            return Ok(None);
        }
        let (mut expr, mut args) = (Expr::Arg(0), Vec::new());
        let mut joined = |f: Binary, expr: Expr, view: View| {
            args.push(Arg { view: View { blocks: 1, ..view }, transposed: false });
            Expr::Binary(f, Box::new(expr), Box::new(Expr::Arg(args.len())))
        };
        for factor in factors {
            expr = match self.constant(*factor) {
                Some(x) => Expr::Binary(Binary::Mul, Box::new(expr), Box::new(Expr::Const(x))),
                None => {
                    let view = self.view(*factor, Form::Shared)?;
                    joined(Binary::Mul, expr, view)
                }
            };
        }
        if let Some(view) = start {
            expr = joined(Binary::Add, expr, view);
        }
        Ok(Some(Body { expr, args }))
    }

    /// Makes each state the state after the chunk. Comes after everything that reads it.
    pub(super) fn update_states(&mut self) -> Result<(), Diagnostic> {
        // Operands of an update may open further loops.
        while let Some(index) = self.next_update() {
            let (core, _) = self.loops[index];
            let written = self.writes(index, core)?;
            self.decay(index, core)?;
            let state = self.loops[index].1.state;
            for [keys, values] in written {
                let [dst, a, b] = [state, keys[0], values[0]].map(|t| self.draft.whole(t));
                let mut write = plain_product(dst, a, b, Start::Dst);
                write.a.transposed = true;
                self.products(&keys, &values, write);
            }
            self.loops[index].1.updated = true;
        }
        Ok(())
    }

    /// The first loop to be updated that no other one still has to read before the chunk.
    fn next_update(&self) -> Option<usize> {
        let waiting = || (0..self.loops.len()).filter(|i| !self.loops[*i].1.updated);
        let is_read = |core| waiting().any(|i| self.term.reads(&self.loops[i].0, core));
        waiting().find(|i| !is_read(&self.loops[*i].0))
    }

    /// Keys and values of the rows that a chunk writes, in the halves that the loop needs.
    fn writes(&mut self, index: usize, core: Core) -> Result<Vec<[Vec<TileId>; 2]>, Diagnostic> {
        let mut all = Vec::new();
        let zero = |id| self.term.is_zero(id);
        if !(zero(core.a) || zero(core.p) && zero(core.b)) {
            let history = self.term.ids().find(|id| {
                core_of(self.term.node(*id)).is_some_and(|(_, c)| c == self.loops[index].0)
            });
            let z = self.written(history.expect("a loop has a node"), self.build.compute)?;
            all.push(self.keyed(core, core.a, Value::Tile(z))?);
        }
        if !self.term.is_zero(core.c) && !self.term.is_zero(core.d) {
            all.push(self.keyed(core, core.c, Value::Node(core.d))?);
        }
        Ok(all)
    }

    /// A factor for each row of the keys moves to the values: those are in registers, so no tile in
    /// shared memory is rewritten.
    fn keyed(
        &mut self,
        core: Core,
        keys: Id,
        values: Value,
    ) -> Result<[Vec<TileId>; 2], Diagnostic> {
        let exact_loop = self.is_exact_loop(core);
        let (keys, factors) = self.row_factors(keys);
        let keys_are_rounded = !self.is_exact(keys);
        // Features may all lie just above a power of two, where rounding loses most; what a decay a channel
        // has spread loses half as much, and there it is the values that take both halves.
        let features = self.is_computed(keys);
        // Values that were computed as well may forget within a few tokens, whose roundings do not average.
        let values_alone = !features || matches!(values, Value::Node(d) if self.is_computed(d));
        let values = match values {
            Value::Node(d) if factors.is_empty() && self.is_exact(d) => {
                vec![self.view(d, Form::ColumnsOperand)?.tile]
            }
            values => {
                let (exact, fed_back) = match values {
                    Value::Node(d) => (self.view(d, Form::Columns)?, false),
                    Value::Tile(z) => (self.draft.whole(z), self.feeds_halves(core)),
                };
                let exact = self.scaled(View { blocks: 1, ..exact }, &factors)?;
                let rounded = self.packed(exact);
                let wanted = keys_are_rounded && values_alone || exact_loop || fed_back;
                self.with_lost(wanted, exact, rounded)
            }
        };
        let (_, keys) = self.halves(keys, Form::SharedOperand, exact_loop || features)?;
        Ok([keys, values])
    }

    /// A column tile times factors of its rows.
    fn scaled(&mut self, source: View, factors: &[Id]) -> Result<TileId, Diagnostic> {
        let Some(body) = self.scaled_sum(factors, None)? else { return Ok(source.tile) };
        let tile = &self.draft.tiles[source.tile.0];
        let size = [tile.rows, tile.cols];
        // The body's sum is the tile here.
        let source = Arg { view: source, transposed: false };
        let args = std::iter::once(source).chain(body.args).collect();
        let scaled = self.draft.tile("scaled", size, self.build.compute, Home::Columns);
        let dst = self.draft.whole(scaled);
        self.draft.map(dst, body.expr, args);
        Ok(scaled)
    }

    /// Multiplies the state by the decay of the chunk.
    fn decay(&mut self, index: usize, core: Core) -> Result<(), Diagnostic> {
        let state = self.loops[index].1.state;
        let mut expr = Expr::Arg(0);
        let mut args = vec![Arg { view: self.draft.whole(state), transposed: false }];
        for (gate, rows) in [(core.g, true), (core.w, false)] {
            if self.term.is_zero(gate) {
                continue;
            }
            let factor = self.exponential(gate)?;
            // A row of decays varies down the rows of the state.
            let view = View { blocks: 1, ..factor };
            args.push(Arg { view, transposed: rows });
            let factor = Box::new(Expr::Arg(args.len() - 1));
            expr = Expr::Binary(Binary::Mul, Box::new(expr), factor);
        }
        if args.len() > 1 {
            let dst = self.draft.whole(state);
            self.draft.body.push(Stmt::Map { dst, body: Body { expr, args } });
        }
        Ok(())
    }

    /// `e^gate` of a chunk, in shared memory.
    fn exponential(&mut self, gate: Id) -> Result<View, Diagnostic> {
        let exp = self.term.ids().find(|id| {
            matches!(self.term.node(*id), Seq::Unary(Unary::Exp, [x]) if self.base(*x) == self.base(gate))
        });
        if let Some(exp) = exp {
            return self.view(exp, Form::Shared);
        }
        let size = self.size(gate);
        let dst = self.draft.tile("decay", size, self.build.compute, Home::Shared { stages: 1 });
        let dst = self.draft.whole(dst);
        let (expr, args) = self.exp_expression(gate, dst)?;
        self.draft.map(dst, expr, args);
        Ok(dst)
    }
}

/// `a b` in columns, added to `start`.
pub(super) fn plain_product(dst: View, a: View, b: View, start: Start) -> Mma {
    let plain = |view| Operand { view: View { blocks: 1, ..view }, transposed: false };
    let (a, b) = (plain(a), plain(b));
    Mma { dst, a, b, start, then: None, band: Band::Full, unit: Unit::Tensor }
}

/// Values that a chunk writes.
enum Value {
    /// A node of the term.
    Node(Id),
    /// A tile made for a loop.
    Tile(TileId),
}
