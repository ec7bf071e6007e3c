//! What can occur in a sequence term: one table of operators, made into an e-graph language.
//!
//! Every array is `[N, R, F]`: blocks x rows x features (see [`super::Shape`]). Steps are the rows
//! of an operator's gate `g`; `rows(x) / rows(g)` rows of `x` belong to one step. Masks, counts and
//! numbers are leaves without a shape, so that a law can match on them.

use super::Mask;
use crate::pointwise::{Binary, Unary};
use egg::{FromOp, FromOpError, Id, Language};
use std::fmt;
use std::mem::Discriminant;
use std::sync::Arc;

/// A double as a leaf, compared by its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u64);

impl Number {
    /// The leaf of a value; both zeros are one leaf.
    pub fn new(value: f64) -> Self {
        Self(if value == 0.0 { 0.0f64 } else { value }.to_bits())
    }

    /// The value.
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.value())
    }
}

/// Declares every operator with a fixed number of array operands once: text, variant, operands.
macro_rules! operators {
    ($($(#[doc = $doc:literal])* $text:literal = $name:ident / $arity:literal,)*) => {
        /// An operator of the sequence form. Shapes are in [`super::facts`], meanings in
        /// [`super::eval`].
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Seq {
            /// A count: an extent, a number of blocks, an index.
            Count(usize),
            /// `[1, 1, 1]`: a constant.
            Number(Number),
            /// A causal mask.
            Mask(Mask),
            /// An input of the recurrence or the value of a state before the first token; printed
            /// with a leading `%`.
            Var(Arc<str>),
            /// A pointwise function.
            Unary(Unary, [Id; 1]),
            /// A pointwise function; each extent of an operand divides the result's, and the
            /// operand's elements are repeated consecutively.
            Binary(Binary, [Id; 2]),
            $($(#[doc = $doc])* $name([Id; $arity]),)*
        }

        impl Seq {
            /// Name in every printed form.
            pub fn name(&self) -> String {
                match self {
                    Seq::Count(n) => n.to_string(),
                    Seq::Number(x) => format!("{x:?}"),
                    Seq::Mask(m) => m.name().to_owned(),
                    Seq::Var(name) => format!("%{name}"),
                    Seq::Unary(f, _) => f.name().to_owned(),
                    Seq::Binary(f, _) => f.name().to_owned(),
                    $(Seq::$name(_) => $text.to_owned(),)*
                }
            }

            /// What the operator does, in a phrase; none for leaves and pointwise functions, whose
            /// names say it.
            pub fn meaning(&self) -> Option<&'static str> {
                match self {
                    $(Seq::$name(_) => Some(concat!($($doc),*).trim_ascii()),)*
                    _ => None,
                }
            }

            /// The operator of that name with these operands.
            fn named(name: &str, operands: &[Id]) -> Option<Self> {
                match (name, operands.len()) {
                    $(($text, $arity) => {
                        let operands = operands.try_into().expect("the arity was matched");
                        Some(Seq::$name(operands))
                    })*
                    (_, 0) => leaf(name),
                    (_, 1) => Unary::from_name(name).map(|f| Seq::Unary(f, [operands[0]])),
                    (_, 2) => {
                        let f = Binary::from_name(name)?;
                        Some(Seq::Binary(f, [operands[0], operands[1]]))
                    }
                    _ => None,
                }
            }

            /// The operands.
            pub fn operands(&self) -> &[Id] {
                match self {
                    Seq::Count(_) | Seq::Number(_) | Seq::Mask(_) | Seq::Var(_) => &[],
                    Seq::Unary(_, c) => c,
                    Seq::Binary(_, c) => c,
                    $(Seq::$name(c) => c,)*
                }
            }

            fn operands_mut(&mut self) -> &mut [Id] {
                match self {
                    Seq::Count(_) | Seq::Number(_) | Seq::Mask(_) | Seq::Var(_) => &mut [],
                    Seq::Unary(_, c) => c,
                    Seq::Binary(_, c) => c,
                    $(Seq::$name(c) => c,)*
                }
            }
        }
    };
}

operators! {
    /// `zero p r f`: zeros in blocks of `p` tokens (0: one block), `r` rows, `f` features.
    "zero" = Zero / 3,
    /// `ones p r f`: ones, extents as for `zero`.
    "ones" = Ones / 3,
    /// `select c a b`: `a` where `c` is not 0, else `b`; broadcast as binary functions are.
    "select" = Select / 3,
    /// `live x`: the value in rows of tokens that exist, 0 in rows of padding.
    "live" = Live / 1,
    /// `rowsum x`: `[N, R, F] -> [N, R, 1]`, sum over features.
    "rowsum" = RowSum / 1,
    /// `rowmax x`: `[N, R, F] -> [N, R, 1]`, the largest feature.
    "rowmax" = RowMax / 1,
    /// `mm a b`: `[N, x, y], [N, y, z] -> [N, x, z]`, `a b` in each block; here and below one block
    /// meets all.
    "mm" = Mm / 2,
    /// `mmt a b`: `[N, x, y], [N, z, y] -> [N, x, z]`, `a b^T` in each block.
    "mmt" = Mmt / 2,
    /// `tmm a b`: `[N, y, x], [N, y, z] -> [N, x, z]`, `a^T b` in each block.
    "tmm" = Tmm / 2,
    /// `tot x`: `[N, R, F] -> [N, 1, F]`, sum over rows.
    "tot" = Tot / 1,
    /// `run m x`: `y[t] = sum of x[s]` with `m(t, s)`, inside each block.
    "run" = Run / 2,
    /// `score m p a g`: `[N, Rp, K], [N, Ra, K], [N, n, 1|K] -> [N, Rp, Ra]`,
    /// `m(t,s) * sum_c p[t,c] a[s,c] exp(seg_m(g)(t,s)[c])`.
    "score" = Score / 4,
    /// `vmix m W y g`: `[N, R, R'], [N, R', V], [N, n, 1|V] -> [N, R, V]`,
    /// `sum_s m(t,s) W[t,s] y[s,v] exp(seg_m(g)(t,s)[v])`.
    "vmix" = Vmix / 4,
    /// `seg m g`: `[N, n, 1] -> [N, n, n]`, `m(t,s) exp(seg_m(g)(t,s))`.
    "seg" = Seg / 2,
    /// `mask m n W`: zero outside `m`, where rows and columns make `n` steps.
    "mask" = Masked / 3,
    /// `solve L b`: `(I - L)^-1 b` for strictly triangular `L`.
    "solve" = Solve / 2,
    /// `tinv L`: `(I - L)^-1` for strictly triangular `L`.
    "tinv" = Tinv / 1,
    /// `blk c x`: `[cN, R, F] -> [N, cR, F]`, joins `c` blocks; a view. An array
    /// `[1, 1, F]` is left as it is.
    "blk" = Blk / 2,
    /// `unblk c x`: `[N, cR, F] -> [cN, R, F]`, cuts each block in `c`; a view.
    "unblk" = Unblk / 2,
    /// `bdiag c W`: `[cN, r, r'] -> [N, cr, cr']`, onto the block diagonal.
    "bdiag" = Bdiag / 2,
    /// `bget c W`: `[N, cr, cr'] -> [cN, r, r']`, from the block diagonal.
    "bget" = Bget / 2,
    /// `weave a b`: `[N, r, F], [N, r', F] -> [N, r + r', F]`, the rows of `a` first.
    "weave" = Weave / 2,
    /// `rows i n x`: rows `i .. i + n` of each block.
    "rows" = Rows / 3,
    /// `cat a b`: `[N, R, f], [N, R, f'] -> [N, R, f + f']`.
    "cat" = Cat / 2,
    /// `cols i n x`: features `i .. i + n`.
    "cols" = Cols / 3,
    /// `split n x`: `[N, R, nF] -> [N, nR, F]`, cuts each row in `n`; the same elements in order.
    "split" = Split / 2,
    /// `join n x`: `[N, nR, F] -> [N, R, nF]`, joins `n` rows; the same elements in order.
    "join" = Join / 2,
    /// `tile n x`: `[N, R, F] -> [N, R, nF]`, each row `n` times over.
    "tile" = Tile / 2,
    /// `kron a b`: `[N, R, f], [N, R, f'] -> [N, R, f f']`, each feature of `a` times all of `b`.
    "kron" = Kron / 2,
    /// `pairs c x`: `[N, R, F] -> [N, R, F(F+1)/2]`, the products of each two features, once; those of
    /// different ones times `c`.
    "pairs" = Pairs / 2,
    /// `paired i n S`: `[1, K, V]`, of which rows `i .. i + n n` are a square, with one row for each two
    /// entries that mirror each other: their mean.
    "paired" = Paired / 3,
    /// `unpaired i n R S`: `[1, K, V]`, the array whose `paired` is `R`, and whose mirrored entries differ as
    /// those of `S` do.
    "unpaired" = Unpaired / 4,
    /// `tots n x`: `[N, nR, F] -> [N, R, F]`, sums of `n` consecutive rows.
    "tots" = Tots / 2,
    /// `top k x`: `[N, R, F]`, 1 where fewer than `k` features of a row are larger, or as large and
    /// before it, else 0.
    "top" = Top / 2,
    /// `tr x`: rows and features exchanged in each block.
    "tr" = Tr / 1,
    /// `drun m n A x H`: `[1, K, K], [N, nR, K], [N, R, K] -> [N, nR, K]`, states as rows,
    /// `h <- h A^T + x_t` over the `n` steps of each block from `h = H` on: with `strict` before, with
    /// `incl` after each step.
    "drun" = Drun / 5,
    /// `dhist m n A x S`: a loop over blocks of `n` such steps, from `h = S` on; its states `[N, R, K]`,
    /// with `strict` before and with `incl` after each block.
    "dhist" = Dhist / 5,
    /// `krylov m n A x`: `[1, K, K], [1, K, F] -> [1, nK, F]`, for each of `n` steps `t` the product of `x` with
    /// `A` as often as there are steps `s` with `m(t, s)`.
    "krylov" = Krylov / 4,
    /// `dots n P H`: `[1, nK, F], [N, K, F] -> [N, n, F]`, `y[t, f] = sum_k P[tK + k, f] H[k, f]`; one column
    /// meets all.
    "dots" = Dots / 3,
    /// `conv m k u`: `[1, n, F], [N, n, F] -> [N, n, F]`, `y[t] = sum_j k[j] u[s]` over the steps `s` with
    /// `m(t, s)`, the latest of which has `j = 0`.
    "conv" = Conv / 3,
    /// `lhist n A b u S`: `[1, K, K], [1, K, 1], [N, n, V], [1, K, V] -> [N, K, V]`, the states before blocks of
    /// `n` steps `h <- A h + b u_t^T`, from `h = S` on.
    "lhist" = Lhist / 5,
    /// `lfin n A b u S`: the state `[1, K, V]` after the last token that exists of such a loop.
    "lfin" = Lfin / 5,
    /// `last x S`: `[T, K, V], [1, K, V] -> [1, K, V]`, the value at the last token that exists, `S` if
    /// none does.
    "last" = Last / 2,
    /// `mprod m R`: for `n x n` matrices `[N, Cn, n]`, at each of `C` steps `t` the product of those at all
    /// `s` with `m(t, s)`, later ones from the left.
    "mprod" = Mprod / 2,
    /// `mall R`: `[N, Cn, n] -> [N, n, n]`, the product of all matrices of a block.
    "mall" = Mall / 1,
    /// `blend R x`: `[N, Cn, n], [N, Cr, nK] -> [N, Cr, nK]`, the matrix of each step applied to the `n`
    /// parts of its rows.
    "blend" = Blend / 2,
    /// `blendt R x`: the same with the transposes of the matrices.
    "blendt" = Blendt / 2,
    /// `mscore m p a R`: `[N, Cr, nK], [N, Cr', nK], [N, Cn, n] -> [N, Cr, Cr']`, `m(t,s) p_t . Q a_s` with
    /// `Q` the product of the matrices between the steps, applied to the `n` parts of a row.
    "mscore" = Mscore / 4,
    /// `hist m g w a L p b c d S`: a loop over blocks,
    /// `Z = (I - L)^-1 (p H + b), H' = e^g . H . e^w + a^T Z + c^T d`, from `H = S` on; its states
    /// `[N, K, V]`, with `strict` before and with `incl` after each block.
    "hist" = Hist / 10,
    /// `hz m g w a L p b c d S`: the values `Z`, `[N, R, V]`, of such a loop.
    "hz" = Hz / 10,
    /// `fin m g w a L p b c d S`: the state `[1, K, V]` after the last block of such a loop.
    "fin" = Fin / 10,
}

/// A leaf from its text.
fn leaf(text: &str) -> Option<Seq> {
    if let Some(name) = text.strip_prefix('%') {
        return Some(Seq::Var(name.into()));
    }
    if let Some(mask) = Mask::ALL.iter().find(|m| m.name() == text) {
        return Some(Seq::Mask(*mask));
    }
    if let Ok(count) = text.parse() {
        return Some(Seq::Count(count));
    }
    text.parse().ok().map(|x| Seq::Number(Number::new(x)))
}

/// The operands of a history, by role. Block `n` of `hist` does
///
/// ```text
/// Z_n     = (I - L_n)^-1 (p_n H_n + b_n)                      feedback rows
/// H_{n+1} = e^{g_n} . H_n . e^{w_n} + a_n^T Z_n + c_n^T d_n,  H_0 = S
/// ```
///
/// and with a transposed mask the blocks are passed from right to left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Core {
    /// Log decay of rows, `[N, 1, 1|K]`; or, `[N, n, n]` with `n > 1`, a matrix that stands for `e^g` and
    /// mixes `n` states whose rows are stacked.
    pub g: Id,
    /// Log decay of columns, `[N, 1, 1|V]`.
    pub w: Id,
    /// Keys of the feedback rows, `[N, R, K]`.
    pub a: Id,
    /// What feedback rows of one block contribute to later ones, `[N, R, R]`.
    pub l: Id,
    /// Readers of the feedback rows, `[N, R, K]`.
    pub p: Id,
    /// Values of the feedback rows that do not depend on the state, `[N, R, V]`.
    pub b: Id,
    /// Keys of the plain writes, `[N, R', K]`.
    pub c: Id,
    /// Values of the plain writes, `[N, R', V]`.
    pub d: Id,
    /// The state before the first block, `[1, K, V]`.
    pub s: Id,
}

impl Core {
    /// The operands of `hist`, `hz` and `fin` for people: each text with its role, those that are
    /// zero left out. The mask, which comes first, needs no role.
    pub fn labelled(operands: impl Iterator<Item = (String, bool)>) -> Vec<String> {
        const ROLES: [&str; 10] = ["", "g=", "w=", "a=", "L=", "p=", "b=", "c=", "d=", "S="];
        let there = ROLES.iter().zip(operands).filter(|(_, (_, zero))| !zero);
        there.map(|(role, (text, _))| format!("{role}{text}")).collect()
    }

    /// The operands of `hist`, `hz` and `fin` in order, after a mask.
    pub fn operands(self, mask: Id) -> [Id; 10] {
        [mask, self.g, self.w, self.a, self.l, self.p, self.b, self.c, self.d, self.s]
    }
}

/// Mask and core of a node that is `hist`, `hz` or `fin`.
pub fn core_of(node: &Seq) -> Option<(Id, Core)> {
    let (Seq::Hist(o) | Seq::Hz(o) | Seq::Fin(o)) = node else { return None };
    let [mask, g, w, a, l, p, b, c, d, s] = *o;
    Some((mask, Core { g, w, a, l, p, b, c, d, s }))
}

impl Language for Seq {
    type Discriminant = Discriminant<Seq>;

    fn discriminant(&self) -> Self::Discriminant {
        std::mem::discriminant(self)
    }

    fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Seq::Count(a), Seq::Count(b)) => a == b,
            (Seq::Number(a), Seq::Number(b)) => a == b,
            (Seq::Mask(a), Seq::Mask(b)) => a == b,
            (Seq::Var(a), Seq::Var(b)) => a == b,
            (Seq::Unary(a, _), Seq::Unary(b, _)) => a == b,
            (Seq::Binary(a, _), Seq::Binary(b, _)) => a == b,
            (a, b) => a.discriminant() == b.discriminant(),
        }
    }

    fn children(&self) -> &[Id] {
        self.operands()
    }

    fn children_mut(&mut self) -> &mut [Id] {
        self.operands_mut()
    }
}

impl FromOp for Seq {
    type Error = FromOpError;

    fn from_op(op: &str, children: Vec<Id>) -> Result<Self, FromOpError> {
        Seq::named(op, &children).ok_or_else(|| FromOpError::new(op, children))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
