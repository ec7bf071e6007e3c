//! Kernel parameters of inputs, outputs and states.

use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Param, ParamKind};
use sluice_ir::step::{Input, Rate, Sharing};

/// Rows and columns of dimensions as tiles see them: a vector is one row, the last is contiguous.
fn size(dims: &[usize]) -> [usize; 2] {
    match *dims {
        [] => [1, 1],
        [n] => [1, n],
        [r, c] => [r, c],
        [outer, r, c] => [outer * r, c],
        _ => unreachable!("values have at most three dimensions"),
    }
}

/// A parameter of contiguous entries; every row's byte offset is a multiple of its alignment.
fn param(name: &str, kind: ParamKind, dtype: Dtype, dims: &[usize]) -> Param {
    let [rows, cols] = size(dims);
    let row_bytes = cols * dtype.bytes();
    Param {
        name: name.to_owned(),
        kind,
        dtype,
        sharing: Sharing::Head,
        dims: dims.to_vec(),
        rows,
        cols,
        split: false,
        transposed: false,
        align: (1 << row_bytes.trailing_zeros()).min(16),
    }
}

/// The same memory with rows and columns exchanged.
fn exchanged(param: Param, transposed: bool) -> Param {
    if transposed {
        Param { rows: param.cols, cols: param.rows, transposed: true, ..param }
    } else {
        param
    }
}

/// The same, cut by the parts of the value axis if that is wanted; a single column is every part's.
fn divided(param: Param, split: bool) -> Param {
    Param { split: split && param.cols > 1, ..param }
}

/// The same memory with the first dimension as columns and all others as rows.
pub(super) fn by_first(param: Param) -> Param {
    let rows = param.dims.iter().skip(1).product();
    let cols = param.dims.first().copied().unwrap_or(1);
    Param { rows, cols, transposed: true, ..param }
}

/// The parameter of an input with these dimensions.
pub(super) fn input(
    input: &Input,
    dtype: Dtype,
    dims: &[usize],
    split: bool,
    transposed: bool,
) -> Param {
    let kind = match input.rate {
        Rate::Token => ParamKind::TokenIn,
        Rate::Model => ParamKind::ModelIn,
    };
    let plain = param(&input.name, kind, dtype, dims);
    divided(exchanged(Param { sharing: input.sharing, ..plain }, transposed), split)
}

/// The parameter of an output.
pub(super) fn token_out(name: &str, dtype: Dtype, dims: &[usize], split: bool) -> Param {
    Param { split, ..param(name, ParamKind::TokenOut, dtype, dims) }
}

/// The parameter of a state before or after the sequence, with `columns`: whether the parts of the
/// value axis cut it, and whether the kernel holds its transpose.
pub(super) fn state(
    name: &str,
    kind: ParamKind,
    dims: &[usize],
    columns: (bool, bool),
    dtype: Dtype,
) -> Param {
    let (split, transposed) = columns;
    divided(exchanged(param(name, kind, dtype, dims), transposed), split)
}

/// The same memory as one row: how a kernel sees the elements of a token.
pub(super) fn as_row(param: Param) -> Param {
    let cols = param.rows * param.cols;
    let row_bytes = cols * param.dtype.bytes();
    Param { rows: 1, cols, align: (1 << row_bytes.trailing_zeros()).min(16), ..param }
}

/// The same memory as one column: how a kernel that keeps states as `[keys, values]` sees a vector.
pub(super) fn as_column(param: Param) -> Param {
    Param { rows: param.rows * param.cols, cols: 1, split: false, ..param }
}
