//! Staged programs against values worked out by hand, and what the checker refuses.

use super::*;
use crate::dtype::Dtype;
use crate::pointwise::{Binary, Interval};
use crate::problem::{Array, Arrays, Problem};
use crate::step::{
    Init, Input, InputId, Node, NodeId, Op, Order, Output, Rate, Recurrence, Sharing, State,
    StateId,
};
use std::collections::BTreeMap;

fn input(name: &str, dtype: Option<Dtype>) -> Input {
    Input {
        name: name.to_owned(),
        dims: vec![],
        sharing: Sharing::Head,
        rate: Rate::Token,
        dtype,
        range: Interval::ALL,
        doc: vec![],
        span: 0..0,
    }
}

fn state(name: &str, init: f64) -> State {
    State {
        name: name.to_owned(),
        dims: vec![],
        init: Init::Value(init),
        range: None,
        order: Order::Forward,
        doc: vec![],
        span: 0..0,
    }
}

/// A recurrence of scalars.
fn recurrence(
    name: &str,
    inputs: Vec<Input>,
    states: Vec<State>,
    ops: &[Op],
    updates: &[usize],
) -> Recurrence {
    let node = |op: &Op| Node { op: *op, dims: vec![], span: 0..0, name: None };
    Recurrence {
        name: name.to_owned(),
        doc: vec![],
        dims: vec![],
        inputs,
        states,
        nodes: ops.iter().map(node).collect(),
        updates: updates.iter().map(|n| NodeId(*n)).collect(),
        outputs: vec![],
        tables: vec![],
        sequential: false,
    }
}

fn output(name: &str, node: usize) -> Output {
    let (name, dtype) = (name.to_owned(), Some(Dtype::F32));
    Output { name, node: NodeId(node), dtype, doc: vec![], span: 0..0 }
}

fn link(from: From, to: Option<&str>) -> StateLink {
    StateLink { from, to: to.map(str::to_owned) }
}

/// `m' = max(m, x)`, then `S' = S + m'` with `o = S'`, then, once, `R = S - m` of the last states.
fn program() -> Staged {
    let n = NodeId;
    let (first, second) = (Op::State(StateId(0)), Op::State(StateId(1)));
    let x = Op::Input(InputId(0));
    let mut largest = recurrence(
        "p_1",
        vec![input("x", None)],
        vec![state("m", 1.0)],
        &[first, x, Op::Binary(Binary::Max, n(0), n(1))],
        &[2],
    );
    largest.outputs = vec![output("m_1", 2)];
    let mut sum = recurrence(
        "p_2",
        vec![input("m_1", Some(Dtype::F32))],
        vec![state("S", 0.5)],
        &[first, x, Op::Binary(Binary::Add, n(0), n(1))],
        &[2],
    );
    sum.outputs = vec![output("o", 2)];
    let minus = Op::Const(-1.0);
    let (negated, difference) =
        (Op::Binary(Binary::Mul, n(1), n(2)), Op::Binary(Binary::Add, n(0), n(3)));
    let last = recurrence(
        "p_3",
        vec![],
        vec![state("S", 0.0), state("m", 0.0)],
        &[first, second, minus, negated, difference],
        &[4, 1],
    );
    let steps = |class| Form::Steps { class, reason: "tested".to_owned() };
    let stage = |recurrence, links, runs, form| Stage { recurrence, links, runs, form };
    Staged {
        name: "p".to_owned(),
        outputs: vec!["o".to_owned()],
        states: vec!["m".to_owned(), "R".to_owned()],
        stages: vec![
            stage(
                largest,
                vec![link(From::Initial("m".to_owned()), Some("m"))],
                Runs::Tokens,
                steps(Class::MaxPlus),
            ),
            stage(sum, vec![link(From::Declared, Some("S_last"))], Runs::Tokens, Form::Chunks),
            stage(
                last,
                vec![
                    link(From::Last("S_last".to_owned()), Some("R")),
                    link(From::Last("m".to_owned()), None),
                ],
                Runs::Once,
                steps(Class::Mixed),
            ),
        ],
    }
}

