//! States whose keys hold all products of a vector with itself keep one row for each two products that
//! mirror each other.
//!
//! Their keys are `k k^T`, so what is written is symmetric, and of the state before the first token only
//! the symmetric part is read by `q q^T`; the rest stays as it is, if nothing decays, and is put back into
//! the state after the last token. The pass is exact and always pays, so it runs before the e-graph.

use super::merge::read_along_rows;
use egg::{Id, Language};
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::{Builder, Core, Root, Seq, Term, core_of};
use std::collections::BTreeMap;

/// The features of a row that are all products of a vector with itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Square {
    /// The first of them.
    first: usize,
    /// The vector's features.
    width: usize,
}

/// Halves the squares in the keys of histories without decay and feedback.
pub(super) fn halve_squares(term: &Term) -> Term {
    let cores = term.loops().into_iter().map(|(core, _)| core);
    let halved: BTreeMap<Core, Square> =
        cores.filter_map(|core| Some((core, square_of(term, core)?))).collect();
    if halved.is_empty() {
        return term.clone();
    }
    let builder = Builder::new(term.leaves().clone());
    let mut halver = Halver { term, halved, builder, places: BTreeMap::new() };
    let root =
        |root: &Root, halver: &mut Halver| Root { id: halver.place(root.id), ..root.clone() };
    let roots = term.roots().iter().map(|r| root(r, &mut halver)).collect();
    halver.builder.finish(roots)
}

/// The square that the keys and all readers of a history have at one place, if they have one.
fn square_of(term: &Term, core: Core) -> Option<Square> {
    let plain = [core.g, core.w, core.p, core.b].iter().all(|id| term.is_zero(*id));
    let square = find(term, core.c).filter(|_| plain && read_along_rows(term, core))?;
    let reads = |node: &&Seq| match node {
        Seq::Mm([_, h]) => core_of(term.node(*h)).is_some_and(|(_, c)| c == core),
        _ => false,
    };
    let mut readers = term.nodes().iter().filter(reads).map(|node| node.operands()[0]);
    readers.all(|q| find(term, q) == Some(square)).then_some(square)
}

/// The first square among the features of a node.
fn find(term: &Term, id: Id) -> Option<Square> {
    match *term.node(id) {
        Seq::Kron([x, y]) if x == y => Some(Square { first: 0, width: term.shape(x).features }),
        Seq::Binary(Binary::Mul, [x, scale]) if is_number(term, scale) => find(term, x),
        Seq::Cat([a, b]) => find(term, a).or_else(|| {
            let square = find(term, b)?;
            Some(Square { first: square.first + term.shape(a).features, ..square })
        }),
        _ => None,
    }
}

fn is_number(term: &Term, id: Id) -> bool {
    matches!(term.node(id), Seq::Number(_))
}

struct Halver<'a> {
    term: &'a Term,
    halved: BTreeMap<Core, Square>,
    builder: Builder,
    places: BTreeMap<Id, Id>,
}

impl Halver<'_> {
    fn place(&mut self, id: Id) -> Id {
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        let node = self.term.node(id).clone();
        let place = match (&node, self.loop_of(&node)) {
            (Seq::Mm([q, h]), Some((mask, core))) => {
                let (q, mask) = (self.paired(*q, 2), self.place(mask));
                let core = self.core(core);
                debug_assert!(matches!(self.term.node(*h), Seq::Hist(_)));
                let states = self.builder.add(Seq::Hist(core.operands(mask)));
                self.builder.add(Seq::Mm([q, states]))
            }
            (Seq::Fin(_), Some((mask, core))) => {
                let [first, width] = self.extents(self.halved[&core]);
                let (mask, whole) = (self.place(mask), self.place(core.s));
                let core = self.core(core);
                let means = self.builder.add(Seq::Fin(core.operands(mask)));
                self.builder.add(Seq::Unpaired([first, width, means, whole]))
            }
            _ => {
                let node = node.map_children(|c| self.place(c));
                self.builder.add(node)
            }
        };
        self.places.insert(id, place);
        place
    }

    /// Mask and core of the halved history that a node is the last state of, or reads.
    fn loop_of(&self, node: &Seq) -> Option<(Id, Core)> {
        let history = match node {
            Seq::Mm([_, h]) => self.term.node(*h),
            node => node,
        };
        core_of(history).filter(|(_, core)| self.halved.contains_key(core))
    }

    fn extents(&mut self, square: Square) -> [Id; 2] {
        [square.first, square.width].map(|n| self.builder.count(n))
    }

    /// The core with one row for each pair.
    fn core(&mut self, core: Core) -> Core {
        let [first, width] = self.extents(self.halved[&core]);
        let c = self.paired(core.c, 1);
        let [g, w, l, b, d, s] =
            [core.g, core.w, core.l, core.b, core.d, core.s].map(|id| self.place(id));
        let s = self.builder.add(Seq::Paired([first, width, s]));
        let keys = self.builder.shape(c).features;
        let shape = sluice_ir::seq::Shape { features: keys, ..self.term.shape(core.a) };
        let none = self.builder.zeros(shape);
        Core { g, w, a: none, l, p: none, b, c, d, s }
    }

    /// Features with each pair of a square once, those of different elements times `factor`.
    fn paired(&mut self, id: Id, factor: usize) -> Id {
        match *self.term.node(id) {
            Seq::Kron([x, _]) => {
                let (factor, x) = (self.builder.count(factor), self.place(x));
                self.builder.add(Seq::Pairs([factor, x]))
            }
            Seq::Binary(Binary::Mul, [x, scale]) => {
                let (x, scale) = (self.paired(x, factor), self.place(scale));
                self.builder.binary(Binary::Mul, x, scale)
            }
            Seq::Cat([a, b]) => {
                let in_first = find(self.term, a).is_some();
                let first = if in_first { self.paired(a, factor) } else { self.place(a) };
                let second = if in_first { self.place(b) } else { self.paired(b, factor) };
                self.builder.add(Seq::Cat([first, second]))
            }
            ref other => unreachable!("`{other}` has no square"),
        }
    }
}
