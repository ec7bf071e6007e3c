//! What is compared with the definition: a program in each of its forms, as something that computes
//! its results.

use super::Options;
use crate::execute::{Run, joined, on_device, scalar};
use crate::extents::Extents;
use crate::kernels::{Plan, StageKernels, plan, refusal, scan_in_chunks};
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::elements;
use sluice_ir::kernel::{self, Checked, Rounding};
use sluice_ir::seq::{self, Term};
use sluice_ir::staged::{Stage, Staged};
use sluice_ir::step;
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::{self, Build};
use std::rc::Rc;

/// Tokens of a segment of the elementwise form; short sequences have several.
const SEGMENT: usize = 5;

/// A program in one form, ready to run on any problem of its extents.
pub(super) struct Subject {
    /// Name in reports.
    pub(super) name: String,
    /// Element type whose tolerance applies.
    pub(super) dtype: Dtype,
    /// Whether it runs on a GPU, and must compute the same bits again.
    pub(super) device: bool,
    /// Whether also for a part of the problem alone: other stages of a program are run by the kernels that a
    /// launcher chooses for the shape.
    pub(super) alone: bool,
    /// The form's own evaluator or its code.
    pub(super) run: Run,
}

/// A recurrence for given extents.
pub(super) struct Subjects {
    /// The forms that can run.
    pub(super) ready: Vec<Subject>,
    /// Kernels that are left out: name and reason.
    pub(super) left_out: Vec<(String, String)>,
    /// What each stage is: name, and class and form in words.
    pub(super) stages: Vec<(String, String)>,
    /// Scans that run one after another, each on the results of those before.
    pub(super) scans: usize,
}

/// All forms of a recurrence for given extents, in chunks of these lengths.
pub(super) fn subjects(
    recurrence: &Recurrence,
    extents: &Extents,
    chunks: &[usize],
    options: Options,
) -> Result<Subjects, Vec<Diagnostic>> {
    let build =
        Build { extents, dtype: options.dtype, compute: Dtype::F32, target: options.target };
    let plan = plan(recurrence, &build, chunks, &mut |_, _| {})?;
    let scans = plan.scans();
    let Plan { staged, kernels } = plan;
    let staged = Rc::new(staged);
    let described = staged.stages.iter().zip(&kernels);
    let described = described.map(|(stage, k)| (stage.recurrence.name.clone(), k.describe(stage)));
    let mut subjects =
        Subjects { ready: Vec::new(), left_out: Vec::new(), stages: described.collect(), scans };
    let program = Program { staged: &staged, kernels: &kernels, build: &build, options };
    if staged.stages.len() > 1 {
        subjects.add("staged", Dtype::F64, program.with(|_, _| None));
    }
    if kernels.iter().any(|k| k.term.is_some()) {
        let sequence = program.with(|i, k| Some(program.term(i, k.term.as_ref()?)));
        subjects.add("sequence", Dtype::F64, sequence);
    }
    for &chunk in chunks {
        program.chunked(chunk, &mut subjects)?;
    }
    program.elements(&mut subjects);
    program.segments(&mut subjects);
    program.steps(&mut subjects).map_err(|e| vec![e])?;
    if options.device {
        for (name, run) in on_device(recurrence, &build)?.each {
            let (name, dtype) = (format!("device {name}"), build.operand());
            let alone = staged.stages.len() == 1;
            subjects.ready.push(Subject { name, dtype, device: true, alone, run });
        }
    }
    Ok(subjects)
}

impl Subjects {
    fn add(&mut self, name: &str, dtype: Dtype, run: Run) {
        self.ready.push(Subject { name: name.to_owned(), dtype, device: false, alone: false, run });
    }
}

/// A program and what it was built with.
struct Program<'a> {
    staged: &'a Rc<Staged>,
    kernels: &'a [StageKernels],
    build: &'a Build<'a>,
    options: Options,
}

