//! Many programs with inputs and expected outputs: what a machine with a GPU and no compiler checks.
//!
//! ```text
//! SUITE/suite.json        a [`Suite`]
//! SUITE/PROGRAM/          a folder as written by `sluice build`, with its manifest
//! SUITE/CASE.npz          arrays `in.NAME` and `out.NAME`
//! ```
//!
//! Initial states are `in.NAME`, final states `out.NAME`. Expected arrays are the definition's, in
//! doubles, of inputs already rounded to the dtypes of their params.

use serde::{Deserialize, Serialize};
use sluice_ir::accuracy::relative_rms;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Arrays, Problem};
use std::collections::BTreeMap;
use std::path::Path;

/// File of the suite in its folder.
pub const SUITE_FILE: &str = "suite.json";
/// Prefix of inputs in a case's archive.
pub const INPUT: &str = "in.";
/// Prefix of expected outputs in a case's archive.
pub const EXPECTED: &str = "out.";

/// All cases of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// The cases, in the order in which they run.
    pub cases: Vec<Case>,
}

/// One problem for one program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Name in the report.
    pub name: String,
    /// Folder of the program, relative to the suite.
    pub program: String,
    /// Archive of the arrays, relative to the suite.
    pub arrays: String,
    /// Heads of the values and states.
    pub heads: usize,
    /// Groups of heads.
    pub groups: usize,
    /// Token offsets of the sequences.
    pub cu_seqlens: Vec<usize>,
    /// Largest relative root mean square of each output and final state.
    pub bounds: BTreeMap<String, f64>,
    /// Entry point or schedule to run; none: every variant that allows the lengths.
    #[serde(default)]
    pub variant: Option<String>,
    /// Whether to measure the time of a launch.
    #[serde(default)]
    pub time: bool,
}

/// What came of a suite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The GPU and its driver.
    pub device: String,
    /// Whether every result passed.
    pub passed: bool,
    /// One for each case and variant.
    pub results: Vec<Outcome>,
}

/// What came of one variant on one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Name of the case.
    pub case: String,
    /// Entry point, if one was found.
    pub variant: Option<String>,
    /// Whether all outputs are within their bounds and a second run gave the same bits.
    pub passed: bool,
    /// Whether a second run gave the same bits.
    pub repeatable: bool,
    /// Each bounded output.
    pub outputs: BTreeMap<String, Comparison>,
    /// Time of a launch, if asked for.
    pub timing: Option<Timing>,
    /// Why it could not run.
    pub error: Option<String>,
}

/// One output against what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Relative root mean square, or nothing where it is infinite (JSON has no infinity).
    pub error: Option<f64>,
    /// Largest allowed.
    pub bound: f64,
    /// Whether the error is within the bound.
    pub passed: bool,
}

/// Times of one variant on one problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// Median time of one launch.
    pub median_us: f64,
    /// Shortest.
    pub min_us: f64,
    /// Longest.
    pub max_us: f64,
    /// Samples; each is the mean of a graph's launches.
    pub samples: usize,
    /// Launches of the whole program in a graph.
    pub launches: usize,
    /// Sets of buffers used in turn, together larger than the cache if memory allows.
    pub sets: usize,
    /// Bytes of all inputs and results, once.
    pub bytes: usize,
}

impl Suite {
    /// Reads a suite's list of cases.
    ///
    /// # Errors
    ///
    /// [`Code::File`] if it cannot be read, [`Code::BadManifest`] if it is not understood.
    pub fn read(folder: &Path) -> Result<Suite, Diagnostic> {
        let path = folder.join(SUITE_FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Diagnostic::new(Code::File, format!("cannot read `{}`: {e}", path.display()))
                .with_help("expected a folder that `sluice verify --export` wrote")
        })?;
        serde_json::from_str(&text).map_err(|e| {
            Diagnostic::new(Code::BadManifest, format!("`{}`: {e}", path.display()))
                .with_help("export the suite again with this version")
        })
    }
}

impl Case {
    /// The problem; its extents are in the program's manifest.
    pub fn problem(&self) -> Problem {
        let extents = BTreeMap::new();
        let cu_seqlens = self.cu_seqlens.clone();
        Problem { extents, heads: self.heads, groups: self.groups, cu_seqlens }
    }

    /// Compares every bounded output; one that is missing on either side does not pass.
    pub fn compare(&self, got: &Arrays, want: &Arrays) -> BTreeMap<String, Comparison> {
        let compare = |(name, bound): (&String, &f64)| {
            let error = match (got.get(name), want.get(name)) {
                (Some(got), Some(want)) => relative_rms(&got.data, &want.data),
                _ => f64::INFINITY,
            };
            let passed = error <= *bound;
            let error = error.is_finite().then_some(error);
            (name.clone(), Comparison { error, bound: *bound, passed })
        };
        self.bounds.iter().map(compare).collect()
    }
}

/// The inputs and the expected outputs of a case's archive.
pub fn split(arrays: Arrays) -> (Arrays, Arrays) {
    let (mut inputs, mut expected) = (Arrays::new(), Arrays::new());
    for (name, array) in arrays {
        if let Some(name) = name.strip_prefix(INPUT) {
            inputs.insert(name.to_owned(), array);
        } else if let Some(name) = name.strip_prefix(EXPECTED) {
            expected.insert(name.to_owned(), array);
        }
    }
    (inputs, expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_ir::problem::Array;

    fn case() -> Case {
        let text = r#"{"name": "c", "program": "p", "arrays": "c.npz", "heads": 4, "groups": 2,
            "cu_seqlens": [0, 3], "bounds": {"o": 1e-3, "S": 1e-3}}"#;
        serde_json::from_str(text).expect("a case")
    }

    fn arrays(entries: &[(&str, f64)]) -> Arrays {
        let one = |x: f64| Array { shape: vec![1], data: vec![x] };
        entries.iter().map(|(name, x)| ((*name).to_owned(), one(*x))).collect()
    }

    #[test]
    fn archives_hold_inputs_and_expected_outputs() {
        let (inputs, expected) = split(arrays(&[("in.S", 1.0), ("out.S", 2.0), ("other", 3.0)]));
        assert_eq!(inputs, arrays(&[("S", 1.0)]));
        assert_eq!(expected, arrays(&[("S", 2.0)]));
    }

    #[test]
    fn only_what_is_there_and_near_passes() {
        let want = arrays(&[("o", 1.0), ("S", 1.0)]);
        let passed = |got: &Arrays| {
            let all = case().compare(got, &want);
            (all["o"].passed, all["S"].passed)
        };
        assert_eq!(passed(&arrays(&[("o", 1.0005), ("S", 1.002)])), (true, false));
        assert_eq!(passed(&arrays(&[("o", f64::NAN)])), (false, false));
    }

    #[test]
    fn unknown_suites_are_reported() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let code = || Suite::read(folder.path()).map_err(|e| e.code);
        assert_eq!(code(), Err(Code::File));
        std::fs::write(folder.path().join(SUITE_FILE), "[]").expect("writable");
        assert_eq!(code(), Err(Code::BadManifest));
        std::fs::write(folder.path().join(SUITE_FILE), r#"{"cases": []}"#).expect("writable");
        assert_eq!(code(), Ok(Suite { cases: vec![] }));
    }
}
