//! Expressions: names, operators, and the errors of both.

use super::nodes;
use super::program::{Program, Scope, Symbol, Value};
use crate::ast::{Expr, ExprKind, Infix};
use crate::suggest::did_you_mean;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Binary, NodeId, Op, Unary};

impl Program<'_> {
    /// The node of an expression whose names mean what `scope` says.
    pub(super) fn expr(&mut self, scope: &Scope, expr: &Expr) -> Value {
        match &expr.kind {
            ExprKind::Number(x) => self.op(Op::Const(x.value), &expr.span),
            ExprKind::Name(name) => self.name(scope, name, &expr.span),
            ExprKind::Primed(name) => self.primed(scope, name, &expr.span),
            ExprKind::Neg(a) => {
                let a = self.expr(scope, a)?;
                self.op(Op::Unary(Unary::Neg, a), &expr.span)
            }
            ExprKind::Infix(infix, a, b) => {
                // Both sides are looked at before giving up, so that both can be blamed.
                let (x, y) = (self.expr(scope, a), self.expr(scope, b));
                self.infix(*infix, (x?, a), (y?, b), &expr.span)
            }
            ExprKind::Call(name, args) => self.call(scope, name, args, &expr.span),
        }
    }

    fn infix(
        &mut self,
        infix: Infix,
        (x, a): (NodeId, &Expr),
        (y, b): (NodeId, &Expr),
        span: &Span,
    ) -> Value {
        let op = match infix {
            Infix::Add => Op::Binary(Binary::Add, x, y),
            Infix::Sub => Op::Binary(Binary::Add, x, self.op(Op::Unary(Unary::Neg, y), &b.span)?),
            Infix::Mul => Op::Binary(Binary::Mul, x, y),
            Infix::Div => Op::Binary(Binary::Div, x, y),
            Infix::Lt => Op::Binary(Binary::Lt, x, y),
            Infix::Le => Op::Binary(Binary::Le, x, y),
            Infix::Gt => Op::Binary(Binary::Lt, y, x),
            Infix::Ge => Op::Binary(Binary::Le, y, x),
            Infix::Eq => Op::Binary(Binary::Eq, x, y),
        };
        self.op_of(op, span, &[(x, a), (y, b)])
    }

    fn name(&mut self, scope: &Scope, name: &str, span: &Span) -> Value {
        match self.resolve(scope, name) {
            Some(Symbol::Dim(id)) => self.op(Op::Extent(id), span),
            Some(Symbol::Input(id)) => self.op(Op::Input(id), span),
            Some(Symbol::State(id)) => self.op(Op::State(id), span),
            Some(Symbol::Value(value)) => value,
            Some(Symbol::Broken) => None,
            Some(Symbol::Output(i)) => match &self.outputs[i] {
                Some((value, _)) => *value,
                None => {
                    self.early(name, span);
                    None
                }
            },
            None => {
                let error = self.unknown(scope, name, span);
                self.report(error);
                None
            }
        }
    }

    fn primed(&mut self, scope: &Scope, name: &str, span: &Span) -> Value {
        match self.resolve(scope, name) {
            Some(Symbol::State(id)) => match &self.updates[id.0] {
                Some((value, _)) => *value,
                None => {
                    self.early(&format!("{name}'"), span);
                    None
                }
            },
            Some(Symbol::Broken) => None,
            Some(_) => {
                let error = Diagnostic::new(Code::UnknownName, format!("`{name}` is not a state"))
                    .at(span.clone(), "")
                    .with_help(format!("write `{name}` without the prime"));
                self.report(error);
                None
            }
            None => {
                let error = self.unknown(scope, name, span);
                self.report(error);
                None
            }
        }
    }

    fn early(&mut self, name: &str, span: &Span) {
        let error = Diagnostic::new(Code::Unassigned, format!("`{name}` has no value yet"))
            .at(span.clone(), "used here")
            .with_help("statements take effect in order: assign it further up");
        self.report(error);
    }

    fn unknown(&self, scope: &Scope, name: &str, span: &Span) -> Diagnostic {
        let dims = self.file.dims.keys().copied();
        let help = did_you_mean(name, scope.keys().map(String::as_str).chain(dims));
        let help = help.unwrap_or_else(|| match self.calls.is_empty() {
            true => "declare an input, or name a value with `let` further up".to_owned(),
            false => {
                "a function sees its parameters only: pass the value as an argument".to_owned()
            }
        });
        Diagnostic::new(Code::UnknownName, format!("unknown name `{name}`"))
            .at(span.clone(), "")
            .with_help(help)
    }

    /// The node of an operation on operands that the user did not write one by one.
    pub(super) fn op(&mut self, op: Op, span: &Span) -> Value {
        self.op_of(op, span, &[])
    }

    /// The node of an operation; if shapes do not fit, the operands as written explain why.
    pub(super) fn op_of(&mut self, op: Op, span: &Span, operands: &[(NodeId, &Expr)]) -> Value {
        match nodes::node(&mut self.recurrence, op, span) {
            Ok(id) => Some(id),
            Err(reason) => {
                let mut error = Diagnostic::new(Code::ShapeMismatch, reason).at(span.clone(), "");
                for (id, operand) in operands {
                    let shape = self.recurrence.shape_text(&self.recurrence.node(*id).dims);
                    error = error.with_label(operand.span.clone(), format!("this is {shape}"));
                }
                self.report(error.with_help(shape_help(&op)));
                None
            }
        }
    }
}

fn shape_help(op: &Op) -> &'static str {
    match op {
        Op::Dot(..) => "contract two values that have one dimension in common",
        Op::Outer(..) => "`outer` takes two vectors, as in `outer(k, v)`",
        Op::Binary(..) | Op::Select(..) => {
            "one operand must have every dimension of the others; `outer(x, y)` makes a matrix of two \
             vectors, `dot(x, y)` contracts"
        }
        _ => "name a dimension that the value has",
    }
}
