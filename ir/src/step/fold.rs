//! Computes what is known when a program is built: nodes that depend on sizes and numbers only.

use super::compute::Computer;
use super::{DimId, Node, NodeId, Op, Recurrence, Table, TableId};
use std::collections::BTreeMap;

/// The recurrence with every array that depends on nothing but sizes computed in f64: such nodes
/// become tables, and scalars numbers. Nodes that are then unused stay, so that indices do not change.
///
/// # Panics
///
/// If a dimension has no size.
pub fn fold(recurrence: &Recurrence, extents: &BTreeMap<String, usize>) -> Recurrence {
    let sizes = (0..recurrence.dims.len())
        .map(|d| recurrence.size(DimId(d), extents).expect("every dimension has a size"));
    let computer = Computer::new(recurrence, sizes.collect());
    let mut values = computer.values();
    let mut folded = recurrence.clone();
    let mut constant: Vec<bool> = Vec::new();
    for (i, node) in recurrence.nodes.iter().enumerate() {
        let varies = matches!(node.op, Op::Input(_) | Op::State(_) | Op::Final(_));
        constant.push(!varies && node.op.operands().iter().all(|o| constant[o.0]));
        if !constant[i] {
            continue;
        }
        let (before, rest) = values.split_at_mut(i);
        computer.compute(NodeId(i), before, &mut rest[0]);
        folded.nodes[i].op = match node.op {
            Op::Table(_) => node.op,
            _ if node.dims.is_empty() => Op::Const(values[i][0]),
            _ => {
                let values = values[i].as_slice().into();
                folded.tables.push(Table { dims: node.dims.clone(), values });
                Op::Table(TableId(folded.tables.len() - 1))
            }
        };
    }
    folded
}

impl Node {
    /// Whether the node is a number or a table, as all that depends on nothing is once folded.
    pub fn is_constant(&self) -> bool {
        matches!(self.op, Op::Const(_) | Op::Table(_))
    }
}
