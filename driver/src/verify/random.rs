//! Random arrays that keep a program's promises, the same on every machine.

use sluice_ir::dtype::Dtype;
use sluice_ir::pointwise::Interval;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{DimId, Input, Rate, Recurrence, Sharing};

/// SplitMix64 [Steele 2014]: the whole state is a counter, so that streams are cheap to split.
struct Random(u64);

impl Random {
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

/// Values for which another thread is worth its while.
const LEAST_VALUES: usize = 1 << 16;

/// Where values lie in a declared range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gates {
    /// Anywhere.
    Drawn,
    /// At its ends: both mixed in one sequence of three, the upper one in the next, the lower one in
    /// the one after.
    Ends,
    /// The same, with [`FAR`] below the upper end for a range that has no lower one.
    FiniteEnds,
}

/// How far below the upper end an infinite lower end is where it must be finite.
const FAR: f64 = 20.0;

impl Gates {
    /// Name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Gates::Drawn => "drawn",
            Gates::Ends => "ends",
            Gates::FiniteEnds => "finite ends",
        }
    }
}

/// Inputs and, if wanted, initial states for a problem, exact in the element types that a build
/// with vectors of `dtype` gives them.
pub(super) fn arrays(
    recurrence: &Recurrence,
    problem: &Problem,
    dtype: Dtype,
    initial: bool,
    gates: Gates,
    seed: u64,
) -> Arrays {
    let mut random = Random(seed);
    let sizes = |dims: &[DimId]| -> Vec<usize> {
        let size = |d: &DimId| recurrence.size(*d, &problem.extents);
        dims.iter().map(|d| size(d).expect("every dimension is bound")).collect()
    };
    let mut arrays = Arrays::new();
    for input in &recurrence.inputs {
        let inner = sizes(&input.dims);
        let element = recurrence.input_dtype(input, dtype);
        let outer = outer(input, problem);
        let rows_per_token = outer[1..].iter().product::<usize>().max(1);
        let mut array = Array::zeros(&[outer, inner.clone()].concat());
        let row = inner.iter().product::<usize>().max(1);
        each_row(&mut array.data, row, &mut random, &|i, values, random| {
            let token = (input.rate == Rate::Token).then_some(i / rows_per_token);
            draw(values, input, &inner, random);
            if gates != Gates::Drawn {
                let side = token.map_or(0, |token| sequence(problem, token) % 3);
                to_ends(values, input.range, gates, side, random);
            }
            values.iter_mut().for_each(|x| *x = rounded_within(element, *x, input.range));
        });
        arrays.insert(input.name.clone(), array);
    }
    for state in recurrence.states.iter().filter(|_| initial) {
        let shape = [vec![problem.sequences(), problem.heads], sizes(&state.dims)].concat();
        let mut array = Array::zeros(&shape);
        for x in &mut array.data {
            *x = match state.range {
                Some(range) if range != Interval::ALL => {
                    let mut one = [0.0];
                    fill(&mut one, range, &mut random);
                    rounded_within(Dtype::F32, one[0], range)
                }
                _ => Dtype::F32.round(random.normal()),
            };
        }
        arrays.insert(state.name.clone(), array);
    }
    arrays
}

/// What draws one row, given its number.
type Drawer<'a> = dyn Fn(usize, &mut [f64], &mut Random) + Sync + 'a;

/// Draws rows side by side. Every row takes as many numbers as the first, so that the stream's place is known
/// at each of them and the values are those of one row after another.
fn each_row(data: &mut [f64], row: usize, random: &mut Random, draw: &Drawer<'_>) {
    let Some((first, rest)) = data.split_at_mut_checked(row) else { return };
    let start = random.0;
    draw(0, first, random);
    let step = random.0.wrapping_sub(start);
    let at = |i: usize| Random(start.wrapping_add(step.wrapping_mul(i as u64)));
    let rows = rest.len() / row;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = rows.div_ceil(workers).max(LEAST_VALUES.div_ceil(row));
    std::thread::scope(|scope| {
        for (worker, part) in rest.chunks_mut(share * row).enumerate() {
            scope.spawn(move || {
                let before = 1 + worker * share;
                let mut random = at(before);
                for (i, values) in part.chunks_mut(row).enumerate() {
                    draw(before + i, values, &mut random);
                }
            });
        }
    });
    *random = at(1 + rows);
}

/// The sequence of a token.
fn sequence(problem: &Problem, token: usize) -> usize {
    problem.cu_seqlens.partition_point(|start| *start <= token) - 1
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
/// Matrices of the model without a range map unit vectors to vectors shorter than about 1: their
/// elements have the variance `1 / (4 n)`, where `n` is the number of elements that a product sums.
fn draw(values: &mut [f64], input: &Input, sizes: &[usize], random: &mut Random) {
    match (input.rate, sizes) {
        (Rate::Model, [.., summed, _]) if input.range == Interval::ALL => {
            let scale = 0.5 / (*summed as f64).sqrt();
            values.iter_mut().for_each(|x| *x = scale * random.normal());
        }
        _ => fill(values, input.range, random),
    }
}

/// Moves values to the ends of a range: to either one (`side` 0), to the upper or to the lower one.
/// An end that is infinite, and has a finite one beside it, counts if it is the lower one.
fn to_ends(values: &mut [f64], range: Interval, gates: Gates, side: usize, random: &mut Random) {
    let far = match gates {
        Gates::FiniteEnds => range.hi - FAR,
        Gates::Drawn | Gates::Ends => f64::NEG_INFINITY,
    };
    let (lower, upper) = match (range.lo.is_finite(), range.hi.is_finite()) {
        (true, true) => (Some(range.lo), Some(range.hi)),
        (true, false) => (Some(range.lo), None),
        (false, true) => (Some(far), Some(range.hi)),
        (false, false) => (None, None),
    };
    let near = upper.map(|upper| upper - 1e-3);
    for x in values {
        let ends = match side {
            0 => [lower, upper, near, None],
            1 => [upper; 4],
            _ => [lower; 4],
        };
        let place = (random.uniform() * ends.len() as f64) as usize;
        if let Some(end) = ends[place] {
            *x = end.max(range.lo);
        }
    }
}

/// Values within a range.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_side_by_side_are_those_of_one_stream() {
        let (rows, row) = (3 * LEAST_VALUES / 8 + 5, 8);
        let draw = |i: usize, values: &mut [f64], random: &mut Random| {
            fill(values, Interval::ALL, random);
            values[0] += i as f64;
        };
        let mut beside = (vec![0.0; rows * row], Random(7));
        each_row(&mut beside.0, row, &mut beside.1, &draw);
        let mut after = (vec![0.0; rows * row], Random(7));
        after.0.chunks_mut(row).enumerate().for_each(|(i, x)| draw(i, x, &mut after.1));
        assert_eq!((beside.0, beside.1.next()), (after.0, after.1.next()));
    }
}
