//! The statements of one step, of a program or of a recurrence that it calls.

use super::declare::Declared;
use super::parts::{Parts, array_names};
use super::program::{Assigned, Program, Scope, Symbol, Value};
use crate::ast::{self, Assign, Definition, Expr, ExprKind, Let, Name, Statement, Window};
use crate::suggest::did_you_mean;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{DimId, NodeId, Op, StateId};

/// A recurrence whose statements are being lowered.
pub(super) struct Frame<'a> {
    pub(super) source: &'a ast::Recurrence,
    /// What its text sees.
    pub(super) scope: Scope,
    /// What is known of its outputs.
    pub(super) declared: Vec<Declared>,
    /// The outputs' values.
    pub(super) outputs: Vec<Assigned<Parts<NodeId>>>,
    /// What stands before the names of its states in the program.
    pub(super) prefix: String,
    /// Whether all its states pass over the tokens in the opposite order.
    pub(super) reversed: bool,
}

impl<'a> Frame<'a> {
    /// The program itself, or a recurrence of that file before it is called.
    pub(super) fn new(file: usize, source: &'a ast::Recurrence) -> Self {
        Frame {
            source,
            scope: Scope::new(file, false),
            declared: vec![],
            outputs: vec![],
            prefix: String::new(),
            reversed: false,
        }
    }
}

impl<'a> Program<'a> {
    /// Declares states and outputs of a recurrence whose inputs are known, then runs its statements.
    pub(super) fn body(&mut self, frame: &mut Frame<'a>) {
        let source = frame.source;
        for statement in &source.body {
            match statement {
                Statement::State(state) => self.state(frame, state),
                Statement::Window(window) => self.state(frame, &window.state),
                Statement::Let(_) | Statement::Assign(_) => {}
            }
        }
        for output in &source.outputs {
            let declared = self.output(frame, output);
            frame.declared.push(declared);
        }
        for statement in &source.body {
            match statement {
                Statement::State(_) => {}
                Statement::Window(window) => self.window(frame, window),
                Statement::Let(statement) => self.let_statement(frame, statement),
                Statement::Assign(statement) => self.assign(frame, statement),
            }
        }
        self.expect_all_assigned(frame);
    }

    /// The values of a definition: a recurrence has one for each output, anything else has one.
    /// `name` is what the states of a recurrence are named after.
    fn define(
        &mut self,
        frame: &mut Frame<'a>,
        name: &str,
        definition: &'a Definition,
    ) -> Option<Vec<Value>> {
        let Definition { reverse, expr } = definition;
        if let ExprKind::Call(callee, args) = &expr.kind
            && let Some((file, source)) = self.recurrence_named(frame.scope.file, callee)
        {
            let reversed = frame.reversed != reverse.is_some();
            return self.inline(frame, (file, source), (name, reversed), args, &expr.span);
        }
        if let Some(at) = reverse {
            let error = Diagnostic::new(Code::BadCall, "`reverse` stands before a recurrence only")
                .at(at.clone(), "")
                .with_help(
                    "write `let y = reverse name(..)`, or `state S: [K] reverse` for a state",
                );
            self.report(error);
        }
        Some(vec![self.expr(&frame.scope, expr)])
    }

    fn let_statement(&mut self, frame: &mut Frame<'a>, source: &'a Let) {
        let values = self.define(frame, &source.names[0].text, &source.value);
        let given = values.as_ref().map(Vec::len);
        if given.is_some_and(|n| n != source.names.len()) {
            self.wrong_count(&source.value.expr, given.unwrap_or_default(), source.names.len());
        }
        let values = values.filter(|v| v.len() == source.names.len());
        for (i, name) in source.names.iter().enumerate() {
            let value = values.as_ref().and_then(|values| values[i]);
            self.declare(&mut frame.scope, name, Symbol::Value(value));
            let Some(value) = value else { continue };
            let label = format!("{}{}", frame.prefix, name.text);
            let labels = array_names(&label, value.is_complex());
            for (node, label) in value.list().into_iter().zip(labels) {
                let node = &mut self.recurrence.nodes[node.0];
                let leaf = node.op.operands().is_empty();
                if !leaf && node.name.is_none() {
                    node.name = Some(label);
                }
            }
        }
    }

