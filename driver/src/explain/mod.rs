//! Why a program's kernels are right and what they cost: the derivation with its figures.

mod document;

use crate::extents::Extents;
use crate::figures::{Figures, counted};
use crate::kernels::{ElementScan, StageKernels, plan};
use crate::summary::{class, runs};
pub use document::Format;
use serde::Serialize;
use sluice_ir::artifact::Manifest;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::pointwise::Unary;
use sluice_ir::seq::{Seq, Style, Term, core_of};
use sluice_ir::staged::Form;
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::Build;
use sluice_passes::{Chunked, Derivation, Stop};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Everything that is told of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Name of the program.
    pub program: String,
    /// Sizes of the dimensions.
    pub extents: Extents,
    /// The GPU that costs are for.
    pub target: &'static str,
    /// What the operators in the forms below mean.
    pub operators: Vec<&'static str>,
    /// The stages, in the order in which they run.
    pub stages: Vec<StageExplanation>,
}

/// What is told of one stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageExplanation {
    /// Name of the stage.
    pub name: String,
    /// Its kind: decay and feedback of each loop along the sequence, or why it has no chunks.
    pub class: String,
    /// How often and in which order it runs.
    pub runs: String,
    /// The step form of a stage of several, with where its states come from and go to.
    pub step: Option<String>,
    /// Why it runs token by token, if it does.
    pub token_by_token: Option<String>,
    /// The way to the chunked form, if there is one with a kernel.
    pub derivation: Option<Chunking>,
    /// The scans of elements, if there is a kernel of them.
    pub elements: Option<Elementwise>,
    /// The kernels.
    pub kernels: Vec<Figures>,
}

/// From the sequence form to the chunked form.
#[derive(Clone, Debug, Serialize)]
pub struct Chunking {
    /// The sequence form, before any law.
    pub sequence: String,
    /// For each result the laws from there to the chunked form, in order.
    pub derivations: Vec<Chain>,
    /// The chunked form.
    pub chunked: String,
    /// The same as equations in LaTeX.
    pub latex: Vec<String>,
    /// The same as equations in Unicode.
    pub equations: Vec<String>,
    /// The largest exponents, by the operator that raises e to them.
    pub exponents: Vec<Exponents>,
    /// The search for the chunked form.
    pub search: Search,
}

/// The scans of a stage's elements.
#[derive(Clone, Debug, Serialize)]
pub struct Elementwise {
    /// The elementwise form.
    pub form: String,
    /// For each state that is scanned in segments the laws from the step to there.
    pub derivations: Vec<Chain>,
}

/// Exponents of one operator of the chunked form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exponents {
    /// The operator.
    pub operator: String,
    /// How often it occurs with this bound.
    pub count: usize,
    /// No exponent is larger; nothing if it has no bound.
    pub at_most: Option<f64>,
}

/// What the meanings of operators leave open.
const MASKS: &str = "`m(t,s)`: `incl` is `s <= t`, `strict` is `s < t`, `tincl` and `tstrict` are \
                     their transposes; `seg_m(g)(t,s)` is the sum of the gates between `s` and `t`.";

/// The chain of laws for one result.
#[derive(Clone, Debug, Serialize)]
pub struct Chain {
    /// Name of the output or state.
    pub result: String,
    /// The steps in order.
    pub steps: Vec<LawStep>,
}

/// One use of a law.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LawStep {
    /// Name of the law.
    pub law: String,
    /// Whether it was used from left to right.
    pub forward: bool,
    /// Where it is derived.
    pub reference: &'static str,
    /// Its effect on rounding.
    pub rounding: &'static str,
    /// The sub-term before; what lies deep in it is left out.
    pub before: String,
    /// The sub-term after.
    pub after: String,
}

