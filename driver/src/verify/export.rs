//! The suite that a machine with a GPU and no compiler checks with `sluice-run`.

use super::{Options, SHAPES, Sample, sample};
use crate::extents::Extents;
use crate::files::{self, Files};
use crate::kernels::{CHUNKS, plan};
use crate::package::package;
use crate::{Scheduled, tool};
use sluice_ir::accuracy::{Kind, tolerance};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::Build;
use sluice_runtime::npz;
use sluice_runtime::suite::{Case, EXPECTED, INPUT, SUITE_FILE, Suite};
use std::collections::BTreeMap;
use std::path::Path;

/// Builds every recurrence for every shape and writes programs, inputs and expected results.
///
/// # Errors
///
/// Those of the stages, and [`Code::File`]; then there is no [`SUITE_FILE`].
pub fn export(
    recurrences: &[Recurrence],
    options: Options,
    folder: &Path,
) -> Result<(), Vec<Diagnostic>> {
    make(folder).map_err(|e| vec![e])?;
    let mut suite = Suite { cases: Vec::new() };
    for recurrence in recurrences {
        let mut built: BTreeMap<Extents, (String, usize)> = BTreeMap::new();
        for (seed, shape) in SHAPES.iter().enumerate() {
            let problem = shape.problem(recurrence);
            let (program, scans) = match built.get(&problem.extents) {
                Some(program) => program.clone(),
                None => {
                    let program = format!("{}_{}", recurrence.name, built.len());
                    let folder = folder.join(&program);
                    let scans = build(recurrence, &problem.extents, options, &folder)?;
                    built.insert(problem.extents.clone(), (program.clone(), scans));
                    (program, scans)
                }
            };
            let sample = sample(recurrence, &problem, options.dtype, shape, seed);
            let name = format!("{}_{}", recurrence.name, shape.name.replace(' ', "_"));
            let (extents, compute) = (&problem.extents, Dtype::F32);
            let operand =
                Build { extents, dtype: options.dtype, compute, target: options.target }.operand();
            let bound = |kind| tolerance(operand, problem.longest(), kind, scans);
            let case = case(recurrence, name, program, &problem, bound);
            archive(&sample, &folder.join(&case.arrays)).map_err(|e| vec![e])?;
            suite.cases.push(case);
        }
    }
    let text = serde_json::to_string_pretty(&suite).expect("a suite is plain data") + "\n";
    let files = Files::from([(SUITE_FILE.to_owned(), text.into_bytes())]);
    files::write(folder, &files).map_err(|e| vec![e])
}

/// Makes the folder, which must hold no other suite.
fn make(folder: &Path) -> Result<(), Diagnostic> {
    if folder.join(SUITE_FILE).exists() {
        let message = format!("`{}` holds a suite already", folder.display());
        return Err(Diagnostic::new(Code::File, message).with_help("name a new folder"));
    }
    std::fs::create_dir_all(folder).map_err(|e| {
        Diagnostic::new(Code::File, format!("cannot write to `{}`: {e}", folder.display()))
            .with_help("name a folder that can be made and written")
    })
}

/// Writes a program and returns how many scans it runs.
fn build(
    recurrence: &Recurrence,
    extents: &Extents,
    options: Options,
    folder: &Path,
) -> Result<usize, Vec<Diagnostic>> {
    let build =
        Build { extents, dtype: options.dtype, compute: Dtype::F32, target: options.target };
    let scheduled = Scheduled {
        recurrence: recurrence.clone(),
        extents: extents.clone(),
        plan: plan(recurrence, &build, CHUNKS, &mut |_, _| {})?,
    };
    let write = || {
        let ptxas = tool::ptxas()?;
        let package =
            package(&scheduled, options.dtype, options.target, ptxas.as_deref(), &mut |_, _| {})?;
        files::write(folder, &package.files)
    };
    write().map_err(|e| vec![e])?;
    Ok(scheduled.plan.scans())
}

fn case(
    recurrence: &Recurrence,
    name: String,
    program: String,
    problem: &Problem,
    bound: impl Fn(Kind) -> f64,
) -> Case {
    let outputs = recurrence.outputs.iter().map(|o| (o.name.clone(), Kind::Output));
    let states = recurrence.states.iter().map(|s| (s.name.clone(), Kind::State));
    Case {
        arrays: format!("{name}.npz"),
        name,
        program,
        heads: problem.heads,
        groups: problem.groups,
        cu_seqlens: problem.cu_seqlens.clone(),
        bounds: outputs.chain(states).map(|(name, kind)| (name, bound(kind))).collect(),
        variant: None,
        time: false,
    }
}

/// Inputs and what the definition makes of them, in doubles.
fn archive(sample: &Sample, path: &Path) -> Result<(), Diagnostic> {
    let named = |prefix: &str, arrays: &Arrays| -> Arrays {
        arrays.iter().map(|(name, array)| (format!("{prefix}{name}"), array.clone())).collect()
    };
    let mut all = named(INPUT, &sample.inputs);
    all.extend(named(EXPECTED, &sample.want));
    npz::write(path, &all, Dtype::F64)
}
