//! What a token costs: barriers, parts, tiles, and work that is done once.

use crate::agreement::{build, looped};
use crate::programs;
use crate::step_form::{Program, Step};
use sluice_ir::diagnostic::Code;
use sluice_ir::kernel::{Checked, Expr, Stmt, Sync};
use sluice_ir::target::{TARGETS, Target};
use sluice_passes::schedule::token_loop;

fn barriers(kernel: &Checked) -> usize {
    kernel.roles[0].body.iter().filter(|s| **s == Stmt::Sync(Sync::Cta)).count()
}

fn named(name: &str) -> Program {
    let mut all = programs::all().into_iter();
    all.find(|(n, _)| *n == name).expect("a program of that name").1
}

#[test]
fn channels_that_do_not_mix_are_cut_into_parts() {
    for shape in ["ND", "DN"] {
        let wide = programs::diagonal("NDW", shape, 200);
        let kernel = looped(&wide, true);
        assert_eq!(kernel.parts, 2, "{}", *kernel);
        let width = |name: &str| {
            let tile = kernel.tiles.iter().find(|t| t.name == name).expect("a tile");
            [tile.rows, tile.cols]
        };
        assert_eq!((width("h"), width("line")), ([3, 128], [4, 128]));
        assert_eq!(looped(&wide, false).parts, 1);
    }
    // Sums over what would be cut, or a place along it.
    for name in ["dense", "tables", "rearranged", "normalised", "scalars that change places"] {
        assert_eq!(looped(&named(name), true).parts, 1, "{name}");
    }
    assert_eq!(looped(&named("several channels of a cube"), true).parts, 1);
}

/// `h' = exp(d A) h + d x b`, `y = c h' + s x`: a state for each channel, as in most diagonal programs.
fn channels() -> Program {
    let mut p = Step::over("program", "ND");
    let (x, d, b, c) = (p.token("x", "D"), p.token("d", "D"), p.token("b", "N"), p.token("c", "N"));
    let (a, s, h) = (p.model("a", "ND"), p.model("s", "D"), p.state("h", "ND"));
    let rate = p.exp(a);
    let exponent = p.mul(rate, d);
    let decay = p.exp(exponent);
    let kept = p.mul(decay, h);
    let dx = p.mul(d, x);
    let write = p.outer(b, dx);
    let next = p.add(kept, write);
    let read = p.dot(c, next, "N");
    let skip = p.mul(s, x);
    let y = p.add(read, skip);
    p.update("h", next);
    p.output("y", y);
    p.sized(&[("N", 16), ("D", 1536)])
}

#[test]
fn a_step_has_few_barriers_and_runs_ahead() {
    let kernel = looped(&channels(), true);
    assert_eq!((kernel.parts, kernel.threads()), (24, 256), "{}", *kernel);
    assert!(barriers(&kernel) <= 4, "{}", *kernel);
    let body = &kernel.roles[0].body;
    assert!(body.iter().all(|s| !matches!(s, Stmt::Load { ahead, .. } if *ahead != 3)));
    // What depends on the model alone is computed before the loop.
    let exponentials = |stmts: &[Stmt]| {
        stmts.iter().map(|s| kernel.stmt(s)).filter(|text| text.contains("exp(a")).count()
    };
    assert_eq!((exponentials(&kernel.roles[0].setup), exponentials(body)), (1, 0), "{}", *kernel);
}

#[test]
fn a_new_state_is_made_apart_only_where_both_are_needed() {
    let states = |name: &str| {
        let kernel = looped(&named(name), false);
        let copies = |s: &&Stmt| matches!(s, Stmt::Nest(n) if n.expr == Expr::Arg(0));
        kernel.roles[0].body.iter().filter(copies).count()
    };
    // `S'` over `S`: nobody reads the old state after the update.
    assert_eq!(states("corrected"), 0);
    assert_eq!(states("normalised"), 0);
    assert!(states("read before and after") >= 1);
}

#[test]
fn long_sums_are_shared_among_threads() {
    let longest = |cut: bool| {
        let kernel = looped(&named("dense, few and long"), cut);
        let sums = kernel.roles[0].body.iter().filter_map(|s| match s {
            Stmt::Nest(nest) => nest.reduce.map(|(_, count)| count),
            _ => None,
        });
        sums.max()
    };
    assert_eq!((longest(false), longest(true)), (Some(96), Some(12)));
}

#[test]
fn a_step_that_does_not_fit_is_refused_with_a_remedy() {
    let mut program = channels();
    program.extents.insert("N".into(), 4000);
    let target = Target::find("sm_90a").unwrap_or(&TARGETS[0]);
    let refusal = token_loop(&program.recurrence, &build(&program, target), true);
    let refusal = refusal.expect_err("4000 rows of 32 columns do not fit");
    assert_eq!(refusal.code, Code::TooLarge);
    let help = refusal.help.expect("a remedy");
    assert!(help.contains("smaller dimensions") && !help.contains("chunk"), "{help}");
}
