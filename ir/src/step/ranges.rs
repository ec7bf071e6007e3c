//! Between which bounds the values of a step lie, from what the caller promises.
//!
//! States start from their initial values and from what the caller promises of those passed in; their
//! intervals grow until a step stays within them. A bound that still moves after some steps goes to
//! infinity. Three facts that intervals alone cannot see are added: `a - max(a, b) <= 0`, the same for
//! `logaddexp`, and `x * x >= 0`.

use super::{Binary, Init, Interval, Node, NodeId, Op, Recurrence, Reduction, Unary};
use std::collections::BTreeMap;

/// Steps after which a bound that still moves is given up.
const STEPS: usize = 4;

/// An interval for every node; dimensions that the program leaves open have sizes in `extents`, or any
/// size from 1.
pub fn ranges(recurrence: &Recurrence, extents: &BTreeMap<String, usize>) -> Vec<Interval> {
    let start = |state: &super::State| {
        let declared = match state.init {
            Init::Value(x) => Interval::point(x),
            Init::Identity => Interval::new(0.0, 1.0),
            Init::Input(id) => recurrence.inputs[id.0].range,
        };
        // Without a promise the caller may pass in anything.
        state.range.map_or(Interval::ALL, |range| hull(range, declared))
    };
    let mut states: Vec<Interval> = recurrence.states.iter().map(start).collect();
    for step in 0.. {
        let nodes = nodes(recurrence, extents, &states);
        let mut settled = true;
        for (state, update) in states.iter_mut().zip(&recurrence.updates) {
            let wider = hull(*state, nodes[update.0]);
            if wider == *state {
                continue;
            }
            settled = false;
            *state = match step < STEPS {
                true => wider,
                false => Interval {
                    lo: if wider.lo < state.lo { f64::NEG_INFINITY } else { state.lo },
                    hi: if wider.hi > state.hi { f64::INFINITY } else { state.hi },
                },
            };
        }
        if settled {
            return nodes;
        }
    }
    unreachable!("each bound moves to infinity at most once")
}

fn hull(a: Interval, b: Interval) -> Interval {
    // A bound that is not a number bounds nothing.
    let lo = if a.lo.is_nan() || b.lo.is_nan() { f64::NEG_INFINITY } else { a.lo.min(b.lo) };
    let hi = if a.hi.is_nan() || b.hi.is_nan() { f64::INFINITY } else { a.hi.max(b.hi) };
    Interval { lo, hi }
}

fn nodes(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
    states: &[Interval],
) -> Vec<Interval> {
    let mut all: Vec<Interval> = Vec::with_capacity(recurrence.nodes.len());
    for node in &recurrence.nodes {
        let found = node_range(recurrence, extents, states, &all, node);
        all.push(hull(found, found));
    }
    all
}

fn node_range(
    recurrence: &Recurrence,
    extents: &BTreeMap<String, usize>,
    states: &[Interval],
    known: &[Interval],
    node: &Node,
) -> Interval {
    let of = |id: NodeId| known[id.0];
    let size = |dim| {
        let size = recurrence.size(dim, extents).map(|n| n as f64);
        Interval::new(size.unwrap_or(1.0), size.unwrap_or(f64::INFINITY))
    };
    match node.op {
        Op::Input(id) => recurrence.inputs[id.0].range,
        Op::State(id) | Op::Final(id) => states[id.0],
        Op::Const(x) => Interval::point(x),
        Op::Extent(dim) => size(dim),
        Op::Index(dim) => Interval::new(0.0, size(dim).hi - 1.0),
        Op::Table(id) => {
            let values = recurrence.tables[id.0].values.iter();
            values.map(|x| Interval::point(*x)).reduce(hull).unwrap_or(Interval::ALL)
        }
        Op::Unary(f, a) => f.range(of(a)),
        Op::Binary(Binary::Mul, a, b) if a == b => {
            let square = Binary::Mul.range(of(a), of(a));
            Interval::new(square.lo.max(0.0), square.hi)
        }
        Op::Binary(Binary::Add, a, b) => {
            let sum = Binary::Add.range(of(a), of(b));
            let below = is_at_most(recurrence, a, b) || is_at_most(recurrence, b, a);
            Interval { hi: if below { sum.hi.min(0.0) } else { sum.hi }, ..sum }
        }
        Op::Binary(f, a, b) => f.range(of(a), of(b)),
        Op::Select(_, a, b) | Op::Concat(a, b, ..) | Op::Push(a, b) => hull(of(a), of(b)),
        Op::Reduce(Reduction::Max, a, _) | Op::Reshape(a, _) | Op::Slice(a, ..) => of(a),
        Op::Reduce(Reduction::Sum, a, dim) => Binary::Mul.range(of(a), size(dim)),
        Op::Dot(a, b, dim) => Binary::Mul.range(Binary::Mul.range(of(a), of(b)), size(dim)),
        Op::Outer(a, b) => Binary::Mul.range(of(a), of(b)),
        Op::TopK(..) => Interval::new(0.0, 1.0),
        Op::Matrix(..) => Interval::ALL,
    }
}

/// Whether `minus` is the negative of a value that `a` cannot exceed: a maximum or a sum of
/// exponentials of `a` and something else.
fn is_at_most(recurrence: &Recurrence, a: NodeId, minus: NodeId) -> bool {
    let Op::Unary(Unary::Neg, bound) = recurrence.node(minus).op else { return false };
    match recurrence.node(bound).op {
        Op::Binary(Binary::Max | Binary::LogAddExp, x, y) => {
            a == x || a == y || is_bound_of(recurrence, a, x) || is_bound_of(recurrence, a, y)
        }
        Op::Reduce(Reduction::Max, x, _) => a == x,
        _ => false,
    }
}

/// Whether a bound is itself a maximum of `a` and something else.
fn is_bound_of(recurrence: &Recurrence, a: NodeId, bound: NodeId) -> bool {
    match recurrence.node(bound).op {
        Op::Binary(Binary::Max | Binary::LogAddExp, x, y) => a == x || a == y,
        _ => false,
    }
}
