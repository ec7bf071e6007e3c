//! Scores and mixes of a chunk: what decays a channel.

use super::Scan;
use super::product::FRAGMENT;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Arg, Expr, Stmt, TileId, Unit, View};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Mask, Seq};

/// The rows of one side of a score without what can go on the scores or their exponents.
struct Side {
    row: Id,
    /// Factors of rows.
    factors: Vec<Id>,
    /// A factor of all rows.
    scale: f64,
    /// Whether each row has decayed by its own step.
    has_decayed: bool,
}

impl Scan<'_> {
    /// The scores of rows with a vector decay, or of whole sub-blocks.
    pub(super) fn score(
        &mut self,
        id: Id,
        operands: [Id; 4],
        dtype: Dtype,
    ) -> Result<TileId, Diagnostic> {
        if self.scores_steps(operands) {
            return self.score_of_steps(id, operands, dtype);
        }
        let [m, p, a, g] = operands;
        let mask = self.mask(m);
        let sums = self.decay_sums(mask, g)?;
        let (to, from) = self.as_wide(sums, self.size(p)[1]);
        let steps = self.term.shape(g).rows;
        let per = |x: Id| self.term.shape(x).rows / steps;
        let in_steps = per(p) % FRAGMENT == 0 && per(a) % FRAGMENT == 0;
        let unit = if in_steps { Unit::Tensor } else { Unit::Scalar };
        let (p, a) = (self.view(p, Form::SharedOperand)?, self.view(a, Form::SharedOperand)?);
        let (dst, operand) = (self.fresh(id, "score", dtype), self.operand);
        let dst_view = self.seen(id, dst);
        self.draft.body.push(Stmt::Score { dst: dst_view, p, a, to, from, mask, unit, operand });
        Ok(dst)
    }

    /// Whether tensor cores make scores whose rows are steps of their own.
    pub(super) fn scores_steps(&self, [m, p, a, g]: [Id; 4]) -> bool {
        let steps = self.term.shape(g).rows;
        let single = [p, a].into_iter().all(|x| self.term.shape(x).rows == steps);
        let whole = steps.is_multiple_of(FRAGMENT) && self.size(p)[1].is_multiple_of(FRAGMENT);
        // A few rows are not worth what scaling them to steps in between takes.
        single && whole && steps > FRAGMENT && !self.mask(m).is_transposed()
    }

    /// Scores whose rows are steps. Both sides are rounded when they are scaled: rows that were not loaded as
    /// operands stay wide until then.
    fn score_of_steps(
        &mut self,
        id: Id,
        [m, p, a, g]: [Id; 4],
        dtype: Dtype,
    ) -> Result<TileId, Diagnostic> {
        let (mask, operand) = (self.mask(m), self.operand);
        let [readers, writers] = self.sides([m, p, a, g]);
        // A strict reader that has decayed by its own step sees what all steps since the writer left.
        let sums = if readers.has_decayed { Mask::Incl } else { mask };
        let sums = self.decay_sums(sums, g)?;
        let (to, from) = self.as_wide(sums, self.size(p)[1]);
        let rows = |scan: &mut Self, side: &Side| {
            let form = if scan.is_exact(side.row) { Form::SharedOperand } else { Form::Shared };
            let tile = scan.tile(side.row, form)?;
            Ok::<View, Diagnostic>(scan.seen(id, tile))
        };
        let (p, a) = (rows(self, &readers)?, rows(self, &writers)?);
        let score = |scan: &mut Self, dtype: Dtype| {
            let dst = scan.fresh(id, "score", dtype);
            let view = scan.seen(id, dst);
            let unit = Unit::Tensor;
            scan.draft.body.push(Stmt::Score { dst: view, p, a, to, from, mask, unit, operand });
            dst
        };
        let scale = readers.scale * writers.scale;
        if scale == 1.0 && readers.factors.is_empty() && writers.factors.is_empty() {
            return Ok(score(self, dtype));
        }
        let sign_alone = scale == -1.0 && readers.factors.len() + writers.factors.len() == 0;
        let scores = score(self, if sign_alone { dtype } else { self.build.compute });
        let mut args = vec![Arg { view: self.seen(id, scores), transposed: false }];
        for (factors, transposed) in [(&readers.factors, false), (&writers.factors, true)] {
            for factor in factors {
                let tile = self.tile(self.base(*factor), Form::Shared)?;
                args.push(Arg { view: self.seen(id, tile), transposed });
            }
        }
        let product = |a, b| Expr::Binary(Binary::Mul, Box::new(a), Box::new(b));
        let scaled = (0..args.len()).map(Expr::Arg).reduce(product).expect("there are the scores");
        let scaled = if scale == 1.0 { scaled } else { product(scaled, Expr::Const(scale)) };
        let dst = self.fresh(id, "score", dtype);
        let dst_view = self.seen(id, dst);
        self.draft.map(dst_view, scaled, args);
        Ok(dst)
    }

    /// The rows of a score's readers and writers.
    fn sides(&self, [m, p, a, g]: [Id; 4]) -> [Side; 2] {
        let gate = (self.mask(m) == Mask::Strict).then(|| self.base(g));
        [self.side(p, gate), self.side(a, None)]
    }

    /// The rows `id`, which may have decayed by `gate`.
    fn side(&self, id: Id, gate: Option<Id>) -> Side {
        let decays = |x: Id| match *self.term.node(self.base(x)) {
            Seq::Unary(Unary::Exp, [x]) => gate == Some(self.base(x)),
            _ => false,
        };
        let mut side = Side { row: id, factors: Vec::new(), scale: 1.0, has_decayed: false };
        loop {
            let (row, factors) = self.row_factors(side.row);
            side.row = self.base(row);
            for factor in factors {
                match self.constant(factor) {
                    Some(by) => side.scale *= by,
                    None => side.factors.push(factor),
                }
            }
            side.row = match *self.term.node(side.row) {
                Seq::Unary(Unary::Neg, [x]) => {
                    side.scale = -side.scale;
                    x
                }
                Seq::Binary(Binary::Mul, [a, b]) => {
                    let pairs = [(a, b), (b, a)];
                    if let Some((by, x)) =
                        pairs.iter().find_map(|(by, x)| Some((self.constant(*by)?, *x)))
                    {
                        side.scale *= by;
                        x
                    } else if let Some((_, x)) =
                        pairs.iter().find(|(by, _)| !side.has_decayed && decays(*by))
                    {
                        side.has_decayed = true;
                        *x
                    } else {
                        return side;
                    }
                }
                _ => return side,
            };
        }
    }

    /// Rows of scores that are rounded when they are scaled, and not before.
    pub(super) fn rows_to_scale(&self) -> Vec<Id> {
        let scores = self.term.ids().filter_map(|id| match *self.term.node(id) {
            Seq::Score(operands) if self.scores_steps(operands) => Some(self.sides(operands)),
            _ => None,
        });
        scores.flatten().map(|side| side.row).collect()
    }

    /// Running sums of one decay for all features, repeated for each of them.
    fn as_wide(&mut self, (to, from): (View, View), width: usize) -> (View, View) {
        let mut wide = |view: View| {
            let tile = &self.draft.tiles[view.tile.0];
            if tile.cols == width {
                return view;
            }
            let (size, home) = ([tile.rows, width], Home::Shared { stages: 1 });
            let dst = self.draft.tile("run", size, self.build.compute, home);
            let dst = View { tile: dst, ..view };
            let arg = Arg { view, transposed: false };
            self.draft.map(dst, Expr::Arg(0), vec![arg]);
            dst
        };
        (wide(to), wide(from))
    }

    /// A mix of rows with a decay per column.
    pub(super) fn mix(
        &mut self,
        id: Id,
        [m, w, y, g]: [Id; 4],
        dtype: Dtype,
    ) -> Result<TileId, Diagnostic> {
        let mask = self.mask(m);
        let sums = self.decay_sums(mask, g)?;
        let (to, from) = self.as_wide(sums, self.size(y)[1]);
        let (w, y) = (self.view(w, Form::Shared)?, self.view(y, Form::Shared)?);
        let dst = self.fresh(id, "mix", dtype);
        let dst_view = self.seen(id, dst);
        self.draft.body.push(Stmt::Mix { dst: dst_view, w, y, to, from, mask });
        Ok(dst)
    }
}
