//! What a recurrence means: the definition of the language, in f64, token by token.
//!
//! Every form and every kernel is compared with this evaluator, so it is written to be read: for each
//! sequence and head, the nodes of one step are computed in order, the outputs are stored, and the
//! updates become the states of the next step. A program whose states pass over the tokens in several
//! orders, or that reads a state after the last token, takes several sweeps over the sequence; what an
//! earlier sweep has computed and a later one needs is kept for every token.

use super::compute::Computer;
use super::{Init, InputId, Node, NodeId, Op, Order, Rate, Recurrence, Sharing, Sweeps, sweeps};
use crate::problem::{Array, Arrays, Problem};
use std::collections::BTreeMap;

/// Outputs and final states by name, in the layouts of [`Arrays`].
///
/// `arrays` holds every input under its name and, for a state that does not start from its declared
/// value, the initial state under the state's name. A sequence without tokens keeps its initial state.
///
/// # Panics
///
/// If the recurrence is not legal, an array or an extent is missing or has the wrong size, or a
/// sequence is no whole number of rows of a grid that the program asks for.
pub fn eval(recurrence: &Recurrence, problem: &Problem, arrays: &Arrays) -> Arrays {
    let sizes = (0..recurrence.dims.len()).map(|d| {
        recurrence.size(super::DimId(d), &problem.extents).expect("every dimension has a size")
    });
    let computer = Computer::new(recurrence, sizes.collect());
    let inputs = recurrence
        .inputs
        .iter()
        .map(|i| arrays.get(&i.name).expect("every input has an array"))
        .collect();
    let evaluator = Evaluator {
        recurrence,
        problem,
        inputs,
        sweeps: sweeps(recurrence).expect("the recurrence is legal"),
        computer,
    };
    let mut states = evaluator.initial_states(arrays);
    let mut outputs = evaluator.empty_outputs();
    let mut values = evaluator.computer.values();
    for sequence in 0..problem.sequences() {
        for head in 0..problem.heads {
            evaluator.chain(sequence, head, &mut values, &mut states, &mut outputs);
        }
    }
    let output_names = recurrence.outputs.iter().map(|o| o.name.clone());
    let state_names = recurrence.states.iter().map(|s| s.name.clone());
    output_names.zip(outputs).chain(state_names.zip(states)).collect()
}

/// Everything that stays the same from step to step.
struct Evaluator<'a> {
    recurrence: &'a Recurrence,
    problem: &'a Problem,
    inputs: Vec<&'a Array>,
    sweeps: Sweeps,
    computer: Computer<'a>,
}

/// One step of one chain: a head of a sequence.
#[derive(Clone, Copy)]
struct Place {
    token: usize,
    head: usize,
    chain: usize,
}

/// Values of some nodes at every token of one chain.
type Kept = BTreeMap<NodeId, Vec<f64>>;

