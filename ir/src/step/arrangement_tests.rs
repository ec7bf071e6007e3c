//! Rearrangements, constants, orders and ranges of the step form against values worked out by hand.

use super::*;
use crate::problem::{Array, Arrays, Problem};
use std::collections::BTreeMap;

const K: DimId = DimId(0);
const V: DimId = DimId(1);
/// `K + V`, `K * V`, and as many as `V`.
const SUM: DimId = DimId(2);
const PRODUCT: DimId = DimId(3);
const LIKE_V: DimId = DimId(4);
const ONE: DimId = DimId(5);

fn dims() -> Vec<Dim> {
    let open = |name: &str| Dim { name: name.to_owned(), size: None, formula: None };
    let made =
        |name: &str, formula| Dim { name: name.to_owned(), size: None, formula: Some(formula) };
    let (k, v) = (|| Box::new(Formula::Dim(K)), || Box::new(Formula::Dim(V)));
    vec![
        open("K"),
        open("V"),
        made("F", Formula::Add(k(), v())),
        made("P", Formula::Mul(k(), v())),
        made("L", Formula::Dim(V)),
        Dim { name: "One".to_owned(), size: Some(1), formula: None },
    ]
}

/// A program whose inputs are x: [K], y: [V], m: [K, V].
struct Maker(Recurrence);

impl Maker {
    fn new() -> Self {
        let input = |name: &str, dims: &[DimId]| Input {
            name: name.to_owned(),
            dims: dims.to_vec(),
            sharing: Sharing::Head,
            rate: Rate::Token,
            dtype: None,
            range: Interval::ALL,
            doc: vec![],
            span: 0..0,
        };
        let mut maker = Maker(Recurrence {
            name: "made".to_owned(),
            doc: vec![],
            dims: dims(),
            inputs: vec![input("x", &[K]), input("y", &[V]), input("m", &[K, V])],
            states: vec![],
            nodes: vec![],
            updates: vec![],
            outputs: vec![],
            tables: vec![],
            sequential: false,
        });
        for i in 0..3 {
            maker.node(Op::Input(InputId(i)));
        }
        maker
    }

    fn node(&mut self, op: Op) -> NodeId {
        let dims = result_dims(&self.0, &op).expect("the operands fit");
        self.0.nodes.push(Node { op, dims, span: 0..0, name: None });
        NodeId(self.0.nodes.len() - 1)
    }

    fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(Binary::Add, a, b))
    }

    fn state(&mut self, name: &str, dims: &[DimId], order: Order) -> (StateId, NodeId) {
        self.0.states.push(State {
            name: name.to_owned(),
            dims: dims.to_vec(),
            init: Init::Value(0.0),
            range: None,
            order,
            doc: vec![],
            span: 0..0,
        });
        let id = StateId(self.0.states.len() - 1);
        (id, self.node(Op::State(id)))
    }

    fn output(&mut self, node: NodeId) {
        let name = format!("o{}", self.0.outputs.len());
        self.0.outputs.push(Output { name, node, dtype: None, doc: vec![], span: 0..0 });
    }

    /// Outputs and states for K = 2, V = 3, one head, and `tokens` tokens with x = (t, 10 t) from t = 1.
    fn run(&self, tokens: usize) -> Arrays {
        check(&self.0).expect("the program is legal");
        let fill = |shape: &[usize], f: &dyn Fn(usize) -> f64| {
            let mut array = Array::zeros(shape);
            array.data.iter_mut().enumerate().for_each(|(i, x)| *x = f(i));
            array
        };
        let arrays = BTreeMap::from([
            (
                "x".to_owned(),
                fill(&[tokens, 1, 2], &|i| {
                    (i / 2 + 1) as f64 * if i % 2 == 0 { 1.0 } else { 10.0 }
                }),
            ),
            ("y".to_owned(), fill(&[tokens, 1, 3], &|i| [5.0, -2.0, 5.0][i % 3])),
            ("m".to_owned(), fill(&[tokens, 1, 2, 3], &|i| (i % 6 + 1) as f64)),
        ]);
        eval(&self.0, &Problem::dense(&[("K", 2), ("V", 3)], 1, tokens, 1), &arrays)
    }
}

/// The value of an operation on the inputs at the first token.
fn value(op: impl FnOnce(&mut Maker) -> NodeId) -> Vec<f64> {
    let mut maker = Maker::new();
    let node = op(&mut maker);
    maker.output(node);
    maker.run(1)["o0"].data.clone()
}

const X: NodeId = NodeId(0);
const Y: NodeId = NodeId(1);
const M: NodeId = NodeId(2);

