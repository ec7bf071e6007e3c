//! The files that a text uses, and those that these use.
//!
//! Their places mean nothing to the user, so what is wrong with them is reported at the `use`.

use super::files::File;
use crate::ast::{Ast, Item};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};

/// Gives the text of a file by its name.
pub type Library<'l> = dyn Fn(&str) -> Option<String> + 'l;

/// Every file that is used, directly or not, after those that it uses itself.
pub(super) struct Loaded(Vec<(String, Ast)>);

impl Loaded {
    /// Reads the files that a text uses, or says which cannot be used.
    pub(super) fn read(ast: &Ast, library: &Library) -> Result<Self, Vec<Diagnostic>> {
        let mut loaded = Loaded(Vec::new());
        let mut errors = Vec::new();
        for (name, span) in uses(ast) {
            let added = loaded.add(name, library, &mut Vec::new());
            errors.extend(added.err().map(|error| error.at(span.clone(), "")));
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    }

    fn add(
        &mut self,
        name: &str,
        library: &Library,
        pending: &mut Vec<String>,
    ) -> Result<(), Diagnostic> {
        if self.0.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        if pending.iter().any(|p| p == name) {
            let help = "take what both need into a file of its own";
            let message = format!("the file `{name}` uses itself");
            return Err(Diagnostic::new(Code::RecursiveFunction, message).with_help(help));
        }
        let Some(text) = library(name) else {
            let message = format!("there is no file `{name}` to use");
            let help = "`use` takes the name of a program of the standard library";
            return Err(Diagnostic::new(Code::UnknownProgram, message).with_help(help));
        };
        let ast = crate::parse(&text).map_err(|errors| inside(name, &errors))?;
        pending.push(name.to_owned());
        for (used, _) in uses(&ast) {
            self.add(used, library, pending)?;
        }
        pending.pop();
        self.0.push((name.to_owned(), ast));
        Ok(())
    }

    /// The declarations of all files: the text's own first.
    pub(super) fn collect<'a>(&'a self, ast: &'a Ast) -> (Vec<File<'a>>, Vec<Diagnostic>) {
        let used = |ast: &'a Ast| {
            let mut all: Vec<(&str, usize)> = Vec::new();
            for (name, _) in uses(ast) {
                let index = self.0.iter().position(|(known, _)| known == name);
                let index = index.expect("every file that is used has been read");
                // The text itself is file 0.
                if !all.contains(&(name, index + 1)) {
                    all.push((name, index + 1));
                }
            }
            all
        };
        let (own, mut errors) = File::collect(ast, used(ast));
        let mut files = vec![own];
        for (name, other) in &self.0 {
            let (file, found) = File::collect(other, used(other));
            let at = uses(ast).find(|(n, _)| n == name).or_else(|| uses(ast).next());
            if let (false, Some((_, span))) = (found.is_empty(), at) {
                errors.push(inside(name, &found).at(span.clone(), ""));
            }
            files.push(file);
        }
        (files, errors)
    }
}

fn uses(ast: &Ast) -> impl Iterator<Item = (&str, &Span)> {
    ast.items.iter().filter_map(|item| match item {
        Item::Use(used) => Some((used.name.text.as_str(), &used.name.span)),
        _ => None,
    })
}

/// What is wrong with a file, without places.
fn inside(name: &str, errors: &[Diagnostic]) -> Diagnostic {
    let first = errors.first();
    let message = first.map_or("", |e| e.message.as_str());
    let code = first.map_or(Code::Syntax, |e| e.code);
    Diagnostic::new(code, format!("in the file `{name}`: {message}"))
        .with_help(format!("check `{name}` by itself"))
}