impl Program<'_> {
    /// The program with each stage in a form; those without one by the step evaluator.
    fn with(&self, form: impl Fn(usize, &StageKernels) -> Option<Run>) -> Run {
        let stages = self.staged.stages.iter().zip(self.kernels).enumerate();
        let runs = stages.map(|(i, (stage, k))| form(i, k).unwrap_or_else(|| stepwise(stage)));
        joined(self.staged, runs.collect())
    }

    /// The term of a stage in f64, before or after chunking.
    fn term(&self, stage: usize, term: &Term) -> Run {
        let (order, term) = (self.build.order(&self.staged.stages[stage].recurrence), term.clone());
        Box::new(move |p, a| Ok(seq::run(&term, order, p, a)))
    }

    /// The chunked forms with chunks of one length, and their kernels.
    fn chunked(&self, chunk: usize, subjects: &mut Subjects) -> Result<(), Vec<Diagnostic>> {
        let several = self.staged.stages.len() > 1;
        let (mut terms, mut scans, mut built) = (Vec::new(), Vec::new(), true);
        for (stage, kernels) in self.staged.stages.iter().zip(self.kernels) {
            let recurrence = &stage.recurrence;
            let Some(token_level) = &kernels.term else {
                terms.push(None);
                scans.push(None);
                continue;
            };
            let mut leave_out = |reason: &Diagnostic| {
                let of = if several { format!(" of {}", recurrence.name) } else { String::new() };
                let reason = reason.message.clone();
                subjects.left_out.push((format!("scan {chunk}{of}"), reason));
            };
            // What the plan made already is not made a second time.
            let planned = kernels.scan.as_ref().filter(|scan| scan.kernel.chunk == chunk);
            let mixed = self.staged.mixed(stage);
            let made = match planned {
                Some(scan) => Ok((scan.chunked.clone(), Ok(scan.kernel.clone()))),
                None => scan_in_chunks(recurrence, (token_level, &mixed), self.build, chunk),
            };
            let (chunked, kernel) = match made {
                Ok((chunked, kernel)) => (chunked.term, kernel),
                Err(errors) => {
                    leave_out(&refusal(errors)?);
                    terms.push(None);
                    scans.push(None);
                    continue;
                }
            };
            match kernel {
                Ok(kernel) => scans.push(Some(Rc::new(kernel))),
                Err(error) => {
                    leave_out(&refusal(vec![error])?);
                    scans.push(None);
                }
            }
            terms.push(Some(chunked));
            // Kernels that no build makes need not be accurate once rounded.
            built &= schedule::longest_chunk(token_level).is_none_or(|longest| chunk <= longest);
        }
        if terms.iter().any(Option::is_some) {
            let run = self.with(|i, _| Some(self.term(i, terms[i].as_ref()?)));
            subjects.add(&format!("chunked {chunk}"), Dtype::F64, run);
        }
        if scans.iter().any(Option::is_some) {
            let run = self.with(|i, _| Some(evaluated(scans[i].as_ref()?, Rounding::Exact)));
            subjects.add(&format!("scan {chunk} f64"), Dtype::F64, run);
            if self.options.rounded && built {
                let run = self.with(|i, kernels| {
                    let step = || Rc::new(kernels.step.clone());
                    let kernel = scans[i].clone().unwrap_or_else(step);
                    Some(evaluated(&kernel, Rounding::Stored))
                });
                let operand = self.build.operand();
                subjects.add(&format!("scan {chunk} {operand}"), operand, run);
            }
        }
        Ok(())
    }

    /// The scans of elements: as a form, and as kernels.
    fn elements(&self, subjects: &mut Subjects) {
        if self.kernels.iter().all(|k| k.elements.is_none()) {
            return;
        }
        let form = self.with(|_, k| {
            let form = k.elements.as_ref()?.form.clone();
            Some(Box::new(move |p, a| Ok(elements::eval(&form, p, a, SEGMENT))))
        });
        subjects.add("elements", Dtype::F64, form);
        let kernels = |rounding| {
            self.with(|_, k| {
                Some(evaluated(&Rc::new(k.elements.as_ref()?.kernel.clone()), rounding))
            })
        };
        subjects.add("elements f64", Dtype::F64, kernels(Rounding::Exact));
        if self.options.rounded {
            let operand = self.build.operand();
            subjects.add(&format!("elements {operand}"), operand, kernels(Rounding::Stored));
        }
    }

    /// The kernels on segments of the shortest length, of one stage after another.
    fn segments(&self, subjects: &mut Subjects) {
        let several = self.staged.stages.len() > 1;
        for (index, kernels) in self.kernels.iter().enumerate() {
            let Some(cut) = &kernels.segments else { continue };
            let mut staged = (**self.staged).clone();
            staged.stages.splice(index..=index, cut.stages.iter().cloned());
            let staged = Rc::new(staged);
            let name = &self.staged.stages[index].recurrence.name;
            let of = if several { format!(" of {name}") } else { String::new() };
            let run = |rounding| {
                let before = self.staged.stages[..index].iter().map(stepwise);
                let after = self.staged.stages[index + 1..].iter().map(stepwise);
                let parts =
                    cut.kernels.iter().map(|kernel| evaluated(&Rc::new(kernel.clone()), rounding));
                joined(&staged, before.chain(parts).chain(after).collect())
            };
            subjects.add(&format!("segments{of} f64"), Dtype::F64, run(Rounding::Exact));
            if self.options.rounded {
                let operand = self.build.operand();
                subjects.add(&format!("segments{of} {operand}"), operand, run(Rounding::Stored));
            }
        }
    }

    /// The loops over tokens as a GPU would run them, and as code of this machine; scans for few sequences
    /// and heads.
    fn steps(&self, subjects: &mut Subjects) -> Result<(), Diagnostic> {
        type Kind = fn(&StageKernels) -> Option<&Checked>;
        let kinds: [(&str, Kind); 3] = [
            ("step", |kernels| Some(&kernels.step)),
            ("fine step", |kernels| kernels.fine.as_ref().map(|(kernel, _)| kernel)),
            ("fine scan", |kernels| kernels.fine_scan.as_ref().map(|(kernel, _)| kernel)),
        ];
        for (name, kernel) in kinds {
            if self.kernels.iter().all(|kernels| kernel(kernels).is_none()) {
                continue;
            }
            let run = |rounding| {
                self.with(|_, kernels| {
                    Some(evaluated(&Rc::new(kernel(kernels)?.clone()), rounding))
                })
            };
            subjects.add(&format!("{name} f64"), Dtype::F64, run(Rounding::Exact));
            if self.options.rounded {
                let operand = self.build.operand();
                subjects.add(&format!("{name} {operand}"), operand, run(Rounding::Stored));
            }
        }
        if cfg!(feature = "scalar") {
            for &dtype in self.options.native {
                let run = scalar(self.staged, self.build, dtype)?;
                subjects.add(&format!("scalar {dtype}"), dtype, run);
            }
        }
        Ok(())
    }
}

/// A stage by its definition.
fn stepwise(stage: &Stage) -> Run {
    let recurrence = stage.recurrence.clone();
    Box::new(move |p, a| Ok(step::eval(&recurrence, p, a)))
}

/// A kernel without rounding, which must be exact, or with the rounding of its tiles.
fn evaluated(kernel: &Rc<Checked>, rounding: Rounding) -> Run {
    let kernel = Rc::clone(kernel);
    Box::new(move |p, a| Ok(kernel::eval(&kernel, p, a, rounding)))
}
