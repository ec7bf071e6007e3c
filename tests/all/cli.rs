//! The command line: exit status, messages, and that failure leaves nothing behind.

use crate::trial;
use libtest_mimic::{Failed, Trial};
use sluice_ir::artifact::Manifest;
use sluice_ir::diagnostic::Code;
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::{Array, Arrays};
use sluice_runtime::npz;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Codes that no program text raises, each with a check below or, for those that need a device or a
/// manifest, in the runtime.
pub(crate) const CODES: &[Code] = &[
    Code::MissingDimension,
    Code::BadBinding,
    Code::UnknownTarget,
    Code::UnknownProgram,
    Code::TooLarge,
    Code::File,
    Code::MissingArray,
    Code::BadArray,
    Code::NoDevice,
    Code::OldDriver,
    Code::MissingTool,
    Code::ToolFailed,
    Code::BadManifest,
];

/// A recurrence whose numbers are plain to see: a state that decays and takes `x` in.
pub(crate) const PROGRAM: &str = "recurrence leaky_sum(x: [V], g: [] in (-inf, 0]) -> o: [V] {
    state s: [V] = 0
    s' = exp(g) * s + x
    o = s'
}
";

type Check = fn(&Folder);

pub(crate) fn trials() -> Vec<Trial> {
    let checks: &[(&str, Check)] = &[
        ("help_is_no_error", help),
        ("wrong_usage_is_the_users_error", usage),
        ("list_is_json", list),
        ("unknown_program", unknown_program),
        ("check_reports_several_errors", several_errors),
        ("fmt_check_fails_then_fmt_mends", fmt),
        ("new_writes_a_program_of_each_class", new),
        ("build_needs_sizes", missing_dimension),
        ("build_refuses_other_sizes", bad_binding),
        ("build_needs_a_known_target", unknown_target),
        ("build_refuses_what_does_not_fit", too_large),
        ("build_takes_chunks_that_are_verified", chunk_in_use),
        ("explain_says_what_its_words_mean", explain),
        ("build_needs_a_writable_folder", unwritable),
        ("build_writes_the_package", package),
        ("build_without_ptxas_writes_ptx", without_ptxas),
        ("build_reports_a_ptxas_that_fails", failing_ptxas),
        ("run_computes", run_computes),
        ("run_needs_every_array", missing_array),
        ("run_refuses_shapes_that_clash", bad_array),
        ("run_refuses_empty_axes_but_tokens", empty_axes),
        ("run_refuses_values_outside_their_range", outside_range),
        ("run_refuses_nan", nan),
        ("device_is_asked_for_and_absent", no_device),
        ("verify_passes_and_reports", verify),
        ("doctor_never_fails", doctor),
    ];
    checks
        .iter()
        .map(|&(name, check)| {
            trial(format!("cli::{name}"), move || -> Result<(), Failed> {
                check(&Folder::new());
                Ok(())
            })
        })
        .collect()
}

/// A folder of its own for each check, with the program in it.
pub(crate) struct Folder(TempDir);

/// What a command did.
pub(crate) struct Done {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Folder(tempfile::tempdir().expect("a temporary folder can be made"));
        folder.write("leaky_sum.sluice", PROGRAM);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the temporary folder is writable");
    }

    /// Three tokens, one head, `V = 2`, and no decay.
    pub(crate) fn arrays(&self) -> Arrays {
        let x = Array { shape: vec![3, 1, 2], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        Arrays::from([("x".to_owned(), x), ("g".to_owned(), Array::zeros(&[3, 1]))])
    }

    pub(crate) fn input(&self, arrays: &Arrays) {
        self.archive("in.npz", arrays);
    }

    pub(crate) fn archive(&self, name: &str, arrays: &Arrays) {
        npz::write(&self.path(name), arrays, Dtype::F32).expect("the folder is writable");
    }

    pub(crate) fn sluice(&self, arguments: &[&str]) -> Done {
        self.sluice_with(arguments, &[])
    }

    pub(crate) fn sluice_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(self.0.path())
            .output()
            .expect("the command was built");
        let text = |bytes| String::from_utf8(bytes).expect("the command prints UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Done { status: output.status.code(), stdout, stderr }
    }

    fn run(&self) -> Done {
        self.sluice(&["run", "leaky_sum.sluice", "--input", "in.npz", "--output", "out.npz"])
    }
}

