//! States with one constant transition that are written along one constant vector: a convolution inside
//! the chunk, and reads of the state before it.
//!
//! The vectors `A^t c` of the readers are made once, before the first chunk, and stay in shared memory: what
//! a chunk adds to its own outputs is the convolution with `c^T A^j b`, what came before it `c^T A^t H`. The
//! state moves a whole chunk at a time, by `A^C` and by the vectors `A^j b`, which are constants. A chunk
//! that is not full moves it too far, so the last state is found from the one before: the number of its
//! tokens in binary says which of the powers `A, A^2, A^4, ..` to take.

use super::Scan;
use super::mixed::{Halves, refused};
use super::value::Form;
use crate::schedule::draft::{Home, too_large};
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    Access, Arg, CopyMap, Expr, Nest, Over, ParamId, ParamKind, Reduction, Start, Stmt, TileId,
};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{Array3, LeafKind, Mask, Root, Seq, Source};
use std::sync::Arc;

/// The tiles of one loop.
#[derive(Clone)]
pub(super) struct Loop {
    /// Transition, direction, what is written, first state.
    operands: [Id; 4],
    /// The state before the chunk, `[K, V]`, and that before the last chunk.
    state: TileId,
    before: TileId,
    /// Tokens of the last chunk.
    count: TileId,
    /// `A^{C-1-t} b` in rows, in both halves.
    directions: Halves,
}

/// What is made once for all readers.
#[derive(Default)]
pub(super) struct Shared {
    loops: Vec<Loop>,
    /// Vectors `A^t x` by node: a row a step.
    powers: Vec<(Id, TileId)>,
    /// What is written, the last token first.
    flipped: Vec<(Id, TileId)>,
    matrices: Vec<Matrix>,
    /// What a matrix is multiplied with, in both halves.
    halves: Option<[TileId; 2]>,
}

/// A constant transition: in setup itself, in the body what it is after a whole chunk, in the end its powers
/// one after the other.
#[derive(Clone)]
struct Matrix {
    leaf: Id,
    tiles: [TileId; 2],
    /// `A, A^2, A^4, ..` up to a whole chunk, rounded and what the rounding lost.
    powers: Vec<[Arc<[f64]>; 2]>,
}

impl Matrix {
    fn fill(&self, doublings: usize) -> impl Iterator<Item = Stmt> {
        let values = self.powers[doublings].clone();
        self.tiles.into_iter().zip(values).map(|(dst, values)| Stmt::Table { dst, values })
    }
}

