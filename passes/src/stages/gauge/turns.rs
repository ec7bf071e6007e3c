//! Pairs of states that a step turns by an angle: the rotation apart from the decay.
//!
//! With `S` the complex state of the two, `S' = r e^(it) S + W` becomes `u' = u + t / 2pi` (less whole
//! turns), `R' = r R + e^(-2pi i u') W`, `S = e^(2pi i u) R`. Both parts of `R` have the real decay `r`, and
//! where they are read the rotation goes to what reads them. Turns are kept within half a turn around 0,
//! so that they stay as exact after many tokens as after one.

use super::super::Program;
use super::super::program::Prepared;
use super::super::ring::{Ring, degrees};
use super::pairs::{Pair, Step, pairs};
use super::{Restoring, Rewriter, names, own_link, own_state};
use sluice_ir::step::{DimId, NodeId, Op, Reduction, StateId, Unary};
use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;

/// Real and imaginary part of a value of which a rotation is taken out.
#[derive(Clone, Copy)]
struct Image {
    parts: [NodeId; 2],
    /// The rotation in turns.
    turns: NodeId,
}

/// A part of the rotated state at some place in the step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Pair(Pair),
    /// After the last token.
    Last,
}

/// The sum of contractions of both parts of a value with a vector each.
#[derive(Clone)]
struct Reading {
    origin: Origin,
    dim: DimId,
    readers: [NodeId; 2],
}

struct Turns<'a> {
    program: &'a Program<'a>,
    states: [StateId; 2],
    steps: BTreeMap<Pair, Step>,
    /// The pair and the part that a node is.
    members: BTreeMap<NodeId, (Pair, usize)>,
    /// Dimension along which angles differ.
    side: Option<DimId>,
    phase: StateId,
    made: Rewriter,
    images: BTreeMap<Pair, Image>,
    readings: BTreeMap<NodeId, Option<Reading>>,
    places: BTreeMap<NodeId, NodeId>,
}

/// The program with the rotation of two states, real part and imaginary part, apart.
pub(super) fn turns(program: &Program, re: StateId, im: StateId) -> Option<Prepared> {
    let old = program.recurrence;
    if old.states[re.0].dims != old.states[im.0].dims {
        return None;
    }
    let degrees = degrees(old, &BTreeSet::from([re, im]), Ring::Sum);
    let steps = pairs(program, &degrees, [re, im])?;
    let angles = steps.values().filter_map(|step| match step {
        Step::Turned { angle, .. } => Some(old.node(*angle).dims.clone()),
        _ => None,
    });
    let angles: BTreeSet<Vec<DimId>> = angles.collect();
    let [angle] = &angles.into_iter().collect::<Vec<_>>()[..] else { return None };
    if angle.len() > 1 {
        return None;
    }

    let mut used = names(program);
    let mut links = program.prepared.links.clone();
    let mut restoring = Restoring::new(program);
    let declared = [&old.states[re.0], &old.states[im.0]];
    let mut kept = |state: StateId, name: &str| {
        let kept = used.fresh(&format!("{name}_unturned"));
        let restored = links[state.0].to.replace(kept.clone());
        (kept, restored)
    };
    let taken = [(re, declared[0]), (im, declared[1])].map(|(state, declared)| {
        let (kept, restored) = kept(state, &declared.name);
        restoring.take(declared, &kept, restored.as_deref())
    });
    let name = used.fresh(&format!("{}_turns", declared[0].name));
    links.push(own_link(&name));
    let phase = own_state(declared[0], name.clone(), angle.clone(), 0.0);
    let (_, last) = restoring.take(&phase, &name, None);
    let rotation = rotation(&mut restoring.made, last);
    let whole = turned(&mut restoring.made, rotation, taken.map(|(_, value)| value));
    for ((state, _), value) in taken.iter().zip(whole) {
        restoring.made.update(*state, value);
    }

    let members = steps.keys().flat_map(|pair| [(pair[0], (*pair, 0)), (pair[1], (*pair, 1))]);
    let mut made = Rewriter::new(old);
    let phase = made.state(phase);
    let mut work = Turns {
        program,
        states: [re, im],
        members: members.collect(),
        steps,
        side: angle.first().copied(),
        phase,
        made,
        images: BTreeMap::new(),
        readings: BTreeMap::new(),
        places: BTreeMap::new(),
    };
    let Image { parts, turns } = work.image([old.updates[re.0], old.updates[im.0]]);
    work.made.update(re, parts[0]);
    work.made.update(im, parts[1]);
    work.made.update(work.phase, turns);
    let others = (0..old.updates.len()).map(StateId).filter(|s| *s != re && *s != im);
    for state in others {
        let update = work.place(old.updates[state.0]);
        work.made.update(state, update);
    }
    let outputs: Vec<NodeId> = old.outputs.iter().map(|o| work.place(o.node)).collect();
    let recurrence = work.made.finish(&outputs);
    Some(program.prepared.with(recurrence, links, restoring.finish()))
}

