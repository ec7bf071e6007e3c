//! How much arithmetic a statement of a kernel does.

use sluice_ir::kernel::{Body, Expr, Kernel, Law, Mask, Mma, Nest, Row, Stmt, Unit, View, Walk};

/// Flops of one statement; a function of any kind counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Of a matrix product, and the unit that does it; its skipped half of a triangle is included.
    pub(crate) product: Option<(Unit, usize)>,
    /// Of pointwise functions, sums, loop nests and walks, all on ordinary units.
    pub(crate) other: usize,
}

/// What a statement of a kernel's body does in one iteration, for one part of the value axis.
pub(crate) fn work(kernel: &Kernel, stmt: &Stmt) -> Work {
    let volume = |view: View| kernel.shape(view).iter().product::<usize>();
    let other = |other| Work { product: None, other };
    match stmt {
        Stmt::Mma(mma) => Work {
            product: Some((mma.unit, product(kernel, mma))),
            other: volume(mma.dst) * mma.then.as_ref().map_or(0, |Body { expr, .. }| ops(expr)),
        },
        Stmt::Score { p, a, to, from, mask, unit, .. } => {
            decayed(kernel, ([*p, *a], [*to, *from]), kernel.shape(*p)[2], (*mask, *unit))
        }
        Stmt::Mix { w, y, to, from, mask, .. } => {
            let columns = kernel.shape(*y)[2];
            decayed(kernel, ([*w, *y], [*to, *from]), columns, (*mask, Unit::Scalar))
        }
        Stmt::Map { dst, body } => other(volume(*dst) * ops(&body.expr)),
        Stmt::Put { shape, body, .. } => other(shape.iter().product::<usize>() * ops(&body.expr)),
        Stmt::Reduce { src, .. } => other(volume(*src)),
        Stmt::Run { dst, body, .. } => other(volume(*dst) * (1 + ops(&body.expr))),
        // A third of a product, for a triangle times a triangle.
        Stmt::Inverse { src, .. } => other(volume(*src) * kernel.shape(*src)[1] / 3),
        Stmt::Nest(nest) => other(of_nest(nest)),
        Stmt::Walk(walk) => other(of_walk(kernel, walk)),
        Stmt::Load { .. }
        | Stmt::Store { .. }
        | Stmt::Begin(_)
        | Stmt::Commit
        | Stmt::WaitLoads { .. }
        | Stmt::Sync(_)
        | Stmt::Fill { .. }
        | Stmt::Copy { .. }
        | Stmt::Table { .. } => Work::default(),
    }
}

/// Functions in an expression.
fn ops(expr: &Expr) -> usize {
    match expr {
        Expr::Arg(_) | Expr::Const(_) | Expr::Index(_) => 0,
        Expr::Unary(_, a) => 1 + ops(a),
        Expr::Binary(_, a, b) => 1 + ops(a) + ops(b),
        Expr::Select(c, a, b) => 1 + ops(c) + ops(a) + ops(b),
        Expr::Keep { value, .. } | Expr::Live { value, .. } => ops(value),
    }
}

fn product(kernel: &Kernel, mma: &Mma) -> usize {
    let [blocks, rows, columns] = kernel.shape(mma.dst);
    let [_, a_rows, a_columns] = kernel.shape(mma.a.view);
    let inner = if mma.a.transposed { a_rows } else { a_columns };
    2 * blocks * rows * columns * inner
}

/// A sum over `columns` for each pair of rows that the mask keeps, and the exponential of a difference for
/// each pair of steps.
fn decayed(
    kernel: &Kernel,
    ([readers, writers], [to, from]): ([View; 2], [View; 2]),
    columns: usize,
    (mask, unit): (Mask, Unit),
) -> Work {
    let rows = |view: View| kernel.shape(view)[1];
    let steps = (0..rows(to)).flat_map(|t| (0..rows(from)).map(move |s| (t, s)));
    let kept = steps.filter(|(t, s)| mask.holds(*t, *s)).count() * columns;
    let blocks = kernel.shape(to)[0];
    let rows_a_pair = (rows(readers) / rows(to)) * (rows(writers) / rows(from));
    Work { product: Some((unit, 2 * blocks * kept * rows_a_pair)), other: 2 * blocks * kept }
}

fn of_nest(nest: &Nest) -> usize {
    let points: usize = nest.loops().iter().product();
    points * (ops(&nest.expr) + usize::from(nest.reduce.is_some()))
}

fn of_walk(kernel: &Kernel, walk: &Walk) -> usize {
    let row = |row: &Row| {
        let gates = row.gates.iter().flatten().map(|gate| 2 + ops(gate));
        gates.sum::<usize>() + row.entry.as_ref().map_or(0, ops)
    };
    let law: usize = match &walk.law {
        Law::Free(updates) => updates.iter().map(ops).sum(),
        Law::Linear { rows, .. } => rows.iter().map(row).sum(),
    };
    let results = walk.results.iter().map(|r| ops(&r.expr) + usize::from(r.sum));
    let visits: usize = walk.loops(kernel).iter().product();
    visits * (law + results.sum::<usize>())
}