impl Scan<'_> {
    /// `dots n P H` for states before chunks.
    pub(super) fn dots(&mut self, id: Id) -> Result<TileId, Diagnostic> {
        let Seq::Dots([_, p, h]) = *self.term.node(id) else { unreachable!("the caller matched") };
        if !matches!(self.term.node(self.base(h)), Seq::Lhist(_)) {
            return Err(refused("inner products with something else than states"));
        }
        let powers = self.vectors(p)?;
        let state = self.lti_state(self.base(h))?;
        let [steps, width] = self.size(id);
        let keys = self.size(h)[0];
        let dst = self.fresh(id, "past", self.build.compute);
        let from = (powers, 0, vec![keys * width, 1, width]);
        let args = [from, (state, 0, vec![0, 1, width])];
        self.nest(vec![steps, width], (dst, 0, vec![width, 1]), &args, Some(keys));
        Ok(dst)
    }

    /// `conv m k u` with a constant kernel.
    pub(super) fn convolution(&mut self, id: Id) -> Result<TileId, Diagnostic> {
        let Seq::Conv([m, k, u]) = *self.term.node(id) else { unreachable!("the caller matched") };
        let Seq::Dots([_, p, b]) = *self.term.node(self.base(k)) else {
            return Err(refused("a convolution with something computed"));
        };
        let [steps, width] = self.size(id);
        let compute = self.build.compute;
        // Zeros before the first lag, so that every step meets every write.
        let kernel = self.shared("kernel", [2 * steps - 1, width], compute);
        self.in_setup(|scan| scan.draft.body.push(Stmt::Fill { dst: kernel, value: 0.0 }));
        let first = if self.mask(m) == Mask::Incl { steps - 1 } else { steps };
        self.lags((kernel, first), p, b)?;
        let flipped = self.flipped(u)?;
        let dst = self.fresh(id, "conv", compute);
        let args = [(kernel, 0, vec![width, 1, width]), (flipped, 0, vec![0, 1, width])];
        self.nest(vec![steps, width], (dst, 0, vec![width, 1]), &args, Some(steps));
        Ok(dst)
    }

    /// What steps give to later ones, from row `first` of `kernel` on.
    fn lags(&mut self, (kernel, first): (TileId, usize), p: Id, b: Id) -> Result<(), Diagnostic> {
        let [rows, width] = self.extents(kernel);
        let Some(b) = self.numbers(b) else {
            return Err(refused("a convolution with something computed"));
        };
        let direction = self.table(&b, self.build.compute);
        let count = rows - first;
        let lag = |scan: &mut Self, from: (TileId, usize), skipped: usize| {
            let (powers, next) = from;
            let args = [(powers, 0, vec![next, 1, width]), (direction, 0, vec![0, 0, 1])];
            let to = (kernel, (first + skipped) * width, vec![width, 1]);
            let lags = if next == 0 { 1 } else { count - skipped };
            scan.in_setup(|scan| scan.nest(vec![lags, width], to, &args, Some(b.rows)));
        };
        // The vectors that read the state after a step are those of the next step's kernel.
        match self.after_step(p) {
            None => {
                let powers = self.vectors(p)?;
                lag(self, (powers, b.rows * width), 0);
            }
            Some((x, later)) => {
                let powers = self.vectors(later)?;
                let source = self.view(x, Form::Shared)?.tile;
                lag(self, (source, 0), 0);
                lag(self, (powers, b.rows * width), 1);
            }
        }
        Ok(())
    }

    /// What powers before steps are of, and the same powers after steps, if the term has them.
    fn after_step(&self, p: Id) -> Option<(Id, Id)> {
        let Seq::Krylov([m, n, a, x]) = *self.term.node(self.base(p)) else { return None };
        let same = |id: &Id| match *self.term.node(*id) {
            Seq::Krylov([other, o, b, y]) => {
                self.mask(other) == Mask::Incl && [o, b, y] == [n, a, x]
            }
            _ => false,
        };
        let later = self.term.ids().find(same).filter(|_| self.mask(m) == Mask::Strict);
        later.map(|later| (x, later))
    }

    /// The state before the chunk.
    pub(super) fn lti_state(&mut self, id: Id) -> Result<TileId, Diagnostic> {
        let index = self.open_lti(id)?;
        Ok(self.lti.loops[index].state)
    }

    /// The vectors of a `krylov` node, a row a step, each as `[K, F]`.
    fn vectors(&mut self, id: Id) -> Result<TileId, Diagnostic> {
        let id = self.base(id);
        if let Some((_, tile)) = self.lti.powers.iter().find(|(known, _)| *known == id) {
            return Ok(*tile);
        }
        let Seq::Krylov([m, n, a, x]) = *self.term.node(id) else {
            return Err(refused("powers that are no vectors"));
        };
        let (steps, [keys, width]) = (self.term.facts(n).count(), self.size(x));
        let (compute, budget) = (self.build.compute, self.build.target.shared_bytes);
        let bytes = steps * keys * width * compute.bytes();
        if bytes > budget {
            return Err(too_large(bytes, budget));
        }
        let is_input = self.term.leaf(x).is_some_and(|leaf| leaf.kind == LeafKind::Model);
        let (leaf, turned) = match *self.term.node(a) {
            Seq::Tr([leaf]) => (leaf, true),
            _ => (a, false),
        };
        let Some(matrix) = self.matrix(leaf).filter(|_| is_input) else {
            return Err(refused("powers of something computed"));
        };
        let mask = self.mask(m);
        let source = self.view(x, Form::Shared)?.tile;
        let powers = self.shared("powers", [steps, keys * width], compute);
        let [latest, next] =
            ["latest", "next"].map(|name| self.shared(name, [keys, width], compute));
        self.in_setup(|scan| {
            scan.draft.body.push(Stmt::WaitLoads { pending: 0 });
            scan.draft.body.extend(matrix.fill(0));
            for step in 0..steps {
                let from = if step == 0 { source } else { latest };
                if step == 0 && mask == Mask::Strict {
                    scan.moved_whole(latest, from);
                } else {
                    scan.transformed(next, (&matrix, turned), from, Start::Zero);
                    scan.moved_whole(latest, next);
                }
                let to = (powers, step * keys * width, vec![1]);
                scan.nest(vec![keys * width], to, &[(latest, 0, vec![1])], None);
            }
        });
        self.lti.powers.push((id, powers));
        Ok(powers)
    }

    /// The loop of an `lhist` or `lfin` node.
    fn open_lti(&mut self, id: Id) -> Result<usize, Diagnostic> {
        let (Seq::Lhist([_, a, b, u, s]) | Seq::Lfin([_, a, b, u, s])) = *self.term.node(id) else {
            return Err(refused("a state that no loop has"));
        };
        let operands = [a, b, u, s].map(|x| self.base(x));
        let known = |known: &Loop| known.operands == operands;
        if let Some(index) = self.lti.loops.iter().position(known) {
            return Ok(index);
        }
        let (Some(transition), Some(direction)) = (self.numbers(a), self.numbers(b)) else {
            return Err(refused("a transition that is no constant"));
        };
        let (param, first) = self.state_leaf_param(s, ParamKind::StateIn)?;
        let ([keys, width], compute) = (self.size(s), self.build.compute);
        let state = self.shared("state", [keys, width], compute);
        let before = self.shared("before", [keys, width], compute);
        let count = self.shared("count", [1, 1], compute);
        let setup = &mut self.draft.setup;
        setup.push(Stmt::Fill { dst: state, value: first });
        setup.push(Stmt::Load { dst: state, param, ahead: 0, col: 0 });
        setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
        setup.push(Stmt::Fill { dst: count, value: 0.0 });
        self.in_setup(|scan| scan.moved_whole(before, state));
        let steps = self.setting.chunk;
        let columns: Vec<Array3> =
            std::iter::successors(Some(direction), |x| Some(Array3::product(&transition, x)))
                .take(steps)
                .collect();
        let rows = columns.iter().rev().flat_map(|column| column.data.iter().copied()).collect();
        let exact = Array3 { blocks: 1, rows: steps, features: keys, data: rows };
        let halves = self.rounded_table(&exact);
        let directions = halves.map(|half| self.table(&half, self.operand)).to_vec();
        self.lti.loops.push(Loop { operands, state, before, count, directions });
        Ok(self.lti.loops.len() - 1)
    }

    /// The parameter of a state whose transpose the term has, and its first value.
    fn state_leaf_param(&mut self, s: Id, kind: ParamKind) -> Result<(ParamId, f64), Diagnostic> {
        let Seq::Tr([leaf]) = *self.term.node(s) else {
            return Err(refused("a state that starts from something computed"));
        };
        let (Some(known), Seq::Var(name)) = (self.term.leaf(leaf), self.term.node(leaf)) else {
            return Err(refused("a state that starts from something computed"));
        };
        let Source::Number(first) = known.source else {
            return Err(refused("a dense state with a learned start"));
        };
        Ok((self.turned_state(name, kind, !known.transposed), first))
    }

    fn turned_state(&mut self, name: &str, kind: ParamKind, transposed: bool) -> ParamId {
        let param = self.state_param(name, kind, transposed);
        self.draft.param(param)
    }

    /// Takes every state over the chunk.
    pub(super) fn update_lti(&mut self) -> Result<(), Diagnostic> {
        let (steps, compute) = (self.setting.chunk, self.build.compute);
        for Loop { operands, state, before, count, directions } in self.lti.loops.clone() {
            let [a, _, u, _] = operands;
            let live = self.shared("live", [steps, 1], compute);
            let exists = Expr::Live { rows: 1, value: Box::new(Expr::Const(1.0)) };
            let [dst, src] = [count, live].map(|tile| self.draft.whole(tile));
            self.draft.map(src, exists, vec![]);
            let op = Reduction::Sum;
            self.draft.body.push(Stmt::Reduce { op, dst, src, over: Over::Rows });
            self.moved_whole(before, state);
            let next = self.shared("next", self.extents(state), compute);
            let written = self.written_halves(u)?;
            self.small_product(next, (&directions, true), (&written, false), Start::Zero);
            let matrix = self.matrix(a).ok_or_else(|| refused("a transition that varies"))?;
            self.draft.setup.extend(matrix.fill(matrix.powers.len() - 1));
            self.transformed(next, (&matrix, false), state, Start::Dst);
            self.moved_whole(state, next);
        }
        Ok(())
    }

    /// Stores the state after the last token: that before the last chunk, taken as far as it has tokens.
    pub(super) fn final_lti(&mut self, root: &Root, id: Id) -> Result<(), Diagnostic> {
        let index = self.open_lti(id)?;
        let Loop { operands, state, before, count, directions } = self.lti.loops[index].clone();
        let [a, _, u, _] = operands;
        let matrix = self.matrix(a).ok_or_else(|| refused("a transition that varies"))?;
        let flipped = self.flipped(u)?;
        let (steps, compute) = (self.setting.chunk, self.build.compute);
        let [keys, width] = self.extents(state);
        let bit = self.shared("bit", [1, 1], compute);
        let last = self.shared("last", [steps, width], compute);
        let param = self.turned_state(&root.name, ParamKind::StateOut, !root.transposed);
        self.draft.setup.push(Stmt::Fill { dst: flipped, value: 0.0 });
        let begin = self.draft.body.len();
        for doublings in 0..matrix.powers.len() {
            self.draft.body.extend(matrix.fill(doublings));
            self.transformed(state, (&matrix, false), before, Start::Zero);
            self.general(&[1], (bit, &[1]), &[(count, &[1])], digit(doublings), None);
            let args: [(TileId, &[usize]); 3] = [(bit, &[0]), (state, &[1]), (before, &[1])];
            let [set, moved, kept] = [0, 1, 2].map(|i| Box::new(Expr::Arg(i)));
            let chosen = Expr::Select(set, moved, kept);
            self.general(&[keys * width], (before, &[1]), &args, chosen, None);
        }
        // What the last chunk wrote, its last token in the last row.
        let place = [Expr::Index(0), Expr::Index(2), Expr::Arg(0)].into_iter().reduce(sum);
        let whole = Expr::Const((2 * steps - 1) as f64);
        let meets = place.map(|place| binary(Binary::Eq, place, whole));
        let meets = Box::new(meets.unwrap_or(Expr::Const(0.0)));
        let taken = Expr::Select(meets, Box::new(Expr::Arg(1)), Box::new(Expr::Const(0.0)));
        let args: [(TileId, &[usize]); 2] = [(count, &[0, 0, 0]), (flipped, &[0, 1, width])];
        self.general(&[steps, width], (last, &[width, 1]), &args, taken, Some(steps));
        let [rounded, lost] = [directions[0], directions[1]];
        let args: [(TileId, &[usize]); 3] =
            [(rounded, &[1, 0, keys]), (lost, &[1, 0, keys]), (last, &[0, 1, width])];
        let both = sum(Expr::Arg(0), Expr::Arg(1));
        let write = binary(Binary::Mul, both, Expr::Arg(2));
        self.general(&[keys, width], (state, &[width, 1]), &args, write, Some(steps));
        let args: [(TileId, &[usize]); 2] = [(before, &[1]), (state, &[1])];
        let all = sum(Expr::Arg(0), Expr::Arg(1));
        self.general(&[keys * width], (before, &[1]), &args, all, None);
        let stmts = self.draft.body.split_off(begin);
        self.draft.finish.extend(stmts);
        self.draft.finish.push(Stmt::Store { param, src: before, col: 0 });
        Ok(())
    }

    /// What is written, the last token of the chunk first.
    fn flipped(&mut self, u: Id) -> Result<TileId, Diagnostic> {
        let u = self.base(u);
        if let Some((_, tile)) = self.lti.flipped.iter().find(|(known, _)| *known == u) {
            return Ok(*tile);
        }
        let [steps, width] = self.size(u);
        let exchange =
            Array3::from_fn([1, steps, steps], |_, i, j| f64::from(u8::from(i + j + 1 == steps)));
        let exchange = self.table(&exchange, self.operand);
        let written = self.written_halves(u)?;
        let dst = self.shared("flipped", [steps, width], self.build.compute);
        self.small_product(dst, (&[exchange], false), (&written, false), Start::Zero);
        self.lti.flipped.push((u, dst));
        Ok(dst)
    }

    /// What is written as operands.
    fn written_halves(&mut self, u: Id) -> Result<Halves, Diagnostic> {
        if self.is_exact(u) {
            return Ok(vec![self.view(u, Form::SharedOperand)?.tile]);
        }
        let exact = self.view(u, Form::Shared)?.tile;
        Ok(self.both_halves(exact))
    }

    /// A constant of the program, if that is what a node is.
    fn numbers(&self, id: Id) -> Option<Array3> {
        if let Seq::Tr([x]) = *self.term.node(id) {
            return self.numbers(x).map(|x| x.transposed());
        }
        let Source::Table(values) = &self.term.leaf(id)?.source else { return None };
        let shape = self.term.shape(id);
        let (rows, features) = (shape.rows, shape.features);
        Some(Array3 { blocks: 1, rows, features, data: values.to_vec() })
    }

    /// A constant in shared memory from setup on.
    fn table(&mut self, values: &Array3, dtype: Dtype) -> TileId {
        let dst = self.shared("table", [values.rows, values.features], dtype);
        let values = values.data.as_slice().into();
        self.draft.setup.push(Stmt::Table { dst, values });
        dst
    }

    /// The tiles of a constant transition; none if it is not constant.
    fn matrix(&mut self, leaf: Id) -> Option<Matrix> {
        if let Some(known) = self.lti.matrices.iter().find(|known| known.leaf == leaf) {
            return Some(known.clone());
        }
        let exact = self.numbers(leaf)?;
        let twice = |x: &Array3| Some(Array3::product(x, x));
        let doublings = std::iter::successors(Some(exact), twice);
        let doublings = doublings.take(1 + self.setting.chunk.ilog2() as usize);
        let powers = doublings.map(|x| self.rounded_table(&x).map(|half| half.data.into()));
        let powers: Vec<[Arc<[f64]>; 2]> = powers.collect();
        let size = [self.size(leaf)[0]; 2];
        let tiles = ["power", "power_lost"].map(|name| self.shared(name, size, self.operand));
        self.lti.matrices.push(Matrix { leaf, tiles, powers });
        self.lti.matrices.last().cloned()
    }

    /// Constants as operands, and what the rounding lost.
    fn rounded_table(&self, exact: &Array3) -> [Array3; 2] {
        let rounded = exact.map(|x| self.operand.round(x));
        let lost = Array3::zip(&[exact, &rounded], |x| x[0] - x[1]);
        [rounded, lost]
    }

    /// `dst = start + A src`, or with the transpose of `A`, from both halves.
    fn transformed(
        &mut self,
        dst: TileId,
        (matrix, transposed): (&Matrix, bool),
        src: TileId,
        start: Start,
    ) {
        let size = self.extents(src);
        let known = self.lti.halves.filter(|halves| self.extents(halves[0]) == size);
        let halves = known.unwrap_or_else(|| {
            ["rounded", "lost"].map(|name| self.shared(name, size, self.operand))
        });
        self.lti.halves = Some(halves);
        let [rounded, lost] = halves;
        self.moved_whole(rounded, src);
        let minus = Expr::Unary(Unary::Neg, Box::new(Expr::Arg(1)));
        let args = [src, rounded].map(|t| Arg { view: self.draft.whole(t), transposed: false });
        let to = self.draft.whole(lost);
        self.draft.map(to, sum(Expr::Arg(0), minus), args.to_vec());
        self.small_product(dst, (&matrix.tiles, transposed), (&halves, false), start);
    }

    fn extents(&self, tile: TileId) -> [usize; 2] {
        let tile = &self.draft.tiles[tile.0];
        [tile.rows, tile.cols]
    }

    fn shared(&mut self, name: &str, size: [usize; 2], dtype: Dtype) -> TileId {
        self.draft.tile(name, size, dtype, Home::Shared { stages: 1 })
    }

    /// Appends `dst = src` to the body.
    fn moved_whole(&mut self, dst: TileId, src: TileId) {
        let [dst, src] = [dst, src].map(|tile| self.draft.whole(tile));
        self.draft.body.push(Stmt::Copy { dst, src, map: CopyMap::Whole });
    }

    /// Moves what is appended to the body to the end of setup.
    fn in_setup(&mut self, append: impl FnOnce(&mut Self)) {
        let begin = self.draft.body.len();
        append(self);
        let stmts = self.draft.body.split_off(begin);
        self.draft.setup.extend(stmts);
    }

    /// Appends any expression of elements, summed over one more loop if there is one.
    fn general(
        &mut self,
        extents: &[usize],
        (dst, to): (TileId, &[usize]),
        args: &[(TileId, &[usize])],
        expr: Expr,
        sum: Option<usize>,
    ) {
        let access =
            |tile, strides: &[usize]| Access { tile, offset: 0, strides: strides.to_vec() };
        self.draft.body.push(Stmt::Nest(Nest {
            extents: extents.to_vec(),
            dst: access(dst, to),
            reduce: sum.map(|count| (Reduction::Sum, count)),
            expr,
            args: args.iter().map(|(tile, strides)| access(*tile, strides)).collect(),
        }));
    }
}

fn binary(f: Binary, a: Expr, b: Expr) -> Expr {
    Expr::Binary(f, Box::new(a), Box::new(b))
}

fn sum(a: Expr, b: Expr) -> Expr {
    binary(Binary::Add, a, b)
}

/// A binary digit of argument 0.
fn digit(place: usize) -> Expr {
    let shifted = |by: usize| {
        let scale = Expr::Const(1.0 / (1usize << by) as f64);
        Expr::Unary(Unary::Floor, Box::new(binary(Binary::Mul, Expr::Arg(0), scale)))
    };
    sum(shifted(place), binary(Binary::Mul, Expr::Const(-2.0), shifted(place + 1)))
}
