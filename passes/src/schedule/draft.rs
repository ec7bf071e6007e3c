//! A kernel under construction: statements on tiles that have no address yet.
//!
//! In: statements in any order that respects their data.  Out: a checked [`Kernel`]: statements
//! reordered so that few barriers are needed, tiles placed in shared memory, barriers inserted.

use super::order;
use super::place;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    self, Arg, Body, Checked, Expr, Kernel, Layout, Order, Param, ParamId, Place, Role, Rows,
    Schedule, Shared, Stmt, Swizzle, Sync, Tile, TileId, View,
};

/// Where a tile of a draft is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Shared memory, with this many instances.
    Shared { stages: usize },
    /// The same, for what is never an operand of tensor cores: not padded to fragments.
    Packed { stages: usize },
    /// Registers, spread by columns.
    Columns,
}

/// Statements and tiles of a kernel before placement.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) params: Vec<Param>,
    pub(super) tiles: Vec<Tile>,
    pub(super) carried: Vec<TileId>,
    pub(super) setup: Vec<Stmt>,
    /// Opens each iteration: waits for loads, issues the next ones. Kept as it is.
    pub(super) opening: Vec<Stmt>,
    pub(super) body: Vec<Stmt>,
    pub(super) finish: Vec<Stmt>,
}

/// What a draft must know to become a kernel.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) schedule: Schedule,
    pub(super) chunk: usize,
    pub(super) order: Order,
    pub(super) layout: Layout,
    pub(super) parts: usize,
    pub(super) warps: usize,
    /// Bytes of shared memory that the target offers.
    pub(super) budget: usize,
}

impl Draft {
    /// Adds a parameter, or finds the one of the same name and kind.
    pub(super) fn param(&mut self, param: Param) -> ParamId {
        let same = |p: &Param| p.name == param.name && p.kind == param.kind;
        if let Some(i) = self.params.iter().position(same) {
            return ParamId(i);
        }
        self.params.push(param);
        ParamId(self.params.len() - 1)
    }

    /// Adds a tile.
    pub(super) fn tile(
        &mut self,
        name: &str,
        size: [usize; 2],
        dtype: Dtype,
        home: Home,
    ) -> TileId {
        let [rows, cols] = size;
        let place = match home {
            Home::Columns => Place::Columns,
            Home::Shared { stages } => {
                let pad = |n: usize| if dtype.bytes() == 2 { n.next_multiple_of(16) } else { n };
                Place::Shared(shared(pad(rows), pad(cols), dtype, stages))
            }
            Home::Packed { stages } => Place::Shared(shared(rows, cols, dtype, stages)),
        };
        let taken = self.tiles.iter().filter(|t| t.name.split('.').next() == Some(name)).count();
        let name = if taken == 0 { name.to_owned() } else { format!("{name}.{taken}") };
        self.tiles.push(Tile { name, rows, cols, dtype, place, stands_for: Rows::Same });
        TileId(self.tiles.len() - 1)
    }

    /// A tile in columns whose rows stand for some of a param's.
    pub(super) fn standing_for(
        &mut self,
        name: &str,
        size: [usize; 2],
        dtype: Dtype,
        rows: Rows,
    ) -> TileId {
        let tile = self.tile(name, size, dtype, Home::Columns);
        self.tiles[tile.0].stands_for = rows;
        tile
    }

    /// The whole tile as one block.
    pub(super) fn whole(&self, tile: TileId) -> View {
        View { tile, blocks: 1 }
    }

    /// Appends `dst = expr(args)` to the body.
    pub(super) fn map(&mut self, dst: View, expr: Expr, args: Vec<Arg>) {
        self.body.push(Stmt::Map { dst, body: Body { expr, args } });
    }

