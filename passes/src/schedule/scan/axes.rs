//! Which nodes of a term have the columns of a state as their features.

use egg::Id;
use sluice_ir::seq::{LeafKind, Seq, Term, core_of};

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
            let wide_decay = term.shape(core.w).features == term.shape(core.d).features;
            let decay = wide_decay.then_some(core.w);
            // Equal zeros are one node, whatever axis they stand on.
            let values = [core.d, core.b, core.s].into_iter().chain(decay);
            values.filter(|x| !term.is_zero(*x)).for_each(|x| axes.join(id, x));
            continue;
        }
        for source in feature_sources(term, id).into_iter().filter(|x| !term.is_zero(*x)) {
            axes.join(id, source);
        }
    }
    let has_columns = |id: &Id| {
        let node = term.node(*id);
        core_of(node).is_some() || matches!(node, Seq::Lhist(_) | Seq::Lfin(_))
    };
    let states: Vec<usize> =
        term.ids().filter(has_columns).map(|id| axes.find(id.into())).collect();
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
        | Seq::Cols([_, _, x])
        | Seq::Paired([_, _, x]) => vec![*x],
        Seq::Vmix([_, _, y, _]) => vec![*y],
        Seq::Krylov([.., x]) => vec![*x],
        Seq::Dots([_, p, h]) => [*p, *h].into_iter().filter(wide).collect(),
        Seq::Conv([_, k, u]) => vec![*k, *u],
        Seq::Lhist([.., u, s]) | Seq::Lfin([.., u, s]) => vec![*u, *s],
        Seq::Weave(operands) | Seq::Cat(operands) => operands.to_vec(),
        _ => vec![],
    }
}

/// Whether some node needs all columns at once: it sums over them, reads them as keys, or moves
/// them. Then the value axis cannot be cut into independent parts.
pub(super) fn mixes_columns(term: &Term, columns: &[Id]) -> bool {
    let wide = |x: &Id| columns.contains(x) && term.shape(*x).features > 1;
    let is_state = |x: Id| term.leaf(x).is_some_and(|leaf| leaf.kind == LeafKind::State);
    let mixes = |id: Id| match term.node(id) {
        Seq::Tr([x]) if wide(&id) => !is_state(*x),
        // States are loaded and stored either way.
        Seq::Tr([x]) if matches!(term.node(*x), Seq::Lfin(_)) => false,
        Seq::Mm([a, _]) | Seq::Tmm([a, _]) => wide(a),
        Seq::Mmt([a, b]) => wide(a) || wide(b),
        Seq::Score([_, p, a, _]) => wide(p) || wide(a),
        Seq::RowSum([x]) | Seq::RowMax([x]) | Seq::Cols([_, _, x]) => wide(x),
        Seq::Split([_, x])
        | Seq::Join([_, x])
        | Seq::Tile([_, x])
        | Seq::Tots([_, x])
        | Seq::Pairs([_, x])
        | Seq::Top([_, x])
        | Seq::Tr([x]) => wide(x),
        Seq::Drun(_) | Seq::Dhist(_) => wide(&id),
        Seq::Cat(operands) | Seq::Kron(operands) => operands.iter().any(wide),
        node => core_of(node).is_some_and(|(_, core)| [core.a, core.p, core.c].iter().any(wide)),
    };
    term.ids().any(mixes)
}
