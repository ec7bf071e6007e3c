//! How values lie in tiles, and which dimension the grid's parts cut.
//!
//! A value of several dimensions is a tile of as many elements, row-major with the last dimension as
//! columns. The dimension that is cut always comes last; programs may write it first, then memory
//! holds the transpose.

use sluice_ir::step::{DimId, Node, Op, Recurrence};

/// Widths of a part to choose from; nothing up to the narrowest is cut.
const WIDTHS: [usize; 3] = [128, 64, 32];

/// The largest number of elements of a state that one part holds, if a narrower part can help it.
const PART_ELEMENTS: usize = 1024;

/// A dimension that is cut into parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) dim: DimId,
    /// Columns of a part; the last one may be only partly there.
    pub(super) width: usize,
    pub(super) parts: usize,
}

/// Sizes and strides of values in one part.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Size of each dimension, all parts together.
    whole: Vec<usize>,
    pub(super) cut: Option<Cut>,
}

impl Layout {
    /// Values of these sizes, cut if that is wanted and columns of some dimension are independent.
    pub(super) fn new(
        recurrence: &Recurrence,
        whole: Vec<usize>,
        live: &[bool],
        cut: bool,
    ) -> Self {
        let widest = if cut { independent(recurrence, &whole, live) } else { None };
        let cut = widest.and_then(|dim| parts(recurrence, &whole, dim));
        Self { whole, cut }
    }

    /// Values of these sizes, cut into parts of at most that many columns where columns of some
    /// dimension are independent.
    pub(super) fn of_width(
        recurrence: &Recurrence,
        whole: Vec<usize>,
        live: &[bool],
        width: usize,
    ) -> Self {
        let widest = independent(recurrence, &whole, live);
        let cut = widest.and_then(|dim| even_parts(whole[dim.0], dim, width));
        Self { whole, cut }
    }

    fn is_cut(&self, dim: DimId) -> bool {
        self.cut.is_some_and(|cut| cut.dim == dim)
    }

    /// Size of a dimension in one part.
    pub(super) fn size(&self, dim: DimId) -> usize {
        self.cut.filter(|c| c.dim == dim).map_or(self.whole[dim.0], |c| c.width)
    }

    /// Elements of a value in one part.
    pub(super) fn points(&self, dims: &[DimId]) -> usize {
        dims.iter().map(|d| self.size(*d)).product()
    }

    /// The dimensions as tiles have them, outermost first.
    pub(super) fn order(&self, dims: &[DimId]) -> Vec<DimId> {
        let (cut, mut order): (Vec<DimId>, Vec<DimId>) =
            dims.iter().partition(|d| self.is_cut(**d));
        order.extend(cut);
        order
    }

    /// The distance of neighbours along each of the dimensions, in their own order.
    pub(super) fn strides(&self, dims: &[DimId]) -> Vec<usize> {
        let order = self.order(dims);
        let inner = |d: &DimId| {
            let place = order.iter().position(|o| o == d).expect("a permutation");
            self.points(&order[place + 1..])
        };
        dims.iter().map(inner).collect()
    }

    /// Rows and columns of a value's tile.
    pub(super) fn tile(&self, dims: &[DimId]) -> [usize; 2] {
        let cols = self.order(dims).last().map_or(1, |d| self.size(*d));
        [self.points(dims) / cols, cols]
    }

    /// Sizes in memory, all parts together.
    pub(super) fn whole(&self, dims: &[DimId]) -> Vec<usize> {
        dims.iter().map(|d| self.whole[d.0]).collect()
    }

    /// Whether each part has its own columns of a value.
    pub(super) fn splits(&self, dims: &[DimId]) -> bool {
        dims.iter().any(|d| self.is_cut(*d))
    }

    /// Whether memory holds the transpose of the tile.
    pub(super) fn transposes(&self, dims: &[DimId]) -> bool {
        self.order(dims) != dims
    }

    /// Whether two shapes of as many elements differ in names and dimensions of one element only, and
    /// then which dimension of the first is which of the second.
    pub(super) fn renamed(&self, from: &[DimId], to: &[DimId]) -> Option<Vec<(DimId, DimId)>> {
        let long = |dims: &[DimId]| -> Vec<DimId> {
            dims.iter().copied().filter(|d| self.size(*d) > 1).collect()
        };
        let pairs: Vec<(DimId, DimId)> = long(from).into_iter().zip(long(to)).collect();
        let all = pairs.len() == long(from).len() && pairs.len() == long(to).len();
        let same = pairs.iter().all(|(a, b)| self.size(*a) == self.size(*b));
        (all && same).then_some(pairs)
    }
}

