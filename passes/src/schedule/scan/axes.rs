//! Which nodes of a term have the columns of a state as their features.

use egg::Id;
use sluice_ir::seq::{Seq, Term, core_of};

/// Sets of nodes whose features are one axis.
struct Axes {
    parent: Vec<usize>,
}

impl Axes {
    fn find(&self, mut i: usize) -> usize {
        while self.parent[i] != i {
            i = self.parent[i];
        }
        i
    }

    fn join(&mut self, a: Id, b: Id) {
        let (a, b) = (self.find(a.into()), self.find(b.into()));
        self.parent[a.max(b)] = a.min(b);
    }
}

/// The nodes whose features are columns of some history's states, in order.
///
/// Features of one column never count as an axis by broadcasting: a factor for each row has one.
pub(super) fn column_nodes(term: &Term) -> Vec<Id> {
    let mut axes = Axes { parent: (0..term.nodes().len()).collect() };
    for id in term.ids() {
        let node = term.node(id);
        if let Some((_, core)) = core_of(node) {
            axes.join(id, core.d);
            axes.join(id, core.b);
            axes.join(id, core.s);
            if term.shape(core.w).features == term.shape(core.d).features {
                axes.join(id, core.w);
            }
            continue;
        }
        for source in feature_sources(term, id) {
            axes.join(id, source);
        }
    }
    let states: Vec<usize> = term
        .ids()
        .filter(|id| core_of(term.node(*id)).is_some())
        .map(|id| axes.find(id.into()))
        .collect();
    let is_array = |id: &Id| term.is_array(*id);
    term.ids().filter(is_array).filter(|id| states.contains(&axes.find((*id).into()))).collect()
}

/// The operands whose features are the node's features.
fn feature_sources(term: &Term, id: Id) -> Vec<Id> {
    let wide = |x: &Id| term.shape(*x).features > 1;
    match term.node(id) {
        Seq::Unary(_, operands) => operands.to_vec(),
        Seq::Binary(_, operands) => operands.iter().copied().filter(wide).collect(),
        Seq::Select(operands) => operands.iter().copied().filter(wide).collect(),
        Seq::Mm([_, x]) | Seq::Tmm([_, x]) | Seq::Solve([_, x]) => vec![*x],
        Seq::Live([x])
        | Seq::Tot([x])
        | Seq::Run([_, x])
        | Seq::Blk([_, x])
        | Seq::Unblk([_, x])
        | Seq::Rows([_, _, x])
        | Seq::Cols([_, _, x]) => vec![*x],
        Seq::Vmix([_, _, y, _]) => vec![*y],
        Seq::Weave(operands) | Seq::Cat(operands) => operands.to_vec(),
        _ => vec![],
    }
}