/// Sizes and times of the search by equality saturation.
#[derive(Clone, Debug, Serialize)]
pub struct Search {
    /// Tokens of a chunk.
    pub chunk: usize,
    /// Nodes of the sequence form.
    pub nodes_before: usize,
    /// Nodes of the saturated graph.
    pub nodes: usize,
    /// Classes of equal nodes.
    pub classes: usize,
    /// Rounds in which all laws were matched.
    pub iterations: usize,
    /// Whether no law had anything to add; else a limit ended the search.
    pub saturated: bool,
    /// Loops over chunks in the result.
    pub chunk_loops: usize,
    /// Loops over tokens in the result.
    pub token_loops: usize,
    /// Cost of the result in the model, in nanoseconds for the nominal problem.
    pub cost: f64,
    /// Wall-clock time of the search, chunk lengths that did not fit included.
    pub search_ms: f64,
    /// Wall-clock time of the search again, with proofs.
    pub proof_ms: f64,
}

/// Explains a recurrence.
///
/// # Errors
///
/// Those of the stages before code.
pub fn explain(
    recurrence: &Recurrence,
    build: &Build<'_>,
    chunks: &[usize],
) -> Result<Explanation, Vec<Diagnostic>> {
    // When each search begins and when its last attempt has ended, in the order of the stages.
    let mut searches: Vec<(Instant, Duration)> = Vec::new();
    let plan = plan(recurrence, build, chunks, &mut |stage, _| match stage {
        "staged" => searches.clear(),
        "sequence" => searches.push((Instant::now(), Duration::ZERO)),
        "chunked" => {
            if let Some((start, spent)) = searches.last_mut() {
                *spent = start.elapsed();
            }
        }
        _ => {}
    })?;
    let mut searching = searches.into_iter().map(|(_, spent)| spent);
    let several = plan.staged.stages.len() > 1;
    let terms = plan.kernels.iter().filter_map(|k| Some((k.term.as_ref()?, k.scan.as_ref()?)));
    let operators = meanings(terms.flat_map(|(term, scan)| [term, &scan.chunked.term]));
    let stages = plan.staged.stages.iter().zip(&plan.kernels).map(|(stage, kernels)| {
        let spent = kernels.term.as_ref().and_then(|_| searching.next()).unwrap_or_default();
        let token_by_token = match (&stage.form, &kernels.fallback) {
            _ if kernels.elements.is_some() => None,
            (Form::Steps { reason, .. }, None) => Some(reason.clone()),
            (Form::Steps { reason, .. }, Some(e)) => Some(format!("{reason}; {}", e.message)),
            (Form::Chunks, fallback) => fallback.as_ref().map(|e| e.message.clone()),
        };
        StageExplanation {
            name: stage.recurrence.name.clone(),
            class: class(stage, kernels.term.as_ref()),
            runs: runs(stage),
            step: several.then(|| stage.to_string()),
            token_by_token,
            derivation: Chunking::of(kernels, spent),
            elements: kernels.elements.as_ref().map(Elementwise::of),
            kernels: kernels
                .launched()
                .chain(kernels.joining())
                .map(|kernel| Figures::of(kernel, build.target))
                .collect(),
        }
    });
    let stages = stages.collect();
    Ok(Explanation {
        program: recurrence.name.clone(),
        extents: build.extents.clone(),
        target: build.target.name,
        operators,
        stages,
    })
}

impl Explanation {
    /// Adds what the assembler said of each kernel.
    pub fn assembled(&mut self, manifest: &Manifest) {
        for variant in manifest.variants() {
            let figures = self.stages.iter_mut().flat_map(|stage| &mut stage.kernels);
            for figures in figures.filter(|figures| figures.entry == variant.entry) {
                figures.assembled =
                    variant.registers.zip(variant.spill_bytes).map(<[usize; 2]>::from);
            }
        }
    }
}

impl Elementwise {
    fn of(scan: &ElementScan) -> Elementwise {
        let derivations = sluice_passes::explain_elements(&scan.form);
        Elementwise {
            form: scan.form.to_string(),
            derivations: derivations.into_iter().map(Chain::from).collect(),
        }
    }
}

