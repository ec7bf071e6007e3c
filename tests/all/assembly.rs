//! NVIDIA's assembler accepts the PTX of every program for every target, hardly spills, and is not led astray.

use crate::{cases, trial};
use libtest_mimic::{Failed, Trial};
use sluice::kernels::CHUNKS;
use sluice::{Options, compile, extents, tool};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};
use std::collections::BTreeSet;

/// Size of every open dimension: the largest at which the state of one head fills 8 warps.
const EXTENT: usize = 128;

/// The size for a program that multiplies open sizes, if the other fits nowhere.
const SMALL_EXTENT: usize = 16;

/// Bytes that a thread may store to local memory: an eighth of its 255 registers.
const MOST_SPILLED: usize = 128;

/// Scans that spill more at that size, with the most that they may: what their warps hold does not fit
/// the registers that so many warps leave to a thread.
const SPILLS: &[(&str, usize)] = &[
    ("abc_2_scan", 500),
    ("agalite_2_scan", 640),
    ("agalite_exact_scan", 2884),
    ("based_scan", 1780),
    ("delta_rule_summary_scan", 140),
    ("directions_3_scan", 152),
    ("flowformer_global_4_scan", 360),
    ("gsa_scan", 432),
    ("inline_2_scan", 816),
    ("inline_3_scan", 848),
    ("kernelized_attention_rpe_scan", 248),
    ("lln_2_scan", 532),
    ("longvq_2_scan", 196),
    ("mlstm_2_scan", 328),
    ("momentum_delta_rule_scan", 308),
    ("nalaformer_1_scan", 1092),
    ("nalaformer_2_scan", 1556),
    ("rala_4_scan", 1064),
    ("rebased_scan", 1328),
    ("retnet_2_scan", 2244),
    ("stabilised_2_scan", 416),
    ("tideline_2_scan", 420),
];

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
    let build = |extent: usize| {
        let options = Options {
            recurrence: Some(&recurrence.name),
            extents: &extents::uniform(recurrence, extent),
            dtype: Dtype::Bf16,
            target,
            chunks: CHUNKS,
            ptxas: Some(&ptxas),
        };
        compile(text, &options, &mut |_, _| {})
    };
    let package = match build(EXTENT) {
        Err(errors) if cases::multiplies(recurrence) && cases::all_too_large(&errors) => {
            build(SMALL_EXTENT)
        }
        other => other,
    };
    let package = package.map_err(|e| format!("{e:?}"))?;
    let stages = &package.manifest.stages;
    if stages.is_empty() || stages.iter().any(|stage| stage.variants.is_empty()) {
        return Err("no kernel was emitted".into());
    }
    for variant in package.manifest.variants() {
        let file = variant.ptx.as_ref().ok_or("no PTX")?;
        let ptx = package.files.get(file).ok_or("no such file")?;
        if let Some(pair) = narrowed_twice(&String::from_utf8_lossy(ptx)) {
            return Err(format!("{} narrows {pair} twice", variant.entry).into());
        }
        let spilled = variant.spill_bytes.ok_or("ptxas reported nothing")?;
        // What writes a segment's state may spill what the whole scan may.
        let whole = variant.entry.replace("_summary", "");
        let known = [&variant.entry, &whole]
            .into_iter()
            .find_map(|entry| SPILLS.iter().find(|(scan, _)| entry.starts_with(scan)));
        if spilled > known.map_or(MOST_SPILLED, |(_, most)| *most) {
            return Err(format!("{} spills {spilled} bytes", variant.entry).into());
        }
    }
    Ok(())
}

/// Registers that are narrowed again after a product has added to them in place: ptxas (13.5.37) may take
/// what was made of the narrowed ones before for what is made of them after.
fn narrowed_twice(ptx: &str) -> Option<&str> {
    let mut narrowed = BTreeSet::new();
    let mut pairs = ptx.lines().filter_map(|line| {
        let operands = line.trim().strip_prefix("cvt.rn.bf16x2.f32")?;
        Some(operands.trim_end_matches(';').split_once(", ")?.1)
    });
    pairs.find(|pair| !narrowed.insert(*pair))
}
