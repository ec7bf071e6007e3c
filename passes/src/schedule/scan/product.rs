//! Products and inverses of a chunk.

use super::Scan;
use super::halves::keeps_errors;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Band, Body, CopyMap, Mma, Operand, Start, Stmt, TileId, Unit, View};
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::{Core, Mask, Seq};

/// Rows of the blocks by which triangular matrices are inverted.
const BLOCK: usize = 16;

/// The least extent for which tensor cores are used.
pub(super) const TENSOR_EXTENT: usize = 8;

/// Rows of a fragment of tensor cores.
pub(super) const FRAGMENT: usize = 16;

/// The tiles of `(I - L)^-1 - I`.
#[derive(Clone, Copy)]
pub(super) struct Inverse {
    /// As computed.
    pub(super) exact: TileId,
    /// As a matrix operand.
    operand: TileId,
}

/// A product whose operands are ready.
pub(super) struct Product {
    a: Operand,
    b: Operand,
    /// The left and the right operand, each whole or in halves.
    pub(super) halves: [Vec<TileId>; 2],
    start: Start,
    unit: Unit,
    /// Factors of the left operand's rows, to be applied to the rows of the sum.
    pub(super) factors: Vec<Id>,
    /// What of the left operand (in columns) or of the result (in shared memory) is not zero.
    pub(super) band: Band,
}

impl Product {
    /// Adds the product to a tile.
    pub(super) fn start_from(&mut self, view: View) {
        self.start = Start::Tile(view);
    }

    /// Takes away what the product is added to, if that is a tile.
    pub(super) fn without_start(&mut self) -> Option<View> {
        match std::mem::replace(&mut self.start, Start::Zero) {
            Start::Tile(view) => Some(view),
            Start::Zero | Start::Dst => None,
        }
    }

    /// The statement with a destination and what is applied to the sum.
    pub(super) fn mma(self, dst: View, then: Option<Body>, band: Band) -> Mma {
        Mma { dst, a: self.a, b: self.b, start: self.start, then, band, unit: self.unit }
    }
}

