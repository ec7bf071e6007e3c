//! Statements with other tiles in the same places.

use super::{Body, Start, Stmt, TileId};

fn arguments(body: &mut Body) -> impl Iterator<Item = &mut TileId> {
    body.args.iter_mut().map(|arg| &mut arg.view.tile)
}

impl Stmt {
    /// Every mention of a tile.
    pub fn tiles_mut(&mut self) -> Vec<&mut TileId> {
        match self {
            Stmt::Load { dst, .. } | Stmt::Fill { dst, .. } | Stmt::Table { dst, .. } => vec![dst],
            Stmt::Store { src, .. } => vec![src],
            Stmt::Put { body, .. } => arguments(body).collect(),
            Stmt::Commit | Stmt::WaitLoads { .. } | Stmt::Sync(_) => vec![],
            Stmt::Map { dst, body } | Stmt::Run { dst, body, .. } => {
                [&mut dst.tile].into_iter().chain(arguments(body)).collect()
            }
            Stmt::Mma(m) | Stmt::Begin(m) => {
                let mut all = vec![&mut m.dst.tile, &mut m.a.view.tile, &mut m.b.view.tile];
                if let Start::Tile(view) = &mut m.start {
                    all.push(&mut view.tile);
                }
                all.extend(m.then.iter_mut().flat_map(arguments));
                all
            }
            Stmt::Reduce { dst, src, .. } | Stmt::Copy { dst, src, .. } => {
                vec![&mut dst.tile, &mut src.tile]
            }
            Stmt::Inverse { dst, src, diagonal, .. } => {
                vec![&mut dst.tile, &mut src.tile, diagonal]
            }
            Stmt::Score { dst, p, a, to, from, .. } => {
                [dst, p, a, to, from].map(|view| &mut view.tile).into()
            }
            Stmt::Mix { dst, w, y, to, from, .. } => {
                [dst, w, y, to, from].map(|view| &mut view.tile).into()
            }
            Stmt::Nest(nest) => {
                let args = nest.args.iter_mut().map(|access| &mut access.tile);
                [&mut nest.dst.tile].into_iter().chain(args).collect()
            }
            Stmt::Walk(walk) => {
                let read = walk.states.iter_mut().chain(&mut walk.args);
                let accesses = read.chain(walk.results.iter_mut().map(|result| &mut result.dst));
                let summaries = walk.segments.iter_mut().map(|segments| &mut segments.summaries);
                accesses.map(|access| &mut access.tile).chain(summaries).collect()
            }
        }
    }
}
