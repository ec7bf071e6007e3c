//! Runs a suite on a device.

use crate::suite::{Case, Outcome, Report, Suite, split};
use crate::{Device, Program, npz};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::problem::Arrays;
use std::collections::BTreeMap;
use std::path::Path;

/// Replays of a graph when timing.
const SAMPLES: usize = 15;

impl Suite {
    /// Runs every case on a device; `seen` hears of each outcome as it comes. What cannot run is an
    /// outcome too: the other cases go on.
    pub fn run(&self, device: &Device, folder: &Path, mut seen: impl FnMut(&Outcome)) -> Report {
        let mut programs: BTreeMap<&str, Program> = BTreeMap::new();
        let mut results = Vec::new();
        for case in &self.cases {
            let outcomes = run_case(device, folder, case, &mut programs)
                .unwrap_or_else(|error| vec![failure(case, None, &error)]);
            outcomes.iter().for_each(&mut seen);
            results.extend(outcomes);
        }
        let passed = results.iter().all(|r| r.passed);
        Report { device: device.describe(), passed, results }
    }
}

/// One outcome for each variant; an error concerns the whole case.
fn run_case<'s>(
    device: &Device,
    folder: &Path,
    case: &'s Case,
    programs: &mut BTreeMap<&'s str, Program>,
) -> Result<Vec<Outcome>, Diagnostic> {
    if !programs.contains_key(case.program.as_str()) {
        programs.insert(&case.program, Program::load(device, &folder.join(&case.program))?);
    }
    let program = &programs[case.program.as_str()];
    let (inputs, expected) = split(npz::read(&folder.join(&case.arrays))?);
    let problem = case.problem();
    let variants = match &case.variant {
        Some(name) => vec![name.as_str()],
        None => program.variants_for(&problem),
    };
    if variants.is_empty() {
        program.choose(&problem, None)?;
    }
    let run = |variant: &&str| {
        run_variant(program, case, variant, [&inputs, &expected])
            .unwrap_or_else(|error| failure(case, Some(variant), &error))
    };
    Ok(variants.iter().map(run).collect())
}

fn run_variant(
    program: &Program,
    case: &Case,
    variant: &str,
    [inputs, expected]: [&Arrays; 2],
) -> Result<Outcome, Diagnostic> {
    let problem = case.problem();
    let (got, repeatable) = program.run_twice(&problem, inputs, Some(variant))?;
    let outputs = case.compare(&got, expected);
    let passed = repeatable && outputs.values().all(|c| c.passed);
    let timing = match case.time {
        true => Some(program.time(&problem, inputs, Some(variant), SAMPLES)?),
        false => None,
    };
    let (case, variant) = (case.name.clone(), Some(variant.to_owned()));
    Ok(Outcome { case, variant, passed, repeatable, outputs, timing, error: None })
}

fn failure(case: &Case, variant: Option<&str>, error: &Diagnostic) -> Outcome {
    Outcome {
        case: case.name.clone(),
        variant: variant.map(str::to_owned),
        passed: false,
        repeatable: false,
        outputs: BTreeMap::new(),
        timing: None,
        error: Some(error.to_string()),
    }
}
