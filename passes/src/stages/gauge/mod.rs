//! States as a running product of something invertible times a state of a simpler recurrence.
//!
//! With `S_t = D_t R_t` and `D_t` a running product, `R` has what is left of the decay once `D`'s share is
//! taken out; writes are multiplied by the inverse of `D_t` and reads by `D_t`. `D` is a scan of its own
//! that runs first, and the last values of both give the last value of `S` once the tokens are done.
//!
//! [`signs`]: `D` is the sign of a decay that may be negative, and `R` decays by its magnitude.
//! [`turns`]: `D` is a rotation of a pair of states by an angle, and both states of `R` have a real decay.

mod pairs;
mod signs;
mod turns;

use super::Program;
use super::classify::{Kind, classify};
use super::groups::{Group, groups};
use super::program::{Names, Prepared};
use super::rewrite::Rewriter;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::staged::{Class, Form, From, Runs, Stage, StateLink};
use sluice_ir::step::{DimId, Init, Interval, NodeId, Op, Order, Recurrence, State, StateId};
use std::collections::BTreeSet;

/// The program with one more state taken apart such that a history is left; none if no such is found.
pub(super) fn gauge(
    program: &Program,
    groups: &[Group],
    kinds: &[Result<Kind, Diagnostic>],
) -> Option<Prepared> {
    let in_chunks = |kind: &Result<Kind, Diagnostic>| matches!(kind, Ok((Form::Chunks, _)));
    let recurrence = program.recurrence;
    groups.iter().zip(kinds).find_map(|(group, kind)| {
        let states: Vec<StateId> = group.states.iter().copied().collect();
        let matrices = states.iter().all(|s| recurrence.states[s.0].dims.len() > 1);
        let taken_apart = match states[..] {
            _ if !matrices => None,
            [state] if !in_chunks(kind) => signs::signs(program, state),
            [a, b] => turns::turns(program, a, b).or_else(|| turns::turns(program, b, a)),
            _ => None,
        };
        taken_apart.filter(|prepared| left_in_chunks(prepared, program, &group.states))
    })
}

/// Whether the histories that are left run in chunks.
fn left_in_chunks(prepared: &Prepared, old: &Program, states: &BTreeSet<StateId>) -> bool {
    let program = &Program::new(prepared, old.extents);
    let groups = groups(program);
    let left = || groups.iter().filter(|g| !g.states.is_disjoint(states));
    left().all(|g| {
        let later = super::groups::later(&groups, g);
        matches!(classify(program, g, &later), Ok((Form::Chunks, _)))
    })
}

/// A state of a gauge, which the caller cannot set.
fn own_state(like: &State, name: String, dims: Vec<DimId>, start: f64) -> State {
    State {
        name,
        dims,
        init: Init::Value(start),
        range: Some(Interval::new(-1.0, 1.0)),
        doc: vec![],
        ..like.clone()
    }
}

/// Where a state of a gauge starts, and the name under which its last value is kept.
fn own_link(to: &str) -> StateLink {
    StateLink { from: From::Declared, to: Some(to.to_owned()) }
}

/// A stage that makes last values of states from those of others, once the tokens are done.
struct Restoring<'a> {
    program: &'a Program<'a>,
    made: Rewriter,
    links: Vec<StateLink>,
}

impl<'a> Restoring<'a> {
    fn new(program: &'a Program<'a>) -> Self {
        let empty = Recurrence {
            inputs: vec![],
            states: vec![],
            nodes: vec![],
            updates: vec![],
            outputs: vec![],
            tables: vec![],
            ..program.recurrence.clone()
        };
        Self { program, made: Rewriter::new(&empty), links: vec![] }
    }

    /// A state that is kept under a name; its last value becomes that of a state of the program.
    fn take(&mut self, state: &State, from: &str, to: Option<&str>) -> (StateId, NodeId) {
        let init = Init::Value(0.0);
        let id = self.made.state(State { init, order: Order::Forward, ..state.clone() });
        let value = self.made.node(Op::State(id));
        self.made.update(id, value);
        let to = to.map(str::to_owned);
        self.links.push(StateLink { from: From::Last(from.to_owned()), to });
        (id, value)
    }

    fn finish(self) -> Stage {
        let reason = format!("the last values of states of `{}`", self.program.recurrence.name);
        Stage {
            recurrence: self.made.finish(&[]),
            links: self.links,
            runs: Runs::Once,
            form: Form::Steps { class: Class::Elementwise, reason },
        }
    }
}

/// Names that a gauge may give.
fn names(program: &Program) -> Names {
    Names::of(program.recurrence, &program.prepared.links, &program.prepared.restores)
}
