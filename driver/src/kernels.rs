//! Which kernels the stages of a program get.

use crate::Observer;
use crate::staging::{cut, is_of_vectors};
use crate::summary::class;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::elements::Elements;
use sluice_ir::kernel::{Checked, Schedule};
use sluice_ir::seq::{Seq, Term};
use sluice_ir::staged::{Form, From, Runs, Stage, Staged};
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

/// Tokens of the shortest segments, which are whole chunks of all lengths.
pub const SEGMENT: usize = 64;

/// Tokens one after another that take as long as the launches that segments need beside their scans.
pub const JOINING_TOKENS: usize = 512;

/// The same for joining one segment to the next where that is a product of matrices, by tensor cores and in
/// a loop for any shape.
pub const MIXING_TOKENS: [usize; 2] = [24, 256];

/// Sequences of at most this many tokens, the shortest chunk, are left to the step schedule.
const STEP_TOKENS: usize = 16;

/// The problem that costs are reckoned for: 8 sequences of 4096 tokens with 16 heads.
const NOMINAL_TOKENS: usize = 4096;
const NOMINAL_INSTANCES: usize = 8 * 16;

/// The shortest chunk whose scores with a vector decay are left whole.
const WHOLE_SCORES: usize = 32;

/// Threads of a block that can each have all registers.
const ALL_REGISTERS: usize = 256;

/// How a term is cut into chunks. Vector decays are factored in sub-blocks of the shortest chunk, scores
/// of the longest by the kernel that prepares it.
pub fn chunk_options(target: &Target, chunk: usize) -> ChunkOptions {
    ChunkOptions {
        chunk,
        sub_block: Some(16),
        whole_scores: chunk >= WHOLE_SCORES,
        tokens: NOMINAL_TOKENS,
        instances: NOMINAL_INSTANCES,
        target: *target,
    }
}

/// A program in stages, and the kernels of each.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stages, one after another.
    pub staged: Staged,
    /// One a stage, in their order.
    pub kernels: Vec<StageKernels>,
}

/// The kernels of one stage.
#[derive(Clone, Debug)]
pub struct StageKernels {
    /// The sequence form, if there is one.
    pub term: Option<Term>,
    /// Chunk by chunk.
    pub scan: Option<Scan>,
    /// The same for few sequences and heads, and how many at most.
    pub fine_scan: Option<(Checked, usize)>,
    /// Why there is no scan, of chunks or of elements, where one was looked for.
    pub fallback: Option<Diagnostic>,
    /// Element by element, if no state mixes its elements.
    pub elements: Option<ElementScan>,
    /// On segments side by side, if there is a scan.
    pub segments: Option<OnSegments>,
    /// Token by token, on a GPU.
    pub step: Checked,
    /// The same for few sequences and heads, and how many at most.
    pub fine: Option<(Checked, usize)>,
    /// Token by token on a CPU, with every array in f32.
    pub cpu: Checked,
}

/// A stage in chunks.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The chunked form.
    pub chunked: Chunked,
    /// The kernel.
    pub kernel: Checked,
}

/// A stage on segments of its sequences.
#[derive(Clone, Debug)]
pub struct OnSegments {
    /// What takes its place, with segments of the shortest length.
    pub stages: Vec<Stage>,
    /// One a stage; the last is the stage's own scan.
    pub kernels: Vec<Checked>,
}

/// A stage whose states are scanned element by element.
#[derive(Clone, Debug)]
pub struct ElementScan {
    /// The elementwise form.
    pub form: Elements,
    /// The kernel.
    pub kernel: Checked,
}

impl Plan {
    /// The most scans that run one after another, each on results of the one before; at least 1.
    pub fn scans(&self) -> usize {
        let mut depths: Vec<usize> = Vec::with_capacity(self.kernels.len());
        for (stage, kernels) in self.staged.stages.iter().zip(&self.kernels) {
            let inputs = stage.recurrence.inputs.iter().map(|input| &input.name);
            let states = stage.links.iter().filter_map(|link| match &link.from {
                From::Last(name) => Some(name),
                From::Initial(_) | From::Declared => None,
            });
            let makers = inputs.chain(states).filter_map(|name| self.staged.maker(name));
            let before = makers.filter_map(|(maker, _)| depths.get(maker)).max();
            depths.push(before.copied().unwrap_or(0) + usize::from(kernels.scan.is_some()));
        }
        depths.into_iter().max().unwrap_or(0).max(1)
    }
}

