//! What a file declares for all its programs: dimensions of fixed size and functions.

use super::call::BUILTINS;
use crate::ast::{Ast, DimDecl, Expr, ExprKind, Function, Item, Name};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use std::collections::BTreeMap;

/// Declarations at the top of a file, by name.
pub(super) struct File<'a> {
    pub(super) functions: BTreeMap<&'a str, &'a Function>,
    pub(super) dims: BTreeMap<&'a str, usize>,
}

impl<'a> File<'a> {
    /// The declarations, and what is wrong with them as a whole.
    pub(super) fn collect(ast: &'a Ast) -> (Self, Vec<Diagnostic>) {
        let mut file = File { functions: BTreeMap::new(), dims: BTreeMap::new() };
        let mut errors = Vec::new();
        let mut first: BTreeMap<&str, &Span> = BTreeMap::new();
        for item in &ast.items {
            let name = match item {
                Item::Dim(d) => &d.name,
                Item::Function(f) => &f.name,
                Item::Recurrence(r) => &r.name,
            };
            if let Some(earlier) = first.get(name.text.as_str()) {
                errors.push(twice(name, earlier));
                continue;
            }
            first.insert(&name.text, &name.span);
            match item {
                Item::Dim(decl) => match size(decl) {
                    Ok(size) => _ = file.dims.insert(&name.text, size),
                    Err(error) => errors.push(error),
                },
                Item::Function(_) if BUILTINS.iter().any(|b| b.name == name.text) => {
                    let message = format!("the function `{}` is built in", name.text);
                    let error = Diagnostic::new(Code::DuplicateName, message)
                        .at(name.span.clone(), "declared again here")
                        .with_help("choose another name");
                    errors.push(error);
                }
                Item::Function(f) => _ = file.functions.insert(&name.text, f),
                Item::Recurrence(_) => {}
            }
        }
        errors.extend(file.recursion());
        (file, errors)
    }

    /// One error for every function that can reach itself and is the first of its circle.
    fn recursion(&self) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let mut reported: Vec<&str> = Vec::new();
        for function in self.functions.values() {
            let name = function.name.text.as_str();
            let mut reached = Vec::new();
            self.reach(function, &mut reached);
            if let Some(call) = reached.iter().find(|c| c.text == name)
                && !reported.contains(&name)
            {
                reported.extend(reached.iter().map(|c| c.text.as_str()));
                let message = format!("the function `{name}` calls itself");
                let error = Diagnostic::new(Code::RecursiveFunction, message)
                    .at(function.name.span.clone(), "")
                    .with_label(call.span.clone(), "the circle closes here")
                    .with_help("functions are expanded in place; only states carry values onwards");
                errors.push(error);
            }
        }
        errors
    }

    /// Adds the calls of functions that a function makes, directly or not, each function once.
    fn reach(&self, function: &'a Function, reached: &mut Vec<&'a Name>) {
        let mut calls = Vec::new();
        let values = function.lets.iter().map(|l| &l.value).chain([&function.value]);
        values.for_each(|value| collect_calls(value, &mut calls));
        for call in calls {
            if let Some(callee) = self.functions.get(call.text.as_str())
                && !reached.iter().any(|c| c.text == call.text)
            {
                reached.push(call);
                self.reach(callee, reached);
            }
        }
    }
}

fn collect_calls<'a>(expr: &'a Expr, calls: &mut Vec<&'a Name>) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Name(_) | ExprKind::Primed(_) => {}
        ExprKind::Neg(a) => collect_calls(a, calls),
        ExprKind::Infix(_, a, b) => [a, b].into_iter().for_each(|e| collect_calls(e, calls)),
        ExprKind::Call(name, args) => {
            calls.push(name);
            args.iter().for_each(|e| collect_calls(e, calls));
        }
    }
}

/// The error for a name that is declared a second time.
pub(super) fn twice(name: &Name, earlier: &Span) -> Diagnostic {
    Diagnostic::new(Code::DuplicateName, format!("`{}` is declared twice", name.text))
        .at(name.span.clone(), "declared again here")
        .with_label(earlier.clone(), "first declared here")
        .with_help("give one of them another name")
}

/// The size of a dimension: a whole number from 1 that an index can hold.
fn size(decl: &DimDecl) -> Result<usize, Diagnostic> {
    let value = decl.size.value;
    if value >= 1.0 && value.fract() == 0.0 && value <= f64::from(u32::MAX) {
        return Ok(value as usize);
    }
    let message = format!("the dimension `{}` cannot have size {value}", decl.name.text);
    Err(Diagnostic::new(Code::ShapeMismatch, message)
        .at(decl.size.span.clone(), "")
        .with_help("a size is a whole number from 1"))
}
