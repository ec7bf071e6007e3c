//! States with one dense transition: rows in shared memory, found for all steps of a chunk by doubling.
//!
//! With `y_t` the sum of the last `2^j` steps up to `t`, `y_t + A^{2^j} y_{t - 2^j}` is that of the last
//! `2^{j+1}`: each doubling is one product of all rows with a power of `A`, a constant. The first step of
//! a chunk takes up the state before it. States and powers take both halves in every product, since a
//! transition need not fade.

use super::Scan;
use super::value::Form;
use crate::schedule::draft::Home;
use crate::schedule::params;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::kernel::{Access, CopyMap, Expr, Nest, ParamKind, Reduction, Start, Stmt, TileId};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Array3, Mask, Root, Seq, Source};
use std::sync::Arc;

/// A history with a dense transition and its tiles.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// The node of the states before chunks.
    edges: Id,
    /// The state before the chunk, `[R, K]`.
    state: TileId,
    /// The states after each step of the chunk, `[C R, K]`, once somebody reads them.
    after: Option<TileId>,
}

/// One array of a nest: where a loop starts in it, and how far it goes.
type Place = (TileId, usize);

impl Scan<'_> {
    /// The index of the loop of a `dhist` node, whose state is loaded before the first chunk.
    fn open_rows(&mut self, edges: Id) -> Result<usize, Diagnostic> {
        if let Some(index) = self.dense.iter().position(|rows| rows.edges == edges) {
            return Ok(index);
        }
        let Seq::Dhist([m, .., s]) = *self.term.node(edges) else {
            return Err(refused("a run that starts from something else than a state"));
        };
        let leaf = self.term.leaf(s).filter(|_| self.mask(m) == Mask::Strict).cloned();
        let (Some(leaf), Seq::Var(name)) = (leaf, self.term.node(s).clone()) else {
            return Err(refused("a dense state that starts from something computed"));
        };
        let home = Home::Shared { stages: 1 };
        let state = self.draft.tile("rows", self.size(s), self.build.compute, home);
        match &leaf.source {
            Source::Number(value) => {
                self.draft.setup.push(Stmt::Fill { dst: state, value: *value });
            }
            _ => return Err(refused("a dense state with a learned start")),
        }
        let before = self.rows_param(&name, ParamKind::StateIn, leaf.transposed);
        self.draft.setup.push(Stmt::Load { dst: state, param: before, ahead: 0, col: 0 });
        self.draft.setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
        self.dense.push(Rows { edges, state, after: None });
        Ok(self.dense.len() - 1)
    }

    fn rows_param(
        &mut self,
        name: &str,
        kind: ParamKind,
        transposed: bool,
    ) -> sluice_ir::kernel::ParamId {
        let state = self.recurrence.states.iter().find(|s| s.name == name);
        let state = state.expect("state leaves are states");
        let dims = self.build.sizes(self.recurrence, &state.dims);
        let param = params::state(name, kind, &dims, (false, transposed), self.build.compute);
        self.draft.param(param)
    }

    /// The states before chunks, as rows.
    pub(super) fn rows_before(&mut self, edges: Id) -> Result<TileId, Diagnostic> {
        let index = self.open_rows(edges)?;
        Ok(self.dense[index].state)
    }

    /// The states before or after each step of a chunk: the node of a run.
    pub(super) fn run_of_rows(&mut self, id: Id) -> Result<TileId, Diagnostic> {
        let Seq::Drun([m, _, _, _, edges]) = *self.term.node(id) else {
            return Err(refused("a state that is no run"));
        };
        let index = self.open_rows(self.base(edges))?;
        let after = self.rows_after(index)?;
        if self.mask(m) == Mask::Incl {
            return Ok(after);
        }
        let [rows, keys] = self.size(id);
        let state = self.dense[index].state;
        let first = self.draft.tiles[state.0].rows;
        let home = Home::Shared { stages: 1 };
        let dst = self.draft.tile("before", [rows, keys], self.build.compute, home);
        self.moved_rows((dst, 0), (state, 0), first * keys);
        self.moved_rows((dst, first * keys), (after, 0), (rows - first) * keys);
        Ok(dst)
    }

    fn moved_rows(&mut self, dst: Place, src: Place, count: usize) {
        self.elements(dst, Expr::Arg(0), &[src], count);
    }

    /// `dst[i] = expr(args[i])` for `count` elements in order.
    fn elements(&mut self, dst: Place, expr: Expr, args: &[Place], count: usize) {
        let access = |(tile, offset): Place| Access { tile, offset, strides: vec![1] };
        let args = args.iter().copied().map(access).collect();
        let nest = Nest { extents: vec![count], dst: access(dst), reduce: None, expr, args };
        self.draft.body.push(Stmt::Nest(nest));
    }

    /// The states after each step of a chunk.
    fn rows_after(&mut self, index: usize) -> Result<TileId, Diagnostic> {
        let Rows { edges, state, after } = self.dense[index];
        if let Some(tile) = after {
            return Ok(tile);
        }
        let Seq::Dhist([_, n, a, x, _]) = *self.term.node(edges) else {
            unreachable!("a loop of rows was opened for such a node")
        };
        let steps = self.term.facts(n).count();
        if steps != self.setting.chunk {
            return Err(refused("runs that are shorter than a chunk"));
        }
        let source = self.view(x, Form::Shared)?.tile;
        let [rows, keys] = self.size(x);
        let home = Home::Shared { stages: 1 };
        let after = self.draft.tile("after", [rows, keys], self.build.compute, home);
        self.dense[index].after = Some(after);
        let (to, from) = (self.draft.whole(after), self.draft.whole(source));
        self.draft.body.push(Stmt::Copy { dst: to, src: from, map: CopyMap::Whole });
        let first = rows / steps;
        // The first step takes up the state before the chunk.
        let moved = self.draft.tile("moved", [first, keys], self.build.compute, home);
        let halves = self.shifted_halves(state, first, 0);
        let power = self.power(a, 0)?;
        self.small_product(moved, (&halves, false), (&power, true), Start::Zero);
        let sum = Expr::Binary(Binary::Add, Box::new(Expr::Arg(0)), Box::new(Expr::Arg(1)));
        self.elements((after, 0), sum, &[(after, 0), (moved, 0)], first * keys);
        for doubling in 0..steps.next_power_of_two().ilog2() {
            let halves = self.shifted_halves(after, rows, first << doubling);
            let power = self.power(a, doubling)?;
            self.small_product(after, (&halves, false), (&power, true), Start::Dst);
        }
        Ok(after)
    }

    /// Rows of a tile further down by `shift`, zeros above, as two operands.
    fn shifted_halves(&mut self, source: TileId, rows: usize, shift: usize) -> [TileId; 2] {
        let keys = self.draft.tiles[source.0].cols;
        let home = Home::Shared { stages: 1 };
        let mut tile = |name| self.draft.tile(name, [rows, keys], self.operand, home);
        let [rounded, lost] = [tile("rounded"), tile("lost")];
        if shift > 0 {
            for dst in [rounded, lost] {
                self.draft.body.push(Stmt::Fill { dst, value: 0.0 });
            }
        }
        let (offset, count) = (shift * keys, (rows - shift) * keys);
        self.moved_rows((rounded, offset), (source, 0), count);
        let minus = Expr::Unary(Unary::Neg, Box::new(Expr::Arg(1)));
        let rest = Expr::Binary(Binary::Add, Box::new(Expr::Arg(0)), Box::new(minus));
        self.elements((lost, offset), rest, &[(source, 0), (rounded, offset)], count);
        [rounded, lost]
    }

    /// `A^(2^doubling)` as two operands.
    fn power(&mut self, a: Id, doubling: u32) -> Result<[TileId; 2], Diagnostic> {
        if let Some(tiles) = self.powers.get(&(a, doubling)) {
            return Ok(*tiles);
        }
        let leaf = self.term.leaf(a).map(|leaf| leaf.source.clone());
        let Some(Source::Table(values)) = leaf else {
            return Err(refused("a transition that is no constant"));
        };
        let [rows, features] = self.size(a);
        let mut power = Array3 { blocks: 1, rows, features, data: values.to_vec() };
        for _ in 0..doubling {
            power = Array3::product(&power, &power);
        }
        let rounded: Arc<[f64]> = power.data.iter().map(|x| self.operand.round(*x)).collect();
        let lost = power.data.iter().zip(&*rounded).map(|(x, r)| x - r).collect();
        let tiles = [("power", rounded), ("power_lost", lost)].map(|(name, values)| {
            let home = Home::Shared { stages: 1 };
            let dst = self.draft.tile(name, [rows, features], self.operand, home);
            self.draft.setup.push(Stmt::Table { dst, values });
            dst
        });
        self.powers.insert((a, doubling), tiles);
        Ok(tiles)
    }

    /// Stores a dense state after the last token.
    pub(super) fn final_rows(&mut self, root: &Root, states: Id) -> Result<(), Diagnostic> {
        let Seq::Drun([.., edges]) = *self.term.node(self.base(states)) else {
            return Err(refused("the last of values that are no states"));
        };
        let index = self.open_rows(self.base(edges))?;
        let src = self.dense[index].state;
        let param = self.rows_param(&root.name, ParamKind::StateOut, root.transposed);
        self.draft.finish.push(Stmt::Store { param, src, col: 0 });
        Ok(())
    }

    /// Makes each dense state the state after the last token that exists.
    pub(super) fn update_rows(&mut self) -> Result<(), Diagnostic> {
        if self.dense.is_empty() {
            return Ok(());
        }
        let (home, compute) = (Home::Shared { stages: 1 }, self.build.compute);
        let steps = self.setting.chunk;
        let [live, last] = [("live", steps + 1), ("last", steps)]
            .map(|(name, rows)| self.draft.tile(name, [rows, 1], compute, home));
        let exists = Expr::Live { rows: 1, value: Box::new(Expr::Const(1.0)) };
        let dst = self.draft.whole(live);
        self.draft.map(dst, exists, vec![]);
        let minus = Expr::Unary(Unary::Neg, Box::new(Expr::Arg(1)));
        let ends = Expr::Binary(Binary::Add, Box::new(Expr::Arg(0)), Box::new(minus));
        self.elements((last, 0), ends, &[(live, 0), (live, 1)], steps);
        for index in 0..self.dense.len() {
            let after = self.rows_after(index)?;
            let state = self.dense[index].state;
            let size = self.draft.tiles[state.0].rows * self.draft.tiles[state.0].cols;
            let access =
                |tile, strides: [usize; 2]| Access { tile, offset: 0, strides: strides.into() };
            // Where a token does not exist anything may stand, so a factor of 0 is not enough.
            let chosen = Expr::Select(
                Box::new(Expr::Arg(0)),
                Box::new(Expr::Arg(1)),
                Box::new(Expr::Const(0.0)),
            );
            self.draft.body.push(Stmt::Nest(Nest {
                extents: vec![size],
                dst: Access { tile: state, offset: 0, strides: vec![1] },
                reduce: Some((Reduction::Sum, steps)),
                expr: chosen,
                args: vec![access(last, [0, 1]), access(after, [1, size])],
            }));
        }
        Ok(())
    }
}

fn refused(what: &str) -> Diagnostic {
    Diagnostic::new(Code::Unsupported, format!("the fused scan cannot have {what}"))
}
