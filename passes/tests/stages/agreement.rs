//! Every program gives the same in stages as as a whole.

use crate::{gauges, programs, replays, step_form};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::seq;
use sluice_ir::staged::{self, Form, Stage, Staged};
use sluice_ir::step::{self, Recurrence};
use sluice_passes::{lift, stages_apart};
use std::collections::BTreeSet;

/// Relative difference that f64 sums of these lengths may show.
const TOLERANCE: f64 = 1e-12;

/// Sequences of uneven lengths, multiples of a grid's 4 columns, one of them empty.
pub(crate) fn problem() -> Problem {
    let mut problem = Problem::dense(&[("K", 6), ("V", 5), ("M", 4)], 0, 0, 2);
    problem.groups = 1;
    problem.cu_seqlens = vec![0, 20, 20, 24, 56];
    problem
}

/// Random inputs and initial states.
pub(crate) fn arrays(recurrence: &Recurrence, problem: &Problem) -> Arrays {
    step_form::arrays(recurrence, problem, Some([0.1, 1.0]))
}

/// The largest difference over the largest value, of the worst array.
pub(crate) fn difference(found: &Arrays, reference: &Arrays) -> f64 {
    assert_eq!(found.keys().collect::<Vec<_>>(), reference.keys().collect::<Vec<_>>());
    let worst = reference.iter().map(|(name, reference)| {
        let found = &found[name];
        assert_eq!(found.shape, reference.shape, "shape of {name}");
        let pairs = found.data.iter().zip(&reference.data);
        let differences = pairs.map(|(x, y)| if x == y { 0.0 } else { (x - y).abs() });
        let error = differences.fold(0.0, |a: f64, b| if b.is_nan() { b } else { a.max(b) });
        assert!(!error.is_nan(), "{name} is not a number");
        let size = reference.data.iter().map(|y| y.abs()).fold(0.0, f64::max);
        assert!(size > 0.0, "{name} is 0 everywhere");
        error / size
    });
    worst.fold(0.0, f64::max)
}

pub(crate) fn staged(recurrence: &Recurrence) -> Staged {
    apart(recurrence, &BTreeSet::new())
}

/// The stages of a program where every history has its own.
pub(crate) fn single(recurrence: &Recurrence) -> Staged {
    let stages = staged(recurrence).stages;
    let states = stages.iter().flat_map(|stage| &stage.recurrence.states);
    apart(recurrence, &states.map(|state| state.name.clone()).collect())
}

pub(crate) fn apart(recurrence: &Recurrence, apart: &BTreeSet<String>) -> Staged {
    let name = &recurrence.name;
    let staged = stages_apart(recurrence, &problem().extents, apart);
    let staged = staged.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    staged::check(&staged).unwrap_or_else(|e| panic!("{name}: {e}\n{staged}"));
    staged
}

fn all() -> impl Iterator<Item = Recurrence> {
    programs::all().into_iter().chain(gauges::all()).chain(replays::all())
}

#[test]
fn stages_agree_with_the_step() {
    let problem = problem();
    for recurrence in all() {
        let mut arrays = arrays(&recurrence, &problem);
        for given in [true, false] {
            if !given {
                // From the declared states.
                recurrence.states.iter().for_each(|s| drop(arrays.remove(&s.name)));
            }
            let reference = step::eval(&recurrence, &problem, &arrays);
            for staged in [staged(&recurrence), single(&recurrence)] {
                let error = difference(&staged.eval(&problem, &arrays), &reference);
                assert!(error <= TOLERANCE, "{}: {error:.1e}\n{staged}", recurrence.name);
            }
        }
    }
}

/// Stages in chunks by their lifted terms, the others by the step evaluator.
#[test]
fn lifted_stages_agree_with_the_step() {
    let problem = problem();
    for recurrence in all() {
        let arrays = arrays(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        let staged = staged(&recurrence);
        let mut engine = |index: usize, problem: &Problem, arrays: &Arrays| {
            let Stage { recurrence, form, .. } = &staged.stages[index];
            if *form != Form::Chunks {
                return Ok(step::eval(recurrence, problem, arrays));
            }
            let order = recurrence.states[0].order;
            let columns = |dim| recurrence.size(dim, &problem.extents).expect("it has a size");
            let term = lift(recurrence, &problem.extents)?;
            Ok(seq::run(&term, order.with(columns), problem, arrays))
        };
        let found = staged.run(&problem, &arrays, &mut engine);
        let found = found.unwrap_or_else(|e: Vec<Diagnostic>| panic!("{}: {e:?}", staged.name));
        let error = difference(&found, &reference);
        assert!(error <= TOLERANCE, "{}: {error:.1e}\n{staged}", recurrence.name);
    }
}

#[test]
fn stages_are_repeatable() {
    for recurrence in all() {
        let text = || staged(&recurrence).to_string();
        assert_eq!(text(), text());
    }
}
