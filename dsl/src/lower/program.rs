//! One program under construction: what its names stand for, its errors, its nodes.

use super::body::Frame;
use super::files::{Files, twice};
use super::nodes::{self, Nodes};
use super::parts::{Parts, Written, array_names};
use crate::ast::{self, Name};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{
    DimId, InputId, NodeId, Op, Output, Recurrence, StateId, Tangle, check, sweeps,
};
use std::collections::{BTreeMap, BTreeSet};

/// A value, or `None` if it was already reported as wrong.
pub(super) type Value = Option<Parts<NodeId>>;

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) enum Symbol {
    Dim(DimId),
    Input(Parts<InputId>),
    State(Parts<StateId>),
    /// An output, and its value once it is assigned.
    Output(Option<Value>),
    Value(Value),
    /// Declared, but wrongly: already reported.
    Broken,
}

/// Names that an expression can use, with the places of their declarations.
#[derive(Default)]
pub(super) struct Scope {
    /// Index of the file in which the names are written.
    pub(super) file: usize,
    /// Whether it is a function's.
    pub(super) function: bool,
    names: BTreeMap<String, (Symbol, Span)>,
}

impl Scope {
    pub(super) fn new(file: usize, function: bool) -> Self {
        Scope { file, function, names: BTreeMap::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<Symbol> {
        self.names.get(name).map(|(symbol, _)| *symbol)
    }

    /// Where a name is declared.
    pub(super) fn place(&self, name: &str) -> Option<&Span> {
        self.names.get(name).map(|(_, span)| span)
    }

    /// Gives a name a meaning, also one that it had.
    pub(super) fn set(&mut self, name: &str, symbol: Symbol, span: &Span) {
        self.names.insert(name.to_owned(), (symbol, span.clone()));
    }

    /// All names with their meanings.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Symbol)> {
        self.names.iter().map(|(name, (symbol, _))| (name.as_str(), *symbol))
    }
}

/// A call that is being expanded.
pub(super) struct Call {
    /// Where it stands.
    pub(super) span: Span,
    /// The file of what is called.
    pub(super) file: usize,
}

/// The value that something was assigned, and where.
pub(super) type Assigned<T> = Option<(Option<T>, Span)>;

/// Nested calls and operators, many more than any program has; it bounds the stack.
const MAX_DEPTH: usize = 700;

/// Nodes and states of a program, more than any kernel could hold; it bounds the time of expansion.
const MAX_NODES: usize = 100_000;
pub(super) const MAX_STATES: usize = 1_000;

/// A program under construction.
pub(super) struct Program<'a> {
    pub(super) files: &'a Files<'a>,
    pub(super) recurrence: Recurrence,
    nodes: Nodes,
    /// For each dimension the name under which a file declares it.
    pub(super) dim_bases: Vec<String>,
    /// Calls of functions and recurrences being expanded, outermost first.
    pub(super) calls: Vec<Call>,
    /// Values of calls of functions, by file, name and arguments.
    pub(super) expanded: BTreeMap<(usize, &'a str, Vec<Parts<NodeId>>), Value>,
    /// New value of each state, once assigned, with the place.
    pub(super) updates: Vec<Assigned<NodeId>>,
    /// Names of the arrays that the program takes and gives.
    arrays: BTreeMap<String, Span>,
    depth: usize,
    errors: Vec<Diagnostic>,
}

impl<'a> Program<'a> {
    /// An empty program.
    pub(super) fn new(files: &'a Files<'a>, name: &str) -> Self {
        let recurrence = Recurrence {
            name: name.to_owned(),
            doc: vec![],
            dims: vec![],
            inputs: vec![],
            states: vec![],
            nodes: vec![],
            updates: vec![],
            outputs: vec![],
            tables: vec![],
            sequential: false,
        };
        Program {
            files,
            recurrence,
            nodes: Nodes::default(),
            dim_bases: vec![],
            calls: vec![],
            expanded: BTreeMap::new(),
            updates: vec![],
            arrays: BTreeMap::new(),
            depth: 0,
            errors: vec![],
        }
    }

    /// The step form of a program of the user's file, or its errors; `called` gets the functions of the
    /// file that it calls.
    pub(super) fn lower(
        files: &'a Files<'a>,
        source: &'a ast::Recurrence,
        called: &mut BTreeSet<&'a str>,
    ) -> Result<Recurrence, Vec<Diagnostic>> {
        let mut program = Program::new(files, &source.name.text);
        program.recurrence.doc.clone_from(&source.doc);
        program.recurrence.sequential = source.sequential;
        let mut frame = Frame::new(0, source);
        source.inputs.iter().for_each(|input| program.input(&mut frame.scope, input));
        program.body(&mut frame);
        called.extend(program.expanded.keys().filter(|key| key.0 == 0).map(|key| key.1));
        program.finish(frame)
    }

    /// Adds an error, with the call that led there; a second one of its kind at a place is dropped.
    ///
    /// What is wrong inside another file is reported at the call that led into it.
    pub(super) fn report(&mut self, mut error: Diagnostic) {
        if let Some(call) = self.foreign() {
            error.primary = Some((call, String::new()));
            error.labels.clear();
        }
        if self.errors.iter().any(|e| e.code == error.code && e.primary == error.primary) {
            return;
        }
        let blamed = error.primary.as_ref().map(|(span, _)| span);
        let error = match self.calls.first() {
            Some(call) if blamed != Some(&call.span) => {
                error.with_label(call.span.clone(), "in the expansion of this call")
            }
            _ => error,
        };
        self.errors.push(error);
    }

