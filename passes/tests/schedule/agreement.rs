//! What the kernels of one token compute is what the definition says.

use crate::programs;
use crate::step_form::{self, Program};
use sluice_ir::diagnostic::Code;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Checked, Layout, Rounding, Schedule};
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::step;
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::schedule::{self, Build, token_loop};

/// Relative difference that f64 sums of these lengths may show.
const TOLERANCE: f64 = 1e-12;

pub(crate) fn build<'a>(program: &'a Program, target: &'a Target) -> Build<'a> {
    Build { extents: &program.extents, dtype: Dtype::F32, compute: Dtype::F32, target }
}

pub(crate) fn looped(program: &Program, cut: bool) -> Checked {
    let target = Target::find("sm_90a").unwrap_or(&TARGETS[0]);
    token_loop(&program.recurrence, &build(program, target), cut).expect("the step fits")
}

/// Sequences of uneven lengths, some without tokens, all whole rows of a grid of three columns.
fn problem(program: &Program) -> Problem {
    let mut problem = Problem::dense(&[], 0, 0, 2);
    problem.extents = program.extents.clone();
    problem.groups = 1;
    problem.cu_seqlens = vec![0, 0, 6, 6, 9, 21, 21];
    problem
}

pub(crate) fn arrays(program: &Program, problem: &Problem, states: bool) -> Arrays {
    step_form::arrays(&program.recurrence, problem, states.then_some([-1.0, 1.0]))
}

/// Every element within the tolerance of the definition's, infinities where it has them.
pub(crate) fn assert_agree(found: &Arrays, reference: &Arrays, what: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), reference.keys().collect::<Vec<_>>(), "{what}");
    for (name, reference) in reference {
        assert_eq!(found[name].shape, reference.shape, "{what}: {name}");
        let size =
            reference.data.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
        for (i, (x, y)) in found[name].data.iter().zip(&reference.data).enumerate() {
            let same = x == y || (x - y).abs() <= TOLERANCE * size;
            assert!(same, "{what}: {name}[{i}] is {x}, not {y}");
        }
    }
}

/// All arrays of a kernel against the definition's, with initial states and without.
fn assert_means(kernel: &Checked, program: &Program, what: &str) {
    let problem = problem(program);
    for states in [false, true] {
        let arrays = arrays(program, &problem, states);
        let reference = step::eval(&program.recurrence, &problem, &arrays);
        let found = kernel::eval(kernel, &problem, &arrays, Rounding::Exact);
        assert_agree(&found, &reference, &format!("{what}, states given: {states}"));
    }
}

#[test]
fn token_loops_agree_with_the_definition() {
    for (name, program) in programs::all() {
        for cut in [false, true] {
            assert_means(&looped(&program, cut), &program, &format!("{name}, cut {cut}"));
        }
    }
}

#[test]
fn step_kernels_agree_with_the_definition() {
    let target = Target::find("sm_90a").unwrap_or(&TARGETS[0]);
    let mut fitting = Vec::new();
    for (name, program) in programs::all() {
        for cut in [false, true] {
            match schedule::step(&program.recurrence, &build(&program, target), cut) {
                Ok(kernel) => {
                    assert_means(&kernel, &program, &format!("{name}, cut {cut}"));
                    fitting.push(name);
                    let ahead = schedule::loop_ahead(&program.recurrence, &build(&program, target));
                    let ahead = ahead.expect("a smaller step fits");
                    assert_eq!(ahead.schedule, Schedule::Loop);
                    assert!(matches!(ahead.layout, Layout::Lanes(_)));
                    assert!(
                        ahead.tiles.iter().any(|t| t.shared().is_none()),
                        "states in registers"
                    );
                    assert_means(&ahead, &program, &format!("{name}, loads ahead"));
                }
                Err(refusal) => assert_eq!(refusal.code, Code::Unsupported, "{name}"),
            }
        }
    }
    fitting.dedup();
    let expected = [
        "learned",
        "backwards",
        "column by column",
        "column by column backwards",
        "read before and after",
        "corrected",
        "normalised",
    ];
    assert_eq!(fitting, expected);
}

#[test]
fn finer_steps_agree_with_the_definition_where_the_step_is_cut_coarser() {
    let target = Target::find("sm_90a").unwrap_or(&TARGETS[0]);
    let mut finer = 0;
    for (name, mut program) in programs::all() {
        let Some(&[_, values]) =
            program.recurrence.states.first().and_then(|s| s.dims.first_chunk())
        else {
            continue;
        };
        let values = program.recurrence.dims[values.0].name.clone();
        // Three parts of 24 columns, the last of which has 22.
        program.extents.insert(values, 70);
        let build = build(&program, target);
        let Ok(coarse) = schedule::step(&program.recurrence, &build, true) else { continue };
        let Some((fine, most)) = schedule::fine_step(&program.recurrence, &build, &coarse) else {
            continue;
        };
        assert_eq!((fine.parts, most), (3, target.processors / 3), "{name}");
        assert_means(&fine, &program, &format!("{name}, finer"));
        finer += 1;
    }
    assert!(finer >= 2, "{finer} programs are cut");
}