impl StageKernels {
    /// What a stage is and how it runs, in words.
    pub fn describe(&self, stage: &Stage) -> String {
        let class = class(stage, self.term.as_ref());
        match &self.fallback {
            Some(reason) => format!("{class}; token by token, because {}", reason.message),
            None => class,
        }
    }

    /// Whether whole sequences need not go token by token.
    pub fn is_scanned(&self) -> bool {
        self.scan.is_some() || self.elements.is_some()
    }

    /// The kernels for GPUs on whole sequences; a launcher takes the first that is meant for the problem.
    pub fn gpu(&self) -> impl Iterator<Item = &Checked> {
        let scan = self.scan.as_ref().map(|scan| &scan.kernel);
        let elements = self.elements.as_ref().map(|elements| &elements.kernel);
        let [fine, fine_scan] =
            [&self.fine, &self.fine_scan].map(|fine| fine.as_ref().map(|(kernel, _)| kernel));
        fine.into_iter().chain([&self.step]).chain(fine_scan).chain(scan).chain(elements)
    }

    /// The most sequences times heads for which a kernel is meant; none: any number.
    pub fn max_instances(&self, kernel: &Checked) -> Option<usize> {
        let mut fine = self.fine.iter().chain(&self.fine_scan);
        fine.find(|(fine, _)| fine.name == kernel.name).map(|(_, most)| *most)
    }

    /// The kernels that only segments need.
    pub fn joining(&self) -> impl Iterator<Item = &Checked> {
        self.segments.iter().flat_map(|cut| &cut.kernels[..cut.kernels.len() - 1])
    }

    /// The same, and what runs before them.
    pub fn launched(&self) -> impl Iterator<Item = &Checked> {
        self.gpu().flat_map(|kernel| kernel.prepare.as_deref().into_iter().chain([kernel]))
    }

    /// The longest sequences that a launcher leaves to a kernel; none: all that there are.
    pub fn max_tokens(&self, kernel: &Checked) -> Option<usize> {
        let by_token = matches!(kernel.schedule, Schedule::Step | Schedule::Loop);
        (by_token && self.is_scanned()).then_some(STEP_TOKENS)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in &self.kernels {
            for kernel in stage.gpu().chain(stage.joining()).chain([&stage.cpu]) {
                writeln!(f, "{}", **kernel)?;
            }
        }
        Ok(())
    }
}

/// Cuts a program into stages and schedules each.
///
/// A stage without any schedule for its chunks runs token by token.
///
/// # Errors
///
/// Those of [`sluice_passes::stages_apart`] and of [`sluice_passes::chunk`], and [`Code::TooLarge`] if
/// not even one token at a time fits the target.
pub fn plan(
    recurrence: &Recurrence,
    build: &Build<'_>,
    chunks: &[usize],
    seen: Observer<'_>,
) -> Result<Plan, Vec<Diagnostic>> {
    let (staged, scans) = cut(recurrence, build, chunks, seen)?;
    let mut kernels = Vec::with_capacity(scans.len());
    for (index, (stage, scan)) in staged.stages.iter().zip(scans).enumerate() {
        let (term, scan) = scan.unzip();
        let (mut scan, fallback) = chosen(scan);
        let one = |e| vec![e];
        let (elements, refused) = match &scan {
            Some(scan) if !is_of_vectors(stage, scan) => (None, None),
            _ => chosen(element_scan(stage, build).map_err(one)?),
        };
        // Products have nothing to gain where a state is a vector.
        scan = scan.filter(|_| elements.is_none());
        let segments = match &scan {
            Some(scan) => on_segments(&staged, index, scan, build, chunks)?,
            None => None,
        };
        let fine_scan = scan.as_ref().and_then(|Scan { chunked, kernel }| {
            let mixed = staged.mixed(stage);
            schedule::fine_scan(&stage.recurrence, &chunked.term, build, &mixed, kernel)
        });
        let made = || {
            let fallback = fallback.or(refused);
            let beside = scan.is_some() || elements.is_some();
            let step = match beside {
                true => schedule::step_or_loop(&stage.recurrence, build, true)?,
                false => schedule::loop_ahead(&stage.recurrence, build)?,
            };
            let finer = || schedule::fine_step(&stage.recurrence, build, &step);
            let fine = beside.then(finer).flatten();
            let cpu = step_loop(&stage.recurrence, build, Dtype::F32)?;
            Ok(StageKernels {
                term,
                scan,
                fine_scan,
                fallback,
                elements,
                segments,
                step,
                fine,
                cpu,
            })
        };
        kernels.push(made().map_err(one)?);
    }
    Ok(Plan { staged, kernels })
}