impl Chunking {
    /// The derivation of a stage's scan; the search for it took some time.
    fn of(kernels: &StageKernels, searching: Duration) -> Option<Chunking> {
        let (term, scan) = (kernels.term.as_ref()?, kernels.scan.as_ref()?);
        let start = Instant::now();
        let derivations = sluice_passes::explain(term, &scan.chunked.term, &scan.chunked.options);
        Some(Chunking {
            sequence: term.annotated(),
            derivations: derivations.into_iter().map(Chain::from).collect(),
            chunked: scan.chunked.term.annotated(),
            latex: scan.chunked.term.equations(Style::Latex),
            equations: scan.chunked.term.equations(Style::Text),
            exponents: exponents(&scan.chunked.term),
            search: Search::of(&scan.chunked, scan.kernel.chunk, searching, start.elapsed()),
        })
    }
}

/// The bounds of all exponents of a term, from the promised ranges of the inputs.
fn exponents(term: &Term) -> Vec<Exponents> {
    let mut found: BTreeMap<(String, u64), Exponents> = BTreeMap::new();
    for node in term.nodes() {
        let gates = match (node, core_of(node)) {
            (Seq::Unary(Unary::Exp, [x]), _) => vec![*x],
            (Seq::Score([.., g]) | Seq::Vmix([.., g]) | Seq::Seg([_, g]), _) => vec![*g],
            // A matrix of states is no exponent.
            (_, Some((_, core))) if term.shape(core.g).rows > 1 => vec![core.w],
            (_, Some((_, core))) => vec![core.g, core.w],
            _ => continue,
        };
        for gate in gates.into_iter().filter(|gate| !term.is_zero(*gate)) {
            let bound = term.facts(gate).array().range.hi;
            let operator = node.name();
            let operator = operator.split(' ').next().unwrap_or_default().to_owned();
            let key = (operator.clone(), bound.to_bits());
            let at_most = bound.is_finite().then_some(bound);
            found.entry(key).or_insert(Exponents { operator, count: 0, at_most }).count += 1;
        }
    }
    found.into_values().collect()
}

/// The meanings of the operators in some terms, in the order of the table of operators.
fn meanings<'a>(terms: impl Iterator<Item = &'a Term>) -> Vec<&'static str> {
    let nodes = terms.flat_map(|term| term.nodes());
    let mut nodes: Vec<&Seq> = nodes.filter(|node| !matches!(node, Seq::Zero(_))).collect();
    nodes.sort();
    let mut meanings: Vec<_> = nodes.into_iter().filter_map(Seq::meaning).collect();
    meanings.dedup();
    meanings
}

impl Search {
    fn of(chunked: &Chunked, chunk: usize, searching: Duration, proving: Duration) -> Search {
        let saturation = chunked.saturation;
        let milliseconds = |time: Duration| 1e3 * time.as_secs_f64();
        Search {
            chunk,
            nodes_before: saturation.nodes_before,
            nodes: saturation.nodes,
            classes: saturation.classes,
            iterations: saturation.iterations,
            saturated: saturation.stop == Stop::Saturated,
            chunk_loops: chunked.chunk_loops,
            token_loops: chunked.term.token_loops(),
            cost: chunked.cost,
            search_ms: milliseconds(searching),
            proof_ms: milliseconds(proving),
        }
    }
}

impl From<Derivation> for Chain {
    fn from(derivation: Derivation) -> Self {
        let steps = derivation.steps.into_iter().map(|step| LawStep {
            law: step.law,
            forward: step.forward,
            reference: step.reference,
            rounding: step.rounding.name(),
            before: step.before,
            after: step.after,
        });
        Chain { result: derivation.root, steps: steps.collect() }
    }
}

impl fmt::Display for LawStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backwards = if self.forward { "" } else { ", right to left" };
        writeln!(f, "{}{backwards} ({}; {})", self.law, self.rounding, self.reference)?;
        writeln!(f, "        {}", self.before)?;
        write!(f, "      = {}", self.after)
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.saturated { "saturated" } else { "stopped at a limit" };
        write!(
            f,
            "{} nodes became {} in {} classes, {end} after {} rounds; \
             {} over chunks, {} over tokens; {:.0} ms, with proofs {:.0} ms",
            self.nodes_before,
            self.nodes,
            self.classes,
            self.iterations,
            counted(self.chunk_loops, "loop"),
            self.token_loops,
            self.search_ms,
            self.proof_ms
        )
    }
}
