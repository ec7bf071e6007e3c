//! From kernels to the files of a build.

use crate::files::Files;
use crate::kernels::{JOINING_TOKENS, MIXING_TOKENS, OnSegments, Plan, SEGMENT};
use crate::{Observer, Scheduled};
use sluice_ir::artifact::{
    ArrayInfo, ArrayRole, MANIFEST_VERSION, Manifest, ParamInfo, ParamRole, Per, Segmented,
    StageInfo, StateInfo, Variant,
};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Checked, Schedule};
use sluice_ir::staged::{Class, Form, Runs, Stage, StateLink};
use sluice_ir::step::{DimId, Rate, Sharing, State};
use sluice_ir::target::Target;
use std::path::Path;

/// What a build makes.
#[derive(Clone, Debug)]
pub struct Package {
    /// How to call the code.
    pub manifest: Manifest,
    /// All files, the manifest's among them.
    pub files: Files,
}

/// Name of the manifest's file.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Emits the code of a program's kernels; machine code too if there is a `ptxas`.
///
/// # Errors
///
/// Those of the tools: one fails, or a temporary file cannot be written.
pub fn package(
    scheduled: &Scheduled,
    dtype: Dtype,
    target: &Target,
    ptxas: Option<&Path>,
    seen: Observer<'_>,
) -> Result<Package, Diagnostic> {
    let mut files = Files::new();
    let mut stages = Vec::new();
    let Plan { staged, kernels } = &scheduled.plan;
    for (stage, kernels) in staged.stages.iter().zip(kernels) {
        let mut variants = Vec::new();
        for kernel in kernels.gpu() {
            let made = variant(kernel, target, ptxas, &mut files, seen)?;
            variants.extend(made.map(|made| Variant {
                max_tokens: kernels.max_tokens(kernel),
                max_instances: kernels.max_instances(kernel),
                ..made
            }));
        }
        let mut segments = None;
        if let Some(cut) = &kernels.segments {
            let mut joining = Vec::new();
            for kernel in kernels.joining() {
                joining.extend(variant(kernel, target, ptxas, &mut files, seen)?);
            }
            segments = segmented(cut, joining, &variants);
        }
        let info = stage_info(stage, kernels.describe(stage), variants);
        stages.push(StageInfo { segments, ..info });
    }
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        compiler: format!("sluice {}", env!("CARGO_PKG_VERSION")),
        program: scheduled.recurrence.name.clone(),
        doc: scheduled.recurrence.doc.clone(),
        dims: scheduled.extents.clone(),
        arrays: arrays(scheduled, dtype),
        stages,
    };
    embedded(scheduled, &manifest, &mut files, seen)?;
    let text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data") + "\n";
    files.insert(MANIFEST_FILE.to_owned(), text.into_bytes());
    Ok(Package { manifest, files })
}

fn stage_info(stage: &Stage, class: String, variants: Vec<Variant>) -> StageInfo {
    let states = stage.recurrence.states.iter().zip(&stage.links);
    let state = |(state, link): (&State, &StateLink)| StateInfo {
        name: state.name.clone(),
        link: link.clone(),
    };
    StageInfo {
        name: stage.recurrence.name.clone(),
        runs: stage.runs,
        class,
        states: states.map(state).collect(),
        variants,
        segments: None,
    }
}

/// How a stage runs on segments: the variants of its own, and the one of whole sequences for the last.
fn segmented(cut: &OnSegments, joining: Vec<Variant>, whole: &[Variant]) -> Option<Segmented> {
    let last = cut.kernels.last()?;
    let completion = whole.iter().find(|variant| variant.entry == last.name)?;
    let mut variants: Vec<Variant> = joining.into_iter().chain([completion.clone()]).collect();
    prepare_once(&mut variants);
    let stages = cut
        .stages
        .iter()
        .zip(variants)
        .map(|(stage, variant)| stage_info(stage, stage.runs.to_string(), vec![variant]));
    let joining = |(stage, kernel): (&Stage, &Checked)| match (stage.runs, &stage.form) {
        (Runs::Joints(_), Form::Steps { class: Class::Dense, .. }) => {
            MIXING_TOKENS[usize::from(kernel.roles.len() == 1)]
        }
        _ => 0,
    };
    let passes = cut.stages.iter().filter(|stage| matches!(stage.runs, Runs::Segments(_)));
    Some(Segmented {
        multiple: SEGMENT,
        blocks: last.parts,
        passes: passes.count(),
        overhead: JOINING_TOKENS,
        joining: cut.stages.iter().zip(&cut.kernels).map(joining).sum(),
        stages: stages.collect(),
    })
}

