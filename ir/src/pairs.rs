//! Unordered pairs of indices in a row: by how far the second lies ahead of the first on a ring of all
//! indices. Pair `d width + i` is `{i, (i + d) mod width}`, so the first `width` pairs are an index with
//! itself, and for an even width half a turn of the last distance meets every pair.

/// How many pairs there are of indices below `width`.
pub fn count(width: usize) -> usize {
    width * (width + 1) / 2
}

/// The pair at a place below [`count`].
pub fn pair(width: usize, place: usize) -> [usize; 2] {
    let first = place % width;
    [first, (first + place / width) % width]
}

/// Which rows of an array the rows of something else stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// Row for row.
    #[default]
    Same,
    /// Rows `first .. first + width * width` are a square, entry `(i, j)` at `first + i * width + j`, of
    /// which there is one row for each unordered pair; rows before and after it are the same.
    Pairs {
        /// First row of the square.
        first: usize,
        /// Extent of the square.
        width: usize,
        /// Whether the second index of a pair comes first.
        swapped: bool,
    },
}

impl Rows {
    /// How many rows stand for an array of `rows` rows; none if the square does not fit.
    pub fn count(self, rows: usize) -> Option<usize> {
        match self {
            Rows::Same => Some(rows),
            Rows::Pairs { first, width, .. } => {
                let rest = rows.checked_sub(first + width * width)?;
                Some(first + count(width) + rest)
            }
        }
    }

    /// The array's row that a row stands for.
    pub fn row(self, row: usize) -> usize {
        let Rows::Pairs { first, width, swapped } = self else { return row };
        match row.checked_sub(first) {
            None => row,
            Some(place) if place < count(width) => {
                let [i, j] = pair(width, place);
                let (i, j) = if swapped { (j, i) } else { (i, j) };
                first + i * width + j
            }
            Some(place) => first + width * width + place - count(width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_pair_comes_once() {
        for width in 1..9 {
            let sorted = |place| {
                let [i, j] = pair(width, place);
                (i.min(j), i.max(j))
            };
            let all: BTreeSet<_> = (0..count(width)).map(sorted).collect();
            assert_eq!(all.len(), count(width), "{width}");
            assert!((0..width).all(|i| pair(width, i) == [i, i]));
        }
    }

    #[test]
    fn both_ways_meet_every_row() {
        let (first, width, rows) = (2, 4, 21);
        let of = |swapped| Rows::Pairs { first, width, swapped };
        let count = of(false).count(rows).expect("the square fits");
        assert_eq!(count, 2 + 10 + 3);
        let met = [false, true].map(|swapped| (0..count).map(move |row| of(swapped).row(row)));
        let met: BTreeSet<usize> = met.into_iter().flatten().collect();
        assert_eq!(met, (0..rows).collect());
        assert_eq!(of(false).count(17), None);
    }
}
