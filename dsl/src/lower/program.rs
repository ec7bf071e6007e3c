//! One program: its declarations, then its statements in order.

use super::file::{File, twice};
use super::nodes;
use crate::ast::{self, Assign, Let, Name, Shape, Statement};
use crate::suggest::did_you_mean;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::{
    Dim, DimId, Init, Input, InputId, Interval, NodeId, Op, Order, Output, Rate, Recurrence,
    Sharing, State, StateId,
};
use std::collections::BTreeMap;

/// A value, or `None` if it was already reported as wrong.
pub(super) type Value = Option<NodeId>;

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) enum Symbol {
    Dim(DimId),
    Input(InputId),
    State(StateId),
    Output(usize),
    Value(Value),
    /// Declared, but wrongly: already reported.
    Broken,
}

/// Names that an expression can use, with the places of their declarations.
pub(super) type Scope = BTreeMap<String, (Symbol, Span)>;

/// A program under construction.
pub(super) struct Program<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) recurrence: Recurrence,
    /// The names of the program itself; a function has a scope of its own.
    pub(super) scope: Scope,
    /// Places of the calls of user functions being expanded, outermost first.
    pub(super) calls: Vec<Span>,
    /// New value of each state, once assigned, with the place.
    pub(super) updates: Vec<Option<(Value, Span)>>,
    /// Value of each output, once assigned, with the place.
    pub(super) outputs: Vec<Option<(Value, Span)>>,
    errors: Vec<Diagnostic>,
}

impl<'a> Program<'a> {
    /// The step form of a program, or its errors.
    pub(super) fn lower(
        file: &'a File<'a>,
        source: &'a ast::Recurrence,
    ) -> Result<Recurrence, Vec<Diagnostic>> {
        let recurrence = Recurrence {
            name: source.name.text.clone(),
            doc: source.doc.clone(),
            dims: vec![],
            inputs: vec![],
            states: vec![],
            nodes: vec![],
            updates: vec![],
            outputs: vec![],
            tables: vec![],
            sequential: false,
        };
        let mut program = Program {
            file,
            recurrence,
            scope: Scope::new(),
            calls: vec![],
            updates: vec![],
            outputs: vec![],
            errors: vec![],
        };
        source.inputs.iter().for_each(|input| program.input(input));
        for statement in &source.body {
            if let Statement::State(state) = statement {
                program.state(state);
            }
        }
        let shapes: Vec<Option<Vec<DimId>>> =
            source.outputs.iter().map(|output| program.output(output)).collect();
        for statement in &source.body {
            match statement {
                Statement::State(_) => {}
                Statement::Let(statement) => program.let_statement(statement),
                Statement::Assign(statement) => program.assign(statement, source, &shapes),
            }
        }
        program.finish(source)
    }

    /// Adds an error, with the call that led there; a second one of its kind at a place is dropped.
    pub(super) fn report(&mut self, error: Diagnostic) {
        if self.errors.iter().any(|e| e.code == error.code && e.primary == error.primary) {
            return;
        }
        let error = match self.calls.first() {
            Some(call) => error.with_label(call.clone(), "in the expansion of this call"),
            None => error,
        };
        self.errors.push(error);
    }

    /// Gives a name its meaning, unless it has one already.
    fn declare(&mut self, name: &Name, symbol: Symbol) -> Option<()> {
        if let Some((_, earlier)) = self.scope.get(&name.text) {
            let error = twice(name, &earlier.clone());
            self.report(error);
            return None;
        }
        self.scope.insert(name.text.clone(), (symbol, name.span.clone()));
        Some(())
    }

    fn input(&mut self, source: &ast::Input) {
        let dims = self.shape(&source.shape, NewDims::Declare);
        let range = self.range(source);
        let dtype = self.dtype(source.dtype.as_ref());
        if let Some(sharing) = source.sharing.as_ref().filter(|s| s.text != "group") {
            let message = format!("an input cannot be shared by `{}`", sharing.text);
            let error = Diagnostic::new(Code::UnknownName, message)
                .at(sharing.span.clone(), "")
                .with_help("write `by group`, or nothing for a value per head");
            self.report(error);
        }
        let id = InputId(self.recurrence.inputs.len());
        self.declare(&source.name, if dims.is_some() { Symbol::Input(id) } else { Symbol::Broken });
        self.recurrence.inputs.push(Input {
            name: source.name.text.clone(),
            dims: dims.unwrap_or_default(),
            sharing: if source.sharing.is_some() { Sharing::Group } else { Sharing::Head },
            rate: if source.param.is_some() { Rate::Model } else { Rate::Token },
            dtype,
            range,
            doc: source.doc.clone(),
            span: source.span.clone(),
        });
    }

