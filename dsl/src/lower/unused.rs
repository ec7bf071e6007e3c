//! What can be said of a function without calling it: its names, and whom it calls with how many
//! arguments.

use super::call::{ambiguous, nested};
use super::files::{Callee, twice};
use super::program::{Program, Scope, Symbol};
use crate::ast::{Expr, ExprKind, Function};

impl<'a> Program<'a> {
    /// Reports names that a function of the user's file declares twice and, if no program calls it, what
    /// is wrong with it whatever its arguments are.
    pub(super) fn check_function(&mut self, function: &'a Function, called: bool) {
        let mut scope = Scope::new(0, true);
        for param in &function.params {
            self.declare(&mut scope, &param.name, Symbol::Broken);
            for dim in param.shape.iter().flat_map(|shape| &shape.dims) {
                match scope.get(&dim.text) {
                    // A size is one name however often it stands in shapes.
                    Some(Symbol::Value(None)) => {}
                    Some(_) => {
                        let earlier = scope.place(&dim.text).cloned().unwrap_or_default();
                        self.report(twice(dim, &earlier));
                    }
                    None => scope.set(&dim.text, Symbol::Value(None), &dim.span),
                }
            }
        }
        for statement in &function.lets {
            if !called {
                self.check_expr(&scope, &statement.value.expr);
            }
            self.declare(&mut scope, &statement.names[0], Symbol::Broken);
        }
        if called {
            return;
        }
        self.check_expr(&scope, &function.value);
        for dim in function.result.iter().flat_map(|shape| &shape.dims) {
            if scope.get(&dim.text).is_none() {
                self.known_dim(&scope, dim);
            }
        }
    }

    fn check_expr(&mut self, scope: &Scope, expr: &Expr) {
        match &expr.kind {
            ExprKind::Number(_) => {}
            ExprKind::Name(name) | ExprKind::Primed(name) => {
                if self.resolve(scope, name).is_none() {
                    let error = self.unknown(scope, name, &expr.span);
                    self.report(error);
                }
            }
            ExprKind::Neg(a) | ExprKind::Named(_, a) => self.check_expr(scope, a),
            ExprKind::Infix(_, a, b) => {
                self.check_expr(scope, a);
                self.check_expr(scope, b);
            }
            ExprKind::List(names) => {
                for name in names.iter().filter(|name| scope.get(&name.text).is_none()) {
                    self.known_dim(scope, name);
                }
            }
            ExprKind::Call(name, args) => {
                match self.files.callee(scope.file, &name.text) {
                    Some(Callee::Function(_, f)) => {
                        let count = f.params.len();
                        let names: Vec<&str> =
                            f.params.iter().map(|p| p.name.text.as_str()).collect();
                        let usage = format!("{}({})", name.text, names.join(", "));
                        self.expect_arguments(name, args.len(), count..=count, &usage);
                    }
                    Some(Callee::Ambiguous(first, second)) => {
                        self.report(ambiguous(name, first, second));
                    }
                    _ if self.recurrence_named(scope.file, name).is_some() => {
                        self.report(nested(name, true));
                    }
                    _ => _ = self.expect_count(scope, name, args.len()),
                }
                args.iter().for_each(|arg| self.check_expr(scope, arg));
            }
        }
    }
}
