//! Recurrences in step form for tests, and arrays for them.

mod builder;
mod random;

pub(crate) use builder::{Program, Step};
pub(crate) use random::Random;

use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{DimId, Rate, Recurrence, Sharing};

/// Random inputs within their ranges, gates that may reset with resets, and initial states between two
/// numbers, or none.
pub(crate) fn arrays(
    recurrence: &Recurrence,
    problem: &Problem,
    states: Option<[f64; 2]>,
) -> Arrays {
    let mut random = Random::new(&recurrence.name);
    let sizes = |dims: &[DimId]| -> Vec<usize> {
        let size = |d: &DimId| recurrence.size(*d, &problem.extents);
        dims.iter().map(|d| size(d).expect("every dimension has a size")).collect()
    };
    let mut arrays = Arrays::new();
    for input in &recurrence.inputs {
        let rows = match input.sharing {
            Sharing::Head => problem.heads,
            Sharing::Group => problem.groups,
        };
        let outer = match input.rate {
            Rate::Token => vec![problem.tokens(), rows],
            Rate::Model => vec![rows],
        };
        let mut array = Array::zeros(&[outer, sizes(&input.dims)].concat());
        let (lo, hi) = (input.range.lo.max(-1.0), input.range.hi.min(1.0));
        let resets = input.range.lo == f64::NEG_INFINITY && input.range.hi == 0.0;
        for x in &mut array.data {
            let reset = resets && random.unit() < 0.15;
            *x = if reset { f64::NEG_INFINITY } else { random.between(lo, hi) };
        }
        arrays.insert(input.name.clone(), array);
    }
    for (state, [lo, hi]) in recurrence.states.iter().zip(states.into_iter().cycle()) {
        let outer = vec![problem.sequences(), problem.heads];
        let mut array = Array::zeros(&[outer, sizes(&state.dims)].concat());
        array.data.iter_mut().for_each(|x| *x = random.between(lo, hi));
        arrays.insert(state.name.clone(), array);
    }
    arrays
}