impl Scan<'_> {
    /// Whether a node is a matrix product (over more than one feature).
    pub(super) fn is_product(&self, id: Id) -> bool {
        matches!(self.term.node(id), Seq::Mm(_) | Seq::Mmt(_) | Seq::Tmm(_) | Seq::Solve(_))
            && !self.is_broadcast(id)
            && !self.reads_stacked(id)
    }

    /// Whether a node is a product over one feature: a column times a row.
    pub(super) fn is_broadcast(&self, id: Id) -> bool {
        matches!(
            self.term.node(id),
            Seq::Mm([a, _]) | Seq::Mmt([a, _]) if self.term.shape(*a).features == 1
        )
    }

    /// Whether a product can be added to another value: one through an inverse already starts from
    /// its right operand.
    pub(super) fn accumulates(&self, id: Id) -> bool {
        match self.term.node(id) {
            Seq::Mm([a, _]) => !matches!(self.term.node(self.base(*a)), Seq::Tinv(_)),
            Seq::Solve(_) => false,
            _ => true,
        }
    }

    /// Makes the operands of a product.
    pub(super) fn product(&mut self, id: Id) -> Result<Product, Diagnostic> {
        let (a, b, ta, tb) = match *self.term.node(id) {
            Seq::Mm([a, b]) => match *self.term.node(self.base(a)) {
                Seq::Tinv([l]) => return self.solved(id, l, b),
                _ => (a, b, false, false),
            },
            Seq::Solve([l, b]) => return self.solved(id, l, b),
            Seq::Mmt([a, b]) => (a, b, false, true),
            Seq::Tmm([a, b]) => (a, b, true, false),
            ref other => unreachable!("`{other}` is no product"),
        };
        let columns = self.lives_in_columns(id);
        let shape = self.term.shape(id);
        let left = self.term.shape(a);
        let inner = if ta { left.rows } else { left.features };
        let small = shape.rows.min(inner).min(shape.features) < TENSOR_EXTENT;
        // Blocks of rows lie one behind the other, so none can be padded to fragments.
        let whole = |x: Id| self.term.shape(x).rows.is_multiple_of(FRAGMENT);
        let ragged = self.blocks(id) > 1 && !(whole(a) && whole(b));
        let unit = if (small || ragged) && !columns { Unit::Scalar } else { Unit::Tensor };
        let (left, right) = match (columns, unit) {
            (true, _) => (Form::SharedOperand, Form::ColumnsOperand),
            (false, Unit::Tensor | Unit::Warpgroup) => (Form::SharedOperand, Form::SharedOperand),
            (false, Unit::Scalar) => (Form::Shared, Form::Shared),
        };
        let band = if columns { self.band(a) } else { Band::Full };
        let (a, factors) = if ta { (a, Vec::new()) } else { self.row_factors(a) };
        let wanted = self.wanted(id).map(|wanted| wanted && unit == Unit::Tensor);
        let (a, first) = self.halves(a, left, wanted[0])?;
        let (b, second) = self.halves(b, right, wanted[1])?;
        let (a, b) = (Operand { view: a, transposed: ta }, Operand { view: b, transposed: tb });
        let (halves, band) = ([first, second], if ta { flipped(band) } else { band });
        Ok(Product { a, b, halves, start: Start::Zero, unit, factors, band })
    }

    /// `(I - L)^-1 b` as `b + N b`: the unit diagonal is never rounded.
    fn solved(&mut self, id: Id, l: Id, b: Id) -> Result<Product, Diagnostic> {
        let columns = self.lives_in_columns(id);
        let (exact, operand) = if columns {
            (Form::Columns, Form::ColumnsOperand)
        } else {
            (Form::Shared, Form::SharedOperand)
        };
        let [left, right] = self.wanted(id);
        let inverse = self.inverse_halves(l, left)?;
        let start = Start::Tile(self.view(b, exact)?);
        let a = Operand { view: self.seen(l, inverse[0]), transposed: false };
        let (b, second) = self.halves(b, operand, right)?;
        let b = Operand { view: b, transposed: false };
        let band = if columns { self.band(l) } else { Band::Full };
        let halves = [inverse, second];
        Ok(Product { a, b, halves, start, unit: Unit::Tensor, factors: Vec::new(), band })
    }

    /// Splits `x` into a value and factors with one number a row.
    ///
    /// A factor of output rows belongs on the accumulator: the operand stays as it was loaded, and
    /// nothing is rounded twice.
    pub(super) fn row_factors(&self, id: Id) -> (Id, Vec<Id>) {
        let base = self.base(id);
        let Seq::Binary(Binary::Mul, [a, b]) = *self.term.node(base) else { return (id, vec![]) };
        let is_factor = |f: Id, x: Id| {
            self.term.shape(f).features == 1
                && self.term.shape(x).features > 1
                && self.size(x) == self.size(base)
        };
        let (x, factor) = if is_factor(b, a) {
            (a, b)
        } else if is_factor(a, b) {
            (b, a)
        } else {
            return (id, vec![]);
        };
        let (x, mut factors) = self.row_factors(x);
        factors.push(factor);
        (x, factors)
    }

    /// `(I - L)^-1 - I` as a matrix operand.
    pub(super) fn inverse(&mut self, l: Id) -> Result<TileId, Diagnostic> {
        if let Some(inverse) = self.inverses.get(&self.base(l)) {
            return Ok(inverse.operand);
        }
        let src = self.view(l, Form::Shared)?;
        let home = Home::Shared { stages: 1 };
        let upper = self.band(l) == Band::Upper;
        let size = self.size(l)[1];
        let blocks = [self.blocks(l) * size.next_multiple_of(BLOCK), BLOCK];
        let diagonal = self.draft.tile("diagonal", blocks, Dtype::F32, Home::Packed { stages: 1 });
        let operand = self.draft.tile("inverse", self.size(l), self.operand, home);
        let to = self.seen(l, operand);
        let halved =
            |core: &Core| self.base(core.l) == self.base(l) && keeps_errors(self.term, *core);
        let halved = self.term.loops().iter().any(|(core, _)| halved(core));
        let exact = if halved {
            let exact = self.draft.tile("inverse", self.size(l), self.build.compute, home);
            let dst = self.seen(l, exact);
            self.draft.body.push(Stmt::Inverse { dst, src, upper, diagonal });
            self.draft.body.push(Stmt::Copy { dst: to, src: dst, map: CopyMap::Whole });
            exact
        } else {
            self.draft.body.push(Stmt::Inverse { dst: to, src, upper, diagonal });
            operand
        };
        self.inverses.insert(self.base(l), Inverse { exact, operand });
        Ok(operand)
    }

    /// Where a square array of a chunk can be other than zero.
    ///
    /// A mask holds between steps; with several rows in a step it says nothing about elements,
    /// unless it is strict.
    pub(super) fn band(&self, id: Id) -> Band {
        let id = self.base(id);
        let shape = self.term.shape(id);
        if shape.rows != shape.features {
            return Band::Full;
        }
        let masked = |m: Id, steps: usize| match self.mask(m) {
            Mask::Strict => Band::Lower,
            Mask::Incl if steps == shape.rows => Band::Lower,
            Mask::Tstrict => Band::Upper,
            Mask::Tincl if steps == shape.rows => Band::Upper,
            Mask::Incl | Mask::Tincl => Band::Full,
        };
        let steps = |g: Id| self.term.shape(g).rows;
        match *self.term.node(id) {
            Seq::Seg([m, g]) => masked(m, steps(g)),
            Seq::Score([m, _, _, g]) => masked(m, steps(g)),
            Seq::Mscore([m, _, _, r]) => masked(m, steps(r) / self.term.shape(r).features),
            Seq::Masked([m, n, _]) => masked(m, self.term.facts(n).count()),
            Seq::Binary(Binary::Mul, [a, b]) => match self.band(a) {
                Band::Full => self.band(b),
                band => band,
            },
            Seq::Binary(Binary::Add, [a, b]) => {
                let (a, b) = (self.band(a), self.band(b));
                if a == b { a } else { Band::Full }
            }
            Seq::Unary(f, [x]) if f.keeps_zero() => self.band(x),
            Seq::Bdiag([_, x]) | Seq::Tinv([x]) => self.band(x),
            _ => Band::Full,
        }
    }

    /// The band of a product in shared memory that ends as node `id`; in columns the product's own.
    pub(super) fn square_band(&self, id: Id, product: Band) -> Band {
        if self.lives_in_columns(id) { product } else { self.band(id) }
    }
}

fn flipped(band: Band) -> Band {
    match band {
        Band::Full => Band::Full,
        Band::Lower => Band::Upper,
        Band::Upper => Band::Lower,
    }
}
