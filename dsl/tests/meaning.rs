//! Texts mean what their equations say: the evaluated step form against loops written from the equations.

use sluice_dsl::{lower, parse};
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{Rate, Recurrence, Sharing, check, eval};
use std::collections::BTreeMap;
use std::fs;

fn program(text: &str) -> Recurrence {
    let programs = parse(text).and_then(|ast| lower(&ast)).expect("the text has no errors");
    check(&programs[0]).expect("what is lowered is legal");
    programs.into_iter().next().expect("a program")
}

fn repository_program(path: &str) -> Recurrence {
    let path = format!("{}/../{path}.sluice", env!("CARGO_MANIFEST_DIR"));
    program(&fs::read_to_string(path).expect("the program exists"))
}

const K: usize = 3;
const V: usize = 5;

/// Two groups of two heads, sequences of 4, 0 and 7 tokens.
fn problem() -> Problem {
    let extents = [("K", K), ("V", V), ("N", K), ("P", V)];
    Problem {
        extents: extents.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect(),
        heads: 4,
        groups: 2,
        cu_seqlens: vec![0, 4, 4, 11],
    }
}

/// Numbers in (-1, 1) that differ for every name and place [Marsaglia 2003].
fn numbers(name: &str, count: usize) -> Vec<f64> {
    let mut state = name
        .bytes()
        .fold(0x9E37_79B9_7F4A_7C15_u64, |s, b| (s ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// An array for every input within its range, and an initial value for every state.
fn arrays(program: &Recurrence, problem: &Problem) -> Arrays {
    let array = |name: &str, shape: Vec<usize>| Array {
        data: numbers(name, shape.iter().product()),
        shape,
    };
    let size = |dims: &[sluice_ir::step::DimId]| -> Vec<usize> {
        dims.iter().map(|d| problem.extents[&program.dims[d.0].name]).collect()
    };
    let mut all = BTreeMap::new();
    for input in &program.inputs {
        let rows = if input.sharing == Sharing::Group { problem.groups } else { problem.heads };
        let mut shape = if input.rate == Rate::Token { vec![problem.tokens()] } else { vec![] };
        shape.push(rows);
        shape.extend(size(&input.dims));
        let mut array = array(&input.name, shape);
        array.data.iter_mut().for_each(|x| *x = x.max(input.range.lo).min(input.range.hi));
        all.insert(input.name.clone(), array);
    }
    for state in &program.states {
        let mut shape = vec![problem.sequences(), problem.heads];
        shape.extend(size(&state.dims));
        all.insert(state.name.clone(), array(&state.name, shape));
    }
    all
}

/// One head at one token: its row of any input, at any rate and sharing.
struct Place<'a> {
    program: &'a Recurrence,
    problem: &'a Problem,
    arrays: &'a Arrays,
    token: usize,
    head: usize,
}

impl Place<'_> {
    fn vector(&self, name: &str) -> Vec<f64> {
        let input = self.program.inputs.iter().find(|i| i.name == name).expect("an input");
        let (row, rows) = match input.sharing {
            Sharing::Group => (self.head * self.problem.groups / self.problem.heads, 2),
            Sharing::Head => (self.head, 4),
        };
        let (index, depth) = match input.rate {
            Rate::Token => (self.token * rows + row, 2),
            Rate::Model => (row, 1),
        };
        self.arrays[name].row(index, depth).to_vec()
    }

    fn scalar(&self, name: &str) -> f64 {
        self.vector(name)[0]
    }
}

/// Runs `step` over the tokens of every sequence and head with a `K x V` state, and compares its outputs
/// and its final state with the evaluator's.
fn agrees(
    program: &Recurrence,
    output: &str,
    step: impl Fn(&Place, &mut [[f64; V]; K]) -> Vec<f64>,
) {
    let problem = problem();
    let arrays = arrays(program, &problem);
    let got = eval(program, &problem, &arrays);
    let close = |got: &[f64], expected: &[f64]| {
        assert_eq!(got.len(), expected.len());
        let near = got.iter().zip(expected).all(|(x, y)| (x - y).abs() <= 1e-12 * (1.0 + y.abs()));
        assert!(near, "{}: {got:?} is not {expected:?}", program.name);
    };
    for sequence in 0..problem.sequences() {
        for head in 0..problem.heads {
            let chain = sequence * problem.heads + head;
            let mut state = [[0.0; V]; K];
            let initial = arrays["S"].row(chain, 2);
            (0..K * V).for_each(|i| state[i / V][i % V] = initial[i]);
            for token in problem.cu_seqlens[sequence]..problem.cu_seqlens[sequence + 1] {
                let place = Place { program, problem: &problem, arrays: &arrays, token, head };
                let expected = step(&place, &mut state);
                close(got[output].row(token * problem.heads + head, 2), &expected);
            }
            close(got["S"].row(chain, 2), state.as_flattened());
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `k^T S`.
fn read(k: &[f64], state: &[[f64; V]; K]) -> Vec<f64> {
    (0..V).map(|v| (0..K).map(|i| k[i] * state[i][v]).sum()).collect()
}

fn root_of_k() -> f64 {
    (K as f64).sqrt()
}

#[test]
fn erasing_and_writing_with_groups_and_an_initial_state() {
    let program = repository_program("stdlib/recurrences/gated_delta_rule");
    agrees(&program, "o", |at, state| {
        let (q, k, v) = (at.vector("q"), at.vector("k"), at.vector("v"));
        let (decay, beta) = (at.scalar("g").exp(), at.scalar("beta"));
        let held: Vec<f64> = read(&k, state).iter().map(|x| decay * x).collect();
        for i in 0..K {
            for j in 0..V {
                state[i][j] = decay * state[i][j] + beta * k[i] * (v[j] - held[j]);
            }
        }
        read(&q, state).iter().map(|x| x / root_of_k()).collect()
    });
}

#[test]
fn a_gate_made_inside_from_parameters_of_the_model() {
    let program = repository_program("stdlib/recurrences/ssd");
    agrees(&program, "y", |at, state| {
        let (x, b, c) = (at.vector("x"), at.vector("B"), at.vector("C"));
        let step = (at.scalar("dt") + at.scalar("dt_bias")).exp().ln_1p();
        let decay = (-at.scalar("A_log").exp() * step).exp();
        for i in 0..K {
            for j in 0..V {
                state[i][j] = decay * state[i][j] + b[i] * step * x[j];
            }
        }
        let skip = at.scalar("D");
        read(&c, state).iter().zip(&x).map(|(o, x)| o + skip * x).collect()
    });
}

#[test]
fn a_read_before_the_update() {
    let program = repository_program("stdlib/recurrences/rwkv6");
    agrees(&program, "o", |at, state| {
        let (r, k, v) = (at.vector("r"), at.vector("k"), at.vector("v"));
        let (w, u) = (at.vector("w"), at.vector("u"));
        let mut with_bonus = *state;
        for i in 0..K {
            for j in 0..V {
                with_bonus[i][j] += u[i] * k[i] * v[j];
                state[i][j] = w[i].exp() * state[i][j] + k[i] * v[j];
            }
        }
        read(&r, &with_bonus)
    });
}

#[test]
fn two_statements_on_one_state() {
    let program = repository_program("stdlib/recurrences/gated_delta_product");
    agrees(&program, "o", |at, state| {
        let decay = at.scalar("g").exp();
        state.as_flattened_mut().iter_mut().for_each(|x| *x *= decay);
        for (k, v, beta) in [("k1", "v1", "beta1"), ("k2", "v2", "beta2")] {
            let (k, v, beta) = (at.vector(k), at.vector(v), at.scalar(beta));
            let held = read(&k, state);
            for i in 0..K {
                for j in 0..V {
                    state[i][j] += beta * k[i] * (v[j] - held[j]);
                }
            }
        }
        read(&at.vector("q"), state).iter().map(|x| x / root_of_k()).collect()
    });
}

#[test]
fn decay_and_erasure_on_the_value_side() {
    let program = repository_program("examples/palimpsest/palimpsest");
    agrees(&program, "o", |at, state| {
        let (k, v, w, u) = (at.vector("k"), at.vector("v"), at.vector("w"), at.vector("u"));
        let (beta, alpha) = (at.scalar("beta"), at.scalar("alpha"));
        for i in 0..K {
            let faded: Vec<f64> = (0..V).map(|j| state[i][j] * w[j].exp()).collect();
            let along = dot(&faded, &u);
            for j in 0..V {
                state[i][j] = faded[j] - beta * along * u[j] + alpha * k[i] * v[j];
            }
        }
        read(&at.vector("q"), state).iter().map(|x| x / root_of_k()).collect()
    });
}

#[test]
fn a_denominator_in_a_second_state() {
    let program = repository_program("stdlib/recurrences/linear_attention_normalised");
    let problem = problem();
    let mut arrays = arrays(&program, &problem);
    let cold = (arrays.remove("S"), arrays.remove("z"));
    assert!(cold.0.is_some() && cold.1.is_some());
    let got = eval(&program, &problem, &arrays);
    let phi = |x: &[f64]| -> Vec<f64> {
        x.iter().map(|x| if *x > 0.0 { x + 1.0 } else { x.exp() }).collect()
    };
    // Token 3 of the last sequence sees tokens 4 to 7 of the whole, as a weighted mean of values.
    for head in 0..4 {
        let at =
            |token| Place { program: &program, problem: &problem, arrays: &arrays, token, head };
        let q = phi(&at(7).vector("q"));
        let weights: Vec<f64> = (4..=7).map(|t| dot(&q, &phi(&at(t).vector("k")))).collect();
        let total = weights.iter().sum::<f64>() + 1e-6;
        for j in 0..V {
            let expected: f64 =
                (4..=7).map(|t| weights[t - 4] * at(t).vector("v")[j]).sum::<f64>() / total;
            assert!((got["o"].row(7 * 4 + head, 2)[j] - expected).abs() < 1e-12);
        }
    }
}

/// The values of an expression of `x = (1, -2, 4)`, `y = (0.5, 2, -1)` and the scalar `c = 3`.
fn values(expression: &str) -> Vec<f64> {
    let shape = if expression.starts_with("[]") { "[]" } else { "[V]" };
    let expression = expression.trim_start_matches("[]");
    let text = format!(
        "dim F = 16\nfn half(z) = 0.5 * z\nfn between(a: [D], b: [D]) -> [D] {{ let s = a + b  half(s) }}\n\
         recurrence r(x: [V], y: [V], c: []) -> o: {shape} {{ o = {expression} }}"
    );
    let problem = Problem::dense(&[("V", 3)], 1, 1, 1);
    let array =
        |shape: &[usize], data: &[f64]| Array { shape: shape.to_vec(), data: data.to_vec() };
    let arrays = BTreeMap::from([
        ("x".to_owned(), array(&[1, 1, 3], &[1.0, -2.0, 4.0])),
        ("y".to_owned(), array(&[1, 1, 3], &[0.5, 2.0, -1.0])),
        ("c".to_owned(), array(&[1, 1], &[3.0])),
    ]);
    eval(&program(&text), &problem, &arrays)["o"].data.clone()
}

fn is(expression: &str, expected: &[f64]) {
    let got = values(expression);
    assert_eq!(got.len(), expected.len(), "{expression}");
    let near = got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near, "{expression} is {got:?}, not {expected:?}");
}

#[test]
fn operators_bind_and_group_as_in_arithmetic() {
    is("[]10 - 4 - 3", &[3.0]);
    is("[]2 + 3 * 4 / 8", &[3.5]);
    is("[]-(2 + c) * -2", &[10.0]);
    is("[]1 + 1 < 3", &[1.0]);
    is("[](c > 3) + 2 * (c >= 3) + 4 * (c == 3) + 8 * (c <= 2)", &[6.0]);
    is("x - c * y", &[-0.5, -8.0, 7.0]);
    is("[]F / V + rsqrt(F)", &[16.0 / 3.0 + 0.25]);
    is("--x * 1", &[1.0, -2.0, 4.0]);
}

#[test]
fn composed_functions_follow_their_formulas() {
    is("min(x, y) + max(x, 0) + pow(c, 2)", &[10.5, 9.0 - 2.0, 12.0]);
    is("clamp(x, -1, 2)", &[1.0, -1.0, 2.0]);
    is("where(x > 0, y, c)", &[0.5, 3.0, -1.0]);
    is("[]sum(x) + mean(y, V) + max(x, V) + max(y)", &[3.0 + 0.5 + 4.0 + 2.0]);
    is("[]dot(x, y) + matvec(x, x, V)", &[0.5 - 4.0 - 4.0 + 21.0]);
    let norm = 21f64.sqrt();
    is("l2norm(x)", &[1.0 / norm, -2.0 / norm, 4.0 / norm]);
    is("rmsnorm(x)", &[1.0 / 7f64.sqrt(), -2.0 / 7f64.sqrt(), 4.0 / 7f64.sqrt()]);
    // Centred: 0, -3, 3, whose mean square is 6.
    is("layernorm(x)", &[0.0, -3.0 / 6f64.sqrt(), 3.0 / 6f64.sqrt()]);
    let total = 1f64.exp() + (-2f64).exp() + 4f64.exp();
    is("softmax(x)", &[1f64.exp() / total, (-2f64).exp() / total, 4f64.exp() / total]);
    is("[]logsumexp(x)", &[total.ln()]);
    is("between(x, c * y) + half(c)", &[1.25 + 1.5, 2.0 + 1.5, 0.5 + 1.5]);
}

#[test]
fn equal_expressions_are_one_node_and_unused_ones_none() {
    let text = "recurrence r(g: [] in (-inf, 0], k: [K], v: [V]) -> o: [V] {
        state S: [K, V] = 0
        let unused = tanh(v)
        let D = exp(g) * S
        S' = exp(g) * S - outer(k, dot(k, D)) + (2 * 3 - 5) * outer(k, v)
        o = dot(k, S')
    }";
    let expected = "\
recurrence r
dims K, V
input g: [] in [-inf, 0]
input k: [K]
input v: [V]
state S: [K, V] = 0
%0: [V] = input v
%1: [] = input g
%2: [] = exp %1
%3: [K, V] = state S
%4: [K, V] = mul %2 %3           # D
%5: [K] = input k
%6: [V] = dot %5 %4 over K
%7: [K, V] = outer %5 %6
%8: [K, V] = neg %7
%9: [K, V] = add %4 %8
%10: [K, V] = outer %5 %0
%11: [K, V] = add %9 %10
%12: [V] = dot %5 %11 over K
update S = %11
output o: [V] = %12
";
    assert_eq!(program(text).to_string(), expected);
}
