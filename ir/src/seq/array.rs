//! Dense arrays `[blocks, rows, features]` of doubles and the block operators on them.
//!
//! Everything here is written as its definition reads; speed is no aim.

use super::{Mask, mixing};

/// A dense array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array3 {
    /// Blocks.
    pub blocks: usize,
    /// Rows of one block.
    pub rows: usize,
    /// Features of one row.
    pub features: usize,
    /// `blocks * rows * features` elements.
    pub data: Vec<f64>,
}

impl Array3 {
    /// The array whose elements a function gives from block, row and feature.
    pub fn from_fn(
        [blocks, rows, features]: [usize; 3],
        mut f: impl FnMut(usize, usize, usize) -> f64,
    ) -> Self {
        let mut data = Vec::with_capacity(blocks * rows * features);
        for n in 0..blocks {
            for r in 0..rows {
                data.extend((0..features).map(|c| f(n, r, c)));
            }
        }
        Self { blocks, rows, features, data }
    }

    /// An array of one value.
    pub fn filled(shape: [usize; 3], value: f64) -> Self {
        Self::from_fn(shape, |_, _, _| value)
    }

    /// `[blocks, rows, features]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.blocks, self.rows, self.features]
    }

    /// One element.
    pub fn at(&self, block: usize, row: usize, feature: usize) -> f64 {
        self.data[(block * self.rows + row) * self.features + feature]
    }

    /// The element for a place in an array of another shape that this one broadcasts to.
    fn broadcast_at(&self, to: [usize; 3], n: usize, r: usize, c: usize) -> f64 {
        self.at(n * self.blocks / to[0], r * self.rows / to[1], c * self.features / to[2])
    }

    /// A function of each element.
    #[must_use]
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { data: self.data.iter().map(|x| f(*x)).collect(), ..*self }
    }

    /// A function of the elements of several arrays, each repeated consecutively to fit.
    pub fn zip(arrays: &[&Array3], f: impl Fn(&[f64]) -> f64) -> Self {
        let largest = |get: fn(&Array3) -> usize| arrays.iter().map(|a| get(a)).max().unwrap_or(1);
        // No tokens: an array of one block meets arrays of none.
        let empty = arrays.iter().any(|a| a.blocks == 0);
        let blocks = if empty { 0 } else { largest(|a| a.blocks) };
        let shape = [blocks, largest(|a| a.rows), largest(|a| a.features)];
        Self::from_fn(shape, |n, r, c| {
            let values: Vec<f64> = arrays.iter().map(|a| a.broadcast_at(shape, n, r, c)).collect();
            f(&values)
        })
    }

    /// The same elements in other blocks.
    #[must_use]
    pub fn reshape(&self, blocks: usize, rows: usize) -> Self {
        assert_eq!(blocks * rows, self.blocks * self.rows, "a reshape keeps its elements");
        Self { blocks, rows, ..self.clone() }
    }

    /// One block; an array of one block has it everywhere.
    #[must_use]
    pub fn block(&self, n: usize) -> Self {
        let n = if self.blocks == 1 { 0 } else { n };
        let size = self.rows * self.features;
        Self { blocks: 1, data: self.data[n * size..(n + 1) * size].to_vec(), ..*self }
    }

    /// Rows and features exchanged in each block.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self::from_fn([self.blocks, self.features, self.rows], |n, r, c| self.at(n, c, r))
    }

    /// `a b` in each block.
    pub fn product(a: &Self, b: &Self) -> Self {
        assert_eq!(a.features, b.rows, "contracted extents");
        let blocks = if a.blocks == 1 { b.blocks } else { a.blocks };
        Self::from_fn([blocks, a.rows, b.features], |n, r, c| {
            let (i, j) = (if a.blocks == 1 { 0 } else { n }, if b.blocks == 1 { 0 } else { n });
            (0..a.features).map(|k| a.at(i, r, k) * b.at(j, k, c)).sum()
        })
    }

    /// `y[t] = sum of x[s]` with `mask(t, s)`.
    #[must_use]
    pub fn run(&self, mask: Mask) -> Self {
        Self::from_fn(self.shape(), |n, t, c| {
            (0..self.rows).filter(|s| mask.holds(t, *s)).map(|s| self.at(n, s, c)).sum()
        })
    }

    /// `exp` of the sum of this gate between read `t` and write `s`, for feature `c`.
    fn decay(&self, mask: Mask, [n, t, s, c]: [usize; 4]) -> f64 {
        let c = if self.features == 1 { 0 } else { c };
        mask.segment(t, s).map(|i| self.at(n, i, c)).sum::<f64>().exp()
    }

    /// `score m p a g`.
    pub fn score(mask: Mask, p: &Self, a: &Self, gate: &Self) -> Self {
        let (per_p, per_a) = (p.rows / gate.rows, a.rows / gate.rows);
        Self::from_fn([p.blocks, p.rows, a.rows], |n, t, s| {
            let (step, write) = (t / per_p, s / per_a);
            if !mask.holds(step, write) {
                return 0.0;
            }
            let pair = |c| p.at(n, t, c) * a.at(n, s, c);
            (0..p.features).map(|c| pair(c) * gate.decay(mask, [n, step, write, c])).sum()
        })
    }

    /// `vmix m W y g`.
    pub fn vmix(mask: Mask, w: &Self, y: &Self, gate: &Self) -> Self {
        let (per_w, per_y) = (w.rows / gate.rows, y.rows / gate.rows);
        Self::from_fn([w.blocks, w.rows, y.features], |n, t, v| {
            let seen = (0..y.rows).filter(|s| mask.holds(t / per_w, s / per_y));
            let part = |s| w.at(n, t, s) * y.at(n, s, v);
            seen.map(|s| part(s) * gate.decay(mask, [n, t / per_w, s / per_y, v])).sum()
        })
    }

    /// `seg m g` for a gate of one feature.
    #[must_use]
    pub fn segments(&self, mask: Mask) -> Self {
        Self::from_fn([self.blocks, self.rows, self.rows], |n, t, s| {
            if mask.holds(t, s) { self.decay(mask, [n, t, s, 0]) } else { 0.0 }
        })
    }

    /// `mask m n W`.
    #[must_use]
    pub fn masked(&self, mask: Mask, steps: usize) -> Self {
        let (per_row, per_feature) = (self.rows / steps, self.features / steps);
        Self::from_fn(self.shape(), |n, t, s| {
            if mask.holds(t / per_row, s / per_feature) { self.at(n, t, s) } else { 0.0 }
        })
    }

    /// `(I - l)^-1 b` by substitution, for `l` strictly lower or strictly upper triangular.
    pub fn solve(l: &Self, b: &Self) -> Self {
        let mut x = b.clone();
        for n in 0..b.blocks {
            let entry = |i, j| l.at(n, i, j);
            let any = |upper: bool| {
                let side = move |i: usize, j: usize| if upper { j > i } else { j < i };
                (0..l.rows).any(|i| (0..l.rows).any(|j| side(i, j) && entry(i, j) != 0.0))
            };
            let upper = any(true);
            let diagonal = (0..l.rows).any(|i| entry(i, i) != 0.0);
            assert!(!diagonal, "L must be strictly triangular");
            assert!(!upper || !any(false), "L must be triangular");
            for k in 0..l.rows {
                let i = if upper { l.rows - 1 - k } else { k };
                for v in 0..b.features {
                    let known = if upper { i + 1..l.rows } else { 0..i };
                    let sum: f64 = known.map(|j| entry(i, j) * x.at(n, j, v)).sum();
                    x.data[(n * b.rows + i) * b.features + v] += sum;
                }
            }
        }
        x
    }

    /// The identity in each block.
    pub fn identity(blocks: usize, rows: usize) -> Self {
        Self::from_fn([blocks, rows, rows], |_, r, c| f64::from(u8::from(r == c)))
    }

    /// `bdiag c W`.
    #[must_use]
    pub fn onto_diagonal(&self, c: usize) -> Self {
        let (r, f) = (self.rows, self.features);
        Self::from_fn([self.blocks / c, c * r, c * f], |n, t, s| {
            if t / r == s / f { self.at(n * c + t / r, t % r, s % f) } else { 0.0 }
        })
    }

    /// `bget c W`.
    #[must_use]
    pub fn from_diagonal(&self, c: usize) -> Self {
        let (r, f) = (self.rows / c, self.features / c);
        Self::from_fn([self.blocks * c, r, f], |n, t, s| {
            self.at(n / c, (n % c) * r + t, (n % c) * f + s)
        })
    }
}