    fn wrong_count(&mut self, expr: &Expr, given: usize, named: usize) {
        let outputs = if given == 1 { "1 output" } else { &format!("{given} outputs") };
        let help = match given {
            1 => "write `let y = ..`".to_owned(),
            n => {
                let names: Vec<String> = (1..=n).map(|i| format!("y{i}")).collect();
                format!("write `let ({}) = ..`", names.join(", "))
            }
        };
        let names = if named == 1 { "1 name" } else { &format!("{named} names") };
        let error = Diagnostic::new(Code::BadCall, format!("{names} for {outputs}"))
            .at(expr.span.clone(), "")
            .with_help(help);
        self.report(error);
    }

    /// `B' = push(B, value)`.
    fn window(&mut self, frame: &mut Frame<'a>, source: &'a Window) {
        let value = self.expr(&frame.scope, &source.value);
        let name = &source.state.name;
        let Some(Symbol::State(state)) = frame.scope.get(&name.text) else { return };
        let shape = &source.state.shape;
        let at = &source.value.span;
        let value = value.and_then(|value| self.as_declared(value, shape.complex, at));
        let written = (value, &source.value);
        let value = value.and_then(|_| self.pushed(state, written, at));
        self.update(name, state, value);
    }

    /// A window before the step, with a new last entry.
    fn pushed(
        &mut self,
        window: Parts<StateId>,
        (value, expr): (Value, &Expr),
        at: &Span,
    ) -> Value {
        let mut entries = value?.list().into_iter();
        window.try_map(|state| {
            let entry = entries.next()?;
            let before = self.op(Op::State(state), at)?;
            self.op_of(Op::Push(before, entry), at, &[(Parts::Real(entry), expr)])
        })
    }

    fn assign(&mut self, frame: &mut Frame<'a>, source: &'a Assign) {
        let Assign { target, primed, value: definition, .. } = source;
        let values = self.define(frame, &target.text, definition);
        if let Some(several) = values.as_ref().filter(|v| v.len() != 1) {
            self.wrong_count(&definition.expr, several.len(), 1);
        }
        let value = values.filter(|v| v.len() == 1).and_then(|values| values[0]);
        let at = &definition.expr.span;
        match (frame.scope.get(&target.text), primed) {
            (Some(Symbol::State(id)), true) => {
                let state = &self.recurrence.states[id.re().0];
                let (wanted, declared) = (state.dims.clone(), state.span.clone());
                let value = value
                    .and_then(|value| self.as_declared(value, id.is_complex(), at))
                    .and_then(|value| self.expect_shape(value, &wanted, at, &declared));
                self.update(target, id, value);
            }
            (Some(Symbol::Output(_)), false) => {
                let outputs = &frame.source.outputs;
                let Some(i) = outputs.iter().position(|o| o.name.text == target.text) else {
                    return;
                };
                let (output, wanted) = (&outputs[i], frame.declared[i].dims.clone());
                let value = value
                    .and_then(|value| self.as_declared(value, output.shape.complex, at))
                    .and_then(|value| match &wanted {
                        Some(wanted) => self.expect_shape(value, wanted, at, &output.span),
                        None => Some(value),
                    });
                if self.first_time(frame.outputs[i].as_ref().map(|(_, at)| at), target, false) {
                    frame.outputs[i] = Some((value, self.place(&target.span)));
                    frame.scope.set(&target.text, Symbol::Output(Some(value)), &output.span);
                }
            }
            (Some(Symbol::Broken), _) => {}
            (symbol, primed) => {
                let error = self.bad_target(frame, target, symbol, *primed);
                self.report(error);
            }
        }
    }

    /// Gives a state its value after the step.
    fn update(&mut self, name: &Name, state: Parts<StateId>, value: Value) {
        let earlier = self.updates[state.re().0].as_ref().map(|(_, at)| at.clone());
        if !self.first_time(earlier.as_ref(), name, true) {
            return;
        }
        let at = self.place(&name.span);
        let values = value.map(Parts::list);
        for (i, state) in state.list().into_iter().enumerate() {
            self.updates[state.0] = Some((values.as_ref().map(|v| v[i]), at.clone()));
        }
    }

