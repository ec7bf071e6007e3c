//! Loops whose states a small matrix mixes at every step: one tile in columns for each state.
//!
//! A mix need not fade, so everything that feeds back takes both halves in products.

use super::Scan;
use super::history::plain_product;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Arg, CopyMap, Expr, ParamKind, Start, Stmt, TileId, View};
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::{Core, Mask, Root, Seq, core_of};

/// The tiles of one loop.
#[derive(Clone)]
pub(super) struct Stacked {
    core: Core,
    /// The states, `[K, V]` in columns each.
    states: Vec<TileId>,
    /// The values that the feedback rows write.
    written: Option<TileId>,
    /// Keys by state, and values in the halves that they need, of what a chunk writes.
    writes: Vec<(Vec<Halves>, Halves)>,
}

/// A value as operands: rounded, and where it matters what the rounding lost.
pub(super) type Halves = Vec<TileId>;

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
                writes.push((self.parts_of(core.a, index, true)?, self.both_halves(z)));
            }
            if !zero(core.c) && !zero(core.d) {
                let values = match self.is_exact(core.d) {
                    true => vec![self.view(core.d, Form::ColumnsOperand)?.tile],
                    false => {
                        let exact = self.view(core.d, Form::Columns)?.tile;
                        self.both_halves(exact)
                    }
                };
                writes.push((self.parts_of(core.c, index, true)?, values));
            }
            self.stacked[index].writes = writes;
        }
        Ok(())
    }

    pub(super) fn both_halves(&mut self, exact: TileId) -> Halves {
        let source = &self.draft.tiles[exact.0];
        let rounded = match source.shared() {
            None => self.packed(exact),
            Some(_) => {
                let (size, home) = ([source.rows, source.cols], Home::Shared { stages: 1 });
                let rounded = self.draft.tile("rounded", size, self.operand, home);
                let [dst, src] = [rounded, exact].map(|tile| self.draft.whole(tile));
                self.draft.body.push(Stmt::Copy { dst, src, map: CopyMap::Whole });
                rounded
            }
        };
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
        (start, feeds): (Start, bool),
    ) -> Result<(), Diagnostic> {
        let parts = self.parts_of(reader, index, feeds)?;
        let mut start = start;
        for (i, part) in parts.into_iter().enumerate() {
            let state = self.stacked[index].states[i];
            let before = if feeds { self.both_halves(state) } else { vec![self.packed(state)] };
            let [to, p, h] = [dst, part[0], before[0]].map(|tile| self.draft.whole(tile));
            self.products(&part, &before, plain_product(to, p, h, start));
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
        self.stacked_product(index, (dst, reader), (Start::Zero, false))?;
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
        self.stacked_product(index, (x, core.p), (start, true))?;
        let mut z = x;
        if !self.term.is_zero(core.l) {
            let rounded = self.inverse(core.l)?;
            let exact = self.inverses[&self.base(core.l)].exact;
            let inverse = [rounded, self.lost(exact, rounded)];
            z = self.draft.tile("written", size, self.build.compute, Home::Columns);
            let right = self.both_halves(x);
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
                if dst != src {
                    self.draft.body.push(Stmt::Copy { dst, src, map: CopyMap::Whole });
                }
                for (keys, values) in &writes {
                    let [a, b] = [keys[i][0], values[0]].map(|tile| self.draft.whole(tile));
                    let mut write = plain_product(dst, a, b, Start::Dst);
                    write.a.transposed = true;
                    self.products(&keys[i], values, write);
                }
            }
        }
        Ok(())
    }

    /// `sum_j r_ij S_j` for each state; the last one in its own place, which nobody else needs then.
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
            let dst = match i + 1 == n {
                true => states[i],
                false => self.draft.tile("mixed", size, compute, Home::Columns),
            };
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

    /// The parts of rows that belong to each state, rounded once or in both halves.
    fn parts_of(&mut self, id: Id, index: usize, both: bool) -> Result<Vec<Halves>, Diagnostic> {
        let id = self.base(id);
        let n = self.stacked[index].states.len();
        if let Some(parts) = self.stacked_parts.get(&(id, both)) {
            return Ok(parts.clone());
        }
        let dtype = if both { self.build.compute } else { self.operand };
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
            let dst = self.draft.tile("part", [rows, keys], dtype, home);
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
            parts.push(if both { self.both_halves(dst) } else { vec![dst] });
        }
        self.stacked_parts.insert((id, both), parts.clone());
        Ok(parts)
    }
}

pub(super) fn refused(what: &str) -> Diagnostic {
    Diagnostic::new(Code::Unsupported, format!("the fused scan cannot have {what}"))
}
