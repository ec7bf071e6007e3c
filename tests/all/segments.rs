//! Segments of sequences side by side: what prepares their kernels is launched once.

use crate::cli::Folder;
use crate::{cases, trial};
use libtest_mimic::{Failed, Trial};
use sluice::extents;
use sluice::kernels::{CHUNKS, plan};
use sluice_ir::artifact::{Manifest, ParamRole, Variant};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{self, Rounding};
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::staged::{Runs, Stage};
use sluice_ir::step::{Rate, Recurrence, Sharing};
use sluice_ir::target::Target;
use sluice_passes::schedule::Build;
use std::collections::BTreeMap;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("segments::arrays_of_one_name_are_one".to_owned(), same_names),
        trial("segments::arrays_are_prepared_once".to_owned(), || {
            prepared_once(&Folder::new());
            Ok(())
        }),
    ]
}

/// Inputs that differ from element to element.
fn inputs(recurrence: &Recurrence, problem: &Problem) -> Arrays {
    let each = recurrence.inputs.iter().enumerate().map(|(number, input)| {
        let size = |d: &_| recurrence.size(*d, &problem.extents).expect("all sizes are bound");
        let outer = if input.rate == Rate::Token { vec![problem.tokens()] } else { vec![] };
        let rows = match input.sharing {
            Sharing::Head => problem.heads,
            Sharing::Group => problem.groups,
        };
        let dims: Vec<usize> = input.dims.iter().map(size).collect();
        let mut array = Array::zeros(&[outer, vec![rows], dims].concat());
        let hi = input.range.hi.min(0.5);
        for (i, x) in array.data.iter_mut().enumerate() {
            *x = hi - 0.5 * ((i * 37 + number * 11) % 101) as f64 / 101.0;
        }
        (input.name.clone(), array)
    });
    each.collect()
}

/// Kernels before scans on segments that call arrays alike compute the same.
fn same_names() -> Result<(), Failed> {
    let target = Target::find("sm_90a").expect("a target of the table");
    let mut shared = Vec::new();
    for (_, recurrence) in cases::all_recurrences() {
        let extents = extents::uniform(&recurrence, 64);
        let build = Build { extents: &extents, dtype: Dtype::Bf16, compute: Dtype::F32, target };
        let Ok(plan) = plan(&recurrence, &build, CHUNKS, &mut |_, _| {}) else { continue };
        for (stage, kernels) in plan.staged.stages.iter().zip(&plan.kernels) {
            let Some(cut) = &kernels.segments else { continue };
            let mut problem = Problem::dense(&[], 1, 80, 1);
            problem.extents = extents.clone();
            let arrays = inputs(&stage.recurrence, &problem);
            let mut made: BTreeMap<String, Array> = BTreeMap::new();
            let own = |(part, _): &(&Stage, _)| matches!(part.runs, Runs::Segments(_));
            let parts = cut.stages.iter().zip(&cut.kernels).filter(own);
            for before in parts.filter_map(|(_, kernel)| kernel.prepare.as_deref()) {
                for (name, array) in kernel::eval(before, &problem, &arrays, Rounding::Stored) {
                    let bits = |a: &Array| a.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    match made.get(&name) {
                        Some(known) if bits(known) == bits(&array) => shared.push(name),
                        Some(_) => return Err(format!("{name} is two arrays").into()),
                        None => drop(made.insert(name, array)),
                    }
                }
            }
        }
    }
    if shared.len() < 10 {
        return Err(format!("only {shared:?} are shared").into());
    }
    Ok(())
}

/// Of several variants that need an array, the first alone has before it what makes it.
fn prepared_once(folder: &Folder) {
    folder.sluice(&["build", "kda", "-o", "out", "--dims", "K=64,V=64"]).done();
    let text = std::fs::read_to_string(folder.path("out/manifest.json")).expect("it was written");
    let manifest: Manifest = serde_json::from_str(&text).expect("it follows its own schema");
    let cut = manifest.stages[0].segments.as_ref().expect("a delta rule has segments");
    assert!(cut.passes == 3 && cut.joining > 0, "{text}");
    let mut made: Vec<&str> = Vec::new();
    for variant in cut.stages.iter().flat_map(|stage| &stage.variants) {
        let before = variant.prepare.iter().flat_map(|before| &before.params);
        for param in before.filter(|param| param.kind == ParamRole::TokenOut) {
            assert!(!made.contains(&param.name.as_str()), "{} is made twice", param.name);
            made.push(&param.name);
        }
        let dotted = variant.params.iter().filter(|param| param.name.contains('.'));
        let missing = dotted.map(|p| p.name.as_str()).find(|name| !made.contains(name));
        assert_eq!(missing, None, "`{}` takes what is not made", variant.entry);
    }
    let prepared = |variant: &&Variant| variant.prepare.is_some();
    assert_eq!(cut.stages.iter().flat_map(|stage| &stage.variants).filter(prepared).count(), 2);
}
