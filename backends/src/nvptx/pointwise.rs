//! Pointwise expressions, in f32 on the units for approximate functions.

use super::emitter::Emitter;
use super::index::Index;
use super::types::{Compare, CompareFloat, Val};
use sluice_ir::kernel::Mask;
use sluice_ir::kernel::{Arg, Binary, Expr, Place, Unary, View};
use std::f64::consts::{LN_2, LOG2_E, TAU};

/// An element of a destination seen as blocks.
#[derive(Clone, Copy)]
pub(super) struct At<'c> {
    /// `[blocks, rows, cols]` of the destination.
    pub(super) shape: [usize; 3],
    pub(super) block: Index<'c>,
    /// Row in the block.
    pub(super) row: Index<'c>,
    pub(super) col: Index<'c>,
    /// Place in the list of the lane's values, for destinations in columns.
    pub(super) register: Option<usize>,
    /// Whether the row is known to be greater than the column.
    pub(super) below_diagonal: bool,
}

/// What an expression is evaluated for.
#[derive(Clone, Copy)]
pub(super) enum Site<'s, 'c> {
    /// An element of a view.
    Element(&'s At<'c>),
    /// A point of a nest, by the indices of its loops.
    Point(&'s [Index<'c>]),
}

impl<'c> Emitter<'c, '_> {
    /// The element of a view at a row of the whole tile.
    pub(super) fn at(&self, view: View, tile_row: Index<'c>, col: Index<'c>) -> At<'c> {
        let shape = self.kernel.shape(view);
        let (block, row) = self.b.index_split(tile_row, shape[1]);
        At { shape, block, row, col, register: None, below_diagonal: false }
    }

    /// Row of the whole tile.
    fn tile_row(&self, at: &At<'c>) -> Index<'c> {
        self.b.index_add(self.b.index_mul(at.block, at.shape[1]), at.row)
    }

    /// The value of an expression; `argument` gives `Expr::Arg`.
    pub(super) fn evaluate(
        &self,
        expr: &Expr,
        site: Site<'_, 'c>,
        argument: &dyn Fn(usize) -> Val<'c>,
    ) -> Val<'c> {
        let b = &self.b;
        let value = |e: &Expr| self.evaluate(e, site, argument);
        match (expr, site) {
            (Expr::Arg(i), _) => argument(*i),
            (Expr::Const(value), _) => b.f32(*value),
            (Expr::Unary(f, x), _) => self.unary(*f, value(x)),
            (Expr::Binary(f, x, y), _) => self.binary(*f, value(x), value(y)),
            (Expr::Select(condition, x, y), _) => {
                let holds = b.compare_float(CompareFloat::Ne, value(condition), b.f32(0.0));
                b.select(holds, value(x), value(y))
            }
            (Expr::Keep { mask, row_step, col_step, value: inner }, Site::Element(at)) => {
                let lower = matches!(mask, Mask::Incl | Mask::Strict);
                if at.below_diagonal && lower && (*row_step, *col_step) == (1, 1) {
                    return value(inner);
                }
                let (t, _) = b.index_split(at.row, *row_step);
                let (s, _) = b.index_split(at.col, *col_step);
                b.select(self.holds(*mask, t, s), value(inner), b.f32(0.0))
            }
            (Expr::Live { rows, value: inner }, Site::Element(at)) => {
                let holds = self.is_live(self.tile_row(at), *rows, self.now().live);
                b.select(holds, value(inner), b.f32(0.0))
            }
            (Expr::Index(i), Site::Point(loops)) => {
                b.convert("llvm.uitofp", b.index(loops[*i]), b.types.f32)
            }
            (Expr::Index(_), Site::Element(_))
            | (Expr::Keep { .. } | Expr::Live { .. }, Site::Point(_)) => {
                unreachable!("a checked expression fits where it stands")
            }
        }
    }

    /// Whether step `s` counts for step `t`.
    pub(super) fn holds(&self, mask: Mask, t: Index<'c>, s: Index<'c>) -> Val<'c> {
        let b = &self.b;
        let (t, s) = (b.index(t), b.index(s));
        match mask {
            Mask::Incl => b.compare(Compare::Le, s, t),
            Mask::Strict => b.compare(Compare::Lt, s, t),
            Mask::Tincl => b.compare(Compare::Le, t, s),
            Mask::Tstrict => b.compare(Compare::Lt, t, s),
        }
    }

    /// The value of an argument of a body for an element of the destination.
    ///
    /// `columns` are the values of the argument if it lies in columns.
    pub(super) fn argument(&self, arg: &Arg, at: &At<'c>, columns: Option<&[Val<'c>]>) -> Val<'c> {
        if let Some(values) = columns {
            let register = at.register.expect("a destination in columns");
            return values[register % values.len()];
        }
        let b = &self.b;
        let [blocks, rows, cols] = self.kernel.shape(arg.view);
        let seen = if arg.transposed { [blocks, cols, rows] } else { [blocks, rows, cols] };
        // Registers also hold elements past the destination's last row and column. What they read
        // does not matter, but it must lie in the tile.
        let shrink = |index, axis: usize| match seen[axis] {
            1 => Index::constant(0),
            most => b.index_min(b.index_split(index, at.shape[axis] / most).0, most - 1),
        };
        let block = shrink(at.block, 0);
        let (r, c) = (shrink(at.row, 1), shrink(at.col, 2));
        let (r, c) = if arg.transposed { (c, r) } else { (r, c) };
        self.read(arg.view.tile, b.index_add(b.index_mul(block, rows), r), c)
    }

    /// The values of an argument in columns, one for each of the destination's (or a pattern that
    /// repeats); none if the argument lies in shared memory.
    pub(super) fn column_argument(&self, arg: &Arg, dst: View) -> Option<Vec<Val<'c>>> {
        let tile = self.kernel.tile(arg.view.tile);
        if !matches!(tile.place, Place::Columns) {
            return None;
        }
        let values = self.values(arg.view.tile);
        let broadcast = tile.rows == 1 && self.kernel.tile(dst.tile).rows > 1;
        Some(if broadcast { self.broadcast_row(values) } else { values })
    }

    /// A function of one argument.
    pub(super) fn unary(&self, f: Unary, x: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let one = || b.f32(1.0);
        match f {
            Unary::Neg => b.float("llvm.fneg", &[x]),
            Unary::Exp => self.exp(x),
            Unary::Exp2 => self.exp2(x),
            Unary::Log => b.fmul(self.approx("lg2.approx.ftz.f", x), b.f32(LN_2)),
            Unary::Recip => self.recip(x),
            Unary::Sigmoid => self.recip(b.fadd(one(), self.exp(b.float("llvm.fneg", &[x])))),
            Unary::LogSigmoid => {
                let negative = b.float("llvm.fneg", &[x]);
                b.float("llvm.fneg", &[self.softplus(negative)])
            }
            Unary::Softplus => self.softplus(x),
            Unary::Silu => b.fmul(x, self.unary(Unary::Sigmoid, x)),
            Unary::Relu => b.like("llvm.intr.maxnum", &[x, b.f32(0.0)]),
            Unary::Elu => {
                let positive = b.compare_float(CompareFloat::Gt, x, b.f32(0.0));
                b.select(positive, x, self.expm1(x))
            }
            Unary::Tanh => {
                // tanh |x| = (e^2|x| - 1) / (e^2|x| + 1) = -m / (m + 2), m = e^-2|x| - 1.
                let m = self.expm1(b.fmul(self.unary(Unary::Abs, x), b.f32(-2.0)));
                let y = b.fmul(b.float("llvm.fneg", &[m]), self.recip(b.fadd(m, b.f32(2.0))));
                b.like("llvm.intr.copysign", &[y, x])
            }
            Unary::Sqrt => self.approx("sqrt.approx.f", x),
            Unary::Rsqrt => self.approx("rsqrt.approx.f", x),
            Unary::Abs => b.like("llvm.intr.fabs", &[x]),
            Unary::Cos => self.approx("cos.approx.ftz.f", self.turn(x)),
            Unary::Sin => self.approx("sin.approx.ftz.f", self.turn(x)),
            Unary::Expm1 => self.expm1(x),
            Unary::Log1p => self.log1p(x),
            Unary::Floor => b.like("llvm.intr.floor", &[x]),
            Unary::Sign => {
                let nonzero = b.compare_float(CompareFloat::Ne, x, b.f32(0.0));
                b.select(nonzero, b.like("llvm.intr.copysign", &[one(), x]), b.f32(0.0))
            }
        }
    }

    /// A function of two arguments.
    pub(super) fn binary(&self, f: Binary, x: Val<'c>, y: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let truth = |how| {
            let holds = b.compare_float(how, x, y);
            b.select(holds, b.f32(1.0), b.f32(0.0))
        };
        match f {
            Binary::Add => b.fadd(x, y),
            Binary::Mul => b.fmul(x, y),
            Binary::Div => b.intrinsic("llvm.nvvm.div.approx.f", &[x, y], b.types.f32),
            Binary::Min => b.like("llvm.intr.minnum", &[x, y]),
            Binary::Max => b.like("llvm.intr.maxnum", &[x, y]),
            Binary::Pow => self.pow(x, y),
            Binary::LogAddExp => self.log_add_exp(x, y),
            Binary::Lt => truth(CompareFloat::Lt),
            Binary::Le => truth(CompareFloat::Le),
            Binary::Eq => truth(CompareFloat::Eq),
        }
    }

    /// A function of the special unit.
    fn approx(&self, name: &str, x: Val<'c>) -> Val<'c> {
        self.b.intrinsic(&format!("llvm.nvvm.{name}"), &[x], self.b.types.f32)
    }

    /// `1 / x`.
    fn recip(&self, x: Val<'c>) -> Val<'c> {
        self.approx("rcp.approx.ftz.f", x)
    }

    /// `e^x`.
    fn exp(&self, x: Val<'c>) -> Val<'c> {
        self.exp2(self.b.fmul(x, self.b.f32(LOG2_E)))
    }

    /// `2^x`.
    pub(super) fn exp2(&self, x: Val<'c>) -> Val<'c> {
        self.approx("ex2.approx.ftz.f", x)
    }

    /// `max(x, 0) + log(1 + e^-|x|)`.
    fn softplus(&self, x: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let tail = self.log1p(self.exp(b.float("llvm.fneg", &[self.unary(Unary::Abs, x)])));
        b.fadd(b.like("llvm.intr.maxnum", &[x, b.f32(0.0)]), tail)
    }

    /// `log(1 + x)`, by its series near 0, where `1 + x` would lose `x`.
    fn log1p(&self, x: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let far = b.fmul(self.approx("lg2.approx.ftz.f", b.fadd(x, b.f32(1.0))), b.f32(LN_2));
        // x - x^2/2 + x^3/3 - x^4/4 + x^5/5 within 2e-7 of log(1 + x), relative, for |x| < 0.0625.
        let series = b.fma(x, b.f32(0.2), b.f32(-0.25));
        let series = b.fma(x, series, b.f32(1.0 / 3.0));
        let series = b.fma(x, series, b.f32(-0.5));
        let near = b.fma(b.fmul(x, x), series, x);
        let small = b.compare_float(CompareFloat::Lt, self.unary(Unary::Abs, x), b.f32(0.0625));
        b.select(small, near, far)
    }

    /// `max(x, y) + log(1 + e^-|x - y|)`; equal arguments, infinities among them, need no difference.
    fn log_add_exp(&self, x: Val<'c>, y: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let distance = self.unary(Unary::Abs, b.fsub(x, y));
        let tail = self.log1p(self.exp(b.float("llvm.fneg", &[distance])));
        let apart = b.fadd(b.like("llvm.intr.maxnum", &[x, y]), tail);
        let equal = b.compare_float(CompareFloat::Eq, x, y);
        b.select(equal, b.fadd(x, b.f32(LN_2)), apart)
    }

    /// `e^x - 1`, by its series near 0.
    fn expm1(&self, x: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let far = b.fsub(self.exp(x), b.f32(1.0));
        // x + x^2/2 + x^3/6 + x^4/24 within 2e-7 of e^x - 1, relative, for |x| < 0.0625.
        let series = b.fma(x, b.f32(1.0 / 24.0), b.f32(1.0 / 6.0));
        let series = b.fma(x, series, b.f32(0.5));
        let near = b.fma(b.fmul(x, x), series, x);
        let small = b.compare_float(CompareFloat::Lt, self.unary(Unary::Abs, x), b.f32(0.0625));
        b.select(small, near, far)
    }

    /// `x` less whole turns, within half a turn of 0.
    fn turn(&self, x: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let turns = b.like("llvm.intr.roundeven", &[b.fmul(x, b.f32(1.0 / TAU))]);
        let turns = b.float("llvm.fneg", &[turns]);
        // TAU in two pieces: the product with the first is exact up to 2^13 turns.
        let high = f64::from(TAU as f32 - (TAU as f32 % 0.001_953_125));
        b.fma(turns, b.f32(TAU - high), b.fma(turns, b.f32(high), x))
    }

    /// `x^y`: `2^(y log2 |x|)`, with the sign of an odd power of a negative number.
    fn pow(&self, x: Val<'c>, y: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let log = self.approx("lg2.approx.ftz.f", self.unary(Unary::Abs, x));
        let size = self.approx("ex2.approx.ftz.f", b.fmul(y, log));
        let halves = b.fmul(y, b.f32(0.5));
        let floor = b.like("llvm.intr.floor", &[halves]);
        let odd = b.compare_float(CompareFloat::Ne, floor, halves);
        let negative = b.compare_float(CompareFloat::Lt, x, b.f32(0.0));
        let signed = b.select(b.and(odd, negative), b.float("llvm.fneg", &[size]), size);
        let whole = b.compare_float(CompareFloat::Eq, b.like("llvm.intr.floor", &[y]), y);
        let defined = b.like("llvm.or", &[whole, b.like("llvm.xor", &[negative, b.bool(true)])]);
        let value = b.select(defined, signed, b.f32(f64::NAN));
        let trivial = b.compare_float(CompareFloat::Eq, y, b.f32(0.0));
        b.select(trivial, b.f32(1.0), value)
    }
}
