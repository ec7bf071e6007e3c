//! Whole scores with a decay a channel, and the kernels that prepare them.

use crate::agreement::{difference, inputs, options, target};
use crate::step_form::{Program, Step};
use sluice_ir::accuracy::{Kind, tolerance};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Checked, Expr, Kernel, Rounding, Stmt, TileId};
use sluice_ir::pointwise::Unary;
use sluice_ir::problem::{Arrays, Problem};
use sluice_ir::step;
use sluice_passes::schedule::{Build, fused_scan};
use sluice_passes::{ChunkOptions, chunk, lift};

/// Tokens of a chunk.
const CHUNK: usize = 64;

/// Bytes of shared memory that the system takes of each block.
const RESERVED_BYTES: usize = 1024;

/// The scan of a program in whole scores, behind the kernel that prepares it.
fn prepared(program: &Program) -> Checked {
    let kernel = scan(program, true);
    assert!(kernel.prepare.is_some(), "{}", *kernel);
    kernel
}

/// The scan of a program with scores that are whole or cut in sub-blocks.
fn scan(program: &Program, whole_scores: bool) -> Checked {
    let options = ChunkOptions { whole_scores, ..options(CHUNK, Some(16)) };
    let (recurrence, extents) = (&program.recurrence, &program.extents);
    let term = lift(recurrence, extents).expect("it has a sequence form");
    let chunked = chunk(&term, &options).expect("it has chunks");
    let build = Build { extents, dtype: Dtype::Bf16, compute: Dtype::F32, target: &target() };
    fused_scan(recurrence, &chunked.term, &build, CHUNK, &[]).expect("it fits")
}

fn before(scan: &Checked) -> &Kernel {
    scan.prepare.as_deref().expect("a kernel prepares the scan")
}

/// Readers and writers of the scores that a kernel makes.
fn rows(kernel: &Kernel) -> Vec<[TileId; 2]> {
    let scores = kernel.roles[0].body.iter().filter_map(|stmt| match stmt {
        Stmt::Score { p, a, .. } => Some([p.tile, a.tile]),
        _ => None,
    });
    scores.collect()
}

/// The error of the outputs of so many tokens, with real rounding; `change` may change the values.
fn error(program: &Program, kernel: &Checked, tokens: usize, change: fn(&mut [f64])) -> f64 {
    let mut problem = Problem::dense(&[], 0, 0, 1);
    (problem.extents, problem.groups) = (program.extents.clone(), 1);
    problem.cu_seqlens = vec![0, tokens];
    let recurrence = &program.recurrence;
    let mut arrays = inputs(recurrence, &problem);
    for state in &recurrence.states {
        arrays.get_mut(&state.name).expect("states are given").data.fill(0.0);
    }
    for input in &recurrence.inputs {
        let dtype = recurrence.input_dtype(input, Dtype::Bf16);
        let array = arrays.get_mut(&input.name).expect("inputs are given");
        array.data.iter_mut().for_each(|x| *x = dtype.round(*x));
    }
    change(&mut arrays.get_mut("v").expect("values are an input").data);
    let reference = step::eval(recurrence, &problem, &arrays);
    let found = kernel::eval(kernel, &problem, &arrays, Rounding::Stored);
    let output = |arrays: &Arrays| [("o".to_owned(), arrays["o"].clone())].into_iter().collect();
    difference(&output(&found), &output(&reference))
}

/// What a program reads with.
#[derive(Clone, Copy, PartialEq)]
enum Queries {
    Given,
    Made,
}

