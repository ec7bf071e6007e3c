//! Calls: primitive functions, composed functions expanded into primitive nodes, and user functions
//! expanded in place.

use super::program::{Program, Scope, Symbol, Value};
use crate::ast::{Expr, ExprKind, Function, Name};
use crate::suggest::did_you_mean;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Binary, DimId, NodeId, Op, Reduction, Unary};

/// Added to a mean or sum of squares before its root is divided by, so that zeros stay zeros.
const EPSILON: f64 = 1e-6;

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
    builtin("min", "min(a, b)", 2, 2),
    builtin("max", "max(a, b), or max(x, K) over a dimension", 1, 2),
    builtin("pow", "pow(a, b)", 2, 2),
    builtin("clamp", "clamp(x, lo, hi)", 3, 3),
    builtin("where", "where(condition, a, b)", 3, 3),
    builtin("dot", "dot(a, b), or dot(a, b, K) over a dimension", 2, 3),
    builtin("matvec", "matvec(a, b), or matvec(a, b, K) over a dimension", 2, 3),
    builtin("outer", "outer(x, y)", 2, 2),
    builtin("sum", "sum(x), or sum(x, K) over a dimension", 1, 2),
    builtin("mean", "mean(x), or mean(x, K) over a dimension", 1, 2),
    builtin("l2norm", "l2norm(x), or l2norm(x, K) over a dimension", 1, 2),
    builtin("rmsnorm", "rmsnorm(x), or rmsnorm(x, K) over a dimension", 1, 2),
    builtin("layernorm", "layernorm(x), or layernorm(x, K) over a dimension", 1, 2),
    builtin("softmax", "softmax(x), or softmax(x, K) over a dimension", 1, 2),
    builtin("logsumexp", "logsumexp(x), or logsumexp(x, K) over a dimension", 1, 2),
];

