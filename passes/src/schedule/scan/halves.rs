//! Values as two matrix operands: the rounded value, and what the rounding lost.
//!
//! A state that takes part in what is written to it and never fades keeps every rounding error of
//! its reads and writes for good, so the errors of all chunks add up. For such a loop the products of
//! the feedback take both halves of their inexact operands, which leaves the error of one rounding
//! squared; where states fade, one half is enough and half the work. Values that are written under keys
//! which are rounded themselves take both halves too: one rounding of a write is what states bear.

use super::Scan;
use super::history::plain_product;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::kernel::{Arg, Band, Expr, Mma, Place, Start, Stmt, TileId, View};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Core, Term};

/// The longest chunk for a loop whose errors add up: those within a chunk's solve grow with its rows.
const EXACT_CHUNK: usize = 32;

/// Whether every error in the states of a loop stays: they feed back and never fade.
pub(super) fn keeps_errors(term: &Term, core: Core) -> bool {
    let feedback = !term.is_zero(core.a) && !term.is_zero(core.p);
    feedback && term.is_zero(core.g) && term.is_zero(core.w)
}

/// The longest chunk for which a fused scan of the term is accurate, if there is a limit.
pub fn longest_chunk(term: &Term) -> Option<usize> {
    term.loops().iter().any(|(core, _)| keeps_errors(term, *core)).then_some(EXACT_CHUNK)
}

/// Products of one sum, the least first: which halves of the left and of the right operand.
const PRODUCTS: [(usize, usize); 3] = [(1, 0), (0, 1), (0, 0)];

impl Scan<'_> {
    /// The halves of a column tile that a loop needs, as operands.
    pub(super) fn halves(&mut self, core: Core, tile: TileId) -> Vec<TileId> {
        let rounded = self.packed(tile);
        self.with_lost(core, tile, rounded)
    }

    /// A rounded tile with what the rounding lost, if the loop needs it.
    pub(super) fn with_lost(&mut self, core: Core, exact: TileId, rounded: TileId) -> Vec<TileId> {
        if keeps_errors(self.term, core) {
            vec![rounded, self.lost(exact, rounded)]
        } else {
            vec![rounded]
        }
    }

    /// What a rounded tile lost, itself as an operand.
    pub(super) fn lost(&mut self, exact: TileId, rounded: TileId) -> TileId {
        let source = &self.draft.tiles[exact.0];
        let (size, columns) = ([source.rows, source.cols], source.place == Place::Columns);
        let home = if columns { Home::Columns } else { Home::Shared { stages: 1 } };
        let lost = self.draft.tile("lost", size, self.operand, home);
        let dst = self.draft.whole(lost);
        let minus = Expr::Unary(Unary::Neg, Box::new(Expr::Arg(1)));
        let expr = Expr::Binary(Binary::Add, Box::new(Expr::Arg(0)), Box::new(minus));
        let args = [exact, rounded].map(|t| Arg { view: self.draft.whole(t), transposed: false });
        self.draft.map(dst, expr, args.to_vec());
        lost
    }

    /// The inverse of a loop's feedback matrix in the halves that the loop needs.
    pub(super) fn inverse_halves(&mut self, core: Core) -> Result<Vec<TileId>, Diagnostic> {
        let l: Id = core.l;
        let rounded = self.inverse(l)?;
        let exact = self.inverses[&self.base(l)].exact;
        Ok(self.with_lost(core, exact, rounded))
    }

    /// Appends `last = then(start + left right)` over the products of halves, the largest last.
    pub(super) fn products(&mut self, left: &[TileId], right: &[TileId], last: Mma) {
        let mut start = last.start;
        for (i, j) in PRODUCTS {
            let (Some(a), Some(b)) = (left.get(i), right.get(j)) else { continue };
            let largest = (i, j) == (0, 0);
            let mut mma = last.clone();
            mma.a.view = View { tile: *a, ..mma.a.view };
            mma.b.view = View { tile: *b, ..mma.b.view };
            mma.start = start;
            if !largest {
                mma.then = None;
            }
            start = Start::Dst;
            self.draft.body.push(Stmt::Mma(mma));
        }
    }

    /// `a b` in columns with the halves of either operand, added to `start`.
    pub(super) fn solve_products(
        &mut self,
        dst: View,
        (left, right): (&[TileId], &[TileId]),
        (start, band): (Start, Band),
    ) {
        let [a, b] = [left[0], right[0]].map(|t| self.draft.whole(t));
        let last = Mma { band, ..plain_product(dst, a, b, start) };
        self.products(left, right, last);
    }
}
