//! Shapes and other facts of sequence terms; opens with what makes a node legal.
//!
//! 1. Extents of pointwise operands divide the result's, on every axis.
//! 2. Contracted extents are equal; operands of one batched operator have the same blocks, or one.
//! 3. Gates have as many rows as there are steps, and 1 or all features.
//! 4. In a core, `g` and `w` have one row (or `g` is a square matrix that mixes stacked states), `a L p b` the same rows, `c d` the same rows, and `S` is
//!    one block.
//!
//! [`facts`] panics where they are broken: only a bug of a pass can do that.

use super::{Leaf, Mask, Seq, core_of};
use crate::pointwise::{Binary, Interval};
use egg::Id;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How often an array repeats along the sequence. The number of tokens `T` stays a symbol, so that
/// one term serves every length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blocks {
    /// One block for the whole sequence.
    One,
    /// `T / per` blocks of `per` tokens.
    Tokens {
        /// Tokens of one block: 1 at token level, the chunk at chunk level.
        per: usize,
    },
}

impl Blocks {
    /// The number of blocks in a sequence of `tokens` tokens.
    pub fn count(self, tokens: usize) -> usize {
        match self {
            Blocks::One => 1,
            Blocks::Tokens { per } => tokens / per,
        }
    }

    /// As the first operand of `zero` and `ones`.
    pub fn code(self) -> usize {
        match self {
            Blocks::One => 0,
            Blocks::Tokens { per } => per,
        }
    }

    /// The blocks of such an operand.
    pub fn from_code(code: usize) -> Self {
        if code == 0 { Blocks::One } else { Blocks::Tokens { per: code } }
    }

    /// Blocks of a result of operands with these blocks, if there are such.
    fn meet(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Blocks::One, b) | (b, Blocks::One) => Some(b),
            (Blocks::Tokens { per: a }, Blocks::Tokens { per: b }) => {
                let (small, large) = (a.min(b), a.max(b));
                (large % small == 0).then_some(Blocks::Tokens { per: small })
            }
        }
    }
}

/// `[blocks, rows, features]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Blocks along the sequence.
    pub blocks: Blocks,
    /// Rows of one block.
    pub rows: usize,
    /// Features of one row.
    pub features: usize,
}

impl Shape {
    /// A shape with one block.
    pub fn one(rows: usize, features: usize) -> Self {
        Self { blocks: Blocks::One, rows, features }
    }

    /// A shape at token level.
    pub fn token(rows: usize, features: usize) -> Self {
        Self { blocks: Blocks::Tokens { per: 1 }, rows, features }
    }

    /// Whether every block is one token.
    pub fn is_token_level(self) -> bool {
        self.blocks == Blocks::Tokens { per: 1 }
    }

    /// Elements in a sequence of `tokens` tokens.
    pub fn volume(self, tokens: usize) -> usize {
        self.blocks.count(tokens) * self.rows * self.features
    }

    /// Shape of a pointwise result, if the extents fit.
    pub fn broadcast(self, other: Self) -> Option<Self> {
        let extent = |a: usize, b: usize| {
            let (small, large) = (a.min(b), a.max(b));
            (small > 0 && large % small == 0).then_some(large)
        };
        Some(Self {
            blocks: self.blocks.meet(other.blocks)?,
            rows: extent(self.rows, other.rows)?,
            features: extent(self.features, other.features)?,
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.blocks {
            Blocks::One => f.write_str("[1")?,
            Blocks::Tokens { per: 1 } => f.write_str("[T")?,
            Blocks::Tokens { per } => write!(f, "[T/{per}")?,
        }
        write!(f, ", {}, {}]", self.rows, self.features)
    }
}

/// Facts of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArrayFacts {
    /// Its shape.
    pub shape: Shape,
    /// Holds every element.
    pub range: Interval,
    /// Whether every element is 0 whatever the inputs.
    pub zero: bool,
}

/// Facts of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Facts {
    /// The node is a count.
    Count(usize),
    /// The node is a mask.
    Mask(Mask),
    /// The node is an array.
    Array(ArrayFacts),
}

