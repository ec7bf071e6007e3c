//! A matrix of each token on tensor cores against the definition, and what such a kernel refuses.

use crate::agreement::{arrays, assert_agree, build};
use crate::step_form::{Program, Step};
use sluice_ir::diagnostic::Code;
use sluice_ir::kernel::{self, Checked, Rounding, Schedule};
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::step;
use sluice_ir::target::Target;
use sluice_passes::schedule::joint;

/// `S' = A S + B`, with the state before each token as output.
fn carried(rows: usize, columns: usize) -> Program {
    let mut p = Step::over("carried", "RJC");
    let (a, b) = (p.token("A", "RJ"), p.token("B", "RC"));
    let s = p.state_from("S", "RC", 0.5);
    let moved = p.reshape(s, "JC");
    let passed = p.dot(a, moved, "J");
    let next = p.add(passed, b);
    p.update("S", next);
    p.output("start", s);
    p.sized(&[("R", rows), ("J", rows), ("C", columns)])
}

fn lowered(program: &Program, target: &str) -> Result<Checked, Code> {
    let target = Target::find(target).expect("a target of the table");
    joint(&program.recurrence, &build(program, target)).map_err(|error| error.code)
}

fn problem(program: &Program) -> Problem {
    let mut problem = Problem::dense(&[], 0, 0, 2);
    problem.extents = program.extents.clone();
    problem.cu_seqlens = vec![0, 0, 1, 6];
    problem
}

/// Matrices that keep the norm of a state within bounds.
fn contracting(program: &Program, problem: &Problem, states: bool) -> Arrays {
    let mut arrays = arrays(program, problem, states);
    let rows = program.extents["R"] as f64;
    arrays.get_mut("A").expect("an input").data.iter_mut().for_each(|x| *x /= rows.sqrt());
    arrays
}

#[test]
fn products_of_matrices_agree_with_the_definition() {
    for (rows, columns) in [(64, 64), (128, 128)] {
        let program = carried(rows, columns);
        let kernel = lowered(&program, "sm_90a").expect("warpgroups take such sizes");
        assert_eq!((kernel.schedule, kernel.parts), (Schedule::Loop, columns / 64));
        let names: Vec<&str> = kernel.roles.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(names, ["loader", "keeper"]);
        assert_eq!(kernel.prepare.as_ref().map(|p| p.schedule), Some(Schedule::Prepare));
        let problem = problem(&program);
        for states in [false, true] {
            let arrays = contracting(&program, &problem, states);
            let reference = step::eval(&program.recurrence, &problem, &arrays);
            let found = kernel::eval(&kernel, &problem, &arrays, Rounding::Exact);
            assert_agree(&found, &reference, &format!("{rows} by {columns}, {states}"));
        }
    }
}

#[test]
fn both_halves_of_operands_count() {
    let program = carried(64, 64);
    let kernel = lowered(&program, "sm_90a").expect("warpgroups take such sizes");
    let problem = problem(&program);
    let arrays = contracting(&program, &problem, true);
    let reference = step::eval(&program.recurrence, &problem, &arrays);
    let found = kernel::eval(&kernel, &problem, &arrays, Rounding::Stored);
    let square = |x: f64| x * x;
    let size: f64 = reference["S"].data.iter().copied().map(square).sum();
    let pairs = found["S"].data.iter().zip(&reference["S"].data);
    let error = (pairs.map(|(x, y)| square(x - y)).sum::<f64>() / size).sqrt();
    // Rounded operands alone would lose some 2^-9.
    assert!(error < 2f64.powi(-15), "{error:.1e}");
}

#[test]
fn other_steps_sizes_and_targets_are_refused() {
    assert_eq!(lowered(&carried(64, 64), "sm_80").err(), Some(Code::Unsupported));
    for (rows, columns) in [(48, 64), (192, 64), (64, 32)] {
        let refusal = lowered(&carried(rows, columns), "sm_90a").err();
        assert_eq!(refusal, Some(Code::Unsupported), "{rows} by {columns}");
    }
    let mut p = Step::over("decayed", "RC");
    let (a, b) = (p.token("A", "R"), p.token("B", "RC"));
    let s = p.state("S", "RC");
    let decayed = p.mul(a, s);
    let next = p.add(decayed, b);
    p.update("S", next);
    p.output("start", s);
    let other = p.sized(&[("R", 64), ("C", 64)]);
    assert_eq!(lowered(&other, "sm_90a").err(), Some(Code::Unsupported));
}
