//! Blocking of a history whose stacked states a small matrix mixes at every step.
//!
//! The equations are those of a decayed history with products of matrices instead of sums of log decays:
//! step `t` of a block sees `(R_t .. R_0 x I) H + sum_{s<=t} (R_t .. R_{s+1} x I) a_s z_s`. Matrices are only
//! multiplied, never inverted, so what bounds their products bounds every value.

use super::Sizes;
use super::history::core_variables;
use super::law::{Content, Extent, Guard, Law, Rounding, Variable};
use sluice_ir::seq::Mask;

const CORE: &str = "?g ?w ?a ?l ?p ?b ?c ?d ?s";

pub(super) fn laws(sizes: Sizes) -> Vec<Law> {
    let chunk = sizes.chunk;
    let mut laws = vec![];
    for mask in [Mask::Incl, Mask::Strict] {
        let q = blk(chunk, "q");
        let inside =
            |keys: &str, values: &str| format!("(mm {} {values})", score(mask, &q, keys, chunk));
        let before = format!("(mm (blendt {} {q}) {})", product(mask, chunk), loops("hist", chunk));
        let rhs = format!(
            "(unblk {chunk} (add {before} (add {} {})))",
            inside("a", &loops("hz", chunk)),
            inside("c", &blk(chunk, "d")),
        );
        let lhs = format!("(mm ?q (hist {mask} {CORE}))");
        let q = Variable::new("?q", 1, Extent::Steps(1), Extent::Keys);
        laws.push(law(("mixed-read", mask.name()), (lhs, rhs), &[q]));
    }
    let lhs = |result: &str| format!("({result} strict {CORE})");
    let written = format!("(unblk {chunk} {})", loops("hz", chunk));
    laws.push(law(("mixed-written", ""), (lhs("hz"), written), &[]));
    laws.push(law(("mixed-final", ""), (lhs("fin"), loops("fin", chunk)), &[]));
    laws
}

fn law(name: (&'static str, &str), (lhs, rhs): (String, String), more: &[Variable]) -> Law {
    let mut variables = core_variables(1, false);
    variables[0] =
        Variable::new("?g", 1, Extent::Is(2), Extent::Is(2)).holding(Content::Contraction);
    variables.extend(more);
    Law::new(name, lhs, rhs, Rounding::Reorders)
        .when(&[Guard::TokenLevel("?g"), Guard::ManyRows("?g"), Guard::Zero("?w")])
        .over(&variables)
        .from("unrolling of a recurrence whose transition is (R x I); [Blelloch 1990, sec. 1.4]")
}

/// A token-level variable in blocks.
fn blk(chunk: usize, variable: &str) -> String {
    format!("(blk {chunk} ?{variable})")
}

/// The product of the matrices from a block's edge to each of its steps.
fn product(mask: Mask, chunk: usize) -> String {
    format!("(mprod {mask} {})", blk(chunk, "g"))
}

fn score(mask: Mask, reader: &str, writer: &str, chunk: usize) -> String {
    format!("(mscore {mask} {reader} {} {})", blk(chunk, writer), blk(chunk, "g"))
}

/// A result of the history of blocks.
fn loops(result: &str, chunk: usize) -> String {
    let [g, w, a, p, b, c, d] = ["g", "w", "a", "p", "b", "c", "d"].map(|v| blk(chunk, v));
    let (from_start, to_end) = (product(Mask::Strict, chunk), product(Mask::Tstrict, chunk));
    let [own, plain] = ["a", "c"].map(|writer| score(Mask::Strict, &p, writer, chunk));
    format!(
        "({result} strict (mall {g}) (tot {w}) (blend {to_end} {a}) (add {own} (bdiag {chunk} ?l)) \
         (blendt {from_start} {p}) (add {b} (mm {plain} {d})) (blend {to_end} {c}) {d} ?s)"
    )
}
