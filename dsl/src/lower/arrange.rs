//! Functions that arrange elements anew, and those of matrices that are known when a program is built.
//!
//! Whatever they ask of sizes must hold for every size that the build may choose, so that nothing is
//! left to refuse afterwards: `concat(a, b, F)` needs `dim F = A + B`.

use super::nodes::is_constant;
use super::parts::{Parts, Written};
use super::program::{Program, Scope, Value};
use crate::ast::{Expr, ExprKind, Name};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Binary, DimId, MatrixFunction, NodeId, Op};

impl Program<'_> {
    /// The value of `name(x, ..)`, whose number of arguments is right.
    pub(super) fn arrangement(
        &mut self,
        scope: &Scope,
        name: &Name,
        args: &[Expr],
        span: &Span,
    ) -> Value {
        let x = self.expr(scope, &args[0])?;
        let written = (x, &args[0]);
        match (name.text.as_str(), args) {
            ("spread", [_, list]) => {
                let dims = self.dim_list(scope, list)?;
                self.spread_written(written, &dims, span)
            }
            ("reshape", [_, list]) => {
                let dims = self.dim_list(scope, list)?;
                self.reshape(written, &dims, span)
            }
            ("concat", [_, b, rest @ ..]) => {
                let y = self.expr(scope, b)?;
                self.concat(scope, written, (y, b), rest, span)
            }
            ("slice", [_, from, to, run]) => {
                let (from, to) = (self.dim_argument(scope, from), self.dim_argument(scope, to));
                let run = self.count(scope, run, 0);
                let (from, to, run) = (from?, to?, run?);
                let value =
                    x.try_map(|x| self.op_of(Op::Slice(x, from, to, run), span, &[written]))?;
                let inside = self.always(|size| {
                    size(to).checked_mul(run + 1).is_some_and(|end| end <= size(from))
                });
                let (from, to) = (self.dim_name(from), self.dim_name(to));
                let problem =
                    format!("run {run} of size `{to}` may lie beyond the end of `{from}`");
                self.sizes_fit(
                    inside,
                    problem,
                    span,
                    format!("`dim {from} = {} * {to}`", run + 1),
                )?;
                Some(value)
            }
            ("topk", [_, n, dim @ ..]) => {
                let dim = self.one_dim(scope, name, written, dim.first())?;
                let n = self.count(scope, n, 1)?;
                let x = self.real(x, &args[0].span)?;
                self.op_of(Op::TopK(x, dim, n), span, &[written]).map(Parts::Real)
            }
            (function, _) => self.matrix(function, written, span),
        }
    }

    fn dim_name(&self, dim: DimId) -> String {
        self.recurrence.dims[dim.0].name.clone()
    }

    /// Reports sizes that do not fit each other.
    fn sizes_fit(&mut self, fit: bool, problem: String, at: &Span, declare: String) -> Option<()> {
        if fit {
            return Some(());
        }
        let error = Diagnostic::new(Code::ShapeMismatch, problem)
            .at(at.clone(), "")
            .with_help(format!("sizes must fit whatever the build chooses: declare {declare}"));
        self.report(error);
        None
    }

    /// An argument such as `[A, B]`.
    fn dim_list(&mut self, scope: &Scope, arg: &Expr) -> Option<Vec<DimId>> {
        let ExprKind::List(names) = &arg.kind else {
            let error = Diagnostic::new(Code::BadCall, "a shape is needed here")
                .at(arg.span.clone(), "")
                .with_help("write it in brackets, as in `spread(x, [A, B])`");
            self.report(error);
            return None;
        };
        let dims: Vec<Option<DimId>> = names.iter().map(|n| self.known_dim(scope, n)).collect();
        let dims: Vec<DimId> = dims.into_iter().collect::<Option<_>>()?;
        self.check_shape(&dims, &arg.span)?;
        Some(dims)
    }

    /// An argument that is a whole number, known from the text.
    fn count(&mut self, scope: &Scope, arg: &Expr, least: usize) -> Option<usize> {
        let value = self.expr(scope, arg)?;
        let number = match self.recurrence.node(value.re()).op {
            Op::Const(x) => super::files::whole(x),
            Op::Extent(dim) => self.recurrence.dims[dim.0].size,
            _ => None,
        };
        let number = number.filter(|n| *n >= least);
        if number.is_none() {
            let message = format!("a whole number from {least} is needed here");
            let error = Diagnostic::new(Code::BadCall, message)
                .at(arg.span.clone(), "")
                .with_help("write a number, or a dimension of fixed size such as `dim N = 4`");
            self.report(error);
        }
        number
    }

    /// `spread` as the user calls it.
    fn spread_written(&mut self, (x, a): Written, dims: &[DimId], span: &Span) -> Value {
        let own = &self.recurrence.node(x.re()).dims;
        if own.iter().all(|d| dims.contains(d)) {
            return x.try_map(|x| self.spread(x, dims, span));
        }
        let (is, to) = (self.recurrence.shape_text(own), self.recurrence.shape_text(dims));
        let error = Diagnostic::new(Code::ShapeMismatch, format!("{is} does not spread to {to}"))
            .at(span.clone(), "")
            .with_label(a.span.clone(), format!("this is {is}"))
            .with_help("the new shape has every dimension of the value, and others");
        self.report(error);
        None
    }

    /// The value repeated along the dimensions that it lacks, with its dimensions in the order given:
    /// an outer product with ones where that gives the order, else ones times the value.
    pub(super) fn spread(&mut self, x: NodeId, dims: &[DimId], span: &Span) -> Option<NodeId> {
        let own = self.recurrence.node(x).dims.clone();
        if own == dims {
            return Some(x);
        }
        let new: Vec<DimId> = dims.iter().copied().filter(|d| !own.contains(d)).collect();
        if !own.is_empty() && [&own[..], &new[..]].concat() == dims {
            let ones = self.filled(1.0, &new, span)?;
            return self.op(Op::Outer(x, ones), span);
        }
        if !own.is_empty() && [&new[..], &own[..]].concat() == dims {
            let ones = self.filled(1.0, &new, span)?;
            return self.op(Op::Outer(ones, x), span);
        }
        let ones = self.filled(1.0, dims, span)?;
        self.op(Op::Binary(Binary::Mul, ones, x), span)
    }

    /// A number in every element of a shape: `0 * index + number` for a vector, and outer products with
    /// ones for more dimensions.
    pub(super) fn filled(&mut self, number: f64, dims: &[DimId], span: &Span) -> Option<NodeId> {
        let number = self.op(Op::Const(number), span)?;
        let Some((last, others)) = dims.split_last() else { return Some(number) };
        let index = self.op(Op::Index(*last), span)?;
        let zero = self.op(Op::Const(0.0), span)?;
        let zeros = self.op(Op::Binary(Binary::Mul, index, zero), span)?;
        let vector = self.op(Op::Binary(Binary::Add, zeros, number), span)?;
        if others.is_empty() {
            return Some(vector);
        }
        let ones = self.filled(1.0, others, span)?;
        self.op(Op::Outer(ones, vector), span)
    }

    fn reshape(&mut self, written: Written, dims: &[DimId], span: &Span) -> Value {
        let own = self.recurrence.node(written.0.re()).dims.clone();
        let mut slots = [None; 3];
        slots.iter_mut().zip(dims).for_each(|(slot, dim)| *slot = Some(*dim));
        let value = written.0.try_map(|x| self.op_of(Op::Reshape(x, slots), span, &[written]))?;
        let equal = self.always(|size| {
            let count =
                |dims: &[DimId]| dims.iter().try_fold(1usize, |n, d| n.checked_mul(size(*d)));
            count(&own).is_some_and(|n| Some(n) == count(dims))
        });
        let (is, to) = (self.recurrence.shape_text(&own), self.recurrence.shape_text(dims));
        let problem = format!("{is} and {to} may differ in their number of elements");
        let declare = "a dimension as the product of others, as in `dim F = K * V`";
        self.sizes_fit(equal, problem, span, declare.to_owned())?;
        Some(value)
    }

    fn concat(
        &mut self,
        scope: &Scope,
        (x, a): Written,
        (y, b): Written,
        dims: &[Expr],
        span: &Span,
    ) -> Value {
        let (left, right, to) = match dims {
            [to] => {
                let own = |v: Parts<NodeId>| match self.recurrence.node(v.re()).dims[..] {
                    [one] => Some(one),
                    _ => None,
                };
                let (Some(left), Some(right)) = (own(x), own(y)) else {
                    let error = Diagnostic::new(Code::ShapeMismatch, "`concat` needs two vectors")
                        .at(span.clone(), "")
                        .with_help("name dimensions for other shapes: `concat(a, b, A, B, F)`");
                    self.report(error);
                    return None;
                };
                (left, right, self.dim_argument(scope, to)?)
            }
            [left, right, to] => {
                let (left, right) =
                    (self.dim_argument(scope, left), self.dim_argument(scope, right));
                let to = self.dim_argument(scope, to);
                (left?, right?, to?)
            }
            _ => {
                let error = Diagnostic::new(Code::BadCall, "`concat` does not take 4 arguments")
                    .at(span.clone(), "")
                    .with_help("write `concat(a, b, F)`, or `concat(a, b, A, B, F)`");
                self.report(error);
                return None;
            }
        };
        let complex = x.is_complex() || y.is_complex();
        let x = self.as_declared(x, complex, &a.span)?;
        let y = self.as_declared(y, complex, &b.span)?;
        let operands = [(x, a), (y, b)];
        let mut others = y.list().into_iter();
        let value = x.try_map(|x| {
            let joined = Op::Concat(x, others.next()?, [left, right], to);
            self.op_of(joined, span, &operands)
        })?;
        let sum =
            self.always(|size| size(left).checked_add(size(right)).is_some_and(|n| n == size(to)));
        let [left, right, to] = [left, right, to].map(|d| self.dim_name(d));
        let problem = format!("`{to}` may differ from the sum of `{left}` and `{right}`");
        self.sizes_fit(sum, problem, span, format!("`dim {to} = {left} + {right}`"))?;
        Some(value)
    }

    fn matrix(&mut self, name: &str, (x, a): Written, span: &Span) -> Value {
        let node = self.real(x, &a.span)?;
        if !is_constant(&self.recurrence, node) {
            let error = Diagnostic::new(Code::BadCall, format!("`{name}` needs a constant matrix"))
                .at(a.span.clone(), "this depends on an input or a state")
                .with_help("build the matrix from numbers, sizes and `index`");
            self.report(error);
            return None;
        }
        let f = match name {
            "inverse" => MatrixFunction::Inverse,
            _ => MatrixFunction::Exp,
        };
        let value = self.op_of(Op::Matrix(f, node), span, &[(x, a)])?;
        if let [rows, cols] = self.recurrence.node(node).dims[..] {
            let square = self.always(|size| size(rows) == size(cols));
            let (rows, cols) = (self.dim_name(rows), self.dim_name(cols));
            let problem = format!("`{rows}` and `{cols}` may differ, so the matrix is not square");
            self.sizes_fit(square, problem, span, format!("`dim {cols} = {rows}`"))?;
        }
        Some(Parts::Real(value))
    }
}
