//! What `explain` says of a kernel's work, beside counts by hand.

use crate::trial;
use libtest_mimic::{Failed, Trial};
use sluice::figures::Figures;
use sluice::program;
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::Problem;
use sluice_ir::target::Target;
use sluice_passes::schedule::{Build, token_loop};

/// A product of a matrix and a state, and a sum for each element.
const DENSE: &str = "recurrence dense(param A: [K, M], B: [M], x: [K]) -> o: [K] {
    state h: [M] = 0
    let y = dot(A, h)
    h' = B
    o = y + x
}";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("figures::loop_nests_count".to_owned(), loop_nests_count)]
}

fn loop_nests_count() -> Result<(), Failed> {
    let recurrence = program::recurrences(DENSE)
        .and_then(|all| program::select(all, None))
        .map_err(|e| format!("{e:?}"))?;
    let problem = Problem::dense(&[("K", 8), ("M", 16)], 1, 1, 1);
    let target = Target::find("sm_90a").expect("the table has this target");
    let build = Build { extents: &problem.extents, dtype: Dtype::F32, compute: Dtype::F32, target };
    let kernel = token_loop(&recurrence, &build, true).map_err(|e| e.message)?;
    let figures = Figures::of(&kernel, target);
    let flops = 2 * 8 * 16 + 8;
    let bytes = 4 * (8 + 16 + 8);
    let rates = target.rates;
    let computing = flops as f64 / (rates.scalar * target.processors as f64);
    let floor = computing.max(f64::from(bytes) / rates.memory);
    let found = (figures.other_flops, figures.bytes, figures.floor);
    if found != (flops as f64, f64::from(bytes), floor) {
        return Err(format!("{found:?} instead of {flops}, {bytes}, {floor}\n{}", *kernel).into());
    }
    Ok(())
}
