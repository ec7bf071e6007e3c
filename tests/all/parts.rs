//! Kernels that cut the value axis into parts, and kernels that must not, agree with the step.

use crate::trial;
use libtest_mimic::{Failed, Trial};
use sluice::kernels::{CHUNKS, scan};
use sluice::program;
use sluice::verify::{draw, errors};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Rounding};
use sluice_ir::problem::Problem;
use sluice_ir::step;
use sluice_ir::target::Target;
use sluice_passes::schedule::Build;

/// Columns are independent: the axis is cut.
const CUT: &str = "recurrence cut(q: [K], k: [K], v: [V], g: [] in (-inf, 0]) -> o: [V] {
    state S: [K, V] = 0
    S' = exp(g) * S + outer(k, v)
    o = dot(q, S')
}";

/// A sum over all columns scales what is written: every part would need the others.
const WHOLE: &str = "recurrence whole(q: [K], k: [K], v: [V], g: [] in (-inf, 0]) -> o: [V] {
    state S: [K, V] = 0
    S' = exp(g) * S + outer(k, v * rsqrt(dot(v, v) + 1))
    o = dot(q, S')
}";

pub(crate) fn trials() -> Vec<Trial> {
    [("cut", CUT, 2), ("whole", WHOLE, 1)]
        .into_iter()
        .map(|(name, text, parts)| trial(format!("parts::{name}"), move || check(text, parts)))
        .collect()
}

fn check(text: &str, parts: usize) -> Result<(), Failed> {
    let recurrence = program::recurrences(text)
        .and_then(|all| program::select(all, None))
        .map_err(|e| format!("{e:?}"))?;
    let problem = Problem::dense(&[("K", 16), ("V", 160)], 1, 40, 1);
    let target = Target::find("sm_90a").expect("the table has this target");
    let extents = &problem.extents;
    let build = Build { extents, dtype: Dtype::Bf16, compute: Dtype::F32, target };
    let term = sluice_passes::lift(&recurrence, extents).map_err(|e| format!("{e:?}"))?;
    let found = scan(&recurrence, (&term, &[]), &build, CHUNKS, &mut |_| {});
    let kernel = found.map_err(|e| format!("{e:?}"))?.kernel;
    if kernel.parts != parts {
        return Err(format!("{} parts instead of {parts}", kernel.parts).into());
    }
    let inputs = draw(&recurrence, &problem, Dtype::Bf16, true, 0);
    let want = step::eval(&recurrence, &problem, &inputs);
    let got = kernel::eval(&kernel, &problem, &inputs, Rounding::Exact);
    match errors(&recurrence, &problem, &want, &got).iter().find(|e| e.relative_rms > 1e-9) {
        None => Ok(()),
        Some(e) => Err(format!("{} is off by {:.1e}", e.array, e.relative_rms).into()),
    }
}
