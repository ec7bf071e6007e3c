//! Values as expressions of a loop nest, and the nests that store them.

use super::super::layout::uniform;
use super::Lowering;
use super::plan::is_leaf;
use super::sequence::Item;
use sluice_ir::kernel::{Access, Expr, Nest, Stmt, TileId};
use sluice_ir::pointwise::Binary;
use sluice_ir::step::{DimId, InputId, NodeId, Op, Reduction, StateId};
use std::collections::{BTreeMap, BTreeSet};

/// Reductions shorter than this are left to one thread an element.
const SHORT: usize = 32;

/// An index of a dimension: `offset` and multiples of loop indices.
#[derive(Clone, Debug)]
pub(super) struct Index {
    offset: usize,
    /// Loops with how far one iteration of each moves.
    steps: Vec<(usize, usize)>,
}

impl Index {
    fn constant(offset: usize) -> Self {
        Self { offset, steps: vec![] }
    }

    fn of_loop(number: usize) -> Self {
        Self { offset: 0, steps: vec![(number, 1)] }
    }

    fn plus(mut self, by: usize) -> Self {
        self.offset += by;
        self
    }

    /// The same index where one more loop is around all others.
    fn one_loop_deeper(mut self) -> Self {
        self.steps.iter_mut().for_each(|(number, _)| *number += 1);
        self
    }

    /// The index as a number.
    fn expr(&self) -> Expr {
        let step = |(number, stride): &(usize, usize)| match stride {
            1 => Expr::Index(*number),
            _ => binary(Binary::Mul, Expr::Const(*stride as f64), Expr::Index(*number)),
        };
        let start = (self.offset > 0).then_some(Expr::Const(self.offset as f64));
        let terms = start.into_iter().chain(self.steps.iter().map(step));
        terms.reduce(|a, b| binary(Binary::Add, a, b)).unwrap_or(Expr::Const(0.0))
    }
}

/// Where each dimension of a value stands.
pub(super) type At = BTreeMap<DimId, Index>;

/// A nest under construction.
pub(super) struct Site {
    /// Iterations of the outer loops.
    extents: Vec<usize>,
    reduce: Option<(Reduction, usize)>,
    args: Vec<Access>,
    /// Tiles of states that are read as they were before the step, and as they are after it.
    old: BTreeSet<TileId>,
    new: BTreeSet<TileId>,
}

impl Site {
    fn new(extents: Vec<usize>) -> Self {
        let (old, new) = Default::default();
        Self { extents, reduce: None, args: vec![], old, new }
    }
}

/// A sum or maximum over a dimension of a value or of a product of two.
struct Combined {
    op: Reduction,
    a: NodeId,
    b: Option<NodeId>,
    dim: DimId,
}

fn binary(f: Binary, a: Expr, b: Expr) -> Expr {
    Expr::Binary(f, Box::new(a), Box::new(b))
}

impl Site {
    fn loops(&self) -> usize {
        self.extents.len() + usize::from(self.reduce.is_some())
    }

    /// An argument, which stands in the list once.
    fn argument(&mut self, access: Access) -> Expr {
        let place = self.args.iter().position(|a| *a == access);
        Expr::Arg(place.unwrap_or_else(|| {
            self.args.push(access);
            self.args.len() - 1
        }))
    }
}

