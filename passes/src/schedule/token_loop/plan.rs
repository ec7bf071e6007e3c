//! Which values get tiles of their own, and which are computed where they are read.
//!
//! A value computed where it is read costs no memory and no barrier, but is computed once for each
//! element of what reads it. Sums, maxima, windows and joined values always have tiles.

use super::super::layout::Layout;
use super::super::{fixed, results};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{Node, NodeId, Op, Recurrence};

/// The largest number of times that an expression repeats a value.
const COPIES: usize = 4;

/// What a store and a load of an element cost, in additions.
const KEEPING: usize = 2;

/// What becomes of each node.
#[derive(Debug)]
pub(super) struct Plan {
    /// Whether it depends on no token and no state, so that it is computed once before the loop.
    pub(super) fixed: Vec<bool>,
    /// Whether it has a tile of its own. Inputs, states and tables have theirs anyway.
    pub(super) kept: Vec<bool>,
}

/// How a node is read, if it is computed where it is read.
#[derive(Clone, Copy, Default)]
struct Demand {
    /// Elements computed, all readers together.
    elements: usize,
    /// Times that it stands in an expression.
    copies: usize,
    /// Whether it must have a tile.
    tile: bool,
    /// Whether something that is computed for every token reads it.
    each_token: bool,
}

/// What reading a value costs to compute again, in additions.
pub(in crate::schedule) fn weight(op: &Op) -> usize {
    match op {
        Op::Unary(Unary::Neg | Unary::Abs | Unary::Relu | Unary::Floor | Unary::Sign, _) => 1,
        Op::Unary(..) | Op::Binary(Binary::Div, ..) => 16,
        Op::Binary(Binary::Pow | Binary::LogAddExp, ..) => 32,
        // Another view of the same elements.
        Op::Slice(..) | Op::Reshape(..) => 0,
        _ => 1,
    }
}

/// Whether a node is read from memory that is there without it.
pub(super) fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::State(_) | Op::Const(_) | Op::Table(_))
}

/// Decides from the results back to the inputs; `barrier` is what a barrier costs, in additions of
/// all threads together.
pub(super) fn plan(
    recurrence: &Recurrence,
    layout: &Layout,
    live: &[bool],
    barrier: usize,
) -> Plan {
    let fixed = fixed(recurrence, |_| false);
    let mut kept = vec![false; live.len()];
    let mut demands = vec![Demand::default(); live.len()];
    results(recurrence).for_each(|id| demands[id.0].tile = true);
    for i in (0..live.len()).rev().filter(|i| live[*i]) {
        let node = recurrence.node(NodeId(i));
        let points = layout.points(&node.dims);
        let demand = demands[i];
        let again = weight(&node.op) * demand.elements.saturating_sub(points);
        let worth = KEEPING * points + if fixed[i] { 0 } else { barrier };
        kept[i] = match node.op {
            Op::Dot(..) | Op::Reduce(..) | Op::Concat(..) | Op::Push(..) => true,
            ref op if is_leaf(op) => false,
            _ if fixed[i] && demand.each_token && is_worth_a_tile(recurrence, layout, node) => true,
            _ => demand.tile || demand.copies > COPIES || again > worth,
        };
        let each_token = !fixed[i];
        let own = match kept[i] {
            true => Demand { elements: points, copies: 1, tile: false, each_token },
            false => Demand { tile: false, each_token, ..demand },
        };
        for operand in node.op.operands() {
            let here = demanded(recurrence, layout, NodeId(i), operand, own);
            let all = &mut demands[operand.0];
            all.elements = all.elements.saturating_add(here.elements);
            all.copies += here.copies;
            all.tile |= here.tile;
            all.each_token |= here.each_token;
        }
    }
    Plan { fixed, kept }
}

/// Whether what depends on the model alone is better computed once than for every token: it is dear, or
/// no larger than what it is made of.
fn is_worth_a_tile(recurrence: &Recurrence, layout: &Layout, node: &Node) -> bool {
    let points = |id: NodeId| layout.points(&recurrence.node(id).dims);
    let largest = node.op.operands().into_iter().map(points).max().unwrap_or(0);
    weight(&node.op) > 1 || (weight(&node.op) == 1 && layout.points(&node.dims) <= largest)
}

/// How a node reads an operand, if itself it is computed as `own` says.
fn demanded(
    recurrence: &Recurrence,
    layout: &Layout,
    id: NodeId,
    operand: NodeId,
    own: Demand,
) -> Demand {
    let node = recurrence.node(id);
    let points = layout.points(&node.dims);
    match node.op {
        Op::Dot(_, _, dim) | Op::Reduce(_, _, dim) => {
            Demand { elements: points * layout.size(dim), ..own }
        }
        // Every element is compared with every other along the dimension.
        Op::TopK(_, dim, _) => {
            Demand { elements: 2 * points * layout.size(dim), copies: 2, tile: false, ..own }
        }
        Op::Concat(..) | Op::Push(..) => {
            Demand { elements: layout.points(&recurrence.node(operand).dims), ..own }
        }
        Op::Reshape(..) => {
            let from = recurrence.node(operand);
            let renamed = layout.renamed(&from.dims, &node.dims).is_some();
            let tile = !renamed && !is_leaf(&from.op);
            Demand { tile, ..own }
        }
        _ => own,
    }
}
