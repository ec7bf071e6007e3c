//! What a kernel is: a loop over the chunks of one sequence and head, as operations on tiles.
//!
//! ```text
//! Kernel = params, tiles, roles, mbarriers; one instance per (sequence, head, column part)
//! Role   = a group of warps with setup, body (once per chunk) and finish
//! Tile   = [blocks * rows, cols] elements of one dtype, in shared memory or spread over columns
//! Stmt   = Load | Store | Commit | WaitLoads | Sync | Fill | Map | Mma | Reduce | Run
//!        | Score | Mix | Inverse | Copy
//! ```
//!
//! An operand is a [`View`]: the same elements of a tile seen as `blocks` blocks of `rows` rows.
//! "One chunk", "sub-blocks of a chunk" and "rows of one token" are views of one tile, as in
//! [`crate::seq`].
//!
//! **Chunks.** Body statements run once for each chunk `c`. A chunk holds `chunk` tokens; `live` of
//! them exist (fewer only in the last chunk). `Load` zero-fills what does not exist, `Store` leaves
//! it alone, `Expr::Live` gives 0 for its rows.
//!
//! **Columns.** A tile in `Place::Columns` never leaves registers: every warp owns its own columns
//! of the value axis, so statements among such tiles need no barrier. With `Layout::Fragments` warp
//! `w` owns columns `16w .. 16w + 16` and holds them *transposed* as `mma` accumulators: for an
//! element at `(row, column)` the accumulator row is the column and the accumulator column is the
//! row. Packed to 16 bits, the same registers are the left operand of the next product, so every
//! product is (columns x shared -> columns) without moving data: `Y^T = X^T M`.
//! With `Layout::Lanes` lane `l` owns column `l` of each 32 and the rows of a tile are dealt to the
//! warps in contiguous runs (a one-row tile is replicated over the warps); this is the layout of
//! the step schedule. A kernel with `parts > 1` cuts the value axis into that many independent
//! parts, one per block of the grid's y axis; then tiles and column params hold one part.
//!
//! **Shared memory.** A tile in `Place::Shared` has a byte offset and a row pitch chosen by the
//! scheduler. With `stages > 1` there are that many instances `stage_bytes` apart; chunk `c` uses
//! instance `c % stages`. Elements between `rows`/`cols` and the padded extents are 0 whenever the
//! tile is read by an `Mma` on tensor cores: every statement that writes such a tile zeroes them.
//!
//! **Order.** Statements of a role run in order; shared memory is visible to other warps only after
//! `Sync`. An asynchronous `Load` is complete after the `WaitLoads` that covers its `Commit`.

pub use crate::dtype::Dtype;
pub use crate::pointwise::{Binary, Unary};
pub use crate::step::{Rate, Sharing};
use std::fmt;

/// One kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Entry point; a valid C identifier.
    pub name: String,
    /// Which schedule made it.
    pub schedule: Schedule,
    /// Tokens per iteration of the body.
    pub chunk: usize,
    /// Arrays in global memory, in the order of the entry point's parameters.
    pub params: Vec<Param>,
    /// How columns are spread over warps and lanes.
    pub layout: Layout,
    /// Independent parts of the value axis (extent of the grid's y axis).
    pub parts: usize,
    /// All tiles.
    pub tiles: Vec<Tile>,
    /// Column tiles whose registers pass from one iteration of the body to the next.
    pub carried: Vec<TileId>,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: usize,
    /// Barriers in shared memory between roles.
    pub mbarriers: Vec<Mbarrier>,
    /// Groups of warps, in order of their warp indices.
    pub roles: Vec<Role>,
}

/// The schedules of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Schedule {
    /// The state stays on chip for the whole sequence; chunks of 16 tokens or more.
    FusedScan,
    /// One token at a time, straight from the step form; owes nothing to the derivation.
    Step,
}

impl Schedule {
    /// Name in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Schedule::FusedScan => "scan",
            Schedule::Step => "step",
        }
    }
}

/// How the columns of `Place::Columns` tiles are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 16 columns a warp, as transposed `mma` accumulators.
    Fragments,
    /// One column a lane, rows dealt to the warps.
    Lanes,
}