impl Evaluator<'_> {
    /// All sweeps over one head of a sequence.
    fn chain(
        &self,
        sequence: usize,
        head: usize,
        values: &mut [Vec<f64>],
        states: &mut [Array],
        outputs: &mut [Array],
    ) {
        let chain = sequence * self.problem.heads + head;
        let first = self.problem.cu_seqlens[sequence];
        let tokens = self.problem.cu_seqlens[sequence + 1] - first;
        let mut kept = Kept::new();
        for (index, sweep) in self.sweeps.sweeps.iter().enumerate() {
            let fetched = self.fetched(index);
            for id in self.kept_for_later(index) {
                kept.insert(id, vec![0.0; tokens * values[id.0].len()]);
            }
            for place in 0..tokens {
                let offset = self.token(sweep.order, place, tokens);
                for id in &fetched {
                    let out = values[id.0].as_mut_slice();
                    out.copy_from_slice(&kept[id][offset * out.len()..][..out.len()]);
                }
                self.step(index, Place { token: first + offset, head, chain }, states, values);
                for state in &sweep.states {
                    store(&mut states[state.0], chain, &values[self.recurrence.updates[state.0].0]);
                }
                let row = (first + offset) * self.problem.heads + head;
                for (array, output) in outputs.iter_mut().zip(&self.recurrence.outputs) {
                    if self.sweeps.first[output.node.0] == index {
                        store(array, row, &values[output.node.0]);
                    }
                }
                for (id, all) in &mut kept {
                    if self.sweeps.first[id.0] == index {
                        let value = &values[id.0];
                        all[offset * value.len()..][..value.len()].copy_from_slice(value);
                    }
                }
            }
        }
    }

    /// The token that comes `place`th in an order.
    fn token(&self, order: Order, place: usize, tokens: usize) -> usize {
        let order = order.with(|dim| self.computer.extents[dim.0]);
        let columns = order.grid().unwrap_or(1);
        assert!(tokens.is_multiple_of(columns), "{tokens} tokens are whole rows of a grid");
        order.token(place, tokens)
    }

    /// Whether a sweep computes a node.
    fn computes(&self, sweep: usize, node: usize) -> bool {
        let first = self.sweeps.first[node];
        first == sweep || (first < sweep && !self.sweeps.carried[node])
    }

    /// The nodes that a sweep takes from earlier ones.
    fn fetched(&self, sweep: usize) -> Vec<NodeId> {
        let nodes = self.recurrence.nodes.iter().enumerate();
        let computed = nodes.filter(|(i, _)| self.computes(sweep, *i));
        let operands = computed.flat_map(|(_, node)| node.op.operands());
        let states = &self.sweeps.sweeps[sweep].states;
        let updates = states.iter().map(|s| self.recurrence.updates[s.0]);
        let mut needed: Vec<NodeId> =
            operands.chain(updates).filter(|id| !self.computes(sweep, id.0)).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// The nodes of a sweep that later ones take.
    fn kept_for_later(&self, sweep: usize) -> Vec<NodeId> {
        let later = sweep + 1..self.sweeps.sweeps.len();
        let taken = later.flat_map(|later| self.fetched(later));
        taken.filter(|id| self.sweeps.first[id.0] == sweep).collect()
    }

    /// Computes the nodes of a sweep at a place from the states before the step.
    fn step(&self, sweep: usize, place: Place, states: &[Array], values: &mut [Vec<f64>]) {
        for (i, node) in self.recurrence.nodes.iter().enumerate() {
            if !self.computes(sweep, i) {
                continue;
            }
            let (before, rest) = values.split_at_mut(i);
            let out = rest[0].as_mut_slice();
            match node.op {
                Op::Input(id) => load(self.inputs[id.0], self.input_row(id, place), out),
                Op::State(id) | Op::Final(id) => load(&states[id.0], place.chain, out),
                _ => self.computer.compute(NodeId(i), before, out),
            }
        }
    }

    /// Which element of an input's array belongs to a place.
    fn input_row(&self, id: InputId, place: Place) -> usize {
        let input = &self.recurrence.inputs[id.0];
        let (row, rows) = match input.sharing {
            Sharing::Head => (place.head, self.problem.heads),
            Sharing::Group => (self.problem.group_of(place.head), self.problem.groups),
        };
        match input.rate {
            Rate::Token => place.token * rows + row,
            Rate::Model => row,
        }
    }

    fn sizes(&self, node: &Node) -> Vec<usize> {
        node.dims.iter().map(|d| self.computer.extents[d.0]).collect()
    }

    fn empty_outputs(&self) -> Vec<Array> {
        let outputs = self.recurrence.outputs.iter().map(|o| {
            let mut whole = vec![self.problem.tokens(), self.problem.heads];
            whole.extend(self.sizes(self.recurrence.node(o.node)));
            Array::zeros(&whole)
        });
        outputs.collect()
    }

    fn initial_states(&self, arrays: &Arrays) -> Vec<Array> {
        let initial = |state: &super::State| {
            let mut shape = vec![self.problem.sequences(), self.problem.heads];
            shape.extend(state.dims.iter().map(|d| self.computer.extents[d.0]));
            let array =
                arrays.get(&state.name).cloned().unwrap_or_else(|| self.declared(state, &shape));
            assert_eq!(array.shape, shape, "initial state `{}` has the right shape", state.name);
            array
        };
        self.recurrence.states.iter().map(initial).collect()
    }

    /// What a state starts from when the caller gives nothing.
    fn declared(&self, state: &super::State, shape: &[usize]) -> Array {
        let mut array = Array::zeros(shape);
        match state.init {
            Init::Value(x) => array.data.fill(x),
            Init::Identity => {
                let size = shape[2];
                let ones = array.data.chunks_exact_mut(size).enumerate();
                ones.for_each(|(row, columns)| columns[row % size] = 1.0);
            }
            Init::Input(id) => {
                let heads = self.problem.heads;
                let size: usize = shape[2..].iter().product();
                for chain in 0..shape[0] * heads {
                    let place = Place { token: 0, head: chain % heads, chain };
                    let from = self.input_row(id, place) * size;
                    let value = &self.inputs[id.0].data[from..from + size];
                    array.data[chain * size..][..size].copy_from_slice(value);
                }
            }
        }
        array
    }
}

/// Reads the element `index` of an array whose elements are as large as `out`.
fn load(array: &Array, index: usize, out: &mut [f64]) {
    out.copy_from_slice(&array.data[index * out.len()..(index + 1) * out.len()]);
}

/// Writes the element `index` of an array whose elements are as large as `value`.
fn store(array: &mut Array, index: usize, value: &[f64]) {
    array.data[index * value.len()..(index + 1) * value.len()].copy_from_slice(value);
}
