//! What a law is: name, two sides, guards, reference, effect on rounding, shapes of its variables.

use crate::saturate::Graph;
use egg::{Subst, Var};
use sluice_ir::seq::{ArrayFacts, Blocks, Shape};

/// How the right side rounds compared with the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rounding {
    /// Moves data only: the same bits.
    Exact,
    /// Adds the same numbers in another order, or multiplies in another order.
    Reorders,
    /// Multiplies by decays at other places; with exponents of at most 0 nothing is lost.
    Rescales,
}

impl Rounding {
    /// Name in explanations.
    pub fn name(self) -> &'static str {
        match self {
            Rounding::Exact => "exact",
            Rounding::Reorders => "reorders",
            Rounding::Rescales => "rescales",
        }
    }
}

/// When a law holds or is worth using; "no" where the facts do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The array is 0.
    Zero(&'static str),
    /// The array is not known to be 0.
    NonZero(&'static str),
    /// Every block is one token.
    TokenLevel(&'static str),
    /// Blocks are longer than a token.
    BlockLevel(&'static str),
    /// The array has that many rows.
    Rows(&'static str, usize),
    /// The array has more than one row.
    ManyRows(&'static str),
    /// The array has one feature.
    Narrow(&'static str),
    /// The array has several features.
    Wide(&'static str),
    /// A pointwise result of both has the shape of the first.
    Covers(&'static str, &'static str),
    /// The first has one feature, and blocks and rows of the second.
    FactorOfRows(&'static str, &'static str),
    /// The array is at token level, or one row for all tokens.
    Blockable(&'static str),
    /// The array is one row for all tokens.
    Constant(&'static str),
    /// The array is one block for all tokens.
    OneBlock(&'static str),
    /// The array is one number for all tokens.
    Scalar(&'static str),
    /// The arrays have as many features.
    SameWidth(&'static str, &'static str),
}

impl Guard {
    /// The variables that it speaks of.
    pub fn variables(self) -> Vec<&'static str> {
        match self {
            Guard::Zero(x)
            | Guard::NonZero(x)
            | Guard::TokenLevel(x)
            | Guard::BlockLevel(x)
            | Guard::Rows(x, _)
            | Guard::ManyRows(x)
            | Guard::Narrow(x)
            | Guard::Wide(x)
            | Guard::Blockable(x)
            | Guard::Constant(x)
            | Guard::OneBlock(x)
            | Guard::Scalar(x) => vec![x],
            Guard::Covers(x, y) | Guard::FactorOfRows(x, y) | Guard::SameWidth(x, y) => vec![x, y],
        }
    }

    /// Whether it holds for arrays with these facts, in the order of [`Guard::variables`].
    pub fn holds(self, facts: &[ArrayFacts]) -> bool {
        let shape = facts[0].shape;
        match self {
            Guard::Zero(_) => facts[0].zero,
            Guard::NonZero(_) => !facts[0].zero,
            Guard::TokenLevel(_) => shape.is_token_level(),
            Guard::BlockLevel(_) => matches!(shape.blocks, Blocks::Tokens { per } if per > 1),
            Guard::Rows(_, n) => shape.rows == n,
            Guard::ManyRows(_) => shape.rows > 1,
            Guard::Narrow(_) => shape.features == 1,
            Guard::Wide(_) => shape.features > 1,
            Guard::Covers(_, _) => shape.broadcast(facts[1].shape) == Some(shape),
            Guard::FactorOfRows(_, _) => {
                let other = facts[1].shape;
                let same = (shape.blocks, shape.rows) == (other.blocks, other.rows);
                same && shape.features == 1 && other.features > 1
            }
            Guard::Blockable(_) => {
                shape.is_token_level() || (shape.blocks == Blocks::One && shape.rows == 1)
            }
            Guard::Constant(_) => shape.blocks == Blocks::One && shape.rows == 1,
            Guard::OneBlock(_) => shape.blocks == Blocks::One,
            Guard::Scalar(_) => shape == Shape::one(1, 1),
            Guard::SameWidth(_, _) => shape.features == facts[1].shape.features,
        }
    }

    /// The guard as a test of a match.
    pub(crate) fn compile(self) -> impl Fn(&Graph, &Subst) -> bool + Send + Sync + 'static {
        let variables: Vec<Var> = self
            .variables()
            .iter()
            .map(|v| v.parse().expect("variables of guards are written `?name`"))
            .collect();
        move |graph, subst| {
            let facts: Vec<ArrayFacts> =
                variables.iter().map(|v| *graph[subst[*v]].data.facts.array()).collect();
            self.holds(&facts)
        }
    }
}

/// An extent of a variable, as the law test draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This number.
    Is(usize),
    /// This number of steps, with 1, 2 or 3 rows for each.
    Steps(usize),
    /// The width of keys.
    Keys,
    /// The width of values.
    Values,
}

/// What a variable holds, as the law test draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Any numbers.
    Any,
    /// Log decays: at most 0, some minus infinity.
    Gate,
    /// Log decays without minus infinity.
    BoundedGate,
    /// A strictly lower triangular matrix.
    Lower,
    /// A strictly upper triangular matrix.
    Upper,
    /// A matrix whose powers stay bounded.
    Contraction,
    /// No array but this count.
    Count(usize),
}

/// The shape of a variable in the law test. Masks and the sizes of chunks are written out in a law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Name with its question mark.
    pub name: &'static str,
    /// Tokens of a block; 0 is one block for all tokens.
    pub per: usize,
    /// Rows of a block.
    pub rows: Extent,
    /// Features of a row.
    pub features: Extent,
    /// What it holds.
    pub content: Content,
}

impl Variable {
    /// A variable of any numbers.
    pub(super) fn new(name: &'static str, per: usize, rows: Extent, features: Extent) -> Self {
        Self { name, per, rows, features, content: Content::Any }
    }

    /// The variable with other content.
    pub(super) fn holding(self, content: Content) -> Self {
        Self { content, ..self }
    }

    /// A table of log decays.
    pub(super) fn gate(name: &'static str, per: usize, rows: usize, features: Extent) -> Self {
        Self::new(name, per, Extent::Is(rows), features).holding(Content::Gate)
    }
}

/// An equation, used from left to right.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    /// Kebab-case and unique: family, then mask or size.
    pub name: String,
    /// The name without mask and sizes: what is removed together in ablation tests.
    pub family: &'static str,
    /// The term to find.
    pub lhs: String,
    /// The term that is equal to it.
    pub rhs: String,
    /// When; all must hold.
    pub guards: Vec<Guard>,
    /// How the right side rounds.
    pub rounding: Rounding,
    /// Where it is derived.
    pub reference: &'static str,
    /// Shapes of all variables.
    pub variables: Vec<Variable>,
}

impl Law {
    /// A law without guards.
    pub(super) fn new(
        (family, instance): (&'static str, &str),
        lhs: impl Into<String>,
        rhs: impl Into<String>,
        rounding: Rounding,
    ) -> Self {
        let name =
            if instance.is_empty() { family.to_owned() } else { format!("{family}-{instance}") };
        Self {
            name,
            family,
            lhs: lhs.into(),
            rhs: rhs.into(),
            guards: Vec::new(),
            rounding,
            reference: "",
            variables: Vec::new(),
        }
    }

    /// The law under these conditions.
    pub(super) fn when(mut self, guards: &[Guard]) -> Self {
        self.guards.extend_from_slice(guards);
        self
    }

    /// The law over these variables.
    pub(super) fn over(mut self, variables: &[Variable]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// The law with its reference.
    pub(super) fn from(self, reference: &'static str) -> Self {
        Self { reference, ..self }
    }
}
