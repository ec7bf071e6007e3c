//! The fused scan: one kernel whose state stays on chip for the whole sequence.
//!
//! In: a chunked sequence term.  Out: a kernel whose body computes one chunk. Every node of the term
//! is a tile of the chunk (its blocks are the chunk's sub-blocks), every history a state in
//! registers that is read first and updated last. Values whose features are columns of a state live
//! in columns, everything else in shared memory; pointwise nodes are fused into the products and
//! maps that read them.

mod amplify;
mod axes;
mod dense;
mod ends;
mod features;
mod fuse;
mod halves;
mod history;
mod lti;
mod mixed;
mod mixing;
mod product;
mod score;
mod value;

pub use halves::longest_chunk;

use super::Build;
use super::draft::{Draft, Shape, finished};
use super::params;
use super::prepare::{self, Halves, Loading};
use super::roles;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Checked, Kernel, Layout, ParamId, Schedule, Stmt, TileId};
use sluice_ir::seq::{Core, Mask, RootKind, Seq, Term};
use sluice_ir::step::Recurrence;
use std::collections::BTreeMap;
use value::Form;

/// Columns that one block of the grid owns when the value axis is wider, and where blocks are to be many.
const PART: usize = 128;
const FINE_PART: usize = 64;

/// Lowers a chunked term to its fused scan.
///
/// `term` must have been chunked with `chunk` tokens. The last values of the states named in `mixed`
/// will be added up with each other, and one may be small beside another. Tries three stages of loads,
/// then fewer, until the tiles fit the target's shared memory.
pub fn fused_scan(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    chunk: usize,
    mixed: &[String],
) -> Result<Checked, Diagnostic> {
    scan_in_parts(recurrence, term, build, (chunk, PART), mixed)
}

/// The scan for so few sequences and heads that blocks with half as many columns as those of `coarse` all
/// run at once, and for how many that is; none where no such kernel has as many roles, or is prepared alike.
///
/// None either where finer parts gain nothing: chunks wait for the inverse of a matrix, however few columns
/// a block has, or one role does everything, so that half the columns leave half the warps for the rest.
pub fn fine_scan(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    mixed: &[String],
    coarse: &Kernel,
) -> Option<(Checked, usize)> {
    let mut stmts = coarse.roles.iter().flat_map(|role| &role.body);
    let inverts = stmts.any(|stmt| matches!(stmt, Stmt::Inverse { .. }));
    if inverts || coarse.roles.len() == 1 {
        return None;
    }
    let fine = scan_in_parts(recurrence, term, build, (coarse.chunk, FINE_PART), mixed).ok()?;
    let instances = build.target.processors / fine.parts;
    let alike = fine.roles.len() == coarse.roles.len() && fine.prepare == coarse.prepare;
    (alike && fine.parts > coarse.parts && instances > 0).then_some((fine, instances))
}

