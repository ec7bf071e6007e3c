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
