//! What a staged program is.
//!
//! ```text
//! Staged = name, outputs, states, stages in the order in which they run
//! Stage  = a recurrence of one sweep, a link for each of its states, runs, form
//! runs   = over the tokens | once for each sequence
//!        | over the tokens of each segment | over the segments
//! form   = chunks | steps, with the class that explains why
//! ```
//!
//! A stage takes arrays of the caller and of earlier stages, by name, and makes results of the program
//! or intermediate arrays. Intermediate arrays over the tokens are f32 and have one row a head; their
//! names are unique in the program.

use crate::problem::Problem;
use crate::step::Recurrence;
use serde::{Deserialize, Serialize};

/// A program as stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    /// Name of the program.
    pub name: String,
    /// The program's outputs in order of declaration.
    pub outputs: Vec<String>,
    /// The program's states in order of declaration.
    pub states: Vec<String>,
    /// The stages, in the order in which they run.
    pub stages: Vec<Stage>,
}

/// One launch: a recurrence whose states pass over the tokens together.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// One step: states of one order, none read after the last token. Its name is the entry's.
    pub recurrence: Recurrence,
    /// Where each state of the recurrence comes from and goes to, in order.
    pub links: Vec<StateLink>,
    /// How often it runs.
    pub runs: Runs,
    /// How its kernels may work.
    pub form: Form,
}

/// Both ends of a state of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateLink {
    /// Where the state before the first token comes from.
    pub from: From,
    /// Under which name the state after the last token is kept: a state of the program or an
    /// intermediate; none if nobody wants it.
    pub to: Option<String>,
}

/// Where a state before the first token comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// This state of the program: the caller's array if there is one, else what is declared.
    Initial(String),
    /// A state that an earlier stage keeps under this name.
    Last(String),
    /// What is declared; the caller cannot set it.
    Declared,
}

/// How often a stage runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// At every token.
    Tokens,
    /// Once for each sequence, as if it had one token. It has no inputs and outputs over the tokens.
    Once,
    /// At every token, where segments of at most so many tokens of a sequence are sequences.
    Segments(usize),
    /// Once for each of those segments, as if it were a token of its sequence. Its arrays over the tokens
    /// are arrays over the segments: a state after each segment, or before it.
    Joints(usize),
}

impl Runs {
    /// A problem of the program as a stage sees it.
    pub fn problem(self, problem: &Problem) -> Problem {
        let cu_seqlens = match self {
            Runs::Tokens => problem.cu_seqlens.clone(),
            Runs::Once => (0..=problem.sequences()).collect(),
            Runs::Segments(tokens) => {
                let ends = problem.cu_seqlens.windows(2).flat_map(|ends| {
                    let cuts = (ends[0]..ends[1]).step_by(tokens).skip(1);
                    cuts.chain((ends[0] < ends[1]).then_some(ends[1]))
                });
                std::iter::once(0).chain(ends).collect()
            }
            Runs::Joints(tokens) => {
                let segments = problem.cu_seqlens.windows(2).scan(0, |before, ends| {
                    *before += (ends[1] - ends[0]).div_ceil(tokens);
                    Some(*before)
                });
                std::iter::once(0).chain(segments).collect()
            }
        };
        Problem { cu_seqlens, ..problem.clone() }
    }
}

/// How the kernels of a stage may work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// By chunks of tokens: there is a sequence form.
    Chunks,
    /// Token by token.
    Steps {
        /// What kind of recurrence it is.
        class: Class,
        /// Why there is no chunked form.
        reason: String,
    },
}

/// Kinds of stages that run token by token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// No states.
    Pointwise,
    /// Every element of a state has its own scan.
    Elementwise,
    /// Affine with maximum for addition and addition for multiplication.
    MaxPlus,
    /// The same with the logarithm of a sum of exponentials for addition.
    LogSumExp,
    /// The last values of something.
    Window,
    /// Elements of a state are mixed in a way that is no sum of products of vectors.
    Dense,
    /// Several states are mixed.
    Mixed,
    /// The update is not affine in its states.
    Sequential,
}

impl Class {
    /// The class in words.
    pub fn name(self) -> &'static str {
        match self {
            Class::Pointwise => "pointwise",
            Class::Elementwise => "elementwise",
            Class::MaxPlus => "max-plus",
            Class::LogSumExp => "log-sum-exp",
            Class::Window => "window",
            Class::Dense => "dense",
            Class::Mixed => "mixed states",
            Class::Sequential => "sequential",
        }
    }
}

impl Staged {
    /// The states of a stage whose last values a stage that runs once takes together: it may mix them.
    pub fn mixed(&self, stage: &Stage) -> Vec<String> {
        let mut mixed = Vec::new();
        for once in self.stages.iter().filter(|s| s.runs == Runs::Once) {
            let taken = |link: &StateLink| {
                link.to.as_ref().is_some_and(|to| {
                    once.links.iter().any(|l| matches!(&l.from, From::Last(name) if name == to))
                })
            };
            let states = stage.recurrence.states.iter().zip(&stage.links);
            let taken: Vec<String> =
                states.filter(|(_, link)| taken(link)).map(|(s, _)| s.name.clone()).collect();
            if taken.len() > 1 {
                mixed.extend(taken);
            }
        }
        mixed
    }

    /// The stage that makes an intermediate array or a result, and whether it is a state.
    pub fn maker(&self, name: &str) -> Option<(usize, bool)> {
        let made = |stage: &Stage| {
            let output = stage.recurrence.outputs.iter().any(|o| o.name == name);
            let state = stage.links.iter().any(|l| l.to.as_deref() == Some(name));
            (output || state).then_some(state)
        };
        self.stages.iter().enumerate().find_map(|(i, stage)| made(stage).map(|state| (i, state)))
    }
}
