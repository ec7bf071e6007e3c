//! The problem that a generated program is tried on, written in the first line of a kept case.

use super::dice::Dice;
use sluice::extents;
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::Problem;
use sluice_ir::step::Recurrence;
use sluice_ir::target::{TARGETS, Target};
use std::collections::BTreeMap;
use std::fmt;

/// How the line of a setting begins.
const MARK: &str = "# tried with ";

/// Everything but the text that decides a trial.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// Sizes of the dimensions by name.
    pub(super) sizes: BTreeMap<String, usize>,
    /// Tokens of each sequence.
    pub(super) lengths: Vec<usize>,
    pub(super) heads: usize,
    pub(super) groups: usize,
    /// Whether initial states are given.
    pub(super) initial: bool,
    /// Element type of vectors.
    pub(super) dtype: Dtype,
    pub(super) target: &'static Target,
    /// Tokens of a chunk.
    pub(super) chunk: usize,
    /// Number of the random inputs.
    pub(super) inputs: usize,
}

const SIZES: &[usize] = &[2, 3, 4, 5, 8, 8, 12, 16, 16, 17, 20, 24, 32, 33, 40];

impl Setting {
    /// A random one; most are small.
    pub(super) fn random(dice: &mut Dice, inputs: usize) -> Self {
        let sizes = ["K", "V", "M"].map(|name| (name.to_owned(), dice.pick(SIZES)));
        let window = ("W".to_owned(), dice.pick(&[2, 3, 4]));
        let groups = dice.pick(&[1, 1, 1, 2]);
        Self {
            sizes: sizes.into_iter().chain([window]).collect(),
            lengths: lengths(dice),
            heads: groups * dice.pick(&[1, 1, 2]),
            groups,
            initial: dice.chance(50),
            dtype: dice.pick(&[Dtype::Bf16, Dtype::Bf16, Dtype::F16, Dtype::F32]),
            target: &TARGETS[dice.below(TARGETS.len())],
            // Short chunks: the more of them, the more passes from one to the next.
            chunk: dice.pick(&[16, 16, 16, 32, 32, 64]),
            inputs,
        }
    }

    /// The problem for a program.
    pub(super) fn problem(&self, recurrence: &Recurrence) -> Problem {
        let size = |name: &str| self.sizes.get(name).copied().unwrap_or(4);
        let ends = self.lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        Problem {
            extents: extents::with_formulas(recurrence, |dim| dim.size.unwrap_or(size(&dim.name))),
            heads: self.heads,
            groups: self.groups,
            cu_seqlens: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The setting that a text begins with.
    pub(super) fn of(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix(MARK)?;
        let words: BTreeMap<&str, &str> =
            line.split(' ').filter_map(|word| word.split_once('=')).collect();
        let number = |name: &str| words.get(name)?.parse().ok();
        let sizes = words.iter().filter(|(name, _)| name.starts_with(char::is_uppercase));
        Some(Self {
            sizes: sizes
                .map(|(name, _)| Some(((*name).to_owned(), number(name)?)))
                .collect::<Option<_>>()?,
            lengths: words
                .get("tokens")?
                .split(',')
                .map(|n| n.parse().ok())
                .collect::<Option<_>>()?,
            heads: number("heads")?,
            groups: number("groups")?,
            initial: *words.get("initial")? == "true",
            dtype: words.get("dtype")?.parse().ok()?,
            target: Target::find(words.get("target")?)?,
            chunk: number("chunk")?,
            inputs: number("inputs")?,
        })
    }

    /// Smaller ones, the boldest first.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut setting = self.clone();
            change(&mut setting);
            if setting != *self {
                all.push(setting);
            }
        };
        for index in 0..self.lengths.len() {
            if self.lengths.len() > 1 {
                add(&|s| s.lengths = without(&s.lengths, index));
            }
            for less in [self.lengths[index] / 2, self.lengths[index].saturating_sub(1)] {
                add(&|s| s.lengths[index] = less);
            }
        }
        add(&|s| (s.heads, s.groups) = (1, 1));
        add(&|s| s.heads = s.groups);
        add(&|s| s.initial = false);
        add(&|s| s.dtype = Dtype::F32);
        for (name, size) in &self.sizes {
            for less in [2, size / 2, size - 1] {
                add(&|s| s.sizes.extend([(name.clone(), less.clamp(2, *size))]));
            }
        }
        all
    }
}

fn without(lengths: &[usize], index: usize) -> Vec<usize> {
    [&lengths[..index], &lengths[index + 1..]].concat()
}

/// Lengths on both sides of the chunks, alone and side by side, some of them 0.
fn lengths(dice: &mut Dice) -> Vec<usize> {
    let one = |dice: &mut Dice| match dice.weighed(&[6, 30, 20, 44]) {
        0 => 0,
        1 => 1 + dice.below(15),
        2 => dice.pick(&[15, 16, 17, 31, 32, 33, 48, 63, 64, 65]),
        _ => 1 + dice.below(80),
    };
    let count = dice.pick(&[1, 1, 1, 2, 3]);
    (0..count).map(|_| one(dice)).collect()
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        for (name, size) in &self.sizes {
            write!(f, "{name}={size} ")?;
        }
        let lengths: Vec<String> = self.lengths.iter().map(ToString::to_string).collect();
        let (heads, groups, initial) = (self.heads, self.groups, self.initial);
        write!(f, "tokens={} heads={heads} groups={groups} initial={initial} ", lengths.join(","))?;
        let (dtype, target, chunk) = (self.dtype, self.target.name, self.chunk);
        write!(f, "dtype={dtype} target={target} chunk={chunk} inputs={}", self.inputs)
    }
}
