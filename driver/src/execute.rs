//! Runs programs: code of this machine in this process, or kernels on a GPU.

use crate::kernels::step_loop;
#[cfg(feature = "cuda")]
use sluice_ir::artifact::{SEGMENTS, StageInfo, Variant};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::Checked;
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::staged::{Stage, Staged};
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::schedule::Build;
use sluice_passes::stages;
#[cfg(feature = "cuda")]
use sluice_runtime::Program;
use std::rc::Rc;

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    /// Code for this processor, with arithmetic and arrays of this type.
    Scalar(Dtype),
    /// The first GPU, with vectors of this type.
    Device(Dtype, &'static Target),
}

impl Engine {
    /// The element type whose tolerance applies to the results.
    pub fn dtype(self) -> Dtype {
        match self {
            Engine::Scalar(dtype) | Engine::Device(dtype, _) => dtype,
        }
    }
}

impl Engine {
    /// The inputs as the engine receives them: rounded to the element types of its parameters. What
    /// is checked against the definition is the code, not the choice of a type.
    pub fn received(self, recurrence: &Recurrence, inputs: &Arrays) -> Arrays {
        let element = |name: &str| match self {
            Engine::Scalar(dtype) => dtype,
            Engine::Device(dtype, _) => {
                let input = recurrence.inputs.iter().find(|i| i.name == name);
                input.map_or(Dtype::F32, |i| recurrence.input_dtype(i, dtype))
            }
        };
        let mut received = inputs.clone();
        for (name, array) in &mut received {
            let dtype = element(name);
            array.data.iter_mut().for_each(|x| *x = dtype.round(*x));
        }
        received
    }
}

/// Computes outputs and final states.
pub type Run = Box<dyn Fn(&Problem, &Arrays) -> Result<Arrays, Diagnostic>>;

/// A program on a GPU.
pub struct OnDevice {
    /// With the launcher's choice of kernels by length.
    pub chosen: Run,
    /// With one kernel more each, under its name: together all of them.
    pub each: Vec<(String, Run)>,
    /// See [`Plan::scans`](crate::kernels::Plan::scans).
    pub scans: usize,
}

/// Outputs and final states of a problem, by code compiled for its sizes, and how many scans ran one
/// after another.
///
/// # Errors
///
/// Those of the stages that make the code, and of the device.
pub fn execute(
    recurrence: &Recurrence,
    problem: &Problem,
    arrays: &Arrays,
    engine: Engine,
) -> Result<(Arrays, usize), Vec<Diagnostic>> {
    let (run, scans) = match engine {
        Engine::Scalar(dtype) => {
            let target = TARGETS.last().expect("the table has targets");
            let build = Build { extents: &problem.extents, dtype, compute: dtype, target };
            let staged = stages(recurrence, build.extents)?;
            (scalar(&Rc::new(staged), &build, dtype).map_err(|e| vec![e])?, 1)
        }
        Engine::Device(dtype, target) => {
            let extents = &problem.extents;
            let build = Build { extents, dtype, compute: Dtype::F32, target };
            let OnDevice { chosen, scans, .. } = on_device(recurrence, &build)?;
            (chosen, scans)
        }
    };
    Ok((run(problem, arrays).map_err(|e| vec![e])?, scans))
}

/// A program from a way to run each of its stages, in their order.
pub fn joined(staged: &Rc<Staged>, stages: Vec<Run>) -> Run {
    let staged = Rc::clone(staged);
    Box::new(move |p, a| staged.run(p, a, &mut |stage, p, a| stages[stage](p, a)))
}

/// A program as code of this machine, one loop over the tokens a stage, with arithmetic and arrays in
/// `dtype`.
///
/// # Errors
///
/// Those of [`step_loop`] and [`native`].
pub fn scalar(staged: &Rc<Staged>, build: &Build<'_>, dtype: Dtype) -> Result<Run, Diagnostic> {
    let native = |stage: &Stage| native(&step_loop(&stage.recurrence, build, dtype)?, dtype);
    Ok(joined(staged, staged.stages.iter().map(native).collect::<Result<_, _>>()?))
}

