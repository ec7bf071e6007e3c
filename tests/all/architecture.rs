//! Who may use whom, and the conventions of the repository, as tests.

use crate::{cli, errors, files, root, trial};
use libtest_mimic::{Failed, Trial};
use sluice_ir::diagnostic::Code;
use sluice_ir::target::Target;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates below the driver, and which of ours each may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("stdlib", &[]),
    ("dsl", &["ir"]),
    ("passes", &["ir"]),
    ("backends", &["ir"]),
    ("runtime", &["ir"]),
];

/// Folders with Rust sources.
const FOLDERS: &[&str] =
    &["dsl", "ir", "passes", "backends", "stdlib", "runtime", "driver", "tests"];

/// Folders that must not know a model's name.
const NAMELESS: &[&str] = &["dsl", "ir", "passes", "backends", "runtime", "driver"];

/// Names of models; a final `#` stands for an optional digit.
const MODELS: &[&str] = &[
    "gla",
    "delta_rule",
    "deltarule",
    "delta_net",
    "deltanet",
    "mamba#",
    "ssd",
    "rwkv#",
    "kda",
    "hgrn#",
    "retention",
    "retnet",
    "mlstm",
    "gsa",
];

const MOST_LINES: usize = 500;

const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

type Check = fn() -> Vec<String>;

pub(crate) fn trials() -> Vec<Trial> {
    let checks: &[(&str, Check)] = &[
        ("dependencies_point_at_the_hub", dependencies),
        ("files_say_what_they_are_for", headers),
        ("files_are_short", lengths),
        ("names_say_something", empty_names),
        ("compiler_knows_no_model", models),
        ("snapshots_have_their_case", orphans),
        ("every_code_has_a_case", codes),
        ("references_are_listed", references),
    ];
    checks
        .iter()
        .map(|&(name, check)| trial(format!("architecture::{name}"), move || report(check())))
        .collect()
}

fn report(violations: Vec<String>) -> Result<(), Failed> {
    if violations.is_empty() { Ok(()) } else { Err(violations.join("\n").into()) }
}

fn sources(folders: &[&str]) -> Vec<PathBuf> {
    folders.iter().flat_map(|folder| files(&root().join(folder), "rs")).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("sources are UTF-8")
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("files lie in the repository").display().to_string()
}

fn dependencies() -> Vec<String> {
    let mut violations = Vec::new();
    for (user, may_use) in MAY_USE {
        let manifest = read(&root().join(user).join("Cargo.toml"));
        let used = manifest.lines().filter_map(|line| line.strip_prefix("sluice-"));
        for line in used {
            let used = line.split(['.', ' ', '=', '/']).next().expect("splitting gives a part");
            if !may_use.contains(&used) {
                violations.push(format!("{user} must not depend on {used}"));
            }
        }
    }
    violations
}

fn headers() -> Vec<String> {
    let headless = |path: &PathBuf| !read(path).starts_with("//! ");
    let all = sources(FOLDERS).into_iter().filter(headless);
    all.map(|path| format!("{} does not start with `//! `", name(&path))).collect()
}

fn lengths() -> Vec<String> {
    sources(FOLDERS)
        .into_iter()
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("{} has {lines} lines", name(&path)))
        .collect()
}

fn empty_names() -> Vec<String> {
    let empty = |path: &PathBuf| {
        let parts = path.strip_prefix(root()).expect("files lie in the repository").iter();
        let mut stems = parts.map(|part| part.to_string_lossy().replace(".rs", ""));
        stems.any(|stem| EMPTY_NAMES.contains(&stem.as_str()))
    };
    sources(FOLDERS).into_iter().filter(empty).map(|path| name(&path)).collect()
}

fn models() -> Vec<String> {
    let mut paths = sources(NAMELESS);
    paths.extend(files(&root().join("dsl"), "pest"));
    let mut violations = Vec::new();
    for path in paths.iter().filter(|path| !is_test(path)) {
        let text = read(path);
        let code = text.split("#[cfg(test)]").next().expect("splitting gives a part");
        for (number, line) in code.lines().enumerate() {
            if !cites(line) && line.split(|c: char| !c.is_alphanumeric() && c != '_').any(is_model)
            {
                violations.push(format!("{}:{}: {line}", name(path), number + 1));
            }
        }
    }
    violations
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

/// Whether a line is a comment with a reference.
fn cites(line: &str) -> bool {
    let comment = line.trim_start().starts_with("//");
    comment && line.split('[').skip(1).filter_map(|r| r.split([']', ',']).next()).any(is_key)
}

fn is_model(word: &str) -> bool {
    let word = word.to_lowercase();
    MODELS.iter().any(|model| match model.strip_suffix('#') {
        Some(stem) => word.trim_end_matches(|c: char| c.is_ascii_digit()) == stem,
        None => word == *model,
    })
}

fn orphans() -> Vec<String> {
    let folders = ["tests", "stdlib", "examples"].map(|folder| root().join(folder));
    let snapshots = folders.iter().flat_map(|folder| files(folder, "snap"));
    let orphan = |path: &PathBuf| {
        let stem = path.file_stem().expect("a snapshot has a name").to_string_lossy();
        let lies_in = |folder: &str| path.parent().is_some_and(|p| p.ends_with(folder));
        if lies_in("tests/cases/schedules") {
            return Target::find(&stem).is_none();
        }
        let case = if lies_in("tests/cases/stdlib") {
            root().join("stdlib/recurrences").join(format!("{stem}.sluice"))
        } else {
            path.with_extension("sluice")
        };
        !case.exists()
    };
    snapshots.filter(orphan).map(|path| format!("{} has no case", name(&path))).collect()
}

fn codes() -> Vec<String> {
    let cases: Vec<String> = errors::cases().iter().map(|path| name(path)).collect();
    let has_case = |code: &&Code| {
        let prefix = format!("tests/cases/errors/{}_", code.number());
        cases.iter().any(|case| case.to_lowercase().starts_with(&prefix.to_lowercase()))
    };
    Code::ALL
        .iter()
        .filter(|code| !has_case(code) && !cli::CODES.contains(code))
        .map(|code| format!("{code} ({}) has no case", code.title()))
        .collect()
}

/// Keys such as `[Yang 2024, eq. 7]` resolve in one list.
fn references() -> Vec<String> {
    let listed = read(&root().join("docs/references.md"));
    let mut paths = sources(FOLDERS);
    paths.extend(files(&root().join("stdlib"), "sluice"));
    paths.extend(files(&root().join("examples"), "sluice"));
    let mut violations = Vec::new();
    for path in paths {
        for part in read(&path).split('[').skip(1) {
            let key = part.split([']', ',']).next().expect("splitting gives a part");
            if is_key(key) && !listed.contains(&format!("- [{key}]")) {
                violations.push(format!("{} cites [{key}]", name(&path)));
            }
        }
    }
    violations
}

/// A name and a year, perhaps with a letter.
fn is_key(key: &str) -> bool {
    let Some((author, year)) = key.rsplit_once(' ') else { return false };
    let digits = year.trim_end_matches(|c: char| c.is_ascii_lowercase());
    author.starts_with(|c: char| c.is_ascii_uppercase())
        && digits.len() == 4
        && digits.parse::<u16>().is_ok()
}
