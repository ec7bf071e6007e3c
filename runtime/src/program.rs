//! An artifact on a device: the choice of the variant, and launches.

use crate::buffers::Buffers;
use crate::device::{Device, failed};
use cudarc::driver::CudaFunction;
use cudarc::driver::sys::CUfunction_attribute_enum as Attribute;
use cudarc::nvrtc::Ptx;
use sluice_ir::artifact::{MANIFEST_VERSION, Manifest, Variant};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Arrays, Problem};
use std::fs;
use std::path::Path;

/// File of the manifest in an artifact's folder.
const MANIFEST: &str = "manifest.json";

/// A built program whose kernels are loaded.
#[derive(Debug)]
pub struct Program {
    pub(crate) device: Device,
    manifest: Manifest,
    variants: Vec<Loaded>,
}

/// A variant with its code on the device.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) variant: Variant,
    pub(crate) function: CudaFunction,
}

impl Program {
    /// Loads every variant of the artifact in a folder that the device can run: machine code if there
    /// is some for it, else PTX, which the driver translates.
    ///
    /// # Errors
    ///
    /// [`Code::File`] and [`Code::BadManifest`] for the folder, [`Code::NoDevice`] if no variant is
    /// for this GPU, [`Code::OldDriver`] and [`Code::ToolFailed`] from the driver.
    pub fn load(device: &Device, folder: &Path) -> Result<Program, Diagnostic> {
        let manifest = read_manifest(&folder.join(MANIFEST))?;
        let mut variants = Vec::new();
        for variant in &manifest.variants {
            if let Some(function) = load_variant(device, folder, variant)? {
                variants.push(Loaded { variant: variant.clone(), function });
            }
        }
        if variants.is_empty() {
            let targets: Vec<_> = manifest.variants.iter().map(|v| v.target.as_str()).collect();
            let message = format!(
                "`{}` was built for {}, which {} cannot run",
                manifest.program,
                targets.join(", "),
                device.describe()
            );
            return Err(Diagnostic::new(Code::NoDevice, message)
                .with_help("build it with `--target` for this GPU"));
        }
        Ok(Program { device: device.clone(), manifest, variants })
    }

    /// The manifest as read.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Entry points of the loaded variants that allow the problem, in order of preference.
    pub fn variants_for(&self, problem: &Problem) -> Vec<&str> {
        let allowed = self.variants.iter().filter(|l| allows(&l.variant, problem));
        allowed.map(|l| l.variant.entry.as_str()).collect()
    }

    /// Runs the program and returns its outputs and final states by name. `variant` is an entry
    /// point or a schedule; without one the first that allows the problem is taken. Inputs are
    /// rounded to the dtypes of their params; an element that the kernel does not write is NaN.
    ///
    /// # Errors
    ///
    /// [`Code::MissingArray`], [`Code::BadArray`], [`Code::BadBinding`] for the arrays or the variant,
    /// [`Code::TooLarge`] if memory is short, [`Code::ToolFailed`] if the launch fails.
    pub fn run(
        &self,
        problem: &Problem,
        arrays: &Arrays,
        variant: Option<&str>,
    ) -> Result<Arrays, Diagnostic> {
        Ok(self.outputs(problem, arrays, variant, 1)?.0)
    }

    /// As [`Program::run`], twice on the same inputs; also whether all bits were the same.
    ///
    /// # Errors
    ///
    /// Those of [`Program::run`].
    pub fn run_twice(
        &self,
        problem: &Problem,
        arrays: &Arrays,
        variant: Option<&str>,
    ) -> Result<(Arrays, bool), Diagnostic> {
        self.outputs(problem, arrays, variant, 2)
    }

    /// The outputs of the first of several runs, and whether all gave the same bits.
    fn outputs(
        &self,
        problem: &Problem,
        arrays: &Arrays,
        variant: Option<&str>,
        runs: usize,
    ) -> Result<(Arrays, bool), Diagnostic> {
        let Loaded { variant, function } = self.choose(problem, variant)?;
        let mut buffers = Buffers::upload(&self.device, variant, problem, arrays)?;
        let mut run = || {
            let launched = buffers.launch(&self.device, function, variant, problem);
            launched.map_err(|e| failed(&format!("launch `{}`", variant.entry), e))?;
            let bytes = buffers.download(&self.device, variant)?;
            buffers.poison(&self.device, variant)?;
            Ok(bytes)
        };
        let first = run()?;
        let mut same = true;
        for _ in 1..runs {
            same &= run()? == first;
        }
        let mut outputs = Arrays::new();
        for (param, bytes) in variant.params.iter().zip(&first) {
            if let Some(bytes) = bytes {
                let array = param.output(problem, &bytes[..param.bytes(problem)]);
                outputs.insert(param.name.clone(), array);
            }
        }
        Ok((outputs, same))
    }

