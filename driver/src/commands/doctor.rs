//! `sluice doctor`: what this build and this machine can do.

use super::Failure;
use sluice::tool::{PTXAS_VARIABLE, ptxas};
use std::io::Write;
use std::path::Path;
use std::process::Command;

pub(super) fn run(out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "sluice     {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "cpu code   {}", cpu_code())?;
    writeln!(out, "gpu code   {}", gpu_code())?;
    match ptxas() {
        Ok(Some(path)) => writeln!(out, "ptxas      {} ({})", version(&path), path.display())?,
        Ok(None) => writeln!(out, "ptxas      not found; name it in {PTXAS_VARIABLE}")?,
        Err(error) => writeln!(out, "ptxas      {}", error.message)?,
    }
    writeln!(out, "gpu        {}", gpu())?;
    Ok(())
}

#[cfg(feature = "scalar")]
fn cpu_code() -> String {
    format!("through LLVM {}", sluice_backends::scalar::llvm_version())
}

#[cfg(not(feature = "scalar"))]
fn cpu_code() -> String {
    "left out of this build (feature `scalar`)".to_owned()
}

fn gpu_code() -> String {
    if cfg!(feature = "nvptx") {
        let names: Vec<&str> = sluice_ir::target::TARGETS.iter().map(|t| t.name).collect();
        format!("through MLIR, for {}", names.join(" and "))
    } else {
        "left out of this build (feature `nvptx`)".to_owned()
    }
}

/// The release that ptxas says it is.
fn version(ptxas: &Path) -> String {
    let said = Command::new(ptxas).arg("--version").output();
    let text = said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let release = text.split("release ").nth(1).and_then(|rest| rest.split(',').next());
    release.map_or("does not run".to_owned(), str::to_owned)
}

#[cfg(feature = "cuda")]
fn gpu() -> String {
    match sluice_runtime::Device::open() {
        Ok(device) => device.describe(),
        Err(error) => error.message,
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> String {
    "left out of this build (feature `cuda`)".to_owned()
}
