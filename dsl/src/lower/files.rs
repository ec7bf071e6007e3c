//! What files declare for their programs: dimensions, functions, recurrences, and what they use of others.

use super::call::BUILTINS;
use crate::ast::{self, Ast, DimDecl, Expr, ExprKind, Function, Infix, Item, Name, Statement};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Declarations at the top of a file, by name.
pub(super) struct File<'a> {
    pub(super) functions: BTreeMap<&'a str, &'a Function>,
    pub(super) recurrences: BTreeMap<&'a str, &'a ast::Recurrence>,
    pub(super) dims: BTreeMap<&'a str, &'a DimDecl>,
    /// Files whose declarations it sees besides its own, by name and index.
    pub(super) uses: Vec<(&'a str, usize)>,
}

/// All files of a compilation; the first is the user's.
pub(super) struct Files<'a>(pub(super) Vec<File<'a>>);

/// What the name of a call stands for, with the index of the file that declares it.
#[derive(Clone, Copy)]
pub(super) enum Callee<'a> {
    Function(usize, &'a Function),
    Recurrence(usize, &'a ast::Recurrence),
    /// Two files that are used declare it.
    Ambiguous(&'a str, &'a str),
}

impl<'a> Files<'a> {
    /// What a name that a file calls stands for: its own declarations hide those that it uses.
    pub(super) fn callee(&self, file: usize, name: &str) -> Option<Callee<'a>> {
        if let Some(own) = self.declared(file, name) {
            return Some(own);
        }
        let uses = &self.0[file].uses;
        let mut found = uses.iter().filter_map(|(n, f)| Some((*n, self.declared(*f, name)?)));
        let (first, callee) = found.next()?;
        match found.next() {
            Some((second, _)) => Some(Callee::Ambiguous(first, second)),
            None => Some(callee),
        }
    }

    fn declared(&self, file: usize, name: &str) -> Option<Callee<'a>> {
        let function = self.0[file].functions.get(name).map(|f| Callee::Function(file, f));
        function.or_else(|| self.0[file].recurrences.get(name).map(|r| Callee::Recurrence(file, r)))
    }

    /// Everything that a file may call by name.
    pub(super) fn callable(&self, file: usize) -> impl Iterator<Item = &'a str> {
        let own = std::iter::once(file).chain(self.0[file].uses.iter().map(|(_, f)| *f));
        own.flat_map(|f| {
            let File { functions, recurrences, .. } = &self.0[f];
            functions.keys().copied().chain(recurrences.keys().copied())
        })
    }
}

impl<'a> File<'a> {
    /// The declarations, and what is wrong with them as a whole.
    pub(super) fn collect(ast: &'a Ast, uses: Vec<(&'a str, usize)>) -> (Self, Vec<Diagnostic>) {
        let mut file = File {
            functions: BTreeMap::new(),
            recurrences: BTreeMap::new(),
            dims: BTreeMap::new(),
            uses,
        };
        let mut errors = Vec::new();
        let mut first: BTreeMap<&str, &Span> = BTreeMap::new();
        for item in &ast.items {
            let name = match item {
                Item::Use(_) => continue,
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
                Item::Use(_) => {}
                Item::Dim(decl) => match decl.size.as_ref().map_or(Ok(()), |s| size(decl, s)) {
                    Ok(()) => _ = file.dims.insert(&name.text, decl),
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
                Item::Recurrence(r) => _ = file.recurrences.insert(&name.text, r),
            }
        }
        errors.extend(file.late_dims());
        errors.extend(file.recursion());
        (file, errors)
    }

    /// Formulas name dimensions that are declared before them, so that they cannot go round.
    fn late_dims(&self) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        for decl in self.dims.values() {
            let mut names = Vec::new();
            if let Some(size) = &decl.size {
                visit(size, &mut |e| {
                    if let ExprKind::Name(name) = &e.kind {
                        names.push((name.as_str(), &e.span));
                    }
                });
            }
            for (name, span) in names {
                let late = self.dims.get(name).filter(|d| d.span.start >= decl.span.start);
                if let Some(late) = late {
                    let message = format!("the dimension `{name}` is not declared yet");
                    let error = Diagnostic::new(Code::UnknownName, message)
                        .at(span.clone(), "")
                        .with_label(late.name.span.clone(), "declared here")
                        .with_help(
                            "a size is computed from dimensions that are declared before it",
                        );
                    errors.push(error);
                }
            }
        }
        errors
    }

    /// One error for every function or recurrence that can reach itself and is the first of its circle.
    fn recursion(&self) -> Vec<Diagnostic> {
        let functions = self.functions.values().map(|f| ("function", &f.name, function_calls(f)));
        let programs =
            self.recurrences.values().map(|r| ("recurrence", &r.name, recurrence_calls(r)));
        let calls: BTreeMap<&str, (&str, &Name, Vec<&Name>)> =
            functions.chain(programs).map(|entry| (entry.1.text.as_str(), entry)).collect();
        let mut errors = Vec::new();
        let mut reported: BTreeSet<&str> = BTreeSet::new();
        for (name, (kind, declared, _)) in &calls {
            if reported.contains(name) {
                continue;
            }
            let mut reached: BTreeMap<&str, &Name> = BTreeMap::new();
            let mut pending = vec![*name];
            while let Some(next) = pending.pop() {
                for call in calls.get(next).map_or(&[][..], |(_, _, calls)| calls) {
                    if reached.insert(&call.text, call).is_none() {
                        pending.push(&call.text);
                    }
                }
            }
            if let Some(call) = reached.get(name) {
                let message = format!("the {kind} `{name}` calls itself");
                let error = Diagnostic::new(Code::RecursiveFunction, message)
                    .at(declared.span.clone(), "")
                    .with_label(call.span.clone(), "the circle closes here")
                    .with_help("functions are expanded in place; only states carry values onwards");
                errors.push(error);
                reported.extend(reached.keys());
            }
        }
        errors
    }
}

