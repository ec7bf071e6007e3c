//! Kernels written by hand become PTX that NVIDIA's assembler accepts, within the registers and
//! with the instructions that their structure promises.
#![cfg(feature = "nvptx")]

mod nvptx_kernels;

use nvptx_kernels::*;
use sluice_backends::nvptx::{Assembled, Image, assemble, compile};
use sluice_ir::kernel::{Kernel, check};
use sluice_ir::target::Target;
use std::path::PathBuf;
use std::time::Duration;

/// How long a kernel may take to become PTX, on a machine that does other things besides.
const BUDGET: Duration = Duration::from_secs(5);

#[expect(clippy::print_stderr, reason = "what was measured or left out belongs in a test's output")]
fn note(text: &str) {
    eprintln!("{text}");
}

/// The assembler: `SLUICE_PTXAS`, or the first on the path.
fn ptxas() -> Option<PathBuf> {
    let named = std::env::var_os("SLUICE_PTXAS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).map(|d| d.join("ptxas")).find(|p| p.is_file());
    named.or_else(on_path)
}

fn target(name: &str) -> &'static Target {
    Target::find(name).expect("a target of the table")
}

fn ptx(kernel: &Kernel, target: &Target) -> Image {
    let checked = check(kernel.clone()).expect("a legal kernel");
    compile(&checked, target).expect("code")
}

/// Machine code for each target; none if there is no assembler here.
fn assembled(kernel: &Kernel) -> Vec<(&'static str, Image, Assembled)> {
    let Some(tool) = ptxas() else {
        note("no ptxas on the path or in SLUICE_PTXAS: the code is not assembled");
        return vec![];
    };
    ["sm_80", "sm_90a"]
        .map(|name| {
            let image = ptx(kernel, target(name));
            let scratch = tempfile::tempdir().expect("a scratch directory");
            if let Some(keep) = std::env::var_os("SLUICE_KEEP_PTX") {
                let file = PathBuf::from(keep).join(format!("{}.{name}.ptx", kernel.name));
                std::fs::write(file, &image.ptx).expect("a directory to keep PTX in");
            }
            let code = assemble(&tool, &image.ptx, target(name), scratch.path());
            let code = code.unwrap_or_else(|e| panic!("{e}"));
            (name, image, code)
        })
        .into()
}

fn count(text: &str, instruction: &str) -> usize {
    text.matches(instruction).count()
}

#[test]
fn scan_keeps_its_state_in_registers() {
    let kernel = DecayScan::new(128, 128, 64).kernel();
    let image = ptx(&kernel, target("sm_90a"));
    let time = image.building + image.lowering;
    assert!(time < BUDGET, "{time:?}");
    // State update: 4 steps of 16 tokens x 16 groups of 8 rows; reads: 8 x 8; mixing: the lower
    // triangle of 4 x 8; scores: 8 steps x 2 in two rounds of blocks.
    assert_eq!(count(&image.ptx, "mma.sync.aligned.m16n8k16"), 64 + 64 + 20 + 32);
    assert_eq!(count(&image.ptx, "cp.async.commit_group"), 2);
    for (name, image, code) in assembled(&kernel) {
        assert_eq!(code.spill_bytes, 0, "{name}: {} registers", code.registers);
        assert_eq!(code.stack_bytes, 0, "{name}");
        assert!(code.registers <= 224, "{name}: {} registers", code.registers);
        assert_eq!(count(&image.ptx, ".local"), 0, "{name}");
    }
}

#[test]
fn orders_change_nothing_but_addresses() {
    let image = |kernel: &Kernel| ptx(kernel, target("sm_90a")).ptx;
    let images: Vec<String> = ordered().iter().map(image).collect();
    let [forward, turned, grids @ ..] = &images[..] else { panic!("four orders") };
    for other in &images {
        for moves in ["cp.async.", "ld.global", "st.global", "bar.sync", "mma.sync"] {
            assert_eq!(count(other, moves), count(forward, moves), "{moves} in\n{other}");
        }
    }
    // Only a grid has rows to divide by.
    let divisions = |text: &str| count(text, "div.u32") + count(text, "rem.u32");
    assert_eq!(divisions(turned), divisions(forward));
    assert!(grids.iter().all(|grid| divisions(grid) > divisions(forward)));
}

#[test]
fn nests_are_loops_over_threads_with_a_loop_inside() {
    let [_, reductions, ..] = &nests()[..] else { panic!("a kernel of reductions") };
    let image = ptx(reductions, target("sm_90a"));
    // A product and its sum are one instruction, and of 3072 terms a few are written out.
    let fused = count(&image.ptx, "fma.rn.f32");
    assert!((3..32).contains(&fused), "{fused} in\n{}", image.ptx);
    assert!(count(&image.ptx, "max.f32") >= 2, "{}", image.ptx);
    assert!(count(&image.ptx, "ld.shared") < 32, "{}", image.ptx);
}

#[test]
fn walks_keep_their_states_in_registers() {
    for kernel in walks() {
        let image = ptx(&kernel, target("sm_90a"));
        let exchanged = kernel.name == "walk_segments";
        // What segments exchange takes two barriers beside those of the kernel.
        let barriers = count(&image.ptx, "bar.sync") + count(&image.ptx, "barrier.sync");
        assert_eq!(barriers, if exchanged { 4 } else { 2 }, "{}", image.ptx);
        // Two exchanges join four lanes, for each of the two tokens read ahead and for one alone.
        let shuffles = if kernel.name == "walk_lanes" { 6 } else { 0 };
        assert_eq!(count(&image.ptx, "shfl.sync.bfly"), shuffles, "{}", kernel.name);
    }
}

#[test]
fn a_large_table_is_a_constant_of_the_module() {
    let kernel = table(65_536);
    let image = ptx(&kernel, target("sm_90a"));
    let time = image.building + image.lowering;
    assert!(time < BUDGET, "{time:?}");
    let declared = ".global .align 16 .b8 table0[131072]";
    assert!(image.ptx.contains(declared), "{}", &image.ptx[..1000]);
    for (name, _, code) in assembled(&kernel) {
        assert_eq!(code.stack_bytes, 0, "{name}");
    }
}

#[test]
fn a_product_writes_a_last_column_without_neighbour() {
    for name in ["sm_80", "sm_90a"] {
        // Nothing else is stored there: inputs are copied asynchronously.
        let stores = |cols| count(&ptx(&product_into(cols), target(name)).ptx, "st.shared");
        assert!(stores(1) > 0, "{name}");
        assert!(stores(17) > stores(16), "{name}: the 17th column is stored by itself");
    }
}

#[test]
fn every_statement_assembles() {
    for kernel in [statements(), nests(), walks(), scans(), ordered()].concat() {
        for (name, image, code) in assembled(&kernel) {
            let time = image.building + image.lowering;
            note(&format!("{} {name}: {} registers, {time:?}", kernel.name, code.registers));
            assert!(time < BUDGET, "{} for {name} took {time:?}", kernel.name);
            assert_eq!(code.stack_bytes, 0, "{} for {name} uses local memory", kernel.name);
        }
    }
}
