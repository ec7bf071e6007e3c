//! What an elementwise form means, computed the way it claims that it can be: every gate and entry
//! first, then each linear group in segments that are summarised, combined and completed, and each window
//! as a piece of its entries.

use super::{Elements, Group, Law, Row};
use crate::dtype::Dtype;
use crate::pointwise::{Interval, Ring};
use crate::problem::{Array, Arrays, Problem};
use crate::step::{
    self, DimId, Input, InputId, NodeId, Op, Output, Rate, Recurrence, Sharing, StateId,
};

/// Outputs and final states by name, in segments of so many tokens.
///
/// # Panics
///
/// As [`step::eval`], or if the form is not legal.
pub fn eval(elements: &Elements, problem: &Problem, inputs: &Arrays, segment: usize) -> Arrays {
    let mut known = Known { recurrence: elements.recurrence.clone(), arrays: inputs.clone() };
    let mut last = Arrays::new();
    for group in &elements.groups {
        match &group.law {
            Law::Free => known.step(group, problem, &mut last),
            Law::Window(entry) => {
                let walk = Walk { elements, group, problem };
                walk.window(*entry, &mut known, &mut last);
            }
            Law::Linear { ring, rows } => {
                let walk = Walk { elements, group, problem };
                let scan = Scan { walk, rows, ring: *ring, segment };
                scan.run(&mut known, &mut last);
            }
        }
    }
    let states = &elements.recurrence.states;
    let held = (0..states.len()).filter(|s| elements.is_held(StateId(*s))).map(|s| &states[s].name);
    let outputs = elements.recurrence.outputs.iter().map(|o| &o.name);
    let names: Vec<&String> = outputs.chain(held).collect();
    known.recurrence.outputs.clone_from(&elements.recurrence.outputs);
    let results = step::eval(&known.recurrence, problem, &known.arrays);
    last.extend(results.into_iter().filter(|(name, _)| names.contains(&name)));
    last
}

/// The recurrence with the states that were scanned as inputs.
struct Known {
    recurrence: Recurrence,
    arrays: Arrays,
}

impl Known {
    /// The values of nodes at every token.
    fn values(&mut self, nodes: &[NodeId], problem: &Problem) -> Vec<Array> {
        let output = |(i, node): (usize, &NodeId)| Output {
            name: format!("value {i}"),
            node: *node,
            dtype: None,
            doc: vec![],
            span: 0..0,
        };
        self.recurrence.outputs = nodes.iter().enumerate().map(output).collect();
        let mut found = step::eval(&self.recurrence, problem, &self.arrays);
        let take = |i| found.remove(&format!("value {i}")).expect("an array for each output");
        (0..nodes.len()).map(take).collect()
    }

    /// A free group, token by token.
    fn step(&mut self, group: &Group, problem: &Problem, last: &mut Arrays) {
        let state = |s: &StateId| {
            (0..self.recurrence.nodes.len())
                .map(NodeId)
                .find(|id| self.recurrence.node(*id).op == Op::State(*s))
        };
        let nodes: Vec<Option<NodeId>> = group.states.iter().map(state).collect();
        let read: Vec<NodeId> = nodes.iter().flatten().copied().collect();
        let mut before = self.values(&read, problem).into_iter();
        let ends = step::eval(&self.recurrence, problem, &self.arrays);
        for (state, node) in group.states.iter().zip(nodes) {
            let name = self.recurrence.states[state.0].name.clone();
            last.insert(name.clone(), ends[&name].clone());
            if node.is_some() {
                self.give(*state, before.next().expect("an array for each node"));
            }
        }
    }

    /// Makes the values of a state before every token an input.
    fn give(&mut self, state: StateId, before: Array) {
        let name = format!("{} before the token", self.recurrence.states[state.0].name);
        let dims = self.recurrence.states[state.0].dims.clone();
        self.recurrence.inputs.push(Input {
            name: name.clone(),
            dims,
            sharing: Sharing::Head,
            rate: Rate::Token,
            dtype: Some(Dtype::F64),
            range: Interval::ALL,
            doc: vec![],
            span: 0..0,
        });
        let input = Op::Input(InputId(self.recurrence.inputs.len() - 1));
        let nodes = self.recurrence.nodes.iter_mut();
        nodes.filter(|node| node.op == Op::State(state)).for_each(|node| node.op = input);
        self.arrays.insert(name, before);
    }
}

