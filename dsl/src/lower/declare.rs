//! Declarations of a program: inputs, states, outputs.

use super::body::Frame;
use super::dims::NewDims;
use super::parts::{Parts, array_names};
use super::program::{MAX_STATES, Program, Scope, Symbol};
use crate::ast::{self, Initial, Name};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::{
    DimId, Init, Input, InputId, Interval, Op, Order, Rate, Sharing, State, StateId,
};

/// What is known of an output before it has a value.
pub(super) struct Declared {
    /// Its dimensions, unless they were reported as wrong.
    pub(super) dims: Option<Vec<DimId>>,
    /// Its element type, if it asks for one.
    pub(super) dtype: Option<Dtype>,
}

impl<'a> Program<'a> {
    /// An input of the program itself.
    pub(super) fn input(&mut self, scope: &mut Scope, source: &ast::Input) {
        let dims = self.shape(scope, &source.shape, NewDims::Declare);
        let range = source.range.as_ref().map_or(Interval::ALL, |range| self.range(range));
        let dtype = self.dtype(source.dtype.as_ref());
        if let Some(sharing) = source.sharing.as_ref().filter(|s| s.text != "group") {
            let message = format!("an input cannot be shared by `{}`", sharing.text);
            let error = Diagnostic::new(Code::UnknownName, message)
                .at(sharing.span.clone(), "")
                .with_help("write `by group`, or nothing for a value per head");
            self.report(error);
        }
        let first = self.recurrence.inputs.len();
        let ids = Parts::of(source.shape.complex, |part| InputId(first + part));
        let symbol = if dims.is_some() { Symbol::Input(ids) } else { Symbol::Broken };
        self.declare(scope, &source.name, symbol);
        for name in array_names(&source.name.text, source.shape.complex) {
            self.declare_array(&name, &source.name.span);
            self.recurrence.inputs.push(Input {
                name,
                dims: dims.clone().unwrap_or_default(),
                sharing: if source.sharing.is_some() { Sharing::Group } else { Sharing::Head },
                rate: if source.param.is_some() { Rate::Model } else { Rate::Token },
                dtype,
                range,
                doc: source.doc.clone(),
                span: source.span.clone(),
            });
        }
    }

    /// A state, of the program itself or of a recurrence that it calls.
    pub(super) fn state(&mut self, frame: &mut Frame<'a>, source: &ast::State) {
        if self.recurrence.states.len() > MAX_STATES {
            let error = Diagnostic::new(Code::TooLarge, "the program has too many states")
                .at(source.span.clone(), "")
                .with_help("every call of a recurrence adds its states");
            self.report(error);
            return frame.scope.set(&source.name.text, Symbol::Broken, &source.name.span);
        }
        let dims = self.shape(&mut frame.scope, &source.shape, NewDims::Declare);
        let order = self.order(frame, &source.order);
        let range = source.range.as_ref().map(|range| self.range(range));
        let complex = source.shape.complex;
        let constant =
            |re| Parts::of(complex, |part| Init::Value(if part == 0 { re } else { 0.0 }));
        let init = match (&source.init, &dims) {
            (Some(Initial::Name(name)), Some(dims)) => self.learned(frame, source, name, dims),
            (Some(Initial::Number(number)), _) => Some(constant(number.value)),
            _ => Some(constant(0.0)),
        };
        let first = self.recurrence.states.len();
        let ids = Parts::of(complex, |part| StateId(first + part));
        let fits = dims.is_some() && order.is_some() && init.is_some();
        let symbol = if fits { Symbol::State(ids) } else { Symbol::Broken };
        let declared = self.declare(&mut frame.scope, &source.name, symbol).is_some() && fits;
        let init = init.unwrap_or_else(|| constant(0.0)).list();
        let name = format!("{}{}", frame.prefix, source.name.text);
        // The name of a state that a call adds is made by that call.
        let named = self.calls.last().map_or(&source.name.span, |call| &call.span).clone();
        for (name, init) in array_names(&name, complex).into_iter().zip(init) {
            self.declare_array(&name, &named);
            let span = self.place(&source.span);
            self.recurrence.states.push(State {
                name,
                dims: dims.clone().unwrap_or_default(),
                init,
                range,
                order: order.unwrap_or_default(),
                doc: source.doc.clone(),
                span: span.clone(),
            });
            // A state that was blamed already is not asked for its new value.
            self.updates.push((!declared).then_some((None, span)));
        }
    }

    /// The per-model input from which a state starts.
    fn learned(
        &mut self,
        frame: &Frame<'a>,
        source: &ast::State,
        name: &Name,
        dims: &[DimId],
    ) -> Option<Parts<Init>> {
        let complex = source.shape.complex;
        let found = match self.resolve(&frame.scope, &name.text) {
            Some(Symbol::Input(ids)) => Some(ids.map(Init::Input)),
            // In a recurrence that is called, the inputs stand for the caller's values.
            Some(Symbol::Value(Some(value))) => {
                value.try_map(|node| match self.recurrence.node(node).op {
                    Op::Input(id) => Some(Init::Input(id)),
                    Op::Const(x) => Some(Init::Value(x)),
                    _ => None,
                })
            }
            Some(Symbol::Value(None) | Symbol::Broken) => return None,
            Some(_) => None,
            None => {
                let error = self.unknown(&frame.scope, &name.text, &name.span);
                self.report(error);
                return None;
            }
        };
        let fits = |init: Init| match init {
            Init::Value(_) | Init::Identity => true,
            Init::Input(id) => {
                let input = &self.recurrence.inputs[id.0];
                input.rate == Rate::Model && input.dims == dims
            }
        };
        let found = found.filter(|parts| parts.list().into_iter().all(fits));
        let found = match found {
            Some(Parts::Real(re)) if complex => Some(Parts::Complex(re, Init::Value(0.0))),
            found => found.filter(|parts| parts.is_complex() == complex),
        };
        if found.is_none() {
            let shape = self.recurrence.shape_text(dims);
            let message = format!("`{}` is not a number or a `param` of {shape}", name.text);
            let error = Diagnostic::new(Code::ShapeMismatch, message)
                .at(name.span.clone(), "")
                .with_label(source.shape.span.clone(), "the state's shape")
                .with_help(format!(
                    "a state starts from a number or from `param {}: {shape}`",
                    name.text
                ));
            self.report(error);
        }
        found
    }

    fn order(&mut self, frame: &Frame<'a>, source: &ast::Order) -> Option<Order> {
        let reverse = source.reverse != frame.reversed;
        Some(match &source.columns {
            None if reverse => Order::Reverse,
            None => Order::Forward,
            Some(columns) => {
                let dim = self.known_dim(&frame.scope, columns)?;
                if reverse { Order::ReverseColumns(dim) } else { Order::Columns(dim) }
            }
        })
    }

    /// Declares an output; its dimensions must be known from inputs or states.
    pub(super) fn output(&mut self, frame: &mut Frame<'a>, source: &ast::Output) -> Declared {
        let dims = self.shape(&mut frame.scope, &source.shape, NewDims::Refuse);
        let dtype = self.dtype(source.dtype.as_ref());
        let declared = self.declare(&mut frame.scope, &source.name, Symbol::Output(None)).is_some();
        if self.calls.is_empty() {
            for name in array_names(&source.name.text, source.shape.complex) {
                self.declare_array(&name, &source.name.span);
            }
        }
        frame.outputs.push((!declared).then(|| (None, source.span.clone())));
        Declared { dims, dtype }
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

    fn range(&mut self, range: &ast::Range) -> Interval {
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
}
