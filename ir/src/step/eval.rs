//! What a recurrence means: the definition of the language, in f64, token by token.
//!
//! Every form and every kernel is compared with this evaluator, so it is written to be read: for each
//! sequence and head, the nodes of one step are computed in order, the outputs are stored, and the
//! updates become the states of the next step. Sums run in index order from 0.
//!
//! A value of up to two dimensions is a `rows x cols` matrix (a vector is one row); broadcasting and
//! contraction are strides into the operands.

use super::{Binary, DimId, InputId, Node, NodeId, Op, Rate, Recurrence, Reduction, Sharing};
use crate::problem::{Array, Arrays, Problem};

/// Outputs and final states by name, in the layouts of [`Arrays`].
///
/// `arrays` holds every input under its name and, for a state that does not start from its declared
/// value, the initial state under the state's name. A sequence without tokens keeps its initial state.
///
/// # Panics
///
/// If the recurrence is not legal, or an array or an extent is missing or has the wrong size.
pub fn eval(recurrence: &Recurrence, problem: &Problem, arrays: &Arrays) -> Arrays {
    let extents = extents(recurrence, problem);
    let shape = |node: &Node| node.dims.iter().map(|d| extents[d.0]).collect::<Vec<usize>>();
    let inputs = recurrence
        .inputs
        .iter()
        .map(|i| arrays.get(&i.name).expect("every input has an array"))
        .collect();
    let plans = recurrence.nodes.iter().map(|n| plan(recurrence, n, &extents)).collect();
    let mut values: Vec<Vec<f64>> =
        recurrence.nodes.iter().map(|n| vec![0.0; shape(n).iter().product()]).collect();
    let mut states = initial_states(recurrence, problem, arrays, &extents);
    let mut outputs: Vec<Array> = recurrence
        .outputs
        .iter()
        .map(|o| {
            let mut whole = vec![problem.tokens(), problem.heads];
            whole.extend(shape(recurrence.node(o.node)));
            Array::zeros(&whole)
        })
        .collect();

    let evaluator = Evaluator { recurrence, problem, extents, inputs, plans };
    for sequence in 0..problem.sequences() {
        for head in 0..problem.heads {
            let chain = sequence * problem.heads + head;
            for token in problem.cu_seqlens[sequence]..problem.cu_seqlens[sequence + 1] {
                evaluator.step(Place { token, head, chain }, &states, &mut values);
                for (state, update) in states.iter_mut().zip(&recurrence.updates) {
                    store(state, chain, &values[update.0]);
                }
                for (array, output) in outputs.iter_mut().zip(&recurrence.outputs) {
                    store(array, token * problem.heads + head, &values[output.node.0]);
                }
            }
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
    extents: Vec<usize>,
    inputs: Vec<&'a Array>,
    plans: Vec<Plan>,
}

/// One step of one chain: a head of a sequence.
#[derive(Clone, Copy)]
struct Place {
    token: usize,
    head: usize,
    chain: usize,
}

impl Evaluator<'_> {
    /// Computes the value of every node at a place from the states before the step.
    fn step(&self, place: Place, states: &[Array], values: &mut [Vec<f64>]) {
        for (i, node) in self.recurrence.nodes.iter().enumerate() {
            let (before, rest) = values.split_at_mut(i);
            let out = rest[0].as_mut_slice();
            match node.op {
                Op::Input(id) => load(self.inputs[id.0], self.input_row(id, place), out),
                Op::State(id) => load(&states[id.0], place.chain, out),
                Op::Extent(d) => out[0] = self.extents[d.0] as f64,
                Op::Const(_)
                | Op::Unary(..)
                | Op::Binary(..)
                | Op::Select(..)
                | Op::Reduce(..)
                | Op::Dot(..)
                | Op::Outer(..) => compute(&node.op, &self.plans[i], before, out),
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
}

/// Reads the element `index` of an array whose elements are as large as `out`.
fn load(array: &Array, index: usize, out: &mut [f64]) {
    out.copy_from_slice(&array.data[index * out.len()..(index + 1) * out.len()]);
}

/// Writes the element `index` of an array whose elements are as large as `value`.
fn store(array: &mut Array, index: usize, value: &[f64]) {
    array.data[index * value.len()..(index + 1) * value.len()].copy_from_slice(value);
}

/// Size of each dimension of the recurrence under a problem.
fn extents(recurrence: &Recurrence, problem: &Problem) -> Vec<usize> {
    let bound = |name: &str| problem.extents.get(name).copied();
    recurrence
        .dims
        .iter()
        .map(|d| d.size.or_else(|| bound(&d.name)).expect("every dimension has a size"))
        .collect()
}

fn initial_states(
    recurrence: &Recurrence,
    problem: &Problem,
    arrays: &Arrays,
    extents: &[usize],
) -> Vec<Array> {
    let initial = |state: &super::State| {
        let mut shape = vec![problem.sequences(), problem.heads];
        shape.extend(state.dims.iter().map(|d| extents[d.0]));
        let declared = || {
            let zeros = Array::zeros(&shape);
            Array { data: vec![state.init; zeros.data.len()], ..zeros }
        };
        let array = arrays.get(&state.name).cloned().unwrap_or_else(declared);
        assert_eq!(array.shape, shape, "initial state `{}` has the right shape", state.name);
        array
    };
    recurrence.states.iter().map(initial).collect()
}

/// Distance in an operand between neighbours along the result's rows, the result's columns, and the
/// dimension summed over; 0 where the operand does not have the dimension.
#[derive(Clone, Copy)]
struct Strides {
    row: usize,
    col: usize,
    sum: usize,
}

/// The loops of one node.
struct Plan {
    rows: usize,
    cols: usize,
    /// Length of the dimension summed or maximised over, else 1.
    sum: usize,
    operands: Vec<Strides>,
}

fn plan(recurrence: &Recurrence, node: &Node, extents: &[usize]) -> Plan {
    let extent = |d: Option<DimId>| d.map_or(1, |d| extents[d.0]);
    let (row, col) = match node.dims[..] {
        [row, col] => (Some(row), Some(col)),
        [col] => (None, Some(col)),
        _ => (None, None),
    };
    let sum = match node.op {
        Op::Reduce(_, _, d) | Op::Dot(_, _, d) => Some(d),
        _ => None,
    };
    let strides = |operand: NodeId| {
        let dims = &recurrence.node(operand).dims;
        let stride = |wanted: Option<DimId>| {
            dims.iter()
                .position(|d| Some(*d) == wanted)
                .map_or(0, |at| dims[at + 1..].iter().map(|d| extents[d.0]).product())
        };
        Strides { row: stride(row), col: stride(col), sum: stride(sum) }
    };
    let operands = node.op.operands().into_iter().map(strides).collect();
    Plan { rows: extent(row), cols: extent(col), sum: extent(sum), operands }
}

/// Computes a node that is neither an input nor a state from the values before it.
fn compute(op: &Op, plan: &Plan, values: &[Vec<f64>], out: &mut [f64]) {
    let operand = |id: NodeId| values[id.0].as_slice();
    match *op {
        Op::Const(x) => out.fill(x),
        Op::Unary(f, a) => out.iter_mut().zip(operand(a)).for_each(|(o, x)| *o = f.eval(*x)),
        // The two commonest functions get loops of their own; the rest decide per element.
        Op::Binary(Binary::Add, a, b) => {
            pointwise(plan, [operand(a), operand(b)], out, |x, y| x + y)
        }
        Op::Binary(Binary::Mul, a, b) => {
            pointwise(plan, [operand(a), operand(b)], out, |x, y| x * y)
        }
        Op::Binary(f, a, b) => pointwise(plan, [operand(a), operand(b)], out, |x, y| f.eval(x, y)),
        Op::Outer(a, b) => pointwise(plan, [operand(a), operand(b)], out, |x, y| x * y),
        Op::Select(c, a, b) => select(plan, [operand(c), operand(a), operand(b)], out),
        Op::Reduce(Reduction::Sum, a, _) => reduce(plan, operand(a), out, 0.0, |x, y| x + y),
        Op::Reduce(Reduction::Max, a, _) => {
            reduce(plan, operand(a), out, f64::NEG_INFINITY, f64::max)
        }
        Op::Dot(a, b, _) => dot(plan, [operand(a), operand(b)], out),
        Op::Input(_) | Op::State(_) | Op::Extent(_) => {
            unreachable!("the caller provides inputs, states and extents")
        }
    }
}

fn pointwise(plan: &Plan, [a, b]: [&[f64]; 2], out: &mut [f64], f: impl Fn(f64, f64) -> f64) {
    let (sa, sb) = (plan.operands[0], plan.operands[1]);
    for (row, out) in out.chunks_exact_mut(plan.cols).enumerate() {
        let (a, b) = (&a[row * sa.row..], &b[row * sb.row..]);
        along_row((a, sa.col), (b, sb.col), out, |o, x, y| *o = f(x, y));
    }
}

/// Applies `f` to each element of a row and the operands' elements that belong to it; an operand is its
/// data from the row's first element, and its stride. The usual strides get loops without index
/// arithmetic.
fn along_row(
    (a, sa): (&[f64], usize),
    (b, sb): (&[f64], usize),
    out: &mut [f64],
    f: impl Fn(&mut f64, f64, f64),
) {
    match (sa, sb) {
        (0, 1) => out.iter_mut().zip(b).for_each(|(o, y)| f(o, a[0], *y)),
        (1, 0) => out.iter_mut().zip(a).for_each(|(o, x)| f(o, *x, b[0])),
        (1, 1) => out.iter_mut().zip(a).zip(b).for_each(|((o, x), y)| f(o, *x, *y)),
        _ => out.iter_mut().enumerate().for_each(|(i, o)| f(o, a[i * sa], b[i * sb])),
    }
}

fn select(plan: &Plan, operands: [&[f64]; 3], out: &mut [f64]) {
    for row in 0..plan.rows {
        for col in 0..plan.cols {
            let at =
                |i: usize| operands[i][row * plan.operands[i].row + col * plan.operands[i].col];
            out[row * plan.cols + col] = if at(0) != 0.0 { at(1) } else { at(2) };
        }
    }
}

fn reduce(plan: &Plan, a: &[f64], out: &mut [f64], start: f64, f: impl Fn(f64, f64) -> f64) {
    let s = plan.operands[0];
    for row in 0..plan.rows {
        for col in 0..plan.cols {
            let elements = (0..plan.sum).map(|n| a[row * s.row + col * s.col + n * s.sum]);
            out[row * plan.cols + col] = elements.fold(start, &f);
        }
    }
}

fn dot(plan: &Plan, [a, b]: [&[f64]; 2], out: &mut [f64]) {
    let (sa, sb) = (plan.operands[0], plan.operands[1]);
    out.fill(0.0);
    // The summed dimension is outermost so that the inner loop walks along rows of a matrix.
    for n in 0..plan.sum {
        for (row, out) in out.chunks_exact_mut(plan.cols).enumerate() {
            let (a, b) = (&a[n * sa.sum + row * sa.row..], &b[n * sb.sum + row * sb.row..]);
            along_row((a, sa.col), (b, sb.col), out, |o, x, y| *o += x * y);
        }
    }
}
