//! Fuses pointwise nodes into one map, or into the product that they end.

use super::Scan;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Arg, Body, CopyMap, Expr, Over, Reduction, Stmt, TileId, View};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Mask, Seq};
use std::f64::consts::LOG2_E;

/// The lowest log decay that is kept: `e^-100` is below the smallest f32, so a decay of 0 (a gate of
/// minus infinity) and this one are the same, and differences of running sums stay exact enough.
const LOWEST_GATE: f64 = -100.0;

/// A fused expression being built for one destination.
struct Fusion {
    /// Blocks of the destination.
    blocks: usize,
    size: [usize; 2],
    columns: bool,
    /// The node whose value is the product's sum, if the expression ends a product, and that value.
    sum: Option<(Id, Expr)>,
    args: Vec<Arg>,
}

/// A product that can take an expression, and what it is added to.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    /// The node that is the sum.
    node: Id,
    /// The product.
    product: Id,
    /// What the product is added to.
    start: Option<Id>,
}

/// How a product ends: the node that is its sum, and factors of the sum's rows.
struct Ending {
    node: Id,
    factors: Vec<Id>,
}

impl Fusion {
    /// What stands for the node, if it is the product's sum.
    fn sum_of(&self, id: Id) -> Option<Expr> {
        self.sum.as_ref().filter(|(node, _)| *node == id).map(|(_, value)| value.clone())
    }
}

