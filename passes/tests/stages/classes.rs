//! Which stages a program has, of which class, and which programs are refused.

use crate::agreement::{apart, problem, single, staged};
use crate::programs;
use crate::step_form::Step;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::staged::{Form, Stage, Staged};
use sluice_ir::step::{Init, NodeId, Op, Order, Recurrence, StateId};
use sluice_passes::stages;

/// The stages of a program: the states that each carries, and its class.
pub(crate) fn summary(staged: &Staged) -> Vec<String> {
    let stage = |stage: &Stage| {
        let states: Vec<&str> = stage.recurrence.states.iter().map(|s| s.name.as_str()).collect();
        let form = match &stage.form {
            Form::Chunks => "chunks",
            Form::Steps { class, .. } => class.name(),
        };
        format!("{}: {form}", states.join(" ")).trim_start_matches(": ").to_owned()
    };
    staged.stages.iter().map(stage).collect()
}

fn stages_of(recurrence: &Recurrence) -> Vec<String> {
    summary(&staged(recurrence))
}

#[test]
fn histories_share_a_stage_where_they_can() {
    assert_eq!(stages_of(&programs::normalised()), ["S z: chunks"]);
    assert_eq!(stages_of(&programs::two_passes()), ["A B: chunks"]);
    assert_eq!(stages_of(&programs::read_by_a_later_one()), ["A B: chunks"]);
    assert_eq!(stages_of(&programs::sum_of_states()), ["A B: chunks"]);
    let alone = summary(&single(&programs::two_passes()));
    assert_eq!(alone, ["A: chunks", "B: chunks"]);
}

/// Only the states that are named leave the stage that they share.
#[test]
fn histories_apart_leave_the_others_together() {
    let mut p = Step::new("three");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    for name in ["A", "B", "C"] {
        let state = p.state(name, "KV");
        let write = p.outer(k, v);
        let next = p.add(state, write);
        let read = p.dot(q, next, "K");
        p.update(name, next);
        p.output(&format!("o{name}"), read);
    }
    let program = p.finish();
    assert_eq!(stages_of(&program), ["A B C: chunks"]);
    let alone = summary(&apart(&program, &["B".to_owned()].into()));
    assert_eq!(alone, ["A C: chunks", "B: chunks"]);
}

/// A state before the step is read along a vector that needs the last value of another one.
#[test]
fn readers_made_of_last_states_come_first() {
    let mut p = Step::new("late_reader");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let (s, r) = (p.state("S", "KV"), p.state("R", "VK"));
    let (write, other) = (p.outer(k, v), p.outer(v, k));
    let (next_s, next_r) = (p.add(s, write), p.add(r, other));
    let last = p.node(Op::Final(StateId(0)));
    let reader = p.dot(q, last, "K");
    let o = p.dot(reader, r, "V");
    p.update("S", next_s);
    p.update("R", next_r);
    p.output("o", o);
    assert_eq!(stages_of(&p.finish()), ["S: chunks", "R S_last: chunks"]);
}

#[test]
fn one_stage_is_the_program_itself() {
    let program = programs::normalised();
    let staged = staged(&program);
    assert_eq!(staged.stages[0].recurrence, program);
}

#[test]
fn every_class_is_recognised() {
    assert_eq!(stages_of(&programs::elementwise()), ["S: elementwise"]);
    assert_eq!(stages_of(&programs::stabilised()), ["m: max-plus", "S z: chunks"]);
    assert_eq!(stages_of(&programs::running_softmax()), ["c: log-sum-exp", "S: chunks"]);
    assert_eq!(stages_of(&programs::windows()), ["keys values: window", "S: chunks"]);
    assert_eq!(stages_of(&programs::dense()), ["h: dense"]);
    assert_eq!(stages_of(&programs::bent()), ["h: sequential"]);
    assert_eq!(stages_of(&programs::pointwise()), ["pointwise"]);
    assert_eq!(stages_of(&programs::viterbi()), ["a: max-plus"]);
    assert_eq!(stages_of(&programs::forward_sums()), ["a: log-sum-exp"]);
    let mixed = stages_of(&programs::coupled_vectors());
    assert_eq!(mixed, ["x y: mixed states"]);
}

#[test]
fn a_vector_that_is_read_as_a_whole_is_a_scan_of_its_own() {
    assert_eq!(stages_of(&programs::running_mean()), ["n: elementwise", "S: chunks"]);
}

#[test]
fn selections_leave_a_history_in_chunks() {
    let found = stages_of(&programs::sparse_read());
    assert!(found.contains(&"S: chunks".to_owned()), "{found:?}");
}

#[test]
fn orders_and_last_states_make_stages() {
    assert_eq!(stages_of(&programs::two_directions(1)), ["S: chunks", "R: chunks"]);
    assert_eq!(stages_of(&programs::grid()), ["A: chunks", "B: chunks", "C: chunks", "D: chunks"]);
    assert_eq!(stages_of(&programs::order_free()), ["S: chunks", "S_last: chunks"]);
    assert_eq!(
        stages_of(&programs::two_levels()),
        ["n a: chunks", "t S n_last a_last: chunks", "t_last S_last: chunks"]
    );
}

/// The exponent of a gate crosses rather than the gate, with the range that proves its sign.
#[test]
fn gates_cross_as_exponents() {
    let staged = staged(&programs::stabilised());
    let first = &staged.stages[0].recurrence;
    let logs = staged.stages[1].recurrence.inputs.iter();
    let logs = logs.filter(|i| first.outputs.iter().any(|o| o.name == i.name));
    let highest: Vec<f64> = logs.map(|i| i.range.hi).collect();
    assert_eq!(highest.iter().filter(|hi| **hi == 0.0).count(), 2, "{staged}");
}