/// The change `(A, b)` of some states, with `A` row by row.
#[derive(Clone)]
struct Change {
    gates: Vec<f64>,
    entries: Vec<f64>,
}

impl Change {
    /// One change after another.
    fn then(&self, later: &Change, ring: Ring) -> Change {
        let n = self.entries.len();
        let (plus, times) = (ring.plus(), ring.times());
        let dot = |row: usize, column: &dyn Fn(usize) -> f64, start: f64| {
            let products = (0..n).map(|k| times.eval(later.gates[row * n + k], column(k)));
            products.fold(start, |sum, x| plus.eval(sum, x))
        };
        let gate = |i: usize| dot(i / n, &|k| self.gates[k * n + i % n], ring.zero());
        let entry = |i: usize| dot(i, &|k| self.entries[k], later.entries[i]);
        Change { gates: (0..n * n).map(gate).collect(), entries: (0..n).map(entry).collect() }
    }

    /// States as the change that forgets all others.
    fn of(states: Vec<f64>, ring: Ring) -> Change {
        Change { gates: vec![ring.zero(); states.len() * states.len()], entries: states }
    }
}

/// The states of one group at every token of a problem.
struct Walk<'a> {
    elements: &'a Elements,
    group: &'a Group,
    problem: &'a Problem,
}

impl Walk<'_> {
    fn size(&self, dim: DimId) -> usize {
        let size = self.elements.recurrence.size(dim, &self.problem.extents);
        size.expect("every dimension has a size")
    }

    /// The tokens of a sequence as they are visited.
    fn tokens(&self, sequence: usize) -> Vec<usize> {
        let first = &self.elements.recurrence.states[self.group.states[0].0];
        let order = first.order.with(|d| self.size(d));
        let [from, to] = [0, 1].map(|i| self.problem.cu_seqlens[sequence + i]);
        (0..to - from).map(|i| from + order.token(i, to - from)).collect()
    }

    /// The states as they start, which they stay without tokens.
    fn starts(&self, known: &Known) -> Vec<Array> {
        let recurrence = &self.elements.recurrence;
        let sequences = self.problem.cu_seqlens.len();
        let none = Problem { cu_seqlens: vec![0; sequences], ..self.problem.clone() };
        let mut start = step::eval(recurrence, &none, &empty(recurrence, &known.arrays));
        let name = |s: &StateId| &recurrence.states[s.0].name;
        let start = |s: &StateId| start.remove(name(s)).expect("an array for each state");
        self.group.states.iter().map(start).collect()
    }

    /// A window: each sequence's entries after the window that it starts with.
    fn window(&self, entry: NodeId, known: &mut Known, last: &mut Arrays) {
        let entries = known.values(&[entry], self.problem).remove(0);
        let mut end = self.starts(known).remove(0);
        let dims = self.elements.dims(self.group).expect("a legal form");
        let sizes: Vec<usize> = dims.iter().map(|d| self.size(*d)).collect();
        let inner: usize = sizes[1..].iter().product();
        let window = sizes[0] * inner;
        let heads = self.problem.heads;
        let mut before = Array::zeros(&[&[self.problem.tokens(), heads], &sizes[..]].concat());
        for sequence in 0..self.problem.sequences() {
            let tokens = self.tokens(sequence);
            for head in 0..heads {
                let at = (sequence * heads + head) * window;
                let mut row = end.data[at..at + window].to_vec();
                for (i, token) in tokens.iter().enumerate() {
                    let place = token * heads + head;
                    let held = &row[i * inner..i * inner + window];
                    before.data[place * window..(place + 1) * window].copy_from_slice(held);
                    row.extend_from_slice(entries.row(place, 2));
                }
                end.data[at..at + window].copy_from_slice(&row[tokens.len() * inner..]);
            }
        }
        let state = self.group.states[0];
        last.insert(self.elements.recurrence.states[state.0].name.clone(), end);
        known.give(state, before);
    }
}

/// The scan of one group.
struct Scan<'a> {
    walk: Walk<'a>,
    rows: &'a [Row],
    ring: Ring,
    segment: usize,
}