/// `S' = exp(g) S + outer(1 - exp(g), v)`, `o = dot(silu(q), S')` or `dot(q, S')`: keys are no inputs.
fn made(size: usize, queries: Queries) -> Program {
    let mut p = Step::over("made", "KV");
    let (q, v) = (p.token("q", "K"), p.token("v", "V"));
    let g = p.ranged("g", "K", [-0.1, 0.0]);
    let state = p.state("S", "KV");
    let decay = p.exp(g);
    let kept = p.mul(decay, state);
    let one = p.number(1.0);
    let key = p.sub(one, decay);
    let write = p.outer(key, v);
    let next = p.add(kept, write);
    let query = match queries {
        Queries::Given => q,
        Queries::Made => {
            let gate = p.unary(Unary::Sigmoid, q);
            p.mul(q, gate)
        }
    };
    let o = p.dot(query, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.sized(&[("K", size), ("V", size)])
}

/// The delta rule with a decay a channel: its keys read the state after it has decayed.
fn delta(size: usize) -> Program {
    let mut p = Step::over("delta", "KV");
    let (q, k, v) = (p.token("q", "K"), p.ranged("k", "K", [-0.2, 0.2]), p.token("v", "V"));
    let g = p.ranged("g", "K", [-0.1, 0.0]);
    let beta = p.ranged("beta", "", [0.0, 1.0]);
    let state = p.state("S", "KV");
    let decayed = p.decayed(g, state);
    let next = p.delta(decayed, [k, v, beta]);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.sized(&[("K", size), ("V", size)])
}

/// Each token of the first chunk writes another column of a state of zeros, so an output is its scores. Where
/// they are cut in sub-blocks rows are rounded once, when they have been scaled, and whole ones are to be as
/// good; rows that are rounded before, too, are worse by a quarter.
#[test]
fn rows_that_were_made_are_rounded_when_they_are_scaled() {
    let program = made(CHUNK, Queries::Made);
    let columns = |values: &mut [f64]| {
        values.iter_mut().enumerate().for_each(|(i, x)| *x = f64::from(i / CHUNK == i % CHUNK));
    };
    let [whole, cut] = [prepared(&program), scan(&program, false)]
        .map(|kernel| error(&program, &kernel, CHUNK, columns));
    assert!(whole <= 1.1 * cut, "{whole:.2e} of whole scores, {cut:.2e} of cut ones");
}

/// What a reader has decayed by goes on the exponents and what is one number a row on the scores, so the rows
/// of both scores are as they were loaded.
#[test]
fn factors_of_rows_and_their_own_decay_are_no_part_of_rows() {
    let program = delta(64);
    let kernel = prepared(&program);
    let before = before(&kernel);
    let scores = rows(before);
    let loaded = |t: &TileId| {
        let mut writers = before.roles[0].body.iter().filter(|s| s.writes().contains(t));
        writers.next().is_some_and(|s| matches!(s, Stmt::Load { .. }))
    };
    assert_eq!(scores.len(), 2, "{before}");
    assert!(scores.as_flattened().iter().all(loaded), "{before}");
    let error = error(&program, &kernel, CHUNK + 70, |_| ());
    let allowed = tolerance(Dtype::Bf16, CHUNK + 70, Kind::Output, 1);
    assert!(error <= allowed, "{error:.2e}");
}

/// What two rows decay by is computed for each of them, and has no tile.
#[test]
fn what_few_rows_are_scaled_by_is_computed_again() {
    let kernel = prepared(&delta(64));
    let before = before(&kernel);
    let decays = |stmt: &&Stmt| match stmt {
        Stmt::Map { dst, body } => {
            let alone = matches!(&body.expr, Expr::Unary(Unary::Exp2, x) if **x == Expr::Arg(0));
            alone && before.tile(dst.tile).rows == CHUNK
        }
        _ => false,
    };
    let found = before.roles[0].body.iter().filter(decays).count();
    assert_eq!(found, 0, "{before}");
}

/// Rows that nothing but the scan reads have no tile either: they are put to memory as they are computed.
#[test]
fn what_only_the_scan_reads_has_no_tile() {
    let kernel = prepared(&delta(64));
    let before = before(&kernel);
    let body = &before.roles[0].body;
    let puts = body.iter().filter(|s| matches!(s, Stmt::Put { .. })).count();
    let stored = body.iter().filter_map(|s| match s {
        Stmt::Store { src, .. } if before.tile(*src).rows == CHUNK => Some(*src),
        _ => None,
    });
    let mapped = |t: &TileId| {
        let of = |s: &&Stmt| s.writes().contains(t) || s.reads().contains(t);
        let [Stmt::Map { .. }, Stmt::Store { .. }] = body.iter().filter(of).collect::<Vec<_>>()[..]
        else {
            return false;
        };
        true
    };
    assert!(puts >= 2, "{before}");
    assert_eq!(stored.filter(mapped).count(), 0, "{before}");
    let error = error(&delta(64), &kernel, CHUNK + 70, |_| ());
    let allowed = tolerance(Dtype::Bf16, CHUNK + 70, Kind::Output, 1);
    assert!(error <= allowed, "{error:.2e}");
}

/// A multiprocessor runs two blocks, or one with the warps of two.
#[test]
fn preparing_kernels_fill_a_multiprocessor() {
    let all = target().shared_bytes + RESERVED_BYTES;
    for (queries, blocks) in [(Queries::Given, 2), (Queries::Made, 1)] {
        let kernel = prepared(&made(128, queries));
        let before = before(&kernel);
        assert!(blocks * (before.shared_bytes + RESERVED_BYTES) <= all, "{before}");
        assert_eq!(before.threads() * blocks, 512, "{before}");
    }
}
