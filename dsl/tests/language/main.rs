//! What each construct of the language means: evaluated steps against numbers worked out by hand.

mod calls;
mod complex;
mod orders;
mod refusals;
mod sizes;

use sluice_dsl::{lower_with, parse};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{Op, Rate, Recurrence, check, eval};

/// Files that programs of these tests use.
const LIBRARY: &[(&str, &str)] = &[
    (
        "decaying",
        "dim N = 2
        fn scaled(x: [A]) -> [A] { let y = 2 * x  y }
        recurrence decaying(x: [V], g: []) -> o: [V] {
            state S: [V] = 0
            S' = g * S + x
            o = S'
        }
        recurrence pair(x: [N]) -> (first: [N], both: [N]) {
            let a = decaying(scaled(x), 0.5)
            let b = reverse decaying(x, g = 1)
            first = a
            both = a + b
        }",
    ),
    (
        "sums",
        "fn scaled(x) = 3 * x\nrecurrence total(x: [V]) -> o: [V] { state s: [V] s' = s + x o = s' }",
    ),
    ("broken", "recurrence r(x: [V]) -> o: [V] { o = x + }"),
    ("recursive", "fn f(x) = f(x)\nrecurrence r(x: [V]) -> o: [V] { o = f(x) }"),
    ("circle", "use around\nfn f(x) = x"),
    ("around", "use circle\nfn g(x) = x"),
    ("misshapen", "fn mixed(x: [A], y: [B]) = x + y"),
];

fn lowered(text: &str) -> Result<Vec<Recurrence>, Vec<Diagnostic>> {
    let library =
        |name: &str| LIBRARY.iter().find(|(n, _)| *n == name).map(|(_, text)| (*text).to_owned());
    parse(text).and_then(|ast| lower_with(&ast, &library))
}

fn program(text: &str) -> Recurrence {
    let programs = lowered(text).unwrap_or_else(|errors| panic!("{errors:?}"));
    check(&programs[0]).expect("what is lowered is legal");
    programs.into_iter().next().expect("a program")
}

/// Outputs and final states of the first program of a text, for one sequence and one head. Each array
/// is given by its elements, token by token.
fn run(text: &str, sizes: &[(&str, usize)], tokens: usize, arrays: &[(&str, &[f64])]) -> Arrays {
    let program = program(text);
    let problem = Problem::dense(sizes, 1, tokens, 1);
    let size = |dims: &[sluice_ir::step::DimId]| -> Vec<usize> {
        dims.iter().map(|d| program.size(*d, &problem.extents).expect("a size")).collect()
    };
    let mut all = Arrays::new();
    for (name, data) in arrays {
        let input = program.inputs.iter().find(|i| i.name == *name).expect("an input");
        let mut shape = if input.rate == Rate::Token { vec![tokens, 1] } else { vec![1] };
        shape.extend(size(&input.dims));
        assert_eq!(shape.iter().product::<usize>(), data.len(), "elements of {name}");
        all.insert((*name).to_owned(), Array { shape, data: data.to_vec() });
    }
    eval(&program, &problem, &all)
}

/// The value of an expression at one token, where `x = (1, -2, 4)`, `y = (0.5, 2)` and `c = 3`.
fn value(declarations: &str, shape: &str, expression: &str) -> Vec<f64> {
    let text = format!(
        "{declarations}\nrecurrence r(x: [K], y: [V], c: []) -> o: {shape} {{ o = {expression} }}"
    );
    let arrays: &[(&str, &[f64])] = &[("x", &[1.0, -2.0, 4.0]), ("y", &[0.5, 2.0]), ("c", &[3.0])];
    run(&text, &[("K", 3), ("V", 2)], 1, arrays)["o"].data.clone()
}

fn assert_near(got: &[f64], expected: &[f64]) {
    let near = got.len() == expected.len()
        && got.iter().zip(expected).all(|(a, b)| a == b || (a - b).abs() < 1e-12);
    assert!(near, "{got:?} is not {expected:?}");
}

/// The errors of a text, each as its code, its message and the words that it blames.
fn blamed(text: &str) -> Vec<String> {
    let errors = lowered(text).expect_err("the text is refused");
    let words = |e: &Diagnostic| {
        assert!(e.help.is_some(), "every error has a remedy: {e}");
        for (span, _) in &e.labels {
            assert!(text.get(span.clone()).is_some_and(|words| !words.is_empty()));
        }
        let (span, _) = e.primary.clone().expect("these errors have a place");
        text[span].to_owned()
    };
    errors.iter().map(|e| format!("{} {} at `{}`", e.code, e.message, words(e))).collect()
}

/// How many nodes of a program are operations, not leaves.
fn operations(program: &Recurrence) -> usize {
    let leaf = |op: &Op| op.operands().is_empty();
    program.nodes.iter().filter(|n| !leaf(&n.op)).count()
}
