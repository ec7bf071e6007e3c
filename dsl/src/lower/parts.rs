//! Real and complex values: a complex one is a pair of real nodes, and only lowering knows it.
//!
//! **Shape of a product.** `x * y` with `x = a + ib`, `y = c + id` becomes the nodes
//!
//! ```text
//! re = add (mul a c) (neg (mul b d))        im = add (mul a d) (mul b c)
//! ```
//!
//! with the left operand's parts first; `dot` and `outer` likewise. `polar(r, theta)` is
//! `a = mul r (cos theta)`, `b = mul r (sin theta)`; `exp(complex(g, theta))` and
//! `exp(g) * cis(theta)` are the same nodes with `r = exp g`, and `cis(theta)` alone has no `mul`. So
//! `polar(exp(g), theta) * S` is a rotation with decay that a pass can find: two nodes `a` and `b`, each
//! used by both parts, whose factors `r` are one node and whose angles are one node. A real factor
//! scales both parts: `r * y` is `mul r c`, `mul r d`.

use super::program::{Program, Value};
use crate::ast::Expr;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Binary, NodeId, Op, Unary, result_dims};

/// One thing for a real value, or one each for the real and the imaginary part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parts<T> {
    Real(T),
    Complex(T, T),
}

impl<T: Copy> Parts<T> {
    /// The parts of something real or complex, from their numbers 0 and 1.
    pub(super) fn of(complex: bool, mut part: impl FnMut(usize) -> T) -> Self {
        match complex {
            false => Parts::Real(part(0)),
            true => Parts::Complex(part(0), part(1)),
        }
    }

    /// The real part.
    pub(super) fn re(self) -> T {
        match self {
            Parts::Real(x) | Parts::Complex(x, _) => x,
        }
    }

    /// Whether there is an imaginary part.
    pub(super) fn is_complex(self) -> bool {
        matches!(self, Parts::Complex(..))
    }

    /// All parts.
    pub(super) fn list(self) -> Vec<T> {
        match self {
            Parts::Real(x) => vec![x],
            Parts::Complex(x, y) => vec![x, y],
        }
    }

    /// The same for each part.
    pub(super) fn map<U>(self, mut f: impl FnMut(T) -> U) -> Parts<U> {
        match self {
            Parts::Real(x) => Parts::Real(f(x)),
            Parts::Complex(x, y) => Parts::Complex(f(x), f(y)),
        }
    }

    /// The same for each part, unless it fails for one.
    pub(super) fn try_map<U>(self, mut f: impl FnMut(T) -> Option<U>) -> Option<Parts<U>> {
        Some(match self {
            Parts::Real(x) => Parts::Real(f(x)?),
            Parts::Complex(x, y) => Parts::Complex(f(x)?, f(y)?),
        })
    }
}

/// Names of the arrays of something: its own, or one for each part.
pub(super) fn array_names(name: &str, complex: bool) -> Vec<String> {
    match complex {
        false => vec![name.to_owned()],
        true => vec![format!("{name}_re"), format!("{name}_im")],
    }
}

/// An operand's value, and the operand as written.
pub(super) type Written<'e> = (Parts<NodeId>, &'e Expr);

