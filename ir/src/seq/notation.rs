//! A chunked term as equations for one chunk, in Unicode or in LaTeX, for people.
//!
//! Reshapes of time are not written: an array is its rows in one chunk, and a sum or score that stays
//! within shorter blocks says how many tokens they have. `t` is the token that reads, `s` one that is
//! summed over. States are numbered by the loop that carries them: `H` before the chunk, `H⁺` after it,
//! `Z` the values that its feedback writes.

use super::{Blocks, Core, Mask, RootKind, Seq, Term, core_of};
use crate::pointwise::{Binary, Unary};
use egg::Id;
use std::collections::BTreeMap;

/// How equations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Unicode text.
    Text,
    /// LaTeX, for a mathematics environment; lines end in `\\`.
    Latex,
}

/// How tightly a written expression holds together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tightness {
    Sum,
    /// An elementwise product.
    Scaled,
    /// A matrix product.
    Product,
    Atom,
}

struct Written(String, Tightness);

impl Written {
    fn within(self, least: Tightness) -> String {
        if self.1 < least { format!("({})", self.0) } else { self.0 }
    }
}

impl Term {
    /// One equation a line: shared parts first, then each loop, then the results.
    pub fn equations(&self, style: Style) -> Vec<String> {
        let writer = Writer::new(self, style);
        let loops: Vec<Core> = writer.loops.iter().map(|(core, _)| *core).collect();
        let mut lines = writer.definitions();
        for (number, core) in loops.iter().enumerate() {
            lines.extend(writer.carried(number, core));
        }
        for root in self.roots() {
            let name = match root.kind {
                RootKind::Output => writer.word(&root.name),
                RootKind::State => {
                    let last = if style == Style::Text { "last" } else { r"\mathrm{last}" };
                    format!("{}({})", last, writer.word(&root.name))
                }
            };
            let transposed = if root.transposed { writer.transpose() } else { "" };
            let value = writer.named(root.id);
            let value = match transposed {
                "" => value.0,
                _ => value.within(Tightness::Atom),
            };
            lines.push(format!("{name} = {value}{transposed}"));
        }
        match style {
            Style::Text => lines,
            Style::Latex => lines.into_iter().map(|line| line.replacen('=', "&=", 1)).collect(),
        }
    }
}

struct Writer<'a> {
    term: &'a Term,
    style: Style,
    /// Tokens of a chunk: the longest blocks that occur.
    chunk: usize,
    /// Numbers of the nodes that are written once and named.
    names: BTreeMap<Id, usize>,
    loops: Vec<(Core, bool)>,
}

impl<'a> Writer<'a> {
    fn new(term: &'a Term, style: Style) -> Self {
        let per = |id: Id| match term.is_array(id).then(|| term.shape(id).blocks) {
            Some(Blocks::Tokens { per }) => per,
            _ => 0,
        };
        let chunk = term.ids().map(per).max().unwrap_or(0);
        let mut writer = Writer { term, style, chunk, names: BTreeMap::new(), loops: Vec::new() };
        writer.loops = term.loops().into_iter().collect();
        writer.names = writer.number();
        writer
    }

    /// The nodes with several users that are worth a name, in an order in which each names only those
    /// before it.
    fn number(&self) -> BTreeMap<Id, usize> {
        let mut users: BTreeMap<Id, usize> = BTreeMap::new();
        let mut count = |id: Id| *users.entry(self.seen(id)).or_default() += 1;
        for id in self.term.ids().filter(|id| !self.is_view(*id)) {
            // The loops' operands are written once, in the equations of the loop.
            if core_of(self.term.node(id)).is_none() {
                self.term.node(id).operands().iter().for_each(|o| count(*o));
            }
        }
        for (core, _) in &self.loops {
            let parts = [core.g, core.w, core.a, core.l, core.p, core.b, core.c, core.d];
            parts.into_iter().for_each(&mut count);
        }
        let worth = |id: &Id| {
            let operands = self.term.node(*id).operands();
            let inner = |o: &Id| !self.term.node(self.seen(*o)).operands().is_empty();
            self.term.is_array(*id)
                && core_of(self.term.node(*id)).is_none()
                && !self.term.is_zero(*id)
                && !matches!(self.term.node(*id), Seq::Ones(_))
                && (operands.len() > 2 || operands.iter().any(inner))
        };
        let shared = users.into_iter().filter(|(id, n)| *n > 1 && worth(id)).map(|(id, _)| id);
        shared.enumerate().map(|(n, id)| (id, n + 1)).collect()
    }

    /// Whether a node only shows another's elements in other blocks.
    fn is_view(&self, id: Id) -> bool {
        matches!(self.term.node(id), Seq::Blk(_) | Seq::Unblk(_) | Seq::Bdiag(_) | Seq::Bget(_))
    }

