//! Fused scans of every program at sizes that fill tiles, miss them by one, or are a single element.

use crate::agreement::{TOLERANCE, difference, inputs, options, target};
use crate::programs;
use crate::step_form::{Random, Step};
use sluice_ir::diagnostic::Code;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Rounding};
use sluice_ir::problem::Problem;
use sluice_ir::step::{self, DimId, Recurrence};
use sluice_passes::schedule::{Build, fine_scan, fused_scan};
use sluice_passes::{chunk, lift};
use std::collections::BTreeSet;

/// Around the extents of matrix instructions and fragments.
const SIZES: [usize; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, 33];

/// States with more elements are slow to evaluate.
const MOST_ELEMENTS: usize = 2000;

/// A sequence of more than one chunk, an empty one and a single token.
fn problem([k, v, m]: [usize; 3]) -> Problem {
    let mut problem = Problem::dense(&[("K", k), ("V", v), ("M", m)], 0, 0, 1);
    problem.cu_seqlens = vec![0, 37, 37, 38];
    problem
}

/// Whether every dimension has a size (some programs halve one) and states are small.
fn is_possible(recurrence: &Recurrence, problem: &Problem) -> bool {
    let size = |d: &DimId| recurrence.size(*d, &problem.extents);
    let of = |dims: &[DimId]| dims.iter().map(size).product::<Option<usize>>();
    let elements: Option<usize> = recurrence.states.iter().map(|s| of(&s.dims)).sum();
    let all = (0..recurrence.dims.len()).all(|i| size(&DimId(i)).is_some());
    all && elements.is_some_and(|n| n <= MOST_ELEMENTS)
}

/// The parts into which the scan of that length cuts the values, if it fits; then it is right.
fn parts(recurrence: &Recurrence, problem: &Problem, length: usize) -> Option<usize> {
    let at = || format!("{} at {:?}, chunk {length}", recurrence.name, problem.extents);
    let extents = &problem.extents;
    let term = lift(recurrence, extents).unwrap_or_else(|e| panic!("{}: {e:?}", at()));
    let chunked = chunk(&term, &options(length, Some(16)));
    let chunked = chunked.unwrap_or_else(|e| panic!("{}: {e:?}", at()));
    let build = Build { extents, dtype: Dtype::Bf16, compute: Dtype::F32, target: &target() };
    let kernel = match fused_scan(recurrence, &chunked.term, &build, length, &[]) {
        Ok(kernel) => kernel,
        Err(e) if e.code == Code::TooLarge => return None,
        Err(e) => panic!("{}: {e:?}", at()),
    };
    let arrays = inputs(recurrence, problem);
    let reference = step::eval(recurrence, problem, &arrays);
    let found = kernel::eval(&kernel, problem, &arrays, Rounding::Exact);
    let error = difference(&found, &reference);
    assert!(error <= TOLERANCE, "{}: {error:.1e}", at());
    Some(kernel.parts)
}

/// Every key size with another value size for each program, at both short chunks in turn.
#[test]
fn scans_are_right_at_every_size() {
    for recurrence in programs::all() {
        // What is drawn depends on the program alone.
        let mut random = Random::new(&recurrence.name);
        let mut below = |count: usize| (random.unit() * count as f64) as usize;
        let mut scans = 0;
        for k in SIZES {
            let [v, m] = [SIZES.len(), 8].map(|count| SIZES[below(count)]);
            let problem = problem([k, v, m]);
            let length = [16, 32][below(2)];
            let possible = is_possible(&recurrence, &problem);
            scans += usize::from(possible && parts(&recurrence, &problem, length).is_some());
        }
        assert!(scans >= 5, "{} has {scans} scans", recurrence.name);
    }
}

/// One decay for all values beside keys that are few.
#[test]
fn one_decay_serves_values_of_any_width() {
    let memories = programs::named("several memories");
    assert_eq!(parts(&memories, &problem([3, 8, 3]), 16), Some(1));
}

/// Values so wide that blocks of the grid share the columns, unless the program needs all of them at once.
#[test]
fn scans_are_right_when_the_values_are_cut() {
    let cut = ["scalar decay", "delta", "two-sided decay", "selective"].map(|name| (name, 2));
    for (name, count) in cut.into_iter().chain([("normed read", 1)]) {
        for width in [130, 161] {
            let found = parts(&programs::named(name), &problem([5, width, 3]), 16);
            assert_eq!(found, Some(count), "{name}, {width} values");
        }
    }
}

/// A memory and the number of tokens so far, by which what is read of it is divided: `n` starts from the
/// caller's number.
fn counted() -> Recurrence {
    let mut p = Step::new("counted");
    let (q, k, v) = (p.token("q", "K"), p.token("k", "K"), p.token("v", "V"));
    let (s, n) = (p.state("S", "KV"), p.state("n", ""));
    let one = p.number(1.0);
    let count = p.add(n, one);
    let write = p.outer(k, v);
    let next = p.add(s, write);
    let read = p.dot(q, next, "K");
    let o = p.div(read, count);
    p.update("S", next);
    p.update("n", count);
    p.output("o", o);
    p.finish()
}

/// A state of one column is every part's, not the first one's alone.
#[test]
fn one_column_serves_all_parts() {
    assert_eq!(parts(&counted(), &problem([5, 130, 3]), 16), Some(2));
}

/// Blocks with fewer columns, for few sequences and heads: as right, and none where chunks wait for an inverse
/// or one role does everything.
#[test]
fn scans_are_right_in_fine_parts() {
    let cases = [("scalar decay", 64, Some(2)), ("scalar decay", 16, None), ("delta", 64, None)];
    for (name, length, parts) in cases {
        let (recurrence, problem) = (programs::named(name), problem([64, 128, 3]));
        let (extents, target) = (&problem.extents, target());
        let build = Build { extents, dtype: Dtype::Bf16, compute: Dtype::F32, target: &target };
        let term = lift(&recurrence, extents).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let chunked = chunk(&term, &options(length, Some(16))).expect("it has chunks");
        let coarse = fused_scan(&recurrence, &chunked.term, &build, length, &[]);
        let coarse = coarse.expect("it fits");
        let fine = fine_scan(&recurrence, &chunked.term, &build, &[], &coarse);
        let found = fine.as_ref().map(|(fine, instances)| (fine.parts, *instances));
        assert_eq!(found, parts.map(|parts| (parts, target.processors / parts)), "{name}");
        let Some((fine, _)) = fine else { continue };
        assert!(coarse.parts == 1 && fine.name == format!("{}_fine", coarse.name));
        let arrays = inputs(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        let found = kernel::eval(&fine, &problem, &arrays, Rounding::Exact);
        assert!(difference(&found, &reference) <= TOLERANCE, "{name}");
    }
}

/// Dimensions of one size stay different: values as wide as keys, as slots, or as what a program makes of
/// them.
#[test]
fn scans_are_right_where_sizes_coincide() {
    for recurrence in programs::all() {
        let apart = problem([4, 5, 2]);
        let sizes = (0..recurrence.dims.len()).map(|i| recurrence.size(DimId(i), &apart.extents));
        let sizes: BTreeSet<usize> = sizes.flatten().filter(|size| *size != 5).collect();
        let wide = sizes.into_iter().map(|v| [4, v, 2]);
        let mut scans = 0;
        for extents in wide.chain([[4, 4, 4], [4, 5, 4]]) {
            let problem = problem(extents);
            let possible = is_possible(&recurrence, &problem);
            scans += usize::from(possible && parts(&recurrence, &problem, 16).is_some());
        }
        assert!(scans >= 3, "{} has {scans} scans", recurrence.name);
    }
}
