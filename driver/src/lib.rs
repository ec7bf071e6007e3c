//! Sluice compiles gated linear recurrences: one time step in, chunked parallel kernels out.
//!
//! This crate joins the stages and talks to people; it holds no compiler logic. [`compile`] is the
//! whole flow:
//!
//! ```text
//! text -> Ast -> Recurrence (step form) -> Staged (one pass after another)
//!      -> for each stage: Term (sequence form) -> Term (chunked) -> Kernels
//!      -> Package
//! ```

#[cfg(feature = "cuda")]
mod alone;
pub mod bench;
pub mod error_index;
pub mod execute;
pub mod explain;
pub mod extents;
pub mod figures;
pub mod files;
pub mod infer;
pub mod kernels;
pub mod package;
pub mod program;
pub mod render;
pub mod source;
mod staging;
pub mod summary;
pub mod template;
pub mod tool;
pub mod verify;
mod work;

use extents::Extents;
use kernels::Plan;
use package::Package;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::step::Recurrence;
use sluice_ir::target::Target;
use sluice_passes::schedule::Build;
use std::fmt::{self, Display};
use std::path::Path;

/// Shows one finished stage to whoever watches: the command line, a test, nobody.
pub type Observer<'a> = &'a mut dyn FnMut(&'static str, &dyn Display);

/// What a build binds.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Which recurrence, if the text holds several.
    pub recurrence: Option<&'a str>,
    /// Sizes of the dimensions that the program leaves open.
    pub extents: &'a Extents,
    /// Element type of vectors.
    pub dtype: Dtype,
    /// The GPU to compile for.
    pub target: &'static Target,
    /// Lengths of chunks to try, in tokens.
    pub chunks: &'a [usize],
    /// The assembler, if machine code is wanted.
    pub ptxas: Option<&'a Path>,
}

/// A program in its last form before code.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// The step form.
    pub recurrence: Recurrence,
    /// Sizes of all dimensions.
    pub extents: Extents,
    /// The stages with their kernels.
    pub plan: Plan,
}

/// Compiles one recurrence from source text to the files of a build.
///
/// # Errors
///
/// Everything that is wrong with the text or the options, from the first stage that objects.
pub fn compile(
    source: &str,
    options: &Options<'_>,
    seen: Observer<'_>,
) -> Result<Package, Vec<Diagnostic>> {
    let scheduled = schedule(source, options, seen)?;
    package::package(&scheduled, options.dtype, options.target, options.ptxas, seen)
        .map_err(|e| vec![e])
}

/// Compiles one recurrence from source text to kernels; what follows is spelling.
///
/// # Errors
///
/// As for [`compile`].
pub fn schedule(
    source: &str,
    options: &Options<'_>,
    seen: Observer<'_>,
) -> Result<Scheduled, Vec<Diagnostic>> {
    let ast = sluice_dsl::parse(source)?;
    seen("ast", &format_args!("{ast:#?}"));
    let recurrence = program::select(program::lower(&ast)?, options.recurrence)?;
    seen("step", &recurrence);
    let extents = extents::bind(&recurrence, options.extents)?;
    let plan = kernels::plan(&recurrence, &options.build(&extents), options.chunks, seen)?;
    seen("kernels", &plan);
    Ok(Scheduled { recurrence, extents, plan })
}

/// What one stage of several shows: its name on a line before.
struct Labelled<'a> {
    label: Option<&'a str>,
    value: &'a dyn Display,
}

impl Display for Labelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label {
            Some(label) => write!(f, "stage {label}\n{}", self.value),
            None => self.value.fmt(f),
        }
    }
}

impl Options<'_> {
    /// What the schedules are told.
    fn build<'a>(&self, extents: &'a Extents) -> Build<'a> {
        Build { extents, dtype: self.dtype, compute: Dtype::F32, target: self.target }
    }
}