#[test]
fn elements_move_to_other_places() {
    let concat = |maker: &mut Maker| maker.node(Op::Concat(X, Y, [K, V], SUM));
    assert_eq!(value(concat), [1.0, 10.0, 5.0, -2.0, 5.0]);
    let flat = |maker: &mut Maker| maker.node(Op::Reshape(M, [Some(PRODUCT), None, None]));
    assert_eq!(value(flat), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let second = |maker: &mut Maker| maker.node(Op::Slice(M, V, ONE, 1));
    assert_eq!(value(second), [2.0, 5.0]);
    let last_row = |maker: &mut Maker| maker.node(Op::Slice(M, K, ONE, 1));
    assert_eq!(value(last_row), [4.0, 5.0, 6.0]);
    let pushed = |maker: &mut Maker| maker.node(Op::Push(M, Y));
    assert_eq!(value(pushed), [4.0, 5.0, 6.0, 5.0, -2.0, 5.0]);
    let wide = |maker: &mut Maker| maker.node(Op::Concat(M, M, [V, V], SUM));
    let mut maker = Maker::new();
    maker.0.dims[SUM.0].formula =
        Some(Formula::Add(Box::new(Formula::Dim(V)), Box::new(Formula::Dim(V))));
    let node = wide(&mut maker);
    maker.output(node);
    let row = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0];
    assert_eq!(maker.run(1)["o0"].data, [row, row.map(|x| x + 3.0)].concat());
}

