//! What a kernel is: a loop over the chunks of one sequence and head, as operations on tiles.
//!
//! ```text
//! Kernel = params, tiles, roles, mbarriers; one instance per (sequence, head, column part)
//! Role   = a group of warps with setup, body (once per chunk) and finish
//! Tile   = [blocks * rows, cols] elements of one dtype, in shared memory or spread over columns
//! Stmt   = Load | Store | Put | Commit | WaitLoads | Sync | Fill | Map | Mma | Reduce | Run
//!        | Score | Mix | Inverse | Copy | Nest | Walk | Table
//! ```
//!
//! An operand is a [`View`]: the same elements of a tile seen as `blocks` blocks of `rows` rows.
//! "One chunk", "sub-blocks of a chunk" and "rows of one token" are views of one tile, as in
//! [`crate::seq`].
//!
//! **Chunks.** Body statements run once for each chunk `c`. A chunk holds `chunk` tokens; `live` of
//! them exist (fewer only in the last chunk). `Load` zero-fills what does not exist, `Store` leaves
//! it alone, `Expr::Live` gives 0 for its rows. With one token a chunk nobody reads a token that does not
//! exist, and `Load` makes nothing of it.
//!
//! **Order of tokens.** Chunks count the tokens as the loop visits them: the `i`-th visit is to token
//! `order.token(i, tokens)` of the sequence. Only `Load` and `Store` of token params see the map;
//! for everything else `i` is the token.
//!
//! **Columns.** A tile in `Place::Columns` never leaves registers: every warp owns its own columns
//! of the value axis, so statements among such tiles need no barrier. With `Layout::Fragments` warp
//! `w` owns columns `16w .. 16w + 16` and holds them *transposed* as `mma` accumulators: for an
//! element at `(row, column)` the accumulator row is the column and the accumulator column is the
//! row. Packed to 16 bits, the same registers are the left operand of the next product, so every
//! product is (columns x shared -> columns) without moving data: `Y^T = X^T M`.
//! With `Layout::Lanes` a lane owns pieces of `width` neighbouring columns, `across` lanes lie side by
//! side, and the rows of a tile are dealt to these groups of lanes, warp by warp, in contiguous runs (a
//! one-row tile is replicated over the groups); this is the layout of the step schedule. A kernel with
//! `parts > 1` cuts the value axis into that many independent parts, one a block of the grid; then tiles
//! and column params hold one part.
//!
//! **Shared memory.** A tile in `Place::Shared` has a byte offset and a row pitch chosen by the
//! scheduler. With `stages > 1` there are that many instances `stage_bytes` apart; chunk `c` uses
//! instance `c % stages`. Elements between `rows`/`cols` and the padded extents are 0 whenever the
//! tile is read by an `Mma` on tensor cores: every statement that writes such a tile zeroes them.
//!
//! **Order.** Statements of a role run in order; shared memory is visible to other warps only after
//! `Sync`. An asynchronous `Load` is complete after the `WaitLoads` that covers its `Commit`. A product
//! of a warpgroup into columns is asynchronous too: it is a group of its own, complete after the
//! `Sync::Products` that covers it.
//!
//! **Prepared.** A kernel may have another one before it, which computes for every chunk by itself what
//! needs no state ([`Schedule::Prepare`]): its token outputs are token inputs of the kernel, under the
//! same names. A tile with the rows of one token, not of all tokens of a chunk, stands for the chunk's
//! first token; that is where values lie of which a chunk has one.
//!
//! **Roles.** Roles run side by side and meet at mbarriers. Of a tile that one role writes and another
//! reads there are several instances: the writer waits until the instance is free (`Sync::Free`),
//! writes, and arrives; the reader waits, reads, and arrives at the barrier on which the writer waits.

use super::{Checked, Stmt};
pub use crate::dtype::Dtype;
pub use crate::pairs::Rows;
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
    /// In which order the tokens of a sequence are visited; a sequence is whole rows of a grid.
    pub order: Order,
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
    /// What runs before it on the same problem and makes some of its token inputs.
    pub prepare: Option<Box<Checked>>,
}

/// In which order a kernel visits the tokens of a sequence.
pub type Order = crate::step::Order<usize>;

/// The schedules of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Schedule {
    /// The state stays on chip for the whole sequence; chunks of 16 tokens or more.
    FusedScan,
    /// One token at a time, straight from the step form; owes nothing to the derivation.
    Step,
    /// One token at a time for recurrences of any shape and sequences of any length.
    Loop,
    /// Chunks of tokens whose states are walked element by element.
    ElementScan,
    /// What needs no state, before a scan: chunks are independent, and the grid's z axis shares them out.
    Prepare,
}

impl Schedule {
    /// Name in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Schedule::FusedScan => "scan",
            Schedule::Step => "step",
            Schedule::Loop => "loop",
            Schedule::ElementScan => "elements",
            Schedule::Prepare => "prepare",
        }
    }
}

/// How the columns of `Place::Columns` tiles are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 16 columns a warp, as transposed `mma` accumulators.
    Fragments,
    /// Pieces of rows a lane, rows dealt to groups of lanes.
    Lanes(Lanes),
}

/// How lanes share column tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Neighbouring columns of a piece: 1, 2 or 4.
    pub width: usize,
    /// Lanes of a group, which lie side by side along a row: a power of two up to a warp.
    pub across: usize,
}

impl Lanes {
    /// Lanes of a warp.
    const WARP: usize = 32;

    /// A column a lane, a group a warp.
    pub const SINGLE: Lanes = Lanes { width: 1, across: Self::WARP };

    /// Groups of a warp.
    pub fn groups(self) -> usize {
        Self::WARP / self.across
    }

    /// Rows of a tile that a group has.
    pub fn run(self, rows: usize, warps: usize) -> usize {
        rows.div_ceil(warps * self.groups())
    }

    /// Values of each row that a lane has.
    pub fn of_row(self, cols: usize) -> usize {
        cols.div_ceil(self.width * self.across) * self.width
    }
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
    /// Dimensions of one token, model entry or state in memory; their product is `rows * cols`.
    pub dims: Vec<usize>,
    /// Rows of one token, model entry or state, as tiles see it.
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
    /// Which rows of a param its rows stand for when it is loaded or stored.
    pub stands_for: Rows,
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
    /// Columns in panels of 128 bytes, one panel of all rows after another; piece `i` of a panel's row
    /// `r` at `i ^ (r % 8)`: what bulk tensor copies and `wgmma` read. The pitch is a panel's, 128.
    Xor128,
}

impl Shared {
    /// Bytes of one instance.
    pub fn bytes(&self, element: usize) -> usize {
        let panels = match self.swizzle {
            Swizzle::None => 1,
            Swizzle::Xor128 => (self.padded_cols * element).div_ceil(self.pitch),
        };
        self.padded_rows * self.pitch * panels
    }
}

/// A barrier in shared memory on which roles wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mbarrier {
    /// Name for printing.
    pub name: String,
    /// Warps whose arrival completes a phase: those of each role that arrives, every lane for itself.
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

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Fragments => f.write_str("Fragments"),
            Layout::Lanes(lanes) => write!(f, "Lanes {}x{}", lanes.across, lanes.width),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
