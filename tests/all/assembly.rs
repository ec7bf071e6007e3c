//! NVIDIA's assembler accepts the PTX of every program for every target and hardly spills.

use crate::{cases, trial};
use libtest_mimic::{Failed, Trial};
use sluice::kernels::CHUNKS;
use sluice::{Options, compile, extents, tool};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};

/// Size of every open dimension: the largest at which the state of one head fills 8 warps.
const EXTENT: usize = 128;

/// Bytes that a thread may store to local memory: an eighth of its 255 registers.
const MOST_SPILLED: usize = 128;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (text, recurrence) in cases::all_recurrences() {
        for target in TARGETS {
            let name = format!("assembly::{}_{}", target.name, recurrence.name);
            let (text, recurrence) = (text.clone(), recurrence.clone());
            trials.push(trial(name, move || check(&text, &recurrence, target)));
        }
    }
    trials
}

fn check(text: &str, recurrence: &Recurrence, target: &'static Target) -> Result<(), Failed> {
    let ptxas = tool::ptxas().map_err(|e| e.message)?;
    let ptxas = ptxas.ok_or("no ptxas: `scripts/setup` fetches it, `make test` names it")?;
    let options = Options {
        recurrence: Some(&recurrence.name),
        extents: &extents::uniform(recurrence, EXTENT),
        dtype: Dtype::Bf16,
        target,
        chunks: CHUNKS,
        ptxas: Some(&ptxas),
    };
    let package = compile(text, &options, &mut |_, _| {}).map_err(|e| format!("{e:?}"))?;
    let stages = &package.manifest.stages;
    if stages.is_empty() || stages.iter().any(|stage| stage.variants.is_empty()) {
        return Err("no kernel was emitted".into());
    }
    for variant in stages.iter().flat_map(|stage| &stage.variants) {
        let spilled = variant.spill_bytes.ok_or("ptxas reported nothing")?;
        if spilled > MOST_SPILLED {
            return Err(format!("{} spills {spilled} bytes", variant.entry).into());
        }
    }
    Ok(())
}
