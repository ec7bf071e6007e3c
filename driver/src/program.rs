//! The recurrences of a text, and the one that is meant.

use sluice_dsl::ast::Ast;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::step::Recurrence;

/// All recurrences of a text, in order, typed and checked.
///
/// # Errors
///
/// Whatever is wrong with the text, several errors at a time.
pub fn recurrences(text: &str) -> Result<Vec<Recurrence>, Vec<Diagnostic>> {
    lower(&sluice_dsl::parse(text)?)
}

/// All recurrences of a tree, which may use programs of the standard library.
///
/// # Errors
///
/// As for [`recurrences`].
pub fn lower(ast: &Ast) -> Result<Vec<Recurrence>, Vec<Diagnostic>> {
    sluice_dsl::lower_with(ast, &|name| sluice_stdlib::find(name).map(str::to_owned))
}

/// The recurrence called `name`, or the only one.
///
/// # Errors
///
/// [`Code::UnknownProgram`] if there is none of that name, or several and no name.
pub fn select(all: Vec<Recurrence>, name: Option<&str>) -> Result<Recurrence, Vec<Diagnostic>> {
    let names: Vec<String> = all.iter().map(|r| r.name.clone()).collect();
    let count = all.len();
    let mut fitting = all.into_iter().filter(|r| name.is_none_or(|name| r.name == name));
    match (fitting.next(), name) {
        (Some(recurrence), Some(_)) => Ok(recurrence),
        (Some(recurrence), None) if count == 1 => Ok(recurrence),
        (_, name) => {
            let message = match name {
                Some(name) => format!("the file holds no recurrence `{name}`"),
                None => format!("the file holds {count} recurrences"),
            };
            Err(vec![
                Diagnostic::new(Code::UnknownProgram, message)
                    .with_help(format!("choose with `--recurrence`: {}", names.join(", "))),
            ])
        }
    }
}
