//! The meaning of each statement that computes, on whole tiles.

use super::{Rounding, Run};
use crate::dtype::Dtype;
use crate::kernel::{
    Arg, Body, CopyMap, Expr, Law, Mma, Nest, Operand, Over, Reduction, Row, Start, Stmt, Unit,
    View, Walk,
};
use crate::seq::Mask;

/// The elements of a view with its shape `[blocks, rows, cols]`.
struct Block<'a> {
    data: &'a [f64],
    shape: [usize; 3],
}

impl Block<'_> {
    fn at(&self, block: usize, row: usize, col: usize) -> f64 {
        self.data[(block * self.shape[1] + row) * self.shape[2] + col]
    }
}

/// Where a pointwise expression is evaluated.
#[derive(Clone, Copy)]
struct Spot {
    shape: [usize; 3],
    index: [usize; 3],
}

/// What an expression is evaluated for.
#[derive(Clone, Copy)]
enum Site<'a> {
    /// An element of a view.
    Element(Spot),
    /// A point of a nest, by the indices of its loops.
    Point(&'a [usize]),
}

fn elements(shape: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [blocks, rows, cols] = shape;
    (0..blocks).flat_map(move |b| (0..rows).flat_map(move |r| (0..cols).map(move |c| [b, r, c])))
}

/// Every point of loops of these extents, the last loop fastest.
fn points(extents: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..extents.iter().product::<usize>()).map(move |n| {
        let mut rest = n;
        let mut point: Vec<usize> = extents
            .iter()
            .rev()
            .map(|extent| {
                let index = rest % extent;
                rest /= extent;
                index
            })
            .collect();
        point.reverse();
        point
    })
}

/// Combines values in their order.
fn fold(op: Reduction, values: impl Iterator<Item = f64>) -> f64 {
    match op {
        Reduction::Sum => values.sum(),
        Reduction::Max => values.fold(f64::NEG_INFINITY, f64::max),
    }
}

/// The step between to which tensor cores scale a reader and an earlier writer, each a row and a step of
/// its own: the one before the reader's block of 16, or the last of the first half of the least run of `2^n`
/// steps that holds both; none for a writer that is not earlier, which is not scaled.
fn step_between(reader: usize, writer: usize) -> Option<usize> {
    if reader <= writer {
        return None;
    }
    if reader / 16 != writer / 16 {
        return Some(reader / 16 * 16 - 1);
    }
    let half = 1 << (reader ^ writer).checked_ilog2()?;
    Some((reader & !(2 * half - 1)) + half - 1)
}

