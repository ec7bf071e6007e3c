//! Lifted and chunked terms give what the step gives.

use crate::step_form::Random;
use crate::{programs, step_form};
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Checked, Rounding};
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::seq::{self, Array3, LeafKind, Mask, Seq, Source, Term, Values};
use sluice_ir::step::{self, Init, Order, Recurrence};
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::schedule::{Build, fused_scan};
use sluice_passes::{ChunkOptions, Chunked, Stop, chunk, lift};
use std::collections::BTreeMap;

/// Relative RMS difference that f64 sums of these lengths may show.
pub(crate) const TOLERANCE: f64 = 1e-12;

pub(crate) fn target() -> Target {
    *Target::find("sm_90a").unwrap_or(&TARGETS[0])
}

pub(crate) fn options(chunk: usize, sub_block: Option<usize>) -> ChunkOptions {
    let (tokens, instances, target) = (4096, 64, target());
    ChunkOptions { chunk, sub_block, whole_scores: false, tokens, instances, target }
}

/// Sequences of uneven lengths: a multiple of no chunk, none at all, one token, and a multiple of 64.
pub(crate) fn problem() -> Problem {
    let mut problem = Problem::dense(&[("K", 6), ("V", 5), ("M", 4)], 0, 0, 2);
    problem.groups = 1;
    problem.cu_seqlens = vec![0, 75, 75, 76, 204];
    problem
}

/// Random inputs and initial states; a state of its own sign keeps denominators away from 0.
pub(crate) fn inputs(recurrence: &Recurrence, problem: &Problem) -> Arrays {
    step_form::arrays(recurrence, problem, Some([0.0, 1.0]))
}

/// Root-mean-square difference over root-mean-square of the reference, the worst of all arrays.
pub(crate) fn difference(found: &Arrays, reference: &Arrays) -> f64 {
    assert_eq!(found.keys().collect::<Vec<_>>(), reference.keys().collect::<Vec<_>>());
    let mut worst = 0.0f64;
    for (name, reference) in reference {
        let found = &found[name];
        assert_eq!(found.shape, reference.shape, "shape of {name}");
        let square = |x: f64| x * x;
        let pairs = found.data.iter().zip(&reference.data);
        let error: f64 = pairs.map(|(x, y)| square(x - y)).sum();
        let size: f64 = reference.data.iter().map(|y| square(*y)).sum();
        assert!(size > 0.0, "{name} is 0 everywhere");
        assert!(!error.is_nan(), "{name} is not a number");
        worst = worst.max((error / size).sqrt());
    }
    worst
}

pub(crate) fn lifted(recurrence: &Recurrence) -> Term {
    lift(recurrence, &problem().extents).unwrap_or_else(|e| panic!("{}: {e:?}", recurrence.name))
}

pub(crate) fn chunked(recurrence: &Recurrence, options: &ChunkOptions) -> Chunked {
    let term = lifted(recurrence);
    chunk(&term, options).unwrap_or_else(|e| panic!("{}: {e:?}", recurrence.name))
}