impl Scan<'_> {
    /// Computes a pointwise node or a product with everything that can be fused into it.
    pub(super) fn fused(&mut self, id: Id, dtype: Dtype) -> Result<TileId, Diagnostic> {
        if let Some(tile) = self.diagonal_sum(id, dtype)? {
            return Ok(tile);
        }
        let Some(sum) = self.fusable_sum(id, id) else {
            let dst = self.fresh(id, "t", dtype);
            let dst_view = self.seen(id, dst);
            let (expr, args) = self.expression(id, dst_view)?;
            self.draft.map(dst_view, expr, args);
            return Ok(dst);
        };
        // Operands first: what the product is added to then waits in registers for a short time.
        let mut product = self.product(sum.product)?;
        if let Some(x) = sum.start {
            let form = if self.lives_in_columns(id) { Form::Columns } else { Form::Shared };
            let start = self.view(x, form)?;
            product.start_from(View { blocks: self.blocks(sum.product), ..start });
        }
        let name = if self.lives_in_columns(id) { "y" } else { "p" };
        let dst = self.fresh(id, name, dtype);
        // In columns the expression may see other blocks than the product.
        let dst_view = self.seen(sum.product, dst);
        let ending = Ending { node: sum.node, factors: std::mem::take(&mut product.factors) };
        let then = if sum.node == id && ending.factors.is_empty() {
            None
        } else {
            // Factors do not apply to what the product is added to.
            let start = if ending.factors.is_empty() { None } else { product.without_start() };
            let (expr, args) = self.ending_expression(id, dst_view, &ending, start)?;
            Some(Body { expr, args })
        };
        let band = self.square_band(id, product.band);
        let [left, right] = std::mem::take(&mut product.halves);
        self.products(&left, &right, product.mma(dst_view, then, band));
        Ok(dst)
    }

    /// Whether two nodes have the same elements in one chunk.
    fn same_size(&self, a: Id, b: Id) -> bool {
        self.size(a) == self.size(b)
    }

    /// Whether a node can be computed where `root` is, element by element.
    fn fits(&self, id: Id, root: Id) -> bool {
        self.same_size(root, id)
            && self.lives_in_columns(id) == self.lives_in_columns(root)
            && (self.blocks(id) == self.blocks(root) || self.lives_in_columns(root))
    }

    /// The product that the expression of `root` can end: found through pointwise nodes of the same
    /// size that nobody else reads, or as a term of a sum.
    fn fusable_sum(&self, root: Id, id: Id) -> Option<Sum> {
        let uses = self.uses[usize::from(id)];
        let alone = uses == 1 || (self.is_product(id) && uses == self.occurrences(root, root, id));
        let own = id == root || (alone && !self.is_made(id));
        if !own || !self.fits(id, root) || self.term.is_zero(id) {
            return None;
        }
        if self.is_product(id) {
            return Some(Sum { node: id, product: id, start: None });
        }
        match self.term.node(id) {
            Seq::Binary(Binary::Add, [a, b]) => {
                let (a, b) = (self.base(*a), self.base(*b));
                for (x, start) in [(b, a), (a, b)] {
                    let free = self.uses[usize::from(x)] == 1 && !self.is_made(x);
                    let starts = self.same_size(start, root) && self.accumulates(x);
                    if free && starts && self.is_product(x) && self.fits(x, root) {
                        return Some(Sum { node: id, product: x, start: Some(start) });
                    }
                }
                self.fusable_sum(root, a).or_else(|| self.fusable_sum(root, b))
            }
            Seq::Unary(_, [x]) => self.fusable_sum(root, self.base(*x)),
            Seq::Binary(_, [a, b]) => {
                let (a, b) = (self.base(*a), self.base(*b));
                self.fusable_sum(root, a).or_else(|| self.fusable_sum(root, b))
            }
            Seq::Masked([_, _, x]) => {
                let sum = self.fusable_sum(root, self.base(*x));
                sum.filter(|sum| self.blocks(sum.product) == self.blocks(id))
            }
            Seq::Live([x]) => self.fusable_sum(root, self.base(*x)),
            _ => None,
        }
    }

    /// How often `id` is read by what is computed where `root` is, from `from` on.
    fn occurrences(&self, root: Id, from: Id, id: Id) -> usize {
        let from = self.base(from);
        if from == id {
            return 1;
        }
        let inner = from == root || (self.uses[usize::from(from)] == 1 && !self.is_made(from));
        let pointwise = matches!(
            self.term.node(from),
            Seq::Unary(..) | Seq::Binary(..) | Seq::Masked(_) | Seq::Live(_)
        );
        if !(inner && pointwise && self.fits(from, root)) {
            return 0;
        }
        let operands = self.term.node(from).operands().iter();
        let arrays = operands.filter(|x| self.term.is_array(**x));
        arrays.map(|x| self.occurrences(root, *x, id)).sum()
    }

    pub(super) fn is_made(&self, id: Id) -> bool {
        self.made.keys().any(|(made, _)| *made == id)
    }

    /// `x + bdiag(y)` where `x` is 0 on the diagonal blocks: the blocks are written over it.
    fn diagonal_sum(&mut self, id: Id, dtype: Dtype) -> Result<Option<TileId>, Diagnostic> {
        let Seq::Binary(Binary::Add, [a, b]) = *self.term.node(id) else { return Ok(None) };
        let (a, b) = (self.base(a), self.base(b));
        for (x, diagonal) in [(a, b), (b, a)] {
            let Seq::Bdiag([per, y]) = *self.term.node(diagonal) else { continue };
            let Seq::Score([m, _, _, g]) = *self.term.node(x) else { continue };
            let strict = matches!(self.mask(m), Mask::Strict | Mask::Tstrict);
            let per = self.term.facts(per).count();
            let alone = self.uses[usize::from(x)] == 1 && !self.is_made(x);
            if strict && alone && self.term.shape(g).rows == per {
                let operands = self.term.node(x).operands().to_vec();
                let operands = operands.try_into().expect("a score has four operands");
                let dst = self.score(x, operands, dtype)?;
                let src = self.view(y, Form::Shared)?;
                let dst_view = self.seen(id, dst);
                let map = CopyMap::OntoDiagonal { per };
                self.draft.body.push(Stmt::Copy { dst: dst_view, src, map });
                return Ok(Some(dst));
            }
        }
        Ok(None)
    }

    /// The expression of a node for a destination.
    fn expression(&mut self, id: Id, dst: View) -> Result<(Expr, Vec<Arg>), Diagnostic> {
        let mut fusion = self.fusion(id, dst);
        let expr = self.inlined(&mut fusion, id)?;
        Ok((expr, fusion.args))
    }

    /// The expression of a node at the end of a product.
    fn ending_expression(
        &mut self,
        id: Id,
        dst: View,
        ending: &Ending,
        start: Option<View>,
    ) -> Result<(Expr, Vec<Arg>), Diagnostic> {
        let mut fusion = self.fusion(id, dst);
        fusion.sum = Some((ending.node, Expr::Arg(0)));
        let mut value = Expr::Arg(0);
        for factor in &ending.factors {
            let factor = Box::new(self.operand(&mut fusion, *factor)?);
            value = Expr::Binary(Binary::Mul, Box::new(value), factor);
        }
        if let Some(view) = start {
            let start = Box::new(self.argument(&mut fusion, view, false));
            value = Expr::Binary(Binary::Add, Box::new(value), start);
        }
        fusion.sum = Some((ending.node, value.clone()));
        let expr = if ending.node == id { value } else { self.inlined(&mut fusion, id)? };
        Ok((expr, fusion.args))
    }

    fn fusion(&self, id: Id, dst: View) -> Fusion {
        let columns = self.draft.tiles[dst.tile.0].shared().is_none();
        Fusion { blocks: dst.blocks, size: self.size(id), columns, sum: None, args: Vec::new() }
    }

    /// An argument. Consecutive broadcasting does not see where blocks end, so the argument is cut
    /// into as many blocks as the destination, or left whole.
    fn argument(&mut self, fusion: &mut Fusion, view: View, transposed: bool) -> Expr {
        let rows = self.draft.tiles[view.tile.0].rows;
        let blocks = if rows.is_multiple_of(fusion.blocks) { fusion.blocks } else { 1 };
        let arg = Arg { view: View { blocks, ..view }, transposed };
        let index = fusion.args.iter().position(|a| *a == arg).unwrap_or_else(|| {
            fusion.args.push(arg);
            fusion.args.len() - 1
        });
        Expr::Arg(index + usize::from(fusion.sum.is_some()))
    }

    /// An operand of a fused node: inlined, or read from its tile.
    fn operand(&mut self, fusion: &mut Fusion, id: Id) -> Result<Expr, Diagnostic> {
        let id = self.base(id);
        if let Some(value) = fusion.sum_of(id) {
            return Ok(value);
        }
        if let Some(value) = self.constant(id) {
            return Ok(Expr::Const(value));
        }
        if self.inlines(fusion, id) {
            return self.inlined(fusion, id);
        }
        // Registers of one column belong to one warp: what all columns share is read from memory.
        let [rows, width] = self.size(id);
        let columns =
            fusion.columns && self.columns[usize::from(id)] && rows > 1 && width == fusion.size[1];
        let form = if columns { Form::Columns } else { Form::Shared };
        let view = self.view(id, form)?;
        Ok(self.argument(fusion, view, false))
    }

    /// The value of a node that has the same one everywhere.
    pub(super) fn constant(&self, id: Id) -> Option<f64> {
        match *self.term.node(self.base(id)) {
            Seq::Number(x) => Some(x.value()),
            Seq::Zero(_) => Some(0.0),
            Seq::Ones(_) => Some(1.0),
            Seq::Unary(f, [x]) => Some(f.eval(self.constant(x)?)),
            Seq::Binary(f, [a, b]) => Some(f.eval(self.constant(a)?, self.constant(b)?)),
            _ => None,
        }
    }

    fn inlines(&self, fusion: &Fusion, id: Id) -> bool {
        let cheap = matches!(self.term.node(id), Seq::Unary(Unary::Neg, _));
        let once = self.uses[usize::from(id)] == 1 || cheap;
        let blockwise = matches!(self.term.node(id), Seq::Masked(_) | Seq::Seg(_));
        let pointwise = blockwise
            || self.is_broadcast(id)
            || matches!(
                self.term.node(id),
                Seq::Unary(..) | Seq::Binary(..) | Seq::Select(_) | Seq::Live(_)
            );
        let placed = self.lives_in_columns(id) == fusion.columns || fusion.columns;
        pointwise
            && once
            && placed
            && !self.is_made(id)
            && self.size(id) == fusion.size
            && (!blockwise || self.blocks(id) == fusion.blocks)
            && (fusion.sum.is_some() || self.fusable_sum(id, id).is_none())
    }

    /// `e^x` for the gate of a chunk.
    pub(super) fn exp_expression(
        &mut self,
        x: Id,
        dst: View,
    ) -> Result<(Expr, Vec<Arg>), Diagnostic> {
        let mut fusion = self.fusion(x, dst);
        let value = self.exponential_of(&mut fusion, x)?;
        Ok((value, fusion.args))
    }

    fn exponential_of(&mut self, fusion: &mut Fusion, x: Id) -> Result<Expr, Diagnostic> {
        let value = match self.gate_sum(x)? {
            Some((sum, None)) => self.argument(fusion, sum, false),
            Some((sum, Some(less))) => {
                let sum = Box::new(self.argument(fusion, sum, false));
                let less = Box::new(self.argument(fusion, less, false));
                Expr::Binary(Binary::Add, sum, Box::new(Expr::Unary(Unary::Neg, less)))
            }
            None => return Ok(Expr::Unary(Unary::Exp, Box::new(self.operand(fusion, x)?))),
        };
        Ok(Expr::Unary(Unary::Exp2, Box::new(value)))
    }

    /// The expression of a node, operands inlined or read.
    fn inlined(&mut self, fusion: &mut Fusion, id: Id) -> Result<Expr, Diagnostic> {
        if let Some(value) = self.constant(id) {
            return Ok(Expr::Const(value));
        }
        if let Seq::Unary(Unary::Exp, [x]) = *self.term.node(id) {
            return self.exponential_of(fusion, x);
        }
        if let Seq::Seg([m, g]) = *self.term.node(id) {
            return self.segment(fusion, m, g);
        }
        let mut boxed = |this: &mut Self, x: Id| this.operand(fusion, x).map(Box::new);
        Ok(match self.term.node(id).clone() {
            Seq::Unary(f, [x]) => Expr::Unary(f, boxed(self, x)?),
            Seq::Binary(f, [a, b]) => Expr::Binary(f, boxed(self, a)?, boxed(self, b)?),
            Seq::Select([c, a, b]) => {
                Expr::Select(boxed(self, c)?, boxed(self, a)?, boxed(self, b)?)
            }
            // A product over one feature is a product of a column and a row.
            Seq::Mm([a, b]) => Expr::Binary(Binary::Mul, boxed(self, a)?, boxed(self, b)?),
            Seq::Mmt([a, b]) => {
                let column = self.operand(fusion, a)?;
                let row = match self.constant(b) {
                    Some(value) => Expr::Const(value),
                    None => {
                        let view = self.view(b, Form::Shared)?;
                        self.argument(fusion, view, true)
                    }
                };
                match column {
                    Expr::Const(1.0) => row,
                    column => Expr::Binary(Binary::Mul, Box::new(column), Box::new(row)),
                }
            }
            Seq::Live([x]) => {
                let rows = self.size(id)[0] / self.setting.chunk;
                Expr::Live { rows, value: boxed(self, x)? }
            }
            Seq::Masked([m, n, x]) => {
                let (mask, shape) = (self.mask(m), self.term.shape(id));
                let steps = self.term.facts(n).count();
                let (row_step, col_step) = (shape.rows / steps, shape.features / steps);
                Expr::Keep { mask, row_step, col_step, value: boxed(self, x)? }
            }
            other => {
                let message =
                    format!("the fused scan has no `{other}` where its elements are read");
                return Err(Diagnostic::new(Code::Unsupported, message));
            }
        })
    }

    /// The decay between each pair of steps: `2^(to - from)` where the mask holds.
    fn segment(&mut self, fusion: &mut Fusion, m: Id, g: Id) -> Result<Expr, Diagnostic> {
        let mask = self.mask(m);
        let (to, from) = self.decay_sums(mask, g)?;
        let to = self.argument(fusion, to, false);
        let from = self.argument(fusion, from, true);
        let minus = Expr::Unary(Unary::Neg, Box::new(from));
        let exponent = Expr::Binary(Binary::Add, Box::new(to), Box::new(minus));
        let value = Box::new(Expr::Unary(Unary::Exp2, Box::new(exponent)));
        Ok(Expr::Keep { mask, row_step: 1, col_step: 1, value })
    }

    /// If a node is a running sum or total of log decays: its tile in octaves, and what is to be taken from that.
    fn gate_sum(&mut self, id: Id) -> Result<Option<(View, Option<View>)>, Diagnostic> {
        let id = self.base(id);
        let never_positive = |x: Id| self.term.facts(x).array().range.hi <= 0.0;
        match *self.term.node(id) {
            // Of a gate a channel one running sum is enough.
            Seq::Run([m, g])
                if never_positive(g)
                    && self.mask(m) == Mask::Tstrict
                    && self.term.shape(g).features > 1 =>
            {
                Ok(Some((self.total(g)?, Some(self.running(g, Mask::Incl)?))))
            }
            Seq::Run([m, g]) if never_positive(g) => {
                let mask = self.mask(m);
                Ok(Some((self.running(g, mask)?, None)))
            }
            Seq::Tot([g]) if never_positive(g) => Ok(Some((self.total(g)?, None))),
            _ => Ok(None),
        }
    }

    /// The sum of a gate over the rows of each block.
    fn total(&mut self, g: Id) -> Result<View, Diagnostic> {
        let blocks = self.blocks(g);
        if let Some(tile) = self.totals.get(&g) {
            return Ok(View { tile: *tile, blocks });
        }
        let src = match self.runs.contains_key(&(g, Mask::Incl)) {
            true => None,
            false => Some(self.gate(g)?),
        };
        let (size, home) = ([blocks, self.size(g)[1]], Home::Shared { stages: 1 });
        let tile = self.draft.tile("total", size, self.build.compute, home);
        self.totals.insert(g, tile);
        let dst = View { tile, blocks };
        self.draft.body.push(match src {
            None => {
                let last = self.size(g)[0] / blocks - 1;
                let map = CopyMap::Rows { dst_first: 0, src_first: last, count: 1 };
                let src = View { tile: self.runs[&(g, Mask::Incl)], blocks };
                Stmt::Copy { dst, src, map }
            }
            Some(src) => Stmt::Reduce { op: Reduction::Sum, dst, src, over: Over::Rows },
        });
        Ok(dst)
    }

    /// A gate in octaves and bounded below, in shared memory.
    fn gate(&mut self, g: Id) -> Result<View, Diagnostic> {
        let id = self.base(g);
        if let Some(tile) = self.gates.get(&id) {
            return Ok(self.seen(g, *tile));
        }
        let size = self.size(id);
        let home = Home::Shared { stages: 1 };
        let dst = self.draft.tile("gate", size, self.build.compute, home);
        self.gates.insert(id, dst);
        let dst_view = self.seen(g, dst);
        let Body { expr, args } = self.octaves(id, dst_view)?.0;
        self.draft.map(dst_view, expr, args);
        Ok(dst_view)
    }

    /// A gate in octaves, since the exponential unit takes powers of two, and bounded below; whether it is no
    /// more work than that.
    fn octaves(&mut self, id: Id, dst: View) -> Result<(Body, bool), Diagnostic> {
        let mut fusion = self.fusion(id, dst);
        let value = self.operand(&mut fusion, id)?;
        let is_there = matches!(value, Expr::Arg(_));
        let scaled =
            |x: Expr| Expr::Binary(Binary::Mul, Box::new(x), Box::new(Expr::Const(LOG2_E)));
        let lowest = Box::new(Expr::Const(LOWEST_GATE * LOG2_E));
        let expr = match self.term.facts(id).array().range.lo >= LOWEST_GATE {
            true => scaled(value),
            false => Expr::Binary(Binary::Max, Box::new(scaled(value)), lowest),
        };
        Ok((Body { expr, args: fusion.args }, is_there))
    }

    /// The running sum of a gate under a mask, in octaves.
    fn running(&mut self, g: Id, mask: Mask) -> Result<View, Diagnostic> {
        // Views of one gate with different blocks have different running sums.
        let key = (g, mask);
        if let Some(tile) = self.runs.get(&key) {
            return Ok(self.seen(g, *tile));
        }
        let home = Home::Shared { stages: 1 };
        let dst = self.draft.tile("run", self.size(g), self.build.compute, home);
        self.runs.insert(key, dst);
        let dst = self.seen(g, dst);
        let id = self.base(g);
        let (body, is_there) = self.octaves(id, dst)?;
        let body = match is_there && !self.gates.contains_key(&id) {
            true => body,
            false => Body::of(self.gate(g)?),
        };
        self.draft.body.push(Stmt::Run { dst, body, mask });
        Ok(dst)
    }

    /// The running sums `to`, `from` with `seg_m(g)(t, s) = to[t] - from[s]`.
    pub(super) fn decay_sums(&mut self, mask: Mask, g: Id) -> Result<(View, View), Diagnostic> {
        let (to, from) = match mask {
            Mask::Incl => (Mask::Incl, Mask::Incl),
            Mask::Strict => (Mask::Strict, Mask::Incl),
            Mask::Tincl => (Mask::Tstrict, Mask::Tstrict),
            Mask::Tstrict => (Mask::Tstrict, Mask::Tincl),
        };
        Ok((self.running(g, to)?, self.running(g, from)?))
    }
}
