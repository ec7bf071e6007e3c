//! Vectors of a state: written values that may read the state.

use super::Lifter;
use super::affine::{Matrix, Read, Vector};
use super::refusal::{Lifting, Refusal};
use egg::Id;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{DimId, NodeId, Op, StateId};
use std::collections::BTreeMap;

impl Lifter<'_> {
    /// The vector that a node without a state's rows is.
    pub(super) fn vector(&mut self, state: StateId, node: NodeId) -> Lifting<Vector> {
        if !self.touches(node, state) {
            return Ok(Vector::free(self.term(node)?));
        }
        match self.recurrence.node(node).op {
            Op::Unary(Unary::Neg, a) => {
                let a = self.vector(state, a)?;
                let minus = self.builder.number(-1.0);
                self.scale_vector(node, a, minus)
            }
            Op::Binary(Binary::Add, a, b) => {
                let (a, b) = (self.vector(state, a)?, self.vector(state, b)?);
                self.add_vectors(node, a, b)
            }
            Op::Binary(Binary::Mul, a, b) => {
                let (vector, factor) = if self.touches(a, state) { (a, b) } else { (b, a) };
                if self.touches(factor, state) {
                    return Err(self.not_affine(state, node));
                }
                let vector = self.vector(state, vector)?;
                let factor = self.term(factor)?;
                self.scale_vector(node, vector, factor)
            }
            Op::Binary(Binary::Div, a, b) if !self.touches(b, state) => {
                let a = self.vector(state, a)?;
                let b = self.term(b)?;
                let factor = self.builder.unary(Unary::Recip, b);
                self.scale_vector(node, a, factor)
            }
            Op::Dot(a, b, dim) => self.dot(state, (a, b), dim, node),
            _ => Err(self.not_affine(state, node)),
        }
    }

    fn dot(
        &mut self,
        state: StateId,
        (a, b): (NodeId, NodeId),
        dim: DimId,
        node: NodeId,
    ) -> Lifting<Vector> {
        let is_matrix = |n: NodeId| self.touches(n, state) && self.has_dims_of(n, state);
        let (matrix, reader) = if is_matrix(a) { (a, b) } else { (b, a) };
        if self.touches(reader, state) {
            return Err(self.not_affine(state, node));
        }
        if !is_matrix(matrix) || self.states[&state].rows != [dim] {
            return Err(Refusal::both_sides(self.recurrence.node(node).span.clone()));
        }
        if self.states[&state].mixed.is_some() {
            let p = self.term(reader)?;
            return self.read_mixed(state, matrix, p);
        }
        let matrix = self.matrix(state, matrix)?;
        if matrix.dense.is_some() {
            return Err(self.scaled_transition(node));
        }
        let p = self.term(reader)?;
        Ok(self.read(state, p, &matrix))
    }

    /// `p^T M`, with the values of plain writes put in.
    pub(super) fn read(&mut self, state: StateId, p: Id, matrix: &Matrix) -> Vector {
        let (mut base, mut feeds) = (None, BTreeMap::new());
        let keys = self.volume(&self.states[&state].rows);
        for (x, symbol) in &matrix.rows {
            let factor = self.inner_product(p, *x, keys);
            let y = self.states[&state].values[*symbol].clone();
            if y.is_free() {
                let part = y.base.map(|y| self.builder.times(factor, y));
                base = self.add_terms(base, part);
            } else {
                feeds.insert(*symbol, factor);
            }
        }
        let read = matrix.keeps.then_some(Read { p, g: matrix.g, w: matrix.w });
        Vector { base, feeds, read }
    }

    /// `[T, 1, 1]`: the inner product of two vectors of `width` features, either of which may be
    /// one number for all of them.
    pub(super) fn inner_product(&mut self, a: Id, b: Id, width: usize) -> Id {
        let product = self.builder.times(a, b);
        let mut shape = self.builder.shape(product);
        shape.features = width;
        let product = self.builder.spread(product, shape);
        if width == 1 {
            return product;
        }
        self.builder.add(sluice_ir::seq::Seq::RowSum([product]))
    }

    pub(super) fn add_terms(&mut self, a: Option<Id>, b: Option<Id>) -> Option<Id> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.builder.sum(a, b)),
            (a, b) => a.or(b),
        }
    }

    /// The product with a factor that does not depend on the state: any if the vector does not
    /// either, else a scalar.
    pub(super) fn scale_vector(&mut self, node: NodeId, y: Vector, factor: Id) -> Lifting<Vector> {
        if self.builder.shape(factor).features > 1 && !y.is_free() {
            return Err(Refusal::column_scaled_read(self.recurrence.node(node).span.clone()));
        }
        let base = y.base.map(|base| self.builder.times(factor, base));
        let scaled = |(symbol, l): (usize, Id)| (symbol, self.builder.times(l, factor));
        let feeds = y.feeds.into_iter().map(scaled).collect();
        let read = y.read.map(|r| Read { p: self.builder.times(factor, r.p), ..r });
        Ok(Vector { base, feeds, read })
    }

    fn add_vectors(&mut self, node: NodeId, a: Vector, b: Vector) -> Lifting<Vector> {
        let base = self.add_terms(a.base, b.base);
        let mut feeds = a.feeds;
        for (symbol, l) in b.feeds {
            let sum = self.add_terms(feeds.get(&symbol).copied(), Some(l));
            feeds.extend(sum.map(|sum| (symbol, sum)));
        }
        let read = match (a.read, b.read) {
            (Some(a), Some(b)) if (a.g, a.w) == (b.g, b.w) => {
                Some(Read { p: self.builder.sum(a.p, b.p), ..a })
            }
            (Some(a), Some(b)) if a.w == b.w => {
                let (p, q) = (self.decayed(a.p, a.g), self.decayed(b.p, b.g));
                Some(Read { p: self.builder.sum(p, q), g: None, w: a.w })
            }
            (Some(_), Some(_)) => {
                return Err(Refusal::column_scaled_read(self.recurrence.node(node).span.clone()));
            }
            (a, b) => a.or(b),
        };
        Ok(Vector { base, feeds, read })
    }

    /// `x e^g`.
    pub(super) fn decayed(&mut self, x: Id, log: Option<Id>) -> Id {
        match log {
            None => x,
            Some(log) => {
                let factor = self.builder.unary(Unary::Exp, log);
                self.builder.times(x, factor)
            }
        }
    }
}