impl Program<'_> {
    /// The node of `name(args..)`.
    pub(super) fn call(&mut self, scope: &Scope, name: &Name, args: &[Expr], span: &Span) -> Value {
        let file = self.file;
        if let Some(function) = file.functions.get(name.text.as_str()) {
            return self.expand(scope, function, args, span);
        }
        if let Some(f) = Unary::from_name(&name.text) {
            self.expect_count(name, args, 1..=1, &format!("{}(x)", name.text))?;
            let x = self.expr(scope, &args[0])?;
            return self.op(Op::Unary(f, x), span);
        }
        let Some(builtin) = BUILTINS.iter().find(|b| b.name == name.text) else {
            let error = self.unknown_function(scope, name);
            self.report(error);
            return None;
        };
        self.expect_count(name, args, builtin.least..=builtin.most, builtin.usage)?;
        match (builtin.name, args) {
            ("max", [_, d]) if self.is_dim(scope, d) => self.over_dim(scope, name, args, span),
            ("min" | "max" | "pow" | "clamp" | "where" | "outer", [_, _, ..]) => {
                self.on_values(scope, name, args, span)
            }
            ("dot" | "matvec", _) => self.dot(scope, args, span),
            _ => self.over_dim(scope, name, args, span),
        }
    }

    fn expect_count(
        &mut self,
        name: &Name,
        args: &[Expr],
        count: std::ops::RangeInclusive<usize>,
        usage: &str,
    ) -> Option<()> {
        if count.contains(&args.len()) {
            return Some(());
        }
        let given = match args.len() {
            1 => "1 argument".to_owned(),
            n => format!("{n} arguments"),
        };
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
        if scope.contains_key(&name.text) {
            return error.with_help(format!("`{}` is a value: multiply with `*`", name.text));
        }
        let unary = Unary::ALL.iter().map(|f| f.name());
        let known = unary.chain(BUILTINS.iter().map(|b| b.name));
        match did_you_mean(&name.text, known.chain(self.file.functions.keys().copied())) {
            Some(help) => error.with_help(help),
            None => error.with_help(format!("define it with `fn {}(x) = ..`", name.text)),
        }
    }

    /// The arguments' nodes; all are looked at before giving up, so that all can be blamed.
    fn values(&mut self, scope: &Scope, args: &[Expr]) -> Option<Vec<NodeId>> {
        let values: Vec<Value> = args.iter().map(|a| self.expr(scope, a)).collect();
        values.into_iter().collect()
    }

    /// Functions whose arguments are all values.
    fn on_values(&mut self, scope: &Scope, name: &Name, args: &[Expr], span: &Span) -> Value {
        let values = self.values(scope, args)?;
        let (a, b) = (values[0], values[1]);
        let op = match name.text.as_str() {
            "min" => Op::Binary(Binary::Min, a, b),
            "max" => Op::Binary(Binary::Max, a, b),
            "pow" => Op::Binary(Binary::Pow, a, b),
            "outer" => Op::Outer(a, b),
            "where" => Op::Select(a, b, values[2]),
            _ => {
                let raised = self.op_of(
                    Op::Binary(Binary::Max, a, b),
                    span,
                    &[(a, &args[0]), (b, &args[1])],
                )?;
                Op::Binary(Binary::Min, raised, values[2])
            }
        };
        let written: Vec<(NodeId, &Expr)> = values.into_iter().zip(args).collect();
        self.op_of(op, span, &written)
    }

    fn dot(&mut self, scope: &Scope, args: &[Expr], span: &Span) -> Value {
        let (x, y) = (self.expr(scope, &args[0]), self.expr(scope, &args[1]));
        let (x, y) = (x?, y?);
        let dim = match args.get(2) {
            Some(arg) => self.dim_argument(scope, arg)?,
            None => self.common_dim((x, &args[0]), (y, &args[1]), span)?,
        };
        self.op_of(Op::Dot(x, y, dim), span, &[(x, &args[0]), (y, &args[1])])
    }

    /// The one dimension that both operands have.
    fn common_dim(
        &mut self,
        (x, a): (NodeId, &Expr),
        (y, b): (NodeId, &Expr),
        span: &Span,
    ) -> Option<DimId> {
        let (left, right) = (&self.recurrence.node(x).dims, &self.recurrence.node(y).dims);
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
                "the operands of `dot` have two dimensions in common",
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

    fn dim_argument(&mut self, scope: &Scope, arg: &Expr) -> Option<DimId> {
        if let ExprKind::Name(name) = &arg.kind
            && let Some(Symbol::Dim(id)) = self.resolve(scope, name)
        {
            return Some(id);
        }
        let dims = self.recurrence.dims.iter().map(|d| d.name.as_str()).collect::<Vec<_>>();
        let help = match &self.calls[..] {
            [] => format!("the dimensions are {}", dims.join(", ")),
            _ => "a function knows the dimensions that its parameters name".to_owned(),
        };
        let error = Diagnostic::new(Code::UnknownName, "the last argument is not a dimension")
            .at(arg.span.clone(), "")
            .with_help(help);
        self.report(error);
        None
    }

    /// Functions over one dimension: the one named, or the only one that the value has.
    fn over_dim(&mut self, scope: &Scope, name: &Name, args: &[Expr], span: &Span) -> Value {
        let x = self.expr(scope, &args[0])?;
        let dims = &self.recurrence.node(x).dims;
        let dim = match (args.get(1), &dims[..]) {
            (Some(arg), _) => self.dim_argument(scope, arg)?,
            (None, [only]) => *only,
            (None, _) => {
                let shape = self.recurrence.shape_text(dims);
                let error =
                    Diagnostic::new(Code::ShapeMismatch, format!("`{}` needs a vector", name.text))
                        .at(args[0].span.clone(), format!("this is {shape}"))
                        .with_help(format!("name a dimension, as in `{}(x, K)`", name.text));
                self.report(error);
                return None;
            }
        };
        // The first use of `dim` reports a value without it; every later one is then sound.
        match name.text.as_str() {
            "sum" => self.op_of(Op::Reduce(Reduction::Sum, x, dim), span, &[(x, &args[0])]),
            "max" => self.op_of(Op::Reduce(Reduction::Max, x, dim), span, &[(x, &args[0])]),
            "mean" => self.mean(x, dim, span),
            "l2norm" => {
                let squares = self.op(Op::Binary(Binary::Mul, x, x), span)?;
                let total = self.op(Op::Reduce(Reduction::Sum, squares, dim), span)?;
                self.over_root(x, total, span)
            }
            "rmsnorm" => self.over_root_mean_square(x, dim, span),
            "layernorm" => {
                let mean = self.mean(x, dim, span)?;
                let centred = self.minus(x, mean, span)?;
                self.over_root_mean_square(centred, dim, span)
            }
            "softmax" => {
                let (_, weights, total) = self.exponentials(x, dim, span)?;
                self.op(Op::Binary(Binary::Div, weights, total), span)
            }
            _ => {
                let (largest, _, total) = self.exponentials(x, dim, span)?;
                let rest = self.op(Op::Unary(Unary::Log, total), span)?;
                self.op(Op::Binary(Binary::Add, largest, rest), span)
            }
        }
    }

    fn minus(&mut self, a: NodeId, b: NodeId, span: &Span) -> Value {
        let negated = self.op(Op::Unary(Unary::Neg, b), span)?;
        self.op(Op::Binary(Binary::Add, a, negated), span)
    }

    fn mean(&mut self, x: NodeId, dim: DimId, span: &Span) -> Value {
        let total = self.op(Op::Reduce(Reduction::Sum, x, dim), span)?;
        let count = self.op(Op::Extent(dim), span)?;
        self.op(Op::Binary(Binary::Div, total, count), span)
    }

    /// `x / sqrt(square + EPSILON)`.
    fn over_root(&mut self, x: NodeId, square: NodeId, span: &Span) -> Value {
        let epsilon = self.op(Op::Const(EPSILON), span)?;
        let safe = self.op(Op::Binary(Binary::Add, square, epsilon), span)?;
        let scale = self.op(Op::Unary(Unary::Rsqrt, safe), span)?;
        self.op(Op::Binary(Binary::Mul, x, scale), span)
    }

    fn over_root_mean_square(&mut self, x: NodeId, dim: DimId, span: &Span) -> Value {
        let squares = self.op(Op::Binary(Binary::Mul, x, x), span)?;
        let mean = self.mean(squares, dim, span)?;
        self.over_root(x, mean, span)
    }

    /// The largest element, `exp(x - largest)`, and the sum of those.
    fn exponentials(
        &mut self,
        x: NodeId,
        dim: DimId,
        span: &Span,
    ) -> Option<(NodeId, NodeId, NodeId)> {
        let largest = self.op(Op::Reduce(Reduction::Max, x, dim), span)?;
        let shifted = self.minus(x, largest, span)?;
        let weights = self.op(Op::Unary(Unary::Exp, shifted), span)?;
        let total = self.op(Op::Reduce(Reduction::Sum, weights, dim), span)?;
        Some((largest, weights, total))
    }

    /// A user function in place of its call: parameters mean the arguments, and the dimensions of a
    /// parameter's shape mean the argument's.
    fn expand(&mut self, scope: &Scope, function: &Function, args: &[Expr], span: &Span) -> Value {
        let names: Vec<&str> = function.params.iter().map(|p| p.name.text.as_str()).collect();
        let usage = format!("{}({})", function.name.text, names.join(", "));
        let called = Name { span: span.clone(), ..function.name.clone() };
        self.expect_count(&called, args, names.len()..=names.len(), &usage)?;
        let values = self.values(scope, args)?;
        let inner = self.bind(function, args, &values)?;
        self.calls.push(span.clone());
        let value = self.function_value(function, inner);
        self.calls.pop();
        value
    }

    /// The scope in which a function's body is read.
    fn bind(&mut self, function: &Function, args: &[Expr], values: &[NodeId]) -> Option<Scope> {
        let mut inner = Scope::new();
        for ((param, arg), value) in function.params.iter().zip(args).zip(values) {
            self.bind_name(&mut inner, &param.name, Symbol::Value(Some(*value)))?;
            let Some(shape) = &param.shape else { continue };
            let dims = self.recurrence.node(*value).dims.clone();
            let mut fits = dims.len() == shape.dims.len();
            for (name, dim) in shape.dims.iter().zip(&dims) {
                match self.resolve(&inner, &name.text) {
                    Some(Symbol::Dim(bound)) => fits &= bound == *dim,
                    Some(_) => self.bind_name(&mut inner, name, Symbol::Broken)?,
                    None => self.bind_name(&mut inner, name, Symbol::Dim(*dim))?,
                }
            }
            if !fits {
                let is = self.recurrence.shape_text(&dims);
                let message = format!("the argument `{}` has the wrong shape", param.name.text);
                let error = Diagnostic::new(Code::ShapeMismatch, message)
                    .at(arg.span.clone(), format!("this is {is}"))
                    .with_label(shape.span.clone(), "the parameter's shape")
                    .with_help(
                        "one name of a dimension stands for one dimension in all parameters",
                    );
                self.report(error);
                return None;
            }
        }
        Some(inner)
    }

    fn bind_name(&mut self, inner: &mut Scope, name: &Name, symbol: Symbol) -> Option<()> {
        if let Some((_, earlier)) = inner.get(&name.text) {
            let error = super::file::twice(name, &earlier.clone());
            self.report(error);
            return None;
        }
        inner.insert(name.text.clone(), (symbol, name.span.clone()));
        Some(())
    }

    fn function_value(&mut self, function: &Function, mut inner: Scope) -> Value {
        for statement in &function.lets {
            let value = self.expr(&inner, &statement.value);
            self.bind_name(&mut inner, &statement.name, Symbol::Value(value))?;
        }
        let value = self.expr(&inner, &function.value)?;
        if let Some(shape) = &function.result {
            let wanted: Option<Vec<DimId>> = shape
                .dims
                .iter()
                .map(|name| {
                    let arg =
                        Expr { kind: ExprKind::Name(name.text.clone()), span: name.span.clone() };
                    self.dim_argument(&inner, &arg)
                })
                .collect();
            return self.expect_shape(value, &wanted?, &function.value.span, &shape.span);
        }
        Some(value)
    }
}
