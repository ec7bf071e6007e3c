//! Products of the small matrices that mix states, and what they weigh in a chunk.
//!
//! The products between any two steps of a chunk are one table, made by doubling: what leads from the
//! start of a run to its middle times what leads from there to its end. Readers and keys that are brought
//! to the chunk's edges, the weights of scores and the matrix of the whole chunk are taken from it.

use super::Scan;
use super::mixed::{Halves, refused};
use super::product::TENSOR_EXTENT;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    Access, Arg, Band, Body, Expr, Mma, Nest, Operand, Reduction, Start, Stmt, TileId, Unit,
};
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::{Mask, Seq};

/// Elements of a tile in a nest: the first, and how far each loop goes.
type Place = (TileId, usize, Vec<usize>);

/// The products of the matrices between any two steps: for `i >= k` the rows of step `i` and the columns
/// of step `k` hold `R_{i-1} .. R_k`, above are zeros.
#[derive(Clone, Copy)]
struct Chain {
    tile: TileId,
    /// Rows and columns of one matrix.
    n: usize,
    /// Elements of a row.
    width: usize,
    steps: usize,
}

impl Scan<'_> {
    /// `blend R x` or `blendt R x` with all parts in one tile.
    pub(super) fn blended(
        &mut self,
        id: Id,
        (r, x): (Id, Id),
        dtype: Dtype,
    ) -> Result<TileId, Diagnostic> {
        let ([rows, width], n) = (self.size(id), self.term.shape(r).features);
        let transposed = matches!(self.term.node(id), Seq::Blendt(_));
        let (by_part, by_term) = if transposed { (1, n) } else { (n, 1) };
        let (steps, keys) = (self.size(r)[0] / n, width / n);
        let per = rows / steps;
        let r = self.view(r, Form::Shared)?.tile;
        let x = self.view(x, Form::Shared)?.tile;
        let dst = self.fresh(id, "blend", dtype);
        let to = (dst, 0, vec![per * width, width, keys, 1]);
        let from = (x, 0, vec![per * width, width, 0, 1, keys]);
        let factor = (r, 0, vec![n * n, 0, by_part, 0, by_term]);
        self.nest(vec![steps, per, n, keys], to, &[from, factor], Some(n));
        Ok(dst)
    }

    /// The product of all arguments, summed over one more loop if there is one.
    pub(super) fn nest(
        &mut self,
        extents: Vec<usize>,
        dst: Place,
        args: &[Place],
        sum: Option<usize>,
    ) {
        let access = |(tile, offset, strides): Place| Access { tile, offset, strides };
        let factor = |expr: Option<Expr>, i| match expr {
            None => Some(Expr::Arg(i)),
            Some(expr) => Some(Expr::Binary(Binary::Mul, Box::new(expr), Box::new(Expr::Arg(i)))),
        };
        let expr = (0..args.len()).fold(None, factor).unwrap_or(Expr::Const(1.0));
        self.draft.body.push(Stmt::Nest(Nest {
            extents,
            dst: access(dst),
            reduce: sum.map(|count| (Reduction::Sum, count)),
            expr,
            args: args.iter().cloned().map(access).collect(),
        }));
    }

    /// The products of matrices between the steps of a chunk.
    fn chain(&mut self, r: Id) -> Result<Chain, Diagnostic> {
        let (key, [rows, n]) = (self.base(r), self.size(r));
        let (steps, blocks) = (rows / n, self.blocks(r));
        if blocks != 1 || !steps.is_power_of_two() {
            return Err(refused("mixed states in blocks that are no chunks"));
        }
        let width = (steps + 1) * n;
        if let Some(tile) = self.chains.get(&key) {
            return Ok(Chain { tile: *tile, n, width, steps });
        }
        let source = self.view(r, Form::Shared)?.tile;
        let (home, compute) = (Home::Shared { stages: 1 }, self.build.compute);
        let tile = self.draft.tile("chain", [width, width], compute, home);
        self.chains.insert(key, tile);
        self.draft.body.push(Stmt::Fill { dst: tile, value: 0.0 });
        self.nest(vec![width], (tile, 0, vec![width + 1]), &[], None);
        let step = (tile, n * width, vec![n * width + n, width, 1]);
        self.nest(vec![steps, n, n], step, &[(source, 0, vec![n * n, n, 1])], None);
        let mut half = 1;
        while half < steps {
            // Runs of twice that length: from their first half to their second.
            let (side, next) = (half * n, 2 * half * n * (width + 1));
            let extents = vec![steps / half / 2, side, side];
            let found = [extents[0] * side, side];
            let between = self.draft.tile("between", found, compute, home);
            let later = (tile, (side + n) * width + side, vec![next, width, 0, 1]);
            let earlier = (tile, side * width, vec![next, 0, 1, width]);
            let to = (between, 0, vec![side * side, side, 1]);
            self.nest(extents.clone(), to.clone(), &[later, earlier], Some(n));
            let both = (tile, (side + n) * width, vec![next, width, 1]);
            self.nest(extents, both, &[to], None);
            half *= 2;
        }
        Ok(Chain { tile, n, width, steps })
    }

    /// `mprod m R`, or without a mask `mall R`.
    pub(super) fn mixing_product(
        &mut self,
        id: Id,
        (mask, r): (Option<Mask>, Id),
    ) -> Result<TileId, Diagnostic> {
        let Chain { tile, n, width, steps } = self.chain(r)?;
        let dst = self.fresh(id, "mixing", self.build.compute);
        let end = steps * n * width;
        let (first, next) = match mask {
            None => (end, 0),
            Some(Mask::Strict) => (0, n * width),
            Some(Mask::Incl) => (n * width, n * width),
            Some(Mask::Tstrict) => (end + n, n),
            Some(Mask::Tincl) => (end, n),
        };
        let count = if mask.is_some() { steps } else { 1 };
        let to = (dst, 0, vec![n * n, n, 1]);
        self.nest(vec![count, n, n], to, &[(tile, first, vec![next, width, 1])], None);
        Ok(dst)
    }

    /// `mscore m p a R`: products of parts, weighed by what leads from step to step, and summed.
    pub(super) fn mixing_score(
        &mut self,
        id: Id,
        (mask, [p, a, r]): (Mask, [Id; 3]),
        dtype: Dtype,
    ) -> Result<TileId, Diagnostic> {
        let Chain { tile, n, width, steps } = self.chain(r)?;
        let (home, compute) = (Home::Shared { stages: 1 }, self.build.compute);
        let side = steps * n;
        let weights = self.draft.tile("weights", [side, side], compute, home);
        let first = match mask {
            Mask::Incl => n * width + n,
            Mask::Strict => n,
            Mask::Tincl | Mask::Tstrict => return Err(refused("mixed states in reverse")),
        };
        let from = (tile, first, vec![width, 1]);
        self.nest(vec![side, side], (weights, 0, vec![side, 1]), &[from], None);
        // Scores that are no operand themselves feed back.
        let feeds = dtype != self.operand;
        let left = self.rows_of_parts(p, (steps, n), feeds)?;
        let right = self.rows_of_parts(a, (steps, n), feeds)?;
        let [down, across] = [&left, &right].map(|halves| self.draft.tiles[halves[0].0].rows);
        let keys = self.draft.tiles[left[0].0].cols;
        let pairs = self.draft.tile("pairs", [down, across], compute, home);
        let operand = |tile, transposed| Operand { view: self.draft.whole(tile), transposed };
        let [sum, weight] = [0, 1].map(|i| Box::new(Expr::Arg(i)));
        let weight_arg = Arg { view: self.draft.whole(weights), transposed: false };
        let product = Mma {
            dst: self.draft.whole(pairs),
            a: operand(left[0], false),
            b: operand(right[0], true),
            start: Start::Zero,
            then: Some(Body {
                expr: Expr::Binary(Binary::Mul, sum, weight),
                args: vec![weight_arg],
            }),
            band: Band::Full,
            unit: if keys < TENSOR_EXTENT { Unit::Scalar } else { Unit::Tensor },
        };
        self.products(&left, &right, product);
        let (per, per_col) = (down / side, across / side);
        let rows = self.draft.tile("rows", [steps * per, across], compute, home);
        let to = (rows, 0, vec![per * across, across, 1]);
        let from = (pairs, 0, vec![n * per * across, across, 1, per * across]);
        self.nest(vec![steps, per, across], to, &[from], Some(n));
        let dst = self.fresh(id, "score", dtype);
        let to = (dst, 0, vec![steps * per_col, per_col, 1]);
        let from = (rows, 0, vec![across, n * per_col, 1, per_col]);
        self.nest(vec![steps * per, steps, per_col], to, &[from], Some(n));
        Ok(dst)
    }

    /// Stacked rows with the parts of a step as rows, all rows of its first part first.
    fn rows_of_parts(
        &mut self,
        x: Id,
        (steps, n): (usize, usize),
        both: bool,
    ) -> Result<Halves, Diagnostic> {
        let [rows, width] = self.size(x);
        let (per, keys) = (rows / steps, width / n);
        let source = self.view(x, Form::Shared)?.tile;
        let both = both && self.draft.tiles[source.0].dtype != self.operand;
        let dtype = if both { self.build.compute } else { self.operand };
        let dst = self.draft.tile("parts", [rows * n, keys], dtype, Home::Shared { stages: 1 });
        let to = (dst, 0, vec![n * per * keys, per * keys, keys, 1]);
        let from = (source, 0, vec![per * width, keys, width, 1]);
        self.nest(vec![steps, n, per, keys], to, &[from], None);
        Ok(if both { self.both_halves(dst) } else { vec![dst] })
    }
}
