//! Functions over one dimension, composed of primitive nodes.

use super::parts::Parts;
use super::program::{Program, Scope, Value};
use crate::ast::{Expr, Name};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Binary, DimId, NodeId, Op, Reduction, Unary};

/// Added to a mean or sum of squares before its root is divided by, so that zeros stay zeros.
const EPSILON: f64 = 1e-6;

impl Program<'_> {
    /// Functions over one dimension: the one named, or the only one that the value has.
    pub(super) fn over_dim(
        &mut self,
        scope: &Scope,
        name: &Name,
        args: &[Expr],
        span: &Span,
    ) -> Value {
        let value = self.expr(scope, &args[0])?;
        let dim = self.one_dim(scope, name, (value, &args[0]), args.get(1))?;
        let written = [(value, &args[0])];
        // A sum, and thus a mean, of complex numbers is one of their parts.
        match name.text.as_str() {
            "sum" => {
                let sum = |x| Op::Reduce(Reduction::Sum, x, dim);
                return value.try_map(|x| self.op_of(sum(x), span, &written));
            }
            "mean" => return value.try_map(|x| self.mean(x, dim, span)),
            _ => {}
        }
        let x = self.real(value, &args[0].span)?;
        // The first use of `dim` reports a value without it; every later one is then sound.
        let value = match name.text.as_str() {
            "max" => self.op_of(Op::Reduce(Reduction::Max, x, dim), span, &written),
            "min" => {
                let negated = self.op(Op::Unary(Unary::Neg, x), span)?;
                let largest =
                    self.op_of(Op::Reduce(Reduction::Max, negated, dim), span, &written)?;
                self.op(Op::Unary(Unary::Neg, largest), span)
            }
            "norm" => {
                let square = self.sum_of_squares(x, dim, span)?;
                self.op(Op::Unary(Unary::Sqrt, square), span)
            }
            "l2norm" => {
                let total = self.sum_of_squares(x, dim, span)?;
                self.over_root(x, total, span)
            }
            "rmsnorm" => self.over_root_mean_square(x, dim, span),
            "layernorm" => {
                let mean = self.mean(x, dim, span)?;
                let centred = self.minus(x, mean, span)?;
                self.over_root_mean_square(centred, dim, span)
            }
            "softmax" => {
                let (_, weights, total) = self.exponentials(x, dim, span)?;
                self.op(Op::Binary(Binary::Div, weights, total), span)
            }
            _ => {
                let (largest, _, total) = self.exponentials(x, dim, span)?;
                let rest = self.op(Op::Unary(Unary::Log, total), span)?;
                self.op(Op::Binary(Binary::Add, largest, rest), span)
            }
        };
        value.map(Parts::Real)
    }

    /// The dimension that a call names, or the only one of its first argument.
    pub(super) fn one_dim(
        &mut self,
        scope: &Scope,
        name: &Name,
        (value, expr): (Parts<NodeId>, &Expr),
        named: Option<&Expr>,
    ) -> Option<DimId> {
        let dims = &self.recurrence.node(value.re()).dims;
        match (named, &dims[..]) {
            (Some(arg), _) => self.dim_argument(scope, arg),
            (None, [only]) => Some(*only),
            (None, _) => {
                let shape = self.recurrence.shape_text(dims);
                let others = if name.text == "topk" { "n, " } else { "" };
                let usage = format!("{}(x, {others}K)", name.text);
                let error =
                    Diagnostic::new(Code::ShapeMismatch, format!("`{}` needs a vector", name.text))
                        .at(expr.span.clone(), format!("this is {shape}"))
                        .with_help(format!("name a dimension, as in `{usage}`"));
                self.report(error);
                None
            }
        }
    }

    pub(super) fn minus(&mut self, a: NodeId, b: NodeId, span: &Span) -> Option<NodeId> {
        let negated = self.op(Op::Unary(Unary::Neg, b), span)?;
        self.op(Op::Binary(Binary::Add, a, negated), span)
    }

    fn mean(&mut self, x: NodeId, dim: DimId, span: &Span) -> Option<NodeId> {
        let total = self.op(Op::Reduce(Reduction::Sum, x, dim), span)?;
        let count = self.op(Op::Extent(dim), span)?;
        self.op(Op::Binary(Binary::Div, total, count), span)
    }

    fn sum_of_squares(&mut self, x: NodeId, dim: DimId, span: &Span) -> Option<NodeId> {
        let squares = self.op(Op::Binary(Binary::Mul, x, x), span)?;
        self.op(Op::Reduce(Reduction::Sum, squares, dim), span)
    }

    /// `x / sqrt(square + EPSILON)`.
    fn over_root(&mut self, x: NodeId, square: NodeId, span: &Span) -> Option<NodeId> {
        let epsilon = self.op(Op::Const(EPSILON), span)?;
        let safe = self.op(Op::Binary(Binary::Add, square, epsilon), span)?;
        let scale = self.op(Op::Unary(Unary::Rsqrt, safe), span)?;
        self.op(Op::Binary(Binary::Mul, x, scale), span)
    }

    fn over_root_mean_square(&mut self, x: NodeId, dim: DimId, span: &Span) -> Option<NodeId> {
        let squares = self.op(Op::Binary(Binary::Mul, x, x), span)?;
        let mean = self.mean(squares, dim, span)?;
        self.over_root(x, mean, span)
    }

    /// The largest element, `exp(x - largest)`, and the sum of those.
    fn exponentials(
        &mut self,
        x: NodeId,
        dim: DimId,
        span: &Span,
    ) -> Option<(NodeId, NodeId, NodeId)> {
        let largest = self.op(Op::Reduce(Reduction::Max, x, dim), span)?;
        let shifted = self.minus(x, largest, span)?;
        let weights = self.op(Op::Unary(Unary::Exp, shifted), span)?;
        let total = self.op(Op::Reduce(Reduction::Sum, weights, dim), span)?;
        Some((largest, weights, total))
    }
}
