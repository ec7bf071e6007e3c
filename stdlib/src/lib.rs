//! The known recurrences, as source text: every `.sluice` file of `recurrences/`, embedded.
//!
//! A new file in the folder is a new program; nothing else lists it. `absent.json` lists what the
//! literature has and a program cannot say, with the reason.

use include_dir::{Dir, include_dir};
use serde::Deserialize;

static RECURRENCES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/recurrences");

/// Name and source text of every program, sorted by name. The name is the file's without `.sluice`.
pub fn programs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut all: Vec<_> = RECURRENCES
        .files()
        .filter_map(|file| {
            let name = file.path().file_name()?.to_str()?.strip_suffix(".sluice")?;
            Some((name, file.contents_utf8()?))
        })
        .collect();
    all.sort_unstable();
    all.into_iter()
}

/// Source text of the program of that name.
pub fn find(name: &str) -> Option<&'static str> {
    programs().find(|(n, _)| *n == name).map(|(_, text)| text)
}

/// What such a comment line of a program starts with.
const UNCONFIRMED: &str = "Unconfirmed:";

/// What a program's text says is not confirmed: its comment lines that start with `Unconfirmed:`.
pub fn unconfirmed(text: &str) -> impl Iterator<Item = &str> {
    let comments = text.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("///").or(line.strip_prefix('#'))
    });
    comments.filter_map(|line| Some(line.trim().strip_prefix(UNCONFIRMED)?.trim()))
}

/// A recurrence of the literature without a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// What it is called.
    pub name: String,
    /// Where it is from, as in the programs' comments.
    pub reference: String,
    /// Why there is no program: one clause, lower case, no full stop.
    pub reason: String,
}

/// All of them, in the order of the file.
pub fn absent() -> Vec<Absent> {
    serde_json::from_str(include_str!("../absent.json")).expect("the table is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_what_is_absent_names_no_program() {
        for Absent { name, reference, reason } in absent() {
            assert_eq!(find(&name), None, "{name} has a program");
            assert!(!reference.is_empty() && !reason.is_empty() && !reason.ends_with('.'));
        }
    }

    #[test]
    fn unconfirmed_lines_are_comments() {
        let text = "# S' = S\n# Unconfirmed: the order of both.\n/// Unconfirmed: all\n\
                    recurrence x() {} # Unconfirmed: not at the start";
        assert_eq!(unconfirmed(text).collect::<Vec<_>>(), ["the order of both.", "all"]);
    }

    #[test]
    fn every_file_of_the_folder_is_a_program() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recurrences");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder exists")
            .map(|entry| entry.expect("a readable entry").file_name().into_string())
            .map(|name| name.expect("names are UTF-8"))
            .collect();
        names.sort_unstable();
        let embedded: Vec<String> = programs().map(|(name, _)| format!("{name}.sluice")).collect();
        assert_eq!(embedded, names);
    }

    #[test]
    fn programs_are_found_by_name() {
        let text = find("linear_attention").expect("the program exists");
        assert!(text.contains("recurrence linear_attention("));
        assert_eq!(find("linear"), None);
    }
}