/// The kernels of a stage that has a scan on segments, if there is a schedule for each of them.
fn on_segments(
    staged: &Staged,
    stage: usize,
    whole: &Scan,
    build: &Build<'_>,
    chunks: &[usize],
) -> Result<Option<OnSegments>, Vec<Diagnostic>> {
    let Some(stages) = sluice_passes::segments(staged, stage, SEGMENT) else { return Ok(None) };
    let mixed = staged.mixed(&staged.stages[stage]);
    let mut kernels = Vec::with_capacity(stages.len());
    for part in &stages[..stages.len() - 1] {
        let recurrence = &part.recurrence;
        let kernel = match part.form {
            Form::Chunks => {
                let term = sluice_passes::lift(recurrence, build.extents)?;
                scan(recurrence, (&term, &mixed), build, chunks, &mut |_| {}).map(|s| s.kernel)
            }
            Form::Steps { .. } => joint(part, build).map_err(|e| vec![e]),
        };
        match kernel {
            Ok(kernel) => {
                let others: Vec<&Checked> = [&whole.kernel].into_iter().chain(&kernels).collect();
                let alike = schedule::prepared_alike(kernel, &others).map_err(|e| vec![e])?;
                kernels.push(alike);
            }
            Err(errors) => return refusal(errors).map(|_| None),
        }
    }
    kernels.push(whole.kernel.clone());
    Ok(Some(OnSegments { stages, kernels }))
}

/// The kernel that takes segments for tokens.
fn joint(stage: &Stage, build: &Build<'_>) -> Result<Checked, Diagnostic> {
    match element_scan(stage, build)? {
        Some(Ok(scan)) => Ok(scan.kernel),
        _ => match schedule::joint(&stage.recurrence, build) {
            Err(error) if matches!(error.code, Code::TooLarge | Code::Unsupported) => {
                schedule::loop_ahead(&stage.recurrence, build)
            }
            other => other,
        },
    }
}

/// What was asked for and found, and what was asked for and refused.
fn chosen<T>(found: Option<Result<T, Diagnostic>>) -> (Option<T>, Option<Diagnostic>) {
    match found {
        Some(Ok(found)) => (Some(found), None),
        Some(Err(refusal)) => (None, Some(refusal)),
        None => (None, None),
    }
}

/// The scan of each element of a stage that passes over tokens, or why there is none.
fn element_scan(
    stage: &Stage,
    build: &Build<'_>,
) -> Result<Option<Result<ElementScan, Diagnostic>>, Diagnostic> {
    if stage.runs == Runs::Once {
        return Ok(None);
    }
    let scan = sluice_passes::elements(&stage.recurrence).and_then(|form| {
        let kernel = schedule::element_scan(&form, build)?;
        Ok(ElementScan { form, kernel })
    });
    match scan {
        Err(error) if !matches!(error.code, Code::TooLarge | Code::Unsupported) => Err(error),
        found => Ok(Some(found)),
    }
}

