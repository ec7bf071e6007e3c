//! From a timetable to stages: where pointwise work goes, and whether chunks can do all that they are
//! asked to.

use super::assemble::{Source, recurrence_of};
use super::classify::Kind;
use super::groups::Group;
use super::layout::{Content, Crossing, Layout, Part};
use super::reading::{closure, readings};
use super::replay::replay;
use super::ring::{Ring, degrees};
use super::timetable::Slot;
use super::{Prepared, Program};
use crate::lift;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::staged::{Class, Form, From, Runs, Stage, StateLink};
use sluice_ir::step::{NodeId, Order, Recurrence, StateId};
use std::collections::BTreeSet;

/// Groups that are in the way, and why.
pub(super) struct Refusal {
    pub(super) groups: Vec<usize>,
    pub(super) diagnostic: Box<Diagnostic>,
}

/// Why a timetable does not do.
pub(super) enum Retry {
    /// These histories should not share a stage.
    Apart(Refusal),
    /// These groups should run token by token.
    Steps(Refusal),
    /// The program should be cut in this form.
    Again(Box<Prepared>),
    /// Nothing helps.
    Refused(Box<Diagnostic>),
}

/// What a part gives besides states.
struct Filled {
    content: Content,
    /// Outputs of the program, by number.
    outputs: Vec<usize>,
    /// Values for later parts.
    exports: Vec<NodeId>,
}

/// The stages of a timetable.
pub(super) fn arrange(
    program: &Program,
    groups: &[Group],
    kinds: &[Kind],
    slots: &[Slot],
) -> Result<Vec<Stage>, Retry> {
    let mut plan = Plan { program, groups, kinds, parts: vec![], raised: BTreeSet::new() };
    for slot in slots {
        plan.add(slot)?;
    }
    plan.add_last();
    loop {
        let filled = plan.filled().map_err(|crossing| plan.crossing(&crossing))?;
        if !plan.raise(&filled)? {
            return Ok(plan.staged(&filled));
        }
    }
}

struct Plan<'a> {
    program: &'a Program<'a>,
    groups: &'a [Group],
    kinds: &'a [Kind],
    parts: Vec<Part>,
    /// States of the parts in chunks whose pointwise results are made later.
    raised: BTreeSet<StateId>,
}

fn pointwise_part() -> Part {
    let reason = "no state that changes".to_owned();
    let form = Form::Steps { class: Class::Pointwise, reason };
    Part { states: BTreeSet::new(), order: Order::Forward, form, placed: BTreeSet::new() }
}

