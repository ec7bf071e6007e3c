//! States with one transition, one start and the same keys become columns of one state.
//!
//! A normaliser beside a state is the usual case: its values are a column of ones. Merged, both
//! share their loop and their scores. The pass is exact and always pays, so it runs before the
//! e-graph instead of in it.

use egg::{Id, Language};
use sluice_ir::seq::{Builder, Core, Root, Seq, Source, Term, core_of};
use std::collections::BTreeMap;

/// Merges histories without feedback and without column decay that differ in values and in the
/// callers' initial states only, and that are read along their rows only.
pub(super) fn merge_columns(term: &Term) -> Term {
    let groups = groups(term);
    if groups.is_empty() {
        return term.clone();
    }
    let mut merger = Merger {
        term,
        groups,
        builder: Builder::new(term.leaves().clone()),
        places: BTreeMap::new(),
    };
    let roots = term
        .roots()
        .iter()
        .map(|root| Root { id: merger.place(root.id), ..root.clone() })
        .collect();
    merger.builder.finish(roots)
}

/// A core's share of a merged history: all cores in order, and the columns before its own.
#[derive(Clone, Debug)]
struct Share {
    members: Vec<Core>,
    first: usize,
}

fn groups(term: &Term) -> BTreeMap<Core, Share> {
    let cores: Vec<Core> = term.loops().into_iter().map(|(core, _)| core).collect();
    let mergeable = |core: &&Core| {
        let decays = term.shape(core.g).rows == 1;
        let plain = decays && term.is_zero(core.w) && term.is_zero(core.p) && term.is_zero(core.b);
        plain && read_along_rows(term, **core)
    };
    let mut groups: BTreeMap<([Id; 2], Option<u64>), Vec<Core>> = BTreeMap::new();
    for core in cores.iter().filter(mergeable) {
        let start = start(term, core).map(f64::to_bits);
        let group = groups.entry(([core.g, core.c], start)).or_default();
        if group.iter().all(|other| !term.reads(other, core) && !term.reads(core, other)) {
            group.push(*core);
        }
    }
    let mut shares = BTreeMap::new();
    for mut members in groups.into_values().filter(|g| g.len() > 1) {
        // Wide values first, so that they stay aligned.
        members.sort_by_key(|core| std::cmp::Reverse(term.shape(core.d).features));
        let mut first = 0;
        for core in &members {
            shares.insert(*core, Share { members: members.clone(), first });
            first += term.shape(core.d).features;
        }
    }
    shares
}

/// What every element of a state is where the caller gives none, if that is one number: the columns
/// of a merged state start alike.
fn start(term: &Term, core: &Core) -> Option<f64> {
    match term.leaf(core.s)?.source {
        Source::Number(start) => Some(start),
        Source::Caller | Source::Identity | Source::Input(_) | Source::Table(_) => None,
    }
}

/// Whether every use of a core's states is a product along the rows, or the final state.
pub(super) fn read_along_rows(term: &Term, core: Core) -> bool {
    let is_read = |id: Id| match term.node(id) {
        Seq::Fin(_) => false,
        node => core_of(node).is_some_and(|(_, c)| c == core),
    };
    term.nodes().iter().all(|user| {
        let mut operands = user.operands().iter().enumerate();
        operands.all(|(i, x)| !is_read(*x) || (matches!(user, Seq::Mm(_)) && i == 1))
    })
}

struct Merger<'a> {
    term: &'a Term,
    groups: BTreeMap<Core, Share>,
    builder: Builder,
    places: BTreeMap<Id, Id>,
}

impl Merger<'_> {
    fn place(&mut self, id: Id) -> Id {
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        let node = self.term.node(id).clone();
        let place = match &node {
            Seq::Mm([q, h]) => match core_of(self.term.node(*h)) {
                Some((mask, core)) if self.groups.contains_key(&core) => {
                    let (q, mask) = (self.place(*q), self.place(mask));
                    let merged = self.merged(core);
                    let states = self.builder.add(Seq::Hist(merged.operands(mask)));
                    let all = self.builder.add(Seq::Mm([q, states]));
                    self.share(core, all)
                }
                _ => self.rebuilt(node),
            },
            Seq::Fin(_) => match core_of(&node) {
                Some((mask, core)) if self.groups.contains_key(&core) => {
                    let mask = self.place(mask);
                    let merged = self.merged(core);
                    let all = self.builder.add(Seq::Fin(merged.operands(mask)));
                    self.share(core, all)
                }
                _ => self.rebuilt(node),
            },
            _ => self.rebuilt(node),
        };
        self.places.insert(id, place);
        place
    }

    fn rebuilt(&mut self, node: Seq) -> Id {
        let node = node.map_children(|c| self.place(c));
        self.builder.add(node)
    }

    /// The history that holds all members of a core's group.
    fn merged(&mut self, core: Core) -> Core {
        let members = self.groups[&core].members.clone();
        let first = members[0];
        let mut ids = [first.g, first.w, first.a, first.l, first.p, first.c, first.d, first.s];
        for id in &mut ids {
            *id = self.place(*id);
        }
        let [g, w, a, l, p, c, mut d, mut s] = ids;
        for member in &members[1..] {
            let (values, state) = (self.place(member.d), self.place(member.s));
            d = self.builder.add(Seq::Cat([d, values]));
            s = self.builder.add(Seq::Cat([s, state]));
        }
        let shape = self.builder.shape(a);
        let features = self.builder.shape(d).features;
        let b = self.builder.zeros(sluice_ir::seq::Shape { features, ..shape });
        Core { g, w, a, l, p, b, c, d, s }
    }

    /// A core's columns of a merged result.
    fn share(&mut self, core: Core, all: Id) -> Id {
        let first = self.builder.count(self.groups[&core].first);
        let width = self.builder.count(self.term.shape(core.d).features);
        self.builder.add(Seq::Cols([first, width, all]))
    }
}
