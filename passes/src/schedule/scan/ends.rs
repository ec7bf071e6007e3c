//! Both ends of a loop: states before the first token, and after the last one.
//!
//! A state that keeps one row for each two that mirror each other is loaded both ways and starts from the
//! means; after the last token what mirrored rows differed by is put back.

use super::Scan;
use crate::schedule::params;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::kernel::{Arg, Body, Expr, Param, ParamKind, Rows, Stmt, TileId};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Leaf, Mask, Root, Seq, Source};

impl Scan<'_> {
    /// What gives a state its value before the first token.
    pub(super) fn start(&mut self, s: Id, state: TileId) -> Result<Vec<Stmt>, Diagnostic> {
        if !matches!(self.term.node(s), Seq::Paired(_)) {
            return self.loads(s, state, 0);
        }
        let ([one, other], mut stmts) = self.both_ways(s, state)?;
        let sum = binary(Binary::Add, Expr::Arg(0), Expr::Arg(1));
        let mean = binary(Binary::Mul, sum, Expr::Const(0.5));
        stmts.push(self.mapped(state, mean, &[one, other]));
        Ok(stmts)
    }

    /// The rows of a state that mirror each other, in two tiles, and what loads them.
    fn both_ways(&mut self, s: Id, state: TileId) -> Result<([TileId; 2], Vec<Stmt>), Diagnostic> {
        let Seq::Paired([first, width, whole]) = *self.term.node(s) else {
            unreachable!("the caller has asked")
        };
        let [first, width] = [first, width].map(|n| self.term.facts(n).count());
        let tile = &self.draft.tiles[state.0];
        let (size, dtype) = ([tile.rows, tile.cols], tile.dtype);
        let halves = [false, true].map(|swapped| {
            let rows = Rows::Pairs { first, width, swapped };
            self.draft.standing_for("mirrored", size, dtype, rows)
        });
        let mut stmts = Vec::new();
        for half in halves {
            stmts.extend(self.loads(whole, half, 0)?);
        }
        Ok((halves, stmts))
    }

    fn mapped(&self, dst: TileId, expr: Expr, args: &[TileId]) -> Stmt {
        let arg = |tile: &TileId| Arg { view: self.draft.whole(*tile), transposed: false };
        let body = Body { expr, args: args.iter().map(arg).collect() };
        Stmt::Map { dst: self.draft.whole(dst), body }
    }

    /// Loads a state's value before the first token to the columns of `dst` from `col` on.
    pub(super) fn loads(
        &mut self,
        s: Id,
        dst: TileId,
        col: usize,
    ) -> Result<Vec<Stmt>, Diagnostic> {
        match *self.term.node(s) {
            Seq::Var(ref name) => {
                let leaf = self.term.leaf(s).expect("a variable is a leaf");
                let declared = match &leaf.source {
                    Source::Number(value) if col == 0 => Some(Stmt::Fill { dst, value: *value }),
                    Source::Identity => Some(self.identity(dst, col)?),
                    Source::Input(input) => Some(self.learned((input, leaf), dst, col)?),
                    _ => None,
                };
                let param = self.state_param(name, ParamKind::StateIn, leaf.transposed);
                let param = self.draft.param(param);
                Ok(declared.into_iter().chain([Stmt::Load { dst, param, ahead: 0, col }]).collect())
            }
            Seq::Cat([a, b]) => {
                let first = self.loads(a, dst, col)?;
                let second = self.loads(b, dst, col + self.term.shape(a).features)?;
                Ok([first, second].concat())
            }
            Seq::Zero(_) => Ok(vec![Stmt::Fill { dst, value: 0.0 }]),
            ref other => {
                let message = format!("a state starts from `{other}`, which the scan cannot load");
                Err(Diagnostic::new(Code::Unsupported, message))
            }
        }
    }

    /// Makes a state the identity.
    fn identity(&self, dst: TileId, col: usize) -> Result<Stmt, Diagnostic> {
        if col > 0 || self.setting.parts > 1 {
            let message = "parts of an identity have no statement".to_owned();
            return Err(Diagnostic::new(Code::Unsupported, message));
        }
        let keep = |mask, value| Expr::Keep { mask, row_step: 1, col_step: 1, value };
        let above = keep(Mask::Tincl, Box::new(Expr::Const(1.0)));
        Ok(self.mapped(dst, keep(Mask::Incl, Box::new(above)), &[]))
    }

    /// Loads the per-model input that a state starts from.
    fn learned(
        &mut self,
        (name, leaf): (&str, &Leaf),
        dst: TileId,
        col: usize,
    ) -> Result<Stmt, Diagnostic> {
        let input = self.recurrence.inputs.iter().find(|i| i.name == name);
        let input = input.expect("a state starts from an input of the recurrence");
        let dims = self.build.sizes(self.recurrence, &input.dims);
        let dtype = self.recurrence.input_dtype(input, self.build.dtype);
        let split = self.setting.parts > 1;
        let param = params::input(input, dtype, &dims, split, leaf.transposed);
        let column = dims.len() == 1 && !leaf.transposed;
        let param = if column { params::as_column(param) } else { param };
        let id = self.draft.param(param.clone());
        if self.draft.params[id.0] != param {
            let message = format!("`{name}` is an initial state and read in another layout");
            return Err(Diagnostic::new(Code::Unsupported, message));
        }
        Ok(Stmt::Load { dst, param: id, ahead: 0, col })
    }

    pub(super) fn state_param(&self, name: &str, kind: ParamKind, transposed: bool) -> Param {
        let states = &self.recurrence.states;
        let state = states.iter().find(|s| s.name == name).expect("state leaves are states");
        let dims = self.build.sizes(self.recurrence, &state.dims);
        let split = self.setting.parts > 1;
        let vector = dims.len() == 1;
        let param = params::state(name, kind, &dims, (split, transposed), self.build.compute);
        if vector && !transposed { params::as_column(param) } else { param }
    }

    /// Stores a state after the last token.
    pub(super) fn final_state(&mut self, root: &Root) -> Result<(), Diagnostic> {
        if let Seq::Last([states, _]) = *self.term.node(root.id) {
            return self.final_rows(root, states);
        }
        if let Seq::Tr([last]) = *self.term.node(root.id) {
            return self.final_lti(root, last);
        }
        if let Seq::Rows([first, _, states]) = *self.term.node(root.id) {
            return self.final_part(root, (first, states));
        }
        let (source, col) = self.state_range(root.id);
        let tiles = match *self.term.node(source) {
            Seq::Unpaired([_, _, means, _]) => self.restored(means)?.to_vec(),
            _ => {
                let index = self.open(source)?;
                vec![self.loops[index].1.state]
            }
        };
        let param = self.state_param(&root.name, ParamKind::StateOut, root.transposed);
        let param = self.draft.param(param);
        let stores = tiles.into_iter().map(|src| Stmt::Store { param, src, col });
        self.draft.finish.extend(stores);
        Ok(())
    }

    /// The rows after the last token of a state that keeps means, both ways.
    fn restored(&mut self, means: Id) -> Result<[TileId; 2], Diagnostic> {
        let index = self.open(means)?;
        let (core, known) = self.loops[index];
        if let Some(tiles) = known.restored {
            return Ok(tiles);
        }
        let ([one, other], mut stmts) = self.both_ways(core.s, known.state)?;
        let minus = |x| Expr::Unary(Unary::Neg, Box::new(x));
        let difference = binary(Binary::Add, Expr::Arg(0), minus(Expr::Arg(1)));
        let half = binary(Binary::Mul, difference, Expr::Const(0.5));
        let below = binary(Binary::Add, Expr::Arg(0), minus(Expr::Arg(1)));
        let above = binary(Binary::Add, Expr::Arg(0), Expr::Arg(1));
        stmts.push(self.mapped(one, half, &[one, other]));
        stmts.push(self.mapped(other, below, &[known.state, one]));
        stmts.push(self.mapped(one, above, &[one, known.state]));
        self.draft.finish.extend(stmts);
        self.loops[index].1.restored = Some([one, other]);
        Ok([one, other])
    }

    /// The last state that a root's columns are cut from, and the first of them.
    pub(super) fn state_range(&self, id: Id) -> (Id, usize) {
        match self.term.node(id) {
            Seq::Cols([first, _, x]) => {
                let (source, at) = self.state_range(*x);
                (source, at + self.term.facts(*first).count())
            }
            _ => (id, 0),
        }
    }
}

fn binary(f: Binary, a: Expr, b: Expr) -> Expr {
    Expr::Binary(f, Box::new(a), Box::new(b))
}
