//! Token-level terms: nodes whose states are all lifted, reads of states included.

use super::Lifter;
use super::affine::{Matrix, Vector};
use super::refusal::{Lifting, Refusal};
use egg::Id;
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::{Leaf, LeafKind, Mask, Seq, Shape};
use sluice_ir::step::{DimId, InputId, NodeId, Op, Rate, Reduction, StateId};

impl Lifter<'_> {
    /// The term of a scalar or vector node, `[T, 1, F]` or, without tokens, `[1, 1, F]`.
    pub(super) fn term(&mut self, node: NodeId) -> Lifting<Id> {
        if let Some(id) = self.terms.get(&node) {
            return Ok(*id);
        }
        let id = self.find_term(node)?;
        self.terms.insert(node, id);
        Ok(id)
    }

    fn find_term(&mut self, id: NodeId) -> Lifting<Id> {
        let node = self.recurrence.node(id);
        if let Some(state) = self.vector_state_before_or_after(id) {
            return Ok(self.whole_vector(state.0, state.1));
        }
        if node.dims.len() > 1 {
            return Err(self.matrix_per_token(id));
        }
        Ok(match node.op {
            Op::Input(input) => self.input(input),
            Op::State(_) | Op::Outer(_, _) => return Err(self.matrix_per_token(id)),
            Op::Const(x) => self.builder.number(x),
            Op::Extent(dim) => {
                let extent = self.sizes[dim.0];
                self.builder.number(extent as f64)
            }
            Op::Unary(f, a) => {
                let a = self.term(a)?;
                self.builder.unary(f, a)
            }
            Op::Binary(f, a, b) => {
                let (a, b) = (self.term(a)?, self.term(b)?);
                self.pointwise_pair(f, a, b)
            }
            Op::Select(c, a, b) => {
                let operands = [self.term(c)?, self.term(a)?, self.term(b)?];
                self.builder.add(Seq::Select(operands))
            }
            Op::Reduce(reduction, a, _) => {
                let a = self.term(a)?;
                self.builder.add(match reduction {
                    Reduction::Sum => Seq::RowSum([a]),
                    Reduction::Max => Seq::RowMax([a]),
                })
            }
            Op::Dot(a, b, dim) => self.dot_term(a, b, dim)?,
        })
    }

    fn pointwise_pair(&mut self, f: Binary, a: Id, b: Id) -> Id {
        match f {
            Binary::Add => self.builder.sum(a, b),
            Binary::Mul => self.builder.times(a, b),
            _ => self.builder.binary(f, a, b),
        }
    }

    fn input(&mut self, input: InputId) -> Id {
        let declared = &self.recurrence.inputs[input.0];
        let extents: Vec<usize> = declared.dims.iter().map(|d| self.sizes[d.0]).collect();
        let features = extents.last().copied().unwrap_or(1);
        let rows = if extents.len() > 1 { extents[0] } else { 1 };
        let (kind, shape) = match declared.rate {
            Rate::Token => (LeafKind::Token, Shape::token(rows, features)),
            Rate::Model => (LeafKind::Model, Shape::one(rows, features)),
        };
        let (range, sharing) = (declared.range, declared.sharing);
        let leaf = Leaf { kind, shape, range, sharing, transposed: false, init: 0.0 };
        self.builder.leaf(&declared.name, leaf)
    }

    /// The state and mask if a node is a vector state before or after the step.
    fn vector_state_before_or_after(&self, node: NodeId) -> Option<(StateId, Mask)> {
        let is_vector = |s: &StateId| self.recurrence.states[s.0].dims.len() < 2;
        if let Op::State(state) = self.recurrence.node(node).op {
            return Some((state, Mask::Strict)).filter(|(s, _)| is_vector(s));
        }
        let updated = self.touches[node.0].iter().find(|s| self.recurrence.updates[s.0] == node);
        updated.copied().filter(is_vector).map(|s| (s, Mask::Incl))
    }

    /// All elements of a vector state, `[T, 1, K]`: its one column, read with 1.
    fn whole_vector(&mut self, state: StateId, mask: Mask) -> Id {
        let one = self.builder.ones(Shape::token(1, 1));
        let states = self.states_seen(state, mask);
        self.builder.add(Seq::Mmt([one, states]))
    }

    fn dot_term(&mut self, a: NodeId, b: NodeId, dim: DimId) -> Lifting<Id> {
        for (matrix, reader) in [(a, b), (b, a)] {
            let states: Vec<StateId> = self.touches[matrix.0].iter().copied().collect();
            for state in states {
                if self.has_dims_of(matrix, state)
                    && let Some(read) = self.state_read(state, matrix, reader, dim)?
                {
                    return Ok(read);
                }
            }
        }
        for (matrix, vector) in [(a, b), (b, a)] {
            if self.recurrence.node(matrix).dims.len() > 1 {
                return self.model_product(matrix, vector, dim);
            }
        }
        let (a, b) = (self.term(a)?, self.term(b)?);
        let width = self.sizes[dim.0];
        Ok(self.inner_product(a, b, width))
    }

    /// `reader^T M` along either side of a state's matrix; none if a vector state is used in a way
    /// that only its elements can serve.
    fn state_read(
        &mut self,
        state: StateId,
        node: NodeId,
        reader: NodeId,
        dim: DimId,
    ) -> Lifting<Option<Id>> {
        let is_vector = self.recurrence.states[state.0].dims.len() < 2;
        let matrix = match self.matrix(state, node) {
            Ok(matrix) => matrix,
            Err(_) if is_vector => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let reader = self.term(reader)?;
        let along_rows = Some(dim) == self.states[&state].rows;
        if self.recurrence.updates[state.0] == node {
            let states = self.states_seen(state, Mask::Incl);
            let reader = self.reader(reader, dim);
            let read = if along_rows { Seq::Mm } else { Seq::Mmt };
            return Ok(Some(self.builder.add(read([reader, states]))));
        }
        Ok(Some(if along_rows {
            let value = self.read(state, reader, &matrix);
            self.vector_term(state, &value)
        } else {
            self.read_columns(state, reader, &matrix)
        }))
    }

    /// A reader at token level with all features.
    fn reader(&mut self, reader: Id, dim: DimId) -> Id {
        let shape = Shape::token(1, self.sizes[dim.0]);
        self.builder.spread(reader, shape)
    }

    /// The term of a vector of a lifted state.
    pub(super) fn vector_term(&mut self, state: StateId, vector: &Vector) -> Id {
        let mut sum = vector.base;
        for (symbol, factor) in &vector.feeds {
            let value = self.written_value(state, *symbol);
            let part = self.builder.times(*factor, value);
            sum = self.add_terms(sum, Some(part));
        }
        if let Some(read) = vector.read {
            let p = self.decayed(read.p, read.g);
            let p = match self.states[&state].rows {
                Some(rows) => self.reader(p, rows),
                None => p,
            };
            let states = self.states_seen(state, Mask::Strict);
            let seen = self.builder.add(Seq::Mm([p, states]));
            let seen = self.decayed(seen, read.w);
            sum = self.add_terms(sum, Some(seen));
        }
        sum.unwrap_or_else(|| self.builder.zeros(Shape::token(1, 1)))
    }

    /// `M r`, the read along the columns: `e^g . (S (r e^w)) + sum_j x_j (y_j . r)`.
    fn read_columns(&mut self, state: StateId, reader: Id, matrix: &Matrix) -> Id {
        let columns = self.extent(self.states[&state].columns);
        let mut sum = None;
        for (x, symbol) in &matrix.rows {
            let value = self.written_value(state, *symbol);
            let factor = self.inner_product(value, reader, columns);
            let part = self.builder.times(factor, *x);
            sum = self.add_terms(sum, Some(part));
        }
        if matrix.keeps {
            let r = self.decayed(reader, matrix.w);
            let r = self.builder.spread(r, Shape::token(1, columns));
            let states = self.states_seen(state, Mask::Strict);
            let seen = self.builder.add(Seq::Mmt([r, states]));
            let seen = self.decayed(seen, matrix.g);
            sum = self.add_terms(sum, Some(seen));
        }
        sum.unwrap_or_else(|| self.builder.zeros(Shape::token(1, 1)))
    }

    /// A vector times a per-model matrix.
    fn model_product(&mut self, matrix: NodeId, vector: NodeId, dim: DimId) -> Lifting<Id> {
        let node = self.recurrence.node(matrix);
        let Op::Input(input) = node.op else { return Err(self.matrix_per_token(matrix)) };
        if self.recurrence.inputs[input.0].rate == Rate::Token
            || self.recurrence.node(vector).dims.len() > 1
        {
            return Err(self.matrix_per_token(matrix));
        }
        let along_rows = node.dims[0] == dim;
        let (matrix, vector) = (self.input(input), self.term(vector)?);
        let shape = Shape { features: self.sizes[dim.0], ..self.builder.shape(vector) };
        let vector = self.builder.spread(vector, shape);
        let product = if along_rows { Seq::Mm } else { Seq::Mmt };
        Ok(self.builder.add(product([vector, matrix])))
    }

    fn matrix_per_token(&self, node: NodeId) -> Refusal {
        Refusal::unsupported(
            "a matrix for every token",
            self.recurrence.node(node).span.clone(),
            "this is a whole matrix at every token".to_owned(),
            "read it with `dot`, or write it with `outer` into a state",
        )
    }
}
