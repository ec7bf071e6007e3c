//! One text file a case; its snapshot shows every stage that does not depend on LLVM, in order.

use crate::{files, root, snapshot, trial};
use libtest_mimic::{Failed, Trial};
use sluice::kernels::CHUNKS;
use sluice::program::recurrences;
use sluice::{Options, extents, schedule};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::step::{Op, Recurrence};
use sluice_ir::target::{TARGETS, Target};
use std::fs;
use std::path::{Path, PathBuf};

/// Size of every open dimension of a case.
const EXTENT: usize = 32;

/// Every program that must work, and where its snapshot belongs: beside the case, or for the standard
/// library, whose folder holds programs only, in `tests/cases/stdlib`.
pub(crate) fn programs() -> Vec<(PathBuf, PathBuf)> {
    let cases = files(&root().join("tests/cases"), "sluice").into_iter();
    let cases = cases.filter(|path| !path.starts_with(root().join("tests/cases/errors")));
    let examples = files(&root().join("examples"), "sluice").into_iter();
    let standard = files(&root().join("stdlib/recurrences"), "sluice").into_iter().map(|path| {
        let name = path.file_name().expect("a program has a name");
        (path.clone(), root().join("tests/cases/stdlib").join(name))
    });
    cases.chain(examples).map(|path| (path.clone(), path)).chain(standard).collect()
}

/// Every recurrence of those programs, with its text.
pub(crate) fn all_recurrences() -> Vec<(String, Recurrence)> {
    programs()
        .into_iter()
        .flat_map(|(path, _)| {
            let text = fs::read_to_string(&path).expect("a case is UTF-8");
            let all = recurrences(&text).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
            all.into_iter().map(move |recurrence| (text.clone(), recurrence))
        })
        .collect()
}

pub(crate) fn trials() -> Vec<Trial> {
    programs()
        .into_iter()
        .map(|(path, snapshot)| {
            let stem = path.file_stem().expect("a case has a name").to_string_lossy().into_owned();
            trial(format!("cases::{stem}"), move || check(&path, &snapshot))
        })
        .chain(all_recurrences().into_iter().map(|(text, recurrence)| {
            trial(format!("dtypes::{}", recurrence.name), move || dtypes(&text, &recurrence))
        }))
        .collect()
}

/// Whether a program makes values whose size is a product of open sizes, or windows of an open length, so
/// that they soon fit nowhere.
pub(crate) fn multiplies(recurrence: &Recurrence) -> bool {
    let made = recurrence.dims.iter().any(|dim| dim.formula.is_some());
    made || recurrence.nodes.iter().any(|n| n.dims.len() == 3 || matches!(n.op, Op::Push(..)))
}

/// Whether nothing but a size was refused.
pub(crate) fn all_too_large(errors: &[Diagnostic]) -> bool {
    errors.iter().all(|error| error.code == Code::TooLarge)
}

/// Every element type of vectors has legal kernels for every target, whatever divides the sizes.
fn dtypes(text: &str, recurrence: &Recurrence) -> Result<(), Failed> {
    for target in TARGETS {
        for (dtype, size) in
            [(Dtype::F16, 20), (Dtype::F16, 64), (Dtype::F32, 20), (Dtype::F32, 64)]
        {
            let options = Options {
                recurrence: Some(&recurrence.name),
                extents: &extents::uniform(recurrence, size),
                dtype,
                target,
                chunks: CHUNKS,
                ptxas: None,
            };
            let scheduled = schedule(text, &options, &mut |_, _| {});
            let scheduled = match scheduled {
                Err(errors) if size == 64 && multiplies(recurrence) && all_too_large(&errors) => {
                    continue;
                }
                other => other.map_err(|e| format!("{dtype} of size {size}: {e:?}"))?,
            };
            let kernels = scheduled.plan.kernels.iter().flat_map(|stage| stage.gpu());
            let mut vectors = kernels.flat_map(|kernel| &kernel.params);
            assert!(vectors.any(|param| param.dtype == dtype), "no array of {dtype}");
        }
    }
    Ok(())
}

fn check(path: &Path, snapshot: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let mut report = String::new();
    for recurrence in recurrences(&text).map_err(|e| format!("{e:?}"))? {
        report += &stages(&text, &recurrence)?;
    }
    snapshot::check(snapshot, &report)
}

/// The stages after the syntax tree, whose text is the source, and without the cut into stages where
/// it is the step form again.
fn stages(text: &str, recurrence: &Recurrence) -> Result<String, Failed> {
    let options = Options {
        recurrence: Some(&recurrence.name),
        extents: &extents::uniform(recurrence, EXTENT),
        dtype: Dtype::Bf16,
        target: Target::find("sm_90a").expect("the table has this target"),
        chunks: CHUNKS,
        ptxas: None,
    };
    let mut shown = Vec::new();
    let scheduled = schedule(text, &options, &mut |stage, value| {
        shown.push((stage, value.to_string()));
    })
    .map_err(|e| format!("{e:?}"))?;
    let whole = scheduled.plan.kernels.len() == 1;
    shown.retain(|(stage, _)| *stage != "ast" && !(whole && *stage == "staged"));
    let sections = shown.into_iter().map(|(stage, value)| format!("-- {stage}\n{value}\n"));
    Ok(sections.collect())
}