impl Lowering<'_> {
    fn dims(&self, id: NodeId) -> &[DimId] {
        &self.recurrence.node(id).dims
    }

    /// The element of a value's tile that stands at an index of each dimension, under so many loops.
    fn access(&self, tile: TileId, dims: &[DimId], at: &At, loops: usize) -> Access {
        let mut access = Access { tile, offset: 0, strides: vec![0; loops] };
        for (dim, stride) in dims.iter().zip(self.layout.strides(dims)) {
            let index = &at[dim];
            access.offset += stride * index.offset;
            for (number, step) in &index.steps {
                access.strides[*number] += stride * step;
            }
        }
        access
    }

    /// Loops over dimensions of these sizes, in the order of tiles.
    fn loops(&self, dims: &[DimId], size: impl Fn(DimId) -> usize) -> (Site, At) {
        let order = self.layout.order(dims);
        let extents = order.iter().map(|d| size(*d)).collect();
        let at = order.iter().enumerate().map(|(i, d)| (*d, Index::of_loop(i))).collect();
        (Site::new(extents), at)
    }

    /// Appends a finished nest that computes part of a node.
    fn emit(&mut self, id: NodeId, dst: Access, site: Site, expr: Expr) {
        let Site { extents, reduce, args, old, new } = site;
        self.clashes.extend(old.intersection(&new));
        let elsewhere = |a: &Access| {
            let still = dst.strides.iter().chain(&[0]).zip(&a.strides).all(|(d, s)| d == s);
            a.tile == dst.tile && (a.offset != dst.offset || !still)
        };
        if args.iter().any(elsewhere) {
            self.clashes.insert(dst.tile);
        }
        let over_state = self.states.contains(&dst.tile);
        let stmt = Stmt::Nest(Nest { extents, dst, reduce, expr, args });
        // A state may start from something else than what it then always becomes.
        if self.plan.fixed[id.0] && !over_state {
            self.before.push(stmt);
        } else {
            self.items.push(Item { stmt, old });
        }
    }

    /// The value of a node at a point of a nest.
    fn value(&mut self, id: NodeId, at: &At, site: &mut Site) -> Expr {
        if self.plan.kept[id.0] {
            return self.element(id, &self.recurrence.node(id).dims, at, site);
        }
        self.formula(id, at, site)
    }

    /// The value of a node from those of its operands.
    fn formula(&mut self, id: NodeId, at: &At, site: &mut Site) -> Expr {
        let recurrence = self.recurrence;
        let node = recurrence.node(id);
        if let Some(number) = uniform(recurrence, &node.op) {
            return Expr::Const(number);
        }
        if let Op::Index(dim) = self.unfolded.node(id).op {
            return at[&dim].expr();
        }
        let mut operand = |this: &mut Self, id| Box::new(this.value(id, at, site));
        match node.op {
            ref op if is_leaf(op) => self.element(id, &node.dims, at, site),
            Op::Unary(f, a) => Expr::Unary(f, operand(self, a)),
            Op::Binary(f, a, b) => Expr::Binary(f, operand(self, a), operand(self, b)),
            Op::Outer(a, b) => Expr::Binary(Binary::Mul, operand(self, a), operand(self, b)),
            Op::Select(c, a, b) => {
                Expr::Select(operand(self, c), operand(self, a), operand(self, b))
            }
            Op::Slice(a, from, to, run) => {
                let mut whole = at.clone();
                let index = whole.remove(&to).expect("a dimension of the node");
                whole.insert(from, index.plus(run * self.layout.size(to)));
                self.value(a, &whole, site)
            }
            Op::Reshape(a, _) => match self.layout.renamed(self.dims(a), &node.dims) {
                Some(pairs) => {
                    let single = self.dims(a).iter().map(|d| (*d, Index::constant(0)));
                    let renamed = pairs.into_iter().map(|(from, to)| (from, at[&to].clone()));
                    let at = single.chain(renamed).collect();
                    self.value(a, &at, site)
                }
                None => self.element(a, &node.dims, at, site),
            },
            Op::TopK(_, _, count) => {
                let larger = self.larger(id);
                let larger = site.argument(self.access(larger, &node.dims, at, site.loops()));
                binary(Binary::Lt, larger, Expr::Const(count as f64))
            }
            _ => unreachable!("sums, windows and joined values are kept"),
        }
    }

    /// An element of a node in memory, seen under other dimensions of as many elements.
    fn element(&mut self, id: NodeId, dims: &[DimId], at: &At, site: &mut Site) -> Expr {
        let tile = match self.recurrence.node(id).op {
            _ if self.plan.kept[id.0] => {
                let tile = self.kept(id);
                site.new.extend(self.states.contains(&tile).then_some(tile));
                tile
            }
            Op::Input(InputId(input)) => self.input(input),
            Op::Table(table) => self.table(table),
            Op::State(StateId(state)) => {
                site.old.insert(self.states[state]);
                self.states[state]
            }
            _ => unreachable!("the plan keeps what is read as memory"),
        };
        site.argument(self.access(tile, dims, at, site.loops()))
    }

    /// Emits what a node's tile is to hold.
    pub(super) fn write(&mut self, id: NodeId, tile: TileId) {
        let recurrence = self.recurrence;
        match recurrence.node(id).op {
            Op::Dot(a, b, dim) => {
                let sum = Combined { op: Reduction::Sum, a, b: Some(b), dim };
                self.combine(id, &sum, tile);
            }
            Op::Reduce(op, a, dim) => self.combine(id, &Combined { op, a, b: None, dim }, tile),
            Op::Concat(a, b, [x, y], to) => {
                let first = self.layout.size(x);
                self.write_part(id, a, (to, 0), Some(x), tile);
                self.write_part(id, b, (to, first), Some(y), tile);
            }
            Op::Push(window, entry) => {
                let to = recurrence.node(id).dims[0];
                self.write_part(id, window, (to, 0), Some(to), tile);
                self.write_part(id, entry, (to, self.layout.size(to) - 1), None, tile);
            }
            _ if self.plan.kept[id.0] => self.fill(id, tile, Self::formula),
            _ => self.fill(id, tile, Self::value),
        }
    }

    /// Emits a copy of a node's value.
    pub(super) fn copy(&mut self, id: NodeId, from: TileId, to: TileId) {
        self.fill(id, to, |this, id, at, site| {
            site.argument(this.access(from, this.dims(id), at, site.loops()))
        });
    }

    /// Emits a nest over all of a node's elements.
    fn fill(
        &mut self,
        id: NodeId,
        tile: TileId,
        value: impl Fn(&mut Self, NodeId, &At, &mut Site) -> Expr,
    ) {
        let dims = self.dims(id).to_vec();
        let (mut site, at) = self.loops(&dims, |d| self.layout.size(d));
        let expr = value(self, id, &at, &mut site);
        let dst = self.access(tile, &dims, &at, site.extents.len());
        self.emit(id, dst, site, expr);
    }

    /// Emits what a joined value or window has from one operand: what the operand has along its own
    /// dimension `of` stands from `first` on along `to`. An operand without it is one entry; a window
    /// drops its first entry.
    fn write_part(
        &mut self,
        id: NodeId,
        operand: NodeId,
        (to, first): (DimId, usize),
        of: Option<DimId>,
        tile: TileId,
    ) {
        let drops = usize::from(of == Some(to));
        let count = of.map_or(1, |dim| self.layout.size(dim) - drops);
        if count == 0 {
            return;
        }
        let dims = self.dims(id).to_vec();
        let size = |d| if d == to { count } else { self.layout.size(d) };
        let (mut site, mut at) = self.loops(&dims, size);
        let mut from = at.clone();
        let index = at.remove(&to).expect("a dimension of the node");
        from.remove(&to);
        from.extend(of.map(|dim| (dim, index.clone().plus(drops))));
        at.insert(to, index.plus(first));
        let expr = self.value(operand, &from, &mut site);
        let dst = self.access(tile, &dims, &at, site.extents.len());
        self.emit(id, dst, site, expr);
    }

    /// Emits sums or maxima over a dimension of a value or of a product.
    fn combine(&mut self, id: NodeId, sum: &Combined, tile: TileId) {
        let dims = self.dims(id).to_vec();
        let segments = self.segments(self.layout.points(&dims), self.layout.size(sum.dim));
        if segments > 1 {
            return self.combine_segments(id, sum, segments, tile);
        }
        let (mut site, at) = self.loops(&dims, |d| self.layout.size(d));
        let inner = site.extents.len();
        let dst = self.access(tile, &dims, &at, inner);
        let along = Index::of_loop(inner);
        let expr = self.combined(sum, (at, along), self.layout.size(sum.dim), &mut site);
        self.emit(id, dst, site, expr);
    }

    /// What a reduction of so many elements combines, `along` its dimension.
    fn combined(
        &mut self,
        sum: &Combined,
        (mut at, along): (At, Index),
        count: usize,
        site: &mut Site,
    ) -> Expr {
        at.insert(sum.dim, along);
        site.reduce = Some((sum.op, count));
        let first = self.value(sum.a, &at, site);
        match sum.b {
            Some(b) => binary(Binary::Mul, first, self.value(b, &at, site)),
            None => first,
        }
    }

    /// The same in two nests: one for segments of the dimension, for more threads, and one that combines
    /// their results.
    fn combine_segments(&mut self, id: NodeId, sum: &Combined, segments: usize, tile: TileId) {
        let dims = self.dims(id).to_vec();
        let (points, count) = (self.layout.points(&dims), self.layout.size(sum.dim));
        // Neighbouring threads are to read neighbours: along the dimension if operands have it last,
        // else along the result's.
        let runs_along = |id: &NodeId| {
            let dims = self.dims(*id);
            dims.len() > 1 && self.layout.order(dims).last() == Some(&sum.dim)
        };
        let inside = points == 1 || [Some(sum.a), sum.b].iter().flatten().any(runs_along);
        let part = self.new_tile("part", [points, segments], self.build.compute, 1);
        let (by_result, by_segment) = if inside { (segments, 1) } else { (1, points) };
        let natural = self.layout.strides(&self.layout.order(&dims));
        let results: Vec<usize> = natural.iter().map(|s| s * by_result).collect();
        let of_part = |strides: Vec<usize>| Access { tile: part, offset: 0, strides };
        let after: Vec<usize> = results.iter().copied().chain([by_segment]).collect();

        let (mut site, at) = self.loops(&dims, |d| self.layout.size(d));
        let (place, strides, at) = if inside {
            (site.extents.len(), after.clone(), at)
        } else {
            let later = |(dim, index): (DimId, Index)| (dim, index.one_loop_deeper());
            let strides = [by_segment].into_iter().chain(results).collect();
            (0, strides, at.into_iter().map(later).collect())
        };
        site.extents.insert(place, segments);
        let inner = site.extents.len();
        let along = Index { offset: 0, steps: vec![(place, 1), (inner, segments)] };
        let expr = self.combined(sum, (at, along), count / segments, &mut site);
        self.emit(id, of_part(strides), site, expr);

        let (mut last, at) = self.loops(&dims, |d| self.layout.size(d));
        let dst = self.access(tile, &dims, &at, last.extents.len());
        last.reduce = Some((sum.op, segments));
        let expr = last.argument(of_part(after));
        self.emit(id, dst, last, expr);
    }

    /// Into how many segments a reduction is cut.
    fn segments(&self, points: usize, count: usize) -> usize {
        if count < SHORT || self.threads == 1 {
            return 1;
        }
        let chain = |segments: usize| count / segments + segments;
        let possible =
            (2..count).filter(|s| count.is_multiple_of(*s) && s * points <= self.threads);
        possible.min_by_key(|s| chain(*s)).filter(|s| chain(*s) + SHORT / 4 < count).unwrap_or(1)
    }

    /// For each element the number of those along a dimension that come before it when they are sorted.
    fn larger(&mut self, id: NodeId) -> TileId {
        if let Some(tile) = self.larger.get(&id) {
            return *tile;
        }
        let node = self.recurrence.node(id);
        let Op::TopK(a, dim, _) = node.op else { unreachable!("called for the largest only") };
        let tile = self.tile("larger", &node.dims);
        let (mut site, at) = self.loops(&node.dims, |d| self.layout.size(d));
        let dst = self.access(tile, &node.dims, &at, site.extents.len());
        let inner = site.extents.len();
        site.reduce = Some((Reduction::Sum, self.layout.size(dim)));
        let mut beside = at.clone();
        beside.insert(dim, Index::of_loop(inner));
        let (own, other) = (self.value(a, &at, &mut site), self.value(a, &beside, &mut site));
        let before = binary(Binary::Lt, Expr::Index(inner), at[&dim].expr());
        let equal = binary(Binary::Eq, own.clone(), other.clone());
        let first = binary(Binary::Mul, equal, before);
        let expr = binary(Binary::Add, binary(Binary::Lt, own, other), first);
        self.emit(id, dst, site, expr);
        self.larger.insert(id, tile);
        tile
    }
}
