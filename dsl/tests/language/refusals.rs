//! What misuses of the language are told, and where.

use crate::{blamed, lowered};

/// The errors of a program with an input `x: [K]` and one `y: [V]`.
fn of(body: &str) -> Vec<String> {
    blamed(&format!("recurrence r(x: [K], y: [V]) -> o: [K] {{\n{body}\n}}"))
}

#[track_caller]
fn one(errors: &[String], code: &str, place: &str) {
    let fits = errors.len() == 1
        && errors[0].starts_with(code)
        && errors[0].ends_with(&format!(" at `{place}`"));
    assert!(fits, "expected {code} at `{place}`, got {errors:?}");
}

#[test]
fn states_that_wait_for_each_other() {
    let both = "state a: [K] = 0\nstate b: [K] reverse = 0\na' = a + b\nb' = b + a'\no = a'";
    one(&of(both), "E0206", "state a: [K] = 0");
    one(&of("state a: [K] = 0\na' = a - last(a)\no = a'"), "E0206", "state a: [K] = 0");
    let later = "state a: [K] = 0\nstate b: [K] = 0\na' = a + last(b)\nb' = b + a\no = a'";
    one(&of(later), "E0206", "state a: [K] = 0");
}

#[test]
fn last_takes_a_state() {
    one(&of("o = last(x)"), "E0103", "x");
    one(&of("o = last(2 * x)"), "E0103", "2 * x");
    one(&of("o = last(S)"), "E0101", "S");
}

#[test]
fn orders_and_initial_values_must_exist() {
    one(&of("state a: [K] columns(W) = 0\na' = a\no = x"), "E0101", "W");
    one(&of("state a: [K] = z\na' = a\no = x"), "E0101", "z");
    one(&of("state a: [K] = x\na' = a\no = x"), "E0201", "x");
    one(&of("state a: [K] in [1, 0] = 0\na' = a\no = x"), "E0204", "in [1, 0]");
    one(&of("state a: [K] reverse reverse = 0\na' = a\no = x"), "E0001", "reverse");
    one(&blamed("sequential fn f(x) = x"), "E0001", "fn");
}

#[test]
fn sizes_must_fit_whatever_the_build_chooses() {
    let with = |dims: &str, body: &str| {
        blamed(&format!("{dims}\nrecurrence r(x: [K], y: [V], z: [F]) -> o: [] {{ o = {body} }}"))
    };
    one(&with("", "sum(concat(x, y, F))"), "E0201", "concat(x, y, F)");
    one(&with("dim F = K * V", "sum(concat(x, y, F))"), "E0201", "concat(x, y, F)");
    one(&with("", "sum(reshape(x, [F]))"), "E0201", "reshape(x, [F])");
    one(&with("", "sum(slice(x, K, F, 0))"), "E0201", "slice(x, K, F, 0)");
    one(&with("", "sum(slice(z, F, K, 0))"), "E0201", "slice(z, F, K, 0)");
    one(&with("dim F = 2 * K", "sum(slice(z, F, K, 2))"), "E0201", "slice(z, F, K, 2)");
    one(&with("", "sum(concat(outer(x, y), y, F))"), "E0201", "concat(outer(x, y), y, F)");
    one(&with("", "sum(concat(x, y, K, F))"), "E0103", "concat(x, y, K, F)");
    one(&with("", "sum(slice(x, K, K, c))"), "E0101", "c");
    one(&with("", "sum(push(x, y))"), "E0201", "push(x, y)");
    one(&with("", "sum(spread(x, [V]))"), "E0201", "spread(x, [V])");
    one(&with("", "sum(spread(x, V))"), "E0103", "V");
    one(&with("", "sum(spread(x, [K, K]))"), "E0201", "[K, K]");
    one(&with("", "sum(spread(x, [K, N]))"), "E0101", "N");
}