    fn state(&mut self, source: &ast::State) {
        let dims = self.shape(&source.shape, NewDims::Declare);
        if dims.as_ref().is_some_and(Vec::is_empty) {
            let message = format!("the state `{}` has no dimension", source.name.text);
            let error = Diagnostic::new(Code::ShapeMismatch, message)
                .at(source.shape.span.clone(), "")
                .with_help(
                    "a state is a vector or a matrix; a scalar is a vector of `dim One = 1`",
                );
            self.report(error);
        }
        let id = StateId(self.recurrence.states.len());
        let symbol = if dims.is_some() { Symbol::State(id) } else { Symbol::Broken };
        let declared = self.declare(&source.name, symbol).and(dims.as_ref()).is_some();
        self.recurrence.states.push(State {
            name: source.name.text.clone(),
            dims: dims.unwrap_or_default(),
            init: Init::Value(source.init.as_ref().map_or(0.0, |n| n.value)),
            range: None,
            order: Order::Forward,
            doc: vec![],
            span: source.span.clone(),
        });
        // A state that was blamed already is not asked for its new value.
        self.updates.push((!declared).then(|| (None, source.span.clone())));
    }

    /// Declares an output; its dimensions must be known from inputs or states.
    fn output(&mut self, source: &ast::Output) -> Option<Vec<DimId>> {
        let dims = self.shape(&source.shape, NewDims::Refuse);
        let dtype = self.dtype(source.dtype.as_ref());
        let index = self.recurrence.outputs.len();
        let declared = self.declare(&source.name, Symbol::Output(index)).is_some();
        self.recurrence.outputs.push(Output {
            name: source.name.text.clone(),
            node: NodeId(0),
            dtype,
            doc: vec![],
            span: source.span.clone(),
        });
        self.outputs.push((!declared).then(|| (None, source.span.clone())));
        dims
    }

    fn shape(&mut self, source: &Shape, new: NewDims) -> Option<Vec<DimId>> {
        let dims: Option<Vec<DimId>> = source
            .dims
            .iter()
            .map(|name| self.dim(name, new))
            .collect::<Vec<_>>()
            .into_iter()
            .collect();
        let dims = dims?;
        let twice = dims.iter().enumerate().any(|(i, d)| dims[..i].contains(d));
        let problem = if dims.len() > 2 {
            "a value has at most two dimensions"
        } else if twice {
            "a shape names a dimension twice"
        } else {
            return Some(dims);
        };
        self.report(
            Diagnostic::new(Code::ShapeMismatch, problem)
                .at(source.span.clone(), "")
                .with_help("write `[]` for a scalar, `[K]` for a vector, `[K, V]` for a matrix"),
        );
        None
    }

    fn dim(&mut self, name: &Name, new: NewDims) -> Option<DimId> {
        match (self.resolve(&self.scope.clone(), &name.text), new) {
            (Some(Symbol::Dim(id)), _) => Some(id),
            (None, NewDims::Declare) => {
                let id = self.add_dim(&name.text, None);
                self.declare(name, Symbol::Dim(id));
                Some(id)
            }
            (Some(_), NewDims::Declare) => {
                self.declare(name, Symbol::Broken);
                None
            }
            (_, NewDims::Refuse) => {
                let known = self.recurrence.dims.iter().map(|d| d.name.as_str());
                let help = did_you_mean(&name.text, known).unwrap_or_else(|| {
                    "a dimension appears first in an input or a state".to_owned()
                });
                let message = format!("unknown dimension `{}`", name.text);
                let error = Diagnostic::new(Code::UnknownName, message);
                self.report(error.at(name.span.clone(), "").with_help(help));
                None
            }
        }
    }

    fn add_dim(&mut self, name: &str, size: Option<usize>) -> DimId {
        self.recurrence.dims.push(Dim { name: name.to_owned(), size, formula: None });
        DimId(self.recurrence.dims.len() - 1)
    }

    /// What a name stands for in a scope; the file's dimensions of fixed size are known everywhere and
    /// join the program at their first use.
    pub(super) fn resolve(&mut self, scope: &Scope, name: &str) -> Option<Symbol> {
        if let Some((symbol, _)) = scope.get(name) {
            return Some(*symbol);
        }
        let size = *self.file.dims.get(name)?;
        let known = self.recurrence.dims.iter().position(|d| d.name == name);
        Some(Symbol::Dim(match known {
            Some(known) => DimId(known),
            None => self.add_dim(name, Some(size)),
        }))
    }

    fn dtype(&mut self, name: Option<&Name>) -> Option<Dtype> {
        let name = name?;
        let dtype = name.text.parse().ok().filter(|d| *d != Dtype::F64);
        if dtype.is_none() {
            let message = format!("an array cannot have the element type `{}`", name.text);
            let error = Diagnostic::new(Code::DtypeMismatch, message)
                .at(name.span.clone(), "")
                .with_help("the element types are `f32`, `f16` and `bf16`");
            self.report(error);
        }
        dtype
    }

    fn range(&mut self, input: &ast::Input) -> Interval {
        let Some(range) = &input.range else {
            return Interval::ALL;
        };
        let (lo, hi) = (range.lo.value, range.hi.value);
        let one_number = lo == hi && lo.is_finite() && !range.lo_open && !range.hi_open;
        if lo < hi || one_number {
            return Interval::new(lo, hi);
        }
        let error = Diagnostic::new(Code::BadRange, "the range holds no number")
            .at(range.span.clone(), format!("from {lo} to {hi}"))
            .with_help("write the smaller bound first, as in `in (-inf, 0]`");
        self.report(error);
        Interval::ALL
    }

