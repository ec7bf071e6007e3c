//! Program texts: a file of the user's or a program of the standard library.

use sluice_ir::diagnostic::{Code, Diagnostic};
use std::path::Path;

/// A text and what to call it in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path of the file, or the path it has in this repository for a standard program.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// The text of `FILE` or, if no such file exists, of the standard program `NAME`.
    ///
    /// # Errors
    ///
    /// [`Code::UnknownProgram`] if it is neither, [`Code::File`] if a file cannot be read.
    pub fn find(argument: &str) -> Result<Source, Diagnostic> {
        let path = Path::new(argument);
        // What exists and is no folder can be read: a pipe of the shell too.
        if path.exists() && !path.is_dir() {
            return Source::read(path);
        }
        Source::standard(argument).ok_or_else(|| {
            Diagnostic::new(
                Code::UnknownProgram,
                format!("`{argument}` is no file and no program of the standard library"),
            )
            .with_help("`sluice list` prints the names of the standard library")
        })
    }

    /// The text of a file.
    ///
    /// # Errors
    ///
    /// [`Code::File`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Source, Diagnostic> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Diagnostic::new(Code::File, format!("cannot read `{name}`: {e}"))
                .with_help("a program is a readable text file in UTF-8")
        })?;
        Ok(Source { name, text })
    }

    /// A program of the standard library.
    pub fn standard(name: &str) -> Option<Source> {
        let text = sluice_stdlib::find(name)?;
        Some(Source { name: format!("stdlib/recurrences/{name}.sluice"), text: text.to_owned() })
    }
}
