//! Decays that may be negative: their signs apart from their magnitudes.
//!
//! `S' = f . S + W` becomes `s' = s sgn(f)`, `R' = |f| . R + s' . W`, `S = s . R`, with a factor `f` of all
//! elements, of rows or of columns. Signs are their own inverses, so nothing is lost; the sign of 0 is 1.

use super::super::Program;
use super::super::program::Prepared;
use super::super::ring::{Degree, Ring, degrees};
use super::{Restoring, Rewriter, names, own_link, own_state};
use sluice_ir::step::{Binary, DimId, NodeId, Op, Reduction, StateId, Unary};
use std::collections::{BTreeMap, BTreeSet};

/// What a sign belongs to: a dimension of the state, or none for all of it.
type Side = Option<DimId>;

/// A value as signs times a value that has none.
#[derive(Clone)]
struct Image {
    signs: BTreeMap<Side, NodeId>,
    value: NodeId,
}

struct Signs<'a> {
    program: &'a Program<'a>,
    degrees: Vec<Degree>,
    /// Nodes that are decayed states with writes added.
    chain: BTreeSet<NodeId>,
    /// The side that takes up a minus.
    minus: Side,
    made: Rewriter,
    images: BTreeMap<NodeId, Image>,
    /// New nodes for old ones as they are.
    places: BTreeMap<NodeId, NodeId>,
}

/// The program with the signs of a state's decay apart.
pub(super) fn signs(program: &Program, state: StateId) -> Option<Prepared> {
    let old = program.recurrence;
    let mut work = Signs {
        program,
        degrees: degrees(old, &BTreeSet::from([state]), Ring::Sum),
        chain: BTreeSet::new(),
        minus: None,
        made: Rewriter::new(old),
        images: BTreeMap::new(),
        places: BTreeMap::new(),
    };
    let sides = work.find_chain(state)?;
    let declared = &old.states[state.0];
    let mut used = names(program);
    let kept = used.fresh(&format!("{}_unsigned", declared.name));
    let mut links = program.prepared.links.clone();
    let restored = links[state.0].to.replace(kept.clone());
    let mut restoring = Restoring::new(program);
    let (whole, mut last) = restoring.take(declared, &kept, restored.as_deref());
    let mut carried = Vec::new();
    for side in &sides {
        let name = used.fresh(&format!("{}_sign", declared.name));
        links.push(own_link(&name));
        let sign = own_state(declared, name.clone(), side.iter().copied().collect(), 1.0);
        let (_, value) = restoring.take(&sign, &name, None);
        last = restoring.made.mul(value, last);
        carried.push((*side, work.made.state(sign)));
    }
    restoring.made.update(whole, last);

    for (i, node) in old.nodes.iter().enumerate() {
        work.made.stand_for(node);
        let id = NodeId(i);
        if let Some(image) = work.image(id, state, &carried) {
            work.images.insert(id, image);
        } else {
            let place = work.rewritten(id);
            work.places.insert(id, place);
        }
    }
    let update = work.images.get(&old.updates[state.0])?.clone();
    for (s, node) in old.updates.iter().enumerate().filter(|(s, _)| *s != state.0) {
        let node = work.place(*node);
        work.made.update(StateId(s), node);
    }
    work.made.update(state, update.value);
    for (side, id) in &carried {
        work.made.update(*id, update.signs[side]);
    }
    let outputs: Vec<NodeId> = old.outputs.iter().map(|o| work.place(o.node)).collect();
    let recurrence = work.made.finish(&outputs);
    Some(program.prepared.with(recurrence, links, restoring.finish()))
}

/// A part of a factor that decides its sign.
enum Leaf {
    Minus,
    Value(NodeId),
}

