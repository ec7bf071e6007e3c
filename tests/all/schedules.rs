//! Which kernels every program gets on each target: a kernel that the checker refuses makes room for a
//! slower one, which nothing else would show.

use crate::{cases, root, snapshot, trial};
use libtest_mimic::{Failed, Trial};
use sluice::extents;
use sluice::kernels::{CHUNKS, StageKernels, plan};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::Kernel;
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::schedule::Build;
use std::fmt::Write;

/// Sizes of all open dimensions: the first for which one token fits.
const EXTENTS: [usize; 4] = [128, 64, 32, 16];

pub(crate) fn trials() -> Vec<Trial> {
    let each = |target: &'static Target| {
        trial(format!("schedules::{}", target.name), move || {
            let mut text = String::new();
            for (_, recurrence) in cases::all_recurrences() {
                describe(&mut text, &recurrence, target)?;
            }
            snapshot::check(&root().join("tests/cases/schedules").join(target.name), &text)
        })
    };
    TARGETS.iter().map(each).collect()
}

/// A line for the program, and one for each stage.
fn describe(
    text: &mut String,
    recurrence: &Recurrence,
    target: &'static Target,
) -> Result<(), Failed> {
    let planned = |size: &usize| {
        let extents = extents::uniform(recurrence, *size);
        let build = Build { extents: &extents, dtype: Dtype::Bf16, compute: Dtype::F32, target };
        plan(recurrence, &build, CHUNKS, &mut |_, _| {}).ok().map(|plan| (*size, plan))
    };
    let planned = EXTENTS.iter().find_map(planned);
    let (size, plan) = planned.ok_or_else(|| format!("no size fits {}", recurrence.name))?;
    writeln!(text, "{} of {size}", recurrence.name)?;
    for (stage, kernels) in plan.staged.stages.iter().zip(&plan.kernels) {
        writeln!(text, "  {}: {}", stage.recurrence.name, listed(kernels))?;
    }
    Ok(())
}

/// The kernels of a stage, those that run before a scan with a plus, those on segments in parentheses.
fn listed(kernels: &StageKernels) -> String {
    let mut parts: Vec<String> = Vec::new();
    for kernel in kernels.gpu() {
        let before = kernel.prepare.as_deref().map(|before| shape(before) + " + ");
        parts.push(before.unwrap_or_default() + &shape(kernel));
    }
    if let Some(cut) = &kernels.segments {
        let each: Vec<String> = cut.kernels.iter().map(|kernel| shape(kernel)).collect();
        parts.push(format!("({})", each.join(" + ")));
    }
    if let Some(reason) = &kernels.fallback {
        parts.push(format!("because {}", reason.message));
    }
    parts.join(", ")
}

/// Schedule, tokens of a chunk, roles, parts.
fn shape(kernel: &Kernel) -> String {
    let mut shape = kernel.schedule.name().to_owned();
    if kernel.chunk > 1 {
        shape += &kernel.chunk.to_string();
    }
    if kernel.roles.len() > 1 {
        shape += &format!(" in {} roles", kernel.roles.len());
    }
    if kernel.parts > 1 {
        shape += &format!(" of {} parts", kernel.parts);
    }
    shape
}