/// Leaves of what runs before variants only what makes the most of what others make, too, and that before
/// the first of them.
fn prepare_once(variants: &mut [Variant]) {
    let makes_all = |one: &Variant, other: &Variant| {
        let mut made = other.prepare.iter().flat_map(|p| &p.params);
        made.all(|param| param.kind != ParamRole::TokenOut || one.prepares(&param.name))
    };
    for first in 0..variants.len() {
        // Those that are prepared by what `by` has before it.
        let served = |by: usize| -> Vec<usize> {
            let prepared = |i: &usize| variants[*i].prepare.is_some();
            let served = |i: &usize| prepared(i) && makes_all(&variants[by], &variants[*i]);
            (first..variants.len()).filter(served).collect()
        };
        let all = (first..variants.len()).map(|by| (by, served(by)));
        let able = all.filter(|(_, served)| served.contains(&first));
        let Some((by, served)) = able.max_by_key(|(_, served)| served.len()) else { continue };
        let prepare = variants[by].prepare.clone();
        served.into_iter().for_each(|i| variants[i].prepare = None);
        variants[first].prepare = prepare;
    }
}

/// The arrays of the caller, then those that pass from stage to stage.
fn arrays(scheduled: &Scheduled, dtype: Dtype) -> Vec<ArrayInfo> {
    let Scheduled { recurrence, extents, plan } = scheduled;
    let size = |d: &DimId| recurrence.size(*d, extents).expect("every dimension is bound");
    let sizes = |dims: &[DimId]| -> Vec<usize> { dims.iter().map(size).collect() };
    let inputs = recurrence.inputs.iter().map(|input| ArrayInfo {
        name: input.name.clone(),
        role: ArrayRole::Input,
        per: if input.rate == Rate::Token { Per::Token } else { Per::Model },
        dtype: recurrence.input_dtype(input, dtype),
        dims: sizes(&input.dims),
        by_group: input.sharing == Sharing::Group,
        doc: input.doc.clone(),
    });
    let outputs = recurrence.outputs.iter().map(|output| ArrayInfo {
        name: output.name.clone(),
        role: ArrayRole::Output,
        per: Per::Token,
        dtype: recurrence.output_dtype(output, dtype),
        dims: sizes(&recurrence.node(output.node).dims),
        by_group: false,
        doc: output.doc.clone(),
    });
    let states = recurrence.states.iter().map(|state| ArrayInfo {
        name: state.name.clone(),
        role: ArrayRole::State,
        per: Per::Sequence,
        dtype: Dtype::F32,
        dims: sizes(&state.dims),
        by_group: false,
        doc: state.doc.clone(),
    });
    let mut arrays: Vec<ArrayInfo> = inputs.chain(outputs).chain(states).collect();
    let whole = plan.staged.stages.iter().zip(plan.kernels.iter().map(|kernels| &kernels.step));
    let cut = plan.kernels.iter().filter_map(|kernels| kernels.segments.as_ref());
    let cut = cut.flat_map(|cut| cut.stages.iter().zip(&cut.kernels));
    for (stage, kernel) in whole.chain(cut) {
        for param in kernel.params.iter().map(ParamInfo::from) {
            let (name, per) = match (param.kind, stage.runs) {
                (ParamRole::TokenOut, Runs::Joints(_)) => (Some(param.name.clone()), Per::Segment),
                (ParamRole::TokenOut, _) => (Some(param.name.clone()), Per::Token),
                (ParamRole::StateOut, Runs::Segments(_)) => {
                    (kept(stage, &param.name), Per::Segment)
                }
                (ParamRole::StateOut, _) => (kept(stage, &param.name), Per::Sequence),
                (ParamRole::TokenIn | ParamRole::ModelIn | ParamRole::StateIn, _) => continue,
            };
            let Some(name) = name.filter(|name| arrays.iter().all(|a| a.name != *name)) else {
                continue;
            };
            arrays.push(ArrayInfo {
                name,
                role: ArrayRole::Between,
                per,
                dtype: param.dtype,
                dims: param.dims,
                by_group: false,
                doc: vec![],
            });
        }
    }
    arrays
}