/// The largest of the dimensions whose columns are independent.
fn independent(recurrence: &Recurrence, whole: &[usize], live: &[bool]) -> Option<DimId> {
    let possible = (0..whole.len()).map(DimId).filter(|d| is_independent(recurrence, live, *d));
    possible.max_by_key(|d| whole[d.0])
}

/// Whether every state has the dimension, every array has it at an end, and no value at one index of it
/// depends on values at another or on the index.
fn is_independent(recurrence: &Recurrence, live: &[bool], dim: DimId) -> bool {
    let Recurrence { inputs, states, outputs, nodes, .. } = recurrence;
    let at_an_end = |dims: &[DimId]| {
        !dims.contains(&dim) || dims.first() == Some(&dim) || dims.last() == Some(&dim)
    };
    let keeps = |node: &Node| match node.op {
        Op::Index(d) => d != dim,
        Op::Table(_) => !has_unlike_columns(recurrence, node, dim),
        Op::Dot(_, _, d) | Op::Reduce(_, _, d) | Op::TopK(_, d, _) => d != dim,
        Op::Concat(_, _, [x, y], d) => ![x, y, d].contains(&dim),
        Op::Slice(_, from, to, _) => ![from, to].contains(&dim),
        Op::Push(..) => node.dims[0] != dim,
        Op::Reshape(a, _) => {
            let (from, to) = (&recurrence.node(a).dims, &node.dims);
            let stays = (from.first() == to.first() && to.first() == Some(&dim))
                || (from.last() == to.last() && to.last() == Some(&dim));
            stays || !(from.contains(&dim) || to.contains(&dim))
        }
        Op::Input(id) => at_an_end(&inputs[id.0].dims),
        Op::State(_)
        | Op::Final(_)
        | Op::Const(_)
        | Op::Extent(_)
        | Op::Unary(..)
        | Op::Binary(..)
        | Op::Select(..)
        | Op::Outer(..)
        | Op::Matrix(..) => true,
    };
    let carried = |dims: &[DimId]| dims.contains(&dim) && at_an_end(dims);
    !states.is_empty()
        && states.iter().all(|s| carried(&s.dims))
        && outputs.iter().all(|o| at_an_end(&recurrence.node(o.node).dims))
        && nodes.iter().zip(live).all(|(node, live)| !live || keeps(node))
}

/// Whether a table's elements differ along a dimension, or in any way if it has the dimension.
fn has_unlike_columns(recurrence: &Recurrence, node: &Node, dim: DimId) -> bool {
    node.dims.contains(&dim) && uniform(recurrence, &node.op).is_none()
}

/// The number that a constant is, or that all elements of a table are.
pub(super) fn uniform(recurrence: &Recurrence, op: &Op) -> Option<f64> {
    match op {
        Op::Const(x) => Some(*x),
        Op::Table(id) => {
            let (first, rest) = recurrence.tables[id.0].values.split_first()?;
            rest.iter().all(|x| x == first).then_some(*first)
        }
        _ => None,
    }
}

/// Parts of even width, none wider than that; none if one part is enough.
fn even_parts(size: usize, dim: DimId, width: usize) -> Option<Cut> {
    let [.., narrowest] = WIDTHS;
    let width = size.div_ceil(size.div_ceil(width)).next_multiple_of(narrowest);
    (size > width).then(|| Cut { dim, width, parts: size.div_ceil(width) })
}

fn parts(recurrence: &Recurrence, whole: &[usize], dim: DimId) -> Option<Cut> {
    let size = whole[dim.0];
    let beside = recurrence.states.iter().map(|s| {
        let others = s.dims.iter().filter(|d| **d != dim);
        others.map(|d| whole[d.0]).product::<usize>()
    });
    let rows = beside.max().unwrap_or(1);
    let [.., narrowest] = WIDTHS;
    let fits = |width: &usize| rows * width <= PART_ELEMENTS;
    let width = WIDTHS.into_iter().find(fits).unwrap_or(narrowest);
    even_parts(size, dim, width)
}
