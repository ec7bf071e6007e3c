//! The order of a token's statements: whoever reads a state as it was before the step comes before
//! whoever overwrites it.

use sluice_ir::kernel::{Stmt, TileId};
use std::collections::BTreeSet;

/// A statement of the body.
pub(super) struct Item {
    pub(super) stmt: Stmt,
    /// Tiles of states that it reads as they were before the step.
    pub(super) old: BTreeSet<TileId>,
}

impl Item {
    /// Whether the item, which was made before the other, must run before it.
    fn feeds(&self, later: &Item) -> bool {
        let needs = |t: TileId| later.stmt.reads().contains(&t) && !later.old.contains(&t);
        self.stmt.writes().into_iter().any(needs)
    }

    /// Whether the item reads what the other overwrites.
    fn loses_to(&self, other: &Item) -> bool {
        other.stmt.writes().iter().any(|t| self.old.contains(t))
    }
}

/// The statements in such an order, the first made first.
///
/// # Errors
///
/// The tile of a state whose new value must not be written over the old one at once: somebody needs
/// both.
pub(super) fn ordered(items: Vec<Item>) -> Result<Vec<Stmt>, TileId> {
    let before = |i: usize, j: usize| {
        i != j && (items[i].loses_to(&items[j]) || (i < j && items[i].feeds(&items[j])))
    };
    let all = 0..items.len();
    let needs: Vec<Vec<usize>> =
        all.clone().map(|j| all.clone().filter(|i| before(*i, j)).collect()).collect();
    let mut placed = vec![false; items.len()];
    let mut out = Vec::with_capacity(items.len());
    while out.len() < items.len() {
        let ready = |j: &usize| !placed[*j] && needs[*j].iter().all(|i| placed[*i]);
        match all.clone().find(ready) {
            Some(j) => {
                placed[j] = true;
                out.push(items[j].stmt.clone());
            }
            None => {
                let waiting = || items.iter().zip(&placed).filter(|(_, p)| !**p).map(|(i, _)| i);
                let read: BTreeSet<TileId> = waiting().flat_map(|i| i.old.clone()).collect();
                let written = waiting().flat_map(|i| i.stmt.writes());
                let tile = written.filter(|t| read.contains(t)).min();
                return Err(tile.expect("values depend on values before them"));
            }
        }
    }
    Ok(out)
}
