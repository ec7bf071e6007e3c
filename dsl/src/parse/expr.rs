//! Expressions: operators by precedence, calls and their arguments.

use super::{Builder, Rule, name, name_of, number, span};
use crate::ast::{Expr, ExprKind, Infix, Number};
use pest::iterators::{Pair, Pairs};
use sluice_ir::diagnostic::{Code, Diagnostic};

/// Operators and operands of one expression, more than anybody writes; it bounds the stack that
/// lowering needs.
const MAX_PARTS: usize = 512;

impl Builder<'_> {
    /// An expression that is no part of another.
    pub(super) fn value(&mut self, pair: Pair<Rule>) -> Expr {
        self.parts = 0;
        self.expr(pair)
    }

    fn expr(&mut self, pair: Pair<Rule>) -> Expr {
        let whole = span(&pair);
        let mut parts = pair.into_inner();
        self.parts += parts.len();
        if self.parts > MAX_PARTS {
            let message = "an expression has too many operators";
            if !self.errors.iter().any(|e| e.message == message) {
                self.report(message, whole.clone(), "name intermediate values with `let`");
            }
            let value = Number { value: 0.0, span: whole.clone() };
            return Expr { kind: ExprKind::Number(value), span: whole };
        }
        self.infix(&mut parts, 0)
    }

    /// Precedence climbing: an operand and the operators after it that bind at least as tightly.
    fn infix(&mut self, parts: &mut Pairs<Rule>, loosest: u8) -> Expr {
        let mut left = self.operand(parts);
        while let Some(pair) = parts.peek() {
            let infix = self.infix_operator(&pair);
            if infix.precedence() < loosest {
                break;
            }
            parts.next();
            let right = self.infix(parts, infix.precedence() + 1);
            let span = left.span.start..right.span.end;
            left = Expr { kind: ExprKind::Infix(infix, Box::new(left), Box::new(right)), span };
        }
        left
    }

    fn infix_operator(&mut self, pair: &Pair<Rule>) -> Infix {
        match pair.as_rule() {
            Rule::lt => Infix::Lt,
            Rule::le => Infix::Le,
            Rule::gt => Infix::Gt,
            Rule::ge => Infix::Ge,
            Rule::eq => Infix::Eq,
            Rule::add => Infix::Add,
            Rule::sub => Infix::Sub,
            Rule::div => Infix::Div,
            Rule::mul => Infix::Mul,
            _ => {
                self.bad_operator(pair);
                Infix::Mul
            }
        }
    }

    fn bad_operator(&mut self, pair: &Pair<Rule>) {
        let help = match pair.as_str() {
            "**" | "^" => "write `pow(a, b)`",
            "@" => "write `dot(a, b)`, which contracts the dimension that both have",
            "&&" => "comparisons give 1 or 0: write `min(a, b)`",
            "||" => "comparisons give 1 or 0: write `max(a, b)`",
            "!=" => "write `1 - (a == b)`",
            _ => "the operators are `+ - * / < <= > >= ==`",
        };
        let error =
            Diagnostic::new(Code::Syntax, format!("there is no operator `{}`", pair.as_str()))
                .at(span(pair), "")
                .with_help(help);
        // An operator is looked at again by every caller that it binds too loosely for.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn operand(&mut self, parts: &mut Pairs<Rule>) -> Expr {
        let pair = parts.next().expect("an operand");
        let whole = span(&pair);
        let kind = match pair.as_rule() {
            Rule::negation => {
                let operand = self.operand(parts);
                let span = whole.start..operand.span.end;
                return Expr { kind: ExprKind::Neg(Box::new(operand)), span };
            }
            Rule::paren => {
                let inner = self.expr(pair.into_inner().next().expect("an expression"));
                return Expr { span: whole, ..inner };
            }
            Rule::number => {
                ExprKind::Number(Number { value: number(pair.as_str()), span: whole.clone() })
            }
            Rule::primed => ExprKind::Primed(pair.as_str().trim_end_matches('\'').to_owned()),
            Rule::call => {
                let mut inner = pair.into_inner();
                let function = name(&mut inner);
                ExprKind::Call(function, inner.map(|argument| self.argument(argument)).collect())
            }
            _ => ExprKind::Name(pair.as_str().to_owned()),
        };
        Expr { kind, span: whole }
    }
    fn argument(&mut self, pair: Pair<Rule>) -> Expr {
        let span = span(&pair);
        let kind = match pair.as_rule() {
            Rule::named => {
                let mut inner = pair.into_inner();
                let name = name(&mut inner);
                let value = self.expr(inner.next().expect("a value"));
                ExprKind::Named(name, Box::new(value))
            }
            Rule::list => ExprKind::List(pair.into_inner().map(|name| name_of(&name)).collect()),
            _ => return self.expr(pair),
        };
        Expr { kind, span }
    }
}
