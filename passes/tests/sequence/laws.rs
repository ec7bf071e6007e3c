//! Every law on random arrays: both sides are equal, for several sizes and rows per step, and are
//! not where a guard that says "zero" is broken on purpose.

use crate::step_form::Random;
use egg::{ENodeOrVar, Id, Language, Pattern, RecExpr};
use sluice_ir::pointwise::Interval;
use sluice_ir::seq::{
    Array3, Blocks, Builder, Leaf, LeafKind, Root, RootKind, Seq, Shape, Source, Term, Values, eval,
};
use sluice_ir::step::Sharing;
use sluice_passes::rules::{Content, Extent, Guard, Law, Sizes, Variable, laws};
use std::collections::{BTreeMap, BTreeSet};

const KEYS: usize = 6;
const VALUES: usize = 5;
/// Largest difference that sums of this length show in f64.
const TOLERANCE: f64 = 1e-12;

/// Tokens, chunk, sub-block.
const SIZES: &[(usize, usize, usize)] = &[(16, 8, 4), (16, 8, 2), (24, 4, 2)];

fn sizes((_, chunk, block): (usize, usize, usize)) -> Sizes {
    Sizes { chunk, sub_block: Some(block) }
}

fn shape(variable: &Variable, ranked: usize) -> Shape {
    let extent = |e: Extent| match e {
        Extent::Is(n) => n,
        Extent::Steps(n) => n * ranked,
        Extent::Keys => KEYS,
        Extent::Values => VALUES,
    };
    Shape {
        blocks: Blocks::from_code(variable.per),
        rows: extent(variable.rows),
        features: extent(variable.features),
    }
}

/// The variables that must be 0 for the law's guards to hold, one guard possibly ignored.
fn zeros(law: &Law, broken: Option<usize>) -> BTreeSet<&'static str> {
    let zero = |(i, guard): (usize, &Guard)| match guard {
        Guard::Zero(name) if Some(i) != broken => Some(*name),
        _ => None,
    };
    law.guards.iter().enumerate().filter_map(zero).collect()
}

/// One instance of a law: arrays for its variables.
struct Instance<'a> {
    law: &'a Law,
    ranked: usize,
    values: Values,
}

impl<'a> Instance<'a> {
    fn new(law: &'a Law, ranked: usize, tokens: usize, broken: Option<usize>) -> Self {
        let mut random = Random::new(&format!("{} {ranked} {tokens}", law.name));
        let zeros = zeros(law, broken);
        let mut leaves = BTreeMap::new();
        for variable in &law.variables {
            let s = shape(variable, ranked);
            let extents = [s.blocks.count(tokens), s.rows, s.features];
            let array = Array3::from_fn(extents, |_, r, c| {
                let x = random.between(-1.0, 1.0);
                let reset = random.unit() < 0.1;
                let kept = match variable.content {
                    Content::Gate if reset => f64::NEG_INFINITY,
                    Content::Gate | Content::BoundedGate => -x.abs(),
                    // Few values, so that comparisons find equal ones.
                    Content::Any if law.family == "blk-pointwise" => (x * 8.0).round() / 8.0,
                    Content::Contraction => x / s.features as f64,
                    Content::Lower if c >= r => 0.0,
                    Content::Upper if c <= r => 0.0,
                    _ => x,
                };
                if zeros.contains(variable.name) { 0.0 } else { kept }
            });
            leaves.insert(variable.name[1..].to_owned(), array);
        }
        Self { law, ranked, values: Values { tokens, live: tokens, leaves } }
    }

    /// One side of the law as a term with a leaf for each variable.
    fn term(&self, side: &str) -> Term {
        let pattern: Pattern<Seq> = side.parse().expect("laws parse");
        let nodes: &RecExpr<ENodeOrVar<Seq>> = &pattern.ast;
        let mut builder = Builder::default();
        let mut places: Vec<Id> = vec![];
        for node in nodes.as_ref() {
            places.push(match node {
                ENodeOrVar::ENode(node) => {
                    builder.add(node.clone().map_children(|c| places[usize::from(c)]))
                }
                ENodeOrVar::Var(name) => self.variable(&name.to_string(), &mut builder),
            });
        }
        let id = *places.last().expect("a side has nodes");
        let (name, kind, dims) = ("side".to_owned(), RootKind::Output, vec![]);
        builder.finish(vec![Root { name, kind, transposed: false, dims, id }])
    }

