//! Loop nests: statements that name the elements they touch by strides, so that any computation of
//! one step of a recurrence can be spelled.

use super::{Expr, Kernel, Reduction, TileId};

/// A loop nest over shared tiles: for every point of `extents` `dst[point] = expr(args)`, or the sum
/// or maximum of `expr` over one more, innermost loop.
///
/// The values are combined in the order of the loop, from 0 or minus infinity on. Only the elements
/// that are named are written. Points are independent: any thread may take any of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    /// Iterations of the outer loops, outermost first (none: one point).
    pub extents: Vec<usize>,
    /// The element written; one stride an outer loop.
    pub dst: Access,
    /// The innermost loop whose values are combined.
    pub reduce: Option<(Reduction, usize)>,
    /// `Expr::Arg(i)` is `args[i]`, `Expr::Index(i)` the value of loop `i`; the innermost loop of a
    /// reduction comes after the outer ones.
    pub expr: Expr,
    /// Elements read; one stride an outer loop, and one more for the loop of a reduction.
    pub args: Vec<Access>,
}

/// An element of a tile: `offset + sum of stride * loop index`, counted in elements of the tile read
/// row by row without padding (`row * cols + col`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The tile.
    pub tile: TileId,
    /// The element where every loop index is 0.
    pub offset: usize,
    /// How far one iteration of each loop moves.
    pub strides: Vec<usize>,
}

/// Most outer loops of a nest.
const MOST_LOOPS: usize = 4;

impl Access {
    /// The element at a point, one index a stride.
    pub fn at(&self, point: &[usize]) -> usize {
        self.offset + self.strides.iter().zip(point).map(|(s, i)| s * i).sum::<usize>()
    }

    /// Why the elements that loops of these extents name are not there.
    pub(super) fn outside(&self, kernel: &Kernel, extents: &[usize]) -> Option<String> {
        let tile = kernel.tile(self.tile);
        if tile.shared().is_none() {
            return Some(format!("tile {} must be in shared memory", tile.name));
        }
        if self.strides.len() != extents.len() {
            let (strides, loops) = (self.strides.len(), extents.len());
            return Some(format!("{strides} strides of {} for {loops} loops", tile.name));
        }
        let last: Vec<usize> = extents.iter().map(|n| n - 1).collect();
        let (last, size) = (self.at(&last), tile.rows * tile.cols);
        (last >= size).then(|| format!("element {last} of the {size} of {}", tile.name))
    }

    /// Whether different points of loops of these extents are different elements: sorted by stride,
    /// each loop steps over all that the loops with smaller strides reach.
    pub(super) fn is_injective(&self, extents: &[usize]) -> bool {
        let loops = self.strides.iter().zip(extents).filter(|(_, n)| **n > 1);
        let mut loops: Vec<(usize, usize)> = loops.map(|(s, n)| (*s, *n)).collect();
        loops.sort_unstable();
        let mut reach = 0;
        loops.into_iter().all(|(stride, extent)| {
            let steps_over = stride > reach;
            reach += stride * (extent - 1);
            steps_over
        })
    }
}

impl Nest {
    /// Iterations of all loops, outermost first, that of a reduction included.
    pub fn loops(&self) -> Vec<usize> {
        self.extents.iter().copied().chain(self.reduce.map(|(_, n)| n)).collect()
    }

    /// Why the nest is not legal, the expression aside.
    pub(super) fn fault(&self, kernel: &Kernel) -> Option<String> {
        let loops = self.loops();
        if self.extents.len() > MOST_LOOPS || loops.contains(&0) {
            return Some(format!("loops of {loops:?} iterations"));
        }
        self.dst
            .outside(kernel, &self.extents)
            .or_else(|| self.args.iter().find_map(|a| a.outside(kernel, &loops)))
            .or_else(|| {
                let distinct = self.dst.is_injective(&self.extents);
                (!distinct).then(|| "two points write one element".to_owned())
            })
            .or_else(|| {
                let strange = |a: &&Access| a.tile == self.dst.tile && !self.is_own(a, &loops);
                let name = |a: &Access| kernel.tile(a.tile).name.clone();
                let other = self.args.iter().find(strange);
                other.map(|a| format!("{} is read where another point writes it", name(a)))
            })
    }

    /// Whether an argument is the very element that the point writes, for every iteration.
    fn is_own(&self, arg: &Access, loops: &[usize]) -> bool {
        let still = [0];
        let written = self.dst.strides.iter().chain(&still);
        let same = arg.strides.iter().zip(written).zip(loops).all(|((a, d), n)| a == d || *n == 1);
        arg.offset == self.dst.offset && same
    }
}