    /// Opens each iteration with the loads of tokens, which run ahead of the chunk that uses them by all
    /// stages but one; setup begins with them.
    pub(super) fn pipeline(&mut self, loads: &[(TileId, ParamId)], stages: usize) {
        let ahead = stages - 1;
        let group = |ahead: usize| {
            let load = move |(dst, param): &(TileId, ParamId)| Stmt::Load {
                dst: *dst,
                param: *param,
                ahead,
                col: 0,
            };
            loads.iter().map(load).chain([Stmt::Commit])
        };
        self.setup.extend((0..ahead).flat_map(group));
        let barrier = Stmt::Sync(Sync::Cta);
        if ahead == 0 {
            self.opening.push(barrier.clone());
            self.opening.extend(group(0));
            self.opening.extend([Stmt::WaitLoads { pending: 0 }, barrier]);
        } else {
            self.opening.extend([Stmt::WaitLoads { pending: ahead - 1 }, barrier]);
            self.opening.extend(group(ahead));
        }
    }

    /// Orders, places and closes the draft.
    pub(super) fn close(self, shape: Shape) -> Result<Checked, Diagnostic> {
        let mut kernel = self.unplaced(&shape);
        let needed = place::apart(&mut kernel.tiles);
        kernel.shared_bytes = needed;
        let mut body = order::few_barriers(&kernel, &self.opening, self.body, Sync::Cta);
        if needed > shape.budget {
            let kept = [&self.setup, &self.finish];
            kernel.shared_bytes = place::reusing(&mut kernel.tiles, &kept, &self.opening, &body);
            body = order::with_barriers(&kernel, &self.opening, body, Sync::Cta);
        }
        if kernel.shared_bytes > shape.budget {
            return Err(too_large(kernel.shared_bytes, shape.budget));
        }
        let setup = order::with_barriers(&kernel, &[], self.setup, Sync::Cta);
        let finish = order::after_loop(&kernel, self.finish);
        let name = "all".to_owned();
        kernel.roles =
            vec![Role { name, warps: shape.warps, registers: None, setup, body, finish }];
        finished(kernel)
    }

    /// The kernel without addresses and roles.
    pub(super) fn unplaced(&self, shape: &Shape) -> Kernel {
        Kernel {
            name: shape.name.clone(),
            schedule: shape.schedule,
            chunk: shape.chunk,
            order: shape.order,
            params: self.params.clone(),
            layout: shape.layout,
            parts: shape.parts,
            tiles: self.tiles.clone(),
            carried: self.carried.clone(),
            shared_bytes: 0,
            mbarriers: Vec::new(),
            roles: Vec::new(),
            prepare: None,
        }
    }
}

/// The kernel, if it is legal.
pub(super) fn finished(kernel: Kernel) -> Result<Checked, Diagnostic> {
    kernel::check(kernel).map_err(|reason| {
        let message = format!("this schedule has no kernel for the program: {reason}");
        Diagnostic::new(Code::Unsupported, message)
    })
}

pub(super) fn too_large(needed: usize, budget: usize) -> Diagnostic {
    let message =
        format!("the tiles need {needed} bytes of shared memory, the target has {budget}");
    Diagnostic::new(Code::TooLarge, message)
        .with_help("use a shorter chunk, smaller dimensions, or a target with more shared memory")
}

/// Bytes from one row of a tile to the next.
///
/// Rows of 16-bit tiles start an odd number of 16-byte pieces apart, so that the eight rows of a
/// matrix load lie in different banks; wide f32 rows are shifted by eight words for the same reason.
fn pitch(cols: usize, dtype: Dtype) -> usize {
    let bytes = cols * dtype.bytes();
    match dtype {
        Dtype::F16 | Dtype::Bf16 => (bytes.div_ceil(16) | 1) * 16,
        Dtype::F32 | Dtype::F64 if cols == 1 => bytes,
        Dtype::F32 | Dtype::F64 if cols < 16 => bytes.next_multiple_of(16),
        Dtype::F32 | Dtype::F64 => bytes.next_multiple_of(16) + 32,
    }
}

/// A tile in shared memory without an address.
pub(super) fn shared(
    padded_rows: usize,
    padded_cols: usize,
    dtype: Dtype,
    stages: usize,
) -> Shared {
    let pitch = pitch(padded_cols, dtype);
    let stage_bytes = (padded_rows * pitch).next_multiple_of(128);
    Shared {
        offset: 0,
        pitch,
        padded_rows,
        padded_cols,
        stages,
        stage_bytes,
        swizzle: Swizzle::None,
    }
}
