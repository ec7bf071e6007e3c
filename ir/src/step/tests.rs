//! The step form against values worked out by hand.

use super::*;
use crate::problem::{Array, Arrays, Problem};
use std::collections::BTreeMap;

fn input(name: &str, dims: &[usize]) -> Input {
    Input {
        name: name.to_owned(),
        dims: dims.iter().map(|d| DimId(*d)).collect(),
        sharing: Sharing::Head,
        rate: Rate::Token,
        dtype: None,
        range: Interval::ALL,
        doc: vec![],
        span: 0..0,
    }
}

fn node(op: Op, dims: &[usize]) -> Node {
    Node { op, dims: dims.iter().map(|d| DimId(*d)).collect(), span: 0..0, name: None }
}

/// `S' = g * S + outer(k, v)`, `o = dot(q, S')`, with q and k shared by groups and g per model.
fn scaled_sum() -> Recurrence {
    let dim = |name: &str| Dim { name: name.to_owned(), size: None, formula: None };
    let by_group = |name| Input { sharing: Sharing::Group, ..input(name, &[0]) };
    let n = NodeId;
    Recurrence {
        name: "scaled_sum".to_owned(),
        doc: vec![],
        dims: vec![dim("K"), dim("V")],
        inputs: vec![
            by_group("q"),
            by_group("k"),
            input("v", &[1]),
            Input { rate: Rate::Model, range: Interval::new(0.0, 1.0), ..input("g", &[]) },
        ],
        states: vec![State {
            name: "S".to_owned(),
            dims: vec![DimId(0), DimId(1)],
            init: Init::Value(0.0),
            range: None,
            order: Order::Forward,
            doc: vec![],
            span: 0..0,
        }],
        nodes: vec![
            node(Op::State(StateId(0)), &[0, 1]),
            node(Op::Input(InputId(3)), &[]),
            node(Op::Binary(Binary::Mul, n(1), n(0)), &[0, 1]),
            node(Op::Input(InputId(1)), &[0]),
            node(Op::Input(InputId(2)), &[1]),
            node(Op::Outer(n(3), n(4)), &[0, 1]),
            node(Op::Binary(Binary::Add, n(2), n(5)), &[0, 1]),
            node(Op::Input(InputId(0)), &[0]),
            node(Op::Dot(n(7), n(6), DimId(0)), &[1]),
        ],
        updates: vec![n(6)],
        outputs: vec![Output {
            name: "o".to_owned(),
            node: n(8),
            dtype: None,
            doc: vec![],
            span: 0..0,
        }],
        tables: vec![],
        sequential: false,
    }
}

