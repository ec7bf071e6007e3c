//! Every program of the standard library is accepted and in its standard layout.

use sluice_dsl::{format, lower_with, parse};
use sluice_ir::step::{Recurrence, check};
use std::fs;
use std::path::Path;

/// Name and text of every program; the folder is read, since this crate uses only the forms.
fn programs() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../stdlib/recurrences");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    paths.sort_unstable();
    assert!(paths.len() >= 12, "the folder holds the programs");
    let read = |path: &Path| fs::read_to_string(path).expect("a readable file");
    let stem = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (stem(path), read(path))).collect()
}

fn lowered(text: &str) -> Vec<Recurrence> {
    let library =
        |name: &str| programs().into_iter().find(|(n, _)| n == name).map(|(_, text)| text);
    parse(text).and_then(|ast| lower_with(&ast, &library)).expect("the program has no errors")
}

#[test]
fn every_program_lowers_to_a_legal_step() {
    for (name, text) in programs() {
        let programs = lowered(&text);
        assert_eq!(programs.len(), 1, "{name} holds one program");
        assert_eq!(programs[0].name, name);
        assert!(!programs[0].doc.is_empty(), "{name} is documented");
        assert_eq!(check(&programs[0]), Ok(()), "{name}");
    }
}

#[test]
fn every_program_is_in_the_standard_layout() {
    for (name, text) in programs() {
        let formatted = format(&text).expect("the program has no errors");
        assert_eq!(formatted, text, "{name}");
    }
}
