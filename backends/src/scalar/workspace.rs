//! Where tiles lie: one buffer for all, without padding, each instance of a stage after the other.

use super::Precision;
use sluice_ir::kernel::{Kernel, Stmt, Tile, TileId};

/// Alignment of the workspace and of each tile in it, in bytes: a cache line.
pub const WORKSPACE_ALIGN: usize = 64;

/// The layout of the workspace.
pub(super) struct Workspace {
    /// First element of each tile.
    tiles: Vec<usize>,
    /// First element of the scratch: one row of a product, or one block of an inverse.
    pub(super) scratch: usize,
    /// Size in bytes.
    pub(super) bytes: usize,
}

/// Instances of a tile.
pub(super) fn stages(tile: &Tile) -> usize {
    tile.shared().map_or(1, |s| s.stages)
}

impl Workspace {
    /// The layout for a kernel.
    pub(super) fn new(kernel: &Kernel, precision: Precision) -> Self {
        let element = match precision {
            Precision::F32 => 4,
            Precision::F64 => 8,
        };
        let aligned = |n: usize| n.next_multiple_of(WORKSPACE_ALIGN / element);
        let mut end = 0;
        let mut tiles = Vec::with_capacity(kernel.tiles.len());
        for tile in &kernel.tiles {
            tiles.push(end);
            end += aligned(stages(tile) * tile.rows * tile.cols);
        }
        let scratch = end;
        let row = kernel.tiles.iter().map(|t| t.cols).max().unwrap_or(0);
        let phases = kernel.roles.iter().flat_map(|r| [&r.setup, &r.body, &r.finish]);
        let square = phases.flatten().map(|s| match s {
            Stmt::Inverse { dst, .. } => kernel.shape(*dst)[1].pow(2),
            _ => 0,
        });
        end += aligned(square.fold(row, usize::max));
        Self { tiles, scratch, bytes: (end * element).max(WORKSPACE_ALIGN) }
    }

    /// First element of a tile's first instance.
    pub(super) fn tile(&self, id: TileId) -> usize {
        self.tiles[id.0]
    }
}
