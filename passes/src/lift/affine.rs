//! Values that are affine in one state, as symbols: what a matrix adds to the decayed state, and
//! what a vector takes from it.

use egg::Id;
use std::collections::BTreeMap;

/// A written value, by its place in [`Affine::values`].
pub(super) type Symbol = usize;

/// A matrix `e^g . S . e^w + sum_j x_j y_j^T`, with `S` the state before the step.
#[derive(Clone, Debug, Default)]
pub(super) struct Matrix {
    /// Whether the decayed state is part of it.
    pub(super) keeps: bool,
    /// Log decay of rows, `[T, 1, 1|K]` or `[1, 1, 1|K]`.
    pub(super) g: Option<Id>,
    /// Log decay of columns, `[T, 1, V]` or `[1, 1, V]`.
    pub(super) w: Option<Id>,
    /// A dense matrix, `[1, K, K]`, that the state is multiplied by instead of decayed.
    pub(super) dense: Option<Id>,
    /// Keys `x_j` (1 or K features) with the symbols of the values that they write.
    pub(super) rows: Vec<(Id, Symbol)>,
}

/// `e^w . (p e^g)^T S`: a read of the state before the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Read {
    /// The reader, without the decay, so that decays meet as exponents.
    pub(super) p: Id,
    /// Log decay of rows that the read sees.
    pub(super) g: Option<Id>,
    /// Log decay of columns that the read sees.
    pub(super) w: Option<Id>,
}

/// A vector `base + sum_j l_j y_j + read`.
#[derive(Clone, Debug, Default)]
pub(super) struct Vector {
    /// The part without the state.
    pub(super) base: Option<Id>,
    /// Factors `[T, 1, 1]` of values written earlier in the step.
    pub(super) feeds: BTreeMap<Symbol, Id>,
    /// What is read from the state before the step.
    pub(super) read: Option<Read>,
}

impl Vector {
    /// A vector that does not depend on the state.
    pub(super) fn free(base: Id) -> Self {
        Self { base: Some(base), ..Self::default() }
    }

    /// Whether it does not depend on the state.
    pub(super) fn is_free(&self) -> bool {
        self.feeds.is_empty() && self.read.is_none()
    }
}
