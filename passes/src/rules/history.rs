//! Blocking of a history: unrolling, chunking and the solve of its feedback in one equation.
//!
//! Inside a block, row `i` sees `H_i = e^{run strict} . H + sum_{j<i} e^{seg} (a_j z_j + c_j d_j)`.
//! Put into `z_i = p_i H_i + (L z)_i + b_i` and collected, that is `(I - L') Z = p' H + b'`: the same
//! history with longer steps. What is read inside a block is its state at the block's edge plus
//! masked scores against the block's own writes.

use super::Sizes;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

const REFERENCE: &str = "unrolling of an affine recurrence over a block; [Yang 2024, sec. 3]";
const CORE: &str = "?g ?w ?a ?l ?p ?b ?c ?d ?s";

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    Mask::ALL.iter().flat_map(|mask| Blocking { mask: *mask, chunk: sizes.chunk }.laws()).collect()
}

/// The laws that put histories of one mask in blocks.
struct Blocking {
    mask: Mask,
    chunk: usize,
}

impl Blocking {
    fn laws(&self) -> Vec<Law> {
        let mut laws = vec![];
        let mask = self.mask.name();
        // The reversed inclusive history exists without feedback only.
        if self.mask != Mask::Tincl {
            let guards = [Guard::TokenLevel("?g"), Guard::Zero("?w")];
            laws.push(self.law("block-read", self.read(true), &guards));
            laws.push(self.law("block-readt", self.read_transposed(true), &guards));
            laws.extend(self.last().map(|sides| self.law("block-final", sides, &guards)));
        }
        let mut guards = vec![Guard::TokenLevel("?g"), Guard::Zero("?p"), Guard::Zero("?b")];
        if self.mask != Mask::Tincl {
            guards.push(Guard::NonZero("?w"));
        }
        laws.push(self.law("block-read-plain", self.read(false), &guards));
        laws.push(self.law("block-readt-plain", self.read_transposed(false), &guards));
        laws.extend(self.last().map(|sides| self.law("block-final-plain", sides, &guards)));
        if self.mask == self.mask.of_blocks() {
            let written = format!("(unblk {} (hz {mask} {}))", self.chunk, self.core());
            let sides = (format!("(hz {mask} {CORE})"), written);
            let guards = [Guard::TokenLevel("?g"), Guard::Zero("?w")];
            laws.push(self.law("block-written", sides, &guards));
        }
        laws
    }

    fn law(&self, family: &'static str, (lhs, rhs): (String, String), guards: &[Guard]) -> Law {
        let reader = if family.starts_with("block-readt") { Extent::Values } else { Extent::Keys };
        let mut variables = core_variables(1, self.mask.is_transposed());
        if lhs.contains("?q") {
            variables.push(Variable::new("?q", 1, Extent::Steps(1), reader));
        }
        Law::new((family, self.mask.name()), lhs, rhs, Rounding::Rescales)
            .when(guards)
            .when(&[Guard::Rows("?g", 1)])
            .over(&variables)
            .from(REFERENCE)
    }

    /// A token-level variable in blocks.
    fn blk(&self, variable: &str) -> String {
        format!("(blk {} ?{variable})", self.chunk)
    }

    /// `e` to a running sum of a gate.
    fn decay(&self, run: Mask, gate: &str) -> String {
        format!("(exp (run {run} {}))", self.blk(gate))
    }

    fn score(&self, mask: Mask, reader: &str, writer: &str) -> String {
        format!("(score {mask} {reader} {} {})", self.blk(writer), self.blk("g"))
    }

    /// The core of the history of blocks.
    fn core(&self) -> String {
        let (before, write) = (self.mask.of_blocks(), self.mask.write_run());
        let [g, w, a, p, b, c, d] = ["g", "w", "a", "p", "b", "c", "d"].map(|v| self.blk(v));
        let (to_end, to_end_w) = (self.decay(write, "g"), self.decay(write, "w"));
        let from_start = self.decay(before.read_run(), "g");
        let (own, plain) = (self.score(before, &p, "a"), self.score(before, &p, "c"));
        let chunk = self.chunk;
        format!(
            "(tot {g}) (tot {w}) (mul {a} {to_end}) (add {own} (bdiag {chunk} ?l)) \
             (mul {p} {from_start}) (add {b} (mm {plain} {d})) \
             (mul {c} {to_end}) (mul {d} {to_end_w}) ?s"
        )
    }

    fn states(&self) -> String {
        format!("(hist {} {})", self.mask.of_blocks(), self.core())
    }

    /// The final state; after the last step it is the same for reads before and after a step, and
    /// is written with `strict`.
    fn last(&self) -> Option<(String, String)> {
        if self.mask == Mask::Incl {
            return None;
        }
        let blocked = format!("(fin {} {})", self.mask.of_blocks(), self.core());
        Some((format!("(fin {} {CORE})", self.mask), blocked))
    }

    /// The values of the feedback rows, in blocks.
    fn written(&self) -> String {
        format!("(hz {} {})", self.mask.of_blocks(), self.core())
    }

    fn read(&self, feedback: bool) -> (String, String) {
        let (mask, run, q) = (self.mask, self.mask.read_run(), self.blk("q"));
        let (w, d) = (self.blk("w"), self.blk("d"));
        let mix = |key: &str, value: &str| {
            format!("(vmix {mask} {} {value} {w})", self.score(mask, &q, key))
        };
        let mut inside = mix("c", &d);
        if feedback {
            inside = format!("(add {} {inside})", mix("a", &self.written()));
        }
        let before = format!("(mm (mul {q} {}) {})", self.decay(run, "g"), self.states());
        let rhs = format!("(add (mul {before} {}) {inside})", self.decay(run, "w"));
        (format!("(mm ?q (hist {mask} {CORE}))"), format!("(unblk {} {rhs})", self.chunk))
    }

    fn read_transposed(&self, feedback: bool) -> (String, String) {
        let (mask, run, q) = (self.mask, self.mask.read_run(), self.blk("q"));
        let (g, w) = (self.blk("g"), self.blk("w"));
        let mix = |key: &str, value: &str| {
            format!("(vmix {mask} (score {mask} {q} {value} {w}) {} {g})", self.blk(key))
        };
        let mut inside = mix("c", &self.blk("d"));
        if feedback {
            inside = format!("(add {} {inside})", mix("a", &self.written()));
        }
        let before = format!("(mmt (mul {q} {}) {})", self.decay(run, "w"), self.states());
        let rhs = format!("(add (mul {before} {}) {inside})", self.decay(run, "g"));
        (format!("(mmt ?q (hist {mask} {CORE}))"), format!("(unblk {} {rhs})", self.chunk))
    }
}

/// The operands of a core whose blocks are `per` tokens, with few rows.
pub(super) fn core_variables(per: usize, upper: bool) -> Vec<Variable> {
    let triangle = if upper { Content::Upper } else { Content::Lower };
    let (rows, plain) = (Extent::Steps(1), Extent::Is(2));
    vec![
        Variable::gate("?g", per, 1, Extent::Keys),
        Variable::gate("?w", per, 1, Extent::Values),
        Variable::new("?a", per, rows, Extent::Keys),
        Variable::new("?l", per, rows, rows).holding(triangle),
        Variable::new("?p", per, rows, Extent::Keys),
        Variable::new("?b", per, rows, Extent::Values),
        Variable::new("?c", per, plain, Extent::Keys),
        Variable::new("?d", per, plain, Extent::Values),
        Variable::new("?s", 0, Extent::Keys, Extent::Values),
    ]
}
