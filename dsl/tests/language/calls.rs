//! Recurrences that call others, functions and files that are used.

use crate::{assert_near, operations, program, run};

const DECAYING: &str = "recurrence decaying(x: [V], g: []) -> o: [V] {
    state S: [V] = 0
    S' = g * S + x
    o = S'
}";

/// The caller comes first, so that it is the program that is run.
fn calling(body: &str) -> String {
    format!("recurrence r(x: [K], y: [K]) -> o: [K] {{\n{body}\n}}\n{DECAYING}")
}

const X: &[f64] = &[1.0, 2.0, 4.0];
const Y: &[f64] = &[8.0, 16.0, 32.0];

fn outcome(body: &str) -> sluice_ir::problem::Arrays {
    run(&calling(body), &[("K", 1)], 3, &[("x", X), ("y", Y)])
}

#[test]
fn each_call_has_states_of_its_own() {
    let got = outcome("let a = decaying(x, 0.5)\nlet b = decaying(g = 1, x = y)\no = a + b");
    assert_near(&got["o"].data, &[1.0 + 8.0, 2.5 + 24.0, 5.25 + 56.0]);
    assert_near(&got["a_S"].data, &[5.25]);
    assert_near(&got["b_S"].data, &[56.0]);
}

#[test]
fn a_reversed_call_reverses_its_states() {
    let got = outcome("let a = reverse decaying(x, 0.5)\no = a + last(a_S) + 0 * a_S'");
    assert_near(&got["o"].data, &[6.0, 7.0, 7.0]);
    assert_near(&got["a_S"].data, &[3.0]);
    // Reversed twice: the first token comes first again.
    let twice = "recurrence r(x: [V]) -> o: [V] { o = reverse back(x) }
    recurrence back(x: [V]) -> o: [V] {
        state S: [V] reverse = 0
        let inner = reverse forth(x)
        S' = x + S
        o = S' + inner
    }
    recurrence forth(x: [V]) -> o: [V] { state T: [V] T' = T + x o = T' }";
    let got = run(twice, &[("V", 1)], 3, &[("x", X)]);
    assert_near(&got["o"].data, &[2.0, 6.0, 14.0]);
    assert_eq!(got["o_inner_T"].data, [7.0]);
}

#[test]
fn a_file_that_is_used_gives_recurrences_and_functions() {
    let text = "use decaying
    use sums
    recurrence r(x: [N]) -> (o: [N], p: [N]) {
        let (first, both) = pair(x)
        o = first
        p = both + total(x)
    }
    dim N = 2";
    assert!(crate::lowered(text).is_err(), "a recurrence is called by `let`");
    let text = text.replace("p = both + total(x)", "let t = total(x)\np = both + t");
    let x: &[f64] = &[1.0, 10.0, 2.0, 20.0];
    let got = run(&text, &[], 2, &[("x", x)]);
    // Doubled and halving: 2, 1 + 4. Reversed: 3, 2. Forwards: 1, 3.
    assert_near(&got["o"].data, &[2.0, 20.0, 5.0, 50.0]);
    assert_near(&got["p"].data, &[6.0, 60.0, 10.0, 100.0]);
    let program = program(&text);
    let states: Vec<&str> = program.states.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(states, ["first_a_S", "first_b_S", "t_s"]);
    // Later errors blame nodes and states at the calls in this text.
    for span in program.nodes.iter().map(|n| &n.span).chain(program.states.iter().map(|s| &s.span))
    {
        let words = &text[span.clone()];
        assert!(["pair(x)", "total(x)", "x", "both + t"].contains(&words), "{words}");
    }
}

#[test]
fn a_parameter_of_a_called_recurrence_may_start_its_states() {
    let text = "recurrence r(x: [V], param Z: [V]) -> (o: [V], p: [V]) {
        let a = from(x, Z)
        let b = ones(x)
        o = a
        p = b
    }
    recurrence from(x: [V], param start: [V]) -> o: [V] { state S: [V] = start S' = S + x o = S' }
    recurrence ones(x: [V]) -> o: [V] { let y = scalar(x, 5) o = y }
    recurrence scalar(x: [V], param c: []) -> o: [V] {
        state n: [] = c
        n' = n + 1
        o = n' * x
    }";
    let got = run(text, &[("V", 1)], 2, &[("x", &[1.0, 2.0]), ("Z", &[10.0])]);
    assert_near(&got["o"].data, &[11.0, 13.0]);
    assert_near(&got["p"].data, &[6.0, 14.0]);
}

#[test]
fn what_is_called_twice_with_the_same_arguments_is_computed_once() {
    // Each function calls the next one twice: 2^40 calls, but 40 sums.
    let mut text = "fn f0(x) = x + 1\n".to_owned();
    for i in 1..40 {
        text += &format!("fn f{i}(x) = f{}(x) * f{}(x)\n", i - 1, i - 1);
    }
    text += "recurrence r(x: [V]) -> o: [V] { o = f39(x) }";
    assert_eq!(operations(&program(&text)), 40);
}
