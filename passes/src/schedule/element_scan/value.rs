//! Values as expressions of walks and nests, and the nests that store them.

use super::super::layout::uniform;
use super::super::token_loop::plan::weight;
use super::{Lowering, Points};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::kernel::{Access, Expr, Nest, Stmt, TileId};
use sluice_ir::pointwise::Binary;
use sluice_ir::step::{DimId, InputId, NodeId, Op, Reduction, StateId};
use std::collections::BTreeMap;

/// The place along a dimension: the index of a loop, if there is one, and a number.
#[derive(Clone, Copy, Default)]
struct Index {
    of: Option<usize>,
    plus: usize,
}

impl Index {
    fn of(number: usize) -> Self {
        Self { of: Some(number), plus: 0 }
    }
}

/// Where expressions stand: the loops around them, and what they have read so far.
pub(super) struct Site {
    /// The loop over the tokens of the chunk.
    token: Option<usize>,
    /// The index of each dimension.
    loops: BTreeMap<DimId, Index>,
    /// Number of loops.
    count: usize,
    /// Of a walk its group and the threads that share a point.
    walk: Option<(usize, usize)>,
    /// How the values of the last loop are combined, if they are, and its length.
    reduce: Option<(Reduction, usize)>,
    /// Whether states after the token may be read.
    pub(super) after: bool,
    pub(super) args: Vec<Access>,
}

impl Site {
    /// In the walk of a group.
    pub(super) fn of_walk(group: usize, points: &Points) -> Self {
        let along = points.along.map(|dim| (dim, Index::of(1)));
        let inside = points.inside.map(|dim| (dim, Index::of(2)));
        Self {
            token: Some(0),
            loops: along.into_iter().chain(inside).collect(),
            count: 3,
            walk: Some((group, points.lanes)),
            reduce: None,
            after: false,
            args: vec![],
        }
    }

    /// In a nest over tokens, unless the value is fixed, and dimensions.
    pub(super) fn of_nest(fixed: bool, dims: &[DimId]) -> Self {
        let first = usize::from(!fixed);
        let loops = dims.iter().enumerate().map(|(i, d)| (*d, Index::of(first + i))).collect();
        let token = (!fixed).then_some(0);
        Self {
            token,
            loops,
            count: first + dims.len(),
            walk: None,
            reduce: None,
            after: false,
            args: vec![],
        }
    }

    /// Adds a last loop, along a dimension, whose values are combined; the place along it that was.
    fn combine(&mut self, op: Reduction, dim: DimId, size: usize) -> Option<Index> {
        self.reduce = Some((op, size));
        self.count += 1;
        self.loops.insert(dim, Index::of(self.count - 1))
    }

    /// Moves an element along a dimension whose neighbours are so far from each other.
    pub(super) fn shift(&self, access: &mut Access, dim: DimId, stride: usize) {
        let Index { of, plus } = self.loops[&dim];
        of.into_iter().for_each(|number| access.strides[number] += stride);
        access.offset += plus * stride;
    }
}

/// The product of two expressions.
pub(super) fn product(a: Expr, b: Expr) -> Expr {
    Expr::Binary(Binary::Mul, Box::new(a), Box::new(b))
}

fn unsupported(op: &str) -> Diagnostic {
    Diagnostic::new(Code::Unsupported, format!("the elementwise scan takes no {op}"))
}