impl Done {
    /// The user's error with this code, and nothing on standard output.
    #[track_caller]
    fn refused(&self, code: Code) {
        assert_eq!(self.status, Some(1), "{}", self.stderr);
        assert!(self.stderr.contains(&format!("error[{code}]")), "{}", self.stderr);
        assert!(self.stderr.contains("help:"), "no remedy in {}", self.stderr);
        assert_eq!(self.stdout, "");
    }

    #[track_caller]
    pub(crate) fn done(&self) {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
    }
}

#[track_caller]
fn absent(path: &Path) {
    assert!(!path.exists(), "{} was left behind", path.display());
}

fn help(folder: &Folder) {
    let done = folder.sluice(&["--help"]);
    done.done();
    assert!(done.stdout.contains("Exit status"));
}

fn usage(folder: &Folder) {
    let done = folder.sluice(&["fabricate"]);
    assert_eq!(done.status, Some(1));
    assert!(done.stderr.contains("fabricate"));
}

fn list(folder: &Folder) {
    let done = folder.sluice(&["list", "--json"]);
    done.done();
    let list: serde_json::Value = serde_json::from_str(&done.stdout).expect("the list is JSON");
    let entries = list.as_array().expect("the list is an array");
    let absent = sluice_stdlib::absent().len();
    assert_eq!(entries.len(), sluice_stdlib::programs().count() + absent);
    let programs = entries.iter().filter(|e| e["absent"].is_null());
    for program in programs {
        let stages = program["stages"].as_array().expect("a program has stages");
        let kinds = stages.iter().all(|s| s["class"].as_str().is_some_and(|c| !c.is_empty()));
        let scan = program["modes"]["scan"].as_str().expect("a mode has a status");
        assert!(!stages.is_empty() && kinds, "{program}");
        assert!(["ready", "partly", "absent"].contains(&scan), "{program}");
    }
    folder.sluice(&["list"]).done();
}

fn unknown_program(folder: &Folder) {
    folder.sluice(&["check", "no_such_program"]).refused(Code::UnknownProgram);
    let two = format!("{PROGRAM}\n{}", PROGRAM.replace("leaky_sum", "again"));
    folder.write("two.sluice", &two);
    folder.sluice(&["explain", "two.sluice"]).refused(Code::UnknownProgram);
    folder.sluice(&["check", "two.sluice"]).done();
}

fn several_errors(folder: &Folder) {
    folder.write("bad.sluice", &PROGRAM.replace("+ x", "+ y").replace("o = s'", "o = z"));
    let done = folder.sluice(&["check", "bad.sluice"]);
    done.refused(Code::UnknownName);
    assert_eq!(done.stderr.matches("error[").count(), 2, "{}", done.stderr);
    assert!(done.stderr.contains("bad.sluice:3:"), "no place in {}", done.stderr);
}

fn fmt(folder: &Folder) {
    folder.write("wide.sluice", &PROGRAM.replace("s' =", "s'   ="));
    let check = folder.sluice(&["fmt", "--check", "wide.sluice"]);
    assert_eq!((check.status, check.stdout.as_str()), (Some(2), "wide.sluice\n"));
    folder.sluice(&["fmt", "wide.sluice"]).done();
    folder.sluice(&["fmt", "--check", "wide.sluice"]).done();
}

fn new(folder: &Folder) {
    for class in sluice::template::classes() {
        let (name, file) = (format!("my_{class}"), format!("my_{class}.sluice"));
        folder.sluice(&["new", &name, "--class", class]).done();
        folder.sluice(&["fmt", "--check", &file]).done();
        let done = folder.sluice(&["verify", &file]);
        done.done();
        assert!(done.stdout.contains(&name), "{}", done.stdout);
    }
    let before = std::fs::read_to_string(folder.path("leaky_sum.sluice")).expect("it is there");
    folder.sluice(&["new", "leaky_sum"]).refused(Code::File);
    let after = std::fs::read_to_string(folder.path("leaky_sum.sluice")).expect("it is there");
    assert_eq!(before, after, "an existing file was changed");
    for name in ["state", "2fast", "a b", "a/b", "a(x: [V]) -> y: [V] { y = x } recurrence b", ""] {
        folder.sluice(&["new", name]).refused(Code::Syntax);
    }
    let files = std::fs::read_dir(&folder.0).expect("it is a folder").count();
    assert_eq!(files, 1 + sluice::template::classes().len(), "something was left behind");
}

fn missing_dimension(folder: &Folder) {
    folder.sluice(&["build", "leaky_sum.sluice", "-o", "out"]).refused(Code::MissingDimension);
    absent(&folder.path("out"));
}

