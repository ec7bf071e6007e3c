//! A stage on segments of its sequences gives what it gives on whole ones.

use crate::agreement::{arrays, difference, problem, staged};
use crate::step_form::Step;
use crate::{gauges, programs, replays};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::seq;
use sluice_ir::staged::{self, Class, Form, Runs, Stage, Staged};
use sluice_ir::step::{self, Init, Recurrence};
use sluice_passes::{lift, segments};

/// Relative difference that f64 sums of these lengths may show.
const TOLERANCE: f64 = 1e-12;

/// Tokens of a segment: the sequences of [`problem`] have whole ones and others.
const TOKENS: usize = 5;

fn all() -> impl Iterator<Item = Recurrence> {
    let rest = gauges::all().into_iter().chain(replays::all());
    [learned()].into_iter().chain(programs::all()).chain(rest)
}

/// A history that starts from a learned state.
fn learned() -> Recurrence {
    let mut p = Step::new("learned");
    let (k, v, g) = (p.token("k", "K"), p.token("v", "V"), p.gate("g", "K"));
    let (start, s) = (p.model("start", "KV"), p.state("S", "KV"));
    p.learned("S", start);
    let (write, decayed) = (p.outer(k, v), p.decayed(g, s));
    let next = p.add(decayed, write);
    let o = p.dot(k, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// The program with every stage on segments that can be, and how many are.
fn cut(staged: &Staged) -> (Staged, usize) {
    let (mut cut, mut count) = (staged.clone(), 0);
    while let Some((index, stages)) =
        (0..cut.stages.len()).find_map(|i| Some((i, segments(&cut, i, TOKENS)?)))
    {
        cut.stages.splice(index..=index, stages);
        count += 1;
    }
    staged::check(&cut).unwrap_or_else(|e| panic!("{}: {e}\n{cut}", cut.name));
    (cut, count)
}

#[test]
fn segments_agree_with_the_step() {
    let problem = problem();
    let (mut count, mut learned, mut dense) = (0, 0, 0);
    for recurrence in all() {
        let (cut, stages) = cut(&staged(&recurrence));
        if stages == 0 {
            continue;
        }
        count += stages;
        dense += cut.stages.iter().filter(|stage| mixes_rows(stage)).count();
        learned += recurrence.states.iter().filter(|s| matches!(s.init, Init::Input(_))).count();
        let mut arrays = arrays(&recurrence, &problem);
        for given in [true, false] {
            if !given {
                // From the declared states.
                recurrence.states.iter().for_each(|s| drop(arrays.remove(&s.name)));
            }
            let reference = step::eval(&recurrence, &problem, &arrays);
            let error = difference(&cut.eval(&problem, &arrays), &reference);
            assert!(error <= TOLERANCE, "{}: {error:.1e}\n{cut}", recurrence.name);
            // Summaries by their lifted terms too.
            let mut engine = |index: usize, problem: &_, arrays: &_| {
                let Stage { recurrence, form, runs, .. } = &cut.stages[index];
                if *form != Form::Chunks || !matches!(runs, Runs::Segments(_)) {
                    return Ok(step::eval(recurrence, problem, arrays));
                }
                let order = recurrence.states[0].order.with(|_| unreachable!("no grids"));
                let term = lift(recurrence, &problem.extents)?;
                Ok(seq::run(&term, order, problem, arrays))
            };
            let found = cut.run(&problem, &arrays, &mut engine);
            let found = found.unwrap_or_else(|e: Vec<Diagnostic>| panic!("{}: {e:?}", cut.name));
            let error = difference(&found, &reference);
            assert!(error <= TOLERANCE, "{}, lifted: {error:.1e}\n{cut}", recurrence.name);
        }
    }
    assert!(count > 5 && learned > 0, "{count} stages, {learned} learned starts");
    assert!(dense > 3, "{dense} joints of states whose rows are mixed");
}

fn mixes_rows(stage: &Stage) -> bool {
    let dense = matches!(stage.form, Form::Steps { class: Class::Dense, .. });
    dense && matches!(stage.runs, Runs::Joints(_))
}
