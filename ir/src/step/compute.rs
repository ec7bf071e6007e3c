//! The value of one node from those before it, in f64.
//!
//! A value of up to three dimensions is a stack of `rows x cols` matrices (a vector is one row of one);
//! broadcasting and contraction are strides into the operands. Sums run in index order from 0.

use super::matrix;
use super::{Binary, DimId, Node, NodeId, Op, Recurrence, Reduction};

/// Distance in an operand between neighbours along the result's outermost dimension, its rows, its
/// columns, and the dimension summed over; 0 where the operand does not have the dimension.
#[derive(Clone, Copy)]
struct Strides {
    outer: usize,
    row: usize,
    col: usize,
    sum: usize,
}

/// The loops of one node.
pub(super) struct Plan {
    /// Sizes of the dimensions of the value.
    pub(super) sizes: Vec<usize>,
    outer: usize,
    rows: usize,
    cols: usize,
    /// Length of the dimension summed or maximised over, else 1.
    sum: usize,
    operands: Vec<Strides>,
}

/// The loops of a node under sizes of all dimensions.
pub(super) fn plan(recurrence: &Recurrence, node: &Node, extents: &[usize]) -> Plan {
    let extent = |d: Option<DimId>| d.map_or(1, |d| extents[d.0]);
    let from_end = |place: usize| node.dims.len().checked_sub(place).map(|i| node.dims[i]);
    let (outer, row, col) = (from_end(3), from_end(2), from_end(1));
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
        Strides { outer: stride(outer), row: stride(row), col: stride(col), sum: stride(sum) }
    };
    let operands = node.op.operands().into_iter().map(strides).collect();
    Plan {
        sizes: node.dims.iter().map(|d| extents[d.0]).collect(),
        outer: extent(outer),
        rows: extent(row),
        cols: extent(col),
        sum: extent(sum),
        operands,
    }
}

/// Sizes of an operand's dimensions before, at and after the one named.
fn around(recurrence: &Recurrence, dims: &[DimId], at: DimId, extents: &[usize]) -> [usize; 3] {
    let place = dims.iter().position(|d| *d == at).expect("a checked node has the dimension");
    debug_assert!(at.0 < recurrence.dims.len());
    let size = |dims: &[DimId]| dims.iter().map(|d| extents[d.0]).product();
    [size(&dims[..place]), extents[at.0], size(&dims[place + 1..])]
}

/// Everything that a node's value depends on besides other nodes.
pub(super) struct Computer<'a> {
    pub(super) recurrence: &'a Recurrence,
    pub(super) extents: Vec<usize>,
    pub(super) plans: Vec<Plan>,
}

impl<'a> Computer<'a> {
    /// Loops for all nodes under sizes of all dimensions.
    pub(super) fn new(recurrence: &'a Recurrence, extents: Vec<usize>) -> Self {
        let plans = recurrence.nodes.iter().map(|n| plan(recurrence, n, &extents)).collect();
        Self { recurrence, extents, plans }
    }

    /// Room for the value of every node.
    pub(super) fn values(&self) -> Vec<Vec<f64>> {
        self.plans.iter().map(|plan| vec![0.0; plan.sizes.iter().product()]).collect()
    }

