//! Calls: which function a name means, and how many arguments it takes.

use super::files::Callee;
use super::parts::{Parts, Written};
use super::program::{Program, Scope, Symbol, Value};
use crate::ast::{self, Expr, ExprKind, Name};
use crate::suggest::did_you_mean;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Binary, DimId, NodeId, Op, Unary};

/// A function of the language that is not pointwise in one argument.
pub(super) struct Builtin {
    pub(super) name: &'static str,
    usage: &'static str,
    least: usize,
    most: usize,
}

const fn builtin(name: &'static str, usage: &'static str, least: usize, most: usize) -> Builtin {
    Builtin { name, usage, least, most }
}

/// All of them; the pointwise functions of one argument are `ir::pointwise::Unary`.
pub(super) const BUILTINS: &[Builtin] = &[
    builtin("min", "min(a, b), or min(x, K) over a dimension", 1, 2),
    builtin("max", "max(a, b), or max(x, K) over a dimension", 1, 2),
    builtin("pow", "pow(a, b)", 2, 2),
    builtin("logaddexp", "logaddexp(a, b)", 2, 2),
    builtin("clamp", "clamp(x, lo, hi)", 3, 3),
    builtin("where", "where(condition, a, b)", 3, 3),
    builtin("dot", "dot(a, b), or dot(a, b, K) over a dimension", 2, 3),
    builtin("matvec", "matvec(a, b), or matvec(a, b, K) over a dimension", 2, 3),
    builtin("outer", "outer(x, y)", 2, 2),
    builtin("sum", "sum(x), or sum(x, K) over a dimension", 1, 2),
    builtin("mean", "mean(x), or mean(x, K) over a dimension", 1, 2),
    builtin("norm", "norm(x), or norm(x, K) over a dimension", 1, 2),
    builtin("l2norm", "l2norm(x), or l2norm(x, K) over a dimension", 1, 2),
    builtin("rmsnorm", "rmsnorm(x), or rmsnorm(x, K) over a dimension", 1, 2),
    builtin("layernorm", "layernorm(x), or layernorm(x, K) over a dimension", 1, 2),
    builtin("softmax", "softmax(x), or softmax(x, K) over a dimension", 1, 2),
    builtin("logsumexp", "logsumexp(x), or logsumexp(x, K) over a dimension", 1, 2),
    builtin("index", "index(K)", 1, 1),
    builtin("spread", "spread(x, [A, B])", 2, 2),
    builtin("reshape", "reshape(x, [A, B])", 2, 2),
    builtin("concat", "concat(a, b, F), or concat(a, b, A, B, F) along `A` and `B`", 3, 5),
    builtin("slice", "slice(x, K, P, i): the `i`th run of size `P` along `K`", 4, 4),
    builtin("push", "push(window, x)", 2, 2),
    builtin("topk", "topk(x, n), or topk(x, n, K) over a dimension", 2, 3),
    builtin("matrix_exp", "matrix_exp(A)", 1, 1),
    builtin("inverse", "inverse(A)", 1, 1),
    builtin("complex", "complex(re, im)", 2, 2),
    builtin("polar", "polar(r, theta)", 2, 2),
    builtin("cis", "cis(theta)", 1, 1),
    builtin("re", "re(x)", 1, 1),
    builtin("im", "im(x)", 1, 1),
    builtin("conj", "conj(x)", 1, 1),
    builtin("last", "last(S)", 1, 1),
];

impl<'a> Program<'a> {
    /// The value of `name(args..)`.
    pub(super) fn call(&mut self, scope: &Scope, name: &Name, args: &[Expr], span: &Span) -> Value {
        match self.files.callee(scope.file, &name.text) {
            Some(Callee::Function(file, function)) => {
                return self.expand(scope, (file, function), args, span);
            }
            Some(Callee::Ambiguous(first, second)) => {
                let error = ambiguous(name, first, second);
                self.report(error);
                return None;
            }
            // A function of the language hides a recurrence of its name.
            Some(Callee::Recurrence(..)) if builtin_usage(&name.text).is_none() => {
                let error = nested(name, scope.function);
                self.report(error);
                return None;
            }
            Some(Callee::Recurrence(..)) | None => {}
        }
        self.expect_count(scope, name, args.len())?;
        if let Some(f) = Unary::from_name(&name.text) {
            let x = self.expr(scope, &args[0])?;
            return self.unary(f, (x, &args[0]), span);
        }
        match (name.text.as_str(), args) {
            ("min" | "max", [_, d]) if self.is_dim(scope, d) => {
                self.over_dim(scope, name, args, span)
            }
            ("min" | "max" | "pow" | "logaddexp" | "clamp" | "where" | "outer", [_, _, ..])
            | ("complex" | "polar" | "cis" | "re" | "im" | "conj" | "push", _) => {
                let values = self.values(scope, args)?;
                let written: Vec<Written> = values.into_iter().zip(args).collect();
                self.on_values(&name.text, &written, span)
            }
            ("dot" | "matvec", _) => self.dot(scope, args, span),
            ("index", [dim]) => {
                let dim = self.dim_argument(scope, dim)?;
                self.op(Op::Index(dim), span).map(Parts::Real)
            }
            ("last", [state]) => self.last(scope, state, span),
            ("spread" | "reshape" | "concat" | "slice" | "topk" | "matrix_exp" | "inverse", _) => {
                self.arrangement(scope, name, args, span)
            }
            _ => self.over_dim(scope, name, args, span),
        }
    }

