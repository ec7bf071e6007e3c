//! Orders the statements of a body and inserts the barriers that shared memory needs.
//!
//! In: statements in an order that respects their data.  Out: an order that does too, in which
//! statements that need no barrier come before those that do, and values in registers are made
//! just before they are read; a barrier before each statement that needs one. Quadratic in the
//! number of statements.

use sluice_ir::kernel::{Hazards, Kernel, Stmt, Sync};

/// Whether `later` must stay behind `earlier`.
pub(super) fn depends(earlier: &Stmt, later: &Stmt) -> bool {
    let touches = |s: &Stmt, t| s.reads().contains(&t) || s.writes().contains(&t);
    earlier.writes().into_iter().any(|t| touches(later, t))
        || later.writes().into_iter().any(|t| touches(earlier, t))
}

/// The hazards after the opening of an iteration, which ends with everything synchronised.
fn opened(kernel: &Kernel, opening: &[Stmt]) -> Hazards {
    let mut hazards = Hazards::default();
    opening.iter().for_each(|s| hazards.apply(kernel, s, 0));
    hazards
}

/// Reorders the body greedily: the first statement that is ready and needs no barrier is next; if
/// every ready statement needs one, a barrier is.
pub(super) fn few_barriers(
    kernel: &Kernel,
    opening: &[Stmt],
    body: Vec<Stmt>,
    barrier: Sync,
) -> Vec<Stmt> {
    let mut hazards = opened(kernel, opening);
    let before: Vec<Vec<usize>> = (0..body.len())
        .map(|j| (0..j).filter(|i| depends(&body[*i], &body[j])).collect())
        .collect();
    let mut placed = vec![false; body.len()];
    let mut out = opening.to_vec();
    while placed.contains(&false) {
        let ready = |i: usize| !placed[i] && before[i].iter().all(|j| placed[*j]);
        let free = |i: &usize| ready(*i) && hazards.conflict(kernel, &body[*i], 0).is_none();
        match (0..body.len()).find(free) {
            Some(i) => {
                hazards.apply(kernel, &body[i], 0);
                out.push(body[i].clone());
                placed[i] = true;
            }
            None => push_barrier(kernel, &mut hazards, &mut out, barrier),
        }
    }
    let (_, body) = out.split_at(opening.len());
    let late = late_columns(kernel, body);
    with_barriers(kernel, opening, [opening, &late].concat(), barrier)
}

/// Moves every statement that makes a value in registers down to its first reader, so that registers
/// hold it for as short a time as the data allows.
fn late_columns(kernel: &Kernel, body: &[Stmt]) -> Vec<Stmt> {
    let mut out: Vec<Stmt> = Vec::new();
    for stmt in body.iter().rev() {
        let in_columns = |t| kernel.tile(t).shared().is_none();
        let sinks = stmt.writes().into_iter().any(in_columns);
        let first_reader = out.iter().position(|later| depends(stmt, later));
        let at = if sinks { first_reader.unwrap_or(0) } else { 0 };
        out.insert(at, stmt.clone());
    }
    out
}

/// Keeps the order and inserts the missing barriers; barriers already there are dropped first.
pub(super) fn with_barriers(
    kernel: &Kernel,
    opening: &[Stmt],
    stmts: Vec<Stmt>,
    barrier: Sync,
) -> Vec<Stmt> {
    let mut hazards = opened(kernel, opening);
    let mut out = opening.to_vec();
    let rest = stmts.into_iter().skip(opening.len());
    for stmt in rest.filter(|s| *s != Stmt::Sync(barrier)) {
        if hazards.conflict(kernel, &stmt, 0).is_some() {
            push_barrier(kernel, &mut hazards, &mut out, barrier);
        }
        hazards.apply(kernel, &stmt, 0);
        out.push(stmt);
    }
    out
}

/// The same for a body that follows itself without a barrier: what an iteration leaves is a hazard for
/// the next.
pub(super) fn around(kernel: &Kernel, stmts: Vec<Stmt>, barrier: Sync) -> Vec<Stmt> {
    let plain: Vec<Stmt> = stmts.into_iter().filter(|s| *s != Stmt::Sync(barrier)).collect();
    let mut hazards = Hazards::default();
    loop {
        let before = hazards.clone();
        let mut out = Vec::new();
        for stmt in &plain {
            if hazards.conflict(kernel, stmt, 0).is_some() {
                push_barrier(kernel, &mut hazards, &mut out, barrier);
            }
            hazards.apply(kernel, stmt, 0);
            out.push(stmt.clone());
        }
        // Accesses since the last barrier; without any barrier they only repeat themselves.
        if hazards == before || !out.contains(&Stmt::Sync(barrier)) {
            return out;
        }
    }
}

/// The statements after the loop, behind a barrier unless none touches shared memory and, as with chunks of
/// one token, no load is under way.
pub(super) fn after_loop(kernel: &Kernel, stmts: Vec<Stmt>) -> Vec<Stmt> {
    let touched = stmts.iter().flat_map(|s| [s.reads(), s.writes()].concat());
    let shared = touched.into_iter().any(|tile| kernel.tile(tile).shared().is_some());
    if stmts.is_empty() || kernel.chunk == 1 && !shared {
        return stmts;
    }
    let barrier = Stmt::Sync(Sync::Cta);
    let mut all = vec![Stmt::WaitLoads { pending: 0 }, barrier];
    all.extend(with_barriers(kernel, &[], stmts, Sync::Cta));
    all
}

fn push_barrier(kernel: &Kernel, hazards: &mut Hazards, out: &mut Vec<Stmt>, barrier: Sync) {
    let barrier = Stmt::Sync(barrier);
    hazards.apply(kernel, &barrier, 0);
    out.push(barrier);
}
