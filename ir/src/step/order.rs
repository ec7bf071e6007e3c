//! Orders in which the tokens of a sequence are visited: which token comes when.

use super::DimId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// In which order a state passes over the tokens of a sequence; `Columns` is how the number of a
/// grid's columns is told: as a dimension of a program, or as its size in what was built from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Order<Columns = DimId> {
    /// From the first token to the last.
    #[default]
    Forward,
    /// From the last token to the first.
    Reverse,
    /// The tokens are a grid, row by row, with this many columns; the state passes over it column by
    /// column.
    Columns(Columns),
    /// The same order backwards.
    ReverseColumns(Columns),
}

impl<C> Order<C> {
    /// What tells the number of the grid's columns, if the order has one.
    pub fn grid(self) -> Option<C> {
        match self {
            Order::Forward | Order::Reverse => None,
            Order::Columns(columns) | Order::ReverseColumns(columns) => Some(columns),
        }
    }

    /// The same order with the columns told otherwise.
    pub fn with<D>(self, columns: impl FnOnce(C) -> D) -> Order<D> {
        match self {
            Order::Forward => Order::Forward,
            Order::Reverse => Order::Reverse,
            Order::Columns(c) => Order::Columns(columns(c)),
            Order::ReverseColumns(c) => Order::ReverseColumns(columns(c)),
        }
    }
}

impl Order<usize> {
    /// The token, counted from the start of its sequence of `tokens` tokens, that comes `place`th;
    /// the columns of a grid divide `tokens`.
    pub fn token(self, place: usize, tokens: usize) -> usize {
        let by_columns = |place: usize, columns: usize| {
            let rows = tokens / columns;
            (place % rows) * columns + place / rows
        };
        match self {
            Order::Forward => place,
            Order::Reverse => tokens - 1 - place,
            Order::Columns(columns) => by_columns(place, columns),
            Order::ReverseColumns(columns) => by_columns(tokens - 1 - place, columns),
        }
    }
}

impl<C: fmt::Display> fmt::Display for Order<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Forward => f.write_str("forward"),
            Order::Reverse => f.write_str("reverse"),
            Order::Columns(columns) => write!(f, "columns {columns}"),
            Order::ReverseColumns(columns) => write!(f, "reverse columns {columns}"),
        }
    }
}

impl FromStr for Order<usize> {
    type Err = String;

    /// The inverse of its text.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no order of tokens");
        let (words, columns) = match text.rsplit_once(' ') {
            Some((words, columns)) => {
                let columns = columns.parse().ok().filter(|n| *n > 0);
                (words, Some(columns.ok_or_else(unknown)?))
            }
            None => (text, None),
        };
        match (words, columns) {
            ("forward", None) => Ok(Order::Forward),
            ("reverse", None) => Ok(Order::Reverse),
            ("columns", Some(columns)) => Ok(Order::Columns(columns)),
            ("reverse columns", Some(columns)) => Ok(Order::ReverseColumns(columns)),
            _ => Err(unknown()),
        }
    }
}

impl Serialize for Order<usize> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Order<usize> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of a sequence of six in the order of their visits.
    fn visits(order: Order<usize>) -> Vec<usize> {
        (0..6).map(|place| order.token(place, 6)).collect()
    }

    #[test]
    fn a_grid_is_walked_down_its_columns() {
        assert_eq!(visits(Order::Forward), [0, 1, 2, 3, 4, 5]);
        assert_eq!(visits(Order::Reverse), [5, 4, 3, 2, 1, 0]);
        // Rows 0 1 2 and 3 4 5.
        assert_eq!(visits(Order::Columns(3)), [0, 3, 1, 4, 2, 5]);
        assert_eq!(visits(Order::ReverseColumns(3)), [5, 2, 4, 1, 3, 0]);
        assert_eq!(visits(Order::Columns(6)), visits(Order::Forward));
        assert_eq!(visits(Order::Columns(1)), visits(Order::Forward));
    }

    #[test]
    fn orders_are_read_as_they_are_written() {
        let grids = [Order::Columns(3), Order::ReverseColumns(12)];
        for order in [Order::Forward, Order::Reverse].into_iter().chain(grids) {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for text in ["", "columns", "columns 0", "columns -1", "reverse 3", "forward ", "3"] {
            assert_eq!(
                text.parse::<Order<usize>>(),
                Err(format!("`{text}` is no order of tokens"))
            );
        }
    }
}