fn refused(recurrence: &Recurrence) -> Diagnostic {
    let mut refused = stages(recurrence, &problem().extents).expect_err("there are no stages");
    assert_eq!(refused.len(), 1, "{refused:?}");
    let diagnostic = refused.remove(0);
    assert!(diagnostic.help.is_some(), "{diagnostic:?}");
    diagnostic
}

/// Where the refusal of a program points to.
fn blamed(diagnostic: &Diagnostic) -> NodeId {
    NodeId(diagnostic.primary.clone().expect("the refusal has a place").0.start)
}

#[test]
fn updates_that_are_not_affine_need_the_word() {
    let mut program = programs::bent();
    program.sequential = false;
    let diagnostic = refused(&program);
    assert_eq!(diagnostic.code, Code::NotAffine);
    let bent = program.nodes.iter().position(|n| matches!(n.op, Op::Unary(Unary::Tanh, _)));
    assert_eq!(Some(blamed(&diagnostic).0), bent);
    assert!(diagnostic.help.expect("a remedy").contains("`sequential`"));
}

#[test]
fn a_maximum_of_scaled_states_is_no_running_maximum() {
    let mut p = Step::new("scaled_maximum");
    let (f, x) = (p.ranged("f", "K", [0.0, 1.0]), p.token("x", "K"));
    let h = p.state("h", "K");
    let scaled = p.mul(f, h);
    let next = p.node(Op::Binary(Binary::Max, scaled, x));
    p.update("h", next);
    p.output("o", next);
    let diagnostic = refused(&p.finish());
    assert_eq!((diagnostic.code, blamed(&diagnostic)), (Code::NotAffine, next));
}

#[test]
fn histories_that_may_grow_are_refused_unless_the_program_is_sequential() {
    let mut p = Step::new("growing");
    let (q, g) = (p.token("q", "K"), p.ranged("g", "", [-1.0, 0.5]));
    let s = p.state("S", "KV");
    let next = p.decayed(g, s);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    let mut program = p.finish();
    let diagnostic = refused(&program);
    assert_eq!((diagnostic.code, blamed(&diagnostic)), (Code::UnsafeExponent, g));
    program.sequential = true;
    assert_eq!(stages_of(&program), ["S: elementwise"]);
}

#[test]
fn a_matrix_does_not_cross() {
    let mut p = Step::new("whole_matrix");
    let (k, v, q) = (p.token("k", "K"), p.token("v", "V"), p.token("q", "K"));
    let (s, r) = (p.state("S", "KV"), p.state("R", "KV"));
    let write = p.outer(k, v);
    let next_s = p.add(s, write);
    let bent = p.unary(Unary::Tanh, next_s);
    let next_r = p.add(r, bent);
    let o = p.dot(q, next_r, "K");
    p.update("S", next_s);
    p.update("R", next_r);
    p.output("o", o);
    let mut program = p.finish();
    // In one order both can run token by token together.
    assert_eq!(stages_of(&program), ["S R: elementwise"]);
    program.states[1].order = Order::Reverse;
    let diagnostic = refused(&program);
    assert_eq!((diagnostic.code, blamed(&diagnostic)), (Code::Unsupported, s));
    assert!(diagnostic.message.contains("matrix"), "{diagnostic:?}");
}

/// States that take each other up are one recurrence in one order only.
#[test]
fn a_matrix_of_another_order_is_not_taken_up() {
    let mut p = Step::new("p");
    let (k, v) = (p.token("k", "K"), p.token("v", "V"));
    let (a, b) = (p.state("A", "KV"), p.state("B", "KV"));
    let write = p.outer(k, v);
    let next = p.add(a, write);
    let read = p.dot(k, b, "K");
    p.update("A", next);
    p.update("B", a);
    p.output("o", read);
    let mut program = p.finish();
    program.states[1].order = Order::Reverse;
    let diagnostic = refused(&program);
    assert_eq!((diagnostic.code, blamed(&diagnostic)), (Code::Unsupported, a));
}

#[test]
fn a_dimension_without_a_size_is_named() {
    let extents = [("K".to_owned(), 4)].into();
    let refused = stages(&programs::normalised(), &extents).expect_err("V has no size");
    assert!(refused.iter().all(|d| d.code == Code::MissingDimension));
}

/// Names of what crosses are new and can be written in C.
#[test]
fn names_of_arrays_between_stages_clash_with_nothing() {
    let mut p = Step::new("names");
    let (q, k) = (p.token("m_1", "K"), p.token("k", "K"));
    let (m, s) = (p.state("m", "K"), p.state("S", "KV"));
    let next = p.node(Op::Binary(Binary::Max, m, k));
    let v = p.token("v", "V");
    let write = p.outer(next, v);
    let sum = p.add(s, write);
    let last = p.node(Op::Final(StateId(1)));
    let (now, end) = (p.dot(q, sum, "K"), p.dot(q, last, "K"));
    let o = p.add(now, end);
    p.update("m", next);
    p.update("S", sum);
    p.output("o", o);
    let mut program = p.finish();
    program.nodes[next.0].name = Some("m".to_owned());
    program.inputs[1].name = "S_last".to_owned();
    program.states[0].init = Init::Value(f64::NEG_INFINITY);
    let staged = staged(&program);
    assert_eq!(staged.stages[0].recurrence.outputs[0].name, "m_2", "{staged}");
    assert_eq!(staged.stages[2].recurrence.states[0].name, "S_last_1", "{staged}");
}
