//! The commands on programs that take several passes over their tokens.

use crate::cli::Folder;
use crate::{root, trial};
use libtest_mimic::Trial;
use sluice_ir::artifact::Manifest;
use sluice_ir::staged::{From, StateLink};
use sluice_runtime::npz;

/// A recurrence that needs its last state: two passes over the tokens.
const CENTRED: &str = "recurrence centred(x: [V]) -> o: [V] {
    state s: [V] = 0
    state n: [] = 0
    s' = s + x
    n' = n + 1
    o = x - last(s) / last(n)
}
";

/// A grid, and a dimension that follows from another.
const GRID: &str = "dim W
dim F = V + V

recurrence doubled(x: [V], g: [] in (-inf, 0]) -> o: [F] {
    state a: [F] columns(W) = 0
    a' = exp(g) * a + concat(x, x, F)
    o = a'
}
";

type Check = fn(&Folder);

pub(crate) fn trials() -> Vec<Trial> {
    let checks: &[(&str, Check)] = &[
        ("run_goes_through_them", run_stages),
        ("build_says_what_passes_between_them", package_stages),
        ("explain_tells_each", explain_stages),
        ("verify_chooses_sizes_that_fit", verify_sizes),
    ];
    let trials = checks.iter().map(|&(name, check)| {
        trial(format!("stages::{name}"), move || {
            check(&Folder::new());
            Ok(())
        })
    });
    trials.collect()
}

fn run_stages(folder: &Folder) {
    folder.write("centred.sluice", CENTRED);
    let mut arrays = folder.arrays();
    arrays.remove("g");
    folder.input(&arrays);
    let run = ["run", "centred.sluice", "--input", "in.npz", "--output", "out.npz", "--check"];
    folder.sluice(&run).done();
    let out = npz::read(&folder.path("out.npz")).expect("the output was written");
    // The means are 3 and 4.
    assert_eq!(out["o"].data, [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0]);
    assert_eq!((&out["s"].data[..], &out["n"].data[..]), (&[9.0, 12.0][..], &[3.0][..]));
}

fn package_stages(folder: &Folder) {
    folder.write("centred.sluice", CENTRED);
    folder.sluice(&["build", "centred.sluice", "-o", "out", "--dims", "V=16"]).done();
    let text = std::fs::read_to_string(folder.path("out/manifest.json")).expect("it was written");
    let manifest: Manifest = serde_json::from_str(&text).expect("it follows its own schema");
    assert_eq!(manifest.stages.len(), 2, "{text}");
    let [first, second] = &manifest.stages[..] else { return };
    let kept: Vec<&str> = first.states.iter().filter_map(|s| s.link.to.as_deref()).collect();
    assert_eq!(kept, ["s", "n"]);
    let mut read = second.states.iter().map(|state| &state.link);
    let last = |link: &StateLink| matches!(&link.from, From::Last(name) if kept.contains(&&**name));
    assert!(read.any(last), "{text}");
    for stage in &manifest.stages {
        for extension in ["h", "o"] {
            assert!(folder.path(&format!("out/{}.{extension}", stage.name)).is_file());
        }
    }
    assert!(folder.path("out/centred.h").is_file());
}

fn explain_stages(folder: &Folder) {
    folder.write("centred.sluice", CENTRED);
    let done = folder.sluice(&["explain", "centred.sluice", "--format", "md"]);
    done.done();
    for line in ["# centred for sm_90a", "## stage centred_1", "## stage centred_2", "```text"] {
        assert!(done.stdout.lines().any(|l| l.starts_with(line)), "no {line} in {}", done.stdout);
    }
    let done = folder.sluice(&["explain", "hgrn"]);
    done.done();
    assert!(done.stdout.contains("an associative operation"), "no laws in {}", done.stdout);
    let loops = root().join("tests/cases/elman.sluice");
    let done = folder.sluice(&["explain", loops.to_str().expect("a path is UTF-8")]);
    done.done();
    assert!(done.stdout.contains("because "), "no reason in {}", done.stdout);
}

fn verify_sizes(folder: &Folder) {
    folder.write("doubled.sluice", GRID);
    let done = folder.sluice(&["verify", "doubled.sluice", "--json"]);
    done.done();
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("it is JSON");
    let cases = report[0]["cases"].as_array().expect("cases are listed");
    for case in cases {
        let size = |name: &str| case["extents"][name].as_u64().expect("a size");
        assert_eq!(size("F"), 2 * size("V"));
        let lengths = case["lengths"].as_array().expect("lengths are listed");
        assert!(lengths.iter().all(|n| n.as_u64().is_some_and(|n| n % size("W") == 0)), "{case}");
    }
    assert!(cases.iter().any(|case| case["gates"] == "ends"), "gates at their ends");
}
