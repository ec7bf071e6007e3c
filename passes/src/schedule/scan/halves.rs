//! Values as two matrix operands: the rounded value, and what the rounding lost.
//!
//! A product of halves has the error of one rounding squared, and costs two or three products. It is taken
//! where one rounding is not enough:
//!
//! * **Feedback that need not fade** (see [`Errors`]). A state that takes part in what is written to it and
//!   whose decay may be 1 keeps every rounding error of its reads and writes until something replaces
//!   what it holds. Four terms of like size make an error: the state that feedback reads, the inverse of
//!   its matrix, what is solved for, and the values that are written. All but the inverse are taken in
//!   halves. Where nothing bounds the sum of the errors of all chunks the inverse is, too, and written
//!   values also where outputs read them; chunks are short there: the errors of a solve grow with its rows.
//! * **Sums that are amplified** (see [`super::amplify`]), if the compiler made their rows itself: features,
//!   rotated queries and keys. The rounding of an input is the caller's.
//! * **States that are mixed** once the tokens are done, as those of a rotation are: an error that is small
//!   beside one of them need not be small beside the other.
//! * **Values written under rounded keys**, in every loop: one rounding of a write is what states bear.

use super::Scan;
use super::amplify::Need;
use super::history::plain_product;
use super::product::TENSOR_EXTENT;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::kernel::{Arg, Band, Expr, Mma, Operand, Place, Start, Stmt, TileId, Unit, View};
use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::seq::{Core, Root, Seq, Term, core_of};

/// The longest chunk for a loop whose errors add up: those within a chunk's solve grow with its rows.
const EXACT_CHUNK: usize = 32;

/// The most feedback rows whose scores are as good as need be when they are rounded once: written values
/// that replace each other are large beside what is read of them all.
const EXACT_ROWS: usize = 32;

/// What becomes of rounding errors in the states of a loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    /// Nothing is fed back, or the states decay, and the errors with them.
    Fade,
    /// Feedback erases what it reads, errors as well: they stay a fraction of the state.
    AreErased,
    /// They may all stay.
    Stay,
}

fn errors(term: &Term, core: Core) -> Errors {
    let feedback = !term.is_zero(core.a) && !term.is_zero(core.p);
    let stays = |gate: Id| term.is_zero(gate) || term.facts(gate).array().range.hi >= 0.0;
    if !(feedback && stays(core.g) && stays(core.w)) {
        Errors::Fade
    } else if erases(term, core) {
        Errors::AreErased
    } else {
        Errors::Stay
    }
}

/// Whether every error in the states of a loop may stay.
pub(super) fn keeps_errors(term: &Term, core: Core) -> bool {
    errors(term, core) == Errors::Stay
}

/// Whether feedback takes away at most what it reads: `I - s k k^T` with a strength `s` in `[0, 1]`.
///
/// Reads under keys `k` of one size in `K` random directions, with errors of relative size `u`, make an
/// error `E` of the state that follows the recurrence of the state itself with other sources: one write
/// takes `s (2 - s) / K` of `|E|^2` away and adds `s^2 u^2 |k^T S|^2`, where values add `s^2 |v|^2`. So
/// `|E| / |S|` is `u |k^T S| / |v|`, and with `|S|^2 = K |v|^2 s / (2 - s)` that is `u` times the root of
/// `s / (2 - s)`: at most `u` for `s <= 1`, without a bound as `s` nears 2, where writes reflect.
fn erases(term: &Term, core: Core) -> bool {
    let (key, strength) = bounded_factors(term, core.a);
    let (reader, more) = bounded_factors(term, core.p);
    let strength = Binary::Mul.range(strength, more);
    key == reader && strength.lo >= -1.0 && strength.hi <= 0.0
}

/// A value without the factors that are declared or proven to be bounded, and the range of their product.
fn bounded_factors(term: &Term, id: Id) -> (Id, Interval) {
    let of = |x: Id| term.facts(x).array().range;
    let bounded = |x: Id| of(x).lo.is_finite() && of(x).hi.is_finite();
    let joined = |x: Id, factor: Interval| {
        let (rest, range) = bounded_factors(term, x);
        (rest, Binary::Mul.range(range, factor))
    };
    match *term.node(id) {
        Seq::Blk([_, x]) | Seq::Unblk([_, x]) => bounded_factors(term, x),
        Seq::Unary(Unary::Neg, [x]) => joined(x, Interval::point(-1.0)),
        Seq::Binary(Binary::Mul, [a, b]) if bounded(a) => joined(b, of(a)),
        Seq::Binary(Binary::Mul, [a, b]) if bounded(b) => joined(a, of(b)),
        _ => (id, Interval::point(1.0)),
    }
}

/// The longest chunk for which a fused scan of the term is accurate, if there is a limit.
pub fn longest_chunk(term: &Term) -> Option<usize> {
    term.loops().iter().any(|(core, _)| keeps_errors(term, *core)).then_some(EXACT_CHUNK)
}