    /// The errors so far.
    pub(super) fn into_errors(self) -> Vec<Diagnostic> {
        self.errors
    }

    /// The call in the user's file that led into the file being expanded, if that is another one.
    fn foreign(&self) -> Option<Span> {
        self.calls.iter().find(|call| call.file != 0).map(|call| call.span.clone())
    }

    /// The place in the user's file that stands for a place in the text being lowered.
    pub(super) fn place(&self, span: &Span) -> Span {
        self.foreign().unwrap_or_else(|| span.clone())
    }

    /// Does something one level deeper, unless that is too deep.
    pub(super) fn deeper<T>(
        &mut self,
        span: &Span,
        f: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            let error =
                Diagnostic::new(Code::TooLarge, "calls and operators are nested too deeply")
                    .at(span.clone(), "")
                    .with_help(
                        "name intermediate values with `let`, and call fewer functions in turn",
                    );
            self.report(error);
            return None;
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// Gives a name its meaning, unless it has one already.
    pub(super) fn declare(&mut self, scope: &mut Scope, name: &Name, symbol: Symbol) -> Option<()> {
        if let Some(earlier) = scope.place(&name.text) {
            let error = twice(name, &earlier.clone());
            self.report(error);
            return None;
        }
        scope.set(&name.text, symbol, &name.span);
        Some(())
    }

    /// Takes a name for an array of the program; the text's place is `span`.
    pub(super) fn declare_array(&mut self, name: &str, span: &Span) {
        let name = Name { text: name.to_owned(), span: self.place(span) };
        match self.arrays.get(&name.text) {
            Some(earlier) => {
                let error = twice(&name, &earlier.clone());
                self.report(error);
            }
            None => _ = self.arrays.insert(name.text, name.span),
        }
    }

    /// The node of an operation on operands that the user did not write one by one.
    pub(super) fn op(&mut self, op: Op, span: &Span) -> Option<NodeId> {
        self.op_of(op, span, &[])
    }

    /// The node of an operation; if shapes do not fit, the operands as written explain why.
    pub(super) fn op_of(&mut self, op: Op, span: &Span, operands: &[Written]) -> Option<NodeId> {
        let at = self.place(span);
        if self.recurrence.nodes.len() > MAX_NODES {
            let error =
                Diagnostic::new(Code::TooLarge, "the program computes too much in one step")
                    .at(at, "")
                    .with_help(
                        "functions that call others several times multiply what they compute",
                    );
            self.report(error);
            return None;
        }
        match self.nodes.node(&mut self.recurrence, op, &at) {
            Ok(id) => Some(id),
            Err(reason) => {
                let mut error = Diagnostic::new(Code::ShapeMismatch, reason).at(at, "");
                for (value, operand) in operands {
                    let dims = &self.recurrence.node(value.re()).dims;
                    let shape = self.recurrence.shape_text(dims);
                    error = error.with_label(operand.span.clone(), format!("this is {shape}"));
                }
                self.report(error.with_help(shape_help(&op)));
                None
            }
        }
    }

    fn finish(mut self, frame: Frame<'a>) -> Result<Recurrence, Vec<Diagnostic>> {
        let outputs = frame.source.outputs.iter().zip(&frame.declared).zip(frame.outputs);
        for ((source, declared), slot) in outputs {
            let Some((Some(value), _)) = slot else { continue };
            let names = array_names(&source.name.text, value.is_complex());
            for (name, node) in names.into_iter().zip(value.list()) {
                self.recurrence.outputs.push(Output {
                    name,
                    node,
                    dtype: declared.dtype,
                    doc: source.doc.clone(),
                    span: source.span.clone(),
                });
            }
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let id = |slot: &Assigned<NodeId>| {
            let value = slot.as_ref().and_then(|(value, _)| *value);
            value.expect("a program without errors assigns everything")
        };
        self.recurrence.updates = self.updates.iter().map(id).collect();
        nodes::prune(&mut self.recurrence);
        if let Err(tangle) = sweeps(&self.recurrence) {
            return Err(vec![tangled(&self.recurrence, &tangle)]);
        }
        debug_assert_eq!(check(&self.recurrence), Ok(()), "what is lowered is legal");
        Ok(self.recurrence)
    }
}

/// The error for states that wait for each other.
fn tangled(recurrence: &Recurrence, tangle: &Tangle) -> Diagnostic {
    let mut spans = tangle.states.iter().map(|s| recurrence.states[s.0].span.clone());
    let error = Diagnostic::new(Code::TangledStates, tangle.reason.clone());
    let error = match spans.next() {
        Some(first) => error.at(first, "declared here"),
        None => error,
    };
    spans.fold(error, |error, span| error.with_label(span, "and here")).with_help(
        "states of one order may need each other; what needs `last(S)` or a state of another order \
         comes after that state has passed over all tokens",
    )
}

fn shape_help(op: &Op) -> &'static str {
    match op {
        Op::Dot(..) => "contract two values that have one dimension in common",
        Op::Outer(..) => {
            "`outer` takes values without a common dimension, up to three dimensions in all, as in \
             `outer(k, v)`"
        }
        Op::Binary(..) | Op::Select(..) => {
            "one operand must have every dimension of the others; `outer(x, y)` makes a matrix of two \
             vectors, `dot(x, y)` contracts"
        }
        Op::Push(..) => "a window `[W, K]` takes values `[K]`",
        _ => "name a dimension that the value has",
    }
}