    fn variable(&self, name: &str, builder: &mut Builder) -> Id {
        let declared = self.law.variables.iter().find(|v| v.name == name);
        let variable = declared.unwrap_or_else(|| panic!("{}: {name} has no shape", self.law.name));
        if let Content::Count(n) = variable.content {
            return builder.count(n);
        }
        let leaf = Leaf {
            kind: LeafKind::Token,
            shape: shape(variable, self.ranked),
            range: Interval::ALL,
            sharing: Sharing::Head,
            transposed: false,
            source: Source::Caller,
        };
        builder.leaf(&name[1..], leaf)
    }

    fn value(&self, side: &str) -> Array3 {
        eval(&self.term(side), &self.values)["side"].clone()
    }

    /// Largest difference of the sides, relative to the larger of the left side and 1.
    fn difference(&self) -> f64 {
        let (left, right) = (self.value(&self.law.lhs), self.value(&self.law.rhs));
        assert_eq!(left.shape(), right.shape(), "{}", self.law.name);
        let error = |(x, y): (&f64, &f64)| {
            // Both may be undefined at the same place, as a logarithm of a negative number is.
            if x == y || (x.is_nan() && y.is_nan()) {
                0.0
            } else {
                (x - y).abs() / x.abs().max(1.0)
            }
        };
        left.data
            .iter()
            .zip(&right.data)
            .map(error)
            .fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) })
    }
}

#[test]
fn both_sides_of_every_law_are_equal() {
    for size in SIZES {
        for law in laws(sizes(*size)) {
            for ranked in 1..=3 {
                let difference = Instance::new(&law, ranked, size.0, None).difference();
                let name = &law.name;
                assert!(difference <= TOLERANCE, "{name}, {size:?} x {ranked}: {difference:.1e}");
            }
        }
    }
}

#[test]
fn left_sides_are_not_zero_for_free() {
    for law in laws(sizes(SIZES[0])) {
        let left = Instance::new(&law, 2, SIZES[0].0, None).value(&law.lhs);
        assert!(left.data.iter().any(|x| *x != 0.0), "{} says 0 = 0", law.name);
    }
}

/// The reversed inclusive history is defined without readers only.
fn is_part_of_the_definition(law: &Law, guard: Guard) -> bool {
    law.lhs.contains("tincl") && guard == Guard::Zero("?p")
}

#[test]
fn zero_guards_are_conditions_of_truth() {
    // Three steps or more everywhere: with two, nothing decays between a read and a write.
    let size = (24, 12, 4);
    for law in laws(sizes(size)) {
        for (i, guard) in law.guards.iter().enumerate() {
            if matches!(guard, Guard::Zero(_)) && !is_part_of_the_definition(&law, *guard) {
                let difference = Instance::new(&law, 3, size.0, Some(i)).difference();
                assert!(difference > TOLERANCE, "{} holds without {guard:?}", law.name);
            }
        }
    }
}

#[test]
fn laws_are_named_once_and_say_where_they_come_from() {
    for size in SIZES {
        let laws = laws(sizes(*size));
        let names: BTreeSet<&str> = laws.iter().map(|law| law.name.as_str()).collect();
        assert_eq!(names.len(), laws.len());
        for law in &laws {
            assert!(!law.reference.is_empty(), "{} has no reference", law.name);
            let used = |v: &Variable| format!("{} {}", law.lhs, law.rhs).contains(v.name);
            assert!(law.variables.iter().filter(|v| v.name != "?s").all(used), "{}", law.name);
        }
    }
}

#[test]
fn without_sub_blocks_there_are_fewer_laws() {
    let with = laws(Sizes { chunk: 8, sub_block: Some(4) });
    let without = laws(Sizes { chunk: 8, sub_block: None });
    let names = |laws: &[Law]| laws.iter().map(|l| l.name.clone()).collect::<BTreeSet<_>>();
    assert!(names(&without).is_subset(&names(&with)));
    assert!(!without.iter().any(|law| law.family.contains("subblock")));
}
