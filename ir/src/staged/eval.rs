//! What a staged program means: its stages by the step evaluator, one after another.

use super::{From, Stage, Staged};
use crate::problem::{Arrays, Problem};
use crate::step;
use std::convert::Infallible;

impl Staged {
    /// Outputs and final states of the program by name, in the layouts of [`Arrays`]; `arrays` holds
    /// what the program takes, as for [`step::eval`].
    ///
    /// # Panics
    ///
    /// As [`step::eval`] does.
    pub fn eval(&self, problem: &Problem, arrays: &Arrays) -> Arrays {
        let stage = &mut |index: usize, problem: &Problem, arrays: &Arrays| {
            Ok::<_, Infallible>(step::eval(&self.stages[index].recurrence, problem, arrays))
        };
        match self.run(problem, arrays, stage) {
            Ok(results) => results,
            Err(never) => match never {},
        }
    }

    /// Runs the stages with an engine and hands arrays from one to the next.
    ///
    /// `run` gets the index of a stage, its problem and its arrays, and returns its outputs and final
    /// states, all named as the stage's recurrence names them. Initial states that the caller does not
    /// give are missing there too.
    ///
    /// # Errors
    ///
    /// What `run` returns.
    ///
    /// # Panics
    ///
    /// If the program is not legal, or `run` leaves out a result.
    pub fn run<E>(
        &self,
        problem: &Problem,
        arrays: &Arrays,
        run: &mut dyn FnMut(usize, &Problem, &Arrays) -> Result<Arrays, E>,
    ) -> Result<Arrays, E> {
        let mut made = Arrays::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let mut found = run(index, &stage.runs.problem(problem), &taken(stage, arrays, &made))?;
            let mut keep = |from: &str, to: &str| {
                let array = found.remove(from).expect("a stage gives all its results");
                made.insert(to.to_owned(), array);
            };
            for output in &stage.recurrence.outputs {
                keep(&output.name, &output.name);
            }
            for (state, link) in stage.recurrence.states.iter().zip(&stage.links) {
                if let Some(to) = &link.to {
                    keep(&state.name, to);
                }
            }
        }
        made.retain(|name, _| self.outputs.contains(name) || self.states.contains(name));
        Ok(made)
    }
}

/// The arrays of a stage under its own names.
fn taken(stage: &Stage, given: &Arrays, made: &Arrays) -> Arrays {
    let recurrence = &stage.recurrence;
    let inputs = recurrence.inputs.iter().map(|input| {
        let array = made.get(&input.name).or_else(|| given.get(&input.name));
        (input.name.clone(), array.expect("every input has an array").clone())
    });
    let states = recurrence.states.iter().zip(&stage.links).filter_map(|(state, link)| {
        let array = match &link.from {
            From::Initial(name) => given.get(name)?,
            From::Last(name) => made.get(name).expect("an earlier stage keeps the state"),
            From::Declared => return None,
        };
        Some((state.name.clone(), array.clone()))
    });
    inputs.chain(states).collect()
}
