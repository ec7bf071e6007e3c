//! The statements of a kernel and the pointwise expressions in them; [`super::Kernel`] explains
//! tiles, columns and chunks.

use super::{Nest, ParamId, TileId, View, Walk};
use crate::dtype::Dtype;
pub use crate::pointwise::{Binary, Unary};
pub use crate::seq::Mask;
pub use crate::step::Reduction;
use std::sync::Arc;

/// One statement. Every statement writes the whole of its destination unless it says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// Global to shared memory (asynchronously if 4 bytes or more are aligned) or to columns.
    /// For token params: the rows of chunk `this + ahead`; rows that do not exist are 0.
    Load {
        /// Destination.
        dst: TileId,
        /// Source.
        param: ParamId,
        /// Chunks ahead of this one.
        ahead: usize,
        /// Tile column that holds the param's first column; other columns keep their values.
        col: usize,
    },
    /// Shared memory or columns to global memory: rows that exist.
    Store {
        /// Destination.
        param: ParamId,
        /// Source.
        src: TileId,
        /// Tile column that goes to the param's first column; the param's width says how many go.
        col: usize,
    },
    /// A pointwise expression on tiles in shared memory straight to global memory: rows that exist.
    Put {
        /// Destination, of token rows.
        param: ParamId,
        /// The elements of a chunk as `[blocks, rows, cols]`.
        shape: [usize; 3],
        /// The expression and its arguments.
        body: Body,
    },
    /// Closes a group of asynchronous loads.
    Commit,
    /// Waits until at most `pending` of the role's latest groups are unfinished.
    WaitLoads {
        /// Groups that may be unfinished.
        pending: usize,
    },
    /// A barrier or fence.
    Sync(Sync),
    /// Every element becomes `value`.
    Fill {
        /// Destination.
        dst: TileId,
        /// Value.
        value: f64,
    },
    /// A pointwise expression; `dst` may be an argument read at the same element.
    Map {
        /// Destination.
        dst: View,
        /// The expression and its arguments.
        body: Body,
    },
    /// A matrix product for each block.
    Mma(Mma),
    /// Starts a product of a warpgroup in shared memory that the same `Mma` later in the list ends: it may run
    /// beside what stands between. Its operands must not change before.
    Begin(Mma),
    /// Sums or maxima: `[b, r, c]` to `[b, r, 1]` (over columns) or `[b, n, c]` (over runs of
    /// `r / n` rows).
    Reduce {
        /// Sum or maximum.
        op: Reduction,
        /// Destination.
        dst: View,
        /// Source.
        src: View,
        /// Direction.
        over: Over,
    },
    /// Running sum down the rows of each block: `dst[t] = sum of body[s], mask(t, s)`. An argument of the
    /// destination's shape may be the destination.
    Run {
        /// Destination.
        dst: View,
        /// What is summed: an element for each of the destination, all from shared memory.
        body: Body,
        /// Which rows count.
        mask: Mask,
    },
    /// Decayed scores of rows with vector decay, all in shared memory:
    /// `dst[b,t,s] = mask(t',s') * sum_c p[b,t,c] a[b,s,c] 2^(to[b,t',c] - from[b,s',c])`,
    /// with `t' = t / (rows(p)/rows(to))`, `s'` alike. `to` and `from` are running sums of log2 decays with
    /// `to <= from` wherever the mask holds. On tensor cores (`p` and `a` as `operand`, steps
    /// of a multiple of 16 rows) the factors of a pair of steps go on the fragments of `p`; where each row
    /// is a step (a multiple of 16 of them, not more below than above the diagonal), `from` must never
    /// rise, and both operands are scaled to a step between, so that no exponent is above 0. There rows may
    /// be f32 as well: they are then rounded once, when they have been scaled.
    Score {
        /// Destination `[b, rows(p), rows(a)]`.
        dst: View,
        /// Readers.
        p: View,
        /// Writers.
        a: View,
        /// Running sum at the reader.
        to: View,
        /// Running sum at the writer.
        from: View,
        /// Which pairs count.
        mask: Mask,
        /// Which unit computes the products.
        unit: Unit,
        /// What tensor cores multiply.
        operand: Dtype,
    },
    /// Mixing of rows with a decay per column, all in shared memory:
    /// `dst[b,t,v] = sum_s mask(t',s') w[b,t,s] y[b,s,v] 2^(to[b,t',v] - from[b,s',v])`.
    Mix {
        /// Destination `[b, rows(w), cols(y)]`.
        dst: View,
        /// Weights `[b, rows, rows(y)]`.
        w: View,
        /// Values.
        y: View,
        /// Running sum at the reader.
        to: View,
        /// Running sum at the writer.
        from: View,
        /// Which pairs count.
        mask: Mask,
    },
    /// `dst = (I - src)^-1 - I` for each block of a strictly triangular `src`, in f32 (f64 if
    /// `src` is), both in shared memory. The unit diagonal is left out so that it is never rounded.
    Inverse {
        /// Destination.
        dst: View,
        /// Source.
        src: View,
        /// Whether `src` is upper instead of lower triangular.
        upper: bool,
        /// Scratch for the diagonal blocks: f32 `[b * n, 16]`, `n` the rows of a matrix in whole blocks of
        /// 16. What it holds afterwards is not defined.
        diagonal: TileId,
    },
    /// Moves elements between tiles and places, rounding to the destination's dtype; writes only
    /// the elements named.
    Copy {
        /// Destination.
        dst: View,
        /// Source.
        src: View,
        /// Which elements go where.
        map: CopyMap,
    },
    /// A loop nest; writes only the elements that it names.
    Nest(Nest),
    /// A walk over the tokens of this chunk, for every point by itself.
    Walk(Walk),
    /// Constants for the whole of a shared tile.
    Table {
        /// Destination.
        dst: TileId,
        /// Its elements row by row.
        values: Arc<[f64]>,
    },
}

