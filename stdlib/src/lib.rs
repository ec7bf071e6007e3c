//! The known recurrences, as source text: every `.sluice` file of `recurrences/`, embedded.
//!
//! A new file in the folder is a new program; nothing else lists it.

use include_dir::{Dir, include_dir};

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

#[cfg(test)]
mod tests {
    use super::*;

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
