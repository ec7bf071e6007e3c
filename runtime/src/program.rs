//! An artifact on a device: the choice of the variant, and launches.

use crate::buffers::Buffers;
use crate::device::{Device, failed};
use cudarc::driver::CudaFunction;
use cudarc::driver::sys::CUfunction_attribute_enum as Attribute;
use cudarc::nvrtc::Ptx;
use sluice_ir::artifact::{
    ArrayRole, MANIFEST_VERSION, Manifest, ParamInfo, SEGMENTS, Segmented, StageInfo, Variant,
};
use sluice_ir::binding::Place;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::staged::Runs;
use std::fs;
use std::path::Path;

/// File of the manifest in an artifact's folder.
const MANIFEST: &str = "manifest.json";

/// A built program whose kernels are loaded.
#[derive(Debug)]
pub struct Program {
    pub(crate) device: Device,
    manifest: Manifest,
    stages: Vec<LoadedStage>,
}

/// A stage whose kernels are loaded.
#[derive(Debug)]
struct LoadedStage {
    variants: Vec<Loaded>,
    /// What runs on segments, one variant each.
    segments: Option<(Segmented, Vec<Loaded>)>,
}

/// A variant of a stage with its code on the device.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) variant: Variant,
    runs: Runs,
    /// The parameters under the names of their arrays, and where those are.
    pub(crate) params: Vec<(ParamInfo, Place)>,
    pub(crate) function: CudaFunction,
    /// What is launched before it.
    pub(crate) prepare: Option<Box<Loaded>>,
}

/// A variant and over what it is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) runs: Runs,
}

impl Program {
    /// Loads every variant of the artifact in a folder that the device can run: machine code if there
    /// is some for it, else PTX, which the driver translates.
    ///
    /// # Errors
    ///
    /// [`Code::File`] and [`Code::BadManifest`] for the folder, [`Code::NoDevice`] if no variant of
    /// some stage is for this GPU, [`Code::OldDriver`] and [`Code::ToolFailed`] from the driver.
    pub fn load(device: &Device, folder: &Path) -> Result<Program, Diagnostic> {
        let manifest = read_manifest(&folder.join(MANIFEST))?;
        let mut stages = Vec::with_capacity(manifest.stages.len());
        for stage in &manifest.stages {
            let variants = load_stage(device, folder, &manifest, stage)?;
            if variants.is_empty() {
                let targets: Vec<_> = stage.variants.iter().map(|v| v.target.as_str()).collect();
                let message = format!(
                    "`{}` was built for {}, which {} cannot run",
                    stage.name,
                    targets.join(", "),
                    device.describe()
                );
                return Err(Diagnostic::new(Code::NoDevice, message)
                    .with_help("build it with `--target` for this GPU"));
            }
            let mut segments = None;
            if let Some(segmented) = &stage.segments {
                let mut all = Vec::with_capacity(segmented.stages.len());
                for part in &segmented.stages {
                    all.extend(load_stage(device, folder, &manifest, part)?.into_iter().next());
                }
                let whole = all.len() == segmented.stages.len();
                segments = whole.then(|| (segmented.clone(), all));
            }
            stages.push(LoadedStage { variants, segments });
        }
        Ok(Program { device: device.clone(), manifest, stages })
    }

    /// The manifest as read.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Entry points that together try every loaded variant that allows the problem, those preferred
    /// first: a run with one of them takes the preferred variants of all other stages. Last
    /// [`SEGMENTS`], if some stage has them.
    pub fn variants_for(&self, problem: &Problem) -> Vec<&str> {
        let mut tried = Vec::new();
        let mut entries = Vec::new();
        let variants = self.stages.iter().flat_map(|stage| &stage.variants);
        let allowed = variants.filter(|l| l.allows(problem)).map(|l| l.variant.entry.as_str());
        let segments = self.stages.iter().any(|stage| stage.segments.is_some());
        let names = allowed.chain(segments.then_some(SEGMENTS));
        for name in names {
            let Ok(chosen) = self.choose(problem, Some(name)) else { continue };
            let chosen: Vec<_> =
                chosen.iter().map(|l| (l.loaded.variant.entry.as_str(), l.runs)).collect();
            if !tried.contains(&chosen) {
                tried.push(chosen);
                entries.push(name);
            }
        }
        entries
    }