impl Signs<'_> {
    fn op(&self, id: NodeId) -> Op {
        self.program.recurrence.node(id).op
    }

    fn dims(&self, id: NodeId) -> &[DimId] {
        &self.program.recurrence.node(id).dims
    }

    /// What decides the sign of a factor.
    fn leaves(&self, factor: NodeId) -> Vec<Leaf> {
        match self.op(factor) {
            _ if self.program.ranges[factor.0].lo >= 0.0 => vec![],
            Op::Unary(Unary::Neg, a) => {
                let mut leaves = self.leaves(a);
                leaves.push(Leaf::Minus);
                leaves
            }
            Op::Binary(Binary::Mul, a, b) => {
                let mut leaves = self.leaves(a);
                leaves.extend(self.leaves(b));
                leaves
            }
            _ => vec![Leaf::Value(factor)],
        }
    }

    /// The state and the factor, if a node of the chain is their product.
    fn decay(&self, id: NodeId) -> Option<(NodeId, NodeId)> {
        let Op::Binary(Binary::Mul, a, b) = self.op(id) else { return None };
        let (matrix, factor) = if self.chain.contains(&a) { (a, b) } else { (b, a) };
        let fits = self.chain.contains(&matrix)
            && self.degrees[factor.0] == Degree::Free
            && self.dims(factor).len() < 2
            && self.dims(matrix) == self.dims(id);
        fits.then_some((matrix, factor))
    }

    /// The decayed state and what is written, if a node of the chain is their sum.
    fn sum(&self, id: NodeId) -> Option<(NodeId, NodeId)> {
        let Op::Binary(Binary::Add, a, b) = self.op(id) else { return None };
        let (matrix, write) = if self.chain.contains(&a) { (a, b) } else { (b, a) };
        let fits = self.chain.contains(&matrix)
            && !self.chain.contains(&write)
            && self.dims(write) == self.dims(id);
        fits.then_some((matrix, write))
    }

    /// Finds the chain; the sides of a state whose signs change.
    fn find_chain(&mut self, state: StateId) -> Option<BTreeSet<Side>> {
        let old = self.program.recurrence;
        let updated = super::super::reading::closure(self.program, [old.updates[state.0]]);
        let (mut sides, mut negated) = (BTreeSet::new(), false);
        for id in (0..old.nodes.len()).map(NodeId) {
            let mut leaves = vec![];
            let belongs = match self.op(id) {
                Op::State(s) | Op::Final(s) => s == state,
                _ if !updated.contains(&id) => false,
                Op::Unary(Unary::Neg, a) if self.chain.contains(&a) => {
                    leaves.push(Leaf::Minus);
                    true
                }
                _ => match self.decay(id) {
                    Some((_, factor)) => {
                        leaves = self.leaves(factor);
                        true
                    }
                    None => self.sum(id).is_some(),
                },
            };
            if belongs {
                self.chain.insert(id);
            }
            let values = leaves.iter().filter(|leaf| matches!(leaf, Leaf::Value(_)));
            sides.extend(values.map(|leaf| self.side(leaf)));
            negated |= leaves.iter().any(|leaf| matches!(leaf, Leaf::Minus));
        }
        if negated {
            self.minus = sides.first().copied().flatten();
            sides.insert(self.minus);
        }
        let signed = !sides.is_empty() && self.chain.contains(&old.updates[state.0]);
        signed.then_some(sides)
    }

    fn side(&self, leaf: &Leaf) -> Side {
        match leaf {
            Leaf::Minus => self.minus,
            Leaf::Value(id) => self.dims(*id).first().copied(),
        }
    }

    /// The image of a node of the chain.
    fn image(&mut self, id: NodeId, state: StateId, carried: &[(Side, StateId)]) -> Option<Image> {
        if !self.chain.contains(&id) {
            return None;
        }
        match self.op(id) {
            Op::State(_) | Op::Final(_) => {
                let last = matches!(self.op(id), Op::Final(_));
                let op = |s| if last { Op::Final(s) } else { Op::State(s) };
                let value = self.made.node(op(state));
                let signs = carried.iter().map(|(side, s)| (*side, self.made.node(op(*s))));
                Some(Image { signs: signs.collect(), value })
            }
            Op::Unary(Unary::Neg, a) => {
                let image = self.images[&a].clone();
                Some(self.turned(image, &[Leaf::Minus]))
            }
            _ => match self.decay(id) {
                Some((matrix, factor)) => {
                    let image = self.images[&matrix].clone();
                    let leaves = self.leaves(factor);
                    let Image { signs, value } = self.turned(image, &leaves);
                    let magnitude = self.magnitude(factor);
                    let value = self.made.mul(magnitude, value);
                    Some(Image { signs, value })
                }
                None => {
                    let (matrix, write) = self.sum(id)?;
                    let Image { signs, value } = self.images[&matrix].clone();
                    let mut write = self.place(write);
                    for sign in signs.values() {
                        write = self.made.mul(*sign, write);
                    }
                    let value = self.made.add(value, write);
                    Some(Image { signs, value })
                }
            },
        }
    }

    /// An image whose signs some leaves change.
    fn turned(&mut self, mut image: Image, leaves: &[Leaf]) -> Image {
        for leaf in leaves {
            let side = self.side(leaf);
            let (plus, minus) = (self.made.number(1.0), self.made.number(-1.0));
            let change = match leaf {
                Leaf::Minus => minus,
                Leaf::Value(id) => {
                    let (x, zero) = (self.place(*id), self.made.number(0.0));
                    let negative = self.made.node(Op::Binary(Binary::Lt, x, zero));
                    self.made.node(Op::Select(negative, minus, plus))
                }
            };
            let sign = self.made.mul(image.signs[&side], change);
            image.signs.insert(side, sign);
        }
        image
    }

    fn magnitude(&mut self, factor: NodeId) -> NodeId {
        match self.op(factor) {
            _ if self.program.ranges[factor.0].lo >= 0.0 => self.place(factor),
            Op::Unary(Unary::Neg, a) => self.magnitude(a),
            Op::Binary(Binary::Mul, a, b) => {
                let (a, b) = (self.magnitude(a), self.magnitude(b));
                self.made.mul(a, b)
            }
            _ => {
                let x = self.place(factor);
                self.made.unary(Unary::Abs, x)
            }
        }
    }

    /// A node outside the chain on new operands; contractions of the chain take signs along.
    fn rewritten(&mut self, id: NodeId) -> NodeId {
        match self.op(id) {
            Op::Dot(a, b, dim) if self.images.contains_key(&a) != self.images.contains_key(&b) => {
                let (matrix, reader) = if self.images.contains_key(&a) { (a, b) } else { (b, a) };
                let Image { signs, value } = self.images[&matrix].clone();
                let mut reader = self.place(reader);
                if let Some(sign) = signs.get(&Some(dim)) {
                    reader = self.made.mul(reader, *sign);
                }
                let read = match matrix == a {
                    true => self.made.node(Op::Dot(value, reader, dim)),
                    false => self.made.node(Op::Dot(reader, value, dim)),
                };
                self.signed(read, &signs, dim)
            }
            Op::Reduce(Reduction::Sum, a, dim) if self.images.contains_key(&a) => {
                let Image { signs, value } = self.images[&a].clone();
                let read = match signs.get(&Some(dim)) {
                    Some(sign) => self.made.node(Op::Dot(*sign, value, dim)),
                    None => self.made.node(Op::Reduce(Reduction::Sum, value, dim)),
                };
                self.signed(read, &signs, dim)
            }
            op => {
                let operands: Vec<NodeId> =
                    op.operands().into_iter().map(|o| self.place(o)).collect();
                let mut operands = operands.into_iter();
                self.made.copy(|_| operands.next().expect("every operand has a place"))
            }
        }
    }

    /// A read times the signs of all sides but the one that it contracts.
    fn signed(&mut self, read: NodeId, signs: &BTreeMap<Side, NodeId>, dim: DimId) -> NodeId {
        let others = signs.iter().filter(|(side, _)| **side != Some(dim));
        others.fold(read, |read, (_, sign)| self.made.mul(*sign, read))
    }

    /// The new node of an old one, with its signs.
    fn place(&mut self, id: NodeId) -> NodeId {
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        let Image { signs, value } = self.images[&id].clone();
        let place = signs.values().fold(value, |value, sign| self.made.mul(*sign, value));
        self.places.insert(id, place);
        place
    }
}