fn bad_binding(folder: &Folder) {
    let build = ["build", "leaky_sum.sluice", "-o", "out", "--dims"];
    folder.sluice(&[&build[..], &["V=16,W=4"]].concat()).refused(Code::BadBinding);
    folder.sluice(&[&build[..], &["V=0"]].concat()).refused(Code::BadBinding);
    absent(&folder.path("out"));
}

fn unknown_target(folder: &Folder) {
    let build = ["build", "leaky_sum.sluice", "-o", "out", "--dims", "V=16", "--target", "sm_12"];
    folder.sluice(&build).refused(Code::UnknownTarget);
    absent(&folder.path("out"));
}

fn too_large(folder: &Folder) {
    let build = ["build", "linear_attention", "-o", "out", "--dims", "K=4096,V=4096"];
    folder.sluice(&build).refused(Code::TooLarge);
    let build = ["build", "mom", "-o", "out", "--dims", "K=64,M=64,V=64"];
    folder.sluice(&build).refused(Code::TooLarge);
    let largest = format!("V={}", usize::MAX);
    let build = ["build", "leaky_sum.sluice", "-o", "out", "--dims", &largest];
    folder.sluice(&build).refused(Code::TooLarge);
    absent(&folder.path("out"));
}

fn chunk_in_use(folder: &Folder) {
    let build = ["build", "linear_attention", "-o", "out", "--dims", "K=16,V=16", "--chunk"];
    folder.sluice(&[&build[..], &["48"]].concat()).refused(Code::BadBinding);
    absent(&folder.path("out"));
    folder.sluice(&[&build[..], &["32"]].concat()).done();
    assert!(folder.path("out/linear_attention_scan32.ptx").is_file());
}

fn explain(folder: &Folder) {
    let done = folder.sluice(&["explain", "gated_delta_rule"]);
    done.done();
    let text = &done.stdout;
    assert!(text.contains("`hist m g w a L p b c d S`: a loop"), "no meanings in {text}");
    assert!(text.contains("(hist strict g=t") && !text.contains("(zero"), "no roles in {text}");
    // What the output and the state have in common is told once.
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.windows(3).filter(|step| step[2].starts_with("        = "));
    let steps: Vec<_> = shown.map(|s| (s[0].split(". ").nth(1), s[1], s[2])).collect();
    let distinct: BTreeSet<_> = steps.iter().collect();
    assert!(steps.len() > 5 && steps.len() == distinct.len(), "{text}");
    assert!(text.contains("of the steps above"), "{text}");
    // Scores that no kernel of their own prepares are cut by a law that whole ones do without.
    let done = folder.sluice(&["explain", "gsa"]);
    done.done();
    assert!(done.stdout.contains("score-subblock"), "{}", done.stdout);
}

fn unwritable(folder: &Folder) {
    // A file where the folder should be cannot be written into, even by root.
    folder.write("out", "");
    let build = ["build", "leaky_sum.sluice", "-o", "out/deeper", "--dims", "V=16"];
    folder.sluice(&build).refused(Code::File);
    folder.input(&folder.arrays());
    let run = ["run", "leaky_sum.sluice", "--input", "in.npz", "--output", "out/y.npz"];
    folder.sluice(&run).refused(Code::File);
}

fn package(folder: &Folder) {
    let build = ["build", "linear_attention", "-o", "out", "--dims", "K=32,V=32"];
    folder.sluice(&build).done();
    for name in ["manifest.json", "linear_attention.o", "linear_attention.h"] {
        assert!(folder.path("out").join(name).is_file(), "{name} was not written");
    }
    let text = std::fs::read_to_string(folder.path("out/manifest.json")).expect("it was written");
    let manifest: Manifest = serde_json::from_str(&text).expect("it follows its own schema");
    assert_eq!(manifest.program, "linear_attention");
    let variants: Vec<_> = manifest.stages.iter().flat_map(|stage| &stage.variants).collect();
    assert!(!variants.is_empty());
    for file in variants.iter().flat_map(|v| v.ptx.iter().chain(&v.cubin)) {
        assert!(folder.path("out").join(file).is_file(), "{file} was not written");
    }
}

fn without_ptxas(folder: &Folder) {
    let build = ["build", "linear_attention", "-o", "out", "--dims", "K=32,V=32"];
    let done = folder.sluice_with(&build, &[("SLUICE_PTXAS", "")]);
    done.done();
    assert!(done.stdout.contains("no cubin"), "{}", done.stdout);
    absent(&folder.path("out/linear_attention.cubin"));
    let named = [("SLUICE_PTXAS", "/nonexistent/ptxas")];
    let build = ["build", "linear_attention", "-o", "other", "--dims", "K=32,V=32"];
    folder.sluice_with(&build, &named).refused(Code::MissingTool);
    absent(&folder.path("other"));
}

