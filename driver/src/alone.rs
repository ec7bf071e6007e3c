//! One head of one sequence, cut out of a problem.

use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{self, Rate, Recurrence, Sharing};

/// One head of one sequence of a problem.
pub(crate) struct Alone<'a> {
    pub(crate) recurrence: &'a Recurrence,
    pub(crate) problem: &'a Problem,
    pub(crate) sequence: usize,
    pub(crate) head: usize,
}

impl Alone<'_> {
    /// Its problem.
    pub(crate) fn problem(&self) -> Problem {
        let (first, last) = self.span();
        let cu_seqlens = vec![0, last - first];
        Problem { heads: 1, groups: 1, cu_seqlens, ..self.problem.clone() }
    }

    /// Its tokens among those of all sequences.
    fn span(&self) -> (usize, usize) {
        let ends = &self.problem.cu_seqlens;
        (ends[self.sequence], ends[self.sequence + 1])
    }

    /// Rows `first .. last` of one of `heads` heads.
    fn slice(array: &Array, (first, last): (usize, usize), (head, heads): (usize, usize)) -> Array {
        let inner = &array.shape[2..];
        let data = (first..last).flat_map(|i| array.row(i * heads + head, 2).iter().copied());
        Array { shape: [&[last - first, 1], inner].concat(), data: data.collect() }
    }

    /// Its part of the inputs.
    pub(crate) fn inputs(&self, all: &Arrays) -> Arrays {
        let input = |input: &step::Input| {
            let rows = match input.sharing {
                Sharing::Head => (self.head, self.problem.heads),
                Sharing::Group => (self.problem.group_of(self.head), self.problem.groups),
            };
            let array = &all[&input.name];
            let part = match input.rate {
                Rate::Token => Self::slice(array, self.span(), rows),
                Rate::Model => Array {
                    shape: [&[1], &array.shape[1..]].concat(),
                    data: array.row(rows.0, 1).to_vec(),
                },
            };
            (input.name.clone(), part)
        };
        let span = (self.sequence, self.sequence + 1);
        let head = (self.head, self.problem.heads);
        let given = self.recurrence.states.iter().filter_map(|s| {
            all.get(&s.name).map(|array| (s.name.clone(), Self::slice(array, span, head)))
        });
        self.recurrence.inputs.iter().map(input).chain(given).collect()
    }

    /// Its part of outputs and final states.
    pub(crate) fn results(&self, all: &Arrays) -> Arrays {
        let head = (self.head, self.problem.heads);
        let output =
            |o: &step::Output| (o.name.clone(), Self::slice(&all[&o.name], self.span(), head));
        let state = |s: &step::State| {
            let span = (self.sequence, self.sequence + 1);
            (s.name.clone(), Self::slice(&all[&s.name], span, head))
        };
        let outputs = self.recurrence.outputs.iter().map(output);
        outputs.chain(self.recurrence.states.iter().map(state)).collect()
    }
}