/// The one error that says that there is no schedule, which a token loop does not need.
///
/// # Errors
///
/// All other errors.
pub(crate) fn refusal(mut errors: Vec<Diagnostic>) -> Result<Diagnostic, Vec<Diagnostic>> {
    let refused = |e: &Diagnostic| matches!(e.code, Code::TooLarge | Code::Unsupported);
    match errors.pop() {
        Some(error) if errors.is_empty() && refused(&error) => Ok(error),
        last => Err(errors.into_iter().chain(last).collect()),
    }
}

/// The fused scan with the first of the chunk lengths whose tiles fit the target; of several, none
/// longer than is accurate.
///
/// # Errors
///
/// Those of [`sluice_passes::chunk`], and [`Code::TooLarge`] if no schedule fits the target.
pub fn scan(
    recurrence: &Recurrence,
    (term, mixed): (&Term, &[String]),
    build: &Build<'_>,
    chunks: &[usize],
    seen: &mut dyn FnMut(&Chunked),
) -> Result<Scan, Vec<Diagnostic>> {
    let mut refusal = Vec::new();
    let longest = schedule::longest_chunk(term).filter(|_| chunks.len() > 1);
    for &chunk in chunks.iter().filter(|c| longest.is_none_or(|longest| **c <= longest)) {
        let (chunked, kernel) = scan_in_chunks(recurrence, (term, mixed), build, chunk)?;
        seen(&chunked);
        match kernel {
            Ok(kernel) => return Ok(Scan { chunked, kernel }),
            Err(error) if error.code == Code::TooLarge => refusal = vec![error],
            Err(error) => return Err(vec![error]),
        }
    }
    Err(refusal)
}

/// A term in chunks of one length, and its fused scan or why there is none.
///
/// # Errors
///
/// Those of [`sluice_passes::chunk`].
pub fn scan_in_chunks(
    recurrence: &Recurrence,
    (term, mixed): (&Term, &[String]),
    build: &Build<'_>,
    chunk: usize,
) -> Result<(Chunked, Result<Checked, Diagnostic>), Vec<Diagnostic>> {
    let whole = chunk_options(build.target, chunk);
    let chunked = sluice_passes::chunk(term, &whole)?;
    let kernel = schedule::fused_scan(recurrence, &chunked.term, build, chunk, mixed);
    let scored = chunked.term.nodes().iter().any(|node| matches!(node, Seq::Score(_)));
    // Whole scores are for a kernel of their own. What it leaves to a scan is for roles, or for short chunks
    // and so many threads that each has all registers.
    let apart = |kernel: &Checked| {
        let short = chunk == WHOLE_SCORES && kernel.threads() <= ALL_REGISTERS;
        kernel.prepare.is_some() && (short || kernel.roles.len() > 1)
    };
    if !(whole.whole_scores && scored) || kernel.as_ref().is_ok_and(apart) {
        return Ok((chunked, kernel));
    }
    let chunked = sluice_passes::chunk(term, &ChunkOptions { whole_scores: false, ..whole })?;
    let kernel = schedule::fused_scan(recurrence, &chunked.term, build, chunk, mixed);
    Ok((chunked, kernel))
}

/// The loop over tokens for one processor, with every array in `dtype`: lowered straight from the
/// step form, it owes nothing to the derivation.
///
/// # Errors
///
/// [`Code::TooLarge`] if a step does not fit the target.
pub fn step_loop(
    recurrence: &Recurrence,
    build: &Build<'_>,
    dtype: Dtype,
) -> Result<Checked, Diagnostic> {
    let build = Build { dtype, compute: dtype, ..build.clone() };
    if dtype != Dtype::F64 {
        return schedule::step_or_loop(recurrence, &build, false);
    }
    let mut wide = recurrence.clone();
    wide.inputs.iter_mut().for_each(|input| input.dtype = Some(dtype));
    wide.outputs.iter_mut().for_each(|output| output.dtype = Some(dtype));
    schedule::step_or_loop(&wide, &build, false)
}
