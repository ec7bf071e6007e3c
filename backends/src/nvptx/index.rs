//! Indices with a known constant part, so that unrolled code folds its addresses.

use super::builder::Builder;
use super::types::{Compare, Val};

/// `dynamic + constant`, with `0 <= dynamic < limit`.
#[derive(Clone, Copy)]
pub(super) struct Index<'c> {
    dynamic: Option<Val<'c>>,
    limit: i64,
    constant: i64,
}

impl<'c> Index<'c> {
    /// A number.
    pub(super) fn constant(value: usize) -> Self {
        Self { dynamic: None, limit: 1, constant: value as i64 }
    }

    /// A 32-bit value known to be in `0..limit`.
    pub(super) fn below(value: Val<'c>, limit: usize) -> Self {
        Self { dynamic: Some(value), limit: limit as i64, constant: 0 }
    }

    /// The index further on by a number.
    pub(super) fn plus(self, by: usize) -> Self {
        Self { constant: self.constant + by as i64, ..self }
    }

    /// The index further back by a number; it may become negative.
    pub(super) fn minus(self, by: usize) -> Self {
        Self { constant: self.constant - by as i64, ..self }
    }

    /// The smallest value that is possible.
    pub(super) fn smallest(self) -> i64 {
        self.constant
    }

    /// The constant part.
    pub(super) fn offset(self) -> i64 {
        self.constant
    }

    /// The dynamic part, if there is one.
    pub(super) fn dynamic(self) -> Option<Val<'c>> {
        self.dynamic
    }

    /// The largest value that is possible.
    pub(super) fn largest(self) -> i64 {
        self.constant + self.limit - 1
    }
}

impl<'c> Builder<'c> {
    /// The index as one 32-bit value.
    pub(super) fn index(&self, index: Index<'c>) -> Val<'c> {
        match index.dynamic {
            None => self.i32(index.constant),
            Some(value) if index.constant == 0 => value,
            Some(value) => self.add(value, self.i32(index.constant)),
        }
    }

    /// The sum of two indices.
    pub(super) fn index_add(&self, a: Index<'c>, b: Index<'c>) -> Index<'c> {
        let dynamic = match (a.dynamic, b.dynamic) {
            (Some(x), Some(y)) => Some(self.add(x, y)),
            (x, y) => x.or(y),
        };
        Index { dynamic, limit: a.limit + b.limit - 1, constant: a.constant + b.constant }
    }

    /// The index times a number.
    pub(super) fn index_mul(&self, a: Index<'c>, by: usize) -> Index<'c> {
        let by = by as i64;
        let dynamic = match by {
            0 => None,
            1 => a.dynamic,
            _ => a.dynamic.map(|x| self.mul(x, self.i32(by))),
        };
        Index { dynamic, limit: (a.limit - 1) * by + 1, constant: a.constant * by }
    }

    /// `size - 1 - a`, for an index below `size`.
    pub(super) fn index_flip(&self, a: Index<'c>, size: usize) -> Index<'c> {
        let last = size as i64 - 1;
        match a.dynamic {
            None => Index { constant: last - a.constant, ..a },
            Some(value) => {
                let rest = self.like("llvm.sub", &[self.i32(a.limit - 1), value]);
                Index { dynamic: Some(rest), constant: last - a.largest(), ..a }
            }
        }
    }

    /// The smaller of an index and a number.
    pub(super) fn index_min(&self, a: Index<'c>, most: usize) -> Index<'c> {
        if a.largest() <= most as i64 {
            return a;
        }
        let value = self.like("llvm.intr.smin", &[self.index(a), self.i32(most as i64)]);
        Index::below(value, most + 1)
    }

    /// Quotient and remainder by a number.
    pub(super) fn index_split(&self, a: Index<'c>, by: usize) -> (Index<'c>, Index<'c>) {
        let n = by as i64;
        let (quotient, remainder) = (a.constant / n, a.constant % n);
        if remainder + a.limit <= n {
            let whole = Index::constant(quotient as usize);
            return (whole, Index { constant: remainder, ..a });
        }
        let value = self.index(Index { constant: remainder, ..a });
        let limit = (a.limit + remainder - 1) / n + 1;
        let whole = self.like("llvm.udiv", &[value, self.i32(n)]);
        let rest = self.like("llvm.urem", &[value, self.i32(n)]);
        (
            Index { dynamic: Some(whole), limit, constant: quotient },
            Index { dynamic: Some(rest), limit: n, constant: 0 },
        )
    }

    /// Whether the index is below a number; none: always.
    pub(super) fn index_below(&self, a: Index<'c>, bound: usize) -> Option<Val<'c>> {
        if a.largest() < bound as i64 {
            return None;
        }
        Some(self.compare(Compare::Lt, self.index(a), self.i32(bound as i64)))
    }

    /// Whether the index is not negative; none: always.
    pub(super) fn index_positive(&self, a: Index<'c>) -> Option<Val<'c>> {
        if a.smallest() >= 0 {
            return None;
        }
        Some(self.compare(Compare::Le, self.i32(0), self.index(a)))
    }

    /// Both conditions; none: always.
    pub(super) fn both(&self, a: Option<Val<'c>>, b: Option<Val<'c>>) -> Option<Val<'c>> {
        match (a, b) {
            (Some(x), Some(y)) => Some(self.and(x, y)),
            (x, y) => x.or(y),
        }
    }

    /// Runs `then` where the condition holds; none: always.
    pub(super) fn when_some(&self, condition: Option<Val<'c>>, then: impl FnOnce()) {
        match condition {
            Some(condition) => self.when(condition, then),
            None => then(),
        }
    }
}