#[test]
fn lifted_terms_agree_with_the_step() {
    for recurrence in programs::all() {
        let (problem, name) = (problem(), &recurrence.name);
        let arrays = inputs(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        let found = seq::run(&lifted(&recurrence), Order::Forward, &problem, &arrays);
        let error = difference(&found, &reference);
        assert!(error <= TOLERANCE, "{name}: {error:.1e}");
    }
}

#[test]
fn chunked_terms_agree_with_the_step() {
    for recurrence in programs::all() {
        let (problem, name) = (problem(), &recurrence.name);
        let arrays = inputs(&recurrence, &problem);
        let reference = step::eval(&recurrence, &problem, &arrays);
        for (length, sub_block) in [(16, None), (32, Some(16)), (64, None), (64, Some(16))] {
            let chunked = chunked(&recurrence, &options(length, sub_block));
            assert_eq!(chunked.saturation.stop, Stop::Saturated, "{name}");
            assert_eq!(chunked.term.token_loops(), 0, "{name}");
            let found = seq::run(&chunked.term, Order::Forward, &problem, &arrays);
            let error = difference(&found, &reference);
            assert!(error <= TOLERANCE, "{name}, chunk {length}: {error:.1e}");
        }
    }
}

/// Random values for the leaves of a term, for one sequence and head.
pub(crate) fn values(term: &Term, tokens: usize, live: usize) -> Values {
    let mut random = Random::new("values");
    let mut leaves = BTreeMap::new();
    let given = term.leaves().iter().filter(|(_, l)| !matches!(l.source, Source::Table(_)));
    for (name, leaf) in given {
        let shape = leaf.shape;
        let (lo, hi) = (leaf.range.lo.max(-1.0), leaf.range.hi.min(1.0));
        let extents = [shape.blocks.count(tokens), shape.rows, shape.features];
        let array = Array3::from_fn(extents, |t, _, _| {
            let x = random.between(lo, hi);
            let reset = leaf.range.hi == 0.0 && random.unit() < 0.15;
            match leaf.kind {
                LeafKind::Token if t >= live => 0.0,
                _ => {
                    if reset {
                        f64::NEG_INFINITY
                    } else {
                        x
                    }
                }
            }
        });
        leaves.insert(name.to_string(), array);
    }
    Values { tokens, live, leaves }
}

/// Largest relative RMS difference of the roots of two terms on the same values.
pub(crate) fn difference_of_terms(found: &Term, reference: &Term, values: &Values) -> f64 {
    let arrays = |term: &Term| -> Arrays {
        let of = |(name, array): (String, Array3)| {
            // Outputs of padding tokens mean nothing.
            let kept = if array.blocks == values.tokens { values.live } else { array.blocks };
            let shape = vec![kept, array.rows, array.features];
            let data = array.data[..shape.iter().product()].to_vec();
            (name, Array { shape, data })
        };
        seq::eval(term, values).into_iter().map(of).collect()
    };
    difference(&arrays(found), &arrays(reference))
}

/// The same history run from right to left: a lifted term with the transposed masks, where reads
/// after the step become reads with `after`.
pub(crate) fn reversed(term: &Term, after: Mask) -> Term {
    let text = term.to_string();
    let text = text.replace("(hist strict", "(hist tstrict").replace("(hz strict", "(hz tstrict");
    let text = text.replace("(hist incl", &format!("(hist {after}"));
    let text = text.replace("(fin strict", &format!("(fin {after}"));
    Term::parse(&text).expect("only masks were replaced")
}

/// Programs whose reversed histories are tested, with the mask of reads after the step: histories
/// with feedback are read strictly.
pub(crate) const REVERSED: &[(&str, Mask)] = &[
    ("linear", Mask::Tincl),
    ("linear", Mask::Tstrict),
    ("scalar decay", Mask::Tincl),
    ("scalar decay", Mask::Tstrict),
    ("key decay", Mask::Tincl),
    ("key decay", Mask::Tstrict),
    ("value decay", Mask::Tincl),
    ("value decay", Mask::Tstrict),
    ("delta", Mask::Tstrict),
    ("vector-gated delta", Mask::Tstrict),
    ("diagonal plus low rank", Mask::Tstrict),
    ("reads everywhere", Mask::Tstrict),
    ("scalar decay read along values", Mask::Tincl),
    ("scalar decay read along values", Mask::Tstrict),
    ("value decay read along values", Mask::Tincl),
    ("value decay read along values", Mask::Tstrict),
    ("cumulative sum", Mask::Tincl),
    ("cumulative sum", Mask::Tstrict),
];

#[test]
fn chunked_reversed_histories_agree_with_token_level_ones() {
    for (name, after) in REVERSED {
        let term = reversed(&lifted(&programs::named(name)), *after);
        let values = values(&term, 64, 51);
        for (length, sub_block) in [(16, None), (32, Some(16)), (64, Some(16))] {
            let chunked =
                chunk(&term, &options(length, sub_block)).expect("the program has a form");
            let error = difference_of_terms(&chunked.term, &term, &values);
            assert!(error <= TOLERANCE, "{name} {after}, chunk {length}: {error:.1e}");
        }
    }
}

/// Strictly before a step in reversed time is strictly after it.
#[test]
fn reversed_histories_run_the_step_backwards_in_time() {
    for name in ["read before with bonus"] {
        let term = lifted(&programs::named(name));
        let forward = values(&term, 40, 40);
        let mut backward = forward.clone();
        let flipped =
            |a: &Array3| Array3::from_fn(a.shape(), |n, r, c| a.at(a.blocks - 1 - n, r, c));
        backward.leaves.values_mut().for_each(|array| *array = flipped(array));
        let (there, back) =
            (seq::eval(&term, &forward), seq::eval(&reversed(&term, Mask::Tstrict), &backward));
        for (root, array) in &there {
            let found = flipped(&back[root]);
            let error = array.data.iter().zip(&found.data).map(|(x, y)| (x - y).abs());
            assert!(error.fold(0.0, f64::max) <= TOLERANCE, "{name} {root}");
        }
    }
}

/// Padding at the end changes nothing that exists.
#[test]
fn padding_changes_nothing() {
    for recurrence in programs::all() {
        let term = lifted(&recurrence);
        let long = values(&term, 96, 41);
        let mut short = long.clone();
        short.tokens = 41;
        for (name, leaf) in term.leaves() {
            if leaf.kind == LeafKind::Token {
                let array = short.leaves.get_mut(&**name).expect("every leaf has values");
                array.blocks = 41;
                array.data.truncate(41 * array.rows * array.features);
            }
        }
        let reference = seq::eval(&term, &short);
        let chunked = chunked(&recurrence, &options(32, Some(16))).term;
        for padded in [seq::eval(&term, &long), seq::eval(&chunked, &long)] {
            for root in term.roots() {
                let (found, reference) = (&padded[&root.name].data, &reference[&root.name].data);
                let error = reference.iter().zip(found).map(|(x, y)| (x - y).abs());
                let worst = error.fold(0.0, f64::max);
                assert!(worst <= 1e-11, "{} {}: {worst:.1e}", recurrence.name, root.name);
                assert!(!found[..reference.len()].iter().any(|x| x.is_nan()), "{}", root.name);
            }
        }
    }
}

/// The initial state is the declared one where the caller gives none.
#[test]
fn states_start_from_their_declared_value() {
    let mut recurrence = programs::named("gated delta");
    recurrence.states[0].init = Init::Value(0.25);
    let problem = problem();
    let mut arrays = inputs(&recurrence, &problem);
    arrays.remove("S");
    let reference = step::eval(&recurrence, &problem, &arrays);
    let chunked = chunked(&recurrence, &options(16, None));
    let error = difference(&seq::run(&chunked.term, Order::Forward, &problem, &arrays), &reference);
    assert!(error <= TOLERANCE, "{error:.1e}");
}

/// A state starts from its per-model input where the caller gives none.
#[test]
fn states_start_from_what_was_learned() {
    let recurrence = programs::named("learned start");
    let problem = problem();
    let mut arrays = inputs(&recurrence, &problem);
    arrays.retain(|name, _| name != "S" && name != "z");
    let reference = step::eval(&recurrence, &problem, &arrays);
    let chunked = chunked(&recurrence, &options(16, None));
    let error = difference(&seq::run(&chunked.term, Order::Forward, &problem, &arrays), &reference);
    assert!(error <= TOLERANCE, "{error:.1e}");
    let kernel = scan(&recurrence, &chunked.term, &problem).expect("the program has a scan");
    let found = kernel::eval(&kernel, &problem, &arrays, Rounding::Exact);
    let error = difference(&found, &reference);
    assert!(error <= TOLERANCE, "{error:.1e}");
}

/// Scores of features that are products of others come from the scores of the others: no product is as
/// long as the features, but for the reads of the state.
#[test]
fn products_of_features_are_scored_without_them() {
    for name in ["quadratic features", "polynomial features"] {
        let extents = ["K", "V", "M"].map(|n| (n.to_owned(), 16)).into();
        let term = lift(&programs::named(name), &extents).expect("the program lifts");
        let term = chunk(&term, &options(32, None)).expect("the program has chunks").term;
        let widest = |id: &Id| match term.node(*id) {
            Seq::Mmt([a, _]) | Seq::Score([_, a, ..]) => term.shape(*a).features,
            _ => 0,
        };
        let longest = term.ids().map(|id| widest(&id)).max();
        assert!(longest <= Some(extents["K"] + 1), "{term}");
        let made = |n: &&Seq| matches!(n, Seq::Kron(_) | Seq::Pairs(_));
        let features = term.nodes().iter().filter(made).count();
        assert_eq!(features, 2, "readers and keys, {term}");
    }
}

/// Products that mirror each other share a row of the state, unless the rest of it decays.
#[test]
fn squares_of_features_are_kept_once() {
    let [k, v] = ["K", "V"].map(|n| problem().extents[n]);
    let rows = |name: &str| {
        let term = lifted(&programs::named(name));
        let (core, _) = *term.loops().first().expect("the program has a state");
        (term.shape(core.s).rows, term.shape(core.s).features)
    };
    assert_eq!(rows("polynomial features"), (1 + k + k * (k + 1) / 2, v + 1));
    assert_eq!(rows("quadratic features"), (k + k * k, v));
}

/// Sums over rows without an order are grouped by cost, however they are written: the scores of each two
/// rows where there are fewer rows than features, else the products of features.
#[test]
fn sums_without_order_are_grouped_by_their_sizes() {
    let grouped = |name: &str, [k, v, m]: [usize; 3]| {
        let extents = [("K", k), ("V", v), ("M", m)].map(|(n, size)| (n.to_owned(), size)).into();
        let term = lift(&programs::named(name), &extents).expect("the program lifts");
        let term = chunk(&term, &options(16, None)).expect("the program has chunks").term;
        let holds = |test: fn(&Seq) -> bool| term.nodes().iter().any(test);
        [holds(|n| matches!(n, Seq::Mmt(_))), holds(|n| matches!(n, Seq::Tmm(_)))]
    };
    let (scores, sums) = ([true, false], [false, true]);
    assert_eq!(grouped("few rows without order", [64, 64, 16]), scores);
    assert_eq!(grouped("few rows without order", [16, 16, 64]), sums);
    assert_eq!(grouped("many rows without order", [64, 16, 16]), sums);
    assert_eq!(grouped("many rows without order", [16, 64, 64]), scores);
}

/// A normaliser with the keys of a state is one more column of it.
#[test]
fn a_normaliser_shares_its_states_loop() {
    let normalised = chunked(&programs::named("normalised"), &options(64, None));
    assert_eq!(normalised.chunk_loops, 1, "{}", normalised.term);
    assert!(normalised.term.nodes().iter().any(|n| matches!(n, Seq::Cat(_))));
    let passes = chunked(&programs::named("two passes"), &options(64, None));
    assert_eq!(passes.chunk_loops, 2, "{}", passes.term);
}

#[test]
fn chunking_is_repeatable() {
    let text = |name| chunked(&programs::named(name), &options(64, Some(16))).term.to_string();
    for name in ["reads everywhere", "normalised"] {
        let first = text(name);
        assert_eq!(first, text(name));
        let parsed = Term::parse(&first).expect("printed terms are legal");
        assert_eq!(parsed.to_string(), first);
    }
}

/// The fused scan of a term chunked with 16 tokens.
fn scan(recurrence: &Recurrence, term: &Term, problem: &Problem) -> Result<Checked, Diagnostic> {
    let (dtype, compute, extents) = (Dtype::Bf16, Dtype::F32, &problem.extents);
    let build = Build { extents, dtype, compute, target: &target() };
    fused_scan(recurrence, term, &build, 16, &[])
}

/// The state after the last token has no value while the scan runs, and only histories are states.
#[test]
fn terms_that_no_scan_can_compute_are_refused() {
    let recurrence = programs::named("linear");
    let text = chunked(&recurrence, &options(16, None)).term.to_string();
    let of_the_end = text.replace("(hist strict", "(fin strict");
    let (before, _) = text.split_once("(fin strict").expect("the state is kept");
    let of_the_start = format!("{before}%S\n");
    for text in [of_the_end, of_the_start] {
        let term = Term::parse(&text).expect("the term is legal");
        let refusal = scan(&recurrence, &term, &problem()).map(|kernel| kernel.to_string());
        assert_eq!(refusal.map_err(|e| e.code), Err(Code::Unsupported), "{text}");
    }
}

/// Kernels without rounding compute what the step does.
#[test]
fn fused_scans_agree_with_the_step() {
    for recurrence in programs::all() {
        let (problem, name) = (problem(), recurrence.name.as_str());
        let arrays = inputs(&recurrence, &problem);
        let chunked = chunked(&recurrence, &options(16, None));
        let kernel = scan(&recurrence, &chunked.term, &problem);
        let kernel = kernel.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let reference = step::eval(&recurrence, &problem, &arrays);
        let found = kernel::eval(&kernel, &problem, &arrays, Rounding::Exact);
        let error = difference(&found, &reference);
        assert!(error <= TOLERANCE, "{name}: {error:.1e}");
    }
}
