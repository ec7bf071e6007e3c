//! Orders of states, windows, delays, last states and what states start from.

use crate::{assert_near, program, run};

#[test]
fn a_reversed_state_sums_the_tokens_from_its_own_on() {
    let text = "recurrence r(x: []) -> (o: [], before: []) {
        state s: [] reverse = 1
        s' = s + x
        o = s'
        before = s
    }";
    let got = run(text, &[], 3, &[("x", &[2.0, 3.0, 5.0])]);
    assert_near(&got["o"].data, &[11.0, 9.0, 6.0]);
    assert_near(&got["before"].data, &[9.0, 6.0, 1.0]);
    assert_near(&got["s"].data, &[11.0]);
}

#[test]
fn a_grid_is_walked_column_by_column() {
    // Two rows of three columns, token by token 1 2 3 / 4 5 6.
    let text = "dim W = 3
    recurrence r(x: []) -> (down: [], up: []) {
        state d: [] columns(W) = 0
        state u: [] reverse columns(W) = 0
        d' = d + x
        u' = u + x
        down = d'
        up = u'
    }";
    let x: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let got = run(text, &[], 6, &[("x", x)]);
    // Down the columns the tokens come as 1 4 2 5 3 6.
    assert_near(&got["down"].data, &[1.0, 7.0, 15.0, 5.0, 12.0, 21.0]);
    assert_near(&got["up"].data, &[21.0, 16.0, 9.0, 20.0, 14.0, 6.0]);
}

#[test]
fn a_window_holds_the_last_values_with_the_current_one_last() {
    let text = "dim W = 3
    recurrence r(x: [V], param w: [W]) -> (o: [V], last_of: [V]) {
        window B: [W, V] = 2 * x
        o = dot(w, B')
        last_of = dot(w, last(B))
    }";
    let weights: &[f64] = &[1.0, 10.0, 100.0];
    let got = run(text, &[("V", 1)], 3, &[("x", &[1.0, 2.0, 3.0]), ("w", weights)]);
    assert_near(&got["o"].data, &[200.0, 420.0, 642.0]);
    assert_near(&got["last_of"].data, &[642.0; 3]);
    assert_near(&got["B"].data, &[2.0, 4.0, 6.0]);
}

#[test]
fn last_states_serve_every_token_and_may_feed_other_states() {
    // A mean over the sequence, and a second pass that sums the differences from it.
    let text = "recurrence r(x: []) -> (o: [], mean_of: []) {
        state n: [] in [0, inf) = 0
        state total: [] = 0
        state rest: [] = 0
        n' = n + 1
        total' = total + x
        let mean_of_all = last(total) / last(n)
        rest' = rest + (x - mean_of_all)
        o = rest'
        mean_of = mean_of_all
    }";
    let got = run(text, &[], 4, &[("x", &[1.0, 3.0, 3.0, 5.0])]);
    assert_near(&got["mean_of"].data, &[3.0; 4]);
    assert_near(&got["o"].data, &[-2.0, -2.0, -2.0, 0.0]);
}

#[test]
fn states_start_from_numbers_and_from_parameters() {
    let text = "recurrence r(x: [V], param Z: [V]) -> (o: [V], m: []) {
        state S: [V] = Z
        state top: [] = -inf
        S' = S + x
        top' = max(top, sum(x))
        o = S'
        m = top'
    }";
    let got = run(text, &[("V", 2)], 2, &[("x", &[1.0, 2.0, -9.0, 4.0]), ("Z", &[10.0, 20.0])]);
    assert_near(&got["o"].data, &[11.0, 22.0, 2.0, 26.0]);
    assert_near(&got["m"].data, &[3.0, 3.0]);
}

#[test]
fn documentation_ranges_and_the_word_sequential_reach_the_step() {
    let text = "/// Counts.
    sequential recurrence r(
        /// What is counted.
        x: [],
    ) -> (
        /// How many so far.
        o: [],
    ) {
        /// The count.
        state n: [] in [0, 5] reverse = 2
        n' = n + x
        o = n'
    }";
    let program = program(text);
    assert!(program.sequential && program.doc == ["Counts."]);
    assert_eq!(program.inputs[0].doc, ["What is counted."]);
    assert_eq!(program.outputs[0].doc, ["How many so far."]);
    assert_eq!(program.states[0].doc, ["The count."]);
    assert_eq!(program.states[0].range.map(|r| (r.lo, r.hi)), Some((0.0, 5.0)));
}

#[test]
fn words_of_one_place_are_names_elsewhere() {
    let text = "recurrence r(window: [], columns: [], complex: [], use: []) -> last: [] {
        state sequential: [] = 0
        let named = window + 2 * columns
        sequential' = sequential + named
        last = sequential' + 4 * complex + 8 * use
    }";
    let one: &[f64] = &[1.0];
    let got =
        run(text, &[], 1, &[("window", one), ("columns", one), ("complex", one), ("use", one)]);
    assert_near(&got["last"].data, &[15.0]);
}