fn failing_ptxas(folder: &Folder) {
    let build = ["build", "linear_attention", "-o", "out", "--dims", "K=32,V=32"];
    let failing = [("SLUICE_PTXAS", "/bin/false")];
    folder.sluice_with(&build, &failing).refused(Code::ToolFailed);
    absent(&folder.path("out"));
}

fn run_computes(folder: &Folder) {
    folder.input(&folder.arrays());
    folder.run().done();
    let out = npz::read(&folder.path("out.npz")).expect("the output was written");
    // Without decay the state is the running sum.
    assert_eq!(out["o"].shape, [3, 1, 2]);
    assert_eq!(out["o"].data, [1.0, 2.0, 4.0, 6.0, 9.0, 12.0]);
    assert_eq!((&out["s"].shape[..], &out["s"].data[..]), (&[1, 1, 2][..], &[9.0, 12.0][..]));
}

fn missing_array(folder: &Folder) {
    let mut arrays = folder.arrays();
    arrays.remove("g");
    folder.input(&arrays);
    folder.run().refused(Code::MissingArray);
    absent(&folder.path("out.npz"));
}

fn bad_array(folder: &Folder) {
    let mut arrays = folder.arrays();
    arrays.insert("g".to_owned(), Array::zeros(&[4, 1]));
    folder.input(&arrays);
    folder.run().refused(Code::BadArray);
    absent(&folder.path("out.npz"));
}

fn empty_axes(folder: &Folder) {
    for shape in [[3, 0, 2], [3, 1, 0]] {
        let arrays = [("x", Array::zeros(&shape)), ("g", Array::zeros(&shape[..2]))];
        folder.input(&arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect());
        let code = if shape[1] == 0 { Code::BadArray } else { Code::BadBinding };
        folder.run().refused(code);
        absent(&folder.path("out.npz"));
    }
}

fn nan(folder: &Folder) {
    let mut arrays = folder.arrays();
    arrays.insert("g".to_owned(), Array { shape: vec![3, 1], data: vec![0.0, f64::NAN, 0.0] });
    folder.input(&arrays);
    let done = folder.run();
    done.refused(Code::BadArray);
    assert!(done.stderr.contains("NaN at [1, 0]"), "no place in {}", done.stderr);
}

fn outside_range(folder: &Folder) {
    let mut arrays = folder.arrays();
    arrays.insert("g".to_owned(), Array { shape: vec![3, 1], data: vec![0.0, 0.5, 0.0] });
    folder.input(&arrays);
    let done = folder.run();
    done.refused(Code::BadArray);
    assert!(done.stderr.contains("[1, 0]"), "no place in {}", done.stderr);
    absent(&folder.path("out.npz"));
}

fn no_device(folder: &Folder) {
    folder.input(&folder.arrays());
    let run = ["run", "leaky_sum.sluice", "--input", "in.npz", "--output", "out.npz", "--device"];
    // Hides every GPU, should this machine have one.
    let hidden = [("CUDA_VISIBLE_DEVICES", "")];
    folder.sluice_with(&run, &hidden).refused(Code::NoDevice);
    absent(&folder.path("out.npz"));
    let bench = ["bench", "leaky_sum.sluice", "--dims", "V=16", "--shape", "1x8x1"];
    folder.sluice_with(&bench, &hidden).refused(Code::NoDevice);
    let all = folder.sluice_with(&["verify", "--all", "--device"], &hidden);
    all.refused(Code::NoDevice);
    assert_eq!(all.stderr.matches("error[").count(), 1, "{}", all.stderr);
}

fn verify(folder: &Folder) {
    let done = folder.sluice(&["verify", "leaky_sum.sluice", "--json"]);
    done.done();
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("it is JSON");
    let program = &report[0];
    assert_eq!(
        (program["program"].as_str(), program["passed"].as_bool()),
        (Some("leaky_sum"), Some(true))
    );
    assert!(program["cases"].as_array().expect("cases are listed").len() >= 8);
    assert_eq!(done.stderr, "", "progress is for terminals only");
}

fn doctor(folder: &Folder) {
    let bare = [("SLUICE_PTXAS", ""), ("CUDA_VISIBLE_DEVICES", "")];
    let done = folder.sluice_with(&["doctor"], &bare);
    done.done();
    assert!(done.stdout.contains("ptxas      not found"), "{}", done.stdout);
}
