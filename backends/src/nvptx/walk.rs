//! Walks over the tokens of a chunk: points, their lanes and segments are dealt to the threads, and
//! states stay in registers for the chunk.

use super::emitter::Emitter;
use super::index::Index;
use super::pointwise::Site;
use super::types::{Compare, Val};
use sluice_ir::kernel::{Access, Expr, Law, Row, Segments, Walk};
use sluice_ir::pointwise::Ring;

/// Elements of a point over so many tokens are read before the first is used.
const AHEAD: usize = 8;

/// What one thread walks.
#[derive(Clone, Copy)]
struct Part<'c> {
    point: Index<'c>,
    lane: Index<'c>,
    segment: Index<'c>,
}

/// Values by state or argument, then by element of the point.
type Values<'c> = Vec<Vec<Val<'c>>>;

/// The change `(A, b)` of one element's states, over a token or several; what is missing is zero.
#[derive(Clone)]
struct Change<'c> {
    gates: Vec<Vec<Option<Val<'c>>>>,
    entries: Vec<Option<Val<'c>>>,
}

/// A value to be written.
struct Written<'c, 'w> {
    dst: &'w Access,
    token: Index<'c>,
    /// Element of the point.
    n: Index<'c>,
    value: Val<'c>,
}

impl<'c> Emitter<'c, '_> {
    /// A `Walk` statement.
    pub(super) fn walk(&self, walk: &Walk) {
        let b = &self.b;
        match walk.segments {
            None => self.spread(walk.points * walk.lanes, |i| {
                let (point, lane) = b.index_split(i, walk.lanes);
                self.walk_alone(walk, Part { point, lane, segment: Index::constant(0) });
            }),
            Some(segments) => self.walk_together(walk, segments),
        }
        for result in &walk.results {
            self.zero_padding(result.dst.tile);
        }
    }

    /// Elements of a point that a thread has.
    fn elements_of(&self, walk: &Walk, part: Part<'c>) -> Vec<Index<'c>> {
        (0..walk.inner / walk.lanes).map(|j| part.lane.plus(j * walk.lanes)).collect()
    }

    fn place(&self, access: &Access, at: [Index<'c>; 3]) -> (Index<'c>, Index<'c>) {
        self.element(access, &at)
    }

    /// The states of a thread's elements before the chunk.
    fn states_before(&self, walk: &Walk, part: Part<'c>) -> Values<'c> {
        let of_state = |access: &Access| {
            let read = |n: &Index<'c>| {
                let (row, col) = self.place(access, [Index::constant(0), part.point, *n]);
                self.read(access.tile, row, col)
            };
            self.elements_of(walk, part).iter().map(read).collect()
        };
        walk.states.iter().map(of_state).collect()
    }

    fn keep_states(&self, walk: &Walk, part: Part<'c>, states: &Values<'c>) {
        for (access, values) in walk.states.iter().zip(states) {
            for (n, value) in self.elements_of(walk, part).into_iter().zip(values) {
                let (row, col) = self.place(access, [Index::constant(0), part.point, n]);
                self.write(access.tile, row, col, *value);
            }
        }
    }

    /// The arguments at a token; those that are the same for all tokens are in `fixed`.
    fn arguments_at(
        &self,
        walk: &Walk,
        part: Part<'c>,
        token: Index<'c>,
        fixed: &[Option<Vec<Val<'c>>>],
    ) -> Values<'c> {
        let elements = self.elements_of(walk, part);
        let of_argument = |(access, fixed): (&Access, &Option<Vec<Val<'c>>>)| {
            if let Some(values) = fixed {
                return values.clone();
            }
            let read = |n: &Index<'c>| {
                let (row, col) = self.place(access, [token, part.point, *n]);
                self.read(access.tile, row, col)
            };
            if access.strides[2] == 0 {
                return vec![read(&elements[0]); elements.len()];
            }
            elements.iter().map(read).collect()
        };
        walk.args.iter().zip(fixed).map(of_argument).collect()
    }

    /// Arguments that do not change from token to token.
    fn fixed_arguments(&self, walk: &Walk, part: Part<'c>) -> Vec<Option<Vec<Val<'c>>>> {
        let none = vec![None; walk.args.len()];
        let all = self.arguments_at(walk, part, Index::constant(0), &none);
        let fixed = walk.args.iter().zip(all);
        fixed.map(|(access, values)| (access.strides[0] == 0).then_some(values)).collect()
    }

    /// An expression for element `j` of the point.
    fn value_of(&self, expr: &Expr, j: usize, [before, after, args]: [&Values<'c>; 3]) -> Val<'c> {
        let count = before.len();
        let argument = |i: usize| match i {
            i if i < count => before[i][j],
            i if i < 2 * count => after[i - count][j],
            i => args[i - 2 * count][j],
        };
        self.evaluate(expr, Site::Point(&[]), &argument)
    }

    /// The change of element `j` by one token.
    fn change(&self, rows: &[Row], j: usize, args: &Values<'c>) -> Change<'c> {
        // Gates and entries read no states.
        let none = vec![vec![]; rows.len()];
        let value = |e: &Expr| self.value_of(e, j, [&none, &none, args]);
        let gates = |row: &Row| row.gates.iter().map(|g| g.as_ref().map(value)).collect();
        Change {
            gates: rows.iter().map(gates).collect(),
            entries: rows.iter().map(|row| row.entry.as_ref().map(value)).collect(),
        }
    }

    /// The ring's sum of two values that may be zero.
    fn plus(&self, ring: Ring, x: Option<Val<'c>>, y: Option<Val<'c>>) -> Option<Val<'c>> {
        match (x, y) {
            (Some(x), Some(y)) => Some(self.binary(ring.plus(), x, y)),
            (x, y) => x.or(y),
        }
    }

    /// The ring's sum of products.
    fn dot(
        &self,
        ring: Ring,
        row: &[Option<Val<'c>>],
        column: impl Iterator<Item = Option<Val<'c>>>,
        start: Option<Val<'c>>,
    ) -> Option<Val<'c>> {
        let products =
            row.iter().zip(column).map(|(x, y)| Some(self.binary(ring.times(), (*x)?, y?)));
        products.fold(start, |sum, product| self.plus(ring, product, sum))
    }

    /// The states after a change.
    fn changed(&self, ring: Ring, change: &Change<'c>, states: &[Val<'c>]) -> Vec<Val<'c>> {
        let of_row = |(row, entry): (&Vec<Option<Val<'c>>>, &Option<Val<'c>>)| {
            let sum = self.dot(ring, row, states.iter().copied().map(Some), *entry);
            sum.unwrap_or_else(|| self.b.f32(ring.zero()))
        };
        change.gates.iter().zip(&change.entries).map(of_row).collect()
    }

    /// One change after another: `(A' A, A' b + b')`.
    fn followed(&self, ring: Ring, first: &Change<'c>, then: &Change<'c>) -> Change<'c> {
        let columns = 0..first.gates.len();
        let gates = |row: &Vec<Option<Val<'c>>>| {
            let column = |j: usize| first.gates.iter().map(move |r| r[j]);
            columns.clone().map(|j| self.dot(ring, row, column(j), None)).collect()
        };
        let entry = |(row, entry): (&Vec<Option<Val<'c>>>, &Option<Val<'c>>)| {
            self.dot(ring, row, first.entries.iter().copied(), *entry)
        };
        Change {
            gates: then.gates.iter().map(gates).collect(),
            entries: then.gates.iter().zip(&then.entries).map(entry).collect(),
        }
    }

    /// All states of a thread's elements after one token.
    fn after(&self, walk: &Walk, before: &Values<'c>, args: &Values<'c>) -> Values<'c> {
        let elements = walk.inner / walk.lanes;
        let mut after: Values<'c> = vec![Vec::with_capacity(elements); before.len()];
        for j in 0..elements {
            let states: Vec<Val<'c>> = match &walk.law {
                Law::Free(all) => {
                    all.iter().map(|e| self.value_of(e, j, [before, before, args])).collect()
                }
                Law::Linear { ring, rows } => {
                    let own: Vec<Val<'c>> = before.iter().map(|state| state[j]).collect();
                    self.changed(*ring, &self.change(rows, j, args), &own)
                }
            };
            after.iter_mut().zip(states).for_each(|(state, x)| state.push(x));
        }
        after
    }

    /// The values that a token's results get from a thread's elements.
    fn results<'w>(
        &self,
        walk: &'w Walk,
        part: Part<'c>,
        token: Index<'c>,
        known: [&Values<'c>; 3],
    ) -> Vec<Written<'c, 'w>> {
        let b = &self.b;
        let elements = self.elements_of(walk, part);
        let mut written = Vec::new();
        for result in &walk.results {
            let values = (0..elements.len()).map(|j| self.value_of(&result.expr, j, known));
            let dst = &result.dst;
            if !result.sum {
                let each = elements.iter().zip(values);
                written.extend(each.map(|(n, value)| Written { dst, token, n: *n, value }));
                continue;
            }
            let mut sum = values.reduce(|x, y| b.fadd(x, y)).expect("a point has elements");
            let mut distance = walk.lanes / 2;
            while distance > 0 {
                sum = b.fadd(sum, self.value_of_partner(sum, distance));
                distance /= 2;
            }
            written.push(Written { dst, token, n: part.lane, value: sum });
        }
        written
    }

    /// Writes results; of a sum, which all lanes have, the first lane's.
    fn write_results(&self, walk: &Walk, part: Part<'c>, written: &[Written<'c, '_>]) {
        let b = &self.b;
        let is_sum =
            |w: &&Written<'c, '_>| walk.results.iter().any(|r| r.sum && r.dst.tile == w.dst.tile);
        let write = |w: &Written<'c, '_>| {
            let (row, col) = self.place(w.dst, [w.token, part.point, w.n]);
            self.write(w.dst.tile, row, col, w.value);
        };
        let (sums, others): (Vec<_>, Vec<_>) = written.iter().partition(is_sum);
        others.into_iter().for_each(write);
        if !sums.is_empty() {
            b.when_some(b.index_below(part.lane, 1), || sums.into_iter().for_each(write));
        }
    }

    /// Every token that exists, by one thread for each point and lane.
    fn walk_alone(&self, walk: &Walk, part: Part<'c>) {
        let b = &self.b;
        let fixed = self.fixed_arguments(walk, part);
        let states = self.states_before(walk, part);
        let elements = walk.inner / walk.lanes;
        let run = (AHEAD / elements).clamp(1, self.kernel.chunk);
        let flat: Vec<Val<'c>> = states.concat();
        let over = |from: Val<'c>, to: Val<'c>, run: usize, states: &[Val<'c>]| {
            b.repeat(from, to, b.i32(run as i64), states, |token, states| {
                let mut states: Values<'c> =
                    states.chunks(elements).map(<[Val<'c>]>::to_vec).collect();
                let first = Index::below(token, self.kernel.chunk - run + 1);
                let tokens: Vec<Index<'c>> = (0..run).map(|k| first.plus(k)).collect();
                let args: Vec<Values<'c>> =
                    tokens.iter().map(|t| self.arguments_at(walk, part, *t, &fixed)).collect();
                let mut written = Vec::new();
                for (token, args) in tokens.into_iter().zip(&args) {
                    let after = self.after(walk, &states, args);
                    written.extend(self.results(walk, part, token, [&states, &after, args]));
                    states = after;
                }
                self.write_results(walk, part, &written);
                states.concat()
            })
        };
        let live = self.now().live;
        let runs = b.like("llvm.udiv", &[live, b.i32(run as i64)]);
        let whole = b.mul(runs, b.i32(run as i64));
        let flat = over(b.i32(0), whole, run, &flat);
        let flat = if run > 1 { over(whole, live, 1, &flat) } else { flat };
        let states = flat.chunks(elements).map(<[Val<'c>]>::to_vec).collect();
        self.keep_states(walk, part, &states);
    }

    /// Every token by as many threads for each point and lane as there are segments.
    fn walk_together(&self, walk: &Walk, segments: Segments) {
        let b = &self.b;
        let Law::Linear { ring, rows } = &walk.law else {
            unreachable!("a checked walk in segments is linear")
        };
        let total = walk.points * walk.lanes * segments.count;
        let me = Index::below(self.thread().index, self.threads());
        // All threads meet at the barriers; those without work repeat that of the last and write nothing.
        let works = b.index_below(me, total);
        let (rest, lane) = b.index_split(b.index_min(me, total - 1), walk.lanes);
        let (segment, point) = b.index_split(rest, walk.points);
        let part = Part { point, lane, segment };
        let fixed = self.fixed_arguments(walk, part);
        let length = self.kernel.chunk / segments.count;
        let first = b.index_mul(segment, length);
        let tokens: Vec<Index<'c>> = (0..length).map(|k| first.plus(k)).collect();
        let elements = self.elements_of(walk, part);

        let changes: Vec<Vec<Change<'c>>> = tokens
            .iter()
            .map(|token| {
                let args = self.arguments_at(walk, part, *token, &fixed);
                let exists = b.compare(Compare::Lt, b.index(*token), self.now().live);
                let change = |j| self.if_exists(*ring, exists, self.change(rows, j, &args));
                (0..elements.len()).map(change).collect()
            })
            .collect();
        b.when_some(works, || {
            for (j, n) in elements.iter().enumerate() {
                let mut own = changes.iter().map(|of_token| &of_token[j]);
                let start = own.next().expect("a segment has tokens").clone();
                let all = own.fold(start, |sum, change| self.followed(*ring, &sum, change));
                self.write_summary(walk, segments, (part, *n), *ring, &all);
            }
        });
        self.role_barrier();

        let before = self.states_before(walk, part).concat();
        let mut states: Values<'c> = b
            .repeat(b.i32(0), b.index(segment), b.i32(1), &before, |number, states| {
                let earlier = Part { segment: Index::below(number, segments.count), ..part };
                let mut after: Values<'c> = vec![vec![]; rows.len()];
                for (j, n) in elements.iter().enumerate() {
                    let own = states.iter().skip(j).step_by(elements.len()).copied();
                    let own: Vec<Val<'c>> = own.collect();
                    let change = self.read_summary(walk, segments, (earlier, *n));
                    let new = self.changed(*ring, &change, &own);
                    after.iter_mut().zip(new).for_each(|(state, x)| state.push(x));
                }
                after.concat()
            })
            .chunks(elements.len())
            .map(<[Val<'c>]>::to_vec)
            .collect();
        self.role_barrier();

        let args: Vec<Values<'c>> =
            tokens.iter().map(|t| self.arguments_at(walk, part, *t, &fixed)).collect();
        let mut written = Vec::new();
        for ((token, args), changes) in tokens.into_iter().zip(&args).zip(&changes) {
            let mut after: Values<'c> = vec![vec![]; rows.len()];
            for (j, change) in changes.iter().enumerate() {
                let own: Vec<Val<'c>> = states.iter().map(|state| state[j]).collect();
                let new = self.changed(*ring, change, &own);
                after.iter_mut().zip(new).for_each(|(state, x)| state.push(x));
            }
            written.extend(self.results(walk, part, token, [&states, &after, args]));
            states = after;
        }
        b.when_some(works, || self.write_results(walk, part, &written));
        let last = b.compare(Compare::Eq, b.index(segment), b.i32(segments.count as i64 - 1));
        b.when_some(b.both(works, Some(last)), || self.keep_states(walk, part, &states));
    }

    /// A change by a token, or none if there is no such token.
    fn if_exists(&self, ring: Ring, exists: Val<'c>, change: Change<'c>) -> Change<'c> {
        let b = &self.b;
        let (zero, one) = (b.f32(ring.zero()), b.f32(ring.one()));
        let gate = |(i, j): (usize, usize), gate: Option<Val<'c>>| match gate {
            None if i == j => Some(b.select(exists, zero, one)),
            gate => gate.map(|g| b.select(exists, g, if i == j { one } else { zero })),
        };
        let row = |(i, row): (usize, Vec<Option<Val<'c>>>)| {
            row.into_iter().enumerate().map(|(j, g)| gate((i, j), g)).collect()
        };
        let entry = |e: Option<Val<'c>>| e.map(|e| b.select(exists, e, zero));
        Change {
            gates: change.gates.into_iter().enumerate().map(row).collect(),
            entries: change.entries.into_iter().map(entry).collect(),
        }
    }

    /// Column of the summaries for number `q` of an element of a point.
    fn summary_column(&self, walk: &Walk, q: usize, part: Part<'c>, n: Index<'c>) -> Index<'c> {
        let b = &self.b;
        let before = b.index_mul(n.plus(q * walk.inner), walk.points);
        b.index_add(before, part.point)
    }

    fn write_summary(
        &self,
        walk: &Walk,
        segments: Segments,
        (part, n): (Part<'c>, Index<'c>),
        ring: Ring,
        change: &Change<'c>,
    ) {
        let all = change.gates.iter().flatten().chain(&change.entries);
        for (q, value) in all.enumerate() {
            let value = value.unwrap_or_else(|| self.b.f32(ring.zero()));
            let col = self.summary_column(walk, q, part, n);
            self.write(segments.summaries, part.segment, col, value);
        }
    }

    fn read_summary(
        &self,
        walk: &Walk,
        segments: Segments,
        (part, n): (Part<'c>, Index<'c>),
    ) -> Change<'c> {
        let states = walk.states.len();
        let read = |q: usize| {
            let col = self.summary_column(walk, q, part, n);
            Some(self.read(segments.summaries, part.segment, col))
        };
        let row = |i: usize| (0..states).map(|j| read(i * states + j)).collect();
        Change {
            gates: (0..states).map(row).collect(),
            entries: (0..states).map(|i| read(states * states + i)).collect(),
        }
    }
}
