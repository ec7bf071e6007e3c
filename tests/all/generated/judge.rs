//! Whether every form of a program agrees with its definition.

use super::dice::Dice;
use super::grow::Grown;
use sluice::program::recurrences;
use sluice::verify::{self, Check, NATIVE, Options, Trial, draw};
use sluice_ir::accuracy::relative_rms;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::staged::{Class, Form};
use sluice_ir::step::{self, Recurrence};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Results are smaller than this: programs whose states swell say nothing about rounding.
const LIMIT: f64 = 1e12;

/// What came of a trial.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Everything agrees; so many results were compared.
    Sound(usize),
    /// The program is of a class that may be refused, and was, with a place in its text.
    Refused(Code),
    /// Something is wrong.
    Wrong(Fault),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// Where: stays the same while a program shrinks.
    pub(super) kind: String,
    /// In which way.
    pub(super) detail: String,
}

/// Tries a program; a panic is a fault of it.
pub(super) fn judge(grown: &Grown) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| tried(grown)))
        .unwrap_or_else(|panic| wrong("panic", message(&*panic)))
}

fn wrong(kind: impl Into<String>, detail: impl Into<String>) -> Verdict {
    Verdict::Wrong(Fault { kind: kind.into(), detail: detail.into() })
}

fn message(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn tried(grown: &Grown) -> Verdict {
    let recurrence = match recurrences(&grown.text) {
        Ok(all) => all.into_iter().next().expect("the text holds a recurrence"),
        Err(errors) => return wrong("text", format!("{errors:?}")),
    };
    let setting = &grown.setting;
    let problem = setting.problem(&recurrence);
    let inputs = draw(&recurrence, &problem, setting.dtype, setting.initial, setting.inputs);
    let want = step::eval(&recurrence, &problem, &inputs);
    // NaN is no number below the limit either.
    if !want.values().all(|array| array.data.iter().all(|x| x.abs() < LIMIT)) {
        return wrong("definition", "a result is too large to compare");
    }
    let options = Options {
        dtype: setting.dtype,
        target: setting.target,
        // Making the code takes most of the time: every other program gets the one or the other.
        native: &NATIVE[setting.inputs % NATIVE.len()..][..1],
        rounded: false,
        device: false,
    };
    match verify::at(&recurrence, &problem, &inputs, &[setting.chunk], options) {
        Ok(trial) => {
            let mut failed = trial.checks.iter().rev().filter(|check| !check.passed);
            let tells_nothing = |c: &Check| {
                vanishing(&want[&c.array].data, c)
                    || ill_conditioned(&recurrence, &problem, &inputs, c)
            };
            match failed.find(|c| !tells_nothing(c)) {
                Some(check) => wrong(&check.form, described(check)),
                None if grown.chunks => in_chunks(&recurrence, &problem, &trial),
                None => Verdict::Sound(trial.checks.len()),
            }
        }
        Err(errors) => refused(grown, &errors),
    }
}

/// A program whose class has a chunked form must have got it, with kernels.
fn in_chunks(recurrence: &Recurrence, problem: &Problem, trial: &Trial) -> Verdict {
    let staged = match sluice_passes::stages(recurrence, &problem.extents) {
        Ok(staged) => staged,
        Err(errors) => return wrong("stages", format!("{errors:?}")),
    };
    let reason = staged.stages.iter().find_map(|stage| match &stage.form {
        Form::Steps { class, reason } if *class != Class::Pointwise => Some(reason.clone()),
        Form::Steps { .. } | Form::Chunks => None,
    });
    if let Some(reason) = reason {
        return wrong("steps", reason);
    }
    match trial.left_out.iter().find(|(_, reason)| !reason.contains("bytes of shared memory")) {
        Some((kernel, reason)) => wrong("no kernel", format!("{kernel}: {reason}")),
        None => Verdict::Sound(trial.checks.len()),
    }
}

fn described(check: &Check) -> String {
    let Check { form, array, relative_rms, bound, .. } = check;
    format!("{array} of {form}: {relative_rms:.1e} > {bound:.0e}")
}

/// Only classes without a chunked form may be refused, and only at a place in the text.
fn refused(grown: &Grown, errors: &[Diagnostic]) -> Verdict {
    let allowed = [Code::Unsupported, Code::TooLarge];
    match errors {
        [error, ..] if error.primary.is_none() => {
            wrong(format!("{} nowhere", error.code), error.message.clone())
        }
        [error, ..] if grown.chunks || !allowed.contains(&error.code) => {
            wrong(format!("refused {}", error.code), format!("{errors:?}"))
        }
        [error, ..] => Verdict::Refused(error.code),
        [] => wrong("refused", "without a diagnostic"),
    }
}

/// Whether a result is off by less than the smallest f32 with all its digits, as what fades without
/// being written again is off in the end.
fn vanishing(want: &[f64], check: &Check) -> bool {
    let size = relative_rms(want, &vec![0.0; want.len()]);
    let error = if size > 0.0 { check.relative_rms * size } else { check.relative_rms };
    error < f64::from(f32::MIN_POSITIVE)
}

/// Whether inputs that differ by a hundredth of what a result may be off by move the definition of
/// that result about as far: then it says nothing about the form.
fn ill_conditioned(
    recurrence: &Recurrence,
    problem: &Problem,
    inputs: &Arrays,
    check: &Check,
) -> bool {
    let mut dice = Dice::new(0);
    let mut moved = inputs.clone();
    for x in moved.values_mut().flat_map(|array| &mut array.data) {
        *x *= 1.0 + check.bound / 100.0 * dice.pick(&[-1.0, 1.0]);
    }
    let results = |inputs| step::eval(recurrence, problem, inputs)[&check.array].data.clone();
    check.relative_rms <= 4.0 * relative_rms(&results(&moved), &results(inputs))
}