impl Plan<'_> {
    /// Adds the part of a slot, and before it what its chunks cannot make themselves.
    fn add(&mut self, slot: &Slot) -> Result<(), Retry> {
        let states = slot.groups.iter().flat_map(|g| self.groups[*g].states.iter().copied());
        let states: BTreeSet<StateId> = states.collect();
        let form = if slot.chunks { Form::Chunks } else { self.steps_form(slot) };
        self.parts.push(Part { states, order: slot.order, form, placed: BTreeSet::new() });
        let cut = slot.groups.iter().flat_map(|g| self.kinds[*g].1.iter().copied());
        let cut: BTreeSet<NodeId> = cut.collect();
        if cut.is_empty() {
            return Ok(());
        }
        // States of later slots do not matter for what comes before this one.
        let here = self.parts.len() - 1;
        let layout = Layout::new(self.program, &self.parts);
        let first = cut.iter().map(|id| layout.first[id.0]).max().unwrap_or(0);
        if first >= here && here > 0 && cut.iter().any(|id| layout.bound[id.0]) {
            let spoken = *cut.iter().next().expect("the cut is not empty");
            let diagnostic = Box::new(self.program.matrix_needed(spoken));
            return Err(Retry::Apart(Refusal { groups: slot.groups.clone(), diagnostic }));
        }
        let steps = |p: &usize| self.parts[*p].form != Form::Chunks;
        let place = match (first..here).find(steps) {
            Some(place) => place,
            None => {
                self.parts.insert(here, pointwise_part());
                here
            }
        };
        self.parts[place].placed.extend(cut);
        Ok(())
    }

    /// The most general class of a slot's groups, and all reasons.
    fn steps_form(&self, slot: &Slot) -> Form {
        let forms = slot.groups.iter().filter_map(|g| match &self.kinds[*g].0 {
            Form::Steps { class, reason } => Some((*class, reason.clone())),
            Form::Chunks => None,
        });
        let (classes, reasons): (Vec<Class>, Vec<String>) = forms.unzip();
        let class = classes.into_iter().max().unwrap_or(Class::Pointwise);
        Form::Steps { class, reason: reasons.join("; ") }
    }

    /// Adds a part for outputs that need all others.
    fn add_last(&mut self) {
        let layout = Layout::new(self.program, &self.parts);
        let outputs = self.program.recurrence.outputs.iter();
        if outputs.map(|o| layout.first[o.node.0]).any(|first| first >= self.parts.len()) {
            self.parts.push(pointwise_part());
        }
    }

    /// What every part computes, from the last to the first.
    fn filled(&self) -> Result<Vec<Filled>, Crossing> {
        let recurrence = self.program.recurrence;
        let layout = Layout::new(self.program, &self.parts);
        let mut wanted = vec![BTreeSet::new(); self.parts.len()];
        let mut filled = Vec::new();
        for (place, part) in self.parts.iter().enumerate().rev() {
            let is_here = |o: &usize| layout.first[recurrence.outputs[*o].node.0] == place;
            let outputs: Vec<usize> = (0..recurrence.outputs.len()).filter(is_here).collect();
            let updates = part.states.iter().map(|s| recurrence.updates[s.0]);
            let declared = outputs.iter().map(|o| recurrence.outputs[*o].node);
            let exports: BTreeSet<NodeId> = std::mem::take(&mut wanted[place]);
            let results = updates.chain(declared).chain(exports.iter().copied());
            let content = layout.content(place, results)?;
            for id in &content.imports {
                wanted[layout.first[id.0]].insert(*id);
            }
            let is_output = |id: &NodeId| {
                let name = &self.program.names[id.0];
                outputs.iter().any(|o| recurrence.outputs[*o].name == *name)
            };
            let exports = exports.into_iter().filter(|id| !is_output(id)).collect();
            filled.push(Filled { content, outputs, exports });
        }
        filled.reverse();
        Ok(filled)
    }

    fn recurrence(&self, place: usize, filled: &Filled) -> Recurrence {
        let Filled { content, outputs, exports } = filled;
        recurrence_of(self.program, &Source { part: &self.parts[place], content, outputs }, exports)
    }

    fn groups_in(&self, states: &BTreeSet<StateId>) -> Vec<usize> {
        let holds = |g: &usize| !self.groups[*g].states.is_disjoint(states);
        (0..self.groups.len()).filter(holds).collect()
    }

    /// Who must give way for a matrix that would cross. A token loop runs a second time only if nothing
    /// else helps.
    fn crossing(&self, crossing: &Crossing) -> Retry {
        let diagnostic = Box::new(self.program.matrix_needed(crossing.node));
        let holders = &self.program.reads[crossing.node.0].states;
        let again = || replay(self.program, self.groups, &self.parts, crossing.node).map(Box::new);
        let in_chunks = |g: &usize| self.kinds[*g].0 == Form::Chunks;
        if self.groups_in(holders).iter().all(in_chunks)
            && let Some(again) = again()
        {
            return Retry::Again(again);
        }
        for states in [holders, &self.parts[crossing.part].states] {
            let mut groups = self.groups_in(states);
            groups.retain(in_chunks);
            if !groups.is_empty() {
                return Retry::Steps(Refusal { groups, diagnostic });
            }
        }
        again().map_or(Retry::Refused(diagnostic), Retry::Again)
    }

    /// Takes pointwise results from the first part whose chunks cannot make them; whether there was one.
    fn raise(&mut self, filled: &[Filled]) -> Result<bool, Retry> {
        for (place, part) in filled.iter().enumerate() {
            if self.parts[place].form != Form::Chunks {
                continue;
            }
            let recurrence = self.recurrence(place, part);
            let Err(refused) = lift(&recurrence, self.program.extents) else { continue };
            let states = self.parts[place].states.clone();
            let later = self.later_results(place, part);
            if self.raised.is_disjoint(&states) && !later.is_empty() {
                let next = place + 1;
                if self.parts.get(next).is_none_or(|p| p.form == Form::Chunks) {
                    self.parts.insert(next, pointwise_part());
                }
                self.parts[next].placed.extend(later);
                self.raised.extend(states);
                return Ok(true);
            }
            let first = refused.into_iter().next().expect("a refusal has a reason");
            let diagnostic = Box::new(first);
            let refusal = Refusal { groups: self.groups_in(&states), diagnostic };
            return Err(match refusal.groups.len() {
                1 => Retry::Steps(refusal),
                _ => Retry::Apart(refusal),
            });
        }
        Ok(false)
    }

    /// The vectors and scalars of a part that neither its updates need nor its reads are.
    fn later_results(&self, place: usize, filled: &Filled) -> BTreeSet<NodeId> {
        let program = self.program;
        let recurrence = program.recurrence;
        let part = &self.parts[place];
        let declared = filled.outputs.iter().map(|o| recurrence.outputs[*o].node);
        let results: Vec<NodeId> = declared.chain(filled.exports.iter().copied()).collect();
        let updates = part.states.iter().map(|s| recurrence.updates[s.0]);
        let sum = degrees(recurrence, &part.states, Ring::Sum);
        let read =
            readings(program, (&part.states, &BTreeSet::new()), &sum, results.iter().copied());
        let mut kept = closure(program, updates);
        kept.extend(closure(program, read));
        let layout = Layout::new(program, &self.parts);
        let moved = |id: &NodeId| {
            let is_result = results.contains(id);
            let made_here = layout.bound[id.0] && layout.first[id.0] == place;
            let leaves = is_result || (made_here && recurrence.node(*id).dims.len() < 2);
            leaves && !kept.contains(id)
        };
        filled.content.nodes.iter().copied().filter(moved).collect()
    }

    fn staged(&self, filled: &[Filled]) -> Vec<Stage> {
        let recurrence = self.program.recurrence;
        let restores = &self.program.prepared.restores;
        let count = self.parts.len() + restores.len();
        let entry = |place: usize| format!("{}_{}", recurrence.name, place + 1);
        let stages = self.parts.iter().zip(filled).enumerate().map(|(place, (part, filled))| {
            let mut made = match count {
                1 => recurrence.clone(),
                _ => self.recurrence(place, filled),
            };
            let mut form = part.form.clone();
            if count > 1 {
                made.name = entry(place);
                let is_matrix = |s: &StateId| recurrence.states[s.0].dims.len() > 1;
                let reads_matrix = filled.content.lasts.iter().any(is_matrix);
                if part.states.is_empty()
                    && reads_matrix
                    && lift(&made, self.program.extents).is_ok()
                {
                    form = Form::Chunks;
                }
            }
            let of = |s: &StateId| self.program.prepared.links[s.0].clone();
            let last = |s: &StateId| {
                let kept = of(s).to.expect("the last value of every state is kept");
                StateLink { from: From::Last(kept), to: None }
            };
            let own = part.states.iter().map(of);
            let links = own.chain(filled.content.lasts.iter().map(last)).collect();
            Stage { recurrence: made, links, runs: Runs::Tokens, form }
        });
        let restored = restores.iter().enumerate().map(|(i, stage)| {
            let mut stage = stage.clone();
            stage.recurrence.name = entry(self.parts.len() + i);
            stage
        });
        stages.chain(restored).collect()
    }
}
