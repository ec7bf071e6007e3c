//! Values of several dimensions at token level: all elements of a token in one row, in row-major order.
//!
//! A value of fewer dimensions is repeated along the missing ones: along the last by broadcasting,
//! along the first by whole copies, along one between them row by row.

use super::Lifter;
use super::refusal::Lifting;
use egg::Id;
use sluice_ir::seq::{Seq, Shape};
use sluice_ir::step::{DimId, NodeId, Reduction};

impl Lifter<'_> {
    /// The number of elements of a value of these dimensions.
    pub(super) fn volume(&self, dims: &[DimId]) -> usize {
        dims.iter().map(|d| self.sizes[d.0]).product()
    }

    /// A per-model matrix in one row.
    pub(super) fn row(&mut self, matrix: Id) -> Id {
        let rows = self.builder.shape(matrix).rows;
        self.cut(Seq::Join, rows, matrix)
    }

    /// A layout operator with a count; none for the count 1, or where it undoes another.
    pub(super) fn cut(&mut self, operator: fn([Id; 2]) -> Seq, n: usize, x: Id) -> Id {
        if n == 1 {
            return x;
        }
        let n = self.builder.count(n);
        match (operator([n, x]), self.builder.node(x)) {
            (Seq::Split(_), Seq::Join([m, y])) if *m == n => *y,
            (node, _) => self.builder.add(node),
        }
    }

    /// The term of a node with every element of its dimensions.
    fn full(&mut self, node: NodeId) -> Lifting<Id> {
        let x = self.term(node)?;
        let features = self.volume(&self.recurrence.node(node).dims);
        let shape = Shape { features, ..self.builder.shape(x) };
        Ok(self.builder.spread(x, shape))
    }

    /// The term of a node as an operand of a pointwise function of these dimensions.
    pub(super) fn fitted(&mut self, node: NodeId, dims: &[DimId]) -> Lifting<Id> {
        let own = &self.recurrence.node(node).dims;
        if own.is_empty() || own == dims {
            return self.term(node);
        }
        let full = self.full(node)?;
        self.repeated(full, own, dims).ok_or_else(|| self.rearranged(node))
    }

    /// Elements of some dimensions repeated along further ones; trailing ones are left to broadcasting.
    /// None if the dimensions come in another order.
    pub(super) fn repeated(&mut self, x: Id, own: &[DimId], dims: &[DimId]) -> Option<Id> {
        let mut places = dims.iter().enumerate();
        let kept = own.iter().map(|d| places.find(|(_, other)| *other == d).map(|(i, _)| i));
        let kept = kept.collect::<Option<Vec<usize>>>()?;
        let mut x = x;
        // From the innermost dimension on, so that what a row holds is complete.
        let mut end = kept.last().map_or(0, |i| i + 1);
        for (rank, place) in kept.iter().enumerate().rev() {
            let missing = self.volume(&dims[place + 1..end]);
            if missing > 1 {
                let outer = self.volume(&own[..=rank]);
                x = self.cut(Seq::Split, outer, x);
                x = self.cut(Seq::Tile, missing, x);
                x = self.cut(Seq::Join, outer, x);
            }
            end = *place;
        }
        Some(self.cut(Seq::Tile, self.volume(&dims[..end]), x))
    }

    /// `a * b`, numbers last; all products of their elements where one is repeated along the other.
    pub(super) fn multiplied(&mut self, a: Id, b: Id) -> Id {
        let is_number = |id| matches!(self.builder.node(id), Seq::Number(_));
        let (a, b) = if is_number(a) { (b, a) } else { (a, b) };
        for (x, repeated) in [(a, b), (b, a)] {
            let Seq::Tile([n, y]) = *self.builder.node(repeated) else { continue };
            let (shape, count) = (self.builder.shape(x), self.builder.facts(n).count());
            let other = self.builder.shape(y);
            let same_rows = (shape.blocks, shape.rows) == (other.blocks, other.rows);
            if same_rows && shape.features == count && other.features > 1 {
                return self.builder.add(Seq::Kron([x, y]));
            }
        }
        self.builder.times(a, b)
    }

    /// A sum or maximum along one dimension.
    pub(super) fn reduced(
        &mut self,
        reduction: Reduction,
        node: NodeId,
        dim: DimId,
    ) -> Lifting<Id> {
        let dims = &self.recurrence.node(node).dims;
        if reduction == Reduction::Sum {
            // Sums of matrices need not have their elements.
            if dims.len() > 1 {
                let ones = self.builder.number(1.0);
                return self.read_matrix(node, ones, dim);
            }
            let x = self.full(node)?;
            return Ok(self.summed(x, dims, dim));
        }
        if dims.last() != Some(&dim) {
            return Err(self.rearranged(node));
        }
        let x = self.full(node)?;
        let outer = self.volume(&dims[..dims.len() - 1]);
        let rows = self.cut(Seq::Split, outer, x);
        let largest = self.builder.add(Seq::RowMax([rows]));
        Ok(self.cut(Seq::Join, outer, largest))
    }

    /// Where the largest elements along the last dimension are.
    pub(super) fn largest(&mut self, node: NodeId, dim: DimId, k: usize) -> Lifting<Id> {
        let dims = &self.recurrence.node(node).dims;
        if dims.last() != Some(&dim) {
            return Err(self.rearranged(node));
        }
        let x = self.full(node)?;
        let outer = self.volume(&dims[..dims.len() - 1]);
        let rows = self.cut(Seq::Split, outer, x);
        let k = self.builder.count(k);
        let marks = self.builder.add(Seq::Top([k, rows]));
        Ok(self.cut(Seq::Join, outer, marks))
    }

    /// The sum along one dimension of elements that have all of these.
    fn summed(&mut self, x: Id, dims: &[DimId], dim: DimId) -> Id {
        let place = dims.iter().position(|d| *d == dim).expect("a checked node has the dimension");
        let (outer, count) = (self.volume(&dims[..place]), self.sizes[dim.0]);
        let sum = if place + 1 == dims.len() {
            let rows = self.cut(Seq::Split, outer, x);
            self.builder.add(Seq::RowSum([rows]))
        } else {
            let rows = self.cut(Seq::Split, outer * count, x);
            self.cut(Seq::Tots, count, rows)
        };
        self.cut(Seq::Join, outer, sum)
    }

    /// The contraction of two matrices that have nothing else in common, as a product of their rows.
    fn matrix_product(&mut self, a: NodeId, b: NodeId, dim: DimId) -> Lifting<Option<Id>> {
        let of = |n: NodeId| self.recurrence.node(n).dims.clone();
        let product: fn([Id; 2]) -> Seq = match (&of(a)[..], &of(b)[..]) {
            ([i, k], [l, j]) if *k == dim && *l == dim && i != j => Seq::Mm,
            ([i, k], [j, l]) if *k == dim && *l == dim && i != j => Seq::Mmt,
            ([k, i], [l, j]) if *k == dim && *l == dim && i != j => Seq::Tmm,
            _ => return Ok(None),
        };
        let rows = |lifter: &mut Self, node: NodeId| {
            let x = lifter.full(node)?;
            let rows = lifter.sizes[of(node)[0].0];
            Ok(lifter.cut(Seq::Split, rows, x))
        };
        let operands = [rows(self, a)?, rows(self, b)?];
        let product = self.builder.add(product(operands));
        let rows = self.builder.shape(product).rows;
        Ok(Some(self.cut(Seq::Join, rows, product)))
    }

    /// A contraction of two values: of their rows, or else element by element.
    pub(super) fn contracted(&mut self, a: NodeId, b: NodeId, dim: DimId) -> Lifting<Id> {
        if let Some(product) = self.matrix_product(a, b, dim)? {
            return Ok(product);
        }
        let of = |n: NodeId| self.recurrence.node(n).dims.clone();
        let dims = merged(&of(a), &of(b)).ok_or_else(|| self.rearranged(a))?;
        let (x, y) = (of(a), of(b));
        let result = x.iter().chain(y.iter().filter(|d| !x.contains(d))).filter(|d| **d != dim);
        if !dims.iter().filter(|d| **d != dim).eq(result) {
            return Err(self.rearranged(a));
        }
        let (x, y) = (self.fitted(a, &dims)?, self.fitted(b, &dims)?);
        self.product_sum((x, y), &dims, dim)
    }

    /// The contraction of a value of several dimensions with a reader along one, element by element.
    pub(super) fn read_elements(&mut self, node: NodeId, reader: Id, dim: DimId) -> Lifting<Id> {
        let dims = &self.recurrence.node(node).dims;
        let x = self.term(node)?;
        let reader = match self.builder.shape(reader).features {
            1 => reader,
            _ => self.repeated(reader, &[dim], dims).ok_or_else(|| self.rearranged(node))?,
        };
        self.product_sum((x, reader), dims, dim)
    }

    fn product_sum(&mut self, (x, y): (Id, Id), dims: &[DimId], dim: DimId) -> Lifting<Id> {
        let product = self.builder.times(x, y);
        let shape = Shape { features: self.volume(dims), ..self.builder.shape(product) };
        let product = self.builder.spread(product, shape);
        Ok(self.summed(product, dims, dim))
    }

    /// Elements of two values one after the other along a dimension of each.
    pub(super) fn joined(
        &mut self,
        a: NodeId,
        b: NodeId,
        [along_a, along_b]: [DimId; 2],
    ) -> Lifting<Id> {
        let (x, y) = (self.full(a)?, self.full(b)?);
        let (outer, _) = self.around(a, along_a);
        debug_assert_eq!(outer, self.around(b, along_b).0, "a checked node has equal others");
        let (x, y) = (self.cut(Seq::Split, outer, x), self.cut(Seq::Split, outer, y));
        let (x, y) = self.same_blocks(x, y);
        let both = self.builder.add(Seq::Cat([x, y]));
        Ok(self.cut(Seq::Join, outer, both))
    }

    /// The vector at one index of a dimension of a matrix.
    pub(super) fn entry(&mut self, a: NodeId, dim: DimId, index: usize) -> Lifting<Id> {
        let (outer, inner) = self.around(a, dim);
        self.run_of(a, (outer, inner), index)
    }

    /// One run of elements along a dimension.
    pub(super) fn part(
        &mut self,
        a: NodeId,
        (from, to): (DimId, DimId),
        run: usize,
    ) -> Lifting<Id> {
        let (outer, inner) = self.around(a, from);
        self.run_of(a, (outer, self.sizes[to.0] * inner), run)
    }

    /// In each of `outer` rows of a node's elements one run of that width.
    pub(super) fn run_of(
        &mut self,
        a: NodeId,
        (outer, width): (usize, usize),
        run: usize,
    ) -> Lifting<Id> {
        let x = self.full(a)?;
        let rows = self.cut(Seq::Split, outer, x);
        let (first, count) = (self.builder.count(run * width), self.builder.count(width));
        let kept = self.builder.add(Seq::Cols([first, count, rows]));
        Ok(self.cut(Seq::Join, outer, kept))
    }

    /// A window without its first entry, with another one last.
    pub(super) fn pushed(&mut self, window: NodeId, x: NodeId) -> Lifting<Id> {
        let (old, new) = (self.full(window)?, self.full(x)?);
        let width = self.volume(&self.recurrence.node(x).dims);
        let kept = self.volume(&self.recurrence.node(window).dims) - width;
        if kept == 0 {
            return Ok(new);
        }
        let (first, count) = (self.builder.count(width), self.builder.count(kept));
        let old = self.builder.add(Seq::Cols([first, count, old]));
        let (old, new) = self.same_blocks(old, new);
        Ok(self.builder.add(Seq::Cat([old, new])))
    }

    /// Two values at token level if one of them is.
    fn same_blocks(&mut self, x: Id, y: Id) -> (Id, Id) {
        let (a, b) = (self.builder.shape(x), self.builder.shape(y));
        if a.blocks == b.blocks {
            return (x, y);
        }
        let token = |s: Shape| Shape::token(s.rows, s.features);
        (self.builder.spread(x, token(a)), self.builder.spread(y, token(b)))
    }

    /// The numbers of elements before and after one dimension of a node.
    fn around(&self, node: NodeId, dim: DimId) -> (usize, usize) {
        let dims = &self.recurrence.node(node).dims;
        let place = dims.iter().position(|d| *d == dim).expect("a checked node has the dimension");
        (self.volume(&dims[..place]), self.volume(&dims[place + 1..]))
    }
}

/// The dimensions of two values in an order that keeps that of each, if there is one.
fn merged(a: &[DimId], b: &[DimId]) -> Option<Vec<DimId>> {
    let (mut all, mut rest) = (vec![], b);
    for dim in a {
        if b.contains(dim) {
            let place = rest.iter().position(|other| other == dim)?;
            all.extend(&rest[..place]);
            rest = &rest[place + 1..];
        }
        all.push(*dim);
    }
    all.extend(rest);
    Some(all)
}
