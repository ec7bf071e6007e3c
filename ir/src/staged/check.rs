//! When a staged program is legal.
//!
//! - Every stage is a legal recurrence of one sweep: its states have one order and none is read after
//!   the last token. It has one link a state. Entries have unique names.
//! - A stage takes from other stages only what earlier ones make: outputs as f32 inputs over the
//!   tokens with one row a head, states as states of the same dimensions.
//! - No name is made twice, and every output and state of the program is made.
//! - A stage that runs once has no inputs and outputs over the tokens.
//! - A stage that runs once a segment has the states of segments as inputs over the tokens, and states of
//!   segments start from its outputs.

use super::{Form, From, Runs, Stage, Staged};
use crate::dtype::Dtype;
use crate::step::{self, Input, Op, Rate, Sharing};
use std::collections::{BTreeMap, BTreeSet};

/// What earlier stages have made: dimensions by name.
#[derive(Default)]
struct Made<'a> {
    outputs: BTreeMap<&'a str, Vec<&'a str>>,
    states: BTreeMap<&'a str, Vec<&'a str>>,
}

/// Checks the invariants; the message says which one is broken, and where.
pub fn check(staged: &Staged) -> Result<(), String> {
    let mut made = Made::default();
    let mut entries = BTreeSet::new();
    for stage in &staged.stages {
        let name = &stage.recurrence.name;
        if !entries.insert(name) {
            return Err(format!("two stages are called `{name}`"));
        }
        check_stage(staged, stage, &mut made).map_err(|e| format!("stage `{name}`: {e}"))?;
    }
    let missing = |names: &[String], made: &BTreeMap<&str, Vec<&str>>| {
        names.iter().find(|n| !made.contains_key(n.as_str())).cloned()
    };
    match missing(&staged.outputs, &made.outputs).or(missing(&staged.states, &made.states)) {
        Some(name) => Err(format!("no stage makes `{name}`")),
        None => Ok(()),
    }
}

fn check_stage<'a>(staged: &Staged, stage: &'a Stage, made: &mut Made<'a>) -> Result<(), String> {
    let recurrence = &stage.recurrence;
    step::check(recurrence)?;
    let first = recurrence.states.first().map(|s| s.order);
    if recurrence.states.iter().any(|s| Some(s.order) != first) {
        return Err("its states have several orders".to_owned());
    }
    if recurrence.nodes.iter().any(|n| matches!(n.op, Op::Final(_))) {
        return Err("it reads a state after the last token".to_owned());
    }
    if stage.links.len() != recurrence.states.len() {
        let (links, states) = (stage.links.len(), recurrence.states.len());
        return Err(format!("{links} links for {states} states"));
    }
    if recurrence.states.is_empty() && stage.form == Form::Chunks {
        return Err("it has no states, so no chunks either".to_owned());
    }
    let over_tokens = |i: &Input| i.rate == Rate::Token;
    if stage.runs == Runs::Once
        && (recurrence.inputs.iter().any(over_tokens) || !recurrence.outputs.is_empty())
    {
        return Err("it runs once, but has arrays over the tokens".to_owned());
    }
    for input in &recurrence.inputs {
        check_input(staged, stage, input, made)?;
    }
    let names = |dims: &[step::DimId]| -> Vec<&'a str> {
        dims.iter().map(|d| recurrence.dims[d.0].name.as_str()).collect()
    };
    for (state, link) in recurrence.states.iter().zip(&stage.links) {
        let From::Last(name) = &link.from else { continue };
        let segments = matches!(stage.runs, Runs::Segments(_));
        let made = if segments { &made.outputs } else { &made.states };
        if made.get(name.as_str()) != Some(&names(&state.dims)) {
            return Err(format!("no earlier stage keeps a state `{name}` of such dimensions"));
        }
    }
    let links = recurrence.states.iter().zip(&stage.links);
    let kept = links.filter_map(|(s, l)| Some((l.to.as_deref()?, names(&s.dims))));
    let kept: Vec<_> = kept.collect();
    let outputs = recurrence.outputs.iter();
    let outputs = outputs.map(|o| (o.name.as_str(), names(&recurrence.node(o.node).dims)));
    for (name, dims) in outputs {
        if made.states.contains_key(name) || made.outputs.insert(name, dims).is_some() {
            return Err(format!("`{name}` is made twice"));
        }
    }
    for (name, dims) in kept {
        if made.outputs.contains_key(name) || made.states.insert(name, dims).is_some() {
            return Err(format!("`{name}` is made twice"));
        }
    }
    Ok(())
}

fn check_input(staged: &Staged, stage: &Stage, input: &Input, made: &Made) -> Result<(), String> {
    let name = &input.name;
    if staged.maker(name).is_none() {
        return Ok(()); // An array of the caller.
    }
    let dims = input.dims.iter().map(|d| stage.recurrence.dims[d.0].name.as_str()).collect();
    let fits = input.rate == Rate::Token
        && input.sharing == Sharing::Head
        && input.dtype == Some(Dtype::F32);
    let joins = matches!(stage.runs, Runs::Joints(_));
    let made = if joins { &made.states } else { &made.outputs };
    if !fits || made.get(name.as_str()) != Some(&dims) {
        return Err(format!("`{name}` is no f32 array over the tokens of an earlier stage"));
    }
    Ok(())
}