    /// Computes a node that is neither an input nor a state from the values before it.
    pub(super) fn compute(&self, NodeId(id): NodeId, values: &[Vec<f64>], out: &mut [f64]) {
        let node = &self.recurrence.nodes[id];
        let operand = |id: NodeId| values[id.0].as_slice();
        let around = |id: NodeId, at: DimId| {
            around(self.recurrence, &self.recurrence.node(id).dims, at, &self.extents)
        };
        match node.op {
            Op::Extent(d) => out[0] = self.extents[d.0] as f64,
            Op::Index(_) => out.iter_mut().enumerate().for_each(|(i, o)| *o = i as f64),
            Op::Table(id) => out.copy_from_slice(&self.recurrence.tables[id.0].values),
            Op::Reshape(a, _) => out.copy_from_slice(operand(a)),
            Op::Concat(a, b, [x, y], _) => {
                let ([_, _, left], [_, _, right]) = (around(a, x), around(b, y));
                let (left, right) = (left * self.extents[x.0], right * self.extents[y.0]);
                let pairs = operand(a).chunks_exact(left).zip(operand(b).chunks_exact(right));
                for (out, (a, b)) in out.chunks_exact_mut(left + right).zip(pairs) {
                    out[..left].copy_from_slice(a);
                    out[left..].copy_from_slice(b);
                }
            }
            Op::Slice(a, from, to, run) => {
                let [_, whole, inner] = around(a, from);
                let (whole, part) = (whole * inner, self.extents[to.0] * inner);
                let parts = operand(a).chunks_exact(whole);
                for (out, a) in out.chunks_exact_mut(part).zip(parts) {
                    out.copy_from_slice(&a[run * part..(run + 1) * part]);
                }
            }
            Op::Push(window, x) => {
                let x = operand(x);
                let kept = out.len() - x.len();
                out[..kept].copy_from_slice(&operand(window)[x.len()..]);
                out[kept..].copy_from_slice(x);
            }
            Op::TopK(a, d, k) => top(operand(a), around(a, d), k, out),
            Op::Matrix(f, a) => {
                let size = self.plans[id].sizes[0];
                out.copy_from_slice(&matrix::apply(f, operand(a), size));
            }
            Op::Input(_) | Op::State(_) | Op::Final(_) => {
                unreachable!("the caller provides inputs and states")
            }
            ref op => elementwise(op, &self.plans[id], values, out),
        }
    }
}

/// Marks the `k` largest elements along the middle one of three dimensions; of equal ones the first.
fn top(a: &[f64], [outer, count, inner]: [usize; 3], k: usize, out: &mut [f64]) {
    for (block, lane) in (0..outer).flat_map(|b| (0..inner).map(move |l| (b, l))) {
        let place = |i: usize| (block * count + i) * inner + lane;
        for i in 0..count {
            let x = a[place(i)];
            let before = (0..count).filter(|&j| {
                let y = a[place(j)];
                y > x || (y == x && j < i)
            });
            out[place(i)] = f64::from(u8::from(before.count() < k));
        }
    }
}

/// Computes a node whose elements are functions of, or sums over, elements found by strides.
fn elementwise(op: &Op, plan: &Plan, values: &[Vec<f64>], out: &mut [f64]) {
    if plan.outer == 1 {
        return rows_of(op, plan, [0; 3], values, out);
    }
    let starts = |i: usize| {
        let start = |n: usize| plan.operands.get(n).map_or(0, |s| s.outer * i);
        [start(0), start(1), start(2)]
    };
    let size = plan.rows * plan.cols;
    for (i, out) in out.chunks_exact_mut(size).enumerate() {
        rows_of(op, plan, starts(i), values, out);
    }
}

/// The rows of one index of the outermost of three dimensions, whose operands start there.
fn rows_of(op: &Op, plan: &Plan, start: [usize; 3], values: &[Vec<f64>], out: &mut [f64]) {
    let at = |n: usize, id: NodeId| &values[id.0][start[n]..];
    match *op {
        Op::Const(x) => out.fill(x),
        Op::Unary(f, a) => out.iter_mut().zip(at(0, a)).for_each(|(o, x)| *o = f.eval(*x)),
        // The two commonest functions get loops of their own; the rest decide per element.
        Op::Binary(Binary::Add, a, b) => pointwise(plan, [at(0, a), at(1, b)], out, |x, y| x + y),
        Op::Binary(Binary::Mul, a, b) => pointwise(plan, [at(0, a), at(1, b)], out, |x, y| x * y),
        Op::Binary(f, a, b) => pointwise(plan, [at(0, a), at(1, b)], out, |x, y| f.eval(x, y)),
        Op::Outer(a, b) => pointwise(plan, [at(0, a), at(1, b)], out, |x, y| x * y),
        Op::Select(c, a, b) => select(plan, [at(0, c), at(1, a), at(2, b)], out),
        Op::Reduce(Reduction::Sum, a, _) => reduce(plan, at(0, a), out, 0.0, |x, y| x + y),
        Op::Reduce(Reduction::Max, a, _) => {
            reduce(plan, at(0, a), out, f64::NEG_INFINITY, f64::max)
        }
        Op::Dot(a, b, _) => dot(plan, [at(0, a), at(1, b)], out),
        _ => unreachable!("the caller has computed every other operation"),
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
