//! Token-level terms: nodes whose states are all lifted, reads of states included.

use super::affine::{Matrix, Vector};
use super::refusal::{Lifting, Refusal};
use super::{Lifter, StateValues};
use egg::Id;
use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::seq::{Leaf, LeafKind, Mask, Seq, Shape, Source};
use sluice_ir::step::{DimId, InputId, NodeId, Op, Rate, Sharing, StateId, Table, TableId};

/// The side of a state that a read contracts.
#[derive(Clone, Copy)]
enum Along {
    Rows,
    Columns,
}

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
        let is_open = |s: &&StateId| {
            self.states.get(s).is_none_or(|known| known.core.is_none() && known.dense.is_none())
        };
        if let Some(state) = self.touches[id.0].iter().find(is_open) {
            // Only what is lifted already has terms.
            return Err(self.not_affine(*state, id));
        }
        if let Some(state) = self.vector_state_before_or_after(id) {
            return Ok(self.whole_vector(state.0, state.1));
        }
        match self.find_value(id) {
            // Many causes, one reason: the elements do not come from vectors.
            Err(_) if node.dims.len() > 1 => Err(self.matrix_per_token(id)),
            found => found,
        }
    }

    fn find_value(&mut self, id: NodeId) -> Lifting<Id> {
        let node = self.recurrence.node(id);
        let dims = &node.dims;
        Ok(match node.op {
            Op::Input(input) => {
                let value = self.input(input);
                self.row(value)
            }
            Op::Table(table) => {
                let value = self.table(table);
                self.row(value)
            }
            Op::State(_) => return Err(self.matrix_per_token(id)),
            Op::Final(_) => return Err(self.rearranged(id)),
            Op::TopK(a, dim, k) => self.largest(a, dim, k)?,
            Op::Index(_) | Op::Extent(_) | Op::Matrix(..) => {
                unreachable!("what depends on sizes only is folded")
            }
            Op::Const(x) => self.builder.number(x),
            Op::Reshape(a, _) => self.term(a)?,
            Op::Concat(a, b, along, _) => self.joined(a, b, along)?,
            Op::Slice(a, from, to, run) => self.part(a, (from, to), run)?,
            Op::Push(window, x) => self.pushed(window, x)?,
            Op::Outer(a, b) => {
                let (a, b) = (self.fitted(a, dims)?, self.fitted(b, dims)?);
                self.multiplied(a, b)
            }
            Op::Unary(f, a) => {
                let a = self.term(a)?;
                self.builder.unary(f, a)
            }
            Op::Binary(f, a, b) => {
                let (a, b) = (self.fitted(a, dims)?, self.fitted(b, dims)?);
                self.pointwise_pair(f, a, b)
            }
            Op::Select(c, a, b) => {
                let operands =
                    [self.fitted(c, dims)?, self.fitted(a, dims)?, self.fitted(b, dims)?];
                self.builder.add(Seq::Select(operands))
            }
            Op::Reduce(reduction, a, dim) => self.reduced(reduction, a, dim)?,
            Op::Dot(a, b, dim) => self.dot_term(a, b, dim)?,
        })
    }

    fn pointwise_pair(&mut self, f: Binary, a: Id, b: Id) -> Id {
        match f {
            Binary::Add => self.builder.sum(a, b),
            Binary::Mul => self.multiplied(a, b),
            _ => self.builder.binary(f, a, b),
        }
    }

    /// An input: the elements of a token in one row, a per-model matrix in its own rows.
    fn input(&mut self, input: InputId) -> Id {
        let declared = &self.recurrence.inputs[input.0];
        let (kind, shape) = match declared.rate {
            Rate::Token => (LeafKind::Token, Shape::token(1, self.volume(&declared.dims))),
            Rate::Model => (LeafKind::Model, self.matrix_shape(&declared.dims)),
        };
        let (range, sharing, source) = (declared.range, declared.sharing, Source::Caller);
        let leaf = Leaf { kind, shape, range, sharing, transposed: false, source };
        self.builder.leaf(&declared.name, leaf)
    }

    /// Constants, as a per-model input that the caller need not give. A name with a dot is no input's.
    fn table(&mut self, table: TableId) -> Id {
        let Table { dims, values } = &self.recurrence.tables[table.0];
        let ends = values
            .iter()
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[lo, hi], x| [lo.min(*x), hi.max(*x)]);
        let leaf = Leaf {
            kind: LeafKind::Model,
            shape: self.matrix_shape(dims),
            range: Interval::new(ends[0], ends[1]),
            sharing: Sharing::Head,
            transposed: false,
            source: Source::Table(values.clone()),
        };
        self.builder.leaf(&format!("table.{}", table.0), leaf)
    }

    fn matrix_shape(&self, dims: &[DimId]) -> Shape {
        let features = dims.last().map_or(1, |d| self.sizes[d.0]);
        Shape::one(self.volume(dims) / features, features)
    }

    /// The state and mask if a node is a vector state before or after the step.
    fn vector_state_before_or_after(&self, node: NodeId) -> Option<(StateId, Mask)> {
        let is_vector = |s: &StateId| {
            let whole = |known: &StateValues| known.dense.is_some() && !known.transposed;
            self.recurrence.states[s.0].dims.len() < 2 || self.states.get(s).is_some_and(whole)
        };
        if let Op::State(state) = self.recurrence.node(node).op {
            return Some((state, Mask::Strict)).filter(|(s, _)| is_vector(s));
        }
        let updated = self.touches[node.0].iter().find(|s| self.recurrence.updates[s.0] == node);
        updated.copied().filter(is_vector).map(|s| (s, Mask::Incl))
    }

    /// All elements of a vector state, `[T, 1, K]`: its one column, read with 1.
    fn whole_vector(&mut self, state: StateId, mask: Mask) -> Id {
        if let Some(dense) = self.states[&state].dense {
            return self.whole_dense(dense, mask);
        }
        let one = self.builder.ones(Shape::token(1, 1));
        let states = self.states_seen(state, mask);
        self.builder.add(Seq::Mmt([one, states]))
    }

    fn dot_term(&mut self, a: NodeId, b: NodeId, dim: DimId) -> Lifting<Id> {
        let is_matrix = |n: &NodeId| self.recurrence.node(*n).dims.len() > 1;
        if let Some(matrix) = [a, b].into_iter().find(is_matrix) {
            let reader = if matrix == a { b } else { a };
            if is_matrix(&reader) {
                return self.contracted(a, b, dim);
            }
            let reader = self.term(reader)?;
            return self.read_matrix(matrix, reader, dim);
        }
        for (vector, reader) in [(a, b), (b, a)] {
            // Read along its rows, a vector state need not be taken apart.
            if let Some(state) = self.vector_state(vector)
                && let Ok(matrix) = self.matrix(state, vector)
            {
                let reader = self.term(reader)?;
                return self.read_state((state, dim), vector, reader, (Along::Rows, &matrix));
            }
        }
        let (a, b) = (self.term(a)?, self.term(b)?);
        Ok(self.inner_product(a, b, self.sizes[dim.0]))
    }

    /// A vector state that a node of its dimension depends on.
    fn vector_state(&self, node: NodeId) -> Option<StateId> {
        let is_vector = |s: &StateId| self.recurrence.states[s.0].dims.len() == 1;
        let states = self.touches[node.0].iter().copied();
        states.filter(is_vector).find(|s| self.has_dims_of(node, *s))
    }

    /// The contraction of a matrix node with a reader: a read if it is the matrix of one state, else
    /// taken apart into sums, factors and outer products.
    pub(super) fn read_matrix(&mut self, node: NodeId, reader: Id, dim: DimId) -> Lifting<Id> {
        let states: Vec<StateId> = self.touches[node.0].iter().copied().collect();
        let mut refusal = self.matrix_per_token(node);
        if let [state] = states[..]
            && self.has_dims_of(node, state)
        {
            if self.states[&state].mixed.is_some() {
                return self.read_group((state, dim), node, reader);
            }
            let values = &self.states[&state];
            let along = match () {
                () if values.rows == [dim] => Some(Along::Rows),
                () if values.columns == [dim] => Some(Along::Columns),
                () => None,
            };
            match (self.matrix(state, node), along) {
                (Ok(matrix), Some(along)) => {
                    return self.read_state((state, dim), node, reader, (along, &matrix));
                }
                (Ok(_), None) => {}
                (Err(reason), _) => refusal = reason,
            }
        }
        let dims_of = |n: NodeId| self.recurrence.node(n).dims.clone();
        if dims_of(node).len() > 2 {
            return self.read_elements(node, reader, dim).map_err(|_| refusal);
        }
        match self.recurrence.node(node).op {
            Op::Outer(a, b) => {
                let (along, across) = if dims_of(a).contains(&dim) { (a, b) } else { (b, a) };
                let (along, across) = (self.term(along)?, self.term(across)?);
                let factor = self.inner_product(reader, along, self.sizes[dim.0]);
                Ok(self.builder.times(factor, across))
            }
            Op::Unary(Unary::Neg, a) => {
                let value = self.read_matrix(a, reader, dim)?;
                Ok(self.builder.unary(Unary::Neg, value))
            }
            Op::Binary(Binary::Add, a, b) if dims_of(a).len() == dims_of(b).len() => {
                let (a, b) = (self.read_matrix(a, reader, dim)?, self.read_matrix(b, reader, dim)?);
                Ok(self.builder.sum(a, b))
            }
            Op::Dot(..) if self.several_rows(node, dim).is_some() => {
                self.read_several(node, (reader, dim))
            }
            Op::Binary(Binary::Mul, a, b)
                if let Some(read) = self.weighed([a, b], (reader, dim))? =>
            {
                Ok(read)
            }
            Op::Binary(Binary::Mul, a, b) if dims_of(a).len() != dims_of(b).len() => {
                let (matrix, factor) = if dims_of(a).len() > 1 { (a, b) } else { (b, a) };
                let scales_reader = dims_of(factor).contains(&dim);
                let factor = self.term(factor)?;
                if scales_reader {
                    let reader = self.builder.times(reader, factor);
                    return self.read_matrix(matrix, reader, dim);
                }
                let value = self.read_matrix(matrix, reader, dim)?;
                Ok(self.builder.times(value, factor))
            }
            Op::Input(input) if self.recurrence.inputs[input.0].rate == Rate::Model => {
                let matrix = self.input(input);
                self.model_product((node, matrix), reader, dim)
            }
            Op::Table(table) => {
                let matrix = self.table(table);
                self.model_product((node, matrix), reader, dim)
            }
            _ => self.read_elements(node, reader, dim).map_err(|_| refusal),
        }
    }

    /// `reader^T M` along either side of the matrix that a node is for a lifted state.
    fn read_state(
        &mut self,
        (state, dim): (StateId, DimId),
        node: NodeId,
        reader: Id,
        (along, matrix): (Along, &Matrix),
    ) -> Lifting<Id> {
        if let Some(dense) = self.states[&state].dense {
            return match along {
                Along::Rows => self.dense_read((state, dense), node, reader),
                Along::Columns => self.read_elements(node, reader, dim),
            };
        }
        if self.recurrence.updates[state.0] == node {
            let states = self.states_seen(state, Mask::Incl);
            let values = &self.states[&state];
            let (read, side): (fn([Id; 2]) -> Seq, _) = match along {
                Along::Rows => (Seq::Mm, &values.rows),
                Along::Columns => (Seq::Mmt, &values.columns),
            };
            let width = self.volume(side);
            let reader = self.builder.spread(reader, Shape::token(1, width));
            return Ok(self.builder.add(read([reader, states])));
        }
        match along {
            Along::Rows => {
                let value = self.read(state, reader, matrix);
                Ok(self.vector_term(state, &value))
            }
            Along::Columns => Ok(self.read_columns(state, reader, matrix)),
        }
    }

    /// The state of three dimensions that a node is read from by one contraction, if another one over
    /// `dim` then reads all its rows.
    fn several_rows(&self, node: NodeId, dim: DimId) -> Option<(StateId, NodeId, NodeId)> {
        let Op::Dot(a, b, other) = self.recurrence.node(node).op else { return None };
        let found = |(matrix, reader): (NodeId, NodeId)| {
            let mut states = self.touches[matrix.0].iter().copied();
            let state = states.find(|s| self.has_dims_of(matrix, *s))?;
            let rows = &self.states[&state].rows;
            let reads = |d: &DimId| rows.contains(d);
            let both = rows.len() == 2 && reads(&dim) && reads(&other) && dim != other;
            let free = self.recurrence.node(reader).dims.iter().all(reads);
            (both && free).then_some((state, matrix, reader))
        };
        found((a, b)).or_else(|| found((b, a)))
    }

    /// `sum over both of r1 r2 S`: a contraction of a contraction, as one read of all rows.
    fn read_several(&mut self, node: NodeId, (reader, dim): (Id, DimId)) -> Lifting<Id> {
        let (state, matrix, other) = self.several_rows(node, dim).expect("the caller has asked");
        let rows = self.states[&state].rows.clone();
        let outer = match self.builder.shape(reader).features {
            1 => reader,
            _ => self.repeated(reader, &[dim], &rows).ok_or_else(|| self.rearranged(node))?,
        };
        let inner = self.term(other)?;
        let inner = self.along_rows(state, inner, other)?;
        let both = self.builder.times(outer, inner);
        let affine = self.matrix(state, matrix)?;
        self.read_state((state, dim), matrix, both, (Along::Rows, &affine))
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
            let rows = &self.states[&state].rows;
            let width = self.keys(state);
            let p =
                if rows.is_empty() { p } else { self.builder.spread(p, Shape::token(1, width)) };
            let states = self.states_seen(state, Mask::Strict);
            let seen = self.builder.add(Seq::Mm([p, states]));
            let seen = self.decayed(seen, read.w);
            sum = self.add_terms(sum, Some(seen));
        }
        sum.unwrap_or_else(|| self.builder.zeros(Shape::token(1, 1)))
    }

    /// `M r`, the read along the columns: `e^g . (S (r e^w)) + sum_j x_j (y_j . r)`.
    fn read_columns(&mut self, state: StateId, reader: Id, matrix: &Matrix) -> Id {
        let columns = self.volume(&self.states[&state].columns);
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
    fn model_product(
        &mut self,
        (node, matrix): (NodeId, Id),
        reader: Id,
        dim: DimId,
    ) -> Lifting<Id> {
        let along_rows = self.recurrence.node(node).dims[0] == dim;
        let shape = Shape { features: self.sizes[dim.0], ..self.builder.shape(reader) };
        let reader = self.builder.spread(reader, shape);
        let product = if along_rows { Seq::Mm } else { Seq::Mmt };
        Ok(self.builder.add(product([reader, matrix])))
    }

    pub(super) fn rearranged(&self, node: NodeId) -> Refusal {
        Refusal::unsupported(
            "elements taken to other places",
            self.recurrence.node(node).span.clone(),
            "this has no form for whole chunks".to_owned(),
            "compute it outside the recurrence and pass it in",
        )
    }

    pub(super) fn matrix_per_token(&self, node: NodeId) -> Refusal {
        Refusal::unsupported(
            "a matrix for every token",
            self.recurrence.node(node).span.clone(),
            "this is a whole matrix at every token".to_owned(),
            "read it with `dot`, or write it with `outer` into a state",
        )
    }
}
