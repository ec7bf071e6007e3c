//! Every form of every program agrees with the step evaluator in f64.

use crate::{cases, trial};
use libtest_mimic::{Failed, Trial};
use sluice::verify::{NATIVE, Options, verify};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::Recurrence;
use sluice_ir::target::Target;

pub(crate) fn trials() -> Vec<Trial> {
    cases::all_recurrences()
        .into_iter()
        .map(|(_, recurrence)| {
            trial(format!("agreement::{}", recurrence.name), move || check(&recurrence))
        })
        .collect()
}

fn check(recurrence: &Recurrence) -> Result<(), Failed> {
    let target = Target::find("sm_90a").expect("the table has this target");
    let dtype = Dtype::Bf16;
    let options = Options { dtype, target, native: NATIVE, rounded: true, device: false };
    let report = verify(recurrence, options, &mut |_| {}).map_err(|e| format!("{e:?}"))?;
    let failures: Vec<String> = report
        .cases
        .iter()
        .flat_map(|case| case.checks.iter().map(move |check| (case.shape, check)))
        .filter(|(_, check)| !check.passed)
        .map(|(shape, check)| {
            let (form, array) = (&check.form, &check.array);
            format!("{shape}: {array} of {form}: {:.1e} > {:.0e}", check.relative_rms, check.bound)
        })
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}
