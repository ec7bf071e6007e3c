//! Which stages a program has, and of which class.

use crate::agreement::staged;
use crate::programs;
use sluice_ir::staged::{Form, Staged};
use sluice_passes::Grouping;

/// The stages of a program: the states that each carries, and its class.
pub(crate) fn summary(staged: &Staged) -> Vec<String> {
    let stage = |stage: &sluice_ir::staged::Stage| {
        let states: Vec<&str> = stage.recurrence.states.iter().map(|s| s.name.as_str()).collect();
        let form = match &stage.form {
            Form::Chunks => "chunks",
            Form::Steps { class, .. } => class.name(),
        };
        format!("{}: {form}", states.join(" "))
    };
    staged.stages.iter().map(stage).collect()
}

#[test]
fn print_all() {
    for recurrence in programs::all() {
        println!("{} {:?}", recurrence.name, summary(&staged(&recurrence, Grouping::Joint)));
    }
}