    /// The node below views.
    fn seen(&self, id: Id) -> Id {
        match self.term.node(id) {
            Seq::Blk([_, x]) | Seq::Unblk([_, x]) | Seq::Bdiag([_, x]) | Seq::Bget([_, x]) => {
                self.seen(*x)
            }
            _ => id,
        }
    }

    fn definitions(&self) -> Vec<String> {
        let mut named: Vec<(usize, Id)> = self.names.iter().map(|(id, n)| (*n, *id)).collect();
        named.sort_unstable();
        named
            .into_iter()
            .map(|(n, id)| format!("{} = {}", self.name("X", n), self.write(id).0))
            .collect()
    }

    /// The equations of a loop.
    fn carried(&self, number: usize, core: &Core) -> Vec<String> {
        let (h, z) = (self.state(number), self.numbered("Z", number));
        let mut lines = Vec::new();
        let zero = |id: Id| self.term.is_zero(id);
        let feeds = !zero(core.p) || !zero(core.b);
        if feeds {
            let mut parts = Vec::new();
            if !zero(core.p) {
                parts.push(format!("{} {h}", self.named(core.p).within(Tightness::Product)));
            }
            if !zero(core.b) {
                parts.push(self.named(core.b).0);
            }
            let right = parts.join(" + ");
            let solved = match zero(core.l) {
                true => right,
                false => format!("{} ({right})", self.inverse(core.l)),
            };
            lines.push(format!("{z} = {solved}"));
        }
        let mut kept = h.clone();
        if self.term.shape(core.g).rows > 1 {
            let kron = if self.style == Style::Text { "⊗" } else { r"\otimes" };
            kept = format!("({} {kron} I) {kept}", self.named(core.g).within(Tightness::Product));
        } else if !zero(core.g) {
            kept = format!("{} {} {kept}", self.exponential(core.g), self.times());
        }
        if !zero(core.w) {
            kept = format!("{kept} {} {}", self.times(), self.exponential(core.w));
        }
        let write = |keys: Id, values: String| {
            let keys = self.named(keys).within(Tightness::Atom);
            format!("{keys}{} {values}", self.transpose())
        };
        let mut parts = vec![kept];
        if feeds && !zero(core.a) {
            parts.push(write(core.a, z));
        }
        if !zero(core.c) && !zero(core.d) {
            parts.push(write(core.c, self.named(core.d).within(Tightness::Atom)));
        }
        let start = self.named(core.s).0;
        lines.push(format!("{} = {}", self.after(&h), parts.join(" + ")));
        lines.push(match self.style {
            Style::Text => format!("{h} = {start} before the first chunk"),
            Style::Latex => format!(r"{h} = {start} \text{{ before the first chunk}}"),
        });
        lines
    }

    fn named(&self, id: Id) -> Written {
        let id = self.seen(id);
        match self.names.get(&id) {
            Some(n) => Written(self.name("X", *n), Tightness::Atom),
            None => self.write(id),
        }
    }

    fn write(&self, id: Id) -> Written {
        let node = self.term.node(id);
        let atom = |text: String| Written(text, Tightness::Atom);
        if self.term.is_array(id) && self.term.is_zero(id) {
            return atom("0".to_owned());
        }
        if let Some((_, core)) = core_of(node) {
            return atom(self.of_loop(node, &core));
        }
        match node {
            Seq::Var(name) => atom(self.word(name)),
            Seq::Number(x) => atom(format!("{}", x.value())),
            Seq::Ones(_) => atom("1".to_owned()),
            Seq::Unary(f, [x]) => self.unary(*f, *x),
            Seq::Binary(f, [a, b]) => self.binary(*f, *a, *b),
            Seq::Mm([a, b]) => self.product(*a, "", *b, ""),
            Seq::Mmt([a, b]) => self.product(*a, "", *b, self.transpose()),
            Seq::Tmm([a, b]) => self.product(*a, self.transpose(), *b, ""),
            Seq::Kron([a, b]) => {
                let (a, b) = (self.named(*a), self.named(*b));
                let (a, b) = (a.within(Tightness::Scaled), b.within(Tightness::Atom));
                let times = if self.style == Style::Text { "⊗" } else { r"\otimes" };
                Written(format!("{a} {times} {b}"), Tightness::Scaled)
            }
            Seq::Tot([x]) => self.summed("s", id, *x),
            Seq::Run([m, x]) => self.summed(self.relation(*m), id, *x),
            Seq::Live([x]) | Seq::RowSum([x]) | Seq::RowMax([x]) => {
                let name = match node {
                    Seq::RowSum(_) => "sum",
                    Seq::RowMax(_) => "max",
                    _ => "live",
                };
                atom(format!("{}({})", self.function(name), self.named(*x).0))
            }
            Seq::Score([m, p, a, g]) => {
                let inside = format!("{}, {}", self.named(*p).0, self.named(*a).0);
                atom(self.decayed(&self.angle(&inside), *m, *g, id))
            }
            Seq::Seg([m, g]) => atom(self.decayed(self.gamma(), *m, *g, id)),
            Seq::Vmix([m, w, y, g]) => {
                let left = self.named(*w).within(Tightness::Atom);
                let values = self.named(*y).within(Tightness::Atom);
                let star = if self.style == Style::Text { "∗" } else { r"\ast" };
                Written(
                    format!("{left} {} {values}", self.decayed(star, *m, *g, id)),
                    Tightness::Product,
                )
            }
            Seq::Masked([m, _, w]) => atom(format!("{}({})", self.triangle(*m), self.named(*w).0)),
            Seq::Solve([l, b]) => Written(
                format!("{} {}", self.inverse(*l), self.named(*b).within(Tightness::Product)),
                Tightness::Product,
            ),
            Seq::Tinv([l]) => Written(self.inverse(*l), Tightness::Product),
            _ => {
                let arrays = node.operands().iter().map(|o| self.operand(*o));
                let arrays: Vec<String> = arrays.collect();
                atom(format!("{}({})", self.function(&node.name()), arrays.join(", ")))
            }
        }
    }

