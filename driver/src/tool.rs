//! Where ptxas is, if anywhere.

use sluice_ir::diagnostic::{Code, Diagnostic};
use std::path::PathBuf;

/// Names the variable that says where ptxas is; empty: use none. Unset: look for it.
pub const PTXAS_VARIABLE: &str = "SLUICE_PTXAS";

/// The ptxas to use: the one that `SLUICE_PTXAS` names, else the first in the checkout that the
/// command was built in, in `PATH`, in the toolkit that `CUDA_HOME` names, or where toolkits are
/// usually installed.
///
/// # Errors
///
/// [`Code::MissingTool`] if the variable names a file that does not exist.
pub fn ptxas() -> Result<Option<PathBuf>, Diagnostic> {
    match std::env::var_os(PTXAS_VARIABLE).map(PathBuf::from) {
        None => Ok(installed()),
        Some(named) if named.as_os_str().is_empty() => Ok(None),
        Some(named) if named.is_file() => Ok(Some(named)),
        Some(named) => Err(Diagnostic::new(
            Code::MissingTool,
            format!("{PTXAS_VARIABLE} names `{}`, which is no file", named.display()),
        )
        .with_help("in a checkout `scripts/setup` fetches it; an empty value means to do without")),
    }
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("CUDA_HOME").map(PathBuf::from);
    let toolkits = home.into_iter().chain([PathBuf::from("/usr/local/cuda")]);
    let command = std::env::current_exe().unwrap_or_default();
    let checkout = command.ancestors().map(|folder| folder.join(".tools"));
    checkout
        .chain(std::env::split_paths(&path))
        .chain(toolkits.map(|toolkit| toolkit.join("bin")))
        .map(|folder| folder.join("ptxas"))
        .find(|candidate| candidate.is_file())
}
