//! From kernels to the files of a build.

use crate::files::Files;
use crate::{Observer, Scheduled};
use sluice_ir::artifact::{MANIFEST_VERSION, Manifest, Variant};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::kernel::Checked;
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
    target: &Target,
    ptxas: Option<&Path>,
    seen: Observer<'_>,
) -> Result<Package, Diagnostic> {
    let mut files = Files::new();
    let mut variants = Vec::new();
    for kernel in &scheduled.kernels.gpu {
        variants.extend(variant(kernel, target, ptxas, &mut files, seen)?);
    }
    embedded(scheduled, &mut files, seen)?;
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        compiler: format!("sluice {}", env!("CARGO_PKG_VERSION")),
        program: scheduled.recurrence.name.clone(),
        doc: scheduled.recurrence.doc.clone(),
        dims: scheduled.extents.clone(),
        variants,
    };
    let text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data") + "\n";
    files.insert(MANIFEST_FILE.to_owned(), text.into_bytes());
    Ok(Package { manifest, files })
}

/// PTX and machine code of one kernel, and how to launch it.
#[cfg(feature = "nvptx")]
fn variant(
    kernel: &Checked,
    target: &Target,
    ptxas: Option<&Path>,
    files: &mut Files,
    seen: Observer<'_>,
) -> Result<Option<Variant>, Diagnostic> {
    use sluice_backends::nvptx;
    use sluice_ir::artifact::ParamInfo;
    use sluice_ir::diagnostic::Code;
    use sluice_ir::kernel::Schedule;
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
    let variant = Variant {
        entry: kernel.name.clone(),
        schedule: kernel.schedule.name().to_owned(),
        target: target.name.to_owned(),
        ptx: Some(file("ptx")),
        cubin: assembled.as_ref().map(|_| file("cubin")),
        chunk: kernel.chunk,
        order: kernel.order,
        max_tokens: match kernel.schedule {
            Schedule::Step => Some(crate::kernels::STEP_TOKENS),
            Schedule::FusedScan => None,
        },
        threads: kernel.threads(),
        shared_bytes: nvptx::shared_bytes(kernel),
        grid_y: kernel.parts,
        params: kernel.params.iter().map(ParamInfo::from).collect(),
        registers: assembled.as_ref().map(|a| a.registers),
        spill_bytes: assembled.as_ref().map(|a| a.spill_bytes),
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

/// The object file and the header of the CPU's kernel.
#[cfg(feature = "scalar")]
fn embedded(
    scheduled: &Scheduled,
    files: &mut Files,
    seen: Observer<'_>,
) -> Result<(), Diagnostic> {
    use sluice_backends::package::{Header, header};
    use sluice_backends::scalar::{Options, Precision, WORKSPACE_ALIGN, object};
    let Scheduled { recurrence, extents, kernels } = scheduled;
    let object = object(&kernels.cpu, Options::exact(Precision::F32))?;
    seen("object", &object.symbol);
    let about = Header {
        doc: &recurrence.doc,
        dims: extents,
        workspace_bytes: object.workspace_bytes,
        workspace_align: WORKSPACE_ALIGN,
    };
    files.insert(format!("{}.h", recurrence.name), header(&kernels.cpu, about).into_bytes());
    files.insert(format!("{}.o", recurrence.name), object.bytes);
    Ok(())
}

#[cfg(not(feature = "scalar"))]
fn embedded(_: &Scheduled, _: &mut Files, _: Observer<'_>) -> Result<(), Diagnostic> {
    Ok(())
}