#[test]
fn of_equal_elements_the_first_is_larger() {
    let top = |k| move |maker: &mut Maker| maker.node(Op::TopK(Y, V, k));
    assert_eq!(value(top(1)), [1.0, 0.0, 0.0]);
    assert_eq!(value(top(2)), [1.0, 0.0, 1.0]);
    assert_eq!(value(top(9)), [1.0, 1.0, 1.0]);
    let of_columns = |maker: &mut Maker| maker.node(Op::TopK(M, K, 1));
    assert_eq!(value(of_columns), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
}

#[test]
fn values_of_three_dimensions_broadcast_and_contract() {
    let cube = |maker: &mut Maker| {
        let index = maker.node(Op::Index(LIKE_V));
        maker.node(Op::Outer(index, M))
    };
    let scaled = |maker: &mut Maker| {
        let cube = cube(maker);
        let scaled = maker.node(Op::Binary(Binary::Mul, cube, X));
        maker.node(Op::Reduce(Reduction::Sum, scaled, LIKE_V))
    };
    assert_eq!(value(scaled), [3.0, 6.0, 9.0, 120.0, 150.0, 180.0]);
    let read = |maker: &mut Maker| {
        let cube = cube(maker);
        maker.node(Op::Dot(X, cube, K))
    };
    assert_eq!(value(read), [0.0, 0.0, 0.0, 41.0, 52.0, 63.0, 82.0, 104.0, 126.0]);
    let batched = |maker: &mut Maker| maker.node(Op::Dot(M, M, V));
    assert_eq!(value(batched), [14.0, 77.0]);
}

#[test]
fn constants_are_computed_when_sizes_are_known() {
    let mut maker = Maker::new();
    let index = maker.node(Op::Index(V));
    let two = maker.node(Op::Const(2.0));
    let doubled = maker.node(Op::Binary(Binary::Mul, index, two));
    let extent = maker.node(Op::Extent(SUM));
    let sum = maker.add(doubled, Y);
    maker.output(sum);
    let extents = BTreeMap::from([("K".to_owned(), 2), ("V".to_owned(), 3)]);
    let folded = fold(&maker.0, &extents);
    let Op::Table(table) = folded.node(doubled).op else { panic!("a constant array is a table") };
    assert_eq!(*folded.tables[table.0].values, [0.0, 2.0, 4.0]);
    assert_eq!(folded.node(extent).op, Op::Const(5.0));
    assert_eq!(folded.node(sum).op, maker.0.node(sum).op);
    assert_eq!(Maker(folded).run(2), maker.run(2));
}

#[test]
fn states_pass_over_the_tokens_in_their_own_orders() {
    let mut maker = Maker::new();
    for order in [Order::Forward, Order::Reverse, Order::Columns(K), Order::ReverseColumns(K)] {
        let name = format!("s{}", maker.0.states.len());
        let (_, before) = maker.state(&name, &[K], order);
        let after = maker.add(before, X);
        maker.0.updates.push(after);
        maker.output(before);
    }
    // A grid of two rows and two columns: column by column the tokens come as 1, 3, 2, 4.
    let got = maker.run(4);
    let first = |name: &str| got[name].data.iter().copied().step_by(2).collect::<Vec<_>>();
    assert_eq!(first("o0"), [0.0, 1.0, 3.0, 6.0]);
    assert_eq!(first("o1"), [9.0, 7.0, 4.0, 0.0]);
    assert_eq!(first("o2"), [0.0, 4.0, 1.0, 6.0]);
    assert_eq!(first("o3"), [9.0, 4.0, 6.0, 0.0]);
    assert!((0..4).all(|i| got[&format!("s{i}")].data == [10.0, 100.0]));
}

#[test]
fn a_node_may_join_sweeps_and_read_last_states() {
    let mut maker = Maker::new();
    let (forward, before) = maker.state("f", &[K], Order::Forward);
    let after = maker.add(before, X);
    maker.0.updates.push(after);
    // The second state takes up what the whole of the first has reached.
    let last = maker.node(Op::Final(forward));
    let (_, reversed) = maker.state("r", &[K], Order::Reverse);
    let share = maker.node(Op::Binary(Binary::Div, after, last));
    let next = maker.add(reversed, share);
    maker.0.updates.push(next);
    let both = maker.add(before, next);
    maker.output(both);
    let got = maker.run(3);
    // f after: 1, 3, 6, of 6; the reversed sum of thirds: 10/6, 9/6, 1; both: f before + that.
    let want = [10.0 / 6.0, 1.0 + 1.5, 3.0 + 1.0];
    for (got, want) in got["o0"].data.iter().step_by(2).zip(want) {
        assert!((got - want).abs() < 1e-15, "{got} {want}");
    }
    let found = sweeps(&maker.0).expect("the sweeps exist");
    assert_eq!(found.sweeps.len(), 2);
    assert!(found.carried[both.0] && found.first[both.0] == 1);
    assert!(!found.carried[last.0] && found.first[last.0] == 1);
}

#[test]
fn states_that_wait_for_themselves_are_refused() {
    let mut maker = Maker::new();
    let (state, before) = maker.state("s", &[K], Order::Forward);
    let last = maker.node(Op::Final(state));
    let next = maker.add(before, last);
    maker.0.updates.push(next);
    maker.output(next);
    assert!(check(&maker.0).expect_err("it waits").contains("its own last value"));

    let mut maker = Maker::new();
    let (_, f) = maker.state("f", &[K], Order::Forward);
    let (_, r) = maker.state("r", &[K], Order::Reverse);
    let next = maker.add(f, r);
    maker.0.updates.extend([next, next]);
    maker.output(next);
    let tangle = sweeps(&maker.0).expect_err("they wait for each other");
    assert_eq!(tangle.states, [StateId(0), StateId(1)]);
}

#[test]
fn a_learned_initial_state_is_an_input() {
    let mut maker = Maker::new();
    maker.0.inputs[0].rate = Rate::Model;
    let (_, before) = maker.state("s", &[K], Order::Forward);
    maker.0.states[0].init = Init::Input(InputId(0));
    let next = maker.add(before, before);
    maker.0.updates.push(next);
    maker.output(next);
    let arrays = BTreeMap::from([
        ("x".to_owned(), Array { shape: vec![1, 2], data: vec![3.0, 4.0] }),
        ("y".to_owned(), Array::zeros(&[2, 1, 3])),
        ("m".to_owned(), Array::zeros(&[2, 1, 2, 3])),
    ]);
    let problem = Problem::dense(&[("K", 2), ("V", 3)], 1, 2, 1);
    assert_eq!(eval(&maker.0, &problem, &arrays)["s"].data, [12.0, 16.0]);
    maker.0.inputs[0].rate = Rate::Token;
    assert!(check(&maker.0).expect_err("it changes").contains("per-model input"));
}

#[test]
fn ranges_see_counters_and_running_maxima() {
    let mut maker = Maker::new();
    let (_, n) = maker.state("n", &[], Order::Forward);
    maker.0.states[0].range = Some(Interval::new(0.0, f64::INFINITY));
    let one = maker.node(Op::Const(1.0));
    let counted = maker.add(n, one);
    let (_, m) = maker.state("m", &[K], Order::Forward);
    maker.0.states[1].init = Init::Value(f64::NEG_INFINITY);
    let larger = maker.node(Op::Binary(Binary::Max, m, X));
    maker.0.updates.extend([counted, larger]);
    let minus = maker.node(Op::Unary(Unary::Neg, larger));
    let below = maker.add(m, minus);
    let inverse = maker.node(Op::Unary(Unary::Recip, counted));
    let square = maker.node(Op::Binary(Binary::Mul, X, X));
    maker.output(below);
    let found = ranges(&maker.0, &BTreeMap::new());
    assert_eq!(found[counted.0], Interval::new(1.0, f64::INFINITY));
    assert_eq!(found[inverse.0], Interval::new(0.0, 1.0));
    assert_eq!(found[below.0].hi, 0.0);
    assert_eq!(found[square.0].lo, 0.0);
    assert_eq!(found[larger.0], Interval::ALL);
    // Whoever passes in a state of which nothing is said may pass in anything.
    maker.0.states[0].range = None;
    assert_eq!(ranges(&maker.0, &BTreeMap::new())[counted.0], Interval::ALL);
}
