//! Which kernels a program gets.

use crate::Observer;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::Checked;
use sluice_ir::seq::Term;
use sluice_ir::step::Recurrence;
use sluice_ir::target::Target;
use sluice_passes::schedule::{self, Build};
use sluice_passes::{ChunkOptions, Chunked};
use std::fmt;

/// Lengths of chunks in use, in tokens, the preferred first.
pub const CHUNKS: &[usize] = &[64, 32, 16];

/// The lengths to try: the one that is wanted, or all.
///
/// # Errors
///
/// [`Code::BadBinding`] for a length that is not in use, and so was never verified.
pub fn chunk_lengths(wanted: Option<usize>) -> Result<&'static [usize], Diagnostic> {
    let Some(wanted) = wanted else { return Ok(CHUNKS) };
    let place = CHUNKS.iter().position(|chunk| *chunk == wanted);
    let place = place.ok_or_else(|| {
        Diagnostic::new(Code::BadBinding, format!("chunks of {wanted} tokens are not in use"))
            .with_help("take 16, 32 or 64 tokens")
    })?;
    Ok(&CHUNKS[place..=place])
}

/// Sequences of at most this many tokens, the shortest chunk, are left to the step schedule.
pub const STEP_TOKENS: usize = 16;

/// The problem that costs are reckoned for: 8 sequences of 4096 tokens with 16 heads.
const NOMINAL_TOKENS: usize = 4096;
const NOMINAL_INSTANCES: usize = 8 * 16;

/// How a term is cut into chunks. Vector decays are factored in sub-blocks of the shortest chunk.
pub fn chunk_options(target: &Target, chunk: usize) -> ChunkOptions {
    ChunkOptions {
        chunk,
        sub_block: Some(16),
        tokens: NOMINAL_TOKENS,
        instances: NOMINAL_INSTANCES,
        target: *target,
    }
}

/// The kernels of one program.
#[derive(Clone, Debug)]
pub struct Kernels {
    /// For GPUs; a launcher takes the first that is meant for the problem's length.
    pub gpu: Vec<Checked>,
    /// For CPUs: the step loop, with every array in f32.
    pub cpu: Checked,
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kernel in self.gpu.iter().chain([&self.cpu]) {
            writeln!(f, "{}", **kernel)?;
        }
        Ok(())
    }
}

/// Chunks and schedules a lifted recurrence.
///
/// # Errors
///
/// Those of [`sluice_passes::chunk`], and [`Code::TooLarge`] if no schedule fits the target.
pub fn kernels(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    chunks: &[usize],
    seen: Observer<'_>,
) -> Result<Kernels, Vec<Diagnostic>> {
    let (_, scan) = scan(recurrence, term, build, chunks, seen)?;
    let step = schedule::step(recurrence, build, true).map_err(|e| vec![e])?;
    let cpu = step_loop(recurrence, build, Dtype::F32).map_err(|e| vec![e])?;
    Ok(Kernels { gpu: vec![step, scan], cpu })
}

/// The fused scan with the first of the chunk lengths whose tiles fit the target; of several, none
/// longer than is accurate.
///
/// # Errors
///
/// As for [`kernels`].
pub fn scan(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    chunks: &[usize],
    seen: Observer<'_>,
) -> Result<(Chunked, Checked), Vec<Diagnostic>> {
    let mut refusal = Vec::new();
    let longest = schedule::longest_chunk(term).filter(|_| chunks.len() > 1);
    for &chunk in chunks.iter().filter(|c| longest.is_none_or(|longest| **c <= longest)) {
        let chunked = sluice_passes::chunk(term, &chunk_options(build.target, chunk))?;
        seen("chunked", &chunked.term);
        match schedule::fused_scan(recurrence, &chunked.term, build, chunk) {
            Ok(kernel) => return Ok((chunked, kernel)),
            Err(error) if error.code == Code::TooLarge => refusal = vec![error],
            Err(error) => return Err(vec![error]),
        }
    }
    Err(refusal)
}

/// The step loop for one processor, with every array in `dtype`: lowered straight from the step
/// form, it owes nothing to the derivation.
///
/// # Errors
///
/// [`Code::TooLarge`] if the program has no step schedule on the target.
pub fn step_loop(
    recurrence: &Recurrence,
    build: &Build<'_>,
    dtype: Dtype,
) -> Result<Checked, Diagnostic> {
    schedule::step(recurrence, &Build { dtype, compute: dtype, ..build.clone() }, false)
}
