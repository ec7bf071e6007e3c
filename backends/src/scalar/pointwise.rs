//! Pointwise expressions at one element of a destination.

use super::build::{BUILDS, Int, Real};
use super::entry::{Emitter, Place};
use inkwell::FloatPredicate;
use sluice_ir::kernel::{Arg, Body, Expr, View};
use sluice_ir::pointwise::{Binary, Unary};

/// The element of a destination that an expression is for.
#[derive(Clone, Copy)]
pub(super) struct Spot<'c> {
    /// `[blocks, rows, cols]` of the destination.
    pub(super) shape: [usize; 3],
    pub(super) index: [Int<'c>; 3],
    pub(super) place: Place<'c>,
}

/// What an expression is evaluated for.
#[derive(Clone, Copy)]
pub(super) enum Site<'c, 's> {
    /// An element of a view.
    Element(Spot<'c>),
    /// A point of a nest, by the indices of its loops.
    Point(&'s [Int<'c>]),
}

impl<'c> Emitter<'c, '_> {
    pub(super) fn map(&self, dst: View, body: &Body, place: Place<'c>) {
        let shape = self.kernel.shape(dst);
        self.build.each(shape, |index| {
            let value = self.body(body, Spot { shape, index, place }, None);
            self.write(dst, index, value, place);
        });
    }

    /// The value of a body; `sum` is argument 0 of a product's `then`.
    pub(super) fn body(&self, body: &Body, spot: Spot<'c>, sum: Option<Real<'c>>) -> Real<'c> {
        let read = |arg: &Arg| self.argument(*arg, spot);
        let args: Vec<_> = sum.into_iter().chain(body.args.iter().map(read)).collect();
        self.value(&body.expr, &args, Site::Element(spot))
    }

    fn argument(&self, arg: Arg, spot: Spot<'c>) -> Real<'c> {
        let b = &self.build;
        let [blocks, rows, cols] = self.kernel.shape(arg.view);
        let ([n, r, c], [to_blocks, to_rows, to_cols]) = (spot.index, spot.shape);
        // Elements are repeated consecutively, so an index shrinks by the ratio of the extents.
        let shrink = |index, to: usize, from: usize| match to / from {
            1 => index,
            ratio => b.div(index, b.int(ratio)),
        };
        let (row, col) = if arg.transposed {
            (shrink(c, to_cols, rows), shrink(r, to_rows, cols))
        } else {
            (shrink(r, to_rows, rows), shrink(c, to_cols, cols))
        };
        self.read(arg.view, [shrink(n, to_blocks, blocks), row, col], spot.place)
    }

    /// The value of an expression for the values of its arguments.
    pub(super) fn value(&self, expr: &Expr, args: &[Real<'c>], site: Site<'c, '_>) -> Real<'c> {
        let b = &self.build;
        let value = |e: &Expr| self.value(e, args, site);
        match (expr, site) {
            (Expr::Arg(i), _) => args[*i],
            (Expr::Const(x), _) => b.number(*x),
            (Expr::Unary(f, x), _) => self.unary(*f, value(x)),
            (Expr::Binary(f, x, y), _) => self.binary(*f, value(x), value(y)),
            (Expr::Select(condition, yes, no), _) => {
                let zero = b.number(0.0);
                let holds = b.fcompare(FloatPredicate::UNE, value(condition), zero);
                b.choose(holds, value(yes), value(no))
            }
            (Expr::Keep { mask, row_step, col_step, value: inner }, Site::Element(spot)) => {
                let row = b.div(spot.index[1], b.int(*row_step));
                let col = b.div(spot.index[2], b.int(*col_step));
                b.choose(self.holds(*mask, row, col), value(inner), b.number(0.0))
            }
            (Expr::Live { rows, value: inner }, Site::Element(spot)) => {
                let row = b.offset(spot.index[0], spot.shape[1], spot.index[1]);
                let exists = self.token_exists(spot.place, b.div(row, b.int(*rows)));
                b.choose(exists, value(inner), b.number(0.0))
            }
            (Expr::Index(i), Site::Point(loops)) => {
                b.raw.build_unsigned_int_to_float(loops[*i], b.real, "").expect(BUILDS)
            }
            (Expr::Index(_), Site::Element(_))
            | (Expr::Keep { .. } | Expr::Live { .. }, Site::Point(_)) => {
                unreachable!("a checked expression fits where it stands")
            }
        }
    }

    fn unary(&self, f: Unary, x: Real<'c>) -> Real<'c> {
        let b = &self.build;
        let one = b.number(1.0);
        let zero = b.number(0.0);
        match f {
            Unary::Neg => b.fneg(x),
            Unary::Exp => self.exp(x),
            Unary::Exp2 => self.exp2(x),
            Unary::Log => b.intrinsic("llvm.log", &[x]),
            Unary::Recip => b.fdiv(one, x),
            Unary::Sigmoid => b.fdiv(one, b.fadd(one, self.exp(b.fneg(x)))),
            Unary::LogSigmoid => b.fneg(self.softplus(b.fneg(x))),
            Unary::Softplus => self.softplus(x),
            Unary::Silu => b.fmul(x, self.unary(Unary::Sigmoid, x)),
            Unary::Relu => b.intrinsic("llvm.maxnum", &[x, zero]),
            Unary::Elu => {
                let positive = b.fcompare(FloatPredicate::OGT, x, zero);
                b.choose(positive, x, b.library("expm1", x))
            }
            Unary::Tanh => b.intrinsic("llvm.tanh", &[x]),
            Unary::Sqrt => b.intrinsic("llvm.sqrt", &[x]),
            Unary::Rsqrt => b.fdiv(one, b.intrinsic("llvm.sqrt", &[x])),
            Unary::Abs => b.intrinsic("llvm.fabs", &[x]),
            Unary::Cos => b.intrinsic("llvm.cos", &[x]),
            Unary::Sin => b.intrinsic("llvm.sin", &[x]),
            Unary::Expm1 => b.library("expm1", x),
            Unary::Log1p => b.library("log1p", x),
            Unary::Floor => b.intrinsic("llvm.floor", &[x]),
            Unary::Sign => {
                let nonzero = b.fcompare(FloatPredicate::UNE, x, zero);
                b.choose(nonzero, b.intrinsic("llvm.copysign", &[one, x]), zero)
            }
        }
    }

    pub(super) fn exp2(&self, x: Real<'c>) -> Real<'c> {
        self.build.intrinsic("llvm.exp2", &[x])
    }

    fn exp(&self, x: Real<'c>) -> Real<'c> {
        self.build.intrinsic("llvm.exp", &[x])
    }

    /// `max(x, 0) + log(1 + e^-|x|)`, which neither overflows nor cancels.
    fn softplus(&self, x: Real<'c>) -> Real<'c> {
        let b = &self.build;
        let tail = self.exp(b.fneg(b.intrinsic("llvm.fabs", &[x])));
        b.fadd(b.intrinsic("llvm.maxnum", &[x, b.number(0.0)]), b.library("log1p", tail))
    }

    /// `max(x, y) + log(1 + e^-|x - y|)`; equal arguments, infinities among them, need no difference.
    fn log_add_exp(&self, x: Real<'c>, y: Real<'c>) -> Real<'c> {
        let b = &self.build;
        let distance = b.intrinsic("llvm.fabs", &[b.fsub(x, y)]);
        let tail = b.library("log1p", self.exp(b.fneg(distance)));
        let apart = b.fadd(b.intrinsic("llvm.maxnum", &[x, y]), tail);
        let equal = b.fcompare(FloatPredicate::OEQ, x, y);
        b.choose(equal, b.fadd(x, b.number(std::f64::consts::LN_2)), apart)
    }

    pub(super) fn binary(&self, f: Binary, x: Real<'c>, y: Real<'c>) -> Real<'c> {
        let b = &self.build;
        match f {
            Binary::Add => b.fadd(x, y),
            Binary::Mul => b.fmul(x, y),
            Binary::Div => b.fdiv(x, y),
            Binary::Min => b.intrinsic("llvm.minnum", &[x, y]),
            Binary::Max => b.intrinsic("llvm.maxnum", &[x, y]),
            Binary::Pow => b.intrinsic("llvm.pow", &[x, y]),
            Binary::LogAddExp => self.log_add_exp(x, y),
            Binary::Lt => b.truth(b.fcompare(FloatPredicate::OLT, x, y)),
            Binary::Le => b.truth(b.fcompare(FloatPredicate::OLE, x, y)),
            Binary::Eq => b.truth(b.fcompare(FloatPredicate::OEQ, x, y)),
        }
    }
}
