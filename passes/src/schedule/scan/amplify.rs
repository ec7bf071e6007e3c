//! Which sums are read by something that amplifies their errors.
//!
//! A rounded operand is off by a fraction of itself. In a sum of products with both signs that is no
//! fraction of the sum, which may be much smaller than its terms; most readers bear it, because other
//! rows of the result are large. A division by such a sum, a norm, a root and a logarithm do not: they
//! make every row as large as the others. An exponential makes a relative error of its argument's
//! absolute one. Sums below those take their operands in halves (see [`super::halves`]).

use super::halves::keeps_errors;
use egg::Id;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Seq, Term, core_of};
use std::collections::BTreeSet;

/// Which operands of a product are to be taken in halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// One rounding is as good as any.
    None,
    /// Rows that a chunk computed, and states that stay as they are: their errors are common to many
    /// tokens. States in the making are as good as their own errors.
    Rows,
    /// All.
    All,
}

/// Features of a node that matter: all, or some from a first one on.
type Columns = Option<(usize, usize)>;

/// For each node what the products at and below it need; `rounded`: inputs are rounded when they become
/// operands.
pub(super) fn needs(term: &Term, rounded: bool) -> Vec<Need> {
    let mut walk =
        Walk { term, needs: vec![Need::None; term.nodes().len()], seen: BTreeSet::new() };
    for id in term.ids() {
        match *term.node(id) {
            Seq::Unary(Unary::Recip | Unary::Rsqrt | Unary::Sqrt | Unary::Log, [x])
            | Seq::Binary(Binary::Div, [_, x]) => walk.relative(x, None),
            Seq::Unary(Unary::Exp | Unary::Expm1, [x]) => walk.absolute(x, Need::Rows),
            _ => {}
        }
    }
    // An error of the matrix through which feedback is solved is one of all that it writes.
    for (core, _) in
        term.loops().into_iter().filter(|(core, _)| rounded && keeps_errors(term, *core))
    {
        walk.absolute(core.l, Need::All);
    }
    walk.needs
}

struct Walk<'a> {
    term: &'a Term,
    needs: Vec<Need>,
    /// What was asked to be relatively exact.
    seen: BTreeSet<(Id, Columns)>,
}

impl Walk<'_> {
    /// The node's error is to be a fraction of its value: of sums that may cancel, and of nothing else,
    /// that asks for more than operands with such errors.
    fn relative(&mut self, id: Id, columns: Columns) {
        if !self.term.is_array(id) || !self.seen.insert((id, columns)) {
            return;
        }
        match *self.term.node(id) {
            Seq::Cols([first, _, x]) => {
                let (from, count) = columns.unwrap_or((0, self.term.shape(id).features));
                self.relative(x, Some((self.term.facts(first).count() + from, count)));
            }
            Seq::Blk([_, x]) | Seq::Unblk([_, x]) | Seq::Live([x]) | Seq::Masked([_, _, x]) => {
                self.relative(x, columns);
            }
            Seq::Unary(
                Unary::Neg | Unary::Abs | Unary::Recip | Unary::Rsqrt | Unary::Sqrt,
                [x],
            ) => {
                self.relative(x, columns);
            }
            Seq::Binary(Binary::Mul | Binary::Div, operands) => {
                operands.into_iter().for_each(|x| self.relative(x, self.of(x, columns)));
            }
            // What is not above a positive number does not come near 0.
            Seq::Binary(Binary::Max, operands)
                if operands.iter().any(|x| self.term.facts(*x).array().range.lo > 0.0) => {}
            Seq::Binary(Binary::Add, operands) if self.adds_up(id, columns) => {
                operands.into_iter().for_each(|x| self.relative(x, self.of(x, columns)));
            }
            // All features of one read are small together only if the read has next to no weight, which
            // is a factor of them all. Several reads may cancel.
            Seq::RowSum([x]) if self.adds_up(x, columns) && self.reads(x).len() <= 1 => {}
            Seq::RowSum([x]) | Seq::Tot([x]) if self.adds_up(x, columns) => self.relative(x, None),
            _ if self.adds_up(id, columns) => {}
            _ => self.absolute(id, Need::All),
        }
    }

    /// Everything below a node has a need.
    fn absolute(&mut self, id: Id, need: Need) {
        if self.needs[usize::from(id)] >= need {
            return;
        }
        self.needs[usize::from(id)] = need;
        let node = self.term.node(id);
        if need == Need::All || core_of(node).is_none() {
            let operands = node.operands().to_vec();
            operands.into_iter().for_each(|x| self.absolute(x, need));
        }
    }

    /// The products that mix values of a chunk's tokens into a node.
    fn reads(&self, id: Id) -> BTreeSet<Id> {
        match self.term.node(id) {
            Seq::Mm([_, b]) if core_of(self.term.node(*b)).is_none() => BTreeSet::from([id]),
            Seq::Mm(_) => BTreeSet::new(),
            node if core_of(node).is_some() => BTreeSet::new(),
            node => node.operands().iter().flat_map(|x| self.reads(*x)).collect(),
        }
    }

    /// The columns of an operand that is broadcast over them.
    fn of(&self, id: Id, columns: Columns) -> Columns {
        columns.filter(|_| self.term.is_array(id) && self.term.shape(id).features > 1)
    }

    /// Whether a node's values are never negative, and sums of such values.
    fn adds_up(&self, id: Id, columns: Columns) -> bool {
        if !self.term.is_array(id) {
            return false;
        }
        if self.term.facts(id).array().range.lo >= 0.0 || self.term.is_zero(id) {
            return true;
        }
        match *self.term.node(id) {
            Seq::Cols([first, _, x]) => {
                let (from, count) = columns.unwrap_or((0, self.term.shape(id).features));
                self.adds_up(x, Some((self.term.facts(first).count() + from, count)))
            }
            Seq::Cat([a, b]) => {
                let width = self.term.shape(a).features;
                match columns {
                    Some((from, _)) if from >= width => {
                        self.adds_up(b, columns.map(|(from, count)| (from - width, count)))
                    }
                    Some((from, count)) if from + count <= width => self.adds_up(a, columns),
                    _ => self.adds_up(a, None) && self.adds_up(b, None),
                }
            }
            Seq::Blk([_, x]) | Seq::Unblk([_, x]) | Seq::Live([x]) | Seq::Masked([_, _, x]) => {
                self.adds_up(x, columns)
            }
            Seq::RowSum([x]) => self.adds_up(x, None),
            Seq::Tot([x]) => self.adds_up(x, columns),
            Seq::Binary(Binary::Mul, [a, b]) if a == b => true,
            Seq::Binary(Binary::Add | Binary::Mul | Binary::Div, [a, b]) => {
                self.adds_up(a, self.of(a, columns)) && self.adds_up(b, self.of(b, columns))
            }
            Seq::Mm([a, b]) | Seq::Tmm([a, b]) => self.adds_up(a, None) && self.adds_up(b, columns),
            Seq::Mmt([a, b]) => self.adds_up(a, None) && self.adds_up(b, None),
            Seq::Hist(_) | Seq::Fin(_) => {
                let (_, core) = core_of(self.term.node(id)).expect("the node is a history");
                self.term.is_zero(core.a)
                    && self.adds_up(core.c, None)
                    && [core.d, core.s].into_iter().all(|x| self.adds_up(x, columns))
            }
            _ => false,
        }
    }
}
