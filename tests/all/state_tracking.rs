//! Counting modulo 2 and 3 over many tokens with negative eigenvalues: every token exact.
//!
//! Parity: decays of -1 where the input is 1. Modulo 3: two reflections `I - k k^T` with
//! `k = e_i - e_j` exchange two rows each; one after the other they turn three rows round. All factors
//! are whole numbers, so that no form may round: what is expected is counted.

use crate::{cases, trial};
use libtest_mimic::{Failed, Trial};
use sluice::execute::{Engine, Run, execute, joined};
use sluice::kernels::{CHUNKS, plan};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Rounding};
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::Recurrence;
use sluice_ir::target::Target;
use sluice_passes::schedule::Build;
use std::rc::Rc;

/// Tokens that code of this machine counts.
const MANY: usize = 100_000;

/// Tokens that the evaluator of kernels counts: chunks of every length, the last one not full.
const SOME: usize = 1_000;

/// Keys and values of a state.
const SIZE: usize = 16;

pub(crate) fn trials() -> Vec<Trial> {
    type Counter = fn(usize) -> Count;
    let counts: [(&str, Counter); 2] = [("parity", parity), ("modulo_three", modulo_three)];
    let of = |(name, count): (&str, Counter)| {
        [
            trial(format!("state_tracking::{name}_f32"), move || count(MANY).check(in_f32)),
            trial(format!("state_tracking::{name}_chunks"), move || count(SOME).check(in_chunks)),
        ]
    };
    counts.into_iter().flat_map(of).collect()
}

/// Inputs of a program, and the first outputs of each token.
struct Count {
    program: &'static str,
    inputs: Arrays,
    want: Vec<Vec<f64>>,
}

impl Count {
    fn check(
        &self,
        run: fn(&Recurrence, &Problem, &Arrays) -> Result<Arrays, Failed>,
    ) -> Result<(), Failed> {
        let recurrence = cases::all_recurrences().into_iter().map(|(_, r)| r);
        let recurrence = recurrence.into_iter().find(|r| r.name == self.program);
        let recurrence = recurrence.ok_or("the library has no such program")?;
        let dims: Vec<(&str, usize)> =
            recurrence.dims.iter().map(|d| (d.name.as_str(), SIZE)).collect();
        let problem = Problem::dense(&dims, 1, self.want.len(), 1);
        let found = run(&recurrence, &problem, &self.inputs)?;
        let rows = found["o"].data.chunks(SIZE).zip(&self.want);
        let wrong = rows.filter(|(got, want)| got[..want.len()] != want[..]).count();
        if wrong == 0 { Ok(()) } else { Err(format!("{wrong} tokens are wrong").into()) }
    }
}

/// Code of this machine with f32 arithmetic.
fn in_f32(recurrence: &Recurrence, problem: &Problem, inputs: &Arrays) -> Result<Arrays, Failed> {
    let found = execute(recurrence, problem, inputs, Engine::Scalar(Dtype::F32));
    Ok(found.map_err(|e| format!("{e:?}"))?.0)
}

/// The kernels of a GPU with its rounding, by chunks where there are any.
fn in_chunks(
    recurrence: &Recurrence,
    problem: &Problem,
    inputs: &Arrays,
) -> Result<Arrays, Failed> {
    let target = Target::find("sm_90a").expect("the table has this target");
    let (extents, dtype, compute) = (&problem.extents, Dtype::Bf16, Dtype::F32);
    let build = Build { extents, dtype, compute, target };
    let plan = plan(recurrence, &build, CHUNKS, &mut |_, _| {}).map_err(|e| format!("{e:?}"))?;
    let runs = plan.kernels.into_iter().map(|stage| {
        let kernel = stage.scan.map_or(stage.step, |scan| scan.kernel);
        let run: Run = Box::new(move |p, a| Ok(kernel::eval(&kernel, p, a, Rounding::Stored)));
        run
    });
    let run = joined(&Rc::new(plan.staged), runs.collect());
    run(problem, inputs).map_err(|e| format!("{e:?}").into())
}

/// Digits below `base`, the same on every machine.
fn digits(tokens: usize, base: u64) -> Vec<u64> {
    let mut state = 1_u64;
    let mut next = || {
        // The multiplier of MMIX.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % base
    };
    (0..tokens).map(|_| next()).collect()
}

/// An array with a row a token.
fn rows(tokens: usize, row: impl Fn(usize) -> Vec<f64>) -> Array {
    let mut array = Array::zeros(&[tokens, 1, SIZE]);
    for (token, data) in array.data.chunks_mut(SIZE).enumerate() {
        let row = row(token);
        data[..row.len()].copy_from_slice(&row);
    }
    array
}

/// The sign of a state is that of the number of ones so far.
fn parity(tokens: usize) -> Count {
    let bits = digits(tokens, 2);
    let sign = |t: usize| if t > 0 && bits[t] == 1 { -1.0 } else { 1.0 };
    let first = |t: usize| vec![f64::from(u8::from(t == 0))];
    let decay = |t: usize| [vec![sign(t)], vec![1.0; SIZE - 1]].concat();
    let arrays = [
        ("q", rows(tokens, |_| vec![1.0])),
        ("k", rows(tokens, first)),
        ("v", rows(tokens, first)),
        ("a", rows(tokens, decay)),
    ];
    let want = (0..tokens).scan(1.0, |product, t| {
        *product *= sign(t);
        Some(vec![*product])
    });
    let inputs = arrays.map(|(name, array)| (name.to_owned(), array)).into();
    Count { program: "signed_gla", inputs, want: want.collect() }
}

/// A state of three rows is turned round by as many rows as a token says.
fn modulo_three(tokens: usize) -> Count {
    let steps = digits(tokens, 3);
    // Exchanges of neighbouring rows: one order turns up, the other down, and none leaves them.
    let pair = |step: u64| match step {
        1 => Some([0, 1]),
        2 => Some([1, 0]),
        _ => None,
    };
    let key = |factor: usize| {
        let steps = &steps;
        move |t: usize| {
            let mut key = vec![0.0; 3];
            if let Some(at) = pair(steps[t]).map(|pair| pair[factor]) {
                (key[at], key[at + 1]) = (1.0, -1.0);
            }
            key
        }
    };
    let none = || rows(tokens, |_| vec![]);
    let number = |x: f64| Array { shape: vec![tokens, 1], data: vec![x; tokens] };
    let mut state = Array::zeros(&[1, 1, SIZE, SIZE]);
    (0..3).for_each(|i| state.data[i * SIZE + i] = 1.0);
    let arrays = [
        ("q", rows(tokens, |_| vec![0.0, 1.0, 2.0])),
        ("k1", rows(tokens, key(0))),
        ("k2", rows(tokens, key(1))),
        ("v1", none()),
        ("v2", none()),
        ("beta1", number(1.0)),
        ("beta2", number(1.0)),
        ("g", number(0.0)),
        ("S", state),
    ];
    let want = steps.iter().scan([0, 1, 2], |place, step| {
        for at in pair(*step).into_iter().flatten() {
            place.swap(at, at + 1);
        }
        let mut read = vec![0.0; 3];
        // The program divides what it reads by the root of its keys.
        place.iter().enumerate().for_each(|(i, p)| read[*p] = i as f64 / (SIZE as f64).sqrt());
        Some(read)
    });
    let want = want.collect();
    let inputs = arrays.map(|(name, array)| (name.to_owned(), array)).into();
    Count { program: "gated_delta_product", inputs, want }
}