/// The arrays of a core, by role as in [`super::Core`].
#[derive(Clone, Debug)]
pub(super) struct CoreArrays {
    pub(super) g: Array3,
    pub(super) w: Array3,
    pub(super) a: Array3,
    pub(super) l: Array3,
    pub(super) p: Array3,
    pub(super) b: Array3,
    pub(super) c: Array3,
    pub(super) d: Array3,
    pub(super) s: Array3,
}

/// History, written values and final state of a core.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) states: Array3,
    pub(super) written: Array3,
    pub(super) last: Array3,
}

/// Runs a history block by block, as [`super::Core`] defines it.
pub(super) fn history(mask: Mask, core: &CoreArrays) -> History {
    let (blocks, keys, values) = (core.c.blocks, core.c.features, core.d.features);
    let add = |a: &Array3, b: &Array3| Array3::zip(&[a, b], |x| x[0] + x[1]);
    let mut states = Array3::filled([blocks, keys, values], 0.0);
    let mut written = Array3::filled(core.b.shape(), 0.0);
    let mut state = core.s.clone();
    for i in 0..blocks {
        let n = if mask.is_transposed() { blocks - 1 - i } else { i };
        let read = add(&Array3::product(&core.p.block(n), &state), &core.b.block(n));
        let z = Array3::solve(&core.l.block(n), &read);
        let fed = Array3::product(&core.a.block(n).transposed(), &z);
        let plain = Array3::product(&core.c.block(n).transposed(), &core.d.block(n));
        let gates = [core.g.block(n).transposed(), core.w.block(n)];
        let decayed = |s: &Array3| {
            if core.g.rows > 1 {
                let mixed = mixing::advanced(&core.g.block(n), s);
                return Array3::zip(&[&mixed, &gates[1]], |x| x[1].exp() * x[0]);
            }
            Array3::zip(&[s, &gates[0], &gates[1]], |x| (x[1] + x[2]).exp() * x[0])
        };
        let writes = add(&fed, &plain);
        let (seen, next) = match mask {
            Mask::Strict | Mask::Tstrict => (state.clone(), add(&decayed(&state), &writes)),
            Mask::Incl => {
                let next = add(&decayed(&state), &writes);
                (next.clone(), next)
            }
            Mask::Tincl => {
                assert!(core.p.data.iter().all(|x| *x == 0.0), "tincl has no feedback");
                let seen = add(&state, &writes);
                let next = decayed(&seen);
                (seen, next)
            }
        };
        let put = |to: &mut Array3, from: &Array3| {
            let size = from.data.len();
            to.data[n * size..(n + 1) * size].copy_from_slice(&from.data);
        };
        put(&mut states, &seen);
        put(&mut written, &z);
        state = next;
    }
    History { states, written, last: state }
}
