//! A C program that includes the header, links the object file and gets the recurrence's numbers.

use crate::draft::*;
use sluice_backends::package::{Header, header};
use sluice_backends::scalar::{Options, Precision, WORKSPACE_ALIGN, object};
use sluice_ir::artifact::{ArrayInfo, ArrayRole, Per};
use sluice_ir::kernel::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// `S' = a S + x`, `y = S'` with one `a` for each head: running sums of vectors of 3.
fn kernel() -> Checked {
    let mut draft = Draft::new("leaky_sum", Schedule::Step, 1);
    let x = draft.param("x", ParamKind::TokenIn, Dtype::Bf16, [1, 3]);
    let a = draft.param("while", ParamKind::ModelIn, Dtype::F32, [1, 1]);
    let y = draft.param("y", ParamKind::TokenOut, Dtype::F32, [1, 3]);
    let before = draft.param("S", ParamKind::StateIn, Dtype::F32, [1, 3]);
    let after = draft.param("S", ParamKind::StateOut, Dtype::F32, [1, 3]);
    for id in [x, a, y, before, after] {
        draft.adjust(id, |p| p.dims.retain(|d| *d != 1));
    }
    let [row, state] = [(); 2].map(|()| draft.shared(Dtype::F32, [1, 3], 1));
    let leak = draft.shared(Dtype::F32, [1, 1], 1);
    draft.push(Phase::Setup, Stmt::Fill { dst: state, value: 0.0 });
    draft.load(Phase::Setup, state, before, 0);
    draft.load(Phase::Setup, leak, a, 0);
    draft.load(Phase::Body, row, x, 0);
    let kept = binary(Binary::Mul, Expr::Arg(0), Expr::Arg(1));
    let expr = binary(Binary::Add, kept, Expr::Arg(2));
    let args = [state, leak, row].map(|t| arg(whole(t))).to_vec();
    draft.push(Phase::Body, Stmt::Map { dst: whole(state), body: Body { expr, args } });
    draft.store(Phase::Body, y, state);
    draft.store(Phase::Finish, after, state);
    draft.check()
}

fn header_text(order: Order) -> String {
    let kernel = check(Kernel { order, ..(*kernel()).clone() }).expect("a legal kernel");
    let doc = ["Leaky sums. */ #error".to_owned()];
    let dims = BTreeMap::from([("V".to_owned(), 3)]);
    let made = object(&kernel, Options::exact(Precision::F32)).expect("the host has code");
    let weight = ArrayInfo {
        name: "while".to_owned(),
        role: ArrayRole::Input,
        per: Per::Model,
        dtype: Dtype::F32,
        dims: vec![],
        by_group: false,
        doc: vec![" What is kept. */".to_owned()],
    };
    let about = Header {
        doc: &doc,
        dims: &dims,
        arrays: &[weight],
        workspace_bytes: made.workspace_bytes,
        workspace_align: WORKSPACE_ALIGN,
    };
    header(&kernel, about)
}

/// Two sequences (2 tokens and 1), one head, tokens 4 elements apart, the second state not given.
const PROGRAM: &str = r#"
#include "leaky_sum.h"
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    /* bf16: 1 is 0x3f80, 2 is 0x4000, 3 is 0x4040, -1 is 0xbf80. */
    const uint16_t x[12] = {0x3f80, 0x4000, 0x4040, 0x7fc0, 0x3f80, 0x3f80, 0x3f80, 0x7fc0,
                            0xbf80, 0x4000, 0x4000, 0x7fc0};
    const float leak[1] = {0.5f};
    const int64_t offsets[3] = {0, 2, 3};
    float y[9], last[6];
    void *workspace = aligned_alloc(LEAKY_SUM_WORKSPACE_ALIGN, LEAKY_SUM_WORKSPACE_BYTES);
    leaky_sum(x, 4, 3, leak, y, 3, 3, NULL, last, offsets, 2, 1, 1, workspace);
    for (int i = 0; i < 9; i++) printf("%g ", y[i]);
    for (int i = 0; i < 6; i++) printf("%g ", last[i]);
    free(workspace);
    return 0;
}
"#;

fn run(program: &str, args: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(args).current_dir(directory).output();
    let output = output.unwrap_or_else(|e| panic!("{program} starts: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn c_programs_call_the_object_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let made = object(&kernel(), Options::exact(Precision::F32)).expect("the host has code");
    std::fs::write(path.join("leaky_sum.o"), &made.bytes).expect("writable");
    std::fs::write(path.join("leaky_sum.h"), header_text(Order::Forward)).expect("writable");
    std::fs::write(path.join("main.c"), PROGRAM).expect("writable");
    let strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"];
    let files = ["main.c", "leaky_sum.o", "-lm", "-o", "main"];
    run("cc", &[&strict[..], &files[..]].concat(), path);
    let printed = run("./main", &[], path);
    assert_eq!(printed.trim(), "1 2 3 1.5 2 2.5 -1 2 2 1.5 2 2.5 -1 2 2");
}

#[test]
fn the_header_declares_every_parameter() {
    let text = header_text(Order::Forward);
    for line in [
        " * Leaky sums. * / #error",
        " * Built for V = 3.",
        "    const uint16_t *x, /* in: bf16 [tokens, heads, 3] */",
        "    int64_t x_token_stride, int64_t x_head_stride,",
        "    const float *while_, /* in: f32 [heads]; What is kept. * / */",
        "    float *y, /* out: f32 [tokens, heads, 3] */",
        "    const float *S_initial, /* in: f32 [sequences, heads, 3] */",
        "    float *S_final, /* out: f32 [sequences, heads, 3] */",
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn the_header_tells_the_order_of_tokens() {
    let [grid, backwards] = ["grid of 4 columns", "from the last token"];
    for (order, told) in [
        (Order::Forward, [false, false]),
        (Order::Reverse, [false, true]),
        (Order::Columns(4), [true, false]),
        (Order::ReverseColumns(4), [true, true]),
    ] {
        let text = header_text(order);
        assert_eq!([grid, backwards].map(|words| text.contains(words)), told, "{order}: {text}");
    }
}

#[test]
fn objects_are_reproducible() {
    let make = || object(&kernel(), Options::exact(Precision::F32)).expect("the host has code");
    let (first, second) = (make(), make());
    assert_eq!(first.bytes, second.bytes);
    assert_eq!((first.symbol.as_str(), first.workspace_bytes % WORKSPACE_ALIGN), ("leaky_sum", 0));
}
