//! States that a matrix of each token takes to the next one, `S' = A S + B`, by products of warpgroups.
//!
//! In: a recurrence of one matrix `S`, whose state before each token is its output.  Out: a kernel of two
//! roles that has `S` in registers, and one before it that makes operands of each `A`: the rounded value and
//! what rounding lost. `S` is taken in halves, too, so that a product is exact but for what both lost.
//! Columns of `S` are independent and cut into parts.

use super::draft::{Draft, Home, Shape, finished};
use super::prepare::passing;
use super::{Build, params, roles, warpgroup};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{
    Arg, Band, Body, Checked, CopyMap, Expr, Kernel, Layout, Mma, Operand, Param, ParamId,
    ParamKind, Schedule, Start, Stmt, TileId, Unit,
};
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::step::{DimId, Init, InputId, NodeId, Op, Rate, Recurrence, StateId};

/// Columns of a part: those of a warpgroup.
const PART: usize = 64;

/// Columns of a warp.
const COLUMNS: usize = 16;

/// The most rows of a state: its registers, those of a product and of both operands.
const MOST_ROWS: usize = 128;

/// What a step is made of.
struct Step {
    /// The dimensions of the state.
    rows: DimId,
    columns: DimId,
    /// The inputs `A` and `B`.
    matrix: usize,
    written: usize,
}

/// Lowers `S' = A S + B`.
///
/// # Errors
///
/// [`Code::Unsupported`] for any other recurrence, sizes that warpgroups do not take, and targets without
/// them; [`Code::TooLarge`] if `A` does not fit the target's shared memory.
pub fn joint(recurrence: &Recurrence, build: &Build<'_>) -> Result<Checked, Diagnostic> {
    let step = Step::of(recurrence).ok_or_else(refused)?;
    let [rows, columns] = [step.rows, step.columns].map(|d| build.size(recurrence, d));
    let fits = rows.is_multiple_of(PART) && rows <= MOST_ROWS && columns.is_multiple_of(PART);
    if !(fits && build.target.warpgroups) {
        return Err(refused());
    }
    let joint = Joint { recurrence, step, rows, columns, build };
    let before = joint.halved()?;
    let mut refusal = None;
    for choice in roles::CHOICES {
        match joint.scan(choice) {
            Ok(Some(kernel)) => {
                let prepare = Some(Box::new(before));
                return finished(Kernel { prepare, ..Kernel::clone(&kernel) });
            }
            Err(error) if error.code != Code::TooLarge => return Err(error),
            Err(error) => refusal = Some(error),
            Ok(None) => return Err(refused()),
        }
    }
    Err(refusal.unwrap_or_else(refused))
}

impl Step {
    /// The parts of a step `S' = A S + B` whose output is `S`.
    fn of(recurrence: &Recurrence) -> Option<Step> {
        let Recurrence { states, inputs, outputs, updates, .. } = recurrence;
        let ([state], [output], [update]) = (&states[..], &outputs[..], &updates[..]) else {
            return None;
        };
        let op = |id: NodeId| recurrence.node(id).op;
        let is_state = |id: NodeId| op(id) == Op::State(StateId(0));
        let [rows, columns] = *state.dims else { return None };
        let Op::Binary(Binary::Add, product, written) = op(*update) else { return None };
        let (Op::Dot(matrix, earlier, inner), Op::Input(InputId(written))) =
            (op(product), op(written))
        else {
            return None;
        };
        let (Op::Input(InputId(matrix)), Op::Reshape(before, to)) = (op(matrix), op(earlier))
        else {
            return None;
        };
        let plain = is_state(output.node)
            && is_state(before)
            && to == [Some(inner), Some(columns), None]
            && inputs[matrix].dims == [rows, inner]
            && inputs[written].dims == [rows, columns]
            && [matrix, written].iter().all(|i| inputs[*i].rate == Rate::Token)
            && matches!(state.init, Init::Value(_));
        plain.then_some(Step { rows, columns, matrix, written })
    }
}

/// A step with its sizes.
struct Joint<'a> {
    recurrence: &'a Recurrence,
    step: Step,
    rows: usize,
    columns: usize,
    build: &'a Build<'a>,
}

