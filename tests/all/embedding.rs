//! A C program that links the object files of a program of several stages and calls them as one.

use crate::trial;
use libtest_mimic::{Failed, Trial};
use sluice::kernels::CHUNKS;
use sluice::verify::{draw, errors};
use sluice::{Options, compile, files, program};
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step;
use sluice_ir::target::Target;
use std::process::Command;

/// Two passes in opposite orders, and one that needs a state after the last token.
const TEXT: &str = "recurrence both_ways(x: [V], g: [] in (-inf, 0]) -> o: [V] {
    state a: [V] = 0
    state b: [V] reverse = 0
    state c: [V] = 0
    a' = exp(g) * a + x
    b' = exp(g) * b + x
    c' = exp(g) * c + a' * last(a)
    o = b' + c'
}";

/// Three sequences with 3, 0 and 2 tokens, one head and `V = 2`; the first final state is not wanted.
const PROGRAM: &str = r#"
#include "both_ways.h"
#include <stdio.h>
#include <stdlib.h>

static const float x[] = {X};
static const float g[] = {G};
static const int64_t offsets[] = {0, 3, 3, 5};

int main(void) {
    float o[10], a[6] = {A}, b[6] = {B}, c[6] = {C}, last_b[6], last_c[6];
    size_t bytes = both_ways_workspace_bytes(5, 3, 1);
    void *workspace = aligned_alloc(BOTH_WAYS_WORKSPACE_ALIGN, bytes);
    both_ways(x, 2, 2, g, 1, 1, o, 2, 2, a, NULL, b, last_b, c, last_c, offsets, 3, 1, 1,
              workspace);
    for (int i = 0; i < 10; i++) printf("%.9g ", o[i]);
    for (int i = 0; i < 6; i++) printf("%.9g ", last_b[i]);
    for (int i = 0; i < 6; i++) printf("%.9g ", last_c[i]);
    free(workspace);
    return 0;
}
"#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("embedding::stages_are_one_function".to_owned(), check)]
}

fn check() -> Result<(), Failed> {
    let recurrence = program::recurrences(TEXT)
        .and_then(|all| program::select(all, None))
        .map_err(|e| format!("{e:?}"))?;
    let mut problem = Problem::dense(&[("V", 2)], 1, 5, 1);
    problem.cu_seqlens = vec![0, 3, 3, 5];
    let options = Options {
        recurrence: None,
        extents: &problem.extents,
        dtype: Dtype::F32,
        target: Target::find("sm_90a").expect("the table has this target"),
        chunks: CHUNKS,
        ptxas: None,
    };
    let package = compile(TEXT, &options, &mut |_, _| {}).map_err(|e| format!("{e:?}"))?;
    let stages: Vec<&str> = package.manifest.stages.iter().map(|s| s.name.as_str()).collect();
    assert!(stages.len() > 1, "one stage has no wrapper");
    let inputs = draw(&recurrence, &problem, Dtype::F32, true, 0);
    let printed = run(&package.files, &stages, &inputs)?;
    let mut got = Arrays::new();
    let mut at = 0;
    for (name, rows) in [("o", vec![5, 1, 2]), ("b", vec![3, 1, 2]), ("c", vec![3, 1, 2])] {
        let size: usize = rows.iter().product();
        got.insert(name.to_owned(), Array { shape: rows, data: printed[at..at + size].to_vec() });
        at += size;
    }
    let want = step::eval(&recurrence, &problem, &inputs);
    let found = errors(&recurrence, &problem, &want, &got);
    for error in found.iter().filter(|error| error.array != "a") {
        if error.relative_rms > 1e-6 {
            return Err(format!("{} is off by {:.1e}", error.array, error.relative_rms).into());
        }
    }
    Ok(())
}

/// Compiles and runs the program; returns the numbers that it prints.
fn run(package: &files::Files, stages: &[&str], inputs: &Arrays) -> Result<Vec<f64>, Failed> {
    let folder = tempfile::tempdir()?;
    files::write(folder.path(), package).map_err(|e| e.message)?;
    let mut text = PROGRAM.to_owned();
    for (mark, name) in [("X", "x"), ("G", "g"), ("A", "a"), ("B", "b"), ("C", "c")] {
        let numbers: Vec<String> = inputs[name].data.iter().map(|x| format!("{x:e}f")).collect();
        text = text.replace(&format!("{{{mark}}}"), &format!("{{{}}}", numbers.join(", ")));
    }
    std::fs::write(folder.path().join("main.c"), text)?;
    let objects: Vec<String> = stages.iter().map(|stage| format!("{stage}.o")).collect();
    let strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c"];
    let compiled = Command::new("cc")
        .args(strict)
        .args(&objects)
        .args(["-lm", "-o", "main"])
        .current_dir(folder.path())
        .output()?;
    if !compiled.status.success() {
        return Err(String::from_utf8_lossy(&compiled.stderr).into_owned().into());
    }
    let output = Command::new(folder.path().join("main")).output()?;
    let numbers = String::from_utf8_lossy(&output.stdout).into_owned();
    numbers.split_whitespace().map(|x| x.parse().map_err(Failed::from)).collect()
}