/// A kernel as code of this machine, with arithmetic in `dtype`.
///
/// # Errors
///
/// [`Code::Unsupported`] if this build has no backend for CPUs; those of the backend.
#[cfg(feature = "scalar")]
pub fn native(kernel: &Checked, dtype: Dtype) -> Result<Run, Diagnostic> {
    use sluice_backends::scalar::{Options, Precision, jit};
    let precision = if dtype == Dtype::F64 { Precision::F64 } else { Precision::F32 };
    let code = jit(kernel, Options::exact(precision))?;
    Ok(Box::new(move |problem, arrays| code.run(problem, arrays)))
}

/// A kernel as code of this machine, which this build cannot make.
///
/// # Errors
///
/// Always [`Code::Unsupported`].
#[cfg(not(feature = "scalar"))]
pub fn native(_: &Checked, _: Dtype) -> Result<Run, Diagnostic> {
    Err(Diagnostic::new(Code::Unsupported, "this build of the compiler makes no code for CPUs")
        .with_help("build it with the feature `scalar`"))
}

/// The kernels of a recurrence, loaded onto the first GPU, and how many scans run one after another.
///
/// # Errors
///
/// [`Code::NoDevice`] and its kin, and those of the stages that make the kernels.
#[cfg(feature = "cuda")]
pub fn load(
    recurrence: &Recurrence,
    build: &Build<'_>,
) -> Result<(Program, usize), Vec<Diagnostic>> {
    use crate::kernels::{CHUNKS, plan};
    use crate::package::package;
    use crate::{Scheduled, files, tool};
    use sluice_runtime::Device;
    let device = Device::open().map_err(|e| vec![e])?;
    let scheduled = Scheduled {
        recurrence: recurrence.clone(),
        extents: build.extents.clone(),
        plan: plan(recurrence, build, CHUNKS, &mut |_, _| {})?,
    };
    let load = || {
        let ptxas = tool::ptxas()?;
        let package =
            package(&scheduled, build.dtype, build.target, ptxas.as_deref(), &mut |_, _| {})?;
        let folder = tempfile::tempdir().map_err(|e| {
            Diagnostic::new(Code::File, format!("cannot make a temporary folder: {e}"))
                .with_help("the folder for temporary files must be writable")
        })?;
        files::write(folder.path(), &package.files)?;
        Program::load(&device, folder.path())
    };
    Ok((load().map_err(|e| vec![e])?, scheduled.plan.scans()))
}

/// The kernels of a recurrence on a GPU: a launcher's choice among them by length, and each one.
///
/// # Errors
///
/// Those of [`load`].
#[cfg(feature = "cuda")]
pub fn on_device(recurrence: &Recurrence, build: &Build<'_>) -> Result<OnDevice, Vec<Diagnostic>> {
    let (program, scans) = load(recurrence, build)?;
    let program = Rc::new(program);
    let run = |variant: Option<String>| -> Run {
        let program = Rc::clone(&program);
        Box::new(move |problem, arrays| program.run(problem, arrays, variant.as_deref()))
    };
    let stages = &program.manifest().stages;
    let label = |stage: &StageInfo, variant: &Variant| {
        let of_stage = variant.entry.strip_prefix(&stage.name);
        let kind = of_stage.map_or(&*variant.entry, |kind| kind.trim_start_matches('_'));
        if stages.len() == 1 { kind.to_owned() } else { format!("{} {kind}", stage.name) }
    };
    let variants = stages.iter().flat_map(|s| s.variants.iter().map(move |v| (label(s, v), v)));
    let segments = stages.iter().any(|stage| stage.segments.is_some());
    let named = |name: &str| run(Some(name.to_owned()));
    let each = variants.map(|(label, v)| (label, named(&v.entry)));
    let each = each.chain(segments.then(|| (SEGMENTS.to_owned(), named(SEGMENTS)))).collect();
    Ok(OnDevice { chosen: run(None), each, scans })
}

/// The kernels of a recurrence on a GPU, which this build cannot use.
///
/// # Errors
///
/// Always [`Code::NoDevice`].
#[cfg(not(feature = "cuda"))]
pub fn on_device(_: &Recurrence, _: &Build<'_>) -> Result<OnDevice, Vec<Diagnostic>> {
    Err(vec![
        Diagnostic::new(Code::NoDevice, "this build of the compiler does not use GPUs")
            .with_help("build it with the feature `cuda`"),
    ])
}
