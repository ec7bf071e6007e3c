//! Causal masks between a reading step `t` and a writing step `s`.

use std::fmt;

/// Which pairs of a reading step `t` and a writing step `s` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mask {
    /// `s <= t`: reads the state after its own step.
    Incl,
    /// `s < t`: reads the state before its own step.
    Strict,
    /// `s >= t`: the transpose of `Incl`.
    Tincl,
    /// `s > t`: the transpose of `Strict`.
    Tstrict,
}

impl Mask {
    /// All masks.
    pub const ALL: &'static [Mask] = &[Mask::Incl, Mask::Strict, Mask::Tincl, Mask::Tstrict];

    /// Whether step `s` counts for step `t`.
    pub fn holds(self, t: usize, s: usize) -> bool {
        match self {
            Mask::Incl => s <= t,
            Mask::Strict => s < t,
            Mask::Tincl => s >= t,
            Mask::Tstrict => s > t,
        }
    }

    /// Whether reads look towards later steps, so that blocks are passed from right to left.
    pub fn is_transposed(self) -> bool {
        matches!(self, Mask::Tincl | Mask::Tstrict)
    }

    /// The mask of whole blocks when steps are put in blocks and those of a block apart.
    pub fn of_blocks(self) -> Self {
        if self.is_transposed() { Mask::Tstrict } else { Mask::Strict }
    }

    /// The running sum of log decays that takes a read to its block's edge.
    pub fn read_run(self) -> Self {
        match self {
            Mask::Incl => Mask::Incl,
            Mask::Strict => Mask::Strict,
            Mask::Tincl | Mask::Tstrict => Mask::Tstrict,
        }
    }

    /// The running sum of log decays that takes a write to its block's other edge.
    pub fn write_run(self) -> Self {
        match self {
            Mask::Incl | Mask::Strict => Mask::Tstrict,
            Mask::Tincl => Mask::Incl,
            Mask::Tstrict => Mask::Strict,
        }
    }

    /// The steps whose log decays lie between read `t` and write `s`; empty if there are none.
    pub fn segment(self, t: usize, s: usize) -> std::ops::Range<usize> {
        match self {
            Mask::Incl => s + 1..t + 1,
            Mask::Strict => s + 1..t,
            Mask::Tincl => t + 1..s + 1,
            Mask::Tstrict => t + 1..s,
        }
    }

    /// Name in every printed form.
    pub fn name(self) -> &'static str {
        match self {
            Mask::Incl => "incl",
            Mask::Strict => "strict",
            Mask::Tincl => "tincl",
            Mask::Tstrict => "tstrict",
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
