//! Functions and recurrences in place of their calls.
//!
//! A function's parameters and a recurrence's inputs mean the arguments, and the dimensions of their
//! shapes mean the arguments'. A recurrence that is called as `let y = name(..)` adds its states to the
//! program, `S` as `y_S`; a dimension of its own that no argument determines is the caller's of that
//! name.

use super::body::Frame;
use super::parts::Parts;
use super::program::{Call, Program, Scope, Symbol, Value};
use crate::ast::{self, Expr, ExprKind, Function, Name, Shape};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{DimId, NodeId};

/// A parameter or an input with the argument that it stands for.
struct Bound<'e> {
    name: &'e Name,
    shape: Option<&'e Shape>,
    arg: &'e Expr,
    value: Parts<NodeId>,
}

impl<'a> Program<'a> {
    /// The value of a call of a function.
    pub(super) fn expand(
        &mut self,
        scope: &Scope,
        (file, function): (usize, &'a Function),
        args: &[Expr],
        span: &Span,
    ) -> Value {
        let params: Vec<&Name> = function.params.iter().map(|p| &p.name).collect();
        let args = self.arranged(scope, (&function.name, span), &params, args)?;
        let key = (file, function.name.text.as_str(), args.iter().map(|a| a.1).collect());
        if let Some(known) = self.expanded.get(&key) {
            return *known;
        }
        let bound: Vec<Bound> = function
            .params
            .iter()
            .zip(args)
            .map(|(p, (arg, value))| Bound { name: &p.name, shape: p.shape.as_ref(), arg, value })
            .collect();
        let mut inner = Scope::new(file, true);
        self.bind(&mut inner, &bound, span)?;
        self.calls.push(Call { span: span.clone(), file });
        let value = self.deeper(span, |program| program.function_value(function, inner));
        self.calls.pop();
        self.expanded.insert(key, value);
        value
    }

    /// The values of a call of a recurrence, one for each output. `name` is what its states are named
    /// after, and `reversed` whether they pass over the tokens in the opposite order.
    pub(super) fn inline(
        &mut self,
        caller: &mut Frame<'a>,
        (file, source): (usize, &'a ast::Recurrence),
        (name, reversed): (&str, bool),
        args: &[Expr],
        span: &Span,
    ) -> Option<Vec<Value>> {
        if source.sequential && !self.recurrence.sequential {
            let callee = &source.name.text;
            let message = format!("`{callee}` is sequential, and what calls it is not");
            let error = Diagnostic::new(Code::BadCall, message)
                .at(span.clone(), "")
                .with_help("write `sequential` before `recurrence` of the program that calls it");
            self.report(error);
            return None;
        }
        let params: Vec<&Name> = source.inputs.iter().map(|i| &i.name).collect();
        let args = self.arranged(&caller.scope, (&source.name, span), &params, args)?;
        let bound: Vec<Bound> = source
            .inputs
            .iter()
            .zip(args)
            .map(|(i, (arg, value))| Bound { name: &i.name, shape: Some(&i.shape), arg, value })
            .collect();
        let mut frame = Frame::new(file, source);
        frame.prefix = format!("{}{name}_", caller.prefix);
        frame.reversed = reversed;
        self.bind(&mut frame.scope, &bound, span)?;
        self.calls.push(Call { span: span.clone(), file });
        let done = self.deeper(span, |program| {
            program.body(&mut frame);
            Some(())
        });
        self.calls.pop();
        done?;
        for (state, symbol) in frame.scope.iter() {
            if let Symbol::State(_) = symbol {
                let named = Name { text: format!("{name}_{state}"), span: span.clone() };
                self.declare(&mut caller.scope, &named, symbol);
            }
        }
        let outputs = frame.outputs.into_iter();
        Some(outputs.map(|slot| slot.and_then(|(value, _)| value)).collect())
    }

    /// The arguments in the order of the parameters, with their values; those given by name stand
    /// behind the others.
    fn arranged<'e>(
        &mut self,
        scope: &Scope,
        (callee, span): (&Name, &Span),
        params: &[&Name],
        args: &'e [Expr],
    ) -> Option<Vec<(&'e Expr, Parts<NodeId>)>> {
        let names: Vec<&str> = params.iter().map(|p| p.text.as_str()).collect();
        let usage = format!("{}({})", callee.text, names.join(", "));
        let called = Name { span: span.clone(), ..callee.clone() };
        self.expect_arguments(&called, args.len(), names.len()..=names.len(), &usage)?;
        let mut found: Vec<Option<&Expr>> = vec![None; names.len()];
        for (i, arg) in args.iter().enumerate() {
            let (place, arg, problem) = match &arg.kind {
                ExprKind::Named(name, value) => {
                    let place = names.iter().position(|n| *n == name.text);
                    (place, &**value, "there is no parameter of this name")
                }
                _ => (Some(i), arg, ""),
            };
            match place {
                Some(place) if found[place].is_none() => found[place] = Some(arg),
                place => {
                    let problem =
                        if place.is_some() { "an argument is given twice" } else { problem };
                    let error = Diagnostic::new(Code::BadCall, problem)
                        .at(args[i].span.clone(), "")
                        .with_help(format!(
                            "the parameters are `{usage}`; those given by name stand last"
                        ));
                    self.report(error);
                    return None;
                }
            }
        }
        let found: Vec<&Expr> = found.into_iter().collect::<Option<_>>()?;
        let values: Vec<Value> = found.iter().map(|arg| self.expr(scope, arg)).collect();
        found.into_iter().zip(values).map(|(arg, value)| Some((arg, value?))).collect()
    }

    /// Gives parameters and the dimensions of their shapes their meaning.
    fn bind(&mut self, inner: &mut Scope, bound: &[Bound], span: &Span) -> Option<()> {
        for Bound { name, shape, arg, value } in bound {
            let Some(shape) = shape else {
                inner.set(&name.text, Symbol::Value(Some(*value)), &name.span);
                continue;
            };
            let value = self.as_declared(*value, shape.complex, &arg.span)?;
            inner.set(&name.text, Symbol::Value(Some(value)), &name.span);
            let dims = self.recurrence.node(value.re()).dims.clone();
            let mut fits = dims.len() == shape.dims.len();
            for (name, dim) in shape.dims.iter().zip(&dims) {
                match inner.get(&name.text) {
                    Some(Symbol::Dim(bound)) => fits &= bound == *dim,
                    Some(_) => fits = false,
                    None => inner.set(&name.text, Symbol::Dim(*dim), &name.span),
                }
            }
            if !fits {
                self.wrong_shape((name, shape), (arg, &dims), inner.file);
                return None;
            }
        }
        self.check_declared_sizes(inner, bound, span)
    }

    fn wrong_shape(
        &mut self,
        (name, shape): (&Name, &Shape),
        (arg, dims): (&Expr, &[DimId]),
        file: usize,
    ) {
        let is = self.recurrence.shape_text(dims);
        let wanted: Vec<&str> = shape.dims.iter().map(|d| d.text.as_str()).collect();
        let message = format!("the argument `{}` has the wrong shape", name.text);
        let mut error = Diagnostic::new(Code::ShapeMismatch, message)
            .at(arg.span.clone(), format!("this is {is}, and [{}] is needed", wanted.join(", ")))
            .with_help("one name of a dimension stands for one dimension in all parameters");
        if file == 0 {
            error = error.with_label(shape.span.clone(), "the parameter's shape");
        }
        self.report(error);
    }

    /// Dimensions whose size the file declares must get arguments of that size.
    fn check_declared_sizes(&mut self, inner: &Scope, bound: &[Bound], span: &Span) -> Option<()> {
        for bound in bound {
            for name in bound.shape.map_or(&[][..], |shape| &shape.dims) {
                let Some(decl) = self.files.0[inner.file].dims.get(name.text.as_str()).copied()
                else {
                    continue;
                };
                let (Some(Symbol::Dim(given)), Some(_)) = (inner.get(&name.text), &decl.size)
                else {
                    continue;
                };
                self.calls.push(Call { span: span.clone(), file: inner.file });
                let declared = self.declared_size(inner, decl);
                self.calls.pop();
                let (size, formula) = declared?;
                let equal = self.always(|sizes| {
                    let wanted = match &formula {
                        Some(formula) => formula.eval(&|d| Some(sizes(d))),
                        None => size,
                    };
                    wanted == Some(sizes(given))
                });
                if !equal {
                    let given = &self.recurrence.dims[given.0].name;
                    let message =
                        format!("`{given}` may differ from the size that `{}` has", name.text);
                    let error = Diagnostic::new(Code::ShapeMismatch, message)
                        .at(bound.arg.span.clone(), "")
                        .with_help(format!(
                            "`{}` declares the size of `{}`: declare `{given}` likewise",
                            if inner.file == 0 { "dim" } else { "the file" },
                            name.text
                        ));
                    self.report(error);
                    return None;
                }
            }
        }
        Some(())
    }

    fn function_value(&mut self, function: &'a Function, mut inner: Scope) -> Value {
        for statement in &function.lets {
            let value = self.expr(&inner, &statement.value.expr);
            inner.set(&statement.names[0].text, Symbol::Value(value), &statement.names[0].span);
        }
        let value = self.expr(&inner, &function.value)?;
        let Some(shape) = &function.result else { return Some(value) };
        let at = &function.value.span;
        let wanted: Vec<Option<DimId>> =
            shape.dims.iter().map(|name| self.known_dim(&inner, name)).collect();
        let wanted: Vec<DimId> = wanted.into_iter().collect::<Option<_>>()?;
        let value = self.as_declared(value, shape.complex, at)?;
        self.expect_shape(value, &wanted, at, &shape.span)
    }
}
