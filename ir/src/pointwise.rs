//! The pointwise functions of the language: one table for every form, with value and range.

use std::fmt;

/// A closed interval of the extended reals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower bound.
    pub lo: f64,
    /// Upper bound.
    pub hi: f64,
}

impl Interval {
    /// Every number.
    pub const ALL: Interval = Interval { lo: f64::NEG_INFINITY, hi: f64::INFINITY };

    /// The interval from `lo` to `hi`.
    pub fn new(lo: f64, hi: f64) -> Self {
        Self { lo, hi }
    }

    /// One number.
    pub fn point(x: f64) -> Self {
        Self { lo: x, hi: x }
    }

    fn hull(points: &[f64]) -> Self {
        let lo = points.iter().copied().fold(f64::INFINITY, f64::min);
        let hi = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { lo, hi }
    }

    /// Image of a monotone increasing function.
    fn increasing(self, f: impl Fn(f64) -> f64) -> Self {
        Self { lo: f(self.lo), hi: f(self.hi) }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]", self.lo, self.hi)
    }
}

/// Declares an enum of functions with their names in the language.
macro_rules! functions {
    ($(#[doc = $top:literal])* $type:ident { $($(#[doc = $doc:literal])* $name:ident = $text:literal,)* }) => {
        $(#[doc = $top])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[doc = $doc])* $name,)* }

        impl $type {
            /// All of them, in order.
            pub const ALL: &'static [$type] = &[$($type::$name,)*];

            /// Name in the language and in every printed form.
            pub fn name(self) -> &'static str { match self { $($type::$name => $text,)* } }

            /// The function of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|f| f.name() == name)
            }
        }
    };
}

functions! {
    /// Pointwise functions of one argument.
    Unary {
        /// `-x`
        Neg = "neg",
        /// `e^x`
        Exp = "exp",
        /// `2^x`
        Exp2 = "exp2",
        /// natural logarithm
        Log = "log",
        /// `1 / x`
        Recip = "recip",
        /// `1 / (1 + e^-x)`
        Sigmoid = "sigmoid",
        /// `log(sigmoid(x))`, at most 0
        LogSigmoid = "log_sigmoid",
        /// `log(1 + e^x)`, at least 0
        Softplus = "softplus",
        /// `x * sigmoid(x)`
        Silu = "silu",
        /// `max(x, 0)`
        Relu = "relu",
        /// `x` if positive, else `e^x - 1`
        Elu = "elu",
        /// hyperbolic tangent
        Tanh = "tanh",
        /// square root
        Sqrt = "sqrt",
        /// `1 / sqrt(x)`
        Rsqrt = "rsqrt",
        /// absolute value
        Abs = "abs",
        /// cosine
        Cos = "cos",
        /// sine
        Sin = "sin",
        /// `e^x - 1`
        Expm1 = "expm1",
        /// `log(1 + x)`
        Log1p = "log1p",
        /// the largest whole number up to `x`
        Floor = "floor",
        /// -1, 0 or 1
        Sign = "sign",
    }
}

functions! {
    /// Pointwise functions of two arguments. Comparisons give 1 or 0.
    Binary {
        /// `a + b`
        Add = "add",
        /// `a * b`; 0 times anything, an infinity included, is not special
        Mul = "mul",
        /// `a / b`
        Div = "div",
        /// the smaller
        Min = "min",
        /// the larger
        Max = "max",
        /// `a` to the power `b`
        Pow = "pow",
        /// `log(e^a + e^b)`
        LogAddExp = "logaddexp",
        /// 1 if `a < b`
        Lt = "lt",
        /// 1 if `a <= b`
        Le = "le",
        /// 1 if `a == b`
        Eq = "eq",
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Exact for infinities: the larger argument where the other has no weight.
fn log_add_exp(a: f64, b: f64) -> f64 {
    if a == b { a + std::f64::consts::LN_2 } else { a.max(b) + (-(a - b).abs()).exp().ln_1p() }
}

impl Unary {
    /// The value at `x`.
    pub fn eval(self, x: f64) -> f64 {
        match self {
            Unary::Neg => -x,
            Unary::Exp => x.exp(),
            Unary::Exp2 => x.exp2(),
            Unary::Log => x.ln(),
            Unary::Recip => 1.0 / x,
            Unary::Sigmoid => sigmoid(x),
            Unary::LogSigmoid => -softplus(-x),
            Unary::Softplus => softplus(x),
            Unary::Silu => x * sigmoid(x),
            Unary::Relu => x.max(0.0),
            Unary::Elu => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            Unary::Tanh => x.tanh(),
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Abs => x.abs(),
            Unary::Cos => x.cos(),
            Unary::Sin => x.sin(),
            Unary::Expm1 => x.exp_m1(),
            Unary::Log1p => x.ln_1p(),
            Unary::Floor => x.floor(),
            Unary::Sign if x == 0.0 => 0.0,
            Unary::Sign => x.signum(),
        }
    }

    /// An interval that holds the values over `x`.
    pub fn range(self, x: Interval) -> Interval {
        match self {
            Unary::Neg => Interval::new(-x.hi, -x.lo),
            Unary::Exp
            | Unary::Exp2
            | Unary::Sigmoid
            | Unary::LogSigmoid
            | Unary::Softplus
            | Unary::Relu
            | Unary::Elu
            | Unary::Tanh
            | Unary::Expm1
            | Unary::Floor
            | Unary::Sign => x.increasing(|v| self.eval(v)),
            Unary::Log => Interval::new(x.lo.max(0.0).ln(), x.hi.max(0.0).ln()),
            Unary::Log1p => Interval::new(x.lo.max(-1.0).ln_1p(), x.hi.max(-1.0).ln_1p()),
            Unary::Sqrt => Interval::new(x.lo.max(0.0).sqrt(), x.hi.max(0.0).sqrt()),
            Unary::Rsqrt if x.lo >= 0.0 => Interval::new(1.0 / x.hi.sqrt(), 1.0 / x.lo.sqrt()),
            Unary::Rsqrt => Interval::new(0.0, f64::INFINITY),
            Unary::Recip if x.lo > 0.0 || x.hi < 0.0 => Interval::new(1.0 / x.hi, 1.0 / x.lo),
            Unary::Recip if x.lo >= 0.0 => Interval::new(1.0 / x.hi, f64::INFINITY),
            Unary::Recip => Interval::ALL,
            // The minimum of x * sigmoid(x) is -0.2785 at -1.2785.
            Unary::Silu => Interval::new(-0.279, x.hi.max(0.0)),
            Unary::Abs if x.lo >= 0.0 => x,
            Unary::Abs => {
                Interval::new(if x.hi < 0.0 { -x.hi } else { 0.0 }, x.hi.abs().max(x.lo.abs()))
            }
            Unary::Cos | Unary::Sin => Interval::new(-1.0, 1.0),
        }
    }

    /// Whether the function maps 0 to 0, so that padding stays neutral.
    pub fn keeps_zero(self) -> bool {
        self.eval(0.0) == 0.0
    }
}

/// A commutative ring without differences (a semiring), by its addition: what states may be sums in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ring {
    /// Addition, with multiplication.
    Sum,
    /// The larger, with addition.
    Max,
    /// The smaller, with addition.
    Min,
    /// `log(e^a + e^b)`, with addition.
    LogSum,
}

impl Ring {
    /// What it adds with.
    pub fn plus(self) -> Binary {
        match self {
            Ring::Sum => Binary::Add,
            Ring::Max => Binary::Max,
            Ring::Min => Binary::Min,
            Ring::LogSum => Binary::LogAddExp,
        }
    }

    /// What it multiplies with.
    pub fn times(self) -> Binary {
        match self {
            Ring::Sum => Binary::Mul,
            Ring::Max | Ring::Min | Ring::LogSum => Binary::Add,
        }
    }

    /// What adds nothing.
    pub fn zero(self) -> f64 {
        match self {
            Ring::Sum => 0.0,
            Ring::Max | Ring::LogSum => f64::NEG_INFINITY,
            Ring::Min => f64::INFINITY,
        }
    }

    /// What multiplies by nothing.
    pub fn one(self) -> f64 {
        match self {
            Ring::Sum => 1.0,
            Ring::Max | Ring::Min | Ring::LogSum => 0.0,
        }
    }
}

/// Product in which an exact 0 wins over an infinity, for interval ends only.
fn bound_product(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

impl Binary {
    /// The value at `a`, `b`.
    pub fn eval(self, a: f64, b: f64) -> f64 {
        match self {
            Binary::Add => a + b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Min => a.min(b),
            Binary::Max => a.max(b),
            Binary::Pow => a.powf(b),
            Binary::LogAddExp => log_add_exp(a, b),
            Binary::Lt => f64::from(u8::from(a < b)),
            Binary::Le => f64::from(u8::from(a <= b)),
            Binary::Eq => f64::from(u8::from(a == b)),
        }
    }

    /// An interval that holds the values over `a`, `b`.
    pub fn range(self, a: Interval, b: Interval) -> Interval {
        match self {
            Binary::Add => Interval::new(a.lo + b.lo, a.hi + b.hi),
            Binary::Mul => Interval::hull(&[
                bound_product(a.lo, b.lo),
                bound_product(a.lo, b.hi),
                bound_product(a.hi, b.lo),
                bound_product(a.hi, b.hi),
            ]),
            Binary::Div => Binary::Mul.range(a, Unary::Recip.range(b)),
            Binary::Min => Interval::new(a.lo.min(b.lo), a.hi.min(b.hi)),
            Binary::Max => Interval::new(a.lo.max(b.lo), a.hi.max(b.hi)),
            Binary::Pow if a.lo >= 0.0 => Interval::new(0.0, f64::INFINITY),
            Binary::Pow => Interval::ALL,
            Binary::LogAddExp => Interval::new(log_add_exp(a.lo, b.lo), log_add_exp(a.hi, b.hi)),
            Binary::Lt | Binary::Le | Binary::Eq => Interval::new(0.0, 1.0),
        }
    }
}
