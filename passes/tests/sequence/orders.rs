//! Terms and kernels of plain recurrences whose states pass over the tokens in other orders.

use crate::agreement::{difference, inputs, options, target};
use crate::programs;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Checked, Rounding};
use sluice_ir::problem::Problem;
use sluice_ir::seq::{self, Term};
use sluice_ir::step::{self, DimId, Order, Recurrence};
use sluice_passes::schedule::{Build, fused_scan, step};
use sluice_passes::{chunk, lift};

/// Relative RMS difference that f64 sums of these lengths may show.
const TOLERANCE: f64 = 1e-12;

/// Columns of the grids are `M` of the builder; every sequence is whole rows of 4: 19, none, one, and
/// 31, so that chunks end within columns.
fn problem() -> Problem {
    let mut problem = Problem::dense(&[("K", 16), ("V", 20), ("M", 4)], 0, 0, 2);
    problem.groups = 1;
    problem.cu_seqlens = vec![0, 76, 76, 80, 204];
    problem
}

/// Programs with decays, feedback, reads before the step and several states, in every order.
fn programs() -> Vec<Recurrence> {
    let names = ["gated delta", "read before with bonus", "normalised", "vector-gated delta"];
    let grid = DimId(2);
    let orders = [Order::Reverse, Order::Columns(grid), Order::ReverseColumns(grid)];
    let ordered = |name: &str, order| {
        let mut recurrence = programs::named(name);
        recurrence.states.iter_mut().for_each(|state| state.order = order);
        assert_eq!(recurrence.dims[grid.0].name, "M");
        recurrence
    };
    names.iter().flat_map(|name| orders.map(|order| ordered(name, order))).collect()
}

/// The lifted term, and the same in chunks.
fn terms(recurrence: &Recurrence, length: usize) -> [Term; 2] {
    let lifted = lift(recurrence, &problem().extents).expect("the program has a history");
    let chunked = chunk(&lifted, &options(length, Some(16))).expect("the program has a form");
    [lifted, chunked.term]
}

/// The recurrence's build for a GPU; the kernels are run without rounding.
fn with_build<T>(problem: &Problem, work: impl FnOnce(&Build<'_>) -> T) -> T {
    let (extents, target) = (&problem.extents, target());
    work(&Build { extents, dtype: Dtype::Bf16, compute: Dtype::F32, target: &target })
}

#[test]
fn terms_count_the_tokens_in_their_order() {
    let problem = problem();
    for recurrence in programs() {
        let arrays = inputs(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        let order = with_build(&problem, |build| build.order(&recurrence));
        for term in terms(&recurrence, 16) {
            let error = difference(&seq::run(&term, order, &problem, &arrays), &reference);
            assert!(error <= TOLERANCE, "{} {order}: {error:.1e}", recurrence.name);
        }
    }
}

#[test]
fn kernels_visit_the_tokens_in_their_order() {
    let problem = problem();
    for recurrence in programs() {
        let arrays = inputs(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        let kernels: Vec<Checked> = with_build(&problem, |build| {
            let scan = |chunk| {
                let [_, term] = terms(&recurrence, chunk);
                fused_scan(&recurrence, &term, build, chunk, &[]).expect("the tiles fit")
            };
            let step = step(&recurrence, build, true).expect("the program has a step kernel");
            vec![step, scan(16), scan(32)]
        });
        for kernel in kernels {
            assert!(kernel.to_string().contains(&format!("\n  order {}\n", kernel.order)));
            let found = kernel::eval(&kernel, &problem, &arrays, Rounding::Exact);
            let error = difference(&found, &reference);
            assert!(error <= TOLERANCE, "{} {}: {error:.1e}", kernel.name, kernel.order);
        }
    }
}
