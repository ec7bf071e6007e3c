//! Formulas for sizes, and the functions that arrange elements or work on constants.

use crate::{assert_near, program, run, value};
use sluice_ir::step::DimId;
use std::collections::BTreeMap;

#[test]
fn sizes_are_computed_from_others() {
    let text = "dim D
    dim F = 1 + D + D * D
    dim H = (F - 1) / (D + 1) * 2
    recurrence r(x: [D]) -> (o: [], p: []) {
        o = F + sum(x)
        p = H
    }";
    let program = program(text);
    let sizes = BTreeMap::from([("D".to_owned(), 3)]);
    let size = |name: &str| {
        let at = program.dims.iter().position(|d| d.name == name).expect("the dimension exists");
        program.size(DimId(at), &sizes)
    };
    assert_eq!((size("F"), size("H")), (Some(13), Some(6)));
    let got = run(text, &[("D", 3)], 1, &[("x", &[1.0, 1.0, 1.0])]);
    assert_near(&got["o"].data, &[16.0]);
    assert_near(&got["p"].data, &[6.0]);
}

#[test]
fn a_formula_means_the_dimensions_of_each_call() {
    let text = "dim D
    dim F = 1 + D * D
    dim One = 1
    dim P = D * D
    fn squares(x: [D]) -> [F] {
        let pairs = reshape(outer(x, reshape(x, [E])), [P])
        concat(spread(1, [One]), pairs, F)
    }
    dim E = D
    recurrence r(x: [K], y: [V]) -> (o: [], p: []) {
        o = sum(squares(x))
        p = sum(squares(y))
    }";
    let got = run(text, &[("K", 3), ("V", 2)], 1, &[("x", &[1.0, -2.0, 4.0]), ("y", &[0.5, 2.0])]);
    assert_near(&got["o"].data, &[1.0 + 9.0]);
    assert_near(&got["p"].data, &[1.0 + 6.25]);
}

#[test]
fn values_spread_along_the_dimensions_that_they_lack() {
    assert_near(&value("", "[K]", "spread(c, [K])"), &[3.0; 3]);
    assert_near(&value("", "[K, V]", "spread(x, [K, V])"), &[1., 1., -2., -2., 4., 4.]);
    assert_near(&value("", "[V, K]", "spread(x, [V, K])"), &[1., -2., 4., 1., -2., 4.]);
    assert_near(&value("", "[V, K]", "spread(outer(x, y), [V, K])"), &[0.5, -1., 2., 2., -4., 8.]);
    let three = value("dim N = 2", "[K, N, V]", "spread(outer(x, y), [K, N, V])");
    assert_near(&three, &[0.5, 2., 0.5, 2., -1., -4., -1., -4., 2., 8., 2., 8.]);
}

#[test]
fn elements_keep_their_order_when_they_are_arranged() {
    assert_near(&value("", "[K]", "index(K) + x"), &[1.0, -1.0, 6.0]);
    let flat = value("dim F = K * V", "[F]", "reshape(outer(x, y), [F])");
    assert_near(&flat, &[0.5, 2.0, -1.0, -4.0, 2.0, 8.0]);
    assert_near(&value("dim F = K + V", "[F]", "concat(x, y, F)"), &[1.0, -2.0, 4.0, 0.5, 2.0]);
    let along = value(
        "dim F = K + V\ndim W = V",
        "[F, V]",
        "concat(outer(x, y), spread(y, [W, V]), K, W, F)",
    );
    assert_near(&along, &[0.5, 2.0, -1.0, -4.0, 2.0, 8.0, 0.5, 2.0, 0.5, 2.0]);
    let second = "slice(concat(y, 10 * y, F), F, V, 1)";
    assert_near(&value("dim F = 2 * V", "[V]", second), &[5.0, 20.0]);
}

#[test]
fn windows_are_pushed_and_the_largest_elements_marked() {
    let declarations = "dim W = 2";
    let pushed = value(declarations, "[W, K]", "push(spread(c, [W, K]), x)");
    assert_near(&pushed, &[3.0, 3.0, 3.0, 1.0, -2.0, 4.0]);
    assert_near(&value("", "[K]", "topk(x, 2)"), &[1.0, 0.0, 1.0]);
    assert_near(&value("dim N = 1", "[K]", "topk(x, N)"), &[0.0, 0.0, 1.0]);
    // Among equal elements the first counts.
    assert_near(&value("", "[K]", "topk(spread(c, [K]), 2)"), &[1.0, 1.0, 0.0]);
    assert_near(&value("", "[K, V]", "topk(outer(x, y), 1, V)"), &[0., 1., 1., 0., 0., 1.]);
}

#[test]
fn three_dimensions_are_multiplied_and_contracted() {
    let three = value("dim N = 2", "[K, V, N]", "outer(outer(x, y), index(N) + 1)");
    assert_near(&three, &[0.5, 1., 2., 4., -1., -2., -4., -8., 2., 4., 8., 16.]);
    // A product for each index of the dimension that both keep.
    let batched = "dot(spread(x, [N, K]), outer(index(N), outer(x, y)), K)";
    assert_near(&value("dim N = 2", "[N, V]", batched), &[0.0, 0.0, 10.5, 42.0]);
}

#[test]
fn functions_of_constant_matrices_are_known() {
    let declarations = "dim N = 2\ndim M = N";
    // A = [[2, 1], [1, 2]] from one where indices differ and two where they do not.
    let a = "where(spread(index(N), [N, M]) == spread(index(M), [N, M]), 2, spread(1, [N, M]))";
    let third = 1.0 / 3.0;
    let inverse = value(declarations, "[N, M]", &format!("inverse({a})"));
    assert_near(&inverse, &[2.0 * third, -third, -third, 2.0 * third]);
    // Eigenvalues 3 and 1 on (1, 1) and (1, -1).
    let (p, m) = ((3f64.exp() + 1f64.exp()) / 2.0, (3f64.exp() - 1f64.exp()) / 2.0);
    let exponential = value(declarations, "[N, M]", &format!("matrix_exp({a})"));
    assert_near(&exponential, &[p, m, m, p]);
}

#[test]
fn the_new_pointwise_functions_and_reductions() {
    assert_near(&value("", "[]", "logaddexp(c, c)"), &[3.0 + 2f64.ln()]);
    assert_near(&value("", "[]", "log1p(c) + expm1(c)"), &[4f64.ln() + 3f64.exp() - 1.0]);
    assert_near(&value("", "[]", "exp2(c)"), &[8.0]);
    assert_near(&value("", "[V]", "floor(y) + 10 * sign(-y)"), &[-10.0, -8.0]);
    assert_near(&value("", "[]", "norm(x)"), &[21f64.sqrt()]);
    assert_near(&value("", "[]", "min(x, K) + 100 * min(max(x), c)"), &[298.0]);
}