    /// An operand that may be a count or a mask.
    fn operand(&self, id: Id) -> String {
        if self.term.is_array(id) { self.named(id).0 } else { self.term.node(id).name() }
    }

    fn of_loop(&self, node: &Seq, core: &Core) -> String {
        let number = self.loops.iter().position(|(known, _)| known == core).unwrap_or(0);
        match node {
            Seq::Hz(_) => self.numbered("Z", number),
            Seq::Hist([mask, ..]) if self.mask(*mask) == Some(Mask::Incl) => {
                self.after(&self.state(number))
            }
            Seq::Fin(_) => match self.style {
                Style::Text => format!("{} of the last chunk", self.after(&self.state(number))),
                Style::Latex => {
                    format!(r"{} \text{{ of the last chunk}}", self.after(&self.state(number)))
                }
            },
            _ => self.state(number),
        }
    }

    fn unary(&self, f: Unary, x: Id) -> Written {
        match f {
            Unary::Neg => {
                Written(format!("-{}", self.named(x).within(Tightness::Scaled)), Tightness::Sum)
            }
            Unary::Exp => Written(self.exponential(x), Tightness::Atom),
            Unary::Recip => {
                Written(format!("1 / {}", self.named(x).within(Tightness::Atom)), Tightness::Scaled)
            }
            f => Written(
                format!("{}({})", self.function(f.name()), self.named(x).0),
                Tightness::Atom,
            ),
        }
    }

    fn binary(&self, f: Binary, a: Id, b: Id) -> Written {
        let minus_one = |id: Id| matches!(self.term.node(id), Seq::Number(x) if x.value() == -1.0);
        match f {
            Binary::Add => {
                let (a, b) = (self.named(a).0, self.named(b).0);
                let sum = match b.strip_prefix('-') {
                    Some(b) => format!("{a} - {b}"),
                    None => format!("{a} + {b}"),
                };
                Written(sum, Tightness::Sum)
            }
            Binary::Mul if minus_one(a) => self.unary(Unary::Neg, b),
            Binary::Mul if minus_one(b) => self.unary(Unary::Neg, a),
            Binary::Mul => {
                let (a, b) = (self.named(a), self.named(b));
                let (a, b) = (a.within(Tightness::Scaled), b.within(Tightness::Scaled));
                Written(format!("{a} {} {b}", self.times()), Tightness::Scaled)
            }
            Binary::Div => {
                let (a, b) = (self.named(a), self.named(b));
                let (a, b) = (a.within(Tightness::Scaled), b.within(Tightness::Atom));
                Written(format!("{a} / {b}"), Tightness::Scaled)
            }
            f => Written(
                format!("{}({}, {})", self.function(f.name()), self.named(a).0, self.named(b).0),
                Tightness::Atom,
            ),
        }
    }

    fn product(&self, a: Id, after_a: &str, b: Id, after_b: &str) -> Written {
        let (a, b) = (self.named(a), self.named(b));
        let a = a.within(if after_a.is_empty() { Tightness::Product } else { Tightness::Atom });
        let b = b.within(if after_b.is_empty() { Tightness::Product } else { Tightness::Atom });
        Written(format!("{a}{after_a} {b}{after_b}"), Tightness::Product)
    }

