//! The history of a state, assembled from what its update writes and decays.

use super::affine::{Symbol, Vector};
use super::padding;
use super::refusal::{Lifting, Refusal};
use super::{Lifter, StateValues};
use egg::Id;
use sluice_ir::pointwise::{Binary, Interval};
use sluice_ir::seq::{Builder, Core, Leaf, LeafKind, Mask, Root, RootKind, Seq, Shape, Source};
use sluice_ir::step::{DimId, Init, InputId, Sharing, StateId};
use std::collections::BTreeSet;

impl Lifter<'_> {
    pub(super) fn values_of(&mut self, state: StateId) -> &mut StateValues {
        self.states.get_mut(&state).expect("a state is entered before its nodes are walked")
    }

    /// Lifts a state with these dimensions as rows and columns.
    pub(super) fn history(
        &mut self,
        state: StateId,
        (rows, columns): (&[DimId], &[DimId]),
        transposed: bool,
    ) -> Lifting<()> {
        let fresh = StateValues {
            rows: rows.to_vec(),
            columns: columns.to_vec(),
            transposed,
            ..StateValues::default()
        };
        self.states.insert(state, fresh);
        let update = self.recurrence.updates[state.0];
        let matrix = self.matrix(state, update)?;
        if let Some(a) = matrix.dense {
            return self.dense_history(state, a, &matrix);
        }
        let (keys, values) = (self.volume(rows), self.volume(columns));
        let nothing_kept = self.builder.number(f64::NEG_INFINITY);
        let g = if matrix.keeps { matrix.g } else { Some(nothing_kept) };
        let gates = (self.gate(g, keys), self.gate(matrix.w, values));
        self.assemble(state, &matrix.rows, gates)
    }

    /// The core of a state from its decays and from the keys of what is written to it.
    pub(super) fn assemble(
        &mut self,
        state: StateId,
        rows: &[(Id, Symbol)],
        (g, w): (Id, Id),
    ) -> Lifting<()> {
        let (feedback, plain) = self.written_symbols(state, rows);
        let (keys, values) = (self.keys(state), self.volume(&self.states[&state].columns));
        let mut gather = Gather { lifter: self, state, keys, values };
        let (p, b) = gather.readers(&feedback)?;
        let l = gather.feeds(&feedback);
        let a = gather.keys_of(&feedback, rows);
        let c = gather.keys_of(&plain, rows);
        let d = gather.plain_values(&plain);
        let s = self.initial_state(state);
        let core = Core { g, w, a, l, p, b, c, d, s };
        let values = self.values_of(state);
        values.core = Some(core);
        values.feedback = feedback;
        Ok(())
    }

    /// The symbols that the new state needs: with feedback, and plain.
    fn written_symbols(&self, state: StateId, rows: &[(Id, Symbol)]) -> (Vec<Symbol>, Vec<Symbol>) {
        let values = &self.states[&state].values;
        let mut needed: BTreeSet<Symbol> = rows.iter().map(|row| row.1).collect();
        let mut waiting: Vec<Symbol> = needed.iter().copied().collect();
        while let Some(symbol) = waiting.pop() {
            let fresh = values[symbol].feeds.keys().filter(|fed| needed.insert(**fed));
            waiting.extend(fresh);
        }
        needed.into_iter().partition(|symbol| !values[*symbol].is_free())
    }

    /// A log decay at token level, one number or one a row or column; none is 0.
    fn gate(&mut self, log: Option<Id>, width: usize) -> Id {
        match log {
            None => self.builder.zeros(Shape::token(1, 1)),
            Some(log) => {
                let one = self.builder.shape(log).features == 1;
                let shape = Shape::token(1, if one { 1 } else { width });
                let log = self.builder.spread(log, shape);
                self.neutral_at_padding(log, Neutral::Zero)
            }
        }
    }

    /// The term, with finite numbers at padding tokens.
    pub(super) fn finite_at_padding(&mut self, id: Id) -> Id {
        self.neutral_at_padding(id, Neutral::Finite)
    }

    /// The term, with what padding tokens must have: 0, or for values any finite number.
    pub(super) fn neutral_at_padding(&mut self, id: Id, neutral: Neutral) -> Id {
        let holds = match neutral {
            Neutral::Zero => padding::is_zero_at_padding,
            Neutral::Finite => padding::is_finite_at_padding,
        };
        if holds(&self.builder, id) {
            return id;
        }
        // Parts and factors are narrower than what is made of them, and laws see them.
        let each = |lifter: &mut Self, parts: [Id; 2]| {
            parts.map(|x| lifter.neutral_at_padding(x, neutral))
        };
        let node = match *self.builder.node(id) {
            Seq::Cat(parts) => Seq::Cat(each(self, parts)),
            Seq::Kron(factors) => Seq::Kron(each(self, factors)),
            Seq::Binary(Binary::Mul, [x, scale]) if self.is_scaled_part(x, scale) => {
                Seq::Binary(Binary::Mul, [self.neutral_at_padding(x, neutral), scale])
            }
            _ => Seq::Live([id]),
        };
        self.builder.add(node)
    }

    /// Whether a factor is a finite number, and the other one made of parts.
    fn is_scaled_part(&self, x: Id, scale: Id) -> bool {
        let finite = matches!(self.builder.node(scale), Seq::Number(x) if x.value().is_finite());
        finite && matches!(self.builder.node(x), Seq::Cat(_) | Seq::Kron(_))
    }

    /// A state before the first token, `[1, K, V]`; of mixed states all, one below the other.
    fn initial_state(&mut self, state: StateId) -> Id {
        let values = &self.states[&state];
        let shape = Shape::one(self.volume(&values.rows), self.volume(&values.columns));
        let transposed = values.transposed;
        let members = values.mixed.as_ref().map_or(vec![state], |mixed| mixed.members.clone());
        let first = self.state_leaf(members[0], shape, transposed);
        members[1..].iter().fold(first, |above, member| {
            let below = self.state_leaf(*member, shape, transposed);
            self.builder.add(Seq::Weave([above, below]))
        })
    }

    /// A state before the first token with its columns as rows, `[1, V, K]`.
    pub(super) fn initial_rows(&mut self, state: StateId) -> Id {
        let values = &self.states[&state];
        let shape = Shape::one(self.volume(&values.columns), self.volume(&values.rows));
        self.state_leaf(state, shape, self.rows_are_columns(state))
    }

    /// Whether the columns of a lifted state, taken as rows, are the columns of the declared one.
    fn rows_are_columns(&self, state: StateId) -> bool {
        let values = &self.states[&state];
        values.columns.is_empty() == values.transposed
    }

    fn state_leaf(&mut self, state: StateId, shape: Shape, transposed: bool) -> Id {
        let declared = &self.recurrence.states[state.0];
        let (source, sharing) = match declared.init {
            Init::Value(x) => (Source::Number(x), Sharing::Head),
            Init::Identity => (Source::Identity, Sharing::Head),
            Init::Input(InputId(input)) => {
                let input = &self.recurrence.inputs[input];
                (Source::Input(input.name.as_str().into()), input.sharing)
            }
        };
        let range = declared.range.unwrap_or(Interval::ALL);
        let kind = LeafKind::State;
        let leaf = Leaf { kind, shape, range, sharing, transposed, source };
        self.builder.leaf(&declared.name, leaf)
    }

    fn core(&self, state: StateId) -> Core {
        self.states[&state].core.expect("states are lifted in dependency order")
    }

    /// The states of a history as `mask` sees them.
    pub(super) fn states_seen(&mut self, state: StateId, mask: Mask) -> Id {
        let core = self.core(state);
        let mask = self.builder.add(Seq::Mask(mask));
        self.builder.add(Seq::Hist(core.operands(mask)))
    }

    /// The final state as a root.
    pub(super) fn final_state(&mut self, state: StateId) -> Root {
        let declared = &self.recurrence.states[state.0];
        let dims = declared.dims.iter().map(|d| self.sizes[d.0]).collect();
        let (name, kind) = (declared.name.clone(), RootKind::State);
        let (leader, part) = match self.part_of(state) {
            Some((leader, first, rows)) => (leader, Some((first, rows))),
            None => (state, None),
        };
        let values = &self.states[&leader];
        let (id, transposed) = match values.dense {
            Some(dense) => (self.last_dense(dense), self.rows_are_columns(state)),
            None => {
                let transposed = values.transposed;
                let core = self.core(leader);
                let mask = self.builder.add(Seq::Mask(Mask::Strict));
                (self.builder.add(Seq::Fin(core.operands(mask))), transposed)
            }
        };
        let id = match part {
            None => id,
            Some((first, rows)) => {
                let (first, rows) = (self.builder.count(first), self.builder.count(rows));
                self.builder.add(Seq::Rows([first, rows, id]))
            }
        };
        Root { name, kind, transposed, dims, id }
    }

    /// The values that a symbol stands for, `[T, 1, V]`.
    pub(super) fn written_value(&mut self, state: StateId, symbol: Symbol) -> Id {
        let values = &self.states[&state];
        let place = values.feedback.iter().position(|s| *s == symbol);
        let rows = values.feedback.len();
        let Some(index) = place else {
            let value = values.values[symbol].clone();
            return self.vector_term(state, &value);
        };
        let core = self.core(state);
        let mask = self.builder.add(Seq::Mask(Mask::Strict));
        let all = self.builder.add(Seq::Hz(core.operands(mask)));
        if rows == 1 {
            return all;
        }
        let (index, one) = (self.builder.count(index), self.builder.count(1));
        self.builder.add(Seq::Rows([index, one, all]))
    }
}

