//! Loop nests and tables.

use super::statements::Probe;
use super::*;

/// Element `offset + strides * loops` of a tile.
fn at(tile: TileId, offset: usize, strides: &[usize]) -> Access {
    Access { tile, offset, strides: strides.to_vec() }
}

fn nest(extents: &[usize], dst: Access, expr: Expr, args: Vec<Access>) -> Nest {
    Nest { extents: extents.to_vec(), dst, reduce: None, expr, args }
}

/// All of them, in a fixed order.
pub(crate) fn nests() -> Vec<Kernel> {
    vec![strides(), reductions(), table(300)]
}

/// Points in all numbers of loops, on tiles with rows of padding.
fn strides() -> Kernel {
    use Dtype::{Bf16, F32};
    let mut p = Probe::new(Layout::Lanes(Lanes::SINGLE), 4);
    let a = p.input(20, 12, F32);
    let half = p.input(20, 12, Bf16);
    let sum = add(mul(x(0), x(1)), Expr::Index(1));
    let turned = p.shared(12, 20, F32);
    let args = vec![at(a, 0, &[1, 12]), at(half, 0, &[1, 12])];
    p.then(Stmt::Nest(nest(&[12, 20], at(turned, 0, &[20, 1]), sum.clone(), args)));
    p.output(turned, F32);
    // Rows of 12 as if they were rows of 5: elements must be divided by the columns.
    let odd = p.shared(20, 12, Bf16);
    p.then(Stmt::Fill { dst: odd, value: 1.0 });
    p.then(Stmt::Sync(Sync::Cta));
    let args = vec![at(half, 3, &[5, 1]), at(a, 7, &[0, 5])];
    p.then(Stmt::Nest(nest(&[40, 5], at(odd, 20, &[5, 1]), sum.clone(), args)));
    p.output(odd, F32);
    // Four loops in place, and one point.
    p.then(Stmt::Sync(Sync::Cta));
    let own = || at(a, 0, &[120, 36, 12, 1]);
    let args = vec![own(), at(half, 0, &[0, 0, 12, 1])];
    p.then(Stmt::Nest(nest(&[2, 3, 3, 12], own(), sum, args)));
    p.then(Stmt::Sync(Sync::Cta));
    p.then(Stmt::Nest(nest(&[], at(a, 239, &[]), exp(x(0)), vec![at(half, 239, &[])])));
    p.output(a, F32);
    p.kernel("nest_strides")
}

/// Sums and maxima, long and short, for many points and for one.
fn reductions() -> Kernel {
    use Dtype::{Bf16, F32};
    let mut p = Probe::new(Layout::Lanes(Lanes::SINGLE), 4);
    let matrix = p.input(64, 48, F32);
    let row = p.input(1, 48, Bf16);
    for (op, count) in
        [(Reduction::Sum, 48), (Reduction::Max, 48), (Reduction::Sum, 1), (Reduction::Max, 3)]
    {
        let dst = p.shared(64, 1, F32);
        let args = vec![at(matrix, 0, &[48, 1]), at(row, 0, &[0, 1])];
        let products = nest(&[64], at(dst, 0, &[1]), mul(x(0), x(1)), args);
        p.then(Stmt::Nest(Nest { reduce: Some((op, count)), ..products }));
        p.output(dst, F32);
    }
    let total = p.shared(1, 1, F32);
    let all = nest(&[], at(total, 0, &[]), add(x(0), Expr::Index(0)), vec![at(matrix, 0, &[1])]);
    p.then(Stmt::Nest(Nest { reduce: Some((Reduction::Sum, 64 * 48)), ..all }));
    p.output(total, F32);
    p.kernel("nest_reductions")
}

/// A table of `count` numbers, and the same in 16 bits beside it if it is short.
pub(crate) fn table(count: usize) -> Kernel {
    use Dtype::{Bf16, F32};
    let mut p = Probe::new(Layout::Lanes(Lanes::SINGLE), 4);
    let values: std::sync::Arc<[f64]> = (0..count).map(|i| (i % 256) as f64).collect();
    for dtype in if count > 1000 { vec![Bf16] } else { vec![F32, Bf16] } {
        let dst = p.shared(4, count / 4, dtype);
        p.then(Stmt::Table { dst, values: values.clone() });
        p.output(dst, F32);
    }
    p.kernel(&format!("table_{count}"))
}
