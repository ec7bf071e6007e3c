//! Expressions: names, operators, and the errors of both.

use super::parts::Parts;
use super::program::{Program, Scope, Symbol, Value};
use crate::ast::{Expr, ExprKind, Infix};
use crate::suggest::did_you_mean;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Binary, NodeId, Op, Unary};

impl Program<'_> {
    /// The value of an expression whose names mean what `scope` says.
    pub(super) fn expr(&mut self, scope: &Scope, expr: &Expr) -> Value {
        self.deeper(&expr.span, |program| program.part(scope, expr))
    }

    fn part(&mut self, scope: &Scope, expr: &Expr) -> Value {
        let span = &expr.span;
        match &expr.kind {
            ExprKind::Number(x) => self.op(Op::Const(x.value), span).map(Parts::Real),
            ExprKind::Name(name) => self.name(scope, name, span),
            ExprKind::Primed(name) => self.primed(scope, name, span),
            ExprKind::Neg(a) => {
                let x = self.expr(scope, a)?;
                self.unary(Unary::Neg, (x, a), span)
            }
            ExprKind::Infix(infix, a, b) => {
                // Both sides are looked at before giving up, so that both can be blamed.
                let (x, y) = (self.expr(scope, a), self.expr(scope, b));
                let (x, y) = ((x?, &**a), (y?, &**b));
                match infix {
                    Infix::Add => self.total(x, y, false, span),
                    Infix::Sub => self.total(x, y, true, span),
                    Infix::Mul => self.product(|l, r| Op::Binary(Binary::Mul, l, r), x, y, span),
                    Infix::Div => self.quotient(x, y, span),
                    Infix::Lt => self.binary(Binary::Lt, x, y, span),
                    Infix::Le => self.binary(Binary::Le, x, y, span),
                    Infix::Gt => self.binary(Binary::Lt, y, x, span),
                    Infix::Ge => self.binary(Binary::Le, y, x, span),
                    Infix::Eq => self.binary(Binary::Eq, x, y, span),
                }
            }
            ExprKind::Call(name, args) => self.call(scope, name, args, span),
            ExprKind::Named(name, _) => {
                let message = "only declared functions and recurrences take arguments by name";
                let error = Diagnostic::new(Code::BadCall, message)
                    .at(name.span.clone(), "")
                    .with_help("give the arguments in their order");
                self.report(error);
                None
            }
            ExprKind::List(_) => {
                let error = Diagnostic::new(Code::BadCall, "a list of dimensions is no value")
                    .at(span.clone(), "")
                    .with_help("`spread(x, [A, B])` and `reshape(x, [A, B])` take one");
                self.report(error);
                None
            }
        }
    }

    /// A pointwise function of two real values.
    pub(super) fn binary(
        &mut self,
        f: Binary,
        (x, a): (Parts<NodeId>, &Expr),
        (y, b): (Parts<NodeId>, &Expr),
        span: &Span,
    ) -> Value {
        let (l, r) = (self.real(x, &a.span), self.real(y, &b.span));
        self.op_of(Op::Binary(f, l?, r?), span, &[(x, a), (y, b)]).map(Parts::Real)
    }

    fn name(&mut self, scope: &Scope, name: &str, span: &Span) -> Value {
        match self.resolve(scope, name) {
            Some(Symbol::Dim(id)) => self.op(Op::Extent(id), span).map(Parts::Real),
            Some(Symbol::Input(ids)) => ids.try_map(|id| self.op(Op::Input(id), span)),
            Some(Symbol::State(ids)) => ids.try_map(|id| self.op(Op::State(id), span)),
            Some(Symbol::Value(value) | Symbol::Output(Some(value))) => value,
            Some(Symbol::Broken) => None,
            Some(Symbol::Output(None)) => {
                self.early(name, span);
                None
            }
            None => {
                let error = self.unknown(scope, name, span);
                self.report(error);
                None
            }
        }
    }

    fn primed(&mut self, scope: &Scope, name: &str, span: &Span) -> Value {
        match self.resolve(scope, name) {
            Some(Symbol::State(ids)) => {
                if self.updates[ids.re().0].is_none() {
                    self.early(&format!("{name}'"), span);
                }
                ids.try_map(|id| self.updates[id.0].as_ref().and_then(|(value, _)| *value))
            }
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

    /// A state after the last token.
    pub(super) fn last(&mut self, scope: &Scope, arg: &Expr, span: &Span) -> Value {
        let symbol = match &arg.kind {
            ExprKind::Name(name) => match self.resolve(scope, name) {
                None => {
                    let error = self.unknown(scope, name, &arg.span);
                    self.report(error);
                    return None;
                }
                symbol => symbol,
            },
            _ => None,
        };
        match symbol {
            Some(Symbol::State(ids)) => ids.try_map(|id| self.op(Op::Final(id), span)),
            Some(Symbol::Broken) => None,
            _ => {
                let error = Diagnostic::new(Code::BadCall, "`last` takes the name of a state")
                    .at(arg.span.clone(), "")
                    .with_help("write `last(S)` for the state `S` after the last token");
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

    /// The error for a name that nothing declares.
    pub(super) fn unknown(&self, scope: &Scope, name: &str, span: &Span) -> Diagnostic {
        let dims = self.files.0[scope.file].dims.keys().copied();
        let help = did_you_mean(name, scope.iter().map(|(name, _)| name).chain(dims));
        let help = help.unwrap_or_else(|| match scope.function {
            false => "declare an input, or name a value with `let` further up".to_owned(),
            true => "a function sees its parameters only: pass the value as an argument".to_owned(),
        });
        Diagnostic::new(Code::UnknownName, format!("unknown name `{name}`"))
            .at(span.clone(), "")
            .with_help(help)
    }
}