/// What an operand of a core must be at padding tokens.
#[derive(Clone, Copy)]
pub(super) enum Neutral {
    /// Keys and log decays.
    Zero,
    /// What is multiplied with keys.
    Finite,
}

/// Gathers the rows of a core's operands.
pub(super) struct Gather<'l, 'a> {
    pub(super) lifter: &'l mut Lifter<'a>,
    pub(super) state: StateId,
    pub(super) keys: usize,
    pub(super) values: usize,
}

impl Gather<'_, '_> {
    /// `[T, n, width]` from one entry per row; no rows are one row of zeros.
    pub(super) fn weave(&mut self, rows: &[Option<Id>], width: usize, neutral: Neutral) -> Id {
        let builder = &mut self.lifter.builder;
        let shape = Shape::token(1, width);
        let mut woven = None;
        for row in rows {
            let row = match row {
                Some(id) => builder.spread(*id, shape),
                None => builder.zeros(shape),
            };
            woven = Some(match woven {
                None => row,
                Some(above) => builder.add(Seq::Weave([above, row])),
            });
        }
        let all = woven.unwrap_or_else(|| builder.zeros(shape));
        if builder.is_zero(all) {
            let shape = builder.shape(all);
            return builder.zeros(shape);
        }
        self.lifter.neutral_at_padding(all, neutral)
    }

