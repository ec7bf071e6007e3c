//! The text form of sequence terms; it parses back to the same term.
//!
//! ```text
//! leaf k token [T, 1, 128] in [-inf, inf] by head
//! leaf S state [1, 128, 128] in [-inf, inf] by head init 0.0
//! let t4 = (blk 64 %k)
//! output o [128] = (unblk 64 (mm t4 (hist strict ..)))
//! state S [128, 128] = (fin strict ..)
//! ```
//!
//! Nodes with several users have a name; others stand where they are used. [`Term::annotated`] is a
//! shorter form for people only.

use super::{
    Blocks, Builder, Core, Leaf, LeafKind, Root, RootKind, Seq, Shape, Source, Term, core_of,
};
use crate::pointwise::Interval;
use crate::step::Sharing;
use egg::{FromOp, Id};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

impl LeafKind {
    /// All kinds.
    const ALL: &'static [LeafKind] = &[LeafKind::Token, LeafKind::Model, LeafKind::State];

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            LeafKind::Token => "token",
            LeafKind::Model => "model",
            LeafKind::State => "state",
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sharing = match self.sharing {
            Sharing::Head => "head",
            Sharing::Group => "group",
        };
        write!(f, "{} {} in {} by {sharing}", self.kind.name(), self.shape, self.range)?;
        match &self.source {
            Source::Caller => {}
            Source::Number(x) => write!(f, " init {x:?}")?,
            Source::Identity => f.write_str(" init identity")?,
            Source::Input(name) => write!(f, " init %{name}")?,
            Source::Table(values) => {
                f.write_str(" values")?;
                values.iter().try_for_each(|x| write!(f, " {x:?}"))?;
            }
        }
        f.write_str(if self.transposed { " transposed" } else { "" })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Printer { term: self, names: names(self), annotated: false }.lines())
    }
}

impl Term {
    /// The text for people: arrays of zeros are `0`, and the operands of a loop stand with their
    /// roles (see [`Core`]), those that are 0 left out. It does not parse back.
    pub fn annotated(&self) -> String {
        Printer { term: self, names: names(self), annotated: true }.lines()
    }
}

/// Writes a term in one of its two forms.
struct Printer<'a> {
    term: &'a Term,
    names: BTreeMap<Id, usize>,
    annotated: bool,
}

impl Printer<'_> {
    fn lines(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("strings can be written");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        for (name, leaf) in self.term.leaves() {
            match &leaf.source {
                // Thousands of constants tell people nothing.
                Source::Table(_) if self.annotated => {
                    let given = Leaf { source: Source::Caller, ..leaf.clone() };
                    writeln!(out, "leaf {name} {given} constant")?;
                }
                _ => writeln!(out, "leaf {name} {leaf}")?,
            }
        }
        let mut definitions: Vec<(usize, Id)> =
            self.names.iter().map(|(id, n)| (*n, *id)).collect();
        definitions.sort_unstable();
        for (n, id) in definitions {
            writeln!(out, "let t{n} = {}", self.definition(id))?;
        }
        for root in self.term.roots() {
            let kind = match root.kind {
                RootKind::Output => "output",
                RootKind::State => "state",
            };
            let transposed = if root.transposed { " transposed" } else { "" };
            let value = self.text(root.id);
            writeln!(out, "{kind} {} {:?}{transposed} = {value}", root.name, root.dims)?;
        }
        Ok(())
    }

    /// A node as it stands where it is used.
    fn text(&self, id: Id) -> String {
        match self.names.get(&id) {
            Some(n) => format!("t{n}"),
            None => self.definition(id),
        }
    }

    fn definition(&self, id: Id) -> String {
        let node = self.term.node(id);
        if self.annotated && matches!(node, Seq::Zero(_)) {
            return "0".to_owned();
        }
        let operands = node.operands();
        if operands.is_empty() {
            return node.name();
        }
        let words = operands.iter().map(|id| self.text(*id));
        if !self.annotated || core_of(node).is_none() {
            return format!("({} {})", node.name(), words.collect::<Vec<_>>().join(" "));
        }
        let zero = operands.iter().map(|id| self.term.is_zero(*id));
        let words = Core::labelled(words.zip(zero)).join(" ");
        format!("({} {words})", node.name())
    }
}

