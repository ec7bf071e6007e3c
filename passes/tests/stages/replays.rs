//! States that run a second time, for reads along vectors that need the state itself before.

use crate::agreement::{single, staged};
use crate::classes::summary;
use crate::step_form::Step;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::staged::{From, Stage, StateLink};
use sluice_ir::step::{NodeId, Op, Recurrence, StateId};

/// A history `S` with feedback between two writes, and its matrix after the first.
fn history(p: &mut Step) -> NodeId {
    let (k, v, beta) = (p.token("k", "K"), p.token("v", "V"), p.ranged("beta", "", [0.0, 1.0]));
    let (g, x, s) = (p.gate("g", ""), p.token("x", "K"), p.state("S", "KV"));
    let k = l2_bounded(p, k);
    let d = p.decayed(g, s);
    let seen = p.delta(d, [k, v, beta]);
    let write = p.outer(x, v);
    let next = p.add(seen, write);
    p.update("S", next);
    seen
}

/// `k / (1 + k . k)`: its erasures do not amplify.
fn l2_bounded(p: &mut Step, k: NodeId) -> NodeId {
    let (norm, one) = (p.dot(k, k, "K"), p.number(1.0));
    let norm = p.add(one, norm);
    p.div(k, norm)
}

/// What is read feeds a state that has no chunks, whose value is a query of the same matrix.
fn asked_by_its_own_reads() -> Recurrence {
    let mut p = Step::new("asked_by_its_own_reads");
    let (q, seen) = (p.token("q", "V"), history(&mut p));
    let read = p.dot(seen, q, "V");
    let c = p.state("c", "K");
    let next_c = p.node(Op::Binary(Binary::LogAddExp, c, read));
    let query = p.unary(Unary::Tanh, next_c);
    let o = p.dot(query, seen, "K");
    p.update("c", next_c);
    p.output("o", o);
    p.finish()
}

/// The state before the step, scaled, is read along a vector made of its own last value.
fn asked_by_its_last_value() -> Recurrence {
    let mut p = Step::new("asked_by_its_last_value");
    let (q, _) = (p.token("q", "K"), history(&mut p));
    let last = p.node(Op::Final(StateId(0)));
    let read = p.dot(q, last, "K");
    let query = p.unary(Unary::Tanh, read);
    let s = p.node(Op::State(StateId(0)));
    let scaled = p.mul(query, s);
    let o = p.dot(q, scaled, "K");
    let o = p.add(o, read);
    p.output("o", o);
    p.finish()
}

/// A query that a state makes of the very read: only token by token.
fn asked_by_what_it_answers() -> Recurrence {
    let mut p = Step::new("asked_by_what_it_answers");
    let seen = history(&mut p);
    let h = p.state("h", "K");
    let half = p.number(0.5);
    let query = p.add(half, h);
    let read = p.dot(query, seen, "K");
    let w = p.ranged_model("w", "VK", [-0.5, 0.5]);
    let turned = p.dot(read, w, "V");
    let next_h = p.unary(Unary::Tanh, turned);
    p.update("h", next_h);
    p.output("o", next_h);
    p.finish_sequential()
}

pub(crate) fn all() -> Vec<Recurrence> {
    vec![asked_by_its_own_reads(), asked_by_its_last_value(), asked_by_what_it_answers()]
}

#[test]
fn a_history_runs_again_after_its_readers() {
    let twice = ["S: chunks", "c: log-sum-exp", "S_again: chunks"];
    assert_eq!(summary(&staged(&asked_by_its_own_reads())), twice);
    assert_eq!(summary(&single(&asked_by_its_own_reads())), twice);
    let last = summary(&staged(&asked_by_its_last_value()));
    assert_eq!(last, ["S: chunks", "S_again S_last: chunks"]);
}

#[test]
fn a_read_that_its_query_needs_runs_token_by_token() {
    assert_eq!(summary(&staged(&asked_by_what_it_answers())), ["S h: sequential"]);
}

/// The caller's array may be the same before and after, so only the last run may write it.
#[test]
fn only_the_second_run_keeps_the_state() {
    for program in [asked_by_its_own_reads(), asked_by_its_last_value()] {
        let staged = staged(&program);
        let reads = |link: &StateLink| link.from == From::Initial("S".to_owned());
        let keeps = |stage: &Stage| {
            let own = stage.links.iter().find(|link| reads(link));
            own.map(|link| link.to == Some("S".to_owned()))
        };
        let kept: Vec<bool> = staged.stages.iter().filter_map(keeps).collect();
        assert_eq!(kept, [false, true], "{staged}");
    }
}
