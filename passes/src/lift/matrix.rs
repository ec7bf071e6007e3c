//! Matrices of a state: the decayed state plus rank-one writes.

use super::Lifter;
use super::affine::{Matrix, Symbol, Vector};
use super::refusal::{Lifting, Refusal};
use egg::Id;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Seq, Shape};
use sluice_ir::step::{DimId, NodeId, Op, StateId};

/// The side of a state that a factor scales.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Whole,
    Rows,
    Columns,
}

/// Most entries of a dimension of which each has writes of its own.
const MOST_ENTRIES: usize = 16;

impl Lifter<'_> {
    /// The matrix that a node of a state's dimensions is.
    pub(super) fn matrix(&mut self, state: StateId, node: NodeId) -> Lifting<Matrix> {
        if let Some(known) = self.states[&state].matrices.get(&node) {
            return Ok(known.clone());
        }
        let matrix = self.find_matrix(state, node)?;
        self.values_of(state).matrices.insert(node, matrix.clone());
        Ok(matrix)
    }

    fn find_matrix(&mut self, state: StateId, node: NodeId) -> Lifting<Matrix> {
        let is_vector = self.recurrence.states[state.0].dims.len() < 2;
        if is_vector && !self.touches(node, state) {
            let x = self.term(node)?;
            let one = self.builder.ones(Shape::token(1, 1));
            return Ok(self.write(state, x, Vector::free(one)));
        }
        match self.recurrence.node(node).op {
            Op::State(s) if s == state => Ok(Matrix { keeps: true, ..Matrix::default() }),
            Op::Unary(Unary::Neg, a) => {
                let matrix = self.matrix(state, a)?;
                if matrix.keeps {
                    return Err(self.negative_factor(node));
                }
                let minus = self.builder.number(-1.0);
                self.scale_writes(state, node, matrix, (minus, Side::Whole))
            }
            Op::Binary(Binary::Add, a, b) => {
                let (a, b) = (self.addend(state, a)?, self.addend(state, b)?);
                self.join(state, node, a, b)
            }
            Op::Binary(Binary::Mul, a, b) => self.product(state, node, a, b),
            Op::Binary(Binary::Div, a, b) if !self.touches(b, state) => {
                self.quotient(state, node, a, b)
            }
            Op::Outer(a, b) if self.states[&state].rows.len() > 1 => {
                self.outer_of_three(state, node, [a, b])
            }
            Op::Outer(a, b) => self.outer(state, a, b),
            Op::Reshape(..) | Op::Dot(..) if self.touches(node, state) => {
                self.transition(state, node)
            }
            Op::Dot(a, b, dim) => self.outers(state, node, (a, b), dim),
            Op::Input(_) => Err(self.elementwise(node)),
            Op::State(other) => Err(Refusal::unsupported(
                "states that are added to other states",
                self.recurrence.node(node).span.clone(),
                format!(
                    "`{}` becomes part of `{}`",
                    self.state_name(other),
                    self.state_name(state)
                ),
                "let a state take up what is read from another state with `dot`",
            )),
            _ => Err(self.not_affine(state, node)),
        }
    }

    /// A new write of a value along a key.
    fn write(&mut self, state: StateId, x: Id, y: Vector) -> Matrix {
        Matrix { rows: vec![(x, self.symbol(state, y))], ..Matrix::default() }
    }

    pub(super) fn symbol(&mut self, state: StateId, y: Vector) -> Symbol {
        let values = &mut self.values_of(state).values;
        values.push(y);
        values.len() - 1
    }

    pub(super) fn outer(&mut self, state: StateId, a: NodeId, b: NodeId) -> Lifting<Matrix> {
        let rows = &self.states[&state].rows;
        let along_rows = |n: NodeId| self.recurrence.node(n).dims == *rows;
        let (x, y) = if along_rows(a) { (a, b) } else { (b, a) };
        if self.touches(x, state) {
            return Err(Refusal::both_sides(self.recurrence.node(x).span.clone()));
        }
        let x = self.term(x)?;
        let y = self.vector(state, y)?;
        Ok(self.write(state, x, y))
    }

    /// `dot(A, B, n)`: an outer product for each index of the dimension that is contracted.
    fn outers(
        &mut self,
        state: StateId,
        node: NodeId,
        (a, b): (NodeId, NodeId),
        dim: DimId,
    ) -> Lifting<Matrix> {
        let (rows, columns) = (&self.states[&state].rows, &self.states[&state].columns);
        let has = |n: NodeId, side: &Vec<DimId>| {
            self.recurrence.node(n).dims.iter().any(|d| side.contains(d))
        };
        let (x, y) = if has(a, rows) { (a, b) } else { (b, a) };
        if has(x, columns) || has(y, rows) {
            return Err(self.elementwise(node));
        }
        let mut matrix = Matrix::default();
        for index in 0..self.sizes[dim.0] {
            let (key, value) = (self.entry(x, dim, index)?, self.entry(y, dim, index)?);
            matrix.rows.extend(self.write(state, key, Vector::free(value)).rows);
        }
        Ok(matrix)
    }

    /// A matrix, or a scalar or vector that is added to every row or column of one.
    fn addend(&mut self, state: StateId, node: NodeId) -> Lifting<Matrix> {
        if self.has_dims_of(node, state) {
            return self.matrix(state, node);
        }
        let one = self.builder.number(1.0);
        match self.side(state, node) {
            None => self.outer_of_three(state, node, [node]),
            Some(Side::Rows) => {
                let x = self.row_factor(state, node)?;
                Ok(self.write(state, x, Vector::free(one)))
            }
            Some(Side::Whole | Side::Columns) => {
                let y = self.vector(state, node)?;
                Ok(self.write(state, one, y))
            }
        }
    }

    fn join(&mut self, state: StateId, node: NodeId, a: Matrix, b: Matrix) -> Lifting<Matrix> {
        if a.keeps && b.keeps {
            let name = self.state_name(state);
            return Err(Refusal::unsupported(
                "a sum of decayed states",
                self.recurrence.node(node).span.clone(),
                format!("both terms hold `{name}`"),
                "collect the factors of the state in one product, for example `(1 - f) * S` \
                 instead of `S - f * S`",
            ));
        }
        let (mut matrix, added) = if a.keeps { (a, b) } else { (b, a) };
        if !matrix.keeps {
            // The order of writing is the order of the terms.
            let rows = [added.rows, matrix.rows].concat();
            return Ok(Matrix { rows, ..Matrix::default() });
        }
        for (x, symbol) in added.rows {
            match matrix.rows.iter().position(|row| row.1 == symbol) {
                Some(i) => matrix.rows[i].0 = self.builder.sum(matrix.rows[i].0, x),
                None => matrix.rows.push((x, symbol)),
            }
        }
        Ok(matrix)
    }

    fn product(&mut self, state: StateId, node: NodeId, a: NodeId, b: NodeId) -> Lifting<Matrix> {
        let (matrix, factor) = match (self.has_dims_of(a, state), self.has_dims_of(b, state)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            (true, true) if self.touches(a, state) => (a, b),
            _ => (b, a),
        };
        let is_vector = self.recurrence.states[state.0].dims.len() < 2;
        if is_vector && !self.touches(matrix, state) {
            // A vector scaled by a read of a vector state is its outer product with one column.
            let (x, y) = (self.term(matrix)?, self.vector(state, factor)?);
            return Ok(self.write(state, x, y));
        }
        if self.touches(factor, state) {
            return Err(self.not_affine(state, factor));
        }
        if self.has_dims_of(factor, state) && !is_vector {
            return Err(self.elementwise(factor));
        }
        let matrix = self.matrix(state, matrix)?;
        let Some(side) = self.side(state, factor) else {
            return self.scale_by_entry(state, matrix, factor);
        };
        if !matrix.keeps {
            let factor = self.row_factor(state, factor)?;
            return self.scale_writes(state, node, matrix, (factor, side));
        }
        let log = self.log_factor(factor)?;
        let log = self.along_rows(state, log, factor)?;
        let factor = self.row_factor(state, factor)?;
        self.decay(state, node, matrix, (factor, log, side))
    }

    /// `a / b` as `a` times the reciprocal of `b`.
    fn quotient(&mut self, state: StateId, node: NodeId, a: NodeId, b: NodeId) -> Lifting<Matrix> {
        let matrix = self.matrix(state, a)?;
        let Some(side) = self.side(state, b) else { return Err(self.elementwise(b)) };
        let divisor = self.row_factor(state, b)?;
        let factor = self.builder.unary(Unary::Recip, divisor);
        if !matrix.keeps {
            return self.scale_writes(state, node, matrix, (factor, side));
        }
        let log = self.log_of_term(factor, b)?;
        self.decay(state, node, matrix, (factor, log, side))
    }

    /// Scales writes that are not yet part of a state: on the side of the values where possible.
    fn scale_writes(
        &mut self,
        state: StateId,
        node: NodeId,
        matrix: Matrix,
        (factor, side): (Id, Side),
    ) -> Lifting<Matrix> {
        let mut rows = vec![];
        for (x, symbol) in matrix.rows {
            if side == Side::Rows {
                rows.push((self.builder.times(x, factor), symbol));
            } else {
                let y = self.states[&state].values[symbol].clone();
                let y = self.scale_vector(node, y, factor)?;
                rows.push((x, self.symbol(state, y)));
            }
        }
        Ok(Matrix { rows, ..matrix })
    }

    /// Scales writes by values of their own for some rows: a write for each entry of the dimensions that
    /// the factor has of them.
    fn scale_by_entry(
        &mut self,
        state: StateId,
        matrix: Matrix,
        factor: NodeId,
    ) -> Lifting<Matrix> {
        let values = &self.states[&state];
        let (rows, columns) = (values.rows.clone(), values.columns.clone());
        let dims = &self.recurrence.node(factor).dims;
        let shared: Vec<DimId> = dims.iter().copied().filter(|d| rows.contains(d)).collect();
        let (entries, width) = (self.volume(&shared), self.volume(&columns));
        let free = |row: &(Id, Symbol)| values.values[row.1].is_free();
        let in_order = *dims == [&shared[..], &columns].concat() && shared.len() < rows.len();
        if matrix.keeps || !in_order || entries > MOST_ENTRIES || !matrix.rows.iter().all(free) {
            return Err(self.elementwise(factor));
        }
        let marks = self.identity(entries);
        let mut scaled = Matrix::default();
        for index in 0..entries {
            let value = self.run_of(factor, (1, width), index)?;
            let (at, one) = (self.builder.count(index), self.builder.count(1));
            let mark = self.builder.add(Seq::Rows([at, one, marks]));
            let mark = self.repeated(mark, &shared, &rows);
            let mark = mark.ok_or_else(|| self.rearranged(factor))?;
            for (x, symbol) in &matrix.rows {
                let base = self.states[&state].values[*symbol].base;
                let y = base.map_or(value, |base| self.builder.times(base, value));
                let x = self.builder.times(*x, mark);
                scaled.rows.extend(self.write(state, x, Vector::free(y)).rows);
            }
        }
        Ok(scaled)
    }

    /// Decays a matrix that holds the state. Its writes keep their symbols where the factor can go
    /// to their keys, since the step may have read them.
    fn decay(
        &mut self,
        state: StateId,
        node: NodeId,
        matrix: Matrix,
        (factor, log, side): (Id, Id, Side),
    ) -> Lifting<Matrix> {
        if matrix.dense.is_some() {
            return Err(self.scaled_transition(node));
        }
        if side != Side::Columns {
            let g = Some(matrix.g.map_or(log, |g| self.builder.sum(g, log)));
            let scaled = |(x, symbol): &(Id, Symbol)| (self.builder.times(*x, factor), *symbol);
            let rows = matrix.rows.iter().map(scaled).collect();
            return Ok(Matrix { g, rows, ..matrix });
        }
        let feeds = |symbol: Symbol| !self.states[&state].values[symbol].is_free();
        if matrix.rows.iter().any(|row| feeds(row.1)) {
            return Err(Refusal::column_scaled_read(self.recurrence.node(node).span.clone()));
        }
        let w = Some(matrix.w.map_or(log, |w| self.builder.sum(w, log)));
        let scaled = self.scale_writes(state, node, matrix, (factor, side))?;
        Ok(Matrix { w, ..scaled })
    }

    /// The side of a state that a scalar or vector belongs to.
    fn side(&self, state: StateId, node: NodeId) -> Option<Side> {
        let dims = &self.recurrence.node(node).dims;
        let values = &self.states[&state];
        if dims.is_empty() {
            Some(Side::Whole)
        } else if dims.iter().all(|d| values.columns.contains(d)) {
            Some(Side::Columns)
        } else if dims.iter().all(|d| values.rows.contains(d)) {
            Some(Side::Rows)
        } else {
            None
        }
    }

    /// The term of a factor, repeated to all rows of a state if it belongs to some of their dimensions.
    fn row_factor(&mut self, state: StateId, node: NodeId) -> Lifting<Id> {
        let x = self.term(node)?;
        self.along_rows(state, x, node)
    }

    /// A term of the elements of a node, repeated to all rows of a state.
    pub(super) fn along_rows(&mut self, state: StateId, x: Id, node: NodeId) -> Lifting<Id> {
        let (dims, rows) = (&self.recurrence.node(node).dims, self.states[&state].rows.clone());
        let some = dims.len() < rows.len() && dims.iter().all(|d| rows.contains(d));
        if !some || dims.is_empty() || self.builder.shape(x).features == 1 {
            return Ok(x);
        }
        self.repeated(x, dims, &rows).ok_or_else(|| self.rearranged(node))
    }

    /// An outer product of vectors, matrices and three-dimensional values: one factor has the columns,
    /// the others some dimensions of the rows.
    fn outer_of_three<const N: usize>(
        &mut self,
        state: StateId,
        node: NodeId,
        factors: [NodeId; N],
    ) -> Lifting<Matrix> {
        let (mut waiting, mut key, mut value) = (factors.to_vec(), None, None);
        while let Some(factor) = waiting.pop() {
            match (self.side(state, factor), self.recurrence.node(factor).op) {
                (Some(Side::Columns), _) if value.is_none() => value = Some(factor),
                (Some(Side::Rows), _) if self.touches(factor, state) => {
                    return Err(Refusal::both_sides(self.recurrence.node(factor).span.clone()));
                }
                (Some(Side::Rows), _) => {
                    let x = self.row_factor(state, factor)?;
                    key = Some(key.map_or(x, |key| self.builder.times(key, x)));
                }
                (None, Op::Outer(a, b)) => waiting.extend([a, b]),
                _ => return Err(self.elementwise(node)),
            }
        }
        let (Some(key), Some(value)) = (key, value) else { return Err(self.elementwise(node)) };
        let value = self.vector(state, value)?;
        Ok(self.write(state, key, value))
    }

    fn negative_factor(&self, node: NodeId) -> Refusal {
        Refusal::unsupported(
            "a state factor that may be negative",
            self.recurrence.node(node).span.clone(),
            "the state is negated here".to_owned(),
            "multiply the state by factors in [0, 1] only",
        )
    }

    fn elementwise(&self, node: NodeId) -> Refusal {
        Refusal::unsupported(
            "a matrix for every token",
            self.recurrence.node(node).span.clone(),
            "this differs per element of the state".to_owned(),
            "write it as an outer product, or as factors of rows and columns",
        )
    }

    /// The refusal of a value that is no affine function of the state.
    pub(super) fn not_affine(&self, state: StateId, node: NodeId) -> Refusal {
        let name = self.state_name(state);
        let span = self.recurrence.node(node).span.clone();
        Refusal::not_affine(name, span, format!("this depends on `{name}` in another way"))
    }
}
