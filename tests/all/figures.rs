//! What `explain` says of a kernel's work, beside counts by hand.

use crate::trial;
use libtest_mimic::{Failed, Trial};
use sluice::figures::Figures;
use sluice::kernels::plan;
use sluice::{extents, program};
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::Problem;
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::schedule::{Build, token_loop};

/// A product of a matrix and a state, and a sum for each element.
const DENSE: &str = "recurrence dense(param A: [K, M], B: [M], x: [K]) -> o: [K] {
    state h: [M] = 0
    let y = dot(A, h)
    h' = B
    o = y + x
}";

/// Four products a chunk.
const SUMS: &str = "recurrence sums(q: [K], k: [K], v: [V]) -> o: [V] {
    state S: [K, V] = 0
    S' = S + outer(k, v)
    o = dot(q, S')
}";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("figures::loop_nests_count".to_owned(), loop_nests_count),
        trial("figures::products_of_every_unit_count".to_owned(), products_count),
    ]
}

fn only(text: &str) -> Result<Recurrence, Failed> {
    let only = program::recurrences(text).and_then(|all| program::select(all, None));
    only.map_err(|e| format!("{e:?}").into())
}

/// Scores, what they read, what is read of the state, and what is written to it: by warps and by warpgroups.
fn products_count() -> Result<(), Failed> {
    let recurrence = only(SUMS)?;
    let extents = extents::uniform(&recurrence, 128);
    for target in TARGETS {
        let build = Build { extents: &extents, dtype: Dtype::Bf16, compute: Dtype::F32, target };
        let plan =
            plan(&recurrence, &build, &[64], &mut |_, _| {}).map_err(|e| format!("{e:?}"))?;
        let scan = plan.kernels[0].scan.as_ref().ok_or("no scan")?;
        let figures = Figures::of(&scan.kernel, target);
        let flops = f64::from(2 * (2 * 64 * 128 + 2 * 128 * 128));
        if (figures.products, figures.product_flops) != ([4, 0], [flops, 0.0]) {
            let found = (figures.products, figures.product_flops);
            return Err(format!("{}: {found:?} instead of {flops}", target.name).into());
        }
    }
    Ok(())
}

fn loop_nests_count() -> Result<(), Failed> {
    let recurrence = only(DENSE)?;
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