fn scan_in_parts(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    (chunk, width): (usize, usize),
    mixed: &[String],
) -> Result<Checked, Diagnostic> {
    let columns = axes::column_nodes(term);
    let widest = columns.iter().map(|id| term.shape(*id).features).max().unwrap_or(1);
    let whole = axes::mixes_columns(term, &columns);
    let parts = if whole { 1 } else { widest.div_ceil(width) };
    let fine = width < PART;
    let setting = Setting { chunk, stages: STAGES, parts, fine, mixed, in_roles: false };
    if term.loops().is_empty() {
        return in_any_parts(recurrence, term, build, (setting, if whole { 1 } else { widest }));
    }
    let in_roles = roles::CHOICES.map(|choice| {
        (Setting { stages: choice.stages, in_roles: true, ..setting }, Way::Roles(choice))
    });
    let together = [3, 2, 1].map(|stages| (Setting { stages, ..setting }, Way::Together));
    type Schedule<'s> = &'s dyn Fn((Setting<'_>, Way)) -> Result<Option<Checked>, Diagnostic>;
    let schedules: [Schedule<'_>; 2] =
        [&|choice| prepared(recurrence, term, build, choice), &|choice| {
            alone(recurrence, term, build, choice)
        }];
    let mut refusal = None;
    for schedule in schedules {
        for ways in [&in_roles[..], &together[..]] {
            for way in ways {
                match schedule(*way) {
                    Ok(Some(kernel)) => return Ok(kernel),
                    Ok(None) => break,
                    Err(error) if error.code == Code::TooLarge => refusal = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Err(refusal.expect("a kernel of one role is legal or too large"))
}

/// The same with all values in shared memory: as few parts of the columns as fit.
fn in_any_parts(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    (setting, widest): (Setting<'_>, usize),
) -> Result<Checked, Diagnostic> {
    let mut width = PART;
    loop {
        let setting = Setting { parts: widest.div_ceil(width), ..setting };
        match in_stages(recurrence, term, build, setting) {
            Err(error) if error.code == Code::TooLarge && width.min(widest) > NARROWEST => {
                width /= 2;
            }
            result => return result,
        }
    }
}

/// How the statements of a scan are dealt to its warps.
#[derive(Clone, Copy)]
enum Way {
    /// To roles that run side by side.
    Roles(roles::Choice),
    /// All to all.
    Together,
}

fn in_stages(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    mut setting: Setting<'_>,
) -> Result<Checked, Diagnostic> {
    loop {
        match alone(recurrence, term, build, (setting, Way::Together)) {
            Err(error) if error.code == Code::TooLarge && setting.stages > 1 => setting.stages -= 1,
            result => {
                return result.map(|kernel| kernel.expect("one role is always to be had"));
            }
        }
    }
}

/// Stages of loads that are tried first.
const STAGES: usize = 3;

/// Fewest columns of a part: less would leave tensor cores without work.
const NARROWEST: usize = 8;

/// Warps of a kernel whose values are all in shared memory.
const SHARED_WARPS: usize = 8;

/// Registers a thread of a kernel that prepares a scan: two blocks share a multiprocessor, or one has the warps
/// of two.
const PREPARING_REGISTERS: usize = 128;

/// Shared memory that the system takes of each block.
const RESERVED_BYTES: usize = 1024;

/// Choices of one attempt.
#[derive(Clone, Copy)]
struct Setting<'a> {
    chunk: usize,
    stages: usize,
    parts: usize,
    /// Whether parts are finer than they need be.
    fine: bool,
    /// States whose last values are mixed.
    mixed: &'a [String],
    /// Whether the body will be split into roles.
    in_roles: bool,
}

/// One kernel for everything; none in roles, if the target has none or the program gains nothing by them.
fn alone(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    (setting, way): (Setting<'_>, Way),
) -> Result<Option<Checked>, Diagnostic> {
    let mut scan = Scan::new(recurrence, term, build, setting);
    scan.lower()?;
    let shape = scan.shape();
    dealt(Loading { draft: scan.draft, loads: scan.loads }, (shape, setting.stages), way, build)
}

fn dealt(
    Loading { mut draft, loads }: Loading,
    (shape, stages): (Shape, usize),
    way: Way,
    build: &Build<'_>,
) -> Result<Option<Checked>, Diagnostic> {
    if let Way::Roles(choice) = way {
        return roles::split(&draft, &loads, choice, &shape, build.target);
    }
    draft.pipeline(&loads, stages);
    draft.close(shape).map(Some)
}

/// The same with a kernel before it for what needs no state; none also if the program gains nothing by that.
fn prepared(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    (setting, way): (Setting<'_>, Way),
) -> Result<Option<Checked>, Diagnostic> {
    let mut scan = Scan::new(recurrence, term, build, setting);
    // Rows that the compiler made are rounded once only where their scores are whole.
    let rounded = |node: &Seq| match *node {
        Seq::Score(s @ [_, p, a, _]) => {
            !scan.scores_steps(s) && [p, a].into_iter().any(|x| !scan.is_exact(x))
        }
        _ => false,
    };
    if term.nodes().iter().any(rounded) {
        return Ok(None);
    }
    scan.lower()?;
    let (shape, name) = (scan.shape(), format!("{}_prepare{}", recurrence.name, setting.chunk));
    let names = (&shape, recurrence.name.as_str());
    let Some(halves) = prepare::split(&scan.draft, &scan.loads, names, setting.stages) else {
        return Ok(None);
    };
    let schedule = Schedule::Prepare;
    let own = Shape { name, schedule, parts: 1, warps: SHARED_WARPS, ..scan.shape() };
    let Halves { before: Loading { mut draft, loads }, scan } = halves;
    let Some(kernel) = dealt(scan, (shape, setting.stages), way, build)? else { return Ok(None) };
    draft.pipeline(&loads, 1);
    let half = (build.target.shared_bytes + RESERVED_BYTES) / 2 - RESERVED_BYTES;
    let before = match draft.clone().close(Shape { budget: half, ..own.clone() }) {
        Err(error) if error.code == Code::TooLarge => {
            draft.close(Shape { warps: 2 * SHARED_WARPS, ..own })
        }
        other => other,
    };
    let mut before = Kernel::clone(&*before?);
    before.roles[0].registers = Some(PREPARING_REGISTERS);
    let before = finished(before)?;
    finished(Kernel { prepare: Some(Box::new(before)), ..Kernel::clone(&kernel) }).map(Some)
}

/// A lowering in progress.
struct Scan<'a> {
    recurrence: &'a Recurrence,
    term: &'a Term,
    build: &'a Build<'a>,
    setting: Setting<'a>,
    /// Element type of matrix operands.
    operand: Dtype,
    draft: Draft,
    /// Whether the features of a node are columns of a state.
    columns: Vec<bool>,
    /// Whether states are in columns.
    in_columns: bool,
    /// How many nodes read a node.
    uses: Vec<usize>,
    /// Whether some reader of a node wants more than operand precision.
    wide: Vec<bool>,
    /// What products need because of their readers.
    needs: Vec<amplify::Need>,
    /// Tiles of nodes by form.
    made: BTreeMap<(Id, Form), TileId>,
    /// Gates bounded below, running sums, inverses: made once for all readers.
    gates: BTreeMap<Id, TileId>,
    runs: BTreeMap<(Id, Mask), TileId>,
    totals: BTreeMap<Id, TileId>,
    inverses: BTreeMap<Id, product::Inverse>,
    /// Column tiles as matrix operands.
    operands: BTreeMap<TileId, TileId>,
    /// What operands lost when they were rounded.
    lost: BTreeMap<TileId, TileId>,
    /// Loops in the order in which their states are updated.
    loops: Vec<(Core, history::Loop)>,
    /// Loops with a dense transition, and powers of transitions by doublings.
    dense: Vec<dense::Rows>,
    powers: BTreeMap<(Id, u32), [TileId; 2]>,
    /// Loops with a constant transition and direction, and what their readers share.
    lti: lti::Shared,
    /// Loops of stacked states, rows cut to parts, and products of matrices.
    stacked: Vec<mixed::Stacked>,
    stacked_parts: BTreeMap<(Id, bool), Vec<Vec<TileId>>>,
    chains: BTreeMap<Id, TileId>,
    /// Token inputs that each chunk loads.
    loads: Vec<(TileId, ParamId)>,
}

impl<'a> Scan<'a> {
    fn new(
        recurrence: &'a Recurrence,
        term: &'a Term,
        build: &'a Build<'a>,
        setting: Setting<'a>,
    ) -> Self {
        let mut columns = vec![false; term.nodes().len()];
        axes::column_nodes(term).into_iter().for_each(|id| columns[usize::from(id)] = true);
        let (uses, wide) = value::readers(term);
        let mut scan = Self {
            recurrence,
            term,
            build,
            setting,
            operand: build.operand(),
            draft: Draft::default(),
            columns,
            in_columns: !term.loops().is_empty(),
            uses,
            wide,
            needs: amplify::needs(term, build.dtype != build.operand()),
            made: BTreeMap::new(),
            gates: BTreeMap::new(),
            runs: BTreeMap::new(),
            totals: BTreeMap::new(),
            inverses: BTreeMap::new(),
            operands: BTreeMap::new(),
            lost: BTreeMap::new(),
            loops: Vec::new(),
            dense: Vec::new(),
            powers: BTreeMap::new(),
            lti: lti::Shared::default(),
            stacked: Vec::new(),
            stacked_parts: BTreeMap::new(),
            chains: BTreeMap::new(),
            loads: Vec::new(),
        };
        // States that pass from step to step are rounded for their readers only.
        for id in term.ids() {
            let passes = matches!(term.node(id), Seq::Drun(_) | Seq::Dhist(_));
            if passes || scan.reads_stacked(id) {
                scan.wide[usize::from(id)] = true;
            }
        }
        scan.widen();
        scan
    }

    fn shape(&self) -> Shape {
        let fine = if self.setting.fine { "_fine" } else { "" };
        Shape {
            name: format!("{}_scan{}{fine}", self.recurrence.name, self.setting.chunk),
            schedule: Schedule::FusedScan,
            chunk: self.setting.chunk,
            order: self.build.order(self.recurrence),
            layout: Layout::Fragments,
            parts: self.setting.parts,
            warps: self.widest_columns().map_or(SHARED_WARPS, |widest| widest.div_ceil(16)),
            budget: self.build.target.shared_bytes,
        }
    }

    /// The width of the widest tile in columns, if there is one.
    fn widest_columns(&self) -> Option<usize> {
        let in_columns = self.draft.tiles.iter().filter(|t| t.shared().is_none());
        in_columns.map(|t| t.cols).max()
    }

    fn lower(&mut self) -> Result<(), Diagnostic> {
        let roots = self.term.roots().to_vec();
        for root in roots.iter().filter(|r| r.kind == RootKind::Output) {
            self.output(&root.name, root.id)?;
        }
        for root in roots.iter().filter(|r| r.kind == RootKind::State) {
            self.final_state(root)?;
        }
        self.prepare_stacked()?;
        self.update_states()?;
        self.update_rows()?;
        self.update_lti()?;
        self.update_stacked()
    }

    fn output(&mut self, name: &str, id: Id) -> Result<(), Diagnostic> {
        let outputs = &self.recurrence.outputs;
        let output = outputs.iter().find(|o| o.name == name).expect("roots are the outputs");
        let dtype = self.recurrence.output_dtype(output, self.build.dtype);
        let dims = self.build.sizes(self.recurrence, &self.recurrence.node(output.node).dims);
        let (source, col) = self.column_range(id);
        let base = self.base(source);
        let form = if self.lives_in_columns(base) { Form::Columns } else { Form::Shared };
        let src = self.tile(base, form)?;
        let split = self.setting.parts > 1 && self.columns[usize::from(base)];
        let param = params::as_row(params::token_out(name, dtype, &dims, split));
        let param = self.draft.param(param);
        self.draft.body.push(Stmt::Store { param, src, col });
        Ok(())
    }

    /// The node that a root's columns are cut from, and the first of them.
    fn column_range(&self, id: Id) -> (Id, usize) {
        match self.term.node(self.base(id)) {
            Seq::Cols([first, _, x]) => {
                let (source, at) = self.column_range(*x);
                (source, at + self.term.facts(*first).count())
            }
            _ => (id, 0),
        }
    }
}
