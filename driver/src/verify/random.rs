//! Random arrays that keep a program's promises, the same on every machine.

use sluice_ir::dtype::Dtype;
use sluice_ir::pointwise::Interval;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{DimId, Input, Rate, Recurrence, Sharing};

/// SplitMix64 [Steele 2014]: the whole state is a counter, so that streams are cheap to split.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and variance 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Inputs and, if wanted, initial states for a problem, exact in the element types that a build
/// with vectors of `dtype` gives them.
pub(super) fn arrays(
    recurrence: &Recurrence,
    problem: &Problem,
    dtype: Dtype,
    initial: bool,
    random: &mut Random,
) -> Arrays {
    let sizes = |dims: &[DimId]| -> Vec<usize> {
        dims.iter().map(|d| problem.extents[&recurrence.dims[d.0].name]).collect()
    };
    let mut arrays = Arrays::new();
    for input in &recurrence.inputs {
        let inner = sizes(&input.dims);
        let element = recurrence.input_dtype(input, dtype);
        let mut array = Array::zeros(&[outer(input, problem), inner.clone()].concat());
        let row = inner.iter().product::<usize>().max(1);
        for values in array.data.chunks_mut(row) {
            fill(values, input.range, random);
            values.iter_mut().for_each(|x| *x = rounded_within(element, *x, input.range));
        }
        arrays.insert(input.name.clone(), array);
    }
    for state in recurrence.states.iter().filter(|_| initial) {
        let shape = [vec![problem.sequences(), problem.heads], sizes(&state.dims)].concat();
        let mut array = Array::zeros(&shape);
        array.data.iter_mut().for_each(|x| *x = Dtype::F32.round(random.normal()));
        arrays.insert(state.name.clone(), array);
    }
    arrays
}

fn outer(input: &Input, problem: &Problem) -> Vec<usize> {
    let rows = match input.sharing {
        Sharing::Head => problem.heads,
        Sharing::Group => problem.groups,
    };
    match input.rate {
        Rate::Token => vec![problem.tokens(), rows],
        Rate::Model => vec![rows],
    }
}

/// One row of an input.
///
/// Unbounded vectors get a norm of at most 1, so that rank-one erasures do not amplify; unbounded
/// scalars are normal. A range without a lower end (a log decay) gets values 0.01 to 0.5 below its
/// upper end, one in sixteen of them so far down that the state is forgotten.
fn fill(values: &mut [f64], range: Interval, random: &mut Random) {
    match (range.lo.is_finite(), range.hi.is_finite()) {
        (true, true) => {
            values.iter_mut().for_each(|x| *x = range.lo + (range.hi - range.lo) * random.uniform())
        }
        (true, false) => values.iter_mut().for_each(|x| *x = range.lo + random.normal().abs()),
        (false, true) => values.iter_mut().for_each(|x| {
            let depth = 0.01 + 0.49 * random.uniform();
            *x = range.hi - if random.uniform() < 1.0 / 16.0 { 80.0 * depth } else { depth };
        }),
        (false, false) => {
            values.iter_mut().for_each(|x| *x = random.normal());
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            if values.len() > 1 {
                let scale = (0.5 + 0.5 * random.uniform()) / norm;
                values.iter_mut().for_each(|x| *x *= scale);
            }
        }
    }
}

/// Rounding must not leave the declared range, whose ends need not be representable.
fn rounded_within(dtype: Dtype, x: f64, range: Interval) -> f64 {
    let rounded = dtype.round(x);
    if range.lo <= rounded && rounded <= range.hi { rounded } else { dtype.round(x * 0.99) }
}