    /// A sum over the tokens in a relation to `t`, inside the blocks of the operand.
    fn summed(&self, relation: &str, id: Id, x: Id) -> Written {
        let inside = self.blocks(id).map(|n| format!(", {n}")).unwrap_or_default();
        let x = self.named(x).within(Tightness::Product);
        let text = match self.style {
            Style::Text => format!("Σ[{relation}{inside}] {x}"),
            Style::Latex => format!(r"\textstyle\sum_{{{relation}{inside}}} {x}"),
        };
        Written(text, Tightness::Product)
    }

    /// Something that a gate decays between the tokens of a mask.
    fn decayed(&self, what: &str, mask: Id, gate: Id, id: Id) -> String {
        let inside = self.blocks(id).map(|n| format!(", {n}")).unwrap_or_default();
        let relation = self.relation(mask);
        let gate = if self.term.is_zero(gate) { String::new() } else { self.named(gate).0 };
        match self.style {
            Style::Text if gate.is_empty() => format!("{what}[{relation}{inside}]"),
            Style::Text => format!("{what}[{relation}{inside}; {gate}]"),
            Style::Latex => format!("{what}^{{{relation}{inside}}}_{{{gate}}}"),
        }
    }

    /// Tokens of the blocks of an array, if they are shorter than a chunk.
    fn blocks(&self, id: Id) -> Option<usize> {
        match self.term.shape(id).blocks {
            Blocks::Tokens { per } if per < self.chunk => Some(per),
            _ => None,
        }
    }

    fn mask(&self, id: Id) -> Option<Mask> {
        match self.term.node(id) {
            Seq::Mask(mask) => Some(*mask),
            _ => None,
        }
    }

    fn relation(&self, mask: Id) -> &'static str {
        match (self.mask(mask), self.style) {
            (Some(Mask::Incl), Style::Text) => "s≤t",
            (Some(Mask::Incl), Style::Latex) => r"s \le t",
            (Some(Mask::Tincl), Style::Text) => "s≥t",
            (Some(Mask::Tincl), Style::Latex) => r"s \ge t",
            (Some(Mask::Tstrict), _) => "s>t",
            _ => "s<t",
        }
    }

    fn triangle(&self, mask: Id) -> String {
        let name = match self.mask(mask) {
            Some(Mask::Tincl | Mask::Tstrict) => "triu",
            _ => "tril",
        };
        let strict = matches!(self.mask(mask), Some(Mask::Strict | Mask::Tstrict));
        let name = self.function(name);
        if strict { format!("{name}[{}]", self.relation(mask)) } else { name }
    }

    fn inverse(&self, l: Id) -> String {
        let l = self.named(l).within(Tightness::Product);
        match self.style {
            Style::Text => format!("(I - {l})⁻¹"),
            Style::Latex => format!("(I - {l})^{{-1}}"),
        }
    }

    fn exponential(&self, x: Id) -> String {
        match self.style {
            Style::Text => format!("exp({})", self.named(x).0),
            Style::Latex => format!("e^{{{}}}", self.named(x).0),
        }
    }

    /// A name of the program: one letter as it is, a word upright.
    fn word(&self, name: &str) -> String {
        match self.style {
            Style::Latex if name.chars().count() > 1 => {
                format!(r"\mathrm{{{}}}", name.replace('_', r"\_"))
            }
            _ => name.to_owned(),
        }
    }

    fn function(&self, name: &str) -> String {
        match self.style {
            Style::Text => name.to_owned(),
            Style::Latex => format!(r"\mathrm{{{}}}", name.replace('_', r"\_")),
        }
    }

    fn name(&self, letter: &str, n: usize) -> String {
        match self.style {
            Style::Text => format!("{letter}{n}"),
            Style::Latex => format!("{letter}_{{{n}}}"),
        }
    }

    /// A name for one loop, numbered if there are several.
    fn numbered(&self, letter: &str, number: usize) -> String {
        if self.loops.len() == 1 { letter.to_owned() } else { self.name(letter, number + 1) }
    }

    fn state(&self, number: usize) -> String {
        self.numbered("H", number)
    }

    fn after(&self, state: &str) -> String {
        match self.style {
            Style::Text => format!("{state}⁺"),
            Style::Latex => format!("{state}^{{+}}"),
        }
    }

    fn angle(&self, inside: &str) -> String {
        match self.style {
            Style::Text => format!("⟨{inside}⟩"),
            Style::Latex => format!(r"\langle {inside} \rangle"),
        }
    }

    fn gamma(&self) -> &'static str {
        if self.style == Style::Text { "Γ" } else { r"\Gamma" }
    }

    fn times(&self) -> &'static str {
        if self.style == Style::Text { "⊙" } else { r"\odot" }
    }

    fn transpose(&self) -> &'static str {
        if self.style == Style::Text { "ᵀ" } else { r"^{\top}" }
    }
}
