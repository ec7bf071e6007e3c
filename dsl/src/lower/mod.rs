//! Syntax tree to step form: names, dimensions and types are resolved, functions and the recurrences that
//! others call are inlined.
//!
//! Every error of a file is collected. Something already blamed is `None` and silences what uses it,
//! so that one mistake is reported once. Whether an update is affine in its state is not asked here.

mod arrange;
mod body;
mod call;
mod declare;
mod dims;
mod expr;
mod files;
mod inline;
mod load;
mod nodes;
mod parts;
mod program;
mod reduce;
mod unused;

use crate::ast::{Ast, Item};
use files::Files;
pub use load::Library;
use load::Loaded;
use program::Program;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::step::Recurrence;
use std::collections::BTreeSet;

/// The programs of a file that uses no other, as [`lower_with`] gives them.
///
/// # Errors
///
/// Whatever is wrong with the text, and every `use`.
pub fn lower(ast: &Ast) -> Result<Vec<Recurrence>, Vec<Diagnostic>> {
    lower_with(ast, &|_| None)
}

/// The programs of a file in order, each legal by `ir::step::check`; `library` gives the texts of the
/// files that it uses.
///
/// # Errors
///
/// Whatever is wrong with the text, several errors at a time; all places are in the text of `ast`.
pub fn lower_with(ast: &Ast, library: &Library) -> Result<Vec<Recurrence>, Vec<Diagnostic>> {
    let loaded = Loaded::read(ast, library)?;
    let (files, mut errors) = loaded.collect(ast);
    // Inlining would not end on functions that call themselves, so those errors come alone.
    if !errors.is_empty() {
        return Err(errors);
    }
    let files = Files(files);
    let mut programs = Vec::new();
    let mut add = |found: Vec<Diagnostic>| {
        for error in found {
            // What two programs call is wrong once.
            let known = |e: &Diagnostic| e.code == error.code && e.primary == error.primary;
            if !errors.iter().any(known) {
                errors.push(error);
            }
        }
    };
    let mut called: BTreeSet<&str> = BTreeSet::new();
    for item in &ast.items {
        if let Item::Recurrence(source) = item {
            match Program::lower(&files, source, &mut called) {
                Ok(program) => programs.push(program),
                Err(found) => add(found),
            }
        }
    }
    for (name, function) in &files.0[0].functions {
        let mut program = Program::new(&files, name);
        program.check_function(function, called.contains(name));
        add(program.into_errors());
    }
    if errors.is_empty() && programs.is_empty() {
        let help = "write `recurrence name(x: [V]) -> o: [V] { .. }`";
        let error = Diagnostic::new(Code::Syntax, "the file holds no recurrence").with_help(help);
        errors.push(error);
    }
    if errors.is_empty() { Ok(programs) } else { Err(errors) }
}