/// Barriers and fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// All threads of the block.
    Cta,
    /// The threads of this role (a named barrier).
    Role,
    /// Each warp arrives once on an mbarrier's instance for this chunk.
    Arrive(usize),
    /// Waits for an mbarrier's instance for this chunk.
    Wait(usize),
    /// Waits until the instance that chunk `this + ahead` uses has been left by the chunk that used it
    /// before: the mbarrier's phase for chunk `this + ahead - stages`, if there is such a chunk.
    Free {
        /// The mbarrier.
        barrier: usize,
        /// Chunks ahead of this one.
        ahead: usize,
    },
    /// Orders generic writes before reads by the copy engine or `wgmma`.
    ProxyFence,
    /// Waits until at most `pending` of the role's latest products by warpgroups are unfinished.
    Products {
        /// Products that may be unfinished.
        pending: usize,
    },
}

/// What a reduction sums over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The columns.
    Cols,
    /// Runs of consecutive rows.
    Rows,
}

/// Which elements a copy moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMap {
    /// All, element by element.
    Whole,
    /// In each block, `count` rows from `src_first` to `dst_first`.
    Rows {
        /// First row in a destination block.
        dst_first: usize,
        /// First row in a source block.
        src_first: usize,
        /// Number of rows.
        count: usize,
    },
    /// `count` columns from `src_first` to `dst_first`.
    Cols {
        /// First destination column.
        dst_first: usize,
        /// First source column.
        src_first: usize,
        /// Number of columns.
        count: usize,
    },
    /// `per` source blocks onto the diagonal of each destination block; off it nothing is written.
    OntoDiagonal {
        /// Source blocks in one destination block.
        per: usize,
    },
    /// The diagonal blocks, `per` to each source block, to destination blocks.
    FromDiagonal {
        /// Destination blocks in one source block.
        per: usize,
    },
    /// Rows become columns in each block.
    Transpose,
    /// All rows of the destination, from the source's rows after those of the chunk's tokens that exist.
    PastTokens {
        /// Rows of a token.
        per: usize,
    },
}

/// A matrix product for each block: `dst = then(start + op(a) op(b))`.
///
/// On tensor cores: all three in shared memory with 16-bit `a` and `b`; or `a` 16-bit in shared
/// memory and `b` (16-bit) and `dst` in columns. A product by warpgroups into columns has one block,
/// all columns of its warps, and no `then`: nothing may touch what is not complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Mma {
    /// Destination.
    pub dst: View,
    /// Left operand.
    pub a: Operand,
    /// Right operand.
    pub b: Operand,
    /// What the product is added to.
    pub start: Start,
    /// Applied to each element of the sum, which is the body's argument 0 (not in `args`).
    pub then: Option<Body>,
    /// What of the *product* can be other than zero.
    pub band: Band,
    /// Which unit computes it.
    pub unit: Unit,
}

/// An operand of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The tile.
    pub view: View,
    /// Whether each block is transposed.
    pub transposed: bool,
}

/// What a product is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing.
    Zero,
    /// What the destination holds.
    Dst,
    /// Another tile of the destination's shape.
    Tile(View),
}

/// Where `a` (for products into columns) or the wanted part of `dst` (for products in shared
/// memory) can be other than zero; the rest is skipped, in `dst` it becomes 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// Everywhere.
    Full,
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
}

/// Which unit computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `mma`: 16-bit operands, f32 accumulation.
    Tensor,
    /// `wgmma`: the same by four warps together, with swizzled operands in shared memory. Products
    /// into columns run on until `Sync::Products`; those in shared memory are complete.
    Warpgroup,
    /// Ordinary arithmetic in the wider of the operands' dtypes and f32; small or exact products.
    Scalar,
}

/// A pointwise expression with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// The expression.
    pub expr: Expr,
    /// Tiles that the expression reads; `Expr::Arg(i)` is `args[i]` in a `Map`, and `args[i - 1]`
    /// in the `then` of a product.
    pub args: Vec<Arg>,
}

