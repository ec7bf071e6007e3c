//! Why a program's kernels are right and what they cost: the derivation with its figures.

use crate::extents::Extents;
use crate::figures::{Figures, counted};
use crate::kernels::{chunk_options, scan};
use crate::summary::classes;
use serde::Serialize;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::seq::{Seq, Term};
use sluice_ir::step::Recurrence;
use sluice_passes::schedule::{self, Build};
use sluice_passes::{Chunked, Derivation, Stop};
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

/// Everything that is told of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Name of the program.
    pub program: String,
    /// Its kind: decay and feedback of each loop along the sequence.
    pub classes: Vec<String>,
    /// Sizes of the dimensions.
    pub extents: Extents,
    /// The GPU that costs are for.
    pub target: &'static str,
    /// The sequence form, before any law.
    pub sequence: String,
    /// For each result the laws from there to the chunked form, in order.
    pub derivations: Vec<Chain>,
    /// The chunked form.
    pub chunked: String,
    /// What the operators in these forms mean.
    pub operators: Vec<&'static str>,
    /// The search for the chunked form.
    pub search: Search,
    /// The kernels.
    pub kernels: Vec<Figures>,
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
    let term = sluice_passes::lift(recurrence, build.extents)?;
    let start = Instant::now();
    let (chunked, kernel) = scan(recurrence, &term, build, chunks, &mut |_, _| {})?;
    let searching = start.elapsed();
    let step = schedule::step(recurrence, build, true).map_err(|e| vec![e])?;
    let start = Instant::now();
    let options = chunk_options(build.target, kernel.chunk);
    let derivations = sluice_passes::explain(&term, &chunked.term, &options);
    Ok(Explanation {
        program: recurrence.name.clone(),
        classes: classes(&term),
        extents: build.extents.clone(),
        target: build.target.name,
        sequence: term.annotated(),
        operators: meanings(&[&term, &chunked.term]),
        derivations: derivations.into_iter().map(Chain::from).collect(),
        search: Search::of(&chunked, kernel.chunk, searching, start.elapsed()),
        chunked: chunked.term.annotated(),
        kernels: [&kernel, &step].map(|kernel| Figures::of(kernel, build.target)).into(),
    })
}

/// The meanings of the operators in some terms, in the order of the table of operators.
fn meanings(terms: &[&Term]) -> Vec<&'static str> {
    let nodes = terms.iter().flat_map(|term| term.nodes());
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

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.extents.iter().map(|(n, s)| format!("{n} = {s}")).collect();
        writeln!(f, "{} for {}, {}", self.program, self.target, sizes.join(", "))?;
        writeln!(f, "{}", self.classes.join(" + "))?;
        section(f, "operators, on arrays [blocks, rows, features]", &self.operators.join("\n"))?;
        writeln!(f, "  {MASKS}")?;
        section(f, "sequence form", &self.sequence)?;
        self.laws(f)?;
        section(f, &format!("chunked form, {} tokens a chunk", self.search.chunk), &self.chunked)?;
        writeln!(f, "\nsearch\n  {}", self.search)?;
        writeln!(f, "\nkernels")?;
        for kernel in &self.kernels {
            for line in kernel.to_string().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

impl Explanation {
    /// The chains of laws; a step that an earlier chain has shown is not shown again.
    fn laws(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = BTreeSet::new();
        for chain in &self.derivations {
            writeln!(f, "\nlaws from there to the chunked form of `{}`", chain.result)?;
            let (new, known): (Vec<_>, Vec<_>) =
                chain.steps.iter().partition(|step| shown.insert(*step));
            for (number, step) in new.iter().enumerate() {
                writeln!(f, "  {:>3}. {step}", number + 1)?;
            }
            if !known.is_empty() {
                writeln!(f, "  and {} of the steps above", known.len())?;
            }
        }
        Ok(())
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, text: &str) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    text.lines().try_for_each(|line| writeln!(f, "  {line}"))
}

impl fmt::Display for LawStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backwards = if self.forward { "" } else { ", right to left" };
        writeln!(f, "{}{backwards} ({}; {})", self.law, self.rounding, self.reference)?;
        writeln!(f, "          {}", self.before)?;
        write!(f, "        = {}", self.after)
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
