//! Windows: the entries of a chunk's tokens in a row behind those of the tokens before it.
//!
//! ```text
//! row:  the window before the chunk, W entries | the entry of token 0 | of token 1 | ...
//! ```
//!
//! The window before token `t` is the row from entry `t` on, the one after it from entry `t + 1` on; so all
//! tokens read theirs side by side. What lies past the chunk's last token is the window of the next chunk.

use super::Lowering;
use super::value::Site;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::elements::Law;
use sluice_ir::kernel::{Access, CopyMap, Expr, Nest, Stmt, TileId};
use sluice_ir::step::{DimId, NodeId, Op, StateId};

/// A window in a row.
#[derive(Clone)]
pub(super) struct Window {
    /// All entries, the oldest first.
    row: TileId,
    /// Elements of an entry.
    inner: usize,
}

impl Lowering<'_> {
    /// Whether a state is a window of numbers, which stands in a column as entries stand in rows.
    pub(super) fn is_column(&self, state: StateId) -> bool {
        let group = self.groups.iter().find(|group| group.states.contains(&state));
        let is_window = group.is_some_and(|group| matches!(group.law, Law::Window(_)));
        is_window && self.recurrence.states[state.0].dims.len() == 1
    }

    /// Makes the row of a window, and the window for the next chunk.
    pub(super) fn window(&mut self, state: StateId, entry: NodeId) -> Result<(), Diagnostic> {
        let declared = &self.recurrence.states[state.0];
        let dims = &self.recurrence.node(entry).dims;
        let ([rows, cols], inner) = (self.layout.tile(dims), self.layout.points(dims));
        let length = self.layout.size(declared.dims[0]);
        let size = [(length + self.chunk) * rows, cols];
        let row = self.new_tile(&format!("{}_row", declared.name), size, self.build.compute, 1);
        let held = self.states[state.0];
        let all = |tile| Access { tile, offset: 0, strides: vec![1] };
        self.draft.body.push(Stmt::Nest(Nest {
            extents: vec![length * inner],
            dst: all(row),
            reduce: None,
            expr: Expr::Arg(0),
            args: vec![all(held)],
        }));
        let dst = |this: &Self, site: &mut Site| {
            let first = this.access(row, dims, false, site);
            Access { offset: length * inner, ..first }
        };
        self.nest((dims, false), dst, |this, site| this.value(entry, site))?;
        let [dst, src] = [held, row].map(|tile| self.draft.whole(tile));
        self.draft.body.push(Stmt::Copy { dst, src, map: CopyMap::PastTokens { per: rows } });
        self.windows.insert(state, Window { row, inner });
        Ok(())
    }

    /// The window that a node is, and how many entries of its row are older than it at the first token.
    pub(super) fn window_of(&self, id: NodeId) -> Option<(&Window, usize)> {
        match self.recurrence.node(id).op {
            Op::State(state) => Some((self.windows.get(&state)?, 0)),
            Op::Push(..) => {
                let state = self.recurrence.updates.iter().position(|u| *u == id)?;
                Some((self.windows.get(&StateId(state))?, 1))
            }
            _ => None,
        }
    }

    /// The element of a window at a site.
    pub(super) fn in_window(
        &self,
        (window, first): (&Window, usize),
        dims: &[DimId],
        site: &Site,
    ) -> Access {
        let mut access = self.access(window.row, &dims[1..], false, site);
        access.offset += first * window.inner;
        site.shift(&mut access, dims[0], window.inner);
        access
    }
}