/// The name under which a stage keeps a state after the last token.
fn kept(stage: &Stage, state: &str) -> Option<String> {
    let place = stage.recurrence.states.iter().position(|s| s.name == state)?;
    stage.links[place].to.clone()
}

/// PTX and machine code of one kernel, and how to launch it; for problems of all sizes.
#[cfg(feature = "nvptx")]
fn variant(
    kernel: &Checked,
    target: &Target,
    ptxas: Option<&Path>,
    files: &mut Files,
    seen: Observer<'_>,
) -> Result<Option<Variant>, Diagnostic> {
    use sluice_backends::nvptx;
    use sluice_ir::diagnostic::Code;
    let image = nvptx::compile(kernel, target)?;
    seen("ptx", &image.ptx);
    let assembled = ptxas.map(|ptxas| {
        let scratch = tempfile::tempdir().map_err(|e| {
            Diagnostic::new(Code::File, format!("cannot make a temporary folder: {e}"))
                .with_help("the folder for temporary files must be writable")
        })?;
        nvptx::assemble(ptxas, &image.ptx, target, scratch.path())
    });
    let assembled = assembled.transpose()?;
    if assembled.is_some() {
        seen("cubin", &kernel.name);
    }
    let file = |extension: &str| format!("{}.{extension}", kernel.name);
    let prepare = kernel.prepare.as_deref();
    let prepare = prepare.map(|before| variant(before, target, ptxas, files, seen));
    let variant = Variant {
        entry: kernel.name.clone(),
        schedule: kernel.schedule.name().to_owned(),
        target: target.name.to_owned(),
        ptx: Some(file("ptx")),
        cubin: assembled.as_ref().map(|_| file("cubin")),
        chunk: kernel.chunk,
        order: kernel.order,
        max_tokens: None,
        max_instances: None,
        threads: kernel.threads(),
        shared_bytes: nvptx::shared_bytes(kernel),
        grid_y: kernel.parts,
        chunks_apart: kernel.schedule == Schedule::Prepare,
        params: kernel.params.iter().map(ParamInfo::from).collect(),
        registers: assembled.as_ref().map(|a| a.registers),
        spill_bytes: assembled.as_ref().map(|a| a.spill_bytes),
        prepare: prepare.transpose()?.flatten().map(Box::new),
    };
    files.insert(file("ptx"), image.ptx.into_bytes());
    files.extend(assembled.map(|a| (file("cubin"), a.cubin)));
    Ok(Some(variant))
}

#[cfg(not(feature = "nvptx"))]
fn variant(
    _: &Checked,
    _: &Target,
    _: Option<&Path>,
    _: &mut Files,
    _: Observer<'_>,
) -> Result<Option<Variant>, Diagnostic> {
    Ok(None)
}

/// The object files and headers of the CPU's kernels, one of each a stage; of several, also the header
/// of all together.
#[cfg(feature = "scalar")]
fn embedded(
    scheduled: &Scheduled,
    manifest: &Manifest,
    files: &mut Files,
    seen: Observer<'_>,
) -> Result<(), Diagnostic> {
    use sluice_backends::package::{Entry, Header, header, wrapper};
    use sluice_backends::scalar::{Options, Precision, WORKSPACE_ALIGN, object};
    let mut entries = Vec::new();
    for (kernels, stage) in scheduled.plan.kernels.iter().zip(&manifest.stages) {
        let object = object(&kernels.cpu, Options::exact(Precision::F32))?;
        seen("object", &object.symbol);
        let about = Header {
            doc: &manifest.doc,
            dims: &manifest.dims,
            arrays: &manifest.arrays,
            workspace_bytes: object.workspace_bytes,
            workspace_align: WORKSPACE_ALIGN,
        };
        files.insert(format!("{}.h", stage.name), header(&kernels.cpu, about).into_bytes());
        files.insert(format!("{}.o", stage.name), object.bytes);
        entries.push(Entry {
            stage,
            symbol: object.symbol,
            params: kernels.cpu.params.iter().map(ParamInfo::from).collect(),
            workspace_bytes: object.workspace_bytes,
        });
    }
    if entries.len() > 1 {
        let text = wrapper(manifest, &entries, WORKSPACE_ALIGN);
        files.insert(format!("{}.h", manifest.program), text.into_bytes());
    }
    Ok(())
}

#[cfg(not(feature = "scalar"))]
fn embedded(_: &Scheduled, _: &Manifest, _: &mut Files, _: Observer<'_>) -> Result<(), Diagnostic> {
    Ok(())
}