impl Facts {
    /// The count; panics for other nodes.
    pub fn count(&self) -> usize {
        match self {
            Facts::Count(n) => *n,
            Facts::Mask(_) | Facts::Array(_) => panic!("{self:?} stands where a count must"),
        }
    }

    /// The mask; panics for other nodes.
    pub fn mask(&self) -> Mask {
        match self {
            Facts::Mask(m) => *m,
            Facts::Count(_) | Facts::Array(_) => panic!("{self:?} stands where a mask must"),
        }
    }

    /// The array's facts; panics for other nodes.
    pub fn array(&self) -> &ArrayFacts {
        match self {
            Facts::Array(a) => a,
            Facts::Count(_) | Facts::Mask(_) => panic!("{self:?} stands where an array must"),
        }
    }

    /// The array's shape; panics for other nodes.
    pub fn shape(&self) -> Shape {
        self.array().shape
    }
}

/// Leaves of a term by name.
pub type Leaves = BTreeMap<Arc<str>, Leaf>;

/// Facts of a node from those of its operands.
///
/// # Panics
/// If the node breaks one of the rules at the head of this file.
pub fn facts(node: &Seq, leaves: &Leaves, of: &dyn Fn(Id) -> Facts) -> Facts {
    let array = match node {
        Seq::Count(n) => return Facts::Count(*n),
        Seq::Mask(m) => return Facts::Mask(*m),
        Seq::Number(x) => known(Shape::one(1, 1), Interval::point(x.value()), x.value() == 0.0),
        Seq::Var(name) => {
            let leaf = leaves.get(name).unwrap_or_else(|| panic!("no leaf is called {name}"));
            known(leaf.shape, leaf.range, leaf.range == Interval::point(0.0))
        }
        Seq::Zero(_) | Seq::Ones(_) => constant(node, of),
        Seq::Unary(_, _) | Seq::Binary(_, _) | Seq::Select(_) | Seq::Live(_) => pointwise(node, of),
        Seq::RowSum(_) | Seq::RowMax(_) | Seq::Tot(_) | Seq::Run(_) | Seq::Tots(_) => {
            sums(node, of)
        }
        Seq::Mm(_) | Seq::Mmt(_) | Seq::Tmm(_) => product(node, of),
        Seq::Score(_)
        | Seq::Vmix(_)
        | Seq::Seg(_)
        | Seq::Masked(_)
        | Seq::Solve(_)
        | Seq::Tinv(_) => decayed(node, of),
        Seq::Blk(_)
        | Seq::Unblk(_)
        | Seq::Bdiag(_)
        | Seq::Bget(_)
        | Seq::Weave(_)
        | Seq::Rows(_)
        | Seq::Cat(_)
        | Seq::Cols(_)
        | Seq::Split(_)
        | Seq::Join(_)
        | Seq::Tile(_)
        | Seq::Kron(_)
        | Seq::Top(_) => layout(node, of),
        Seq::Pairs(_) | Seq::Paired(_) | Seq::Unpaired(_) => super::square::facts(node, of),
        Seq::Hist(_) | Seq::Hz(_) | Seq::Fin(_) => history(node, of),
        Seq::Tr(_) | Seq::Drun(_) | Seq::Dhist(_) | Seq::Last(_) => super::dense::facts(node, of),
        Seq::Krylov(_) | Seq::Dots(_) | Seq::Conv(_) | Seq::Lhist(_) | Seq::Lfin(_) => {
            super::lti::facts(node, of)
        }
        Seq::Mprod(_) | Seq::Mall(_) | Seq::Blend(_) | Seq::Blendt(_) | Seq::Mscore(_) => {
            super::mixing::facts(node, of)
        }
    };
    Facts::Array(array)
}

pub(super) fn known(shape: Shape, range: Interval, zero: bool) -> ArrayFacts {
    let range = if zero { Interval::point(0.0) } else { range };
    ArrayFacts { shape, range, zero }
}

pub(super) fn any(shape: Shape, zero: bool) -> ArrayFacts {
    known(shape, Interval::ALL, zero)
}

