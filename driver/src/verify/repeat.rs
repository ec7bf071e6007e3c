//! Whether a GPU computes the same bits again, and for a head of a sequence alone.

use super::Check;
use super::subjects::Subject;
use crate::alone::Alone;
use sluice_ir::accuracy::relative_rms;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::step::Recurrence;

/// Compares what `subject` computed with what it computes again, and with what it computes for the last
/// head of each sequence alone: no bit may differ.
pub(super) fn checks(
    recurrence: &Recurrence,
    problem: &Problem,
    inputs: &Arrays,
    subject: &Subject,
    first: &Arrays,
) -> Result<Vec<Check>, Diagnostic> {
    let again = (subject.run)(problem, inputs)?;
    let mut found = same(&format!("{}, again", subject.name), first, &again);
    let parts = if subject.alone { problem.sequences() } else { 0 };
    for sequence in 0..parts {
        let alone = Alone { recurrence, problem, sequence, head: problem.heads - 1 };
        let got = (subject.run)(&alone.problem(), &alone.inputs(inputs))?;
        found.extend(same(&format!("{}, alone", subject.name), &alone.results(first), &got));
    }
    Ok(found)
}

fn same(form: &str, want: &Arrays, got: &Arrays) -> Vec<Check> {
    let check = |(name, want): (&String, &_)| {
        let got = got.get(name);
        let passed = got.is_some_and(|got| bits(got) == bits(want));
        let far = || got.map_or(f64::INFINITY, |got| relative_rms(&got.data, &want.data));
        let relative_rms = if passed { 0.0 } else { far() };
        Check { form: form.to_owned(), array: name.clone(), relative_rms, bound: 0.0, passed }
    };
    want.iter().map(check).collect()
}

fn bits(array: &sluice_ir::problem::Array) -> Vec<u64> {
    array.data.iter().map(|x| x.to_bits()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_ir::dtype::Dtype;
    use sluice_ir::problem::Array;
    use std::cell::Cell;

    fn array(data: &[f64]) -> Array {
        Array { shape: vec![data.len()], data: data.to_vec() }
    }

    #[test]
    fn a_single_bit_is_a_difference() {
        let of = |x: f64| Arrays::from([("o".to_owned(), array(&[1.0, x]))]);
        assert!(same("f", &of(0.5), &of(0.5)).iter().all(|c| c.passed));
        assert!(!same("f", &of(0.5), &of(0.5_f64.next_up()))[0].passed);
        assert!(!same("f", &of(0.0), &of(-0.0))[0].passed);
        assert!(!same("f", &of(0.5), &Arrays::new())[0].passed);
    }

    #[test]
    fn what_differs_from_run_to_run_is_found() {
        let runs = Cell::new(0.0);
        let run = move |_: &Problem, _: &Arrays| {
            runs.set(runs.get() + 1.0);
            Ok(Arrays::from([("o".to_owned(), array(&[runs.get()]))]))
        };
        let subject = Subject {
            name: "device".to_owned(),
            dtype: Dtype::F32,
            device: true,
            alone: false,
            run: Box::new(run),
        };
        let source = "recurrence r(x: []) -> o: [] { state s: [] = 0  s' = s + x  o = s' }";
        let recurrence = crate::program::recurrences(source).expect("it is a program").remove(0);
        let problem = Problem::dense(&[], 0, 0, 1);
        let first = (subject.run)(&problem, &Arrays::new()).expect("it runs");
        let found =
            checks(&recurrence, &problem, &Arrays::new(), &subject, &first).expect("it runs");
        assert!(!found[0].passed);
    }
}
