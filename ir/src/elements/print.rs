//! How an elementwise form prints: for each group its law, with gates and entries as formulas.

use super::{Elements, Law, Row};
use crate::pointwise::Ring;
use crate::step::{NodeId, Op};
use std::fmt;

impl Elements {
    /// A node as a formula of inputs, states and named values.
    pub fn formula(&self, id: NodeId) -> String {
        let name = &self.recurrence.node(id).name;
        name.clone().unwrap_or_else(|| self.definition(id))
    }

    /// The same of a value whose own name is not taken for an answer.
    pub fn definition(&self, id: NodeId) -> String {
        let recurrence = &self.recurrence;
        match recurrence.node(id).op {
            Op::Input(input) => recurrence.inputs[input.0].name.clone(),
            Op::State(state) => recurrence.states[state.0].name.clone(),
            Op::Const(x) => x.to_string(),
            op => {
                let operands = op.operands().into_iter().map(|o| self.formula(o));
                let operands = operands.collect::<Vec<_>>().join(", ");
                format!("{}({operands})", recurrence.op_name(&op))
            }
        }
    }

    /// The new value of the state of a row.
    pub fn row_text(&self, ring: Ring, row: &Row, states: &[String]) -> String {
        let kept = row.gates.iter().zip(states).filter_map(|(gate, state)| {
            let gate = self.formula((*gate)?);
            Some(format!("{}({gate}, {state})", ring.times().name()))
        });
        let terms: Vec<String> = kept.chain(row.entry.map(|e| self.formula(e))).collect();
        match &terms[..] {
            [] => ring.zero().to_string(),
            [one] => one.clone(),
            _ => format!("{}({})", ring.plus().name(), terms.join(", ")),
        }
    }

    /// The names of the states of a group.
    pub fn names(&self, group: &super::Group) -> Vec<String> {
        group.states.iter().map(|s| self.recurrence.states[s.0].name.clone()).collect()
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "elements of {}", self.recurrence.name)?;
        for group in &self.groups {
            let names = self.names(group);
            let dims = self.dims(group).unwrap_or_default();
            let shape = self.recurrence.shape_text(dims);
            match &group.law {
                Law::Free => writeln!(f, "step {}: {shape}", names.join(", "))?,
                Law::Window(entry) => {
                    let entry = self.formula(*entry);
                    writeln!(f, "window {}: {shape} of {entry}", names.join(", "))?;
                }
                Law::Linear { ring, rows } => {
                    let (plus, times) = (ring.plus().name(), ring.times().name());
                    writeln!(f, "scan {}: {shape} over {plus} and {times}", names.join(", "))?;
                    for (name, row) in names.iter().zip(rows) {
                        writeln!(f, "  {name}' = {}", self.row_text(*ring, row, &names))?;
                    }
                }
            }
        }
        Ok(())
    }
}