/// The interval with 0 added.
fn with_zero(x: Interval) -> Interval {
    Interval::new(x.lo.min(0.0), x.hi.max(0.0))
}

fn hull(a: Interval, b: Interval) -> Interval {
    Interval::new(a.lo.min(b.lo), a.hi.max(b.hi))
}

fn constant(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let o = node.operands();
    let (blocks, rows, features) = (of(o[0]).count(), of(o[1]).count(), of(o[2]).count());
    let shape = Shape { blocks: Blocks::from_code(blocks), rows, features };
    match node {
        Seq::Zero(_) => known(shape, Interval::point(0.0), true),
        _ => known(shape, Interval::point(1.0), false),
    }
}

fn meet(node: &Seq, a: Shape, b: Shape) -> Shape {
    a.broadcast(b).unwrap_or_else(|| panic!("{node}: {a} and {b} do not fit"))
}

fn pointwise(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    match node {
        Seq::Unary(f, [x]) => {
            let x = *of(*x).array();
            known(x.shape, f.range(x.range), x.zero && f.keeps_zero())
        }
        Seq::Binary(f, [a, b]) => {
            let (a, b) = (*of(*a).array(), *of(*b).array());
            let zero = match f {
                Binary::Mul => a.zero || b.zero,
                Binary::Add | Binary::Min | Binary::Max => a.zero && b.zero,
                Binary::Div => a.zero,
                Binary::Pow | Binary::LogAddExp | Binary::Lt | Binary::Le | Binary::Eq => false,
            };
            known(meet(node, a.shape, b.shape), f.range(a.range, b.range), zero)
        }
        Seq::Select([c, a, b]) => {
            let (c, a, b) = (of(*c).shape(), *of(*a).array(), *of(*b).array());
            let shape = meet(node, c, meet(node, a.shape, b.shape));
            known(shape, hull(a.range, b.range), a.zero && b.zero)
        }
        _ => {
            let x = *of(node.operands()[0]).array();
            assert!(
                matches!(x.shape.blocks, Blocks::Tokens { per } if x.shape.rows.is_multiple_of(per))
            );
            known(x.shape, with_zero(x.range), x.zero)
        }
    }
}

fn sums(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let x = *of(*node.operands().last().expect("sums have operands")).array();
    let times = |n: usize| Binary::Mul.range(Interval::point(n as f64), x.range);
    match node {
        Seq::RowSum(_) => known(Shape { features: 1, ..x.shape }, times(x.shape.features), x.zero),
        Seq::RowMax(_) => known(Shape { features: 1, ..x.shape }, x.range, x.zero),
        Seq::Tot(_) => known(Shape { rows: 1, ..x.shape }, times(x.shape.rows), x.zero),
        Seq::Tots([n, _]) => {
            let n = of(*n).count();
            assert!(x.shape.rows.is_multiple_of(n), "{node}: {n} {}", x.shape);
            known(Shape { rows: x.shape.rows / n, ..x.shape }, times(n), x.zero)
        }
        _ => known(x.shape, with_zero(times(x.shape.rows)), x.zero),
    }
}

/// Blocks of a batched operator.
fn batch(node: &Seq, a: Shape, b: Shape) -> Blocks {
    match (a.blocks, b.blocks) {
        (Blocks::One, x) | (x, Blocks::One) => x,
        (x, y) => {
            assert_eq!(x, y, "{node}: blocks of {a} and {b}");
            x
        }
    }
}

fn product(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let o = node.operands();
    let (a, b) = (*of(o[0]).array(), *of(o[1]).array());
    let (s, t) = (a.shape, b.shape);
    let (rows, inner, other, features) = match node {
        Seq::Mm(_) => (s.rows, s.features, t.rows, t.features),
        Seq::Mmt(_) => (s.rows, s.features, t.features, t.rows),
        _ => (s.features, s.rows, t.rows, t.features),
    };
    assert_eq!(inner, other, "{node}: {s} and {t}");
    any(Shape { blocks: batch(node, s, t), rows, features }, a.zero || b.zero)
}

