//! Complex values: arithmetic by hand, and the shape in which a rotation is written.

use crate::{assert_near, operations, program, run, value};

/// Both parts of a complex scalar expression.
fn parts(expression: &str) -> [f64; 2] {
    let part = |of: &str| value("", "[]", &format!("{of}({expression})"))[0];
    [part("re"), part("im")]
}

#[test]
fn arithmetic_is_that_of_complex_numbers() {
    let (z, w) = ("complex(1, 2)", "complex(3, -1)");
    assert_near(&parts(&format!("{z} + {w}")), &[4.0, 1.0]);
    assert_near(&parts(&format!("{z} - {w}")), &[-2.0, 3.0]);
    assert_near(&parts(&format!("c - {w}")), &[0.0, 1.0]);
    assert_near(&parts(&format!("{z} * {w}")), &[5.0, 5.0]);
    assert_near(&parts(&format!("c * {z} * 2")), &[6.0, 12.0]);
    // (1 + 2i)(3 + i) / 10.
    assert_near(&parts(&format!("{z} / {w}")), &[0.1, 0.7]);
    assert_near(&parts(&format!("c / {w}")), &[0.9, 0.3]);
    assert_near(&parts(&format!("{z} / 2")), &[0.5, 1.0]);
    assert_near(&parts(&format!("-conj({z})")), &[-1.0, 2.0]);
    assert_near(&parts("conj(c) + im(c)"), &[3.0, 0.0]);
    assert_near(&parts("where(c > 2, complex(1, 2), 5)"), &[1.0, 2.0]);
    assert_near(&parts("where(c < 2, complex(1, 2), 5)"), &[5.0, 0.0]);
    assert_near(&value("", "[]", "abs(complex(3, -4))"), &[5.0]);
    let (e, angle) = (1f64.exp(), 2f64);
    assert_near(&parts("exp(complex(1, 2))"), &[e * angle.cos(), e * angle.sin()]);
    assert_near(&parts("polar(c, 2)"), &[3.0 * angle.cos(), 3.0 * angle.sin()]);
    assert_near(&parts("cis(2)"), &[angle.cos(), angle.sin()]);
}

#[test]
fn products_and_sums_of_arrays_take_both_parts() {
    // x = (1, -2, 4) and z = x + 2ix.
    assert_near(&parts("dot(complex(x, 2 * x), x)"), &[21.0, 42.0]);
    assert_near(&parts("dot(complex(x, 2 * x), complex(x, 2 * x))"), &[-63.0, 84.0]);
    assert_near(&parts("sum(complex(x, 2 * x))"), &[3.0, 6.0]);
    let outer = value("", "[K, V]", "im(outer(complex(x, 2 * x), complex(y, -y)))");
    // (x + 2ix)(y - iy) = (1 + 2i)(1 - i) x y = (3 + i) x y.
    assert_near(&outer, &[0.5, 2.0, -1.0, -4.0, 2.0, 8.0]);
    // A scalar part takes the shape of the other.
    assert_near(&value("", "[K]", "im(complex(x, 7))"), &[7.0; 3]);
    assert_near(&value("", "[K]", "im(x + complex(1, 7))"), &[7.0; 3]);
    assert_near(&value("", "[K]", "re(x + complex(1, 7))"), &[2.0, -1.0, 5.0]);
    let joined = "im(concat(y, complex(x, x), F))";
    assert_near(&value("dim F = V + K", "[F]", joined), &[0.0, 0.0, 1.0, -2.0, 4.0]);
}

#[test]
fn states_inputs_and_outputs_have_an_array_for_each_part() {
    let text = "recurrence r(x: complex [V], param z: complex [V]) -> (o: complex [V], p: [V]) {
        state H: complex [V] = z
        state G: complex [V] = 2
        window B: complex [W, V] = x
        H' = complex(0, 1) * H + x
        G' = G
        o = H' + dot(spread(1, [W]), B')
        p = im(last(H)) + re(G)
    }
    dim W = 2";
    let got = run(
        text,
        &[("V", 1)],
        2,
        &[("x_re", &[1.0, 0.0]), ("x_im", &[0.0, 2.0]), ("z_re", &[3.0]), ("z_im", &[4.0])],
    );
    // i(3 + 4i) + 1 = -3 + 3i, then i(-3 + 3i) + 2i = -3 - i.
    assert_near(&got["H_re"].data, &[-3.0]);
    assert_near(&got["H_im"].data, &[-1.0]);
    assert_near(&got["o_re"].data, &[-2.0, -2.0]);
    assert_near(&got["o_im"].data, &[3.0, 1.0]);
    assert_near(&got["p"].data, &[1.0, 1.0]);
    assert_near(&got["G_im"].data, &[0.0]);
}

#[test]
fn a_real_value_becomes_complex_where_that_is_declared() {
    let text = "fn twice(z: complex [A]) -> complex [A] = 2 * z
    recurrence r(x: [V]) -> o: complex [V] {
        state H: complex [V] = 0
        H' = x
        o = H' + twice(x)
    }";
    let got = run(text, &[("V", 2)], 1, &[("x", &[1.0, 2.0])]);
    assert_near(&got["o_re"].data, &[3.0, 6.0]);
    assert_near(&got["o_im"].data, &[0.0, 0.0]);
}

#[test]
fn a_rotation_is_written_with_two_shared_factors() {
    let text = |factor: &str| {
        format!(
            "recurrence r(g: [N] in (-inf, 0], theta: [N], k: [N], v: [V]) -> o: [V] {{
                state H: complex [N, V] = 0
                H' = {factor} * H + outer(k, v)
                o = re(dot(k, H'))
            }}"
        )
    };
    let expected = "\
recurrence r
dims N, V
input g: [N] in [-inf, 0]
input theta: [N]
input k: [N]
input v: [V]
state H_re: [N, V] = 0
state H_im: [N, V] = 0
%0: [N] = input g
%1: [N] = exp %0
%2: [N] = input theta
%3: [N] = cos %2
%4: [N] = mul %1 %3
%5: [N] = sin %2
%6: [N] = mul %1 %5
%7: [N, V] = state H_re
%8: [N, V] = state H_im
%9: [N, V] = mul %4 %7
%10: [N, V] = mul %6 %8
%11: [N, V] = mul %4 %8
%12: [N, V] = mul %6 %7
%13: [N, V] = neg %10
%14: [N, V] = add %9 %13
%15: [N, V] = add %11 %12
%16: [N] = input k
%17: [V] = input v
%18: [N, V] = outer %16 %17
%19: [N, V] = add %14 %18
%20: [V] = dot %16 %19 over N
update H_re = %19
update H_im = %15
output o: [V] = %20
";
    assert_eq!(program(&text("polar(exp(g), theta)")).to_string(), expected);
    // The others are the same nodes in another order.
    for factor in ["exp(g) * cis(theta)", "exp(complex(g, theta))"] {
        let other = program(&text(factor));
        assert_eq!(operations(&other), 15, "{factor}");
        let count = |name: &str| other.to_string().matches(&format!("= {name} %")).count();
        assert_eq!((count("exp"), count("cos"), count("sin"), count("mul")), (1, 1, 1, 6));
    }
}
