//! Lifted and chunked terms give what the step gives.

use crate::programs;
use crate::random::Random;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::seq::{self, Term};
use sluice_ir::step::{self, Rate, Recurrence, Sharing};
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::{ChunkOptions, Chunked, Stop, chunk, lift};

/// Relative RMS difference that f64 sums of these lengths may show.
const TOLERANCE: f64 = 1e-12;

pub(crate) fn target() -> Target {
    *Target::find("sm_90a").unwrap_or(&TARGETS[0])
}

pub(crate) fn options(chunk: usize, sub_block: Option<usize>) -> ChunkOptions {
    ChunkOptions { chunk, sub_block, tokens: 4096, instances: 64, target: target() }
}

/// Sequences of uneven lengths: a multiple of no chunk, none at all, one token, and a multiple of 64.
pub(crate) fn problem() -> Problem {
    let mut problem = Problem::dense(&[("K", 6), ("V", 5), ("M", 4)], 0, 0, 2);
    problem.groups = 1;
    problem.cu_seqlens = vec![0, 75, 75, 76, 204];
    problem
}

/// Random inputs within their ranges, with resets, and random initial states.
pub(crate) fn inputs(recurrence: &Recurrence, problem: &Problem) -> Arrays {
    let mut random = Random::new(&recurrence.name);
    let mut arrays = Arrays::new();
    let extents = |dims: &[step::DimId]| -> Vec<usize> {
        dims.iter().map(|d| problem.extents[&recurrence.dims[d.0].name]).collect()
    };
    for input in &recurrence.inputs {
        let heads = match input.sharing {
            Sharing::Head => problem.heads,
            Sharing::Group => problem.groups,
        };
        let outer = match input.rate {
            Rate::Token => vec![problem.tokens(), heads],
            Rate::Model => vec![heads],
        };
        let mut array = Array::zeros(&[outer, extents(&input.dims)].concat());
        let (lo, hi) = (input.range.lo.max(-1.0), input.range.hi.min(1.0));
        let resets = input.range.lo == f64::NEG_INFINITY && input.range.hi == 0.0;
        for x in &mut array.data {
            let reset = resets && random.unit() < 0.15;
            *x = if reset { f64::NEG_INFINITY } else { random.between(lo, hi) };
        }
        arrays.insert(input.name.clone(), array);
    }
    for state in &recurrence.states {
        let outer = vec![problem.sequences(), problem.heads];
        let mut array = Array::zeros(&[outer, extents(&state.dims)].concat());
        // A state of its own sign keeps denominators away from 0.
        array.data.iter_mut().for_each(|x| *x = random.between(0.0, 1.0));
        arrays.insert(state.name.clone(), array);
    }
    arrays
}

/// Root-mean-square difference over root-mean-square of the reference, the worst of all arrays.
pub(crate) fn difference(found: &Arrays, reference: &Arrays) -> f64 {
    assert_eq!(found.keys().collect::<Vec<_>>(), reference.keys().collect::<Vec<_>>());
    let mut worst = 0.0f64;
    for (name, reference) in reference {
        let found = &found[name];
        assert_eq!(found.shape, reference.shape, "shape of {name}");
        let square = |x: f64| x * x;
        let pairs = found.data.iter().zip(&reference.data);
        let error: f64 = pairs.map(|(x, y)| square(x - y)).sum();
        let size: f64 = reference.data.iter().map(|y| square(*y)).sum();
        assert!(size > 0.0, "{name} is 0 everywhere");
        assert!(!error.is_nan(), "{name} is not a number");
        worst = worst.max((error / size).sqrt());
    }
    worst
}

pub(crate) fn lifted(recurrence: &Recurrence) -> Term {
    lift(recurrence, &problem().extents).unwrap_or_else(|e| panic!("{}: {e:?}", recurrence.name))
}

pub(crate) fn chunked(recurrence: &Recurrence, options: &ChunkOptions) -> Chunked {
    let term = lifted(recurrence);
    chunk(&term, options).unwrap_or_else(|e| panic!("{}: {e:?}", recurrence.name))
}

#[test]
fn lifted_terms_agree_with_the_step() {
    for recurrence in programs::all() {
        let (problem, name) = (problem(), &recurrence.name);
        let arrays = inputs(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        let found = seq::run(&lifted(&recurrence), &problem, &arrays);
        let error = difference(&found, &reference);
        assert!(error <= TOLERANCE, "{name}: {error:.1e}");
    }
}

#[test]
fn chunked_terms_agree_with_the_step() {
    for recurrence in programs::all() {
        let (problem, name) = (problem(), &recurrence.name);
        let arrays = inputs(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        for (length, sub_block) in [(16, None), (32, Some(16)), (64, None), (64, Some(16))] {
            let chunked = chunked(&recurrence, &options(length, sub_block));
            assert_eq!(chunked.saturation.stop, Stop::Saturated, "{name}");
            assert_eq!(chunked.term.token_loops(), 0, "{name}");
            let found = seq::run(&chunked.term, &problem, &arrays);
            let error = difference(&found, &reference);
            assert!(error <= TOLERANCE, "{name}, chunk {length}: {error:.1e}");
        }
    }
}