impl Run<'_> {
    fn block(&self, view: View) -> Block<'_> {
        Block { data: self.data(view.tile), shape: self.kernel.shape(view) }
    }

    /// Runs a statement that computes one tile from others.
    pub(super) fn compute(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Fill { dst, value } => {
                let tile = self.kernel.tile(*dst);
                self.put(*dst, vec![*value; tile.rows * tile.cols]);
            }
            Stmt::Map { dst, body } => {
                let values = self.values(self.kernel.shape(*dst), body);
                self.put(dst.tile, values);
            }
            Stmt::Mma(m) => self.product(m),
            Stmt::Reduce { op, dst, src, over } => self.reduce(*op, *dst, *src, *over),
            Stmt::Run { dst, body, mask } => self.running_sum(*dst, body, *mask),
            Stmt::Score { dst, p, a, to, from, mask, unit, operand } => {
                let single = self.kernel.shape(*p)[1] == self.kernel.shape(*to)[1];
                let scales = *unit == Unit::Tensor && single && self.rounding == Rounding::Stored;
                self.score(*dst, [*p, *a, *to, *from], *mask, scales.then_some(*operand));
            }
            Stmt::Mix { dst, w, y, to, from, mask } => self.mix(*dst, [*w, *y, *to, *from], *mask),
            Stmt::Inverse { dst, src, upper, diagonal: _ } => self.inverse(*dst, *src, *upper),
            Stmt::Copy { dst, src, map } => self.copy(*dst, *src, *map),
            Stmt::Nest(nest) => self.nest(nest),
            Stmt::Walk(walk) => self.walk(walk),
            Stmt::Table { dst, values } => self.put(*dst, values.to_vec()),
            Stmt::Load { .. }
            | Stmt::Store { .. }
            | Stmt::Put { .. }
            | Stmt::Begin(_)
            | Stmt::Commit
            | Stmt::WaitLoads { .. }
            | Stmt::Sync(_) => unreachable!("handled by the caller"),
        }
    }

    /// The values of a body for all elements of a shape.
    pub(super) fn values(&self, shape: [usize; 3], body: &Body) -> Vec<f64> {
        elements(shape).map(|index| self.body(body, Spot { shape, index }, None)).collect()
    }

    /// Value of a body at an element; `sum` is argument 0 of a product's `then`.
    fn body(&self, body: &Body, spot: Spot, sum: Option<f64>) -> f64 {
        let argument = |i: usize| match (sum, i) {
            (Some(sum), 0) => sum,
            (Some(_), i) => self.argument(body.args[i - 1], spot),
            (None, i) => self.argument(body.args[i], spot),
        };
        self.value(&body.expr, Site::Element(spot), &argument)
    }

    /// Value of an expression whose arguments `argument` gives.
    fn value(&self, expr: &Expr, site: Site<'_>, argument: &dyn Fn(usize) -> f64) -> f64 {
        let value = |e: &Expr| self.value(e, site, argument);
        match (expr, site) {
            (Expr::Arg(i), _) => argument(*i),
            (Expr::Const(x), _) => *x,
            (Expr::Unary(f, a), _) => f.eval(value(a)),
            (Expr::Binary(f, a, b), _) => f.eval(value(a), value(b)),
            (Expr::Select(c, a, b), _) => value(if value(c) == 0.0 { b } else { a }),
            (Expr::Keep { mask, row_step, col_step, value: inner }, Site::Element(spot)) => {
                let holds = mask.holds(spot.index[1] / row_step, spot.index[2] / col_step);
                if holds { value(inner) } else { 0.0 }
            }
            (Expr::Live { rows, value: inner }, Site::Element(spot)) => {
                let row = spot.index[0] * spot.shape[1] + spot.index[1];
                let exists = row / rows < self.live(self.chunk);
                if exists { value(inner) } else { 0.0 }
            }
            (Expr::Index(i), Site::Point(loops)) => loops[*i] as f64,
            (Expr::Index(_), Site::Element(_))
            | (Expr::Keep { .. } | Expr::Live { .. }, Site::Point(_)) => {
                unreachable!("a checked expression fits where it stands")
            }
        }
    }

    fn nest(&mut self, nest: &Nest) {
        let value = |point: &[usize]| {
            let argument = |i: usize| {
                let access = &nest.args[i];
                self.data(access.tile)[access.at(point)]
            };
            self.value(&nest.expr, Site::Point(point), &argument)
        };
        let mut out = self.data(nest.dst.tile).to_vec();
        for mut point in points(&nest.extents) {
            let element = nest.dst.at(&point);
            out[element] = match nest.reduce {
                None => value(&point),
                Some((op, count)) => {
                    let inner = point.len();
                    point.push(0);
                    fold(
                        op,
                        (0..count).map(|k| {
                            point[inner] = k;
                            value(&point)
                        }),
                    )
                }
            };
        }
        self.put(nest.dst.tile, out);
    }

    fn walk(&mut self, walk: &Walk) {
        let count = walk.states.len();
        let mut states: Vec<Vec<f64>> =
            walk.states.iter().map(|a| self.data(a.tile).to_vec()).collect();
        let mut results: Vec<Vec<f64>> =
            walk.results.iter().map(|r| self.data(r.dst.tile).to_vec()).collect();
        for token in 0..self.live(self.chunk) {
            for (point, n) in (0..walk.points).flat_map(|p| (0..walk.inner).map(move |n| (p, n))) {
                let at = [token, point, n];
                let args = walk.args.iter().map(|a| self.data(a.tile)[a.at(&at)]);
                let args: Vec<f64> = args.collect();
                let own: Vec<usize> = walk.states.iter().map(|a| a.at(&at)).collect();
                let before: Vec<f64> = states.iter().zip(&own).map(|(s, i)| s[*i]).collect();
                let value = |expr: &Expr, after: &[f64]| {
                    let argument = |i: usize| match i {
                        i if i < count => before[i],
                        i if i < 2 * count => after[i - count],
                        i => args[i - 2 * count],
                    };
                    self.value(expr, Site::Point(&[]), &argument)
                };
                let after: Vec<f64> = match &walk.law {
                    Law::Free(after) => after.iter().map(|e| value(e, &[])).collect(),
                    Law::Linear { ring, rows } => {
                        let (plus, times) = (ring.plus(), ring.times());
                        let row = |row: &Row| {
                            let kept = row.gates.iter().zip(&before);
                            let kept = kept.filter_map(|(gate, x)| Some((gate.as_ref()?, x)));
                            let start = row.entry.as_ref().map(|e| value(e, &[]));
                            let kept = kept.map(|(gate, x)| times.eval(value(gate, &[]), *x));
                            let sum = kept.chain(start).reduce(|a, b| plus.eval(a, b));
                            sum.unwrap_or(ring.zero())
                        };
                        rows.iter().map(row).collect()
                    }
                };
                for (result, out) in walk.results.iter().zip(&mut results) {
                    let x = value(&result.expr, &after);
                    let element = &mut out[result.dst.at(&at)];
                    *element = if result.sum && n > 0 { *element + x } else { x };
                }
                for ((state, i), x) in states.iter_mut().zip(own).zip(after) {
                    state[i] = x;
                }
            }
        }
        let states = walk.states.iter().map(|a| a.tile).zip(states);
        for (tile, data) in states.chain(walk.results.iter().map(|r| r.dst.tile).zip(results)) {
            self.put(tile, data);
        }
        if let Some(tile) = walk.summaries() {
            let size = self.data(tile).len();
            self.put(tile, vec![f64::NAN; size]);
        }
    }

    fn argument(&self, arg: Arg, spot: Spot) -> f64 {
        let block = self.block(arg.view);
        let [b, r, c] = spot.index;
        let [blocks, rows, cols] = spot.shape;
        let (row, col, rows, cols) =
            if arg.transposed { (c, r, cols, rows) } else { (r, c, rows, cols) };
        let [ab, ar, ac] = block.shape;
        block.at(b * ab / blocks, row * ar / rows, col * ac / cols)
    }

    fn product(&mut self, m: &Mma) {
        let shape = self.kernel.shape(m.dst);
        let (a, b) = (self.block(m.a.view), self.block(m.b.view));
        let at = |block: &Block<'_>, o: Operand, n: usize, i: usize, j: usize| {
            let n = n * block.shape[0] / shape[0];
            if o.transposed { block.at(n, j, i) } else { block.at(n, i, j) }
        };
        let inner = if m.a.transposed { a.shape[1] } else { a.shape[2] };
        let mut out = Vec::with_capacity(shape.iter().product());
        for index in elements(shape) {
            let [n, i, j] = index;
            let start = match m.start {
                Start::Zero => 0.0,
                Start::Dst => self.block(m.dst).at(n, i, j),
                Start::Tile(view) => self.block(view).at(n, i, j),
            };
            let sum = (0..inner)
                .map(|k| at(&a, m.a, n, i, k) * at(&b, m.b, n, k, j))
                .fold(start, |sum, x| sum + x);
            let spot = Spot { shape, index };
            out.push(match &m.then {
                Some(body) => self.body(body, spot, Some(sum)),
                None => sum,
            });
        }
        self.put(m.dst.tile, out);
    }

    fn reduce(&mut self, op: Reduction, dst: View, src: View, over: Over) {
        let shape = self.kernel.shape(dst);
        let block = self.block(src);
        let [_, rows, cols] = block.shape;
        let per = rows / shape[1];
        let value = |[b, r, c]: [usize; 3]| match over {
            Over::Cols => fold(op, (0..cols).map(|k| block.at(b, r, k))),
            Over::Rows => fold(op, (0..per).map(|k| block.at(b, r * per + k, c))),
        };
        let out = elements(shape).map(value).collect();
        self.put(dst.tile, out);
    }

    fn running_sum(&mut self, dst: View, body: &Body, mask: Mask) {
        let shape = self.kernel.shape(dst);
        let term = |index| self.body(body, Spot { shape, index }, None);
        let sum = |[b, t, c]: [usize; 3]| {
            (0..shape[1]).filter(|s| mask.holds(t, *s)).map(|s| term([b, s, c])).sum::<f64>()
        };
        let out = elements(shape).map(sum).collect();
        self.put(dst.tile, out);
    }

    /// `scaled`: the dtype to which operands are rounded that are scaled to a step in between.
    fn score(&mut self, dst: View, [p, a, to, from]: [View; 4], mask: Mask, scaled: Option<Dtype>) {
        let shape = self.kernel.shape(dst);
        // The factors of rows that are operands already are rounded, too.
        let [factor_of_p, factor_of_a] = [p, a].map(|view| {
            let dtype = self.kernel.tile(view.tile).dtype;
            scaled.filter(|operand| *operand == dtype)
        });
        let (p, a, to, from) = (self.block(p), self.block(a), self.block(to), self.block(from));
        let (per_t, per_s) = (p.shape[1] / to.shape[1], a.shape[1] / from.shape[1]);
        let value = |[b, t, s]: [usize; 3]| {
            let (step_t, step_s) = (t / per_t, s / per_s);
            if !mask.holds(step_t, step_s) {
                return 0.0;
            }
            if let Some(operand) = scaled.filter(|_| t >= s) {
                let scale = |x: f64, exponent: f64, factor: Option<Dtype>| {
                    let by = exponent.exp2();
                    operand.round(x * factor.map_or(by, |dtype| dtype.round(by)))
                };
                let between = step_between(t, s);
                let term = |c: usize| {
                    let (at, since) = (to.at(b, t, c), from.at(b, s, c));
                    let middle = between.map_or(since, |m| from.at(b, m, c));
                    let read = scale(p.at(b, t, c), at - middle, factor_of_p);
                    read * scale(a.at(b, s, c), middle - since, factor_of_a)
                };
                return (0..p.shape[2]).map(term).sum();
            }
            let decay = |c: usize| (to.at(b, step_t, c) - from.at(b, step_s, c)).exp2();
            (0..p.shape[2]).map(|c| p.at(b, t, c) * a.at(b, s, c) * decay(c)).sum()
        };
        let out = elements(shape).map(value).collect();
        self.put(dst.tile, out);
    }

    fn mix(&mut self, dst: View, [w, y, to, from]: [View; 4], mask: Mask) {
        let shape = self.kernel.shape(dst);
        let (w, y, to, from) = (self.block(w), self.block(y), self.block(to), self.block(from));
        let (per_t, per_s) = (w.shape[1] / to.shape[1], y.shape[1] / from.shape[1]);
        let value = |[b, t, v]: [usize; 3]| {
            let held = (0..y.shape[1]).filter(|s| mask.holds(t / per_t, s / per_s));
            held.map(|s| {
                let decay = (to.at(b, t / per_t, v) - from.at(b, s / per_s, v)).exp2();
                w.at(b, t, s) * y.at(b, s, v) * decay
            })
            .sum()
        };
        let out = elements(shape).map(value).collect();
        self.put(dst.tile, out);
    }

    fn inverse(&mut self, dst: View, src: View, upper: bool) {
        let [blocks, n, _] = self.kernel.shape(dst);
        let l = self.block(src);
        let mut out = vec![0.0; blocks * n * n];
        for b in 0..blocks {
            let x = &mut out[b * n * n..(b + 1) * n * n];
            for step in 0..n {
                let i = if upper { n - 1 - step } else { step };
                for j in 0..n {
                    let earlier = if upper { i + 1..n } else { 0..i };
                    // Row i of (I - L)^-1 is e_i + sum_k L_ik (row k), with the unit left out.
                    let through: f64 = earlier.map(|k| l.at(b, i, k) * x[k * n + j]).sum();
                    let own =
                        if (upper && j > i) || (!upper && j < i) { l.at(b, i, j) } else { 0.0 };
                    x[i * n + j] = through + own;
                }
            }
        }
        self.put(dst.tile, out);
    }

    fn copy(&mut self, dst: View, src: View, map: CopyMap) {
        let (to, from) = (self.kernel.shape(dst), self.kernel.shape(src));
        let source = self.block(src);
        let mut out = self.data(dst.tile).to_vec();
        let mut set = |[b, r, c]: [usize; 3], x: f64| out[(b * to[1] + r) * to[2] + c] = x;
        match map {
            CopyMap::Whole => {
                elements(from).for_each(|[b, r, c]| set([b, r, c], source.at(b, r, c)))
            }
            CopyMap::Rows { dst_first, src_first, count } => {
                for [b, r, c] in elements([from[0], count, from[2]]) {
                    set([b, dst_first + r, c], source.at(b, src_first + r, c));
                }
            }
            CopyMap::Cols { dst_first, src_first, count } => {
                for [b, r, c] in elements([from[0], from[1], count]) {
                    set([b, r, dst_first + c], source.at(b, r, src_first + c));
                }
            }
            CopyMap::OntoDiagonal { per } => {
                for [b, r, c] in elements(from) {
                    let k = b % per;
                    set([b / per, k * from[1] + r, k * from[2] + c], source.at(b, r, c));
                }
            }
            CopyMap::FromDiagonal { per } => {
                for [b, r, c] in elements(to) {
                    let k = b % per;
                    set([b, r, c], source.at(b / per, k * to[1] + r, k * to[2] + c));
                }
            }
            CopyMap::Transpose => {
                elements(from).for_each(|[b, r, c]| set([b, c, r], source.at(b, r, c)));
            }
            CopyMap::PastTokens { per } => {
                let first = self.live(self.chunk) * per;
                elements(to).for_each(|[b, r, c]| set([b, r, c], source.at(b, first + r, c)));
            }
        }
        self.put(dst.tile, out);
    }
}