    /// The recurrence that a name calls, with its file; a function of the language hides it.
    pub(super) fn recurrence_named(
        &self,
        file: usize,
        name: &Name,
    ) -> Option<(usize, &'a ast::Recurrence)> {
        match self.files.callee(file, &name.text) {
            Some(Callee::Recurrence(file, source)) if builtin_usage(&name.text).is_none() => {
                Some((file, source))
            }
            _ => None,
        }
    }

    /// Checks that a function of the language exists and takes so many arguments.
    pub(super) fn expect_count(&mut self, scope: &Scope, name: &Name, count: usize) -> Option<()> {
        if Unary::from_name(&name.text).is_some() {
            let usage = format!("{}(x)", name.text);
            return self.expect_arguments(name, count, 1..=1, &usage);
        }
        if let Some(builtin) = BUILTINS.iter().find(|b| b.name == name.text) {
            return self.expect_arguments(name, count, builtin.least..=builtin.most, builtin.usage);
        }
        let error = self.unknown_function(scope, name);
        self.report(error);
        None
    }

    pub(super) fn expect_arguments(
        &mut self,
        name: &Name,
        given: usize,
        count: std::ops::RangeInclusive<usize>,
        usage: &str,
    ) -> Option<()> {
        if count.contains(&given) {
            return Some(());
        }
        let given = if given == 1 { "1 argument" } else { &format!("{given} arguments") };
        let error =
            Diagnostic::new(Code::BadCall, format!("`{}` does not take {given}", name.text))
                .at(name.span.clone(), "")
                .with_help(format!("write `{usage}`"));
        self.report(error);
        None
    }

    fn unknown_function(&self, scope: &Scope, name: &Name) -> Diagnostic {
        let error = Diagnostic::new(Code::BadCall, format!("unknown function `{}`", name.text))
            .at(name.span.clone(), "");
        if scope.get(&name.text).is_some() {
            return error.with_help(format!("`{}` is a value: multiply with `*`", name.text));
        }
        let unary = Unary::ALL.iter().map(|f| f.name());
        let known = unary.chain(BUILTINS.iter().map(|b| b.name));
        match did_you_mean(&name.text, known.chain(self.files.callable(scope.file))) {
            Some(help) => error.with_help(help),
            None => error.with_help(format!(
                "define it with `fn {}(x) = ..`, or name its file with `use`",
                name.text
            )),
        }
    }

    /// The arguments' values; all are looked at before giving up, so that all can be blamed.
    pub(super) fn values(&mut self, scope: &Scope, args: &[Expr]) -> Option<Vec<Parts<NodeId>>> {
        let values: Vec<Value> = args.iter().map(|a| self.expr(scope, a)).collect();
        values.into_iter().collect()
    }

    /// Functions whose arguments are all values.
    fn on_values(&mut self, name: &str, values: &[Written], span: &Span) -> Value {
        let (x, _) = values[0];
        match (name, values) {
            ("complex" | "polar" | "cis" | "re" | "im" | "conj", _) => {
                self.complex_function(name, values, span)
            }
            ("outer", [a, b]) => self.product(Op::Outer, *a, *b, span),
            ("push", [(_, _), (entry, _)]) if x.is_complex() == entry.is_complex() => {
                let mut entries = entry.list().into_iter();
                x.try_map(|window| self.op_of(Op::Push(window, entries.next()?), span, values))
            }
            ("push", [(_, a), (entry, b)]) => {
                self.real(x, &a.span)?;
                self.real(*entry, &b.span).map(Parts::Real)
            }
            ("where", [(c, a), yes, no]) => self.select((*c, a), *yes, *no, span),
            ("clamp", [(_, a), (lo, b), (hi, c)]) => {
                let (x, lo) = (self.real(x, &a.span), self.real(*lo, &b.span));
                let hi = self.real(*hi, &c.span);
                let (x, lo, hi) = (x?, lo?, hi?);
                let raised = self.op_of(Op::Binary(Binary::Max, x, lo), span, &values[..2])?;
                let op = Op::Binary(Binary::Min, raised, hi);
                self.op_of(op, span, values).map(Parts::Real)
            }
            (_, [a, b]) => {
                let f = Binary::from_name(name)?;
                self.binary(f, *a, *b, span)
            }
            _ => None,
        }
    }