#[test]
fn arrays_and_states_go_from_stage_to_stage() {
    let program = program();
    check(&program).expect("the program is legal");
    let mut problem = Problem::dense(&[], 0, 0, 1);
    problem.cu_seqlens = vec![0, 3, 3, 4];
    let array = |shape: &[usize], data: &[f64]| Array { shape: shape.to_vec(), data: data.into() };
    let mut arrays = Arrays::new();
    arrays.insert("x".to_owned(), array(&[4, 1], &[3.0, 0.0, 5.0, -2.0]));
    let results = program.eval(&problem, &arrays);
    assert_eq!(results.keys().collect::<Vec<_>>(), ["R", "m", "o"]);
    assert_eq!(results["o"].data, [3.5, 6.5, 11.5, 1.5]);
    assert_eq!(results["m"].data, [5.0, 1.0, 1.0]);
    // A sequence without tokens keeps what its states start from.
    assert_eq!(results["R"].data, [6.5, -0.5, 0.5]);
    // The caller sets a state of the program, and no other of the same name.
    arrays.insert("m".to_owned(), array(&[3, 1], &[4.0, 4.0, 4.0]));
    arrays.insert("S".to_owned(), array(&[3, 1], &[100.0; 3]));
    let results = program.eval(&problem, &arrays);
    assert_eq!(results["o"].data, [4.5, 8.5, 13.5, 4.5]);
}

#[test]
fn an_engines_error_ends_the_run() {
    let problem = Problem::dense(&[], 1, 1, 1);
    let mut seen = vec![];
    let x = Array { shape: vec![1, 1], data: vec![1.0] };
    let arrays = BTreeMap::from([("x".to_owned(), x)]);
    let mut engine = |index: usize, problem: &Problem, arrays: &Arrays| {
        seen.push((index, arrays.keys().cloned().collect::<Vec<_>>()));
        if index == 1 {
            return Err("no memory");
        }
        Ok(crate::step::eval(&program().stages[index].recurrence, problem, arrays))
    };
    assert_eq!(program().run(&problem, &arrays, &mut engine), Err("no memory"));
    assert_eq!(seen, [(0, vec!["x".to_owned()]), (1, vec!["m_1".to_owned()])]);
}

#[test]
fn the_checker_names_what_is_broken() {
    let broken = |change: fn(&mut Staged)| {
        let mut program = program();
        change(&mut program);
        check(&program).expect_err("the change breaks the program")
    };
    assert!(broken(|p| p.stages.swap(0, 1)).contains("`m_1`"));
    assert!(broken(|p| p.stages.swap(1, 2)).contains("no earlier stage keeps"));
    assert!(broken(|p| p.states.push("T".to_owned())).contains("no stage makes `T`"));
    assert!(broken(|p| p.stages[1].links[0].to = Some("m".to_owned())).contains("made twice"));
    assert!(broken(|p| drop(p.stages[1].links.pop())).contains("0 links for 1"));
    assert!(broken(|p| p.stages[1].runs = Runs::Once).contains("runs once"));
    assert!(broken(|p| p.stages[1].recurrence.inputs[0].dtype = None).contains("f32"));
    assert!(broken(|p| p.stages[1].recurrence.name = "p_1".to_owned()).contains("two stages"));
    let two_orders = |p: &mut Staged| p.stages[2].recurrence.states[0].order = Order::Reverse;
    assert!(!broken(two_orders).is_empty());
    let last = |p: &mut Staged| p.stages[0].recurrence.nodes[0].op = Op::Final(StateId(0));
    assert!(!broken(last).is_empty());
}

#[test]
fn stages_print_with_their_links() {
    let text = program().to_string();
    assert!(
        text.starts_with("staged p: 3 stages\n\n# stage 1, at every token, in steps (max-plus)")
    );
    assert!(text.contains("# stage 2, at every token, in chunks\nrecurrence p_2\n"));
    assert!(text.contains("keep S_last = S\n"), "{text}");
    assert!(text.ends_with("from S = last S_last\nfrom m = last m\nkeep R = S\n"), "{text}");
}
