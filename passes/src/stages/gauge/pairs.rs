//! Pairs of states that are the two parts of one rotated and scaled state: how a step puts them together.

use super::super::Program;
use super::super::ring::Degree;
use sluice_ir::step::{Binary, NodeId, Op, StateId, Unary};
use std::collections::BTreeMap;

/// Two nodes that are the real and the imaginary part of something.
pub(super) type Pair = [NodeId; 2];

/// How a pair is made of another one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The states before the step.
    Start,
    /// The other one times `scale` and turned by `angle`.
    Turned { from: Pair, scale: Option<NodeId>, angle: NodeId },
    /// The other one times a real factor.
    Scaled { from: Pair, factor: NodeId },
    /// The other one with something added to each part.
    Written { from: Pair, writes: [Option<NodeId>; 2] },
}

/// Finds how the update of two states is made; every pair on the way from them with its step.
pub(super) fn pairs(
    program: &Program,
    degrees: &[Degree],
    [re, im]: [StateId; 2],
) -> Option<BTreeMap<Pair, Step>> {
    let update = |s: StateId| program.recurrence.updates[s.0];
    let mut finder = Finder { program, degrees, states: [re, im], found: BTreeMap::new() };
    finder.find([update(re), update(im)]).then_some(finder.found)
}

struct Finder<'a> {
    program: &'a Program<'a>,
    degrees: &'a [Degree],
    states: [StateId; 2],
    found: BTreeMap<Pair, Step>,
}

impl Finder<'_> {
    fn op(&self, id: NodeId) -> Op {
        self.program.recurrence.node(id).op
    }

    fn is_free(&self, id: NodeId) -> bool {
        self.degrees[id.0] == Degree::Free
    }

    fn find(&mut self, pair: Pair) -> bool {
        if self.found.contains_key(&pair) {
            return true;
        }
        let step = self.start(pair).or_else(|| self.turned(pair));
        let step = step.or_else(|| self.scaled(pair)).or_else(|| self.written(pair));
        step.is_some_and(|step| {
            self.found.insert(pair, step);
            true
        })
    }

    fn start(&self, [re, im]: Pair) -> Option<Step> {
        let is = |id: NodeId, state| self.op(id) == Op::State(state);
        (is(re, self.states[0]) && is(im, self.states[1])).then_some(Step::Start)
    }

    /// `[a x - b y, a y + b x]` with `a = r cos t`, `b = r sin t`.
    fn turned(&mut self, [re, im]: Pair) -> Option<Step> {
        for (kept, minus) in self.sums(re) {
            let Op::Unary(Unary::Neg, taken) = self.op(minus) else { continue };
            for ((a, x), (b, y)) in both(self.products(kept), self.products(taken)) {
                let Some((scale, angle)) = self.polar(a, b) else { continue };
                let fits = self.sums(im).into_iter().any(|(u, w)| {
                    self.products(u).contains(&(a, y)) && self.products(w).contains(&(b, x))
                });
                if fits && self.find([x, y]) {
                    return Some(Step::Turned { from: [x, y], scale, angle });
                }
            }
        }
        None
    }

    /// `[f x, f y]`.
    fn scaled(&mut self, [re, im]: Pair) -> Option<Step> {
        for ((factor, x), (other, y)) in both(self.products(re), self.products(im)) {
            if factor == other && self.find([x, y]) {
                return Some(Step::Scaled { from: [x, y], factor });
            }
        }
        None
    }

    /// `[x + v, y + w]`, where one part may be as it was.
    fn written(&mut self, [re, im]: Pair) -> Option<Step> {
        let parts = |list: Vec<(NodeId, NodeId)>, id: NodeId| -> Vec<(NodeId, Option<NodeId>)> {
            let writes = list.into_iter().map(|(x, write)| (x, Some(write)));
            writes.chain([(id, None)]).collect()
        };
        let (left, right) = (parts(self.sums(re), re), parts(self.sums(im), im));
        let is_write = |write: Option<NodeId>| write.is_none_or(|w| self.is_write(w));
        let choices = both(left, right);
        let choices = choices.into_iter().filter(|((_, v), (_, w))| is_write(*v) && is_write(*w));
        for ((x, v), (y, w)) in choices.collect::<Vec<_>>() {
            if (v.is_some() || w.is_some()) && self.find([x, y]) {
                return Some(Step::Written { from: [x, y], writes: [v, w] });
            }
        }
        None
    }

    /// Whether a matrix holds the states only through vectors that were read from them.
    fn is_write(&self, id: NodeId) -> bool {
        let node = self.program.recurrence.node(id);
        let matrix = |o: &NodeId| self.program.recurrence.node(*o).dims.len() == node.dims.len();
        let held = |s: StateId| self.states.contains(&s);
        !matches!(node.op, Op::State(s) if held(s))
            && (self.is_free(id)
                || node.op.operands().into_iter().filter(matrix).all(|o| self.is_write(o)))
    }

    /// The operands of a sum of matrices, either one first.
    fn sums(&self, id: NodeId) -> Vec<(NodeId, NodeId)> {
        let dims = |id: NodeId| &self.program.recurrence.node(id).dims;
        match self.op(id) {
            Op::Binary(Binary::Add, a, b) if dims(a) == dims(b) => vec![(a, b), (b, a)],
            _ => vec![],
        }
    }

    /// A factor that does not depend on the states and what it scales.
    fn products(&self, id: NodeId) -> Vec<(NodeId, NodeId)> {
        let Op::Binary(Binary::Mul, a, b) = self.op(id) else { return vec![] };
        let small = |f: NodeId| self.is_free(f) && self.program.recurrence.node(f).dims.len() < 2;
        [(a, b), (b, a)].into_iter().filter(|(f, x)| small(*f) && !self.is_free(*x)).collect()
    }

    /// `r` and `t` of `r cos t` and `r sin t`; no `r` if it is 1.
    fn polar(&self, a: NodeId, b: NodeId) -> Option<(Option<NodeId>, NodeId)> {
        let factors = |id: NodeId| match self.op(id) {
            Op::Binary(Binary::Mul, r, f) => vec![(Some(r), f), (Some(f), r)],
            _ => vec![(None, id)],
        };
        let angles = |((r, c), (other, s))| match (self.op(c), self.op(s)) {
            (Op::Unary(Unary::Cos, t), Op::Unary(Unary::Sin, u)) if (r, t) == (other, u) => {
                Some((r, t))
            }
            _ => None,
        };
        both(factors(a), factors(b)).into_iter().find_map(angles)
    }
}

/// All pairs of elements of two lists.
fn both<A: Copy, B: Copy>(left: Vec<A>, right: Vec<B>) -> Vec<(A, B)> {
    left.iter().flat_map(|a| right.iter().map(|b| (*a, *b))).collect()
}
