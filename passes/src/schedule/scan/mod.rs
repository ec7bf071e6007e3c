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
mod value;

pub use halves::longest_chunk;

use super::Build;
use super::draft::{Draft, Shape};
use super::params;
use super::roles;
use egg::Id;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Checked, Layout, ParamId, Schedule, Stmt, TileId};
use sluice_ir::seq::{Core, Mask, RootKind, Seq, Term};
use sluice_ir::step::Recurrence;
use std::collections::BTreeMap;
use value::Form;

/// Columns that one block of the grid owns when the value axis is wider.
const PART: usize = 128;

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
    let columns = axes::column_nodes(term);
    let widest = columns.iter().map(|id| term.shape(*id).features).max().unwrap_or(1);
    let whole = axes::mixes_columns(term, &columns);
    let parts = if whole { 1 } else { widest.div_ceil(PART) };
    let setting = Setting { chunk, stages: STAGES, parts, mixed, in_roles: false };
    if term.loops().is_empty() {
        return in_any_parts(recurrence, term, build, (setting, if whole { 1 } else { widest }));
    }
    for choice in roles::CHOICES {
        let setting = Setting { stages: choice.stages, in_roles: true, ..setting };
        match in_roles(recurrence, term, build, (setting, choice)) {
            Ok(Some(kernel)) => return Ok(kernel),
            Ok(None) => break,
            Err(error) if error.code == Code::TooLarge => {}
            Err(error) => return Err(error),
        }
    }
    in_stages(recurrence, term, build, setting)
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

fn in_stages(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    mut setting: Setting<'_>,
) -> Result<Checked, Diagnostic> {
    loop {
        match attempt(recurrence, term, build, setting) {
            Err(error) if error.code == Code::TooLarge && setting.stages > 1 => setting.stages -= 1,
            result => return result,
        }
    }
}

/// Stages of loads that are tried first.
const STAGES: usize = 3;

/// Fewest columns of a part: less would leave tensor cores without work.
const NARROWEST: usize = 8;

/// Warps of a kernel whose values are all in shared memory.
const SHARED_WARPS: usize = 8;

/// Choices of one attempt.
#[derive(Clone, Copy)]
struct Setting<'a> {
    chunk: usize,
    stages: usize,
    parts: usize,
    /// States whose last values are mixed.
    mixed: &'a [String],
    /// Whether the body will be split into roles.
    in_roles: bool,
}

fn attempt(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    setting: Setting<'_>,
) -> Result<Checked, Diagnostic> {
    let mut scan = Scan::new(recurrence, term, build, setting);
    scan.lower()?;
    let shape = scan.shape();
    scan.draft.pipeline(&scan.loads, setting.stages);
    scan.draft.close(shape)
}

/// The same in roles, if the target has them and the program gains by them.
fn in_roles(
    recurrence: &Recurrence,
    term: &Term,
    build: &Build<'_>,
    (setting, choice): (Setting<'_>, roles::Choice),
) -> Result<Option<Checked>, Diagnostic> {
    let mut scan = Scan::new(recurrence, term, build, setting);
    scan.lower()?;
    let shape = scan.shape();
    roles::split(&scan.draft, &scan.loads, choice, &shape, build.target)
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
        Shape {
            name: format!("{}_scan{}", self.recurrence.name, self.setting.chunk),
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
