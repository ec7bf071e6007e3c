//! Where a node's value lives and how it gets there.

use super::mixed::refused;
use super::{NARROWEST, Scan};
use crate::schedule::draft::Home;
use crate::schedule::params;
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    Access, Arg, Body, CopyMap, Expr, Nest, Over, Reduction, Stmt, TileId, View,
};
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::{Blocks, LeafKind, Mask, Seq, Source, Term, core_of};
use sluice_ir::step::Rate;

/// A place and a precision in which a reader wants a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// In shared memory, in any precision that keeps the value's own.
    Shared,
    /// In shared memory, as an operand of a matrix product.
    SharedOperand,
    /// In columns, in any precision that keeps the value's own.
    Columns,
    /// In columns, as an operand of a matrix product.
    ColumnsOperand,
}

impl Form {
    fn in_columns(self) -> bool {
        matches!(self, Form::Columns | Form::ColumnsOperand)
    }

    fn is_operand(self) -> bool {
        matches!(self, Form::SharedOperand | Form::ColumnsOperand)
    }

    /// The same place in full precision.
    pub(super) fn exact(self) -> Self {
        Form::new(self.in_columns(), false)
    }

    fn new(columns: bool, operand: bool) -> Self {
        match (columns, operand) {
            (false, false) => Form::Shared,
            (false, true) => Form::SharedOperand,
            (true, false) => Form::Columns,
            (true, true) => Form::ColumnsOperand,
        }
    }
}

/// For each node how many nodes read it, and whether one of them wants more than operand precision.
pub(super) fn readers(term: &Term) -> (Vec<usize>, Vec<bool>) {
    let mut uses = vec![0; term.nodes().len()];
    let mut wide = vec![false; term.nodes().len()];
    for id in term.ids() {
        let node = term.node(id);
        for (i, operand) in node.operands().iter().enumerate() {
            let mut source = *operand;
            while let Seq::Blk([_, x]) | Seq::Unblk([_, x]) = term.node(source) {
                source = *x;
            }
            if !matches!(node, Seq::Blk(_) | Seq::Unblk(_)) {
                uses[usize::from(source)] += 1;
                wide[usize::from(source)] |= !is_operand(term, node, i);
            }
        }
    }
    for root in term.roots() {
        uses[usize::from(root.id)] += 1;
    }
    (uses, wide)
}

/// Whether a node reads its operand `i` only as an operand of a matrix product.
fn is_operand(term: &Term, node: &Seq, i: usize) -> bool {
    match node {
        // The unit diagonal of an inverse passes its right operand through unrounded.
        Seq::Mm([a, _]) => i == 0 || !matches!(term.node(*a), Seq::Tinv(_)),
        Seq::Mmt(_) | Seq::Tmm(_) => true,
        Seq::Score(_) => i < 3,
        _ => core_of(node).is_some() && matches!(i, 3 | 5 | 7 | 8),
    }
}