/// Cosine and sine of a number of turns.
fn rotation(made: &mut Rewriter, turns: NodeId) -> [NodeId; 2] {
    let whole = made.number(TAU);
    let angle = made.mul(turns, whole);
    [made.unary(Unary::Cos, angle), made.unary(Unary::Sin, angle)]
}

/// `e^(it) (x + iy)`.
fn turned(made: &mut Rewriter, [cos, sin]: [NodeId; 2], [x, y]: [NodeId; 2]) -> [NodeId; 2] {
    let (cx, sy) = (made.mul(cos, x), made.mul(sin, y));
    let (sx, cy) = (made.mul(sin, x), made.mul(cos, y));
    [made.sub(cx, sy), made.add(sx, cy)]
}

impl Turns<'_> {
    fn op(&self, id: NodeId) -> Op {
        self.program.recurrence.node(id).op
    }

    /// The image of a pair.
    fn image(&mut self, pair: Pair) -> Image {
        if let Some(image) = self.images.get(&pair) {
            return *image;
        }
        self.made.stand_for(self.program.recurrence.node(pair[0]));
        let image = match self.steps[&pair] {
            Step::Start => Image {
                parts: self.states.map(|s| self.made.node(Op::State(s))),
                turns: self.made.node(Op::State(self.phase)),
            },
            Step::Turned { from, scale, angle } => {
                let from = self.image(from);
                let angle = self.place(angle);
                let turns = self.advanced(from.turns, angle);
                let parts = match scale {
                    Some(scale) => self.scaled(from.parts, scale),
                    None => from.parts,
                };
                Image { parts, turns }
            }
            Step::Scaled { from, factor } => {
                let from = self.image(from);
                Image { parts: self.scaled(from.parts, factor), ..from }
            }
            Step::Written { from, writes } => self.written(from, writes),
        };
        self.images.insert(pair, image);
        image
    }

    /// The turns after one more angle, between -1/2 and 1/2.
    fn advanced(&mut self, turns: NodeId, angle: NodeId) -> NodeId {
        let (share, half) = (self.made.number(1.0 / TAU), self.made.number(0.5));
        let step = self.made.mul(angle, share);
        let sum = self.made.add(turns, step);
        let up = self.made.add(sum, half);
        let whole = self.made.unary(Unary::Floor, up);
        self.made.sub(sum, whole)
    }

    fn scaled(&mut self, parts: [NodeId; 2], factor: NodeId) -> [NodeId; 2] {
        let factor = self.place(factor);
        parts.map(|part| self.made.mul(factor, part))
    }

    /// What is written, turned back.
    fn written(&mut self, from: Pair, [v, w]: [Option<NodeId>; 2]) -> Image {
        let from = self.image(from);
        let [cos, sin] = rotation(&mut self.made, from.turns);
        let back = self.made.unary(Unary::Neg, sin);
        let re = self.mixed([(cos, v), (sin, w)]);
        let im = self.mixed([(cos, w), (back, v)]);
        let mut parts = from.parts;
        for (part, write) in parts.iter_mut().zip([re, im]) {
            if let Some(write) = write {
                *part = self.made.add(*part, write);
            }
        }
        Image { parts, ..from }
    }

    /// The sum of two writes with a factor each; one write where they share a key or a value.
    fn mixed(&mut self, [(f, v), (g, w)]: [(NodeId, Option<NodeId>); 2]) -> Option<NodeId> {
        let (v, w) = match (v, w) {
            (Some(v), Some(w)) => (v, w),
            (Some(v), None) => return Some(self.weighted(f, v)),
            (None, w) => return w.map(|w| self.weighted(g, w)),
        };
        if let (Op::Outer(a, b), Op::Outer(c, d)) = (self.op(v), self.op(w)) {
            let carries = |id: NodeId| {
                let dims = &self.program.recurrence.node(id).dims;
                self.side.is_none_or(|side| dims.contains(&side))
            };
            if b == d && carries(a) && carries(c) {
                let (left, right) = (self.weighted(f, a), self.weighted(g, c));
                let (key, value) = (self.made.add(left, right), self.place(b));
                return Some(self.made.node(Op::Outer(key, value)));
            }
            if a == c && carries(b) && carries(d) {
                let (left, right) = (self.weighted(f, b), self.weighted(g, d));
                let (key, value) = (self.place(a), self.made.add(left, right));
                return Some(self.made.node(Op::Outer(key, value)));
            }
        }
        let (left, right) = (self.weighted(f, v), self.weighted(g, w));
        Some(self.made.add(left, right))
    }

    /// A new factor times an old value.
    fn weighted(&mut self, factor: NodeId, old: NodeId) -> NodeId {
        let value = self.place(old);
        self.made.mul(factor, value)
    }

    /// The origin of a node that is a part of the rotated state, and which part.
    fn member(&self, id: NodeId) -> Option<(Origin, usize)> {
        if let Op::Final(state) = self.op(id) {
            let part = self.states.iter().position(|s| *s == state)?;
            return Some((Origin::Last, part));
        }
        self.members.get(&id).map(|(pair, part)| (Origin::Pair(*pair), *part))
    }

    fn image_at(&mut self, origin: Origin) -> Image {
        match origin {
            Origin::Pair(pair) => self.image(pair),
            Origin::Last => Image {
                parts: self.states.map(|s| self.made.node(Op::Final(s))),
                turns: self.made.node(Op::Final(self.phase)),
            },
        }
    }

    /// A node as a read of both parts, if it is one.
    fn reading(&mut self, id: NodeId) -> Option<Reading> {
        if let Some(known) = self.readings.get(&id) {
            return known.clone();
        }
        let reading = self.find_reading(id);
        self.readings.insert(id, reading.clone());
        reading
    }

    fn find_reading(&mut self, id: NodeId) -> Option<Reading> {
        match self.op(id) {
            Op::Dot(a, b, dim) => {
                let (matrix, reader) = if self.member(a).is_some() { (a, b) } else { (b, a) };
                let (origin, part) = self.member(matrix)?;
                let rank = self.program.recurrence.node(reader).dims.len();
                let along = self.side.is_none_or(|side| side == dim);
                if self.member(reader).is_some() || rank != 1 || !along {
                    return None;
                }
                let reader = self.place(reader);
                let turns = self.image_at(origin).turns;
                let [cos, sin] = rotation(&mut self.made, turns);
                let (along, across) = (self.made.mul(reader, cos), self.made.mul(reader, sin));
                let readers = match part {
                    0 => [along, self.made.unary(Unary::Neg, across)],
                    _ => [across, along],
                };
                Some(Reading { origin, dim, readers })
            }
            Op::Unary(Unary::Neg, a) => {
                let reading = self.reading(a)?;
                let readers = reading.readers.map(|r| self.made.unary(Unary::Neg, r));
                Some(Reading { readers, ..reading })
            }
            Op::Binary(sluice_ir::step::Binary::Add, a, b) => {
                let (a, b) = (self.reading(a)?, self.reading(b)?);
                if (a.origin, a.dim) != (b.origin, b.dim) {
                    return None;
                }
                let [p, q] = [0, 1].map(|i| self.made.add(a.readers[i], b.readers[i]));
                Some(Reading { readers: [p, q], ..a })
            }
            _ => None,
        }
    }

    /// The new node of an old one.
    fn place(&mut self, id: NodeId) -> NodeId {
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        let node = self.program.recurrence.node(id);
        let place = if let Some((origin, part)) = self.member(id) {
            let Image { parts, turns } = self.image_at(origin);
            let rotation = rotation(&mut self.made, turns);
            turned(&mut self.made, rotation, parts)[part]
        } else if let Some(Reading { origin, dim, readers }) = self.reading(id) {
            let parts = self.image_at(origin).parts;
            let [re, im] = [0, 1].map(|i| self.made.node(Op::Dot(readers[i], parts[i], dim)));
            self.made.add(re, im)
        } else if let Some(read) = self.read_across(id) {
            read
        } else {
            let operands = node.op.operands().into_iter().map(|o| self.place(o));
            let operands: Vec<NodeId> = operands.collect();
            let mut operands = operands.into_iter();
            self.made.stand_for(node);
            self.made.copy(|_| operands.next().expect("every operand has a place"))
        };
        self.places.insert(id, place);
        place
    }

    /// A contraction of one part along a dimension that is not the angles': the rotation comes after.
    fn read_across(&mut self, id: NodeId) -> Option<NodeId> {
        let (matrix, reader, dim) = match self.op(id) {
            Op::Dot(a, b, dim) if self.member(a).is_some() => (a, Some(b), dim),
            Op::Dot(a, b, dim) => (b, Some(a), dim),
            Op::Reduce(Reduction::Sum, a, dim) => (a, None, dim),
            _ => return None,
        };
        let (origin, part) = self.member(matrix)?;
        let bad = |r: NodeId| self.member(r).is_some();
        if self.side == Some(dim) || reader.is_some_and(bad) {
            return None;
        }
        let Image { parts, turns } = self.image_at(origin);
        let reader = reader.map(|r| self.place(r));
        let reads = parts.map(|part| {
            self.made.node(match reader {
                Some(reader) => Op::Dot(reader, part, dim),
                None => Op::Reduce(Reduction::Sum, part, dim),
            })
        });
        let rotation = rotation(&mut self.made, turns);
        Some(turned(&mut self.made, rotation, reads)[part])
    }
}