fn function_calls(function: &Function) -> Vec<&Name> {
    let values = function.lets.iter().map(|l| &l.value.expr).chain([&function.value]);
    calls(values)
}

fn recurrence_calls(recurrence: &ast::Recurrence) -> Vec<&Name> {
    calls(recurrence.body.iter().filter_map(|statement| match statement {
        Statement::State(_) => None,
        Statement::Window(w) => Some(&w.value),
        Statement::Let(l) => Some(&l.value.expr),
        Statement::Assign(a) => Some(&a.value.expr),
    }))
}

fn calls<'a>(values: impl Iterator<Item = &'a Expr>) -> Vec<&'a Name> {
    let mut calls = Vec::new();
    for value in values {
        visit(value, &mut |e| {
            if let ExprKind::Call(name, _) = &e.kind {
                calls.push(name);
            }
        });
    }
    calls
}

/// An expression and all its parts, each before its own.
fn visit<'a>(expr: &'a Expr, f: &mut impl FnMut(&'a Expr)) {
    f(expr);
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Name(_) | ExprKind::Primed(_) | ExprKind::List(_) => {}
        ExprKind::Neg(a) | ExprKind::Named(_, a) => visit(a, f),
        ExprKind::Infix(_, a, b) => [a, b].into_iter().for_each(|e| visit(e, f)),
        ExprKind::Call(_, args) => args.iter().for_each(|e| visit(e, f)),
    }
}

/// The error for a name that is declared a second time.
pub(super) fn twice(name: &Name, earlier: &Span) -> Diagnostic {
    Diagnostic::new(Code::DuplicateName, format!("`{}` is declared twice", name.text))
        .at(name.span.clone(), "declared again here")
        .with_label(earlier.clone(), "first declared here")
        .with_help("give one of them another name")
}

/// Checks the size of a dimension: a number is whole and from 1, a formula consists of whole numbers
/// and dimensions.
fn size(decl: &DimDecl, size: &Expr) -> Result<(), Diagnostic> {
    if let ExprKind::Number(number) = &size.kind {
        let value = number.value;
        if whole(value).is_some_and(|n| n >= 1) {
            return Ok(());
        }
        let message = format!("the dimension `{}` cannot have size {value}", decl.name.text);
        return Err(Diagnostic::new(Code::ShapeMismatch, message)
            .at(number.span.clone(), "")
            .with_help("a size is a whole number from 1"));
    }
    let mut bad = None;
    visit(size, &mut |e| {
        let fits = match &e.kind {
            ExprKind::Number(number) => whole(number.value).is_some(),
            ExprKind::Name(_) => true,
            ExprKind::Infix(infix, ..) => {
                matches!(infix, Infix::Add | Infix::Sub | Infix::Mul | Infix::Div)
            }
            _ => false,
        };
        if !fits {
            bad.get_or_insert(e);
        }
    });
    bad.map_or(Ok(()), |e| {
        let message = format!("the size of `{}` is no formula of sizes", decl.name.text);
        Err(Diagnostic::new(Code::ShapeMismatch, message)
            .at(e.span.clone(), "")
            .with_help("a size consists of whole numbers, dimensions, `+ - * /` and parentheses"))
    })
}

/// The number as one that a size can be computed from.
pub(super) fn whole(value: f64) -> Option<usize> {
    let fits = value >= 0.0 && value.fract() == 0.0 && value <= f64::from(u32::MAX);
    fits.then_some(value as usize)
}
