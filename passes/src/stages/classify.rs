//! Whether a group of states has a sequence form of its own, and if not, what it is instead.

use super::Program;
use super::assemble::{Source, recurrence_of};
use super::groups::Group;
use super::layout::{Layout, Part};
use super::reading::{closure, readings};
use super::ring::{Degree, Ring, degrees, not_affine};
use crate::lift;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::staged::{Class, Form, From};
use sluice_ir::step::{NodeId, Op, Rate, StateId};
use std::collections::BTreeSet;

/// How a group runs, and for chunks which values must be made beforehand, since chunks cannot.
pub(super) type Kind = (Form, BTreeSet<NodeId>);

/// What a group is, whose values the updates of some states, `later`, need.
///
/// # Errors
/// If its update is not affine and the program does not say so, or its state may grow.
pub(super) fn classify(
    program: &Program,
    group: &Group,
    later: &BTreeSet<StateId>,
) -> Result<Kind, Diagnostic> {
    let states = &group.states;
    let sum = degrees(program.recurrence, states, Ring::Sum);
    if !is_affine(program, states, &sum) {
        return beyond_affine(program, states, &sum);
    }
    let outside = program.results_outside(states);
    let read = readings(program, (states, later), &sum, outside);
    let ranks = states.iter().map(|s| program.recurrence.states[s.0].dims.len());
    let (largest, count) = (ranks.max().unwrap_or(0), states.len());
    let by_dot = |id: &NodeId| matches!(program.recurrence.node(*id).op, Op::Dot(..));
    if largest < 2 && (count > 1 || !read.iter().all(by_dot)) {
        let alone = steps(program, states, &sum, None);
        // What mixes elements has no scan for each of them.
        if !matches!(alone.0, Form::Steps { class: Class::Dense, .. }) {
            return Ok(alone);
        }
    }
    match sequence_form(program, group, later, &read) {
        Ok(cut) => Ok((Form::Chunks, cut)),
        Err(refusal) if refusal.code == Code::UnsafeExponent && count == 1 => {
            match program.recurrence.sequential {
                true => Ok(steps(program, states, &sum, Some(refusal))),
                false => Err(refusal),
            }
        }
        Err(refusal) => Ok(steps(program, states, &sum, Some(refusal))),
    }
}

/// A group that could run in chunks, token by token for a reason found later.
pub(super) fn as_steps(program: &Program, group: &Group, reason: &Diagnostic) -> Kind {
    let sum = degrees(program.recurrence, &group.states, Ring::Sum);
    steps(program, &group.states, &sum, Some(reason.clone()))
}

fn is_affine(program: &Program, states: &BTreeSet<StateId>, degrees: &[Degree]) -> bool {
    states.iter().all(|s| degrees[program.recurrence.updates[s.0].0] < Degree::Beyond)
}

/// A group whose updates are no sums of products.
fn beyond_affine(
    program: &Program,
    states: &BTreeSet<StateId>,
    sum: &[Degree],
) -> Result<Kind, Diagnostic> {
    let names = program.state_names(states);
    let declared = |s: &StateId| program.prepared.links[s.0].from == From::Declared;
    if states.iter().all(declared) {
        // Turns, which are less than one; an angle is affine but for whole turns.
        let reason = format!("{names}: the sum of all angles so far");
        return Ok((Form::Steps { class: Class::Elementwise, reason }, BTreeSet::new()));
    }
    let rings = [
        (Ring::Max, Class::MaxPlus, "a running maximum"),
        (Ring::Min, Class::MaxPlus, "a running minimum"),
        (Ring::LogSum, Class::LogSumExp, "a running log-sum-exp"),
    ];
    for (ring, class, what) in rings {
        if is_affine(program, states, &degrees(program.recurrence, states, ring)) {
            let reason = format!("{names}: {what}");
            return Ok((Form::Steps { class, reason }, BTreeSet::new()));
        }
    }
    if program.recurrence.sequential {
        let reason = format!("{names}: an update that is not affine");
        return Ok((Form::Steps { class: Class::Sequential, reason }, BTreeSet::new()));
    }
    let update = |s: &&StateId| sum[program.recurrence.updates[s.0].0] == Degree::Beyond;
    let first = states.iter().find(update).expect("some update is not affine");
    Err(not_affine(program.recurrence, *first, sum))
}

/// An affine group that runs token by token.
fn steps(
    program: &Program,
    states: &BTreeSet<StateId>,
    sum: &[Degree],
    refusal: Option<Diagnostic>,
) -> Kind {
    let depends = |id: &NodeId| sum[id.0] != Degree::Free;
    let recurrence = program.recurrence;
    let updates = || states.iter().map(|s| recurrence.updates[s.0]);
    let cone = closure(program, updates());
    let holds = |test: &dyn Fn(NodeId) -> bool| cone.iter().any(|id| depends(id) && test(*id));
    let moves = |id: NodeId| {
        let dims = |id: NodeId| &recurrence.node(id).dims;
        match recurrence.node(id).op {
            Op::State(_) | Op::Unary(..) | Op::Binary(..) | Op::Select(..) => {
                let operands = recurrence.node(id).op.operands();
                operands.iter().any(|o| depends(o) && dims(*o) != dims(id))
            }
            _ => true,
        }
    };
    let pushed = holds(&|id| matches!(recurrence.node(id).op, Op::Push(..)));
    let (class, what) = if pushed || updates().all(|u| !depends(&u)) {
        (Class::Window, "the last values of something")
    } else if states.len() > 1 {
        (Class::Mixed, "states that take up each other")
    } else if !holds(&moves) {
        (Class::Elementwise, "a scan for every element")
    } else {
        (Class::Dense, dense_transition(program, &cone, &depends))
    };
    let known = refusal.filter(|r| class > Class::Window && r.code != Code::NotAffine);
    let why = known.map(|r| format!(" ({})", r.message)).unwrap_or_default();
    let reason = format!("{}: {what}{why}", program.state_names(states));
    (Form::Steps { class, reason }, BTreeSet::new())
}