/// Numbers of the nodes with a name: those with several users, in the order in which a reader meets
/// them from the roots. Leaves and constants need no name.
fn names(term: &Term) -> BTreeMap<Id, usize> {
    let mut users = vec![0; term.nodes().len()];
    let roots = term.roots().iter().map(|r| r.id);
    for id in term.nodes().iter().flat_map(|n| n.operands().iter().copied()).chain(roots) {
        users[usize::from(id)] += 1;
    }
    let (mut names, mut seen) = (BTreeMap::new(), vec![false; users.len()]);
    for root in term.roots() {
        number(term, root.id, &users, &mut seen, &mut names);
    }
    names
}

fn number(
    term: &Term,
    id: Id,
    users: &[usize],
    seen: &mut [bool],
    names: &mut BTreeMap<Id, usize>,
) {
    if std::mem::replace(&mut seen[usize::from(id)], true) {
        return;
    }
    let node = term.node(id);
    for operand in node.operands() {
        number(term, *operand, users, seen, names);
    }
    let constant = matches!(node, Seq::Zero(_) | Seq::Ones(_));
    if users[usize::from(id)] > 1 && !node.operands().is_empty() && !constant {
        names.insert(id, names.len());
    }
}

impl Term {
    /// Reads the text form.
    ///
    /// # Errors
    /// A sentence with the line that cannot be read. Shapes that do not fit panic, as everywhere.
    pub fn parse(source: &str) -> Result<Term, String> {
        let mut reader = Reader::default();
        for line in source.lines().filter(|line| !line.trim().is_empty()) {
            reader.line(line).ok_or_else(|| format!("cannot read `{line}`"))?;
        }
        Ok(reader.builder.finish(reader.roots))
    }
}

#[derive(Default)]
struct Reader {
    builder: Builder,
    names: BTreeMap<String, Id>,
    roots: Vec<Root>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "leaf" => {
                let (name, rest) = rest.split_once(' ')?;
                self.builder.leaf(name, leaf(rest)?);
            }
            "let" => {
                let (name, value) = rest.split_once(" = ")?;
                let id = self.expression(value)?;
                self.names.insert(name.to_owned(), id);
            }
            "output" | "state" => {
                let kind = if word == "output" { RootKind::Output } else { RootKind::State };
                let (head, value) = rest.split_once(" = ")?;
                let (name, head) = head.split_once(" [")?;
                let (dims, flags) = head.split_once(']')?;
                let extents = dims.split(", ").filter(|d| !d.is_empty());
                let dims = extents.map(|d| d.parse().ok()).collect::<Option<Vec<usize>>>()?;
                let transposed = flags.trim() == "transposed";
                let id = self.expression(value)?;
                self.roots.push(Root { name: name.to_owned(), kind, transposed, dims, id });
            }
            _ => return None,
        }
        Some(())
    }

    fn expression(&mut self, source: &str) -> Option<Id> {
        let spaced = source.replace('(', " ( ").replace(')', " ) ");
        let mut open: Vec<(&str, Vec<Id>)> = vec![("", vec![])];
        let mut words = spaced.split_whitespace();
        while let Some(word) = words.next() {
            let id = match word {
                "(" => {
                    open.push((words.next()?, vec![]));
                    continue;
                }
                ")" => {
                    let (name, operands) = open.pop()?;
                    self.builder.add(Seq::from_op(name, operands).ok()?)
                }
                name if self.names.contains_key(name) => self.names[name],
                leaf => self.builder.add(Seq::from_op(leaf, vec![]).ok()?),
            };
            open.last_mut()?.1.push(id);
        }
        match open.as_slice() {
            [(_, ids)] if ids.len() == 1 => Some(ids[0]),
            _ => None,
        }
    }
}

fn leaf(text: &str) -> Option<Leaf> {
    let (kind, rest) = text.split_once(" [")?;
    let kind = *LeafKind::ALL.iter().find(|k| k.name() == kind)?;
    let (shape, rest) = rest.split_once("] in [")?;
    let (range, rest) = rest.split_once("] by ")?;
    let (lo, hi) = range.split_once(", ")?;
    let mut words = rest.split(' ');
    let sharing = match words.next()? {
        "head" => Sharing::Head,
        "group" => Sharing::Group,
        _ => return None,
    };
    let (mut source, mut transposed) = (Source::Caller, false);
    while let Some(word) = words.next() {
        match word {
            "init" => source = initial(words.next()?)?,
            "values" => {
                let values: Option<Vec<f64>> = words.by_ref().map(|x| x.parse().ok()).collect();
                source = Source::Table(values?.into());
            }
            "transposed" => transposed = true,
            _ => return None,
        }
    }
    let range = Interval::new(lo.parse().ok()?, hi.parse().ok()?);
    Some(Leaf { kind, shape: extents(shape)?, range, sharing, transposed, source })
}

