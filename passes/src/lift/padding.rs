//! What a term is at a token of padding, where every token leaf is 0.
//!
//! A padding token must write nothing and decay nothing: its keys and its log decays must be 0, and
//! its values finite, since 0 times them is added. Where that does not follow from the zeros of the
//! inputs, lifting asks for it with the operator `live`.

use egg::Id;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Builder, Leaf, LeafKind, Seq, Source};
use std::collections::BTreeMap;

/// Elements of a term at a padding token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Padding {
    /// All have this value.
    Value(f64),
    /// Finite numbers, as per-model inputs are.
    Finite,
    /// Anything, an infinity or NaN included.
    Any,
}

/// Whether every element of a token-level term is 0 at padding tokens.
pub(super) fn is_zero_at_padding(builder: &Builder, id: Id) -> bool {
    at_padding(builder, id, &mut BTreeMap::new()) == Padding::Value(0.0)
}

/// Whether every element of a token-level term is a finite number at padding tokens.
pub(super) fn is_finite_at_padding(builder: &Builder, id: Id) -> bool {
    match at_padding(builder, id, &mut BTreeMap::new()) {
        Padding::Value(v) => v.is_finite(),
        Padding::Finite => true,
        Padding::Any => false,
    }
}

fn at_padding(builder: &Builder, id: Id, memo: &mut BTreeMap<Id, Padding>) -> Padding {
    if let Some(known) = memo.get(&id) {
        return *known;
    }
    let mut of = |id: &Id| at_padding(builder, *id, memo);
    let padding = match builder.node(id) {
        Seq::Number(x) => Padding::Value(x.value()),
        Seq::Zero(_) => Padding::Value(0.0),
        Seq::Ones(_) => Padding::Value(1.0),
        Seq::Var(name) => leaf(builder.leaf_named(name)),
        Seq::Live(_) => Padding::Value(0.0),
        Seq::Unary(f, [x]) => unary(*f, of(x)),
        Seq::Binary(f, [a, b]) => binary(*f, of(a), of(b)),
        Seq::Select([c, a, b]) => match of(c) {
            Padding::Value(c) => of(if c == 0.0 { b } else { a }),
            _ => alike(of(a), of(b)),
        },
        Seq::RowSum([x]) => match of(x) {
            Padding::Value(v) => Padding::Value(v * builder.shape(*x).features as f64),
            other => other,
        },
        Seq::Tots([n, x]) => match of(x) {
            Padding::Value(v) => Padding::Value(v * builder.facts(*n).count() as f64),
            other => other,
        },
        Seq::RowMax([x]) => of(x),
        Seq::Kron([a, b]) => binary(Binary::Mul, of(a), of(b)),
        Seq::Weave([a, b]) | Seq::Cat([a, b]) => alike(of(a), of(b)),
        Seq::Rows([_, _, x]) | Seq::Cols([_, _, x]) => of(x),
        Seq::Split([_, x]) | Seq::Join([_, x]) | Seq::Tile([_, x]) => of(x),
        Seq::Mm([a, b]) | Seq::Mmt([a, b]) | Seq::Tmm([a, b]) => match (of(a), of(b)) {
            (Padding::Value(0.0), Padding::Value(b)) if b.is_finite() => Padding::Value(0.0),
            (Padding::Value(0.0), Padding::Finite) => Padding::Value(0.0),
            (_, _) => Padding::Any,
        },
        _ => Padding::Any,
    };
    memo.insert(id, padding);
    padding
}

fn leaf(leaf: &Leaf) -> Padding {
    match (leaf.kind, &leaf.source) {
        (LeafKind::Token, _) => Padding::Value(0.0),
        (_, Source::Table(values)) if !values.iter().all(|x| x.is_finite()) => Padding::Any,
        (LeafKind::Model | LeafKind::State, _) => Padding::Finite,
    }
}

fn alike(a: Padding, b: Padding) -> Padding {
    match (a, b) {
        (a, b) if a == b => a,
        (Padding::Any, _) | (_, Padding::Any) => Padding::Any,
        (Padding::Value(v), _) | (_, Padding::Value(v)) if !v.is_finite() => Padding::Any,
        _ => Padding::Finite,
    }
}

fn unary(f: Unary, x: Padding) -> Padding {
    match (f, x) {
        (f, Padding::Value(v)) => Padding::Value(f.eval(v)),
        (_, Padding::Any) => Padding::Any,
        (
            Unary::Log | Unary::Log1p | Unary::Recip | Unary::Sqrt | Unary::Rsqrt,
            Padding::Finite,
        ) => Padding::Any,
        // An exponential of a per-model input that overflows would spoil every token alike.
        (_, Padding::Finite) => Padding::Finite,
    }
}

fn binary(f: Binary, a: Padding, b: Padding) -> Padding {
    match (f, a, b) {
        (f, Padding::Value(a), Padding::Value(b)) => Padding::Value(f.eval(a, b)),
        (_, Padding::Any, _) | (_, _, Padding::Any) => Padding::Any,
        (Binary::Mul, Padding::Value(0.0), Padding::Finite)
        | (Binary::Mul, Padding::Finite, Padding::Value(0.0)) => Padding::Value(0.0),
        (Binary::Div | Binary::Pow, _, _) => Padding::Any,
        (_, a, b) => match alike(a, b) {
            Padding::Any => Padding::Any,
            _ => Padding::Finite,
        },
    }
}