/// Index of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// Index of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId(pub usize);

/// An array in global memory.
///
/// Token params are `[tokens, heads or groups, rows, cols]` with strides for tokens and heads,
/// model params `[heads or groups, rows, cols]`, states `[sequences, heads, rows, cols]`; the last
/// two dimensions are contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Name of the input, output or state.
    pub name: String,
    /// What it holds.
    pub kind: ParamKind,
    /// Element type in global memory.
    pub dtype: Dtype,
    /// Which heads share a row.
    pub sharing: Sharing,
    /// Rows of one token, model entry or state.
    pub rows: usize,
    /// Columns, of all parts together.
    pub cols: usize,
    /// Whether the parts of the grid's y axis cut the columns.
    pub split: bool,
    /// Whether memory holds the transpose: element `(r, c)` at `c * rows + r`.
    pub transposed: bool,
    /// Largest power of two up to 16 that divides every row's byte offset; the launcher checks
    /// pointers and strides against it.
    pub align: usize,
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// An input with a value per token.
    TokenIn,
    /// An input with one value for the model.
    ModelIn,
    /// An output with a value per token.
    TokenOut,
    /// A state before the first token; a null pointer means the declared initial value.
    StateIn,
    /// A state after the last token; a null pointer means that nobody wants it.
    StateOut,
}

/// A value held in shared memory or registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// Name for printing.
    pub name: String,
    /// Rows, all blocks together.
    pub rows: usize,
    /// Columns (of one part, if the kernel has several and the tile has the value axis).
    pub cols: usize,
    /// Element type.
    pub dtype: Dtype,
    /// Where it lives.
    pub place: Place,
}

/// Where a tile lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In shared memory.
    Shared(Shared),
    /// In registers, spread by columns.
    Columns,
}

/// A place in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Byte offset of the first instance.
    pub offset: usize,
    /// Bytes from one row to the next.
    pub pitch: usize,
    /// Rows including padding.
    pub padded_rows: usize,
    /// Columns including padding.
    pub padded_cols: usize,
    /// Instances; chunk `c` uses instance `c % stages`.
    pub stages: usize,
    /// Bytes from one instance to the next.
    pub stage_bytes: usize,
    /// Order of the 16-byte pieces within a row.
    pub swizzle: Swizzle,
}

/// Order of the 16-byte pieces of a row in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swizzle {
    /// In order; bank conflicts are avoided by the pitch.
    None,
    /// Piece `i` of row `r` at `i ^ (r % 8)`: what bulk tensor copies and `wgmma` read.
    Xor128,
}

/// A barrier in shared memory on which roles wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mbarrier {
    /// Name for printing.
    pub name: String,
    /// Arrivals that complete a phase.
    pub count: usize,
    /// Instances; chunk `c` uses instance `c % stages`.
    pub stages: usize,
}

/// A group of warps that runs the same statements.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Name for printing.
    pub name: String,
    /// Number of warps.
    pub warps: usize,
    /// Registers a thread, if the role has its own budget.
    pub registers: Option<usize>,
    /// Before the first chunk; "this chunk" is chunk 0.
    pub setup: Vec<Stmt>,
    /// Once per chunk.
    pub body: Vec<Stmt>,
    /// After the last chunk.
    pub finish: Vec<Stmt>,
}

/// A tile seen as `blocks` blocks of `rows` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct View {
    /// The tile.
    pub tile: TileId,
    /// Blocks; divides the tile's rows.
    pub blocks: usize,
}

