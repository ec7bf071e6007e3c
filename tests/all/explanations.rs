//! Every program is explained: its derivations end with the terms that its kernels are made from.

use crate::{cases, trial};
use libtest_mimic::{Failed, Trial};
use sluice::explain::explain;
use sluice::extents;
use sluice::kernels::CHUNKS;
use sluice::summary::at_nominal_size;
use sluice_ir::dtype::Dtype;
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::schedule::Build;

pub(crate) fn trials() -> Vec<Trial> {
    let each = |(_, recurrence): (String, Recurrence)| {
        trial(format!("explanations::{}", recurrence.name), move || {
            TARGETS.iter().try_for_each(|target| check(&recurrence, target))
        })
    };
    cases::all_recurrences().into_iter().map(each).collect()
}

fn check(recurrence: &Recurrence, target: &'static Target) -> Result<(), Failed> {
    let explanation = at_nominal_size(|size| {
        let extents = extents::uniform(recurrence, size);
        let build = Build { extents: &extents, dtype: Dtype::Bf16, compute: Dtype::F32, target };
        explain(recurrence, &build, CHUNKS)
    });
    let explanation = explanation.map_err(|e| format!("{}: {e:?}", target.name))?;
    for stage in &explanation.stages {
        let chains = stage.derivation.iter().flat_map(|chunking| &chunking.derivations);
        let scans = stage.kernels.iter().any(|kernel| kernel.schedule == "scan");
        if scans != (chains.clone().count() > 0) {
            return Err(format!("{} has a scan without a derivation", stage.name).into());
        }
        if let Some(chain) = chains.into_iter().find(|chain| chain.steps.is_empty()) {
            return Err(format!("{} of {} follows from nothing", chain.result, stage.name).into());
        }
    }
    Ok(())
}