fn initial(text: &str) -> Option<Source> {
    match text.strip_prefix('%') {
        Some(name) => Some(Source::Input(name.into())),
        None if text == "identity" => Some(Source::Identity),
        None => text.parse().ok().map(Source::Number),
    }
}

fn extents(text: &str) -> Option<Shape> {
    let mut words = text.split(", ");
    let blocks = match words.next()? {
        "1" => Blocks::One,
        "T" => Blocks::Tokens { per: 1 },
        cut => Blocks::Tokens { per: cut.strip_prefix("T/")?.parse().ok()? },
    };
    let (rows, features) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Shape { blocks, rows, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
leaf R state [1, 6, 5] in [-inf, inf] by group init %u
leaf S state [1, 6, 5] in [-inf, inf] by head init 0.5 transposed
leaf g token [T, 1, 1] in [-inf, 0] by group
leaf k token [T, 1, 6] in [-1.5, 1.5] by head
leaf table.0 model [1, 1, 5] in [0.0, 4.0] by head values 0.0 1.0 2.0 3.0 4.0
leaf u model [1, 1, 5] in [-inf, inf] by head
let t0 = (run incl (blk 8 %g))
output o [6] = (unblk 8 (mul (exp t0) (mul (exp (neg t0)) (blk 8 (mul %k 0.5)))))
output c [] = (select %g (live %g) inf)
state S [5, 6] transposed = (add (add %R %S) (tmm (zero 0 1 6) (mul %table.0 %u)))
";

    #[test]
    fn text_parses_back() {
        let term = Term::parse(TEXT).expect("the text is legal");
        let again = Term::parse(&term.to_string()).expect("printed terms are legal");
        assert_eq!(term.to_string(), again.to_string());
        assert!(term.to_string().contains("let t0 = (run incl (blk 8 %g))"), "{term}");
        let shared = term.to_string().lines().filter(|l| l.starts_with("let ")).count();
        assert_eq!(shared, 1, "{term}");
        assert_eq!(term.roots().len(), 3);
        let eye = TEXT.replace("init 0.5", "init identity");
        let eye = Term::parse(&eye).expect("the text is legal");
        assert_eq!(eye.leaves()["S"].source, Source::Identity);
        assert!(eye.to_string().contains("init identity"), "{eye}");
        assert!(term.leaves()["S"].transposed && term.leaves()["S"].source == Source::Number(0.5));
    }

    #[test]
    fn people_are_spared_tables() {
        let term = Term::parse(TEXT).expect("the text is legal").annotated();
        assert!(
            term.contains("leaf table.0 model [1, 1, 5] in [0, 4] by head constant\n"),
            "{term}"
        );
    }

    #[test]
    fn people_are_told_the_roles_of_operands() {
        let lines = [
            "leaf S state [1, 6, 5] in [-inf, inf] by head init 0.0",
            "leaf k token [T, 1, 6] in [-inf, inf] by head",
            "leaf v token [T, 1, 5] in [-inf, inf] by head",
            "state S [6, 5] = (fin strict (zero 1 1 1) (zero 1 1 5) (zero 1 1 6) (zero 1 1 1) \
             (zero 1 1 6) (zero 1 1 5) %k %v %S)",
        ];
        let term = Term::parse(&lines.join("\n")).expect("the text is legal");
        let last = term.annotated().lines().last().map(str::to_owned);
        assert_eq!(last.as_deref(), Some("state S [6, 5] = (fin strict c=%k d=%v S=%S)"));
        let meaning =
            term.node(term.roots()[0].id).meaning().expect("an operator says what it does");
        assert!(meaning.starts_with("`fin m g w a L p b c d S`: the state"), "{meaning}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = Term::parse("output o [6] = (unknown 1 2 3)").expect_err("no such operator");
        assert!(error.contains("unknown"), "{error}");
        assert!(Term::parse("output o [6] = (neg 1.0").is_err());
    }
}