/// Products of one sum, the largest first: which halves of the left and of the right operand.
const PRODUCTS: [(usize, usize); 3] = [(0, 0), (0, 1), (1, 0)];

impl Scan<'_> {
    /// Which operands of a product are wanted in halves, the left one and the right one.
    pub(super) fn wanted(&self, id: Id) -> [bool; 2] {
        let node = self.term.node(id);
        let (Seq::Mm([a, b]) | Seq::Mmt([a, b])) = *node else { return [false; 2] };
        // Where inputs are rounded too, outputs have one rounding more to bear.
        let rounded = self.build.dtype != self.operand;
        let right = self.term.node(self.base(b));
        let loop_of = core_of(right).map(|(_, core)| core).filter(|c| self.is_exact_loop(*c));
        match (right, loop_of) {
            (Seq::Hz(_), Some(core)) => {
                return [rounded || self.size(core.p)[0] > EXACT_ROWS, true];
            }
            (Seq::Hist(_), Some(_)) if rounded => return [true; 2],
            _ => {}
        }
        match self.needs[usize::from(id)] {
            Need::None => [false; 2],
            Need::Rows => {
                let right =
                    if matches!(node, Seq::Mmt(_)) { self.is_computed(b) } else { self.rests(b) };
                [self.is_computed(a), right]
            }
            Need::All => [self.has_computed_rows(id); 2],
        }
    }

    /// Whether rows are more than inputs that decayed: then their rounding is the compiler's own.
    pub(super) fn is_computed(&self, id: Id) -> bool {
        let id = self.row_factors(self.base(id)).0;
        match *self.term.node(self.base(id)) {
            Seq::Live([x]) | Seq::Unary(Unary::Neg, [x]) => self.is_computed(x),
            Seq::Binary(Binary::Mul, [a, b]) => {
                let decays =
                    |x: Id| matches!(self.term.node(self.base(x)), Seq::Unary(Unary::Exp, _));
                let computed = |x: Id| !decays(x) && self.is_computed(x);
                !(decays(a) || decays(b)) || computed(a) || computed(b)
            }
            _ => !self.is_exact(id),
        }
    }

    /// Whether a value is made by products of computed rows, or of states that such rows wrote.
    fn has_computed_rows(&self, id: Id) -> bool {
        let node = self.term.node(id);
        match *node {
            Seq::Mmt([a, b]) | Seq::Score([_, a, b, _]) => {
                self.is_computed(a) || self.is_computed(b)
            }
            Seq::Mm([a, b]) => {
                let history = core_of(self.term.node(self.base(b)));
                let of_state = |core: Core| self.is_computed(a) || self.is_computed(core.c);
                self.has_computed_rows(a) || history.is_some_and(|(_, core)| of_state(core))
            }
            _ if core_of(node).is_some() => false,
            _ => node.operands().iter().any(|x| self.has_computed_rows(*x)),
        }
    }

    /// Whether a node is a state that no chunk changes.
    fn rests(&self, id: Id) -> bool {
        let zero = |x: Id| self.term.is_zero(x);
        core_of(self.term.node(self.base(id))).is_some_and(|(_, core)| {
            let writes =
                !(zero(core.c) || zero(core.d)) || !(zero(core.a) || zero(core.p) && zero(core.b));
            !writes && zero(core.g) && zero(core.w)
        })
    }

    /// Whether the products of a loop take both halves of their operands.
    pub(super) fn is_exact_loop(&self, core: Core) -> bool {
        let mixed =
            |root: &Root| self.setting.mixed.contains(&root.name) && self.ends(root.id, core);
        keeps_errors(self.term, core) || self.term.roots().iter().any(mixed)
    }

    /// Whether feedback reads, solves for and writes both halves of its values.
    pub(super) fn feeds_halves(&self, core: Core) -> bool {
        errors(self.term, core) != Errors::Fade || self.is_exact_loop(core)
    }

    /// Whether a node is the last state of a loop or some of its columns.
    fn ends(&self, id: Id, core: Core) -> bool {
        match self.term.node(id) {
            Seq::Cols([.., x]) => self.ends(*x, core),
            node => core_of(node).is_some_and(|(_, c)| c == core),
        }
    }

    /// Keeps more than operand precision of what products and loops want in halves.
    pub(super) fn widen(&mut self) {
        let mut wide = self.rows_to_scale();
        for id in self.term.ids() {
            if let (true, [a, b, ..]) = (self.is_product(id), self.term.node(id).operands()) {
                let operands = [*a, *b].into_iter().zip(self.wanted(id));
                wide.extend(operands.filter(|(_, wanted)| *wanted).map(|(x, _)| x));
            }
        }
        for (core, _) in self.term.loops() {
            if self.is_exact_loop(core) {
                wide.extend([core.p, core.a, core.c, core.d]);
            }
            wide.push(core.d);
            wide.extend([core.a, core.c].into_iter().filter(|keys| self.is_computed(*keys)));
        }
        for id in wide {
            for x in [id, self.row_factors(id).0] {
                let x = self.base(x);
                self.wide[usize::from(x)] |= !self.is_exact(x);
            }
        }
    }

    /// A node as an operand, in halves if they are wanted and its rounding loses something. The node's
    /// readers were told so by [`Scan::widen`].
    pub(super) fn halves(
        &mut self,
        id: Id,
        form: Form,
        wanted: bool,
    ) -> Result<(View, Vec<TileId>), Diagnostic> {
        let view = self.view(id, form)?;
        if !wanted || self.is_exact(id) {
            return Ok((view, vec![view.tile]));
        }
        let exact = self.view(id, form.exact())?;
        Ok((view, self.with_lost(true, exact.tile, view.tile)))
    }

    /// A rounded tile with what the rounding lost, if that is wanted.
    pub(super) fn with_lost(
        &mut self,
        wanted: bool,
        exact: TileId,
        rounded: TileId,
    ) -> Vec<TileId> {
        if wanted && exact != rounded {
            vec![rounded, self.lost(exact, rounded)]
        } else {
            vec![rounded]
        }
    }

    /// What a rounded tile lost, itself as an operand.
    pub(super) fn lost(&mut self, exact: TileId, rounded: TileId) -> TileId {
        if let Some(lost) = self.lost.get(&rounded) {
            return *lost;
        }
        let source = &self.draft.tiles[exact.0];
        let (size, columns) = ([source.rows, source.cols], source.place == Place::Columns);
        let home = if columns { Home::Columns } else { Home::Shared { stages: 1 } };
        let lost = self.draft.tile("lost", size, self.operand, home);
        let dst = self.draft.whole(lost);
        let minus = Expr::Unary(Unary::Neg, Box::new(Expr::Arg(1)));
        let expr = Expr::Binary(Binary::Add, Box::new(Expr::Arg(0)), Box::new(minus));
        let args = [exact, rounded].map(|t| Arg { view: self.draft.whole(t), transposed: false });
        self.draft.map(dst, expr, args.to_vec());
        self.lost.insert(rounded, lost);
        lost
    }

    /// The inverse of a feedback matrix, in halves if they are wanted.
    pub(super) fn inverse_halves(
        &mut self,
        l: Id,
        wanted: bool,
    ) -> Result<Vec<TileId>, Diagnostic> {
        let rounded = self.inverse(l)?;
        let exact = self.inverses[&self.base(l)].exact;
        Ok(self.with_lost(wanted, exact, rounded))
    }

    /// Appends `last = then(start + left right)` over the products of halves.
    pub(super) fn products(&mut self, left: &[TileId], right: &[TileId], last: Mma) {
        let there = PRODUCTS.into_iter().filter_map(|(i, j)| Some([*left.get(i)?, *right.get(j)?]));
        let mut operands: Vec<[TileId; 2]> = there.collect();
        // Where products run on, what a rounded value lost can take its registers after it.
        if !self.setting.in_roles {
            operands.reverse();
        }
        let count = operands.len();
        for (n, [a, b]) in operands.into_iter().enumerate() {
            let mut mma = last.clone();
            mma.a.view = View { tile: a, ..mma.a.view };
            mma.b.view = View { tile: b, ..mma.b.view };
            if n > 0 {
                mma.start = Start::Dst;
            }
            if n + 1 < count {
                mma.then = None;
            }
            self.draft.body.push(Stmt::Mma(mma));
        }
    }

    /// `dst = start + left right` in shared memory with the halves of either operand, each transposed or not;
    /// on tensor cores if no extent is too small for them.
    pub(super) fn small_product(
        &mut self,
        dst: TileId,
        (left, left_transposed): (&[TileId], bool),
        (right, right_transposed): (&[TileId], bool),
        start: Start,
    ) {
        let extents = |tile: TileId| [self.draft.tiles[tile.0].rows, self.draft.tiles[tile.0].cols];
        let [rows, cols] = extents(dst);
        let inner = extents(left[0])[usize::from(!left_transposed)];
        // Pairs of columns of f32 tiles are written together.
        let whole = rows.min(cols).min(inner) >= TENSOR_EXTENT && cols.is_multiple_of(2);
        let operand = |tile, transposed| Operand { view: self.draft.whole(tile), transposed };
        let last = Mma {
            dst: self.draft.whole(dst),
            a: operand(left[0], left_transposed),
            b: operand(right[0], right_transposed),
            start,
            then: None,
            band: Band::Full,
            unit: if whole { Unit::Tensor } else { Unit::Scalar },
        };
        self.products(left, right, last);
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