impl Lowering<'_> {
    /// The element of a tile at a site; a fixed one is the same for all tokens.
    pub(super) fn access(&self, tile: TileId, dims: &[DimId], fixed: bool, site: &Site) -> Access {
        let mut access = Access { tile, offset: 0, strides: vec![0; site.count] };
        for (dim, stride) in dims.iter().zip(self.layout.strides(dims)) {
            site.shift(&mut access, *dim, stride);
        }
        if let Some(token) = site.token.filter(|_| !fixed) {
            access.strides[token] = self.layout.points(dims);
        }
        access
    }

    /// An argument, which stands in the list once.
    fn argument(&mut self, tile: TileId, dims: &[DimId], fixed: bool, site: &mut Site) -> Expr {
        let access = self.access(tile, dims, fixed, site);
        self.element(access, site)
    }

    /// The same of an element.
    fn element(&self, access: Access, site: &mut Site) -> Expr {
        let states = site.walk.map_or(0, |(group, _)| 2 * self.groups[group].states.len());
        let place = site.args.iter().position(|a| *a == access);
        Expr::Arg(
            states
                + place.unwrap_or_else(|| {
                    site.args.push(access);
                    site.args.len() - 1
                }),
        )
    }

    /// The value of a node at a site.
    pub(super) fn value(&mut self, id: NodeId, site: &mut Site) -> Result<Expr, Diagnostic> {
        let recurrence = self.recurrence;
        let node = recurrence.node(id);
        if let Some(number) = uniform(recurrence, &node.op) {
            return Ok(Expr::Const(number));
        }
        let walked = site.walk.filter(|(group, _)| self.wanted.depends[id.0].contains(group));
        if let Some((group, _)) = walked {
            let states = &self.groups[group].states;
            let own = |s: &StateId| site.after && recurrence.updates[s.0] == id;
            if let Op::State(state) = node.op {
                let place = states.iter().position(|s| *s == state);
                return Ok(Expr::Arg(place.expect("a state of the group")));
            }
            if let Some(place) = states.iter().position(own) {
                return Ok(Expr::Arg(states.len() + place));
            }
            return self.formula(id, site);
        }
        if let Some(window) = self.window_of(id) {
            let access = self.in_window(window, &node.dims, site);
            return Ok(self.element(access, site));
        }
        match node.op {
            Op::Input(InputId(input)) => {
                let tile = self.input(input);
                Ok(self.argument(tile, &node.dims, self.fixed[id.0], site))
            }
            // One that never changes; those that do are inside of walks.
            Op::State(StateId(state)) if self.fixed[id.0] => {
                let tile = self.states[state];
                Ok(self.argument(tile, &node.dims, true, site))
            }
            Op::Table(table) => {
                let tile = self.table(table);
                Ok(self.argument(tile, &node.dims, true, site))
            }
            Op::TopK(a, dim, count) => {
                let tile = self.larger(id, (a, dim))?;
                let larger = self.argument(tile, &node.dims, self.fixed[id.0], site);
                let count = Box::new(Expr::Const(count as f64));
                Ok(Expr::Binary(Binary::Lt, Box::new(larger), count))
            }
            _ if self.has_tile(id, site) => {
                let tile = self.tile_of(id)?;
                Ok(self.argument(tile, &node.dims, self.fixed[id.0], site))
            }
            _ => self.formula(id, site),
        }
    }

    /// Whether a node that the walk around does not change is read from a tile: it was made already,
    /// it is a sum or of two pieces, it is dear and the same for all tokens, or it would be computed by several lanes.
    fn has_tile(&self, id: NodeId, site: &Site) -> bool {
        let node = self.recurrence.node(id);
        let dear = weight(&node.op) > 1;
        let lanes = site.walk.is_some_and(|(group, lanes)| {
            lanes > 1 && !self.shapes[group].inside.is_some_and(|d| node.dims.contains(&d))
        });
        let combined = matches!(node.op, Op::Dot(..) | Op::Reduce(..) | Op::Concat(..));
        self.kept.contains_key(&id) || combined || (dear && (self.fixed[id.0] || lanes))
    }

    /// The value of a node from those of its operands.
    fn formula(&mut self, id: NodeId, site: &mut Site) -> Result<Expr, Diagnostic> {
        let node = self.recurrence.node(id);
        let mut operand = |this: &mut Self, id| this.value(id, site).map(Box::new);
        Ok(match node.op {
            Op::Unary(f, a) => Expr::Unary(f, operand(self, a)?),
            Op::Binary(f, a, b) => Expr::Binary(f, operand(self, a)?, operand(self, b)?),
            Op::Outer(a, b) => product(*operand(self, a)?, *operand(self, b)?),
            Op::Select(c, a, b) => {
                Expr::Select(operand(self, c)?, operand(self, a)?, operand(self, b)?)
            }
            Op::Reshape(a, _) => return self.renamed(a, id, site),
            Op::Slice(a, from, to, part) => return self.piece((a, from), (to, part), site),
            Op::Input(_) | Op::Table(_) | Op::State(_) | Op::TopK(..) => {
                return self.value(id, site);
            }
            _ => return Err(unsupported("rearranged values")),
        })
    }

    /// The value of a node whose dimensions another one only gives other names.
    fn renamed(&mut self, a: NodeId, id: NodeId, site: &mut Site) -> Result<Expr, Diagnostic> {
        let dims = |id: NodeId| &self.recurrence.node(id).dims;
        let Some(pairs) = self.layout.renamed(dims(a), dims(id)) else {
            return Err(unsupported("rearranged values"));
        };
        let loops = site.loops.clone();
        site.loops.extend(dims(a).iter().map(|dim| (*dim, Index::default())));
        site.loops.extend(pairs.into_iter().map(|(from, to)| (from, loops[&to])));
        let value = self.value(a, site);
        site.loops = loops;
        value
    }

    /// The value of one of the equal pieces of a dimension.
    fn piece(
        &mut self,
        (a, from): (NodeId, DimId),
        (to, part): (DimId, usize),
        site: &mut Site,
    ) -> Result<Expr, Diagnostic> {
        let Index { of, plus } = site.loops[&to];
        let place = Index { of, plus: plus + part * self.layout.size(to) };
        let outer = site.loops.insert(from, place);
        let value = self.value(a, site);
        match outer {
            Some(outer) => site.loops.insert(from, outer),
            None => site.loops.remove(&from),
        };
        value
    }

    /// The tile of a node for all tokens of the chunk, or for all tokens.
    pub(super) fn tile_of(&mut self, id: NodeId) -> Result<TileId, Diagnostic> {
        if let Some(tile) = self.kept.get(&id) {
            return Ok(*tile);
        }
        let recurrence = self.recurrence;
        let node = recurrence.node(id);
        let fixed = self.fixed[id.0];
        let tile = self.tile_for(id, fixed);
        let whole = |this: &Self, site: &mut Site| this.access(tile, &node.dims, fixed, site);
        match node.op {
            Op::Concat(a, b, [x, y], to) => {
                for (operand, from, plus) in [(a, x, 0), (b, y, self.layout.size(x))] {
                    let own = |dim: &DimId| if *dim == to { from } else { *dim };
                    let dims: Vec<DimId> = node.dims.iter().map(own).collect();
                    let dst = |this: &Self, site: &mut Site| {
                        site.loops.insert(to, Index { plus, ..site.loops[&from] });
                        whole(this, site)
                    };
                    self.nest((&dims, fixed), dst, |this, site| this.value(operand, site))?;
                }
            }
            Op::Dot(a, b, dim) => {
                self.combine(id, whole, (Reduction::Sum, dim), [Some(a), Some(b)])?;
            }
            Op::Reduce(op, a, dim) => self.combine(id, whole, (op, dim), [Some(a), None])?,
            _ => self.nest((&node.dims, fixed), whole, |this, site| {
                match uniform(recurrence, &node.op) {
                    Some(number) => Ok(Expr::Const(number)),
                    None => this.formula(id, site),
                }
            })?,
        }
        self.kept.insert(id, tile);
        Ok(tile)
    }

    /// A tile with a value that is the same for all tokens once for each of them.
    pub(super) fn at_each_token(&mut self, id: NodeId) -> Result<TileId, Diagnostic> {
        let dims = &self.recurrence.node(id).dims;
        let tile = self.tile_for(id, false);
        let dst = |this: &Self, site: &mut Site| this.access(tile, dims, false, site);
        self.nest((dims, false), dst, |this, site| this.value(id, site))?;
        Ok(tile)
    }

    /// A nest over elements, of every token unless they are fixed.
    pub(super) fn nest(
        &mut self,
        (dims, fixed): (&[DimId], bool),
        dst: impl FnOnce(&Self, &mut Site) -> Access,
        value: impl FnOnce(&mut Self, &mut Site) -> Result<Expr, Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let dims = self.layout.order(dims);
        let mut site = Site::of_nest(fixed, &dims);
        let dst = dst(self, &mut site);
        let expr = value(self, &mut site)?;
        let reduce = site.reduce;
        let sizes = dims.iter().map(|d| self.layout.size(*d));
        let tokens = (!fixed).then_some(self.chunk);
        let extents = tokens.into_iter().chain(sizes).collect();
        let stmt = Stmt::Nest(Nest { extents, dst, reduce, expr, args: site.args });
        if fixed { &mut self.before } else { &mut self.draft.body }.push(stmt);
        Ok(())
    }

    /// How many elements along a dimension come before each: those that are larger, or as large and earlier.
    fn larger(&mut self, id: NodeId, (a, dim): (NodeId, DimId)) -> Result<TileId, Diagnostic> {
        if let Some(tile) = self.larger.get(&id) {
            return Ok(*tile);
        }
        let (dims, fixed) = (&self.recurrence.node(id).dims, self.fixed[id.0]);
        let size = self.size(dims, fixed);
        let tile = self.new_tile("larger", size, self.build.compute, 1);
        let dst = |this: &Self, site: &mut Site| this.access(tile, dims, fixed, site);
        self.nest((dims, fixed), dst, |this, site| {
            let place = site.combine(Reduction::Sum, dim, this.layout.size(dim));
            let other = this.value(a, site)?;
            site.loops.extend(place.map(|place| (dim, place)));
            let own = this.value(a, site)?;
            let binary = |f, a, b| Expr::Binary(f, Box::new(a), Box::new(b));
            let place = place.and_then(|place| place.of).map_or(Expr::Const(0.0), Expr::Index);
            let earlier = binary(Binary::Lt, Expr::Index(site.count - 1), place);
            let first = product(binary(Binary::Eq, own.clone(), other.clone()), earlier);
            Ok(binary(Binary::Add, binary(Binary::Lt, own, other), first))
        })?;
        self.larger.insert(id, tile);
        Ok(tile)
    }

    /// The nest of a node that combines the values of one operand, or the products of two, along a dimension.
    fn combine(
        &mut self,
        id: NodeId,
        dst: impl FnOnce(&Self, &mut Site) -> Access,
        (op, dim): (Reduction, DimId),
        operands: [Option<NodeId>; 2],
    ) -> Result<(), Diagnostic> {
        let (dims, fixed) = (&self.recurrence.node(id).dims, self.fixed[id.0]);
        self.nest((dims, fixed), dst, |this, site| {
            site.combine(op, dim, this.layout.size(dim));
            this.product(operands, site)
        })
    }
}