/// Rows of a gate, checked against the rows and features that it scales.
fn steps(node: &Seq, gate: Shape, rows: &[usize], features: usize) -> usize {
    let fits = rows.iter().all(|r| r % gate.rows == 0);
    assert!(fits && (gate.features == 1 || gate.features == features), "{node}: gate {gate}");
    gate.rows
}

fn decayed(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let array = |id: &Id| *of(*id).array();
    match node {
        Seq::Score([_, p, a, g]) => {
            let (p, a, g) = (array(p), array(a), array(g));
            assert_eq!(p.shape.features, a.shape.features, "{node}: {} {}", p.shape, a.shape);
            steps(node, g.shape, &[p.shape.rows, a.shape.rows], p.shape.features);
            let blocks = batch(node, p.shape, a.shape);
            any(Shape { blocks, rows: p.shape.rows, features: a.shape.rows }, p.zero || a.zero)
        }
        Seq::Vmix([_, w, y, g]) => {
            let (w, y, g) = (array(w), array(y), array(g));
            assert_eq!(w.shape.features, y.shape.rows, "{node}: {} {}", w.shape, y.shape);
            steps(node, g.shape, &[w.shape.rows, y.shape.rows], y.shape.features);
            let blocks = batch(node, w.shape, y.shape);
            let shape = Shape { blocks, rows: w.shape.rows, features: y.shape.features };
            any(shape, w.zero || y.zero)
        }
        Seq::Seg([_, g]) => {
            let g = array(g).shape;
            assert_eq!(g.features, 1, "{node}: {g}");
            let range = Interval::new(0.0, f64::INFINITY);
            known(Shape { features: g.rows, ..g }, range, false)
        }
        Seq::Masked([_, n, w]) => {
            let (n, w) = (of(*n).count(), array(w));
            assert!(w.shape.rows % n == 0 && w.shape.features % n == 0, "{node}: {}", w.shape);
            known(w.shape, with_zero(w.range), w.zero)
        }
        Seq::Solve([l, b]) => {
            let (l, b) = (array(l).shape, array(b));
            assert_eq!((l.rows, l.features), (b.shape.rows, b.shape.rows), "{node}: {l}");
            any(b.shape, b.zero)
        }
        _ => any(array(&node.operands()[0]).shape, false),
    }
}

/// Blocks joined by `c`.
fn joined(node: &Seq, c: usize, x: Shape) -> Blocks {
    match x.blocks {
        Blocks::Tokens { per } => Blocks::Tokens { per: per * c },
        Blocks::One => panic!("{node}: {x} has no blocks to join"),
    }
}

/// Blocks cut in `c`.
fn cut(node: &Seq, c: usize, x: Shape) -> Blocks {
    match x.blocks {
        Blocks::Tokens { per } if per % c == 0 => Blocks::Tokens { per: per / c },
        Blocks::Tokens { .. } | Blocks::One => panic!("{node}: {x} cannot be cut in {c}"),
    }
}