/// Causal masks between a reading row `t` and a writing row `s`.
pub use crate::seq::Mask;

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
    },
    /// Shared memory or columns to global memory: rows that exist.
    Store {
        /// Destination.
        param: ParamId,
        /// Source.
        src: TileId,
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
    /// Sums: `[b, r, c]` to `[b, r, 1]` (over columns) or `[b, n, c]` (over runs of `r / n` rows).
    Reduce {
        /// Destination.
        dst: View,
        /// Source.
        src: View,
        /// Direction.
        over: Over,
    },
    /// Running sum down the rows of each block: `dst[t] = sum of src[s], mask(t, s)`.
    Run {
        /// Destination, same shape as the source.
        dst: View,
        /// Source.
        src: View,
        /// Which rows count.
        mask: Mask,
    },
    /// Decayed scores of rows with vector decay, all in shared memory:
    /// `dst[b,t,s] = mask(t',s') * sum_c p[b,t,c] a[b,s,c] exp(to[b,t',c] - from[b,s',c])`,
    /// with `t' = t / (rows(p)/rows(to))`, `s'` alike. `to` and `from` are running sums with
    /// `to <= from` wherever the mask holds.
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
    },
    /// Mixing of rows with a decay per column, all in shared memory:
    /// `dst[b,t,v] = sum_s mask(t',s') w[b,t,s] y[b,s,v] exp(to[b,t',v] - from[b,s',v])`.
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
}

/// Barriers and fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// All threads of the block.
    Cta,
    /// The threads of this role (a named barrier).
    Role,
    /// Arrives on an mbarrier's instance for this chunk.
    Arrive(usize),
    /// Waits for an mbarrier's instance for this chunk.
    Wait(usize),
    /// Orders generic writes before reads by the copy engine or `wgmma`.
    ProxyFence,
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
}

/// A matrix product for each block: `dst = then(start + op(a) op(b))`.
///
/// On tensor cores: all three in shared memory with 16-bit `a` and `b`; or `a` 16-bit in shared
/// memory and `b` (16-bit) and `dst` in columns.
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
    /// The value in rows of tokens that exist, else 0; a token has `rows` rows of the whole tile.
    Live {
        /// Rows of one token.
        rows: usize,
        /// The value.
        value: Box<Expr>,
    },
}

impl Tile {
    /// The place in shared memory, if there.
    pub fn shared(&self) -> Option<Shared> {
        match self.place {
            Place::Shared(s) => Some(s),
            Place::Columns => None,
        }
    }
}

impl Kernel {
    /// The tile of an index.
    pub fn tile(&self, id: TileId) -> &Tile {
        &self.tiles[id.0]
    }

    /// The parameter of an index.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }

    /// `[blocks, rows, cols]` of a view.
    pub fn shape(&self, view: View) -> [usize; 3] {
        let tile = self.tile(view.tile);
        [view.blocks, tile.rows / view.blocks, tile.cols]
    }

    /// Threads of one block of the grid.
    pub fn threads(&self) -> usize {
        32 * self.roles.iter().map(|r| r.warps).sum::<usize>()
    }
}

impl Stmt {
    /// The tile that the statement writes, if it writes one.
    pub fn writes(&self) -> Option<TileId> {
        match self {
            Stmt::Load { dst, .. } | Stmt::Fill { dst, .. } => Some(*dst),
            Stmt::Map { dst, .. }
            | Stmt::Reduce { dst, .. }
            | Stmt::Run { dst, .. }
            | Stmt::Score { dst, .. }
            | Stmt::Mix { dst, .. }
            | Stmt::Inverse { dst, .. }
            | Stmt::Copy { dst, .. } => Some(dst.tile),
            Stmt::Mma(m) => Some(m.dst.tile),
            Stmt::Store { .. } | Stmt::Commit | Stmt::WaitLoads { .. } | Stmt::Sync(_) => None,
        }
    }

    /// The tiles that the statement reads.
    pub fn reads(&self) -> Vec<TileId> {
        let body = |b: &Body| b.args.iter().map(|a| a.view.tile).collect::<Vec<_>>();
        match self {
            Stmt::Load { .. }
            | Stmt::Fill { .. }
            | Stmt::Commit
            | Stmt::WaitLoads { .. }
            | Stmt::Sync(_) => vec![],
            Stmt::Store { src, .. } => vec![*src],
            Stmt::Map { body: b, .. } => body(b),
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
            Stmt::Reduce { src, .. }
            | Stmt::Run { src, .. }
            | Stmt::Inverse { src, .. }
            | Stmt::Copy { src, .. } => vec![src.tile],
            Stmt::Score { p, a, to, from, .. } => vec![p.tile, a.tile, to.tile, from.tile],
            Stmt::Mix { w, y, to, from, .. } => vec![w.tile, y.tile, to.tile, from.tile],
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