impl Scan<'_> {
    /// The node behind views: the same elements in the same order.
    pub(super) fn base(&self, id: Id) -> Id {
        match self.term.node(id) {
            Seq::Blk([_, x]) | Seq::Unblk([_, x]) => self.base(*x),
            _ => id,
        }
    }

    /// Blocks of a node within one chunk.
    pub(super) fn blocks(&self, id: Id) -> usize {
        match self.term.shape(id).blocks {
            Blocks::One => 1,
            Blocks::Tokens { per } => self.setting.chunk / per,
        }
    }

    /// All rows of a node within one chunk, and its columns in one part.
    pub(super) fn size(&self, id: Id) -> [usize; 2] {
        let shape = self.term.shape(id);
        let width = shape.features;
        let cut = self.setting.parts > 1 && self.columns[usize::from(id)] && width > 1;
        let unit = if self.in_columns { 16 } else { NARROWEST };
        let cols =
            if cut { width.div_ceil(self.setting.parts).next_multiple_of(unit) } else { width };
        [self.blocks(id) * shape.rows, cols]
    }

    /// A node's value in a form, seen with the node's own blocks.
    pub(super) fn view(&mut self, id: Id, form: Form) -> Result<View, Diagnostic> {
        let tile = self.tile(self.base(id), form)?;
        Ok(View { tile, blocks: self.blocks(id) })
    }

    /// Whether the value of a node is computed in columns.
    pub(super) fn lives_in_columns(&self, id: Id) -> bool {
        let computed = match self.term.node(id) {
            Seq::Unary(..) | Seq::Binary(..) | Seq::Select(_) | Seq::Live(_) => {
                self.size(id)[0] > 1 && self.reads_columns(id)
            }
            Seq::Mm(_) | Seq::Tmm(_) | Seq::Solve(_) | Seq::Hist(_) | Seq::Hz(_) => true,
            // The first columns of a tile stay with their warps.
            Seq::Cols([first, _, x]) => {
                self.term.facts(*first).count() == 0
                    && self.size(id)[1] > 1
                    && self.lives_in_columns(self.base(*x))
            }
            _ => false,
        };
        // Registers are for the columns of states; states with a constant transition have none there.
        computed && self.columns[usize::from(id)] && self.in_columns
    }

    /// Whether a pointwise node belongs with columns: it reads a value that does, or a token's row of
    /// values that a product will want there.
    fn reads_columns(&self, id: Id) -> bool {
        let full = |x: &Id| self.size(*x) == self.size(id) && self.columns[usize::from(*x)];
        self.term.node(id).operands().iter().filter(|x| self.term.is_array(**x)).any(full)
    }

    /// The tile of a node (not a view) in a form, made if it is new.
    pub(super) fn tile(&mut self, id: Id, form: Form) -> Result<TileId, Diagnostic> {
        if let Some(tile) = self.made.get(&(id, form)) {
            return Ok(*tile);
        }
        let narrow = Form::new(form.in_columns(), true);
        let exact_enough = !self.wide[usize::from(id)] || self.is_exact(id);
        if let Some(tile) = self.made.get(&(id, narrow)).filter(|_| exact_enough) {
            return Ok(*tile);
        }
        let home = self.lives_in_columns(id);
        let tile = if home != form.in_columns() {
            let source = self.tile(id, Form::new(home, form.is_operand()))?;
            self.moved(id, source, form)?
        } else if form.is_operand()
            && (self.wide[usize::from(id)]
                || self.is_input(id)
                || self.made.contains_key(&(id, Form::new(home, false))))
        {
            let source = self.tile(id, Form::new(home, false))?;
            if self.draft.tiles[source.0].dtype == self.operand {
                source
            } else {
                self.moved(id, source, form)?
            }
        } else {
            let dtype = if form.is_operand() { self.operand } else { self.build.compute };
            self.produce(id, dtype)?
        };
        self.made.insert((id, form), tile);
        Ok(tile)
    }

    /// Whether a node is an input as it was loaded.
    fn is_input(&self, id: Id) -> bool {
        matches!(self.term.node(id), Seq::Var(_))
    }

    /// Whether a matrix operand holds a node's value without rounding it.
    pub(super) fn is_exact(&self, id: Id) -> bool {
        match self.term.node(self.base(id)) {
            Seq::Zero(_) | Seq::Ones(_) => true,
            Seq::Var(name) => {
                let input = self.recurrence.inputs.iter().find(|i| *i.name == **name);
                input.is_some_and(|i| {
                    self.recurrence.input_dtype(i, self.build.dtype) == self.operand
                })
            }
            Seq::Live([x]) | Seq::Rows([_, _, x]) | Seq::Cols([_, _, x]) => self.is_exact(*x),
            Seq::Cat([a, b]) | Seq::Weave([a, b]) => self.is_exact(*a) && self.is_exact(*b),
            _ => false,
        }
    }

    fn moved(&mut self, id: Id, source: TileId, form: Form) -> Result<TileId, Diagnostic> {
        let from = &self.draft.tiles[source.0];
        if form == Form::ColumnsOperand && from.shared().is_none() {
            return Ok(self.packed(source));
        }
        let dtype = if form.is_operand() { self.operand } else { from.dtype };
        let name = from.name.split('.').next().expect("names are not empty").to_owned();
        let home = if form.in_columns() { Home::Columns } else { Home::Shared { stages: 1 } };
        let dst = self.draft.tile(&name, self.size(id), dtype, home);
        let (dst_view, src) = (self.draft.whole(dst), self.draft.whole(source));
        self.draft.body.push(Stmt::Copy { dst: dst_view, src, map: CopyMap::Whole });
        Ok(dst)
    }

    /// A new tile of the size of a node at its home.
    pub(super) fn fresh(&mut self, id: Id, name: &str, dtype: Dtype) -> TileId {
        let columns = self.lives_in_columns(id);
        let home = if columns { Home::Columns } else { Home::Shared { stages: 1 } };
        self.draft.tile(name, self.size(id), dtype, home)
    }

    /// A tile seen with the blocks of a node.
    pub(super) fn seen(&self, id: Id, tile: TileId) -> View {
        View { tile, blocks: self.blocks(id) }
    }

    /// Computes a node at its home.
    fn produce(&mut self, id: Id, dtype: Dtype) -> Result<TileId, Diagnostic> {
        match self.term.node(id).clone() {
            Seq::Var(name) => Ok(self.input(id, &name)),
            Seq::Hist(_) | Seq::Hz(_) if self.is_stacked(id) => self.stacked_values(id, dtype),
            Seq::Mm(_) if self.reads_stacked(id) => self.stacked_read(id, dtype),
            Seq::Mprod([m, r]) => {
                let mask = self.mask(m);
                self.mixing_product(id, (Some(mask), r))
            }
            Seq::Blend([r, x]) | Seq::Blendt([r, x]) => self.blended(id, (r, x), dtype),
            Seq::Mall([r]) => self.mixing_product(id, (None, r)),
            Seq::Mscore([m, p, a, r]) => {
                let mask = self.mask(m);
                self.mixing_score(id, (mask, [p, a, r]), dtype)
            }
            Seq::Hist([_, ..]) => self.state_before(id, dtype),
            Seq::Hz(_) => self.written(id, dtype),
            Seq::Krylov(_) => Err(refused("powers that are read in another way than by states")),
            Seq::Dots(_) => self.dots(id),
            Seq::Conv(_) => self.convolution(id),
            Seq::Lhist(_) => self.lti_state(id),
            Seq::Drun(_) => self.run_of_rows(id),
            Seq::Dhist(_) => self.rows_before(id),
            Seq::Mm(_) | Seq::Mmt(_) | Seq::Tmm(_) | Seq::Solve(_) if !self.is_broadcast(id) => {
                self.fused(id, dtype)
            }
            Seq::Score([m, p, a, g]) => self.score(id, [m, p, a, g], dtype),
            Seq::Vmix([m, w, y, g]) => self.mix(id, [m, w, y, g], dtype),
            Seq::Run([m, x]) => {
                let src = self.view(x, Form::Shared)?;
                let dst = self.fresh(id, "run", self.build.compute);
                let mask = self.mask(m);
                let dst_view = self.seen(id, dst);
                self.draft.body.push(Stmt::Run { dst: dst_view, body: Body::of(src), mask });
                Ok(dst)
            }
            Seq::Tot([x]) => self.reduced(id, x, Reduction::Sum, Over::Rows),
            Seq::RowSum([x]) => self.reduced(id, x, Reduction::Sum, Over::Cols),
            Seq::RowMax([x]) => self.reduced(id, x, Reduction::Max, Over::Cols),
            Seq::Bdiag([per, x]) => {
                let dst = self.fresh(id, "diagonal", dtype);
                self.draft.body.push(Stmt::Fill { dst, value: 0.0 });
                let per = self.term.facts(per).count();
                self.copied(id, dst, x, CopyMap::OntoDiagonal { per })
            }
            Seq::Bget([per, x]) => {
                let dst = self.fresh(id, "diagonal", dtype);
                let per = self.term.facts(per).count();
                self.copied(id, dst, x, CopyMap::FromDiagonal { per })
            }
            Seq::Split([_, x])
            | Seq::Join([_, x])
            | Seq::Tile([_, x])
            | Seq::Tots([_, x])
            | Seq::Tr([x]) => self.regrouped(id, x, dtype),
            Seq::Kron(_) | Seq::Pairs(_) => {
                let dst = self.fresh(id, "features", dtype);
                self.features((dst, 0), id, 1.0)?;
                Ok(dst)
            }
            Seq::Top([k, x]) => self.largest(id, (k, x), dtype),
            Seq::Weave([a, b]) => self.joined(id, [a, b], dtype, true),
            Seq::Cat([a, b]) => self.joined(id, [a, b], dtype, false),
            Seq::Rows([first, n, x]) => {
                let [src_first, count] = [first, n].map(|c| self.term.facts(c).count());
                let dst = self.fresh(id, "rows", dtype);
                self.copied(id, dst, x, CopyMap::Rows { dst_first: 0, src_first, count })
            }
            Seq::Cols([first, n, x]) => {
                let [src_first, count] = [first, n].map(|c| self.term.facts(c).count());
                let dst = self.fresh(id, "cols", dtype);
                self.copied(id, dst, x, CopyMap::Cols { dst_first: 0, src_first, count })
            }
            _ => self.fused(id, dtype),
        }
    }

    pub(super) fn mask(&self, id: Id) -> Mask {
        self.term.facts(id).mask()
    }

    fn reduced(&mut self, id: Id, x: Id, op: Reduction, over: Over) -> Result<TileId, Diagnostic> {
        let src = self.view(x, Form::Shared)?;
        let dst = self.fresh(id, "sum", self.build.compute);
        let dst_view = self.seen(id, dst);
        self.draft.body.push(Stmt::Reduce { op, dst: dst_view, src, over });
        Ok(dst)
    }

    /// Copies part of a node's value into a tile of another; a source in columns is read there.
    fn copied(&mut self, id: Id, dst: TileId, x: Id, map: CopyMap) -> Result<TileId, Diagnostic> {
        let column_source = self.lives_in_columns(self.base(x));
        let form = if column_source && matches!(map, CopyMap::Cols { .. }) {
            Form::Columns
        } else {
            Form::Shared
        };
        let src = self.view(x, form)?;
        let dst_view = self.seen(id, dst);
        self.draft.body.push(Stmt::Copy { dst: dst_view, src, map });
        Ok(dst)
    }

    fn joined(
        &mut self,
        id: Id,
        [a, b]: [Id; 2],
        dtype: Dtype,
        rows: bool,
    ) -> Result<TileId, Diagnostic> {
        let dst = self.fresh(id, "joined", dtype);
        let mut first = 0;
        let parts = [self.parts(a, rows), self.parts(b, rows)].concat();
        for x in parts {
            let shape = self.term.shape(x);
            let map = if rows {
                CopyMap::Rows { dst_first: first, src_first: 0, count: shape.rows }
            } else {
                CopyMap::Cols { dst_first: first, src_first: 0, count: shape.features }
            };
            match self.scaled_features(x).filter(|_| !rows) {
                Some((made, scale)) => self.features((dst, first), made, scale)?,
                None => {
                    self.copied(id, dst, x, map)?;
                }
            }
            first += if rows { shape.rows } else { shape.features };
        }
        Ok(dst)
    }

    /// 1 at the largest features of a row: those with few others ahead.
    fn largest(&mut self, id: Id, (k, x): (Id, Id), dtype: Dtype) -> Result<TileId, Diagnostic> {
        let src = self.view(x, Form::Shared)?.tile;
        let [rows, width] = self.size(x);
        let home = Home::Shared { stages: 1 };
        let ahead = self.draft.tile("ahead", [rows, width], self.build.compute, home);
        let pair = |f, a, b| Expr::Binary(f, Box::new(a), Box::new(b));
        let [own, other] = [0, 1].map(Expr::Arg);
        let larger = pair(Binary::Lt, own.clone(), other.clone());
        let before = pair(Binary::Lt, Expr::Index(2), Expr::Index(1));
        let tied = pair(Binary::Mul, pair(Binary::Eq, own, other), before);
        let read = |strides: [usize; 3]| Access { tile: src, offset: 0, strides: strides.into() };
        self.draft.body.push(Stmt::Nest(Nest {
            extents: vec![rows, width],
            dst: Access { tile: ahead, offset: 0, strides: vec![width, 1] },
            reduce: Some((Reduction::Sum, width)),
            expr: pair(Binary::Add, larger, tied),
            args: vec![read([width, 1, 0]), read([width, 0, 1])],
        }));
        let dst = self.fresh(id, "top", dtype);
        let count = Expr::Const(self.term.facts(k).count() as f64);
        let view = self.draft.whole(ahead);
        let (to, arg) = (self.draft.whole(dst), Arg { view, transposed: false });
        self.draft.map(to, pair(Binary::Lt, Expr::Arg(0), count), vec![arg]);
        Ok(dst)
    }

    /// Elements of rows taken to other rows or features, repeated, or summed over neighbouring rows.
    fn regrouped(&mut self, id: Id, x: Id, dtype: Dtype) -> Result<TileId, Diagnostic> {
        let src = self.view(x, Form::Shared)?.tile;
        let dst = self.fresh(id, "rows", dtype);
        let [rows, width] = self.size(x);
        let count = |n: &Id| self.term.facts(*n).count();
        let nest = |extents: &[usize], to: &[usize], from: &[usize], reduce| Nest {
            extents: extents.to_vec(),
            dst: Access { tile: dst, offset: 0, strides: to.to_vec() },
            reduce,
            expr: Expr::Arg(0),
            args: vec![Access { tile: src, offset: 0, strides: from.to_vec() }],
        };
        let nest = match self.term.node(id) {
            Seq::Tile([n, _]) => {
                let n = count(n);
                nest(&[rows, n, width], &[n * width, width, 1], &[width, 0, 1], None)
            }
            Seq::Tots([n, _]) => {
                let n = count(n);
                let sum = Some((Reduction::Sum, n));
                nest(&[rows / n, width], &[width, 1], &[n * width, 1, width], sum)
            }
            Seq::Tr(_) => {
                let blocks = self.blocks(x);
                let each = rows / blocks;
                nest(
                    &[blocks, width, each],
                    &[rows / blocks * width, each, 1],
                    &[rows / blocks * width, 1, width],
                    None,
                )
            }
            // The same elements in order.
            _ => nest(&[rows * width], &[1], &[1], None),
        };
        self.draft.body.push(Stmt::Nest(nest));
        Ok(dst)
    }

    /// What a value is joined from, if nobody else reads the joined value: then it needs no tile.
    fn parts(&self, id: Id, rows: bool) -> Vec<Id> {
        let alone = self.uses[usize::from(id)] == 1;
        match *self.term.node(id) {
            Seq::Weave([a, b]) if alone && rows => {
                [self.parts(a, rows), self.parts(b, rows)].concat()
            }
            Seq::Cat([a, b]) if alone && !rows => {
                [self.parts(a, rows), self.parts(b, rows)].concat()
            }
            _ => vec![id],
        }
    }

    /// The tile that an input is loaded to.
    fn input(&mut self, id: Id, name: &str) -> TileId {
        let leaf = self.term.leaf(id).expect("the node is a leaf").clone();
        if let Source::Table(values) = leaf.source {
            let home = Home::Shared { stages: 1 };
            let dst = self.draft.tile("table", self.size(id), self.build.compute, home);
            self.draft.setup.push(Stmt::Table { dst, values });
            return dst;
        }
        debug_assert_ne!(leaf.kind, LeafKind::State, "states are loaded with their loop");
        let input = self.recurrence.inputs.iter().find(|i| i.name == name);
        let input = input.expect("leaves are inputs of the recurrence");
        let dtype = self.recurrence.input_dtype(input, self.build.dtype);
        let dims = self.build.sizes(self.recurrence, &input.dims);
        let split = self.setting.parts > 1
            && self.columns[usize::from(id)]
            && self.term.shape(id).features > 1;
        let param = params::input(input, dtype, &dims, split, leaf.transposed);
        let param = if input.rate == Rate::Token { params::as_row(param) } else { param };
        let param = self.draft.param(param);
        let stages = if input.rate == Rate::Token { self.setting.stages } else { 1 };
        let dst = self.draft.tile(name, self.size(id), dtype, Home::Shared { stages });
        if input.rate == Rate::Token {
            self.loads.push((dst, param));
        } else {
            self.draft.setup.push(Stmt::Load { dst, param, ahead: 0, col: 0 });
            self.draft.setup.push(Stmt::Commit);
        }
        dst
    }
}