    fn select(&mut self, (c, a): Written, yes: Written, no: Written, span: &Span) -> Value {
        let c = self.real(c, &a.span)?;
        let complex = yes.0.is_complex() || no.0.is_complex();
        let (x, y) = (
            self.as_declared(yes.0, complex, &yes.1.span)?,
            self.as_declared(no.0, complex, &no.1.span)?,
        );
        let operands = [(Parts::Real(c), a), yes, no];
        let mut others = y.list().into_iter();
        x.try_map(|x| self.op_of(Op::Select(c, x, others.next()?), span, &operands))
    }

    fn dot(&mut self, scope: &Scope, args: &[Expr], span: &Span) -> Value {
        let (x, y) = (self.expr(scope, &args[0]), self.expr(scope, &args[1]));
        let (x, y) = ((x?, &args[0]), (y?, &args[1]));
        let dim = match args.get(2) {
            Some(arg) => self.dim_argument(scope, arg)?,
            None => self.common_dim(x, y, span)?,
        };
        self.product(|l, r| Op::Dot(l, r, dim), x, y, span)
    }

    /// The one dimension that both operands have.
    fn common_dim(&mut self, (x, a): Written, (y, b): Written, span: &Span) -> Option<DimId> {
        let left = &self.recurrence.node(x.re()).dims;
        let right = &self.recurrence.node(y.re()).dims;
        let common: Vec<DimId> = left.iter().copied().filter(|d| right.contains(d)).collect();
        let (reason, help) = match common[..] {
            [one] => return Some(one),
            [] if left.is_empty() || right.is_empty() => {
                ("`dot` has nothing to contract in a scalar", "multiply with `*`".to_owned())
            }
            [] => (
                "the operands of `dot` have no dimension in common",
                "`outer(x, y)` makes a matrix of two vectors".to_owned(),
            ),
            [first, ..] => (
                "the operands of `dot` have several dimensions in common",
                format!("name one, as in `dot(a, b, {})`", self.recurrence.dims[first.0].name),
            ),
        };
        let (left, right) = (self.recurrence.shape_text(left), self.recurrence.shape_text(right));
        let error = Diagnostic::new(Code::ShapeMismatch, reason)
            .at(span.clone(), "")
            .with_label(a.span.clone(), format!("this is {left}"))
            .with_label(b.span.clone(), format!("this is {right}"))
            .with_help(help);
        self.report(error);
        None
    }

    fn is_dim(&mut self, scope: &Scope, arg: &Expr) -> bool {
        match &arg.kind {
            ExprKind::Name(name) => matches!(self.resolve(scope, name), Some(Symbol::Dim(_))),
            _ => false,
        }
    }

    /// An argument that names a dimension.
    pub(super) fn dim_argument(&mut self, scope: &Scope, arg: &Expr) -> Option<DimId> {
        if let ExprKind::Name(name) = &arg.kind
            && let Some(Symbol::Dim(id)) = self.resolve(scope, name)
        {
            return Some(id);
        }
        let dims = self.recurrence.dims.iter().map(|d| d.name.as_str()).collect::<Vec<_>>();
        let help = match scope.function {
            false => format!("the dimensions are {}", dims.join(", ")),
            true => "a function knows the dimensions that its parameters name".to_owned(),
        };
        let error = Diagnostic::new(Code::UnknownName, "this argument is not a dimension")
            .at(arg.span.clone(), "")
            .with_help(help);
        self.report(error);
        None
    }
}

/// How a function of the language is called, if there is one of that name.
fn builtin_usage(name: &str) -> Option<&'static str> {
    let builtin = BUILTINS.iter().find(|b| b.name == name).map(|b| b.usage);
    builtin.or_else(|| Unary::from_name(name).map(|f| f.name()))
}

/// The error for a name that two files declare.
pub(super) fn ambiguous(name: &Name, first: &str, second: &str) -> Diagnostic {
    let message = format!("`{}` is declared by both `{first}` and `{second}`", name.text);
    Diagnostic::new(Code::DuplicateName, message)
        .at(name.span.clone(), "")
        .with_help("use only one of the two files, or declare the name in this file")
}

/// The error for a recurrence that is called inside an expression.
pub(super) fn nested(name: &Name, in_function: bool) -> Diagnostic {
    let message = match in_function {
        true => format!("a function cannot call the recurrence `{}`", name.text),
        false => format!("the recurrence `{}` is called inside an expression", name.text),
    };
    Diagnostic::new(Code::BadCall, message)
        .at(name.span.clone(), "")
        .with_help(format!("in a recurrence, write `let y = {}(..)` and use `y`", name.text))
}