    /// Runs the program and returns its outputs and final states by name. `variant` is an entry
    /// point, a schedule or [`SEGMENTS`], taken by every stage that has it; each other stage takes segments
    /// if they are faster, else the first variant that allows the problem. Inputs are
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
        let stages = self.choose(problem, variant)?;
        let mut buffers = Buffers::upload(&self.device, &stages, problem, arrays)?;
        let mut run = || {
            let launched = buffers.launch(&self.device, &stages);
            launched.map_err(|e| failed(&format!("launch `{}`", self.manifest.program), e))?;
            let bytes = buffers.download(&self.device, |place| self.is_result(place))?;
            buffers.poison(&self.device)?;
            Ok(bytes)
        };
        let first = run()?;
        let mut same = true;
        for _ in 1..runs {
            same &= run()? == first;
        }
        Ok((buffers.decoded(&first), same))
    }

    /// Whether the caller gets what is made at a place.
    pub(crate) fn is_result(&self, place: &Place) -> bool {
        let Place::Made(name) = place else { return false };
        let array = self.manifest.arrays.iter().find(|array| array.name == *name);
        array.is_some_and(|array| array.role != ArrayRole::Between)
    }

    /// What to launch: for each stage the variant of a name; else segments if they are faster, or the
    /// first variant that allows the problem.
    pub(crate) fn choose(
        &self,
        problem: &Problem,
        name: Option<&str>,
    ) -> Result<Vec<Launch<'_>>, Diagnostic> {
        let named =
            |l: &Loaded| name.is_some_and(|n| l.variant.entry == n || l.variant.schedule == n);
        let processors = self.device.processors()?;
        let mut found = name.is_none();
        let mut chosen = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let allowed = || stage.variants.iter().filter(|l| l.allows(problem));
            let fitting = allowed().find(|l| named(l));
            let parts = allowed().next().map_or(1, |l| l.variant.grid_y);
            let wanted = fitting.or_else(|| stage.variants.iter().find(|l| named(l)));
            let cut =
                stage.segments.as_ref().filter(|_| wanted.is_none()).and_then(|(cut, all)| {
                    match name == Some(SEGMENTS) {
                        true => Some((cut.tokens(problem, processors), all)),
                        false => Some((cut.chosen(problem, processors, parts)?, all)),
                    }
                });
            found |= wanted.is_some() || cut.is_some() && name == Some(SEGMENTS);
            if let Some((tokens, all)) = cut {
                chosen.extend(all.iter().map(|loaded| loaded.on_segments(tokens)));
                continue;
            }
            match wanted.or_else(|| allowed().next()) {
                Some(loaded) => chosen.push(Launch { loaded, runs: loaded.runs }),
                None => return Err(self.no_variant("that allows this length")),
            }
        }
        if found {
            Ok(chosen)
        } else {
            Err(self.no_variant(&format!("`{}`", name.unwrap_or_default())))
        }
    }

    fn no_variant(&self, what: &str) -> Diagnostic {
        let all = self.stages.iter().flat_map(|stage| &stage.variants);
        let there: Vec<_> = all.map(|l| l.variant.entry.as_str()).collect();
        let message = format!("`{}` has no variant {what}", self.manifest.program);
        Diagnostic::new(Code::BadBinding, message).with_help(format!("it has {}", there.join(", ")))
    }
}

impl Loaded {
    /// What runs before the variant, and the variant.
    pub(crate) fn launches(&self) -> impl Iterator<Item = &Loaded> {
        self.prepare.as_deref().into_iter().chain([self])
    }

    /// Whether the variant is meant for a problem of the program.
    fn allows(&self, problem: &Problem) -> bool {
        allows(&self.variant, &self.runs.problem(problem))
    }

    /// The variant on segments of so many tokens.
    fn on_segments(&self, tokens: usize) -> Launch<'_> {
        let runs = match self.runs {
            Runs::Segments(_) => Runs::Segments(tokens),
            Runs::Joints(_) => Runs::Joints(tokens),
            Runs::Tokens | Runs::Once => self.runs,
        };
        Launch { loaded: self, runs }
    }
}

/// The variants of a stage that the device can run.
fn load_stage(
    device: &Device,
    folder: &Path,
    manifest: &Manifest,
    stage: &StageInfo,
) -> Result<Vec<Loaded>, Diagnostic> {
    let mut variants = Vec::new();
    for variant in &stage.variants {
        variants.extend(loaded(device, folder, (manifest, stage), variant)?);
    }
    Ok(variants)
}

/// A variant with its code and that of what runs before it; none if the device cannot run it.
fn loaded(
    device: &Device,
    folder: &Path,
    (manifest, stage): (&Manifest, &StageInfo),
    variant: &Variant,
) -> Result<Option<Loaded>, Diagnostic> {
    let prepare = match &variant.prepare {
        None => None,
        Some(before) => match loaded(device, folder, (manifest, stage), before)? {
            None => return Ok(None),
            some => some.map(Box::new),
        },
    };
    let Some(function) = load_variant(device, folder, variant)? else { return Ok(None) };
    let params = variant.params.iter().map(|p| bound(manifest, stage, p)).collect();
    Ok(Some(Loaded { variant: variant.clone(), runs: stage.runs, params, function, prepare }))
}

/// A parameter under the name of its array, and where that is.
fn bound(manifest: &Manifest, stage: &StageInfo, param: &ParamInfo) -> (ParamInfo, Place) {
    let place = manifest.place(stage, param);
    let mut param = param.clone();
    if let Place::Given(name) | Place::Made(name) = &place {
        param.name.clone_from(name);
    }
    (param, place)
}

/// Whether a variant is meant for sequences as long as the longest of a problem, and for so many of
/// them.
fn allows(variant: &Variant, problem: &Problem) -> bool {
    let instances = problem.sequences() * problem.heads;
    if variant.max_instances.is_some_and(|most| instances > most) {
        return false;
    }
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
        assert_eq!(error, Err("manifest version 99, this launcher reads 4".to_owned()));
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
        let few = Variant { max_instances: Some(2), ..variant };
        assert!(allows(&few, &problem(vec![0, 1, 2])) && !allows(&few, &problem(vec![0, 1, 2, 3])));
    }
}