    fn let_statement(&mut self, source: &Let) {
        let scope = std::mem::take(&mut self.scope);
        let value = self.expr(&scope, &source.value);
        self.scope = scope;
        self.declare(&source.name, Symbol::Value(value));
        if let Some(id) = value {
            let node = &mut self.recurrence.nodes[id.0];
            let named =
                matches!(node.op, Op::Input(_) | Op::State(_) | Op::Const(_) | Op::Extent(_));
            if !named && node.name.is_none() {
                node.name = Some(source.name.text.clone());
            }
        }
    }

    fn assign(
        &mut self,
        source: &Assign,
        program: &ast::Recurrence,
        output_shapes: &[Option<Vec<DimId>>],
    ) {
        let scope = std::mem::take(&mut self.scope);
        let value = self.expr(&scope, &source.value);
        self.scope = scope;
        let name = &source.target.text;
        let at = source.target.span.clone();
        let (slot, wanted, declared) = match (self.scope.get(name).map(|s| s.0), source.primed) {
            (Some(Symbol::State(id)), true) => {
                let state = &self.recurrence.states[id.0];
                (&mut self.updates[id.0], Some(state.dims.clone()), state.span.clone())
            }
            (Some(Symbol::Output(i)), false) => {
                (&mut self.outputs[i], output_shapes[i].clone(), program.outputs[i].span.clone())
            }
            (Some(Symbol::Broken), _) => return,
            (symbol, primed) => {
                let error = self.bad_target(&source.target, symbol, primed);
                self.report(error);
                return;
            }
        };
        if let Some((_, earlier)) = slot {
            let error = Diagnostic::new(Code::Unassigned, format!("`{name}` is assigned twice"))
                .at(at, "assigned again here")
                .with_label(earlier.clone(), "first assigned here")
                .with_help("name intermediate values with `let`");
            self.report(error);
            return;
        }
        *slot = Some((value, at));
        if let (Some(id), Some(wanted)) = (value, wanted) {
            self.expect_shape(id, &wanted, &source.value.span, &declared);
        }
    }

    /// The value itself; one whose dimensions are not those declared is reported.
    pub(super) fn expect_shape(
        &mut self,
        id: NodeId,
        wanted: &[DimId],
        at: &Span,
        declared: &Span,
    ) -> Value {
        let dims = &self.recurrence.node(id).dims;
        if dims == wanted {
            return Some(id);
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

    fn bad_target(&self, target: &Name, symbol: Option<Symbol>, primed: bool) -> Diagnostic {
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
                self.target_help(name, primed),
            ),
        };
        Diagnostic::new(code, message).at(target.span.clone(), "").with_help(help)
    }

    fn target_help(&self, name: &str, primed: bool) -> String {
        let states = self.recurrence.states.iter().map(|s| s.name.as_str());
        let outputs = self.recurrence.outputs.iter().map(|o| o.name.as_str());
        let candidates: Vec<&str> = if primed { states.collect() } else { outputs.collect() };
        did_you_mean(name, candidates).unwrap_or_else(|| match primed {
            true => format!("declare it with `state {name}: [K, V]`"),
            false => format!("write `let {name} = ..` for an intermediate value"),
        })
    }

    fn finish(mut self, source: &ast::Recurrence) -> Result<Recurrence, Vec<Diagnostic>> {
        for i in 0..self.updates.len() {
            if self.updates[i].is_none() {
                let State { name, span, .. } = self.recurrence.states[i].clone();
                let error = Diagnostic::new(
                    Code::Unassigned,
                    format!("the state `{name}` has no new value"),
                )
                .at(span, "declared here")
                .with_help(format!("assign `{name}'`; `{name}' = {name}` keeps it as it is"));
                self.report(error);
            }
        }
        for (i, output) in source.outputs.iter().enumerate() {
            if self.outputs[i].is_none() {
                let name = &output.name.text;
                let error =
                    Diagnostic::new(Code::Unassigned, format!("the output `{name}` has no value"))
                        .at(output.span.clone(), "declared here")
                        .with_help(format!("assign `{name} = ..`"));
                self.report(error);
            }
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let id = |slot: &Option<(Value, Span)>| {
            let value = slot.as_ref().and_then(|(value, _)| *value);
            value.expect("a program without errors assigns everything")
        };
        self.recurrence.updates = self.updates.iter().map(id).collect();
        for (output, slot) in self.recurrence.outputs.iter_mut().zip(&self.outputs) {
            output.node = id(slot);
        }
        nodes::prune(&mut self.recurrence);
        Ok(self.recurrence)
    }
}

/// Whether a dimension that is not known yet is thereby declared.
#[derive(Clone, Copy)]
enum NewDims {
    Declare,
    Refuse,
}