#[test]
fn formulas_are_made_of_dimensions_declared_before_them() {
    let with =
        |dims: &str| blamed(&format!("{dims}\nrecurrence r(x: [K]) -> o: [] {{ o = A + sum(x) }}"));
    one(&with("dim A = B + 1\ndim B = K"), "E0101", "B");
    one(&with("dim A = A"), "E0101", "A");
    one(&with("dim A = 2 * M"), "E0101", "M");
    one(&with("dim A = exp(K)"), "E0201", "exp(K)");
    one(&with("dim A = 0.5 * K"), "E0201", "0.5");
    one(&with("dim A = 3 / 2"), "E0201", "3 / 2");
    one(&with("dim A = 2 - 2"), "E0201", "2 - 2");
}

#[test]
fn counts_and_matrices_are_known_from_the_text() {
    one(&of("o = topk(x, sum(y))"), "E0103", "sum(y)");
    one(&of("o = topk(x, V)"), "E0103", "V");
    one(&of("o = topk(x, 0)"), "E0103", "0");
    one(&of("o = topk(x, 2.5)"), "E0103", "2.5");
    one(&of("let m = inverse(outer(x, y))\no = x"), "E0103", "outer(x, y)");
    one(&of("let m = matrix_exp(index(K))\no = x"), "E0201", "matrix_exp(index(K))");
    let square = "let m = inverse(outer(index(K), index(V)))\no = x";
    one(&of(square), "E0201", "inverse(outer(index(K), index(V)))");
}

#[test]
fn complex_values_stay_where_they_are_declared() {
    one(&of("let z = complex(x, x)\no = z"), "E0202", "z");
    one(&of("o = max(complex(x, x), x)"), "E0202", "complex(x, x)");
    one(&of("o = x * (cis(x) < 1)"), "E0202", "cis(x)");
    one(&of("o = sigmoid(cis(x))"), "E0202", "cis(x)");
    one(&of("o = softmax(cis(x))"), "E0202", "cis(x)");
    one(&of("state S: [K] = 0\nS' = S * cis(x)\no = S'"), "E0202", "S * cis(x)");
    let function = "fn f(a: [A]) = a\nrecurrence r(x: [K]) -> o: [K] { o = re(f(cis(x))) }";
    one(&blamed(function), "E0202", "cis(x)");
    let twice = "recurrence r(x: complex [K], x_re: [K]) -> o: [K] { o = x_re }";
    one(&blamed(twice), "E0102", "x_re");
    one(&of("let z = complex(x, y)\no = x"), "E0201", "complex(x, y)");
}

#[test]
fn recurrences_are_called_by_let_and_with_their_inputs() {
    let with = |body: &str| {
        blamed(&format!(
            "recurrence r(x: [K], y: [V]) -> o: [K] {{\n{body}\n}}
            sequential recurrence kept(a: [D]) -> (p: [D], q: [D]) {{ p = a q = a }}
            recurrence plain(a: [D], b: [D]) -> p: [D] {{ state S: [D] S' = a p = S' + b }}"
        ))
    };
    one(&with("o = 2 * plain(x, x)"), "E0103", "plain");
    one(&with("let (a, b) = plain(x, x)\no = a"), "E0103", "plain(x, x)");
    one(&with("let (a, b) = x\no = a"), "E0103", "x");
    one(&with("let a = plain(x)\no = a"), "E0103", "plain(x)");
    one(&with("let a = plain(x, y)\no = a"), "E0201", "y");
    one(&with("let a = plain(x, c = x)\no = a"), "E0103", "c = x");
    one(&with("let a = plain(x, a = x)\no = a"), "E0103", "a = x");
    one(&with("let (a, b) = kept(x)\no = a"), "E0103", "kept(x)");
    one(&with("let a = reverse exp(x)\no = a"), "E0103", "reverse");
    one(&with("o = exp(x = x)"), "E0103", "x");
    one(&with("o = x + sum([K])"), "E0103", "[K]");
    one(&with("state a_S: [K]\na_S' = x\nlet a = plain(x, x)\no = a"), "E0102", "plain(x, x)");
    one(&with("let a_S = x\nlet a = plain(x, x)\no = a"), "E0102", "plain(x, x)");
    let function = "fn f(x) { let (a, b) = x\n a }\nrecurrence r(x: [K]) -> o: [K] { o = f(x) }";
    one(&blamed(function), "E0001", "let (a, b) = x");
}