/// One token, one head, K = 2, V = 3: the value of the last node, which becomes the output.
fn value(nodes: Vec<Node>) -> Vec<f64> {
    let program = Recurrence {
        inputs: vec![input("a", &[0]), input("b", &[1]), input("m", &[0, 1]), input("c", &[])],
        states: vec![],
        updates: vec![],
        outputs: vec![Output {
            name: "o".to_owned(),
            node: NodeId(nodes.len() - 1),
            dtype: None,
            doc: vec![],
            span: 0..0,
        }],
        nodes,
        ..scaled_sum()
    };
    check(&program).expect("the program is legal");
    let array =
        |shape: &[usize], data: &[f64]| Array { shape: shape.to_vec(), data: data.to_vec() };
    let arrays: Arrays = BTreeMap::from([
        ("a".to_owned(), array(&[1, 1, 2], &[10.0, 20.0])),
        ("b".to_owned(), array(&[1, 1, 3], &[1.0, -2.0, 3.0])),
        ("m".to_owned(), array(&[1, 1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("c".to_owned(), array(&[1, 1], &[0.0])),
    ]);
    let problem = Problem::dense(&[("K", 2), ("V", 3)], 1, 1, 1);
    eval(&program, &problem, &arrays)["o"].data.clone()
}

/// Nodes 0 to 3 are the inputs a: [K], b: [V], m: [K, V] and c: [].
fn with_inputs(op: Op, dims: &[usize]) -> Vec<Node> {
    let leaf = |i: usize, dims: &[usize]| node(Op::Input(InputId(i)), dims);
    vec![leaf(0, &[0]), leaf(1, &[1]), leaf(2, &[0, 1]), leaf(3, &[]), node(op, dims)]
}

#[test]
fn broadcasts_by_dimension_name() {
    let (a, b, m, c) = (NodeId(0), NodeId(1), NodeId(2), NodeId(3));
    let mul = |x, y| value(with_inputs(Op::Binary(Binary::Mul, x, y), &[0, 1]));
    assert_eq!(mul(a, m), [10.0, 20.0, 30.0, 80.0, 100.0, 120.0]);
    assert_eq!(mul(m, b), [1.0, -4.0, 9.0, 4.0, -10.0, 18.0]);
    assert_eq!(mul(c, m), [0.0; 6]);
    let select = value(with_inputs(Op::Select(c, m, a), &[0, 1]));
    assert_eq!(select, [10.0, 10.0, 10.0, 20.0, 20.0, 20.0]);
}

#[test]
fn contracts_and_reduces_either_side() {
    let (a, b, m) = (NodeId(0), NodeId(1), NodeId(2));
    let (k, v) = (DimId(0), DimId(1));
    assert_eq!(value(with_inputs(Op::Dot(a, m, k), &[1])), [90.0, 120.0, 150.0]);
    assert_eq!(value(with_inputs(Op::Dot(m, b, v), &[0])), [6.0, 12.0]);
    assert_eq!(value(with_inputs(Op::Dot(b, b, v), &[])), [14.0]);
    assert_eq!(value(with_inputs(Op::Reduce(Reduction::Sum, m, v), &[0])), [6.0, 15.0]);
    assert_eq!(value(with_inputs(Op::Reduce(Reduction::Max, m, k), &[1])), [4.0, 5.0, 6.0]);
    assert_eq!(
        value(with_inputs(Op::Outer(b, a), &[1, 0])),
        [10.0, 20.0, -20.0, -40.0, 30.0, 60.0]
    );
    assert_eq!(value(with_inputs(Op::Extent(v), &[])), [3.0]);
}

#[test]
fn steps_through_sequences_heads_and_groups() {
    // Four heads in two groups; sequences of 2, 0 and 1 tokens; K = V = 1, so that all is scalar.
    let problem = Problem {
        extents: BTreeMap::from([("K".to_owned(), 1), ("V".to_owned(), 1)]),
        heads: 4,
        groups: 2,
        cu_seqlens: vec![0, 2, 2, 3],
    };
    let array =
        |shape: &[usize], data: &[f64]| Array { shape: shape.to_vec(), data: data.to_vec() };
    let mut arrays: Arrays = BTreeMap::from([
        ("q".to_owned(), array(&[3, 2, 1], &[1.0, 2.0, 1.0, 1.0, 3.0, 1.0])),
        ("k".to_owned(), array(&[3, 2, 1], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0])),
        ("v".to_owned(), array(&[3, 4, 1], &[1., 2., 3., 4., 5., 6., 7., 8., 1., 1., 1., 1.])),
        ("g".to_owned(), array(&[4], &[1.0, 0.5, 0.0, 1.0])),
    ]);
    let cold = eval(&scaled_sum(), &problem, &arrays);
    // Token 0: S = k v. Token 1: S = g k0 v0 + k1 v1. Token 2 is a new sequence.
    assert_eq!(cold["o"].shape, [3, 4, 1]);
    assert_eq!(cold["o"].data, [1., 2., 60., 80., 11., 13., 140., 200., 9., 9., 30., 30.]);
    assert_eq!(cold["S"].shape, [3, 4, 1, 1]);
    assert_eq!(cold["S"].data, [11., 13., 140., 200., 0., 0., 0., 0., 3., 3., 30., 30.]);

    arrays.insert("S".to_owned(), array(&[3, 4, 1, 1], &[8.0; 12]));
    let warm = eval(&scaled_sum(), &problem, &arrays);
    assert_eq!(warm["S"].data, [19., 15., 140., 208., 8., 8., 8., 8., 11., 7., 30., 38.]);
}

#[test]
fn the_declared_initial_value_is_used() {
    let mut program = scaled_sum();
    program.states[0].init = Init::Value(2.5);
    let problem = Problem::dense(&[("K", 2), ("V", 1)], 1, 0, 1);
    let shapes: [(&str, &[usize]); 4] =
        [("q", &[0, 1, 2]), ("k", &[0, 1, 2]), ("v", &[0, 1, 1]), ("g", &[1])];
    let arrays = shapes.into_iter().map(|(n, s)| (n.to_owned(), Array::zeros(s))).collect();
    assert_eq!(eval(&program, &problem, &arrays)["S"].data, [2.5, 2.5]);
}

#[test]
fn a_square_state_starts_from_the_identity() {
    let mut program = scaled_sum();
    program.dims[1].formula = Some(Formula::Dim(DimId(0)));
    program.states[0].init = Init::Identity;
    assert_eq!(check(&program), Ok(()));
    assert!(program.to_string().contains("state S: [K, V] = identity"), "{program}");
    let problem = Problem::dense(&[("K", 2)], 2, 0, 1);
    let shapes: [(&str, &[usize]); 4] =
        [("q", &[0, 1, 2]), ("k", &[0, 1, 2]), ("v", &[0, 1, 2]), ("g", &[1])];
    let arrays = shapes.into_iter().map(|(n, s)| (n.to_owned(), Array::zeros(s))).collect();
    assert_eq!(eval(&program, &problem, &arrays)["S"].data, [1., 0., 0., 1., 1., 0., 0., 1.]);
}

#[test]
fn broken_invariants_are_named() {
    let broken = |change: fn(&mut Recurrence)| {
        let mut program = scaled_sum();
        change(&mut program);
        check(&program).expect_err("the invariant is broken")
    };
    assert_eq!(check(&scaled_sum()), Ok(()));
    assert!(broken(|p| p.dims[1].name = "K".to_owned()).contains("dimension `K`"));
    assert!(broken(|p| p.dims[0].size = Some(0)).contains("size 0"));
    assert!(broken(|p| p.outputs[0].name = "k".to_owned()).contains("`k` is declared twice"));
    assert!(broken(|p| p.states[0].init = Init::Identity).contains("is not square"));
    let empty = |p: &mut Recurrence| {
        (p.nodes, p.updates, p.states, p.outputs) = (vec![], vec![], vec![], vec![]);
    };
    assert!(broken(empty).contains("neither an output nor a state"));
    assert!(broken(|p| p.inputs[3].range.lo = 2.0).contains("empty range"));
    assert!(broken(|p| p.states[0].dims = vec![DimId(0); 2]).contains("twice"));
    assert!(broken(|p| p.states[0].dims.clear()).contains("its operands give []"));
    assert!(broken(|p| p.nodes[2].op = Op::Unary(Unary::Exp, NodeId(2))).contains("not before it"));
    assert!(broken(|p| p.nodes[2].dims.reverse()).contains("its operands give [K, V]"));
    assert!(broken(|p| p.nodes[3].op = Op::Input(InputId(9))).contains("does not exist"));
    assert!(broken(|p| p.updates.clear()).contains("0 updates for 1 states"));
    assert!(broken(|p| p.updates[0] = NodeId(8)).contains("its update [V]"));
    assert!(broken(|p| p.outputs[0].node = NodeId(99)).contains("does not exist"));
}

#[test]
fn prints_every_part() {
    let mut program = scaled_sum();
    program.dims[1].size = Some(16);
    program.nodes[2].name = Some("D".to_owned());
    let expected = "\
recurrence scaled_sum
dims K, V = 16
input q: [K] by group
input k: [K] by group
input v: [V]
param g: [] in [0, 1]
state S: [K, V] = 0
%0: [K, V] = state S
%1: [] = input g
%2: [K, V] = mul %1 %0           # D
%3: [K] = input k
%4: [V] = input v
%5: [K, V] = outer %3 %4
%6: [K, V] = add %2 %5
%7: [K] = input q
%8: [V] = dot %7 %6 over K
update S = %6
output o: [V] = %8
";
    assert_eq!(program.to_string(), expected);
}