/// What a transition between elements is, and why no law puts it in chunks.
///
/// A product of the matrices of two tokens costs more than both steps, and nothing says that products of
/// learned ones stay bounded; only constants tell.
fn dense_transition(
    program: &Program,
    cone: &BTreeSet<NodeId>,
    depends: &dyn Fn(&NodeId) -> bool,
) -> &'static str {
    let recurrence = program.recurrence;
    let factors = cone.iter().filter_map(|id| match recurrence.node(*id).op {
        Op::Dot(a, b, _) if depends(id) => [a, b].into_iter().find(|o| !depends(o)),
        _ => None,
    });
    let mut matrices = factors.filter(|o| recurrence.node(*o).dims.len() > 1).peekable();
    let learned = |id: NodeId| {
        closure(program, [id]).iter().all(|id| match recurrence.node(*id).op {
            Op::Input(input) => recurrence.inputs[input.0].rate == Rate::Model,
            Op::State(_) | Op::Final(_) => false,
            _ => true,
        })
    };
    if matrices.peek().is_none() {
        return "a transition between elements";
    }
    match matrices.all(learned) {
        true => "a transition between elements that is learned, whose powers nothing bounds",
        false => {
            "a transition between elements for every token, and products of two cost more than two steps"
        }
    }
}

/// Whether a group alone, with what it needs of others as inputs, has a sequence form; returns what
/// must be an input besides.
fn sequence_form(
    program: &Program,
    group: &Group,
    later: &BTreeSet<StateId>,
    read: &BTreeSet<NodeId>,
) -> Result<BTreeSet<NodeId>, Diagnostic> {
    let mut refusal = None;
    for depth in [Depth::Nothing, Depth::Pointwise, Depth::All] {
        let cut = inputs_instead(program, &group.states, read, depth);
        match lifts_alone(program, group, (later, read), &cut) {
            Ok(()) => return Ok(cut),
            // The reason to show is the one without any detour.
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    Err(refusal.expect("the last attempt was refused"))
}

/// How much of what does not depend on a group is made before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Nothing,
    /// All that is not a pointwise function of inputs.
    Pointwise,
    /// All that the group uses.
    All,
}

/// The vectors and scalars that a group would take as inputs.
fn inputs_instead(
    program: &Program,
    states: &BTreeSet<StateId>,
    read: &BTreeSet<NodeId>,
    depth: Depth,
) -> BTreeSet<NodeId> {
    let mut cut = BTreeSet::new();
    if depth == Depth::Nothing {
        return cut;
    }
    let recurrence = program.recurrence;
    let depends = |id: &NodeId| !program.reads[id.0].states.is_disjoint(states);
    let mut seen = BTreeSet::new();
    let updates = states.iter().map(|s| recurrence.updates[s.0]);
    let mut waiting: Vec<NodeId> = read.iter().copied().chain(updates).collect();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = recurrence.node(id);
        let leaf = matches!(
            node.op,
            Op::Input(_) | Op::State(_) | Op::Final(_) | Op::Const(_) | Op::Extent(_)
        );
        let pointwise = matches!(node.op, Op::Unary(..) | Op::Binary(..) | Op::Select(..));
        let goes_on = depends(&id)
            || node.dims.len() > 1
            || (depth == Depth::Pointwise && pointwise)
            || program.is_constant(id);
        match goes_on {
            _ if leaf => {}
            true => waiting.extend(node.op.operands()),
            false => drop(cut.insert(id)),
        }
    }
    cut
}

/// Lifts the recurrence of a group alone.
fn lifts_alone(
    program: &Program,
    group: &Group,
    (later, read): (&BTreeSet<StateId>, &BTreeSet<NodeId>),
    cut: &BTreeSet<NodeId>,
) -> Result<(), Diagnostic> {
    let all = (0..program.recurrence.states.len()).map(StateId);
    let part = |states, placed| Part { states, order: group.order, form: Form::Chunks, placed };
    let others = all.filter(|s| !group.states.contains(s)).collect();
    let parts = [part(others, cut.clone()), part(group.states.clone(), BTreeSet::new())];
    let mut layout = Layout::new(program, &parts);
    for (first, reads) in layout.first.iter_mut().zip(&program.reads) {
        if !reads.states.is_disjoint(later) {
            *first = 0; // What later states give is an input too.
        }
    }
    let updates = group.states.iter().map(|s| program.recurrence.updates[s.0]);
    let content = layout.content(1, updates.chain(read.iter().copied()));
    let content = content.map_err(|crossing| program.matrix_needed(crossing.node))?;
    let source = Source { part: &parts[1], content: &content, outputs: &[] };
    let exports: Vec<NodeId> = read.iter().copied().collect();
    let recurrence = recurrence_of(program, &source, &exports);
    lift(&recurrence, program.extents).map(drop).map_err(|mut refused| refused.remove(0))
}