    fn value(&self, symbol: Symbol) -> &Vector {
        &self.lifter.states[&self.state].values[symbol]
    }

    fn keys_of(&mut self, symbols: &[Symbol], rows: &[(Id, Symbol)]) -> Id {
        let key = |s: &Symbol| rows.iter().find(|row| row.1 == *s).map(|row| row.0);
        let keys: Vec<_> = symbols.iter().map(key).collect();
        self.weave(&keys, self.keys, Neutral::Zero)
    }

    fn plain_values(&mut self, symbols: &[Symbol]) -> Id {
        let bases: Vec<_> = symbols.iter().map(|s| self.value(*s).base).collect();
        self.weave(&bases, self.values, Neutral::Finite)
    }

    /// Readers and free parts of feedback rows.
    fn readers(&mut self, symbols: &[Symbol]) -> Lifting<(Id, Id)> {
        let (mut readers, mut bases) = (vec![], vec![]);
        for symbol in symbols {
            let value = self.value(*symbol).clone();
            let reader = match value.read {
                Some(read) if read.w.is_some() => {
                    let update = self.lifter.recurrence.updates[self.state.0];
                    let span = self.lifter.recurrence.node(update).span.clone();
                    return Err(Refusal::column_scaled_read(span));
                }
                Some(read) => Some(self.lifter.decayed(read.p, read.g)),
                None => None,
            };
            readers.push(reader);
            bases.push(value.base);
        }
        let p = self.weave(&readers, self.keys, Neutral::Finite);
        let b = self.weave(&bases, self.values, Neutral::Finite);
        Ok((p, b))
    }

    /// `[T, n, n]`: what feedback rows contribute to later ones of the same step.
    fn feeds(&mut self, symbols: &[Symbol]) -> Id {
        let mut rows = vec![];
        for symbol in symbols {
            let feeds = self.value(*symbol).feeds.clone();
            let entries: Vec<_> = symbols.iter().map(|s| feeds.get(s).copied()).collect();
            rows.push(Some(self.cat(&entries)));
        }
        let width = symbols.len().max(1);
        self.weave(&rows, width, Neutral::Finite)
    }

    /// `[T, 1, n]` from `n` scalars.
    pub(super) fn cat(&mut self, entries: &[Option<Id>]) -> Id {
        let builder = &mut self.lifter.builder;
        let shape = Shape::token(1, 1);
        let scalar = |e: &Option<Id>, builder: &mut Builder| match e {
            None => builder.zeros(shape),
            Some(id) => builder.spread(*id, shape),
        };
        let mut joined = scalar(&entries[0], builder);
        for entry in &entries[1..] {
            let next = scalar(entry, builder);
            joined = builder.add(Seq::Cat([joined, next]));
        }
        joined
    }
}
