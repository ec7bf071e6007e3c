//! Syntax tree to step form: names, dimensions and types are resolved, user functions inlined.
//!
//! Every error of a file is collected. Something already blamed is `None` and silences what uses it,
//! so that one mistake is reported once. Whether an update is affine in its state is not asked here.

mod call;
mod expr;
mod file;
mod nodes;
mod program;

use crate::ast::{Ast, Item};
use file::File;
use program::Program;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::step::Recurrence;

/// The programs of a file in order, each legal by `ir::step::check`, or every error found.
pub fn lower(ast: &Ast) -> Result<Vec<Recurrence>, Vec<Diagnostic>> {
    let (file, mut errors) = File::collect(ast);
    // Inlining would not end on functions that call themselves, so those errors come alone.
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut programs = Vec::new();
    for item in &ast.items {
        if let Item::Recurrence(source) = item {
            match Program::lower(&file, source) {
                Ok(program) => programs.push(program),
                Err(found) => errors.extend(found),
            }
        }
    }
    if errors.is_empty() && programs.is_empty() {
        let help = "write `recurrence name(x: [V]) -> o: [V] { .. }`";
        let error = Diagnostic::new(Code::Syntax, "the file holds no recurrence").with_help(help);
        errors.push(error);
    }
    if errors.is_empty() { Ok(programs) } else { Err(errors) }
}