impl Program<'_> {
    /// The value, which must be real; `at` is where it stands.
    pub(super) fn real(&mut self, value: Parts<NodeId>, at: &Span) -> Option<NodeId> {
        if let Parts::Real(node) = value {
            return Some(node);
        }
        let error = Diagnostic::new(Code::DtypeMismatch, "a real value is needed here")
            .at(at.clone(), "this is complex")
            .with_help("take `re(x)`, `im(x)` or `abs(x)`, or declare what receives it `complex`");
        self.report(error);
        None
    }

    /// The value as something declared real or complex takes it.
    pub(super) fn as_declared(
        &mut self,
        value: Parts<NodeId>,
        complex: bool,
        at: &Span,
    ) -> Option<Parts<NodeId>> {
        match (value, complex) {
            (value, false) => self.real(value, at).map(Parts::Real),
            (Parts::Real(re), true) => {
                let dims = self.recurrence.node(re).dims.clone();
                Some(Parts::Complex(re, self.filled(0.0, &dims, at)?))
            }
            (value, true) => Some(value),
        }
    }

    /// A product of any kind of two values; `op` multiplies two real ones.
    pub(super) fn product(
        &mut self,
        op: impl Fn(NodeId, NodeId) -> Op,
        (x, a): Written,
        (y, b): Written,
        span: &Span,
    ) -> Value {
        let mut of = |l, r| self.op_of(op(l, r), span, &[(x, a), (y, b)]);
        Some(match (x, y) {
            (Parts::Real(l), right) => right.try_map(|r| of(l, r))?,
            (left, Parts::Real(r)) => left.try_map(|l| of(l, r))?,
            (Parts::Complex(a, b), Parts::Complex(c, d)) => {
                let (ac, bd, ad, bc) = (of(a, c)?, of(b, d)?, of(a, d)?, of(b, c)?);
                let re = self.minus(ac, bd, span)?;
                Parts::Complex(re, self.op(Op::Binary(Binary::Add, ad, bc), span)?)
            }
        })
    }

    /// The sum of two values; `negate` makes it the difference, with the place of the right operand.
    pub(super) fn total(
        &mut self,
        (x, a): Written,
        (y, b): Written,
        negate: bool,
        span: &Span,
    ) -> Value {
        let y = match negate {
            true => y.try_map(|y| self.op(Op::Unary(Unary::Neg, y), &b.span))?,
            false => y,
        };
        let operands = [(x, a), (y, b)];
        let re = self.op_of(Op::Binary(Binary::Add, x.re(), y.re()), span, &operands)?;
        let im = match (x, y) {
            (Parts::Real(_), Parts::Real(_)) => return Some(Parts::Real(re)),
            (Parts::Complex(_, im), Parts::Real(_)) | (Parts::Real(_), Parts::Complex(_, im)) => im,
            (Parts::Complex(_, b), Parts::Complex(_, d)) => {
                self.op(Op::Binary(Binary::Add, b, d), span)?
            }
        };
        let dims = self.recurrence.node(re).dims.clone();
        Some(Parts::Complex(re, self.spread(im, &dims, span)?))
    }

    /// The quotient of two values: `x conj(y) / |y|^2` for a complex `y`.
    pub(super) fn quotient(&mut self, (x, a): Written, (y, b): Written, span: &Span) -> Value {
        let over = |l, r| Op::Binary(Binary::Div, l, r);
        let Parts::Complex(c, d) = y else {
            return x.try_map(|l| self.op_of(over(l, y.re()), span, &[(x, a), (y, b)]));
        };
        let minus_d = self.op(Op::Unary(Unary::Neg, d), &b.span)?;
        let conjugate = Parts::Complex(c, minus_d);
        let times = |l, r| Op::Binary(Binary::Mul, l, r);
        let above = self.product(times, (x, a), (conjugate, b), span)?;
        let below = self.squared_modulus(y, span)?;
        above.try_map(|part| self.op(over(part, below), span))
    }

    /// `re^2 + im^2`, or the square of a real value.
    pub(super) fn squared_modulus(&mut self, x: Parts<NodeId>, span: &Span) -> Option<NodeId> {
        let mut square = |part| self.op(Op::Binary(Binary::Mul, part, part), span);
        match x {
            Parts::Real(re) => square(re),
            Parts::Complex(re, im) => {
                let (re, im) = (square(re)?, square(im)?);
                self.op(Op::Binary(Binary::Add, re, im), span)
            }
        }
    }

    /// `r (cos theta + i sin theta)`; without `r` it is 1.
    pub(super) fn polar(&mut self, r: Option<NodeId>, theta: NodeId, span: &Span) -> Value {
        let mut part = |f| {
            let value = self.op(Op::Unary(f, theta), span)?;
            match r {
                Some(r) => self.op(Op::Binary(Binary::Mul, r, value), span),
                None => Some(value),
            }
        };
        Some(Parts::Complex(part(Unary::Cos)?, part(Unary::Sin)?))
    }

    /// A pointwise function of one argument.
    pub(super) fn unary(&mut self, f: Unary, (x, a): Written, span: &Span) -> Value {
        match (f, x) {
            (Unary::Neg, x) => x.try_map(|part| self.op(Op::Unary(f, part), span)),
            // What is known of decays is known of `exp`.
            (Unary::Exp2, x) => {
                let octave = self.op(Op::Const(std::f64::consts::LN_2), span)?;
                let x = x.try_map(|part| self.op(Op::Binary(Binary::Mul, part, octave), span))?;
                self.unary(Unary::Exp, (x, a), span)
            }
            (Unary::Exp, Parts::Complex(re, im)) => {
                let modulus = self.op(Op::Unary(Unary::Exp, re), span)?;
                self.polar(Some(modulus), im, span)
            }
            (Unary::Abs, Parts::Complex(..)) => {
                let square = self.squared_modulus(x, span)?;
                self.op(Op::Unary(Unary::Sqrt, square), span).map(Parts::Real)
            }
            (f, x) => {
                let x = self.real(x, &a.span)?;
                self.op(Op::Unary(f, x), span).map(Parts::Real)
            }
        }
    }

    /// The functions that make complex values and take them apart.
    pub(super) fn complex_function(
        &mut self,
        name: &str,
        values: &[Written],
        span: &Span,
    ) -> Value {
        let (x, a) = values[0];
        match (name, x) {
            ("re", x) => Some(Parts::Real(x.re())),
            ("im", Parts::Complex(_, im)) => Some(Parts::Real(im)),
            ("conj", Parts::Complex(re, im)) => {
                Some(Parts::Complex(re, self.op(Op::Unary(Unary::Neg, im), span)?))
            }
            ("conj", x) => Some(x),
            ("im", Parts::Real(x)) => {
                let dims = self.recurrence.node(x).dims.clone();
                self.filled(0.0, &dims, span).map(Parts::Real)
            }
            ("cis", x) => {
                let theta = self.real(x, &a.span)?;
                self.polar(None, theta, span)
            }
            (_, x) => {
                let (y, b) = values[1];
                let (x, y) = (self.real(x, &a.span), self.real(y, &b.span));
                let (x, y) = (x?, y?);
                // Both parts get the shape of their sum.
                let sum = Op::Binary(Binary::Add, x, y);
                let Ok(dims) = result_dims(&self.recurrence, &sum) else {
                    return self.op_of(sum, span, values).map(Parts::Real);
                };
                if name == "polar" {
                    return self.polar(Some(x), y, span);
                }
                Some(Parts::Complex(self.spread(x, &dims, span)?, self.spread(y, &dims, span)?))
            }
        }
    }
}