impl Scan<'_> {
    fn run(&self, known: &mut Known, last: &mut Arrays) {
        let Walk { elements, group, problem } = self.walk;
        let nodes: Vec<NodeId> = group.values().collect();
        let values = known.values(&nodes, problem);
        let recurrence = &elements.recurrence;
        let dims = elements.dims(group).expect("a legal form");
        let sizes: Vec<usize> = dims.iter().map(|d| self.walk.size(*d)).collect();
        let inner: usize = sizes.iter().product();
        let place = |node: &NodeId| (0..inner).map(|e| self.place(*node, dims, e)).collect();
        let places: Vec<Vec<usize>> = nodes.iter().map(place).collect();
        let heads = problem.heads;
        let shape = [&[problem.tokens(), heads], &sizes[..]].concat();
        let mut before = vec![Array::zeros(&shape); group.states.len()];
        let mut ends = self.walk.starts(known);
        for sequence in 0..problem.sequences() {
            let tokens = self.walk.tokens(sequence);
            for (head, element) in (0..heads).flat_map(|h| (0..inner).map(move |e| (h, e))) {
                let at = (sequence * heads + head) * inner + element;
                let changes: Vec<Change> = tokens
                    .iter()
                    .map(|token| {
                        let value = |i: usize| {
                            let row: &[f64] = values[i].row(token * heads + head, 2);
                            row[places[i][element]]
                        };
                        self.change(&value)
                    })
                    .collect();
                let first = ends.iter().map(|array| array.data[at]).collect();
                let states = self.segments(&changes, first);
                for (state, values) in states.iter().enumerate().take(tokens.len()) {
                    let place = (tokens[state] * heads + head) * inner + element;
                    before.iter_mut().zip(values).for_each(|(array, x)| array.data[place] = *x);
                }
                let end = states.last().expect("the state after the last token");
                ends.iter_mut().zip(end).for_each(|(array, x)| array.data[at] = *x);
            }
        }
        for ((state, before), end) in group.states.iter().zip(before).zip(ends) {
            last.insert(recurrence.states[state.0].name.clone(), end);
            known.give(*state, before);
        }
    }

    /// A change from the values of its gates and entries, in their order.
    fn change(&self, value: &dyn Fn(usize) -> f64) -> Change {
        let mut number = 0;
        let mut next = |exists: bool| {
            if !exists {
                return self.ring.zero();
            }
            number += 1;
            value(number - 1)
        };
        let mut change = Change { gates: vec![], entries: vec![] };
        for row in self.rows {
            change.gates.extend(row.gates.iter().map(|gate| next(gate.is_some())));
            change.entries.push(next(row.entry.is_some()));
        }
        change
    }

    /// The element of a node that goes with an element of the states.
    fn place(&self, node: NodeId, dims: &[DimId], element: usize) -> usize {
        let mut rest = element;
        let mut indices = vec![0; dims.len()];
        for (index, dim) in indices.iter_mut().zip(dims).rev() {
            *index = rest % self.walk.size(*dim);
            rest /= self.walk.size(*dim);
        }
        let own = &self.walk.elements.recurrence.node(node).dims;
        own.iter().fold(0, |at, dim| {
            let place = dims.iter().position(|d| d == dim).expect("a dimension of the states");
            at * self.walk.size(*dim) + indices[place]
        })
    }

    /// The states before each token and after the last.
    fn segments(&self, changes: &[Change], first: Vec<f64>) -> Vec<Vec<f64>> {
        let segments = changes.chunks(self.segment.max(1));
        // All summaries are made before any state is known.
        let summaries: Vec<Change> = segments
            .clone()
            .filter_map(|s| s.iter().cloned().reduce(|sum, next| sum.then(&next, self.ring)))
            .collect();
        let mut starts = vec![Change::of(first, self.ring)];
        for summary in &summaries {
            starts.push(starts[starts.len() - 1].then(summary, self.ring));
        }
        let mut states = Vec::with_capacity(changes.len() + 1);
        for (segment, start) in segments.zip(&starts) {
            let mut state = start.clone();
            for change in segment {
                states.push(state.entries.clone());
                state = state.then(change, self.ring);
            }
        }
        states.push(starts.pop().expect("the first state").entries);
        states
    }
}

/// The arrays of a problem without tokens.
fn empty(recurrence: &Recurrence, arrays: &Arrays) -> Arrays {
    let mut empty = arrays.clone();
    for input in recurrence.inputs.iter().filter(|input| input.rate == Rate::Token) {
        if let Some(array) = empty.get_mut(&input.name) {
            array.shape[0] = 0;
            array.data.clear();
        }
    }
    empty
}