impl Joint<'_> {
    fn input(&self, index: usize, columns: usize, split: bool) -> Param {
        let input = &self.recurrence.inputs[index];
        let dtype = self.recurrence.input_dtype(input, self.build.dtype);
        params::input(input, dtype, &[self.rows, columns], split, false)
    }

    fn shape(&self, name: &str, schedule: Schedule, parts: usize, warps: usize) -> Shape {
        Shape {
            name: format!("{}_{name}", self.recurrence.name),
            schedule,
            chunk: 1,
            order: self.build.order(self.recurrence),
            layout: Layout::Fragments,
            parts,
            warps,
            budget: self.build.target.shared_bytes,
        }
    }

    /// The operands of a token's `A`, and the parameters through which they pass.
    fn halves(&self, draft: &mut Draft, kind: ParamKind, stages: usize) -> [(TileId, ParamId); 2] {
        let size = [self.rows, self.rows];
        ["rounded", "lost"].map(|name| {
            let home = Home::Shared { stages };
            let tile = draft.tile(name, size, self.build.operand(), home);
            let passing = passing(
                format!("{}.{name}", self.recurrence.name),
                &draft.tiles[tile.0],
                self.rows,
            );
            (tile, draft.param(Param { kind, ..passing }))
        })
    }

    /// The kernel that makes the operands of each token's `A`.
    fn halved(&self) -> Result<Checked, Diagnostic> {
        let mut draft = Draft::default();
        let matrix = draft.param(self.input(self.step.matrix, self.rows, false));
        let (size, home) = ([self.rows, self.rows], Home::Packed { stages: 1 });
        let a = draft.tile("a", size, self.build.compute, home);
        let halves = self.halves(&mut draft, ParamKind::TokenOut, 1);
        let [(rounded, _), (lost, _)] = halves;
        draft.body = vec![copy(&draft, rounded, a), lost_of(&draft, lost, a, rounded)];
        draft.body.extend(halves.map(|(src, param)| Stmt::Store { param, src, col: 0 }));
        draft.pipeline(&[(a, matrix)], 1);
        draft.close(self.shape("prepare", Schedule::Prepare, 1, self.rows / COLUMNS))
    }

    /// The scan over tokens; none if the target has no roles.
    fn scan(&self, choice: roles::Choice) -> Result<Option<Checked>, Diagnostic> {
        let Self { recurrence, rows, columns, build, .. } = *self;
        let (compute, state) = (build.compute, &recurrence.states[0]);
        let Init::Value(first) = state.init else {
            unreachable!("such a step starts from numbers")
        };
        let mut draft = Draft::default();
        let halves = self.halves(&mut draft, ParamKind::TokenIn, choice.stages);
        let written = draft.param(self.input(self.step.written, columns, true));
        let output = &recurrence.outputs[0];
        let dtype = recurrence.output_dtype(output, build.dtype);
        let before = params::token_out(&output.name, dtype, &[rows, columns], true);
        let before = draft.param(before);
        let [given, last] = [ParamKind::StateIn, ParamKind::StateOut].map(|kind| {
            let dims = [rows, columns];
            draft.param(params::state(&state.name, kind, &dims, (true, false), compute))
        });
        let home = Home::Shared { stages: choice.stages };
        let b = draft.tile("b", [rows, PART], compute, home);
        // Rows of fragments then lie in different banks.
        warpgroup::swizzle(&mut draft.tiles[b.0]);
        let mut in_registers =
            |name, dtype: Dtype| draft.tile(name, [rows, PART], dtype, Home::Columns);
        let [s, next] = ["s", "next"].map(|name| in_registers(name, compute));
        let [rounded, lost] =
            ["s_rounded", "s_lost"].map(|name| in_registers(name, build.operand()));
        draft.carried.push(s);
        let load = Stmt::Load { dst: s, param: given, ahead: 0, col: 0 };
        draft.setup = vec![Stmt::Fill { dst: s, value: first }, load];
        let [(a, _), (a_lost, _)] = halves;
        let product = |a, b| {
            let operand = |tile| Operand { view: draft.whole(tile), transposed: false };
            let (dst, then) = (draft.whole(next), None);
            let (start, band, unit) = (Start::Dst, Band::Full, Unit::Tensor);
            Stmt::Mma(Mma { dst, a: operand(a), b: operand(b), start, then, band, unit })
        };
        draft.body = vec![
            copy(&draft, rounded, s),
            lost_of(&draft, lost, s, rounded),
            copy(&draft, next, b),
            product(a, rounded),
            product(a, lost),
            product(a_lost, rounded),
            // Beside the products.
            Stmt::Store { param: before, src: s, col: 0 },
            copy(&draft, s, next),
        ];
        draft.finish = vec![Stmt::Store { param: last, src: s, col: 0 }];
        let loads = [halves[0], halves[1], (b, written)];
        let shape = self.shape("scan", Schedule::Loop, columns / PART, PART / COLUMNS);
        roles::split(&draft, &loads, choice, &shape, build.target)
    }
}

fn copy(draft: &Draft, dst: TileId, src: TileId) -> Stmt {
    Stmt::Copy { dst: draft.whole(dst), src: draft.whole(src), map: CopyMap::Whole }
}

/// What a value lost when it was rounded.
fn lost_of(draft: &Draft, dst: TileId, exact: TileId, rounded: TileId) -> Stmt {
    let arg = |tile| Arg { view: draft.whole(tile), transposed: false };
    let minus = Expr::Unary(Unary::Neg, Box::new(Expr::Arg(1)));
    let expr = Expr::Binary(Binary::Add, Box::new(Expr::Arg(0)), Box::new(minus));
    Stmt::Map { dst: draft.whole(dst), body: Body { expr, args: vec![arg(exact), arg(rounded)] } }
}

fn refused() -> Diagnostic {
    let message = "products by warpgroups take no such step".to_owned();
    Diagnostic::new(Code::Unsupported, message)
}
