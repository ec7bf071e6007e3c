//! New programs: a commented text for each class of recurrence, embedded from `driver/templates/`.

use crate::program::recurrences;
use include_dir::{Dir, include_dir};
use sluice_ir::diagnostic::{Code, Diagnostic};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/driver/templates");

/// What the templates call their program.
const PLACEHOLDER: &str = "untitled";

/// The classes that there is a template for, sorted.
pub fn classes() -> Vec<&'static str> {
    let stems = TEMPLATES.files().filter_map(|file| file.path().file_stem()?.to_str());
    let mut classes: Vec<_> = stems.collect();
    classes.sort_unstable();
    classes
}

/// A program of the class under the given name; none if there is no such class.
///
/// # Errors
///
/// [`Code::Syntax`] if the language has no program of that name.
pub fn program(class: &str, name: &str) -> Option<Result<String, Diagnostic>> {
    let template = TEMPLATES.get_file(format!("{class}.sluice"))?.contents_utf8()?;
    let text = template.replace(PLACEHOLDER, name);
    // The language itself says what a name is: the text declares one program, and that by this name.
    let named = recurrences(&text).is_ok_and(|all| all.iter().all(|program| program.name == name));
    Some(if named {
        Ok(text)
    } else {
        Err(Diagnostic::new(Code::Syntax, format!("a program cannot be called `{name}`")).with_help(
            "a name has letters, digits and `_`, does not begin with a digit, and is no word of the language",
        ))
    })
}
