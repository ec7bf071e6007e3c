//! Conversions between element types, bit by bit.

use crate::draft::{Draft, Phase};
use sluice_backends::scalar::{Options, Precision, jit};
use sluice_ir::kernel::*;
use sluice_ir::problem::{Array, Arrays, Problem};

/// Passes numbers through a kernel that loads `from`, keeps `tile`, and stores `to`.
fn pass_through(values: &[f64], [from, tile, to]: [Dtype; 3], options: Options) -> Vec<f64> {
    let mut draft = Draft::new("pass", Schedule::Step, 1);
    let x = draft.param("x", ParamKind::TokenIn, from, [1, 1]);
    let y = draft.param("y", ParamKind::TokenOut, to, [1, 1]);
    let t = draft.shared(tile, [1, 1], 1);
    draft.load(Phase::Body, t, x, 0);
    draft.store(Phase::Body, y, t);
    let code = jit(&draft.check(), options).expect("the host has a code generator");
    let problem = Problem::dense(&[], 1, values.len(), 1);
    let array = Array { shape: vec![values.len(), 1, 1, 1], data: values.to_vec() };
    let out = code.run(&problem, &Arrays::from([("x".to_owned(), array)])).expect("arrays fit");
    out["y"].data.clone()
}

fn same(got: f64, want: f64) -> bool {
    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan())
}

/// Every pattern of 16 bits, as a number.
fn all(dtype: Dtype) -> Vec<f64> {
    let patterns: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    sluice_ir::binding::decode(dtype, &patterns)
}

#[test]
fn all_16_bit_numbers_become_singles_and_come_back() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let numbers = all(dtype);
        let singles = [dtype, Dtype::F32, Dtype::F32];
        let back = [Dtype::F32, Dtype::F32, dtype];
        for types in [singles, back] {
            let got = pass_through(&numbers, types, Options::exact(Precision::F32));
            for (x, y) in numbers.iter().zip(got) {
                assert!(same(y, *x), "{x:e} through {types:?} became {y:e}");
            }
        }
    }
}

/// Singles around every 16-bit number: the halves between neighbours and just beside them.
fn near(dtype: Dtype) -> Vec<f64> {
    let numbers: Vec<f32> = all(dtype).into_iter().map(|x| x as f32).collect();
    let halves = numbers.windows(2).map(|w| w[0] + (w[1] - w[0]) / 2.0);
    let around = halves.flat_map(|h| [h, h.next_up(), h.next_down()]);
    around.map(f64::from).filter(|x| x.is_finite()).collect()
}

#[test]
fn rounding_is_to_nearest_even() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let numbers = near(dtype);
        let stored =
            pass_through(&numbers, [Dtype::F32, Dtype::F32, dtype], Options::exact(Precision::F32));
        let options = Options { precision: Precision::F64, round_tiles: true };
        let in_tile = pass_through(&numbers, [Dtype::F32, dtype, Dtype::F64], options);
        for ((x, stored), in_tile) in numbers.iter().zip(stored).zip(in_tile) {
            let want = dtype.round(*x);
            assert!(same(stored, want), "{x:e} as {dtype} became {stored:e}, not {want:e}");
            assert!(same(in_tile, want), "{x:e} in a tile became {in_tile:e}, not {want:e}");
        }
    }
}

#[test]
fn tiles_round_only_when_asked() {
    let types = [Dtype::F32, Dtype::Bf16, Dtype::F32];
    let third = f64::from(1f32 / 3.0);
    let exact = pass_through(&[third], types, Options::exact(Precision::F32));
    assert_eq!(exact, [third]);
    let options = Options { precision: Precision::F32, round_tiles: true };
    assert_eq!(pass_through(&[third], types, options), [Dtype::Bf16.round(third)]);
}