/// A tile read by a pointwise expression.
///
/// An extent of the argument divides the destination's; each element is repeated consecutively,
/// so `[1, C, 1]` is a factor for each row and `[1, 1, V]` one for each column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The tile.
    pub view: View,
    /// Whether rows and columns are exchanged within each block when reading, so that a column
    /// vector `[1, C, 1]` varies along the destination's columns.
    pub transposed: bool,
}

/// A pointwise expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// An argument.
    Arg(usize),
    /// A number.
    Const(f64),
    /// A function of one argument.
    Unary(Unary, Box<Expr>),
    /// A function of two arguments.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// The second where the first is not 0, else the third.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// The value where `mask(row / row_step, col / col_step)` holds in the block, else 0.
    Keep {
        /// Which pairs hold.
        mask: Mask,
        /// Rows in one step.
        row_step: usize,
        /// Columns in one step.
        col_step: usize,
        /// The value.
        value: Box<Expr>,
    },
    /// The index of a loop as a number, in a [`Nest`] only; there neither `Keep` nor `Live` is legal.
    Index(usize),
    /// The value in rows of tokens that exist, else 0; a token has `rows` rows of the whole tile.
    Live {
        /// Rows of one token.
        rows: usize,
        /// The value.
        value: Box<Expr>,
    },
}

impl Expr {
    /// The expression with others in the place of its arguments.
    pub fn with_args(&self, arg: &dyn Fn(usize) -> Expr) -> Expr {
        let of = |x: &Expr| Box::new(x.with_args(arg));
        match self {
            Expr::Arg(i) => arg(*i),
            Expr::Const(_) | Expr::Index(_) => self.clone(),
            Expr::Unary(f, x) => Expr::Unary(*f, of(x)),
            Expr::Binary(f, a, b) => Expr::Binary(*f, of(a), of(b)),
            Expr::Select(c, a, b) => Expr::Select(of(c), of(a), of(b)),
            Expr::Keep { mask, row_step, col_step, value } => {
                let (mask, row_step, col_step) = (*mask, *row_step, *col_step);
                Expr::Keep { mask, row_step, col_step, value: of(value) }
            }
            Expr::Live { rows, value } => Expr::Live { rows: *rows, value: of(value) },
        }
    }
}

impl Body {
    /// The elements of a view as they are.
    pub fn of(view: View) -> Self {
        Body { expr: Expr::Arg(0), args: vec![Arg { view, transposed: false }] }
    }
}

impl Stmt {
    /// The tiles that the statement writes.
    pub fn writes(&self) -> Vec<TileId> {
        match self {
            Stmt::Load { dst, .. } | Stmt::Fill { dst, .. } | Stmt::Table { dst, .. } => vec![*dst],
            Stmt::Map { dst, .. }
            | Stmt::Reduce { dst, .. }
            | Stmt::Run { dst, .. }
            | Stmt::Score { dst, .. }
            | Stmt::Mix { dst, .. }
            | Stmt::Copy { dst, .. } => vec![dst.tile],
            Stmt::Inverse { dst, diagonal, .. } => vec![dst.tile, *diagonal],
            Stmt::Mma(m) => vec![m.dst.tile],
            Stmt::Nest(n) => vec![n.dst.tile],
            Stmt::Walk(w) => w.writes().map(|a| a.tile).chain(w.summaries()).collect(),
            Stmt::Begin(_)
            | Stmt::Store { .. }
            | Stmt::Put { .. }
            | Stmt::Commit
            | Stmt::WaitLoads { .. }
            | Stmt::Sync(_) => vec![],
        }
    }

    /// The tiles that the statement reads.
    pub fn reads(&self) -> Vec<TileId> {
        let body = |b: &Body| b.args.iter().map(|a| a.view.tile).collect::<Vec<_>>();
        match self {
            Stmt::Load { .. }
            | Stmt::Fill { .. }
            | Stmt::Table { .. }
            | Stmt::Commit
            | Stmt::WaitLoads { .. }
            | Stmt::Sync(_) => vec![],
            Stmt::Store { src, .. } => vec![*src],
            Stmt::Begin(m) => vec![m.a.view.tile, m.b.view.tile],
            Stmt::Map { body: b, .. } | Stmt::Run { body: b, .. } | Stmt::Put { body: b, .. } => {
                body(b)
            }
            Stmt::Mma(m) => {
                let mut all = vec![m.a.view.tile, m.b.view.tile];
                match m.start {
                    Start::Zero => {}
                    Start::Dst => all.push(m.dst.tile),
                    Start::Tile(t) => all.push(t.tile),
                }
                all.extend(m.then.iter().flat_map(body));
                all
            }
            Stmt::Reduce { src, .. } | Stmt::Inverse { src, .. } | Stmt::Copy { src, .. } => {
                vec![src.tile]
            }
            Stmt::Score { p, a, to, from, .. } => vec![p.tile, a.tile, to.tile, from.tile],
            Stmt::Mix { w, y, to, from, .. } => vec![w.tile, y.tile, to.tile, from.tile],
            Stmt::Nest(n) => n.args.iter().map(|a| a.tile).collect(),
            Stmt::Walk(w) => w.reads().map(|a| a.tile).collect(),
        }
    }
}