    /// Whether something was not assigned before; reported if it was.
    fn first_time(&mut self, earlier: Option<&Span>, target: &Name, primed: bool) -> bool {
        let Some(earlier) = earlier else { return true };
        let prime = if primed { "'" } else { "" };
        let message = format!("`{}{prime}` is assigned twice", target.text);
        let error = Diagnostic::new(Code::Unassigned, message)
            .at(target.span.clone(), "assigned again here")
            .with_label(earlier.clone(), "first assigned here")
            .with_help("name intermediate values with `let`");
        self.report(error);
        false
    }

    /// The value itself; one whose dimensions are not those declared is reported.
    pub(super) fn expect_shape(
        &mut self,
        value: Parts<NodeId>,
        wanted: &[DimId],
        at: &Span,
        declared: &Span,
    ) -> Value {
        let dims = &self.recurrence.node(value.re()).dims;
        if dims == wanted {
            return Some(value);
        }
        let (is, must) = (self.recurrence.shape_text(dims), self.recurrence.shape_text(wanted));
        let transposed = dims.len() == 2 && dims.iter().rev().eq(wanted);
        let error = Diagnostic::new(Code::ShapeMismatch, format!("the value is {is}, not {must}"))
            .at(at.clone(), format!("this is {is}"))
            .with_label(declared.clone(), format!("declared as {must} here"));
        self.report(match transposed {
            true => error.with_help("`outer(x, y)` has the dimensions of `x`, then those of `y`"),
            false => error.with_help("change the declaration or the value"),
        });
        None
    }

    fn bad_target(
        &self,
        frame: &Frame,
        target: &Name,
        symbol: Option<Symbol>,
        primed: bool,
    ) -> Diagnostic {
        let name = &target.text;
        let (code, message, help) = match symbol {
            Some(Symbol::State(_)) => (
                Code::Unassigned,
                format!("`{name}` is the state before the step and cannot be assigned"),
                format!("write `{name}' = ..` for the state after the step"),
            ),
            Some(Symbol::Output(_)) => (
                Code::UnknownName,
                format!("there is no state `{name}`"),
                format!("`{name}` is an output: write `{name} = ..` without the prime"),
            ),
            Some(_) => (
                Code::DuplicateName,
                format!("`{name}` has a value already"),
                "give the new value another name with `let`".to_owned(),
            ),
            None => (
                Code::UnknownName,
                format!(
                    "there is no {} `{name}` to assign",
                    if primed { "state" } else { "output" }
                ),
                target_help(frame, name, primed),
            ),
        };
        Diagnostic::new(code, message).at(target.span.clone(), "").with_help(help)
    }

    fn expect_all_assigned(&mut self, frame: &Frame) {
        for statement in &frame.source.body {
            let Statement::State(state) = statement else { continue };
            let name = &state.name.text;
            // A state that was blamed already has no meaning, or is another one of that name.
            let Some(Symbol::State(id)) = frame.scope.get(name) else { continue };
            if self.updates[id.re().0].is_none() {
                let message = format!("the state `{name}` has no new value");
                let error = Diagnostic::new(Code::Unassigned, message)
                    .at(state.span.clone(), "declared here")
                    .with_help(format!("assign `{name}'`; `{name}' = {name}` keeps it as it is"));
                self.report(error);
            }
        }
        for (output, slot) in frame.source.outputs.iter().zip(&frame.outputs) {
            if slot.is_none() {
                let name = &output.name.text;
                let error =
                    Diagnostic::new(Code::Unassigned, format!("the output `{name}` has no value"))
                        .at(output.span.clone(), "declared here")
                        .with_help(format!("assign `{name} = ..`"));
                self.report(error);
            }
        }
    }
}

fn target_help(frame: &Frame, name: &str, primed: bool) -> String {
    let states = frame.source.body.iter().filter_map(|statement| match statement {
        Statement::State(state) => Some(state.name.text.as_str()),
        _ => None,
    });
    let outputs = frame.source.outputs.iter().map(|o| o.name.text.as_str());
    let candidates: Vec<&str> = if primed { states.collect() } else { outputs.collect() };
    did_you_mean(name, candidates).unwrap_or_else(|| match primed {
        true => format!("declare it with `state {name}: [K, V]`"),
        false => format!("write `let {name} = ..` for an intermediate value"),
    })
}
