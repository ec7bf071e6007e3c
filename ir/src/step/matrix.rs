//! Functions of square matrices, in f64.

use super::MatrixFunction;

/// The function of a row-major matrix of `size` rows. The inverse of a singular matrix is not finite.
pub(super) fn apply(f: MatrixFunction, a: &[f64], size: usize) -> Vec<f64> {
    match f {
        MatrixFunction::Inverse => solve(a, &identity(size), size),
        MatrixFunction::Exp => exponential(a, size),
    }
}

fn identity(size: usize) -> Vec<f64> {
    let mut unit = vec![0.0; size * size];
    unit.iter_mut().step_by(size + 1).for_each(|x| *x = 1.0);
    unit
}

fn product(a: &[f64], b: &[f64], size: usize) -> Vec<f64> {
    let mut out = vec![0.0; size * size];
    for (row, a) in out.chunks_exact_mut(size).zip(a.chunks_exact(size)) {
        for (x, b) in a.iter().zip(b.chunks_exact(size)) {
            row.iter_mut().zip(b).for_each(|(o, y)| *o += x * y);
        }
    }
    out
}

/// `a^-1 b` by elimination with row pivots [Golub and Van Loan 2013, 3.4].
fn solve(a: &[f64], b: &[f64], size: usize) -> Vec<f64> {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    for i in 0..size {
        let largest =
            |x: &usize, y: &usize| a[x * size + i].abs().total_cmp(&a[y * size + i].abs());
        let pivot = (i..size).max_by(largest).unwrap_or(i);
        for j in 0..size {
            a.swap(i * size + j, pivot * size + j);
            b.swap(i * size + j, pivot * size + j);
        }
        for row in (0..size).filter(|row| *row != i) {
            let factor = a[row * size + i] / a[i * size + i];
            for j in 0..size {
                a[row * size + j] -= factor * a[i * size + j];
                b[row * size + j] -= factor * b[i * size + j];
            }
        }
    }
    for i in 0..size {
        let pivot = a[i * size + i];
        b[i * size..(i + 1) * size].iter_mut().for_each(|x| *x /= pivot);
    }
    b
}

/// Scaling and squaring with the diagonal Pade approximant of degree 8 [Golub and Van Loan 2013,
/// 9.3.1]: exact to f64 once the norm is at most 1/2.
fn exponential(a: &[f64], size: usize) -> Vec<f64> {
    let row_sum = |row: &[f64]| row.iter().map(|x| x.abs()).sum::<f64>();
    let norm = a.chunks_exact(size.max(1)).map(row_sum).fold(0.0, f64::max);
    let halvings = if norm > 0.5 { (2.0 * norm).log2().ceil() as i32 } else { 0 };
    let scale = 0.5f64.powi(halvings);
    let a: Vec<f64> = a.iter().map(|x| x * scale).collect();
    const DEGREE: usize = 8;
    let (mut numerator, mut denominator) = (identity(size), identity(size));
    let (mut power, mut factor) = (identity(size), 1.0);
    for k in 1..=DEGREE {
        factor *= (DEGREE - k + 1) as f64 / (k * (2 * DEGREE - k + 1)) as f64;
        power = product(&power, &a, size);
        let sign = if k.is_multiple_of(2) { 1.0 } else { -1.0 };
        numerator.iter_mut().zip(&power).for_each(|(n, p)| *n += factor * p);
        denominator.iter_mut().zip(&power).for_each(|(d, p)| *d += sign * factor * p);
    }
    let mut out = solve(&denominator, &numerator, size);
    for _ in 0..halvings {
        out = product(&out, &out, size);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 1e-13 * (1.0 + y.abs()))
    }

    #[test]
    fn the_exponential_of_a_rotation_is_its_cosine_and_sine() {
        for angle in [0.0, 0.1, 1.0, 40.0] {
            let (sin, cos) = f64::sin_cos(angle);
            let got = apply(MatrixFunction::Exp, &[0.0, -angle, angle, 0.0], 2);
            assert!(close(&got, &[cos, -sin, sin, cos]), "{angle}: {got:?}");
        }
    }

    #[test]
    fn the_exponential_of_a_nilpotent_matrix_is_its_series() {
        let got = apply(MatrixFunction::Exp, &[0.0, 2.0, 3.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0], 3);
        assert!(close(&got, &[1.0, 2.0, 8.0, 0.0, 1.0, 5.0, 0.0, 0.0, 1.0]), "{got:?}");
    }

    #[test]
    fn an_inverse_needs_its_pivots() {
        let got = apply(MatrixFunction::Inverse, &[0.0, 2.0, 4.0, 1.0], 2);
        assert!(close(&got, &[-0.125, 0.25, 0.5, 0.0]), "{got:?}");
        assert!(apply(MatrixFunction::Inverse, &[1.0, 1.0, 1.0, 1.0], 2)[0].is_nan());
    }
}