    /// The variant of a name, or the first that allows the problem.
    pub(crate) fn choose(
        &self,
        problem: &Problem,
        name: Option<&str>,
    ) -> Result<&Loaded, Diagnostic> {
        let fits = |l: &&Loaded| match name {
            Some(name) => l.variant.entry == name || l.variant.schedule == name,
            None => allows(&l.variant, problem),
        };
        self.variants.iter().find(fits).ok_or_else(|| {
            let there: Vec<_> = self.variants.iter().map(|l| l.variant.entry.as_str()).collect();
            let what = name.map_or("that allows this length".to_owned(), |n| format!("`{n}`"));
            Diagnostic::new(
                Code::BadBinding,
                format!("`{}` has no variant {what}", self.manifest.program),
            )
            .with_help(format!("it has {}", there.join(", ")))
        })
    }
}

/// Whether a variant is meant for sequences as long as the longest of a problem.
fn allows(variant: &Variant, problem: &Problem) -> bool {
    let longest = problem.cu_seqlens.windows(2).map(|w| w[1].saturating_sub(w[0])).max();
    variant.max_tokens.is_none_or(|most| longest.unwrap_or(0) <= most)
}

fn read_manifest(path: &Path) -> Result<Manifest, Diagnostic> {
    let text = fs::read_to_string(path).map_err(|e| unreadable(path, &e.to_string()))?;
    parse_manifest(&text).map_err(|why| {
        Diagnostic::new(Code::BadManifest, format!("`{}`: {why}", path.display()))
            .with_help("build the program again with this version")
    })
}

/// A manifest, if its version is ours.
pub(crate) fn parse_manifest(text: &str) -> Result<Manifest, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let version = value.get("manifest_version").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(MANIFEST_VERSION)) {
        let found = version.map_or("none".to_owned(), |v| v.to_string());
        return Err(format!("manifest version {found}, this launcher reads {MANIFEST_VERSION}"));
    }
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn unreadable(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::new(Code::File, format!("cannot read `{}`: {why}", path.display()))
        .with_help("expected the folder that `sluice build -o` wrote")
}

/// The entry point of a variant, with leave to use its shared memory; none if the device cannot run
/// what there is.
fn load_variant(
    device: &Device,
    folder: &Path,
    variant: &Variant,
) -> Result<Option<CudaFunction>, Diagnostic> {
    let image = match (&variant.cubin, &variant.ptx) {
        (Some(cubin), _) if device.accepts(&variant.target, true) => {
            let path = folder.join(cubin);
            Ptx::from_binary(fs::read(&path).map_err(|e| unreadable(&path, &e.to_string()))?)
        }
        (_, Some(ptx)) if device.accepts(&variant.target, false) => {
            let path = folder.join(ptx);
            Ptx::from_src(fs::read_to_string(&path).map_err(|e| unreadable(&path, &e.to_string()))?)
        }
        _ => return Ok(None),
    };
    let load = || {
        let function = device.context.load_module(image)?.load_function(&variant.entry)?;
        let bytes =
            i32::try_from(variant.shared_bytes).expect("shared memory is a few hundred KiB");
        let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most, bytes)?;
        Ok(function)
    };
    load().map(Some).map_err(|e| device.load_error(&format!("`{}`", variant.entry), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_ir::kernel::Order;

    #[test]
    fn other_manifest_versions_are_refused_before_their_content() {
        let error = parse_manifest(r#"{"manifest_version": 99, "unknown": []}"#);
        assert_eq!(error, Err("manifest version 99, this launcher reads 1".to_owned()));
        assert!(parse_manifest("{}").is_err_and(|e| e.contains("version none")));
        assert!(parse_manifest("no json").is_err());
    }

    #[test]
    fn orders_of_tokens_are_text() {
        let text = serde_json::to_string(&Order::ReverseColumns(12)).expect("text");
        assert_eq!(text, r#""reverse columns 12""#);
        let read = |text| serde_json::from_str::<Order>(text).ok();
        assert_eq!(read(&text), Some(Order::ReverseColumns(12)));
        assert_eq!(read(r#""sideways""#), None);
    }

    #[test]
    fn variants_state_the_longest_sequence_they_are_for() {
        let text = r#"{"entry": "e", "schedule": "step", "target": "sm_80", "chunk": 1,
            "max_tokens": 4, "threads": 32, "shared_bytes": 0, "grid_y": 1, "params": []}"#;
        let variant: Variant = serde_json::from_str(text).expect("a variant");
        assert_eq!(variant.order, Order::Forward);
        let problem = |cu_seqlens| Problem { cu_seqlens, ..Problem::dense(&[], 1, 1, 1) };
        assert!(allows(&variant, &problem(vec![0, 4, 8])));
        assert!(!allows(&variant, &problem(vec![0, 4, 9])));
        assert!(allows(&variant, &problem(vec![0])));
    }
}