#[test]
fn recurrences_do_not_call_themselves() {
    let circle = "recurrence a(x: [V]) -> o: [V] { let y = b(x) o = y }
        recurrence b(x: [V]) -> o: [V] { let y = a(x) o = y }";
    one(&blamed(circle), "E0205", "a");
}

#[test]
fn files_that_are_used_exist_and_are_sound() {
    let using = |uses: &str, value: &str| {
        blamed(&format!("{uses}\nrecurrence r(x: [K], y: [V]) -> o: [K] {{ o = {value} }}"))
    };
    one(&using("use nothing", "x"), "E0501", "nothing");
    one(&using("use broken", "x"), "E0001", "broken");
    one(&using("use recursive", "x"), "E0205", "recursive");
    one(&using("use circle", "x"), "E0205", "circle");
    one(&using("use decaying\nuse sums", "scaled(x)"), "E0102", "scaled");
    // What is wrong in the other file is shown at the call that led there.
    one(&using("use misshapen", "mixed(x, y)"), "E0201", "mixed(x, y)");
    one(&using("use decaying", "scaled(outer(x, y))"), "E0201", "outer(x, y)");
    let own = "use sums\nfn scaled(x) = x\nrecurrence r(x: [K]) -> o: [K] { o = scaled(x) }";
    assert!(lowered(own).is_ok(), "its own declarations hide those of other files");
}

#[test]
fn functions_that_nobody_calls_are_looked_at() {
    let with = |functions: &str| {
        blamed(&format!("{functions}\nrecurrence r(x: [K]) -> o: [K] {{ o = x }}"))
    };
    one(&with("fn f(a) = a + missing"), "E0101", "missing");
    one(&with("fn f(a) = softplus(a, a)"), "E0103", "softplus");
    one(&with("fn f(a) = g(a, a)\nfn g(a) = a"), "E0103", "g");
    one(&with("fn f(a, a) = a"), "E0102", "a");
    one(&with("fn f(a: [A]) -> [B] = a"), "E0101", "B");
    one(&with("fn f(a) = r(a)"), "E0103", "r");
    one(&with("fn f(a) { let a = 1 a }"), "E0102", "a");
}

#[test]
fn depth_and_size_are_bounded() {
    let mut chain = "fn f0(x) = x\n".to_owned();
    let mut tree = "fn f0(x, y) = x * y\n".to_owned();
    for i in 1..1000 {
        chain += &format!("fn f{i}(x) = f{}(x)\n", i - 1);
        tree += &format!("fn f{i}(x, y) = f{}(x + y, y) + f{}(x, x - y)\n", i - 1, i - 1);
    }
    let chain = format!("{chain}recurrence r(x: [V]) -> o: [V] {{ o = f999(x) }}");
    assert!(blamed(&chain)[0].starts_with("E0403"));
    let tree = format!("{tree}recurrence r(x: [V]) -> o: [V] {{ o = f40(x, 2) }}");
    assert!(blamed(&tree)[0].starts_with("E0403"));
    let mut calls =
        "recurrence r0(x: [V]) -> o: [V] { state s: [V] s' = s + x o = s' }\n".to_owned();
    for i in 1..30 {
        let inner = i - 1;
        calls += &format!(
            "recurrence r{i}(x: [V]) -> o: [V] {{ let a = r{inner}(x) let b = r{inner}(a) o = b }}\n"
        );
    }
    assert!(blamed(&calls)[0].starts_with("E0403"));
    let mut dims = "dim D0\n".to_owned();
    (1..2000).for_each(|i| dims += &format!("dim D{i} = D{} + 1\n", i - 1));
    let dims = format!("{dims}recurrence r(x: [D1999]) -> o: [] {{ o = sum(x) }}");
    assert!(blamed(&dims)[0].starts_with("E0403"));
    let long = format!("recurrence r(x: [V]) -> o: [V] {{ o = {} }}", "x * (x + ".repeat(400));
    assert!(lowered(&long).is_err());
    let wide = vec!["f(x + x + x)"; 300].join(" + ");
    assert!(lowered(&format!("recurrence r(x: [V]) -> o: [V] {{ o = {wide} }}")).is_err());
}