fn layout(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let o = node.operands();
    let x = *of(*o.last().expect("layout operators have operands")).array();
    let s = x.shape;
    let shape = match node {
        // One block is the same for all; put in blocks with others it stays as it is.
        Seq::Blk(_) if s.blocks == Blocks::One && s.rows == 1 => s,
        Seq::Blk([c, _]) => {
            let c = of(*c).count();
            Shape { blocks: joined(node, c, s), rows: s.rows * c, ..s }
        }
        Seq::Unblk([c, _]) => {
            let c = of(*c).count();
            assert_eq!(s.rows % c, 0, "{node}: {s}");
            Shape { blocks: cut(node, c, s), rows: s.rows / c, ..s }
        }
        Seq::Bdiag([c, _]) => {
            let c = of(*c).count();
            Shape { blocks: joined(node, c, s), rows: s.rows * c, features: s.features * c }
        }
        Seq::Bget([c, _]) => {
            let c = of(*c).count();
            assert!(s.rows.is_multiple_of(c) && s.features.is_multiple_of(c), "{node}: {s}");
            Shape { blocks: cut(node, c, s), rows: s.rows / c, features: s.features / c }
        }
        Seq::Rows([i, n, _]) => {
            let (i, n) = (of(*i).count(), of(*n).count());
            assert!(i + n <= s.rows, "{node}: {i} {n} {s}");
            Shape { rows: n, ..s }
        }
        Seq::Cols([i, n, _]) => {
            let (i, n) = (of(*i).count(), of(*n).count());
            assert!(i + n <= s.features, "{node}: {i} {n} {s}");
            Shape { features: n, ..s }
        }
        Seq::Split([n, _]) => {
            let n = of(*n).count();
            assert!(s.features.is_multiple_of(n), "{node}: {n} {s}");
            Shape { rows: s.rows * n, features: s.features / n, ..s }
        }
        Seq::Join([n, _]) => {
            let n = of(*n).count();
            assert!(s.rows.is_multiple_of(n), "{node}: {n} {s}");
            Shape { rows: s.rows / n, features: s.features * n, ..s }
        }
        Seq::Top(_) => return known(s, Interval::new(0.0, 1.0), false),
        Seq::Tile([n, _]) => Shape { features: s.features * of(*n).count(), ..s },
        _ => return join(node, *of(o[0]).array(), x),
    };
    let range = if matches!(node, Seq::Bdiag(_)) { with_zero(x.range) } else { x.range };
    known(shape, range, x.zero)
}

fn join(node: &Seq, a: ArrayFacts, b: ArrayFacts) -> ArrayFacts {
    let (s, t) = (a.shape, b.shape);
    if matches!(node, Seq::Weave(_)) {
        assert_eq!((s.blocks, s.features), (t.blocks, t.features), "{node}: {s} {t}");
        let shape = Shape { rows: s.rows + t.rows, ..s };
        return known(shape, hull(a.range, b.range), a.zero && b.zero);
    }
    assert_eq!((s.blocks, s.rows), (t.blocks, t.rows), "{node}: {s} {t}");
    if matches!(node, Seq::Kron(_)) {
        let shape = Shape { features: s.features * t.features, ..s };
        return known(shape, Binary::Mul.range(a.range, b.range), a.zero || b.zero);
    }
    let shape = Shape { features: s.features + t.features, ..s };
    known(shape, hull(a.range, b.range), a.zero && b.zero)
}

fn history(node: &Seq, of: &dyn Fn(Id) -> Facts) -> ArrayFacts {
    let (_, core) = core_of(node).expect("the node is a history");
    let array = |id: Id| *of(id).array();
    let (g, w, a, l) = (array(core.g), array(core.w), array(core.a), array(core.l));
    let (p, b, c, d, s) =
        (array(core.p), array(core.b), array(core.c), array(core.d), array(core.s));
    let (blocks, keys, values) = (c.shape.blocks, c.shape.features, d.shape.features);
    let expect = |what: &str, found: Shape, rows: usize, widths: &[usize]| {
        let fits = found.rows == rows && widths.contains(&found.features);
        assert!(fits && found.blocks == blocks, "{node}: {what} is {found}");
    };
    if g.shape.rows == 1 {
        expect("g", g.shape, 1, &[1, keys]);
    } else {
        expect("g", g.shape, g.shape.features, &[g.shape.rows]);
        assert!(keys.is_multiple_of(g.shape.rows), "{node}: g is {}", g.shape);
    }
    expect("w", w.shape, 1, &[1, values]);
    expect("L", l.shape, a.shape.rows, &[a.shape.rows]);
    expect("a", a.shape, a.shape.rows, &[keys]);
    expect("p", p.shape, a.shape.rows, &[keys]);
    expect("b", b.shape, a.shape.rows, &[values]);
    expect("d", d.shape, c.shape.rows, &[values]);
    assert_eq!(s.shape, Shape::one(keys, values), "{node}: S");
    let written = (a.zero || (p.zero && b.zero)) && (c.zero || d.zero);
    match node {
        Seq::Hist(_) => any(Shape { blocks, rows: keys, features: values }, written && s.zero),
        Seq::Hz(_) => any(b.shape, p.zero && b.zero),
        _ => any(s.shape, written && s.zero),
    }
}
