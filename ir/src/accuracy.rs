//! How far a result may be from the definition: one measure and one tolerance for every comparison.

use crate::dtype::Dtype;

/// What a compared array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value per token, rounded to the element type when stored.
    Output,
    /// A state, stored in f32 or wider.
    State,
}

/// Root mean square of `got - want` over that of `want`.
///
/// If `want` is zero everywhere the result is the absolute root mean square. Arrays of different
/// lengths, any NaN in either array, and an infinity that is not the same in both give infinity, so
/// that a comparison `relative_rms(..) <= bound` fails. Empty arrays agree, and so do elements that
/// are the same infinity (a running maximum of nothing).
pub fn relative_rms(got: &[f64], want: &[f64]) -> f64 {
    let comparable = |(g, w): (&f64, &f64)| (g.is_finite() && w.is_finite()) || g == w;
    if got.len() != want.len() || !got.iter().zip(want).all(comparable) {
        return f64::INFINITY;
    }
    let finite = got.iter().zip(want).filter(|(_, w)| w.is_finite());
    let (error, want): (Vec<f64>, Vec<f64>) = finite.map(|(g, w)| (g - w, *w)).unzip();
    let reference = norm(&want);
    if reference > 0.0 {
        norm(&error) / reference
    } else {
        norm(&error) / (want.len().max(1) as f64).sqrt()
    }
}

/// Euclidean norm, scaled so that squares neither overflow nor vanish.
fn norm(values: &[f64]) -> f64 {
    let scale = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    if scale == 0.0 || scale.is_infinite() {
        return scale;
    }
    scale * values.iter().map(|x| (x / scale).powi(2)).sum::<f64>().sqrt()
}

/// Largest [`relative_rms`] allowed between a result computed with vectors of `dtype` and the
/// definition evaluated in f64 on the same (already rounded) inputs.
///
/// **16 bits.** One rounding of values whose significand is spread evenly over `[1, 2)` has a
/// relative root mean square of `u / sqrt(7)`, with `u` the unit roundoff: the error is uniform in
/// `+-u 2^e` (mean square `u^2 / 3`) and the mean square of the significand is `7 / 3`. A stored
/// output has passed up to seven independent roundings (decayed readers and writers, scores, the
/// copy of the state that a product reads, the solved values, the two factors of their product, and
/// the output itself); independent errors add in squares, so `sqrt(7) u / sqrt(7) = u`, which is
/// 3.9e-3 for bf16. A state is not rounded when stored and its sum has two rounded factors:
/// `sqrt(2 / 7) u` is 2.1e-3, of which the exact part carried from earlier chunks takes a share.
/// The bounds are therefore `1.024 u` and `0.512 u`: 4e-3 and 2e-3 for bf16. A form that needs more
/// has a rounding too many.
///
/// **32 and 64 bits.** Nothing is rounded but the arithmetic. A sum of `n` terms rounded at random
/// is off by about `sqrt(n) u`. The terms are the tokens; a factor 4 pays for the features, for the
/// exponents (a rounded exponent `g` is off by `|g| u`) and for cancellation. The floors, 1e-5 and
/// 1e-9, are what solves and transcendental functions cost at any length.
///
/// **Several scans.** What one scan hands to the next is f32, but carries the errors of its own
/// rounded operands. The errors of `scans` scans in a row are independent: `sqrt(scans)` times those
/// of one.
pub fn tolerance(dtype: Dtype, tokens: usize, kind: Kind, scans: usize) -> f64 {
    let unit = dtype.unit_roundoff();
    let accumulator = if dtype == Dtype::F64 { dtype } else { Dtype::F32 };
    let summation = 4.0 * accumulator.unit_roundoff() * (tokens as f64).sqrt();
    let rounding: f64 = match (dtype, kind) {
        (Dtype::F64, _) => 1e-9,
        (Dtype::F32, _) => 1e-5,
        (Dtype::F16 | Dtype::Bf16, Kind::Output) => 1.024 * unit,
        (Dtype::F16 | Dtype::Bf16, Kind::State) => 0.512 * unit,
    };
    rounding.max(summation) * (scans.max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_relative_to_the_reference() {
        assert_eq!(relative_rms(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((relative_rms(&[3.3, 4.4], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
        assert!(
            (relative_rms(&[1e200, 1.1e200], &[1e200, 1e200]) - 0.1 / 2f64.sqrt()).abs() < 1e-12
        );
    }

    #[test]
    fn is_absolute_against_zero() {
        assert!((relative_rms(&[0.3, -0.3], &[0.0, 0.0]) - 0.3).abs() < 1e-12);
        assert_eq!(relative_rms(&[], &[]), 0.0);
    }

    #[test]
    fn never_passes_what_is_not_a_number() {
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        for (got, want) in [(nan, 1.0), (1.0, nan), (nan, nan), (infinity, 1.0), (1.0, -infinity)] {
            assert_eq!(relative_rms(&[got], &[want]), infinity);
        }
        assert_eq!(relative_rms(&[infinity], &[-infinity]), infinity);
        assert_eq!(
            relative_rms(&[-infinity, 3.3], &[-infinity, 3.0]),
            relative_rms(&[3.3], &[3.0])
        );
        assert_eq!(relative_rms(&[1.0], &[1.0, 2.0]), f64::INFINITY);
    }

    #[test]
    fn bounds_are_the_promised_ones_and_grow_with_length() {
        assert_eq!(tolerance(Dtype::Bf16, 4096, Kind::Output, 1), 4e-3);
        assert_eq!(tolerance(Dtype::Bf16, 4096, Kind::State, 1), 2e-3);
        assert_eq!(tolerance(Dtype::F64, 4096, Kind::Output, 1), 1e-9);
        assert_eq!(tolerance(Dtype::F32, 500, Kind::Output, 1), 1e-5);
        assert!(tolerance(Dtype::F32, 1 << 20, Kind::State, 1) > 1e-5);
        assert_eq!(tolerance(Dtype::Bf16, 4096, Kind::Output, 4), 8e-3);
    }

    #[test]
    fn one_rounding_has_the_derived_size() {
        let exact: Vec<f64> = (0..200_000).map(|i| 1.0 + f64::from(i) / 200_000.0).collect();
        let rounded: Vec<f64> = exact.iter().map(|x| Dtype::Bf16.round(*x)).collect();
        let expected = Dtype::Bf16.unit_roundoff() / 7f64.sqrt();
        assert!((relative_rms(&rounded, &exact) / expected - 1.0).abs() < 0.02);
    }
}
