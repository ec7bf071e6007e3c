//! Random programs, every form of each beside its definition.
//!
//! Programs are grown from numbers, so that a failing one can be made again. It is shrunk and kept in
//! `tests/cases/generated`, where it stays a case like others; its first line says on what it failed.

mod dice;
mod grow;
mod judge;
mod others;
mod setting;
mod shrink;
mod values;

use crate::{files, root, trial};
use grow::{Grown, grow};
use judge::{Fault, Verdict, judge};
use libtest_mimic::{Failed, Trial};
use setting::Setting;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How many programs every run tries, and how many of them are one test.
const PROGRAMS: usize = 2_000;
const BATCH: usize = 100;

/// How many programs the tests try that run only when asked for.
const MORE_PROGRAMS: usize = 100_000;
const LARGE_BATCH: usize = 1_000;

pub(crate) fn trials() -> Vec<Trial> {
    let batch = |size: usize| {
        move |start: usize| {
            let seeds = start..start + size;
            trial(format!("generated::from_{start}"), move || check(seeds))
        }
    };
    let more = (PROGRAMS..PROGRAMS + MORE_PROGRAMS).step_by(LARGE_BATCH).map(batch(LARGE_BATCH));
    let kept = kept().into_iter().map(|path| {
        let stem = path.file_stem().expect("a case has a name").to_string_lossy().into_owned();
        trial(format!("generated::{stem}"), move || check_kept(&path))
    });
    (0..PROGRAMS)
        .step_by(BATCH)
        .map(batch(BATCH))
        .chain(more.map(|trial| trial.with_ignored_flag(true)))
        .chain(kept)
        .collect()
}

/// Where failing programs are kept.
fn folder() -> PathBuf {
    root().join("tests/cases/generated")
}

fn kept() -> Vec<PathBuf> {
    if folder().exists() { files(&folder(), "sluice") } else { vec![] }
}

/// Tries the programs with these numbers and keeps those that fail.
fn check(seeds: Range<usize>) -> Result<(), Failed> {
    let mut failures = Vec::new();
    for seed in seeds {
        let grown = grow(seed);
        if let Verdict::Wrong(fault) = judge(&grown) {
            let (small, fault) = shrink::shrink(grown, fault);
            failures.push(keep(seed, &small, &fault)?);
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Writes a failing program where it becomes a case; returns what is wrong with it.
fn keep(seed: usize, small: &Grown, fault: &Fault) -> Result<String, Failed> {
    let path = folder().join(format!("seed_{seed}.sluice"));
    fs::create_dir_all(folder())?;
    fs::write(&path, format!("{}\n\n{}", small.setting, small.text))?;
    let name = path.strip_prefix(root()).expect("the folder lies in the repository").display();
    Ok(format!("{name} fails: {}: {}", fault.kind, fault.detail))
}

/// Tries a program that failed once on what it failed on.
fn check_kept(path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let setting = Setting::of(&text).ok_or("the first line does not say what it was tried with")?;
    match judge(&Grown { text, setting, chunks: false }) {
        Verdict::Wrong(fault) => Err(format!("{}: {}", fault.kind, fault.detail).into()),
        Verdict::Refused(code) => Err(format!("refused with {code}").into()),
        Verdict::Sound(_) => Ok(()),
    }
}
