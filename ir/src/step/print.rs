//! How a recurrence prints: a line for each declaration, node and result.
//!
//! ```text
//! recurrence scaled_sum
//! dims K, V
//! input k: [K] by group
//! input g: [] f32 in [-inf, 0]
//! state S: [K, V] = 0
//! %0: [] = input g
//! %1: [] = exp %0                  # decay
//! update S = %5
//! output o: [V] = %7
//! ```

use super::{DimId, Input, Node, Op, Rate, Recurrence, Reduction, Sharing};
use std::fmt;

impl Recurrence {
    /// A shape in the notation of the language, as in `[K, V]`.
    pub fn shape_text(&self, dims: &[DimId]) -> String {
        let names: Vec<&str> = dims.iter().map(|d| self.dims[d.0].name.as_str()).collect();
        format!("[{}]", names.join(", "))
    }

    fn input_text(&self, input: &Input) -> String {
        let kind = match input.rate {
            Rate::Token => "input",
            Rate::Model => "param",
        };
        let mut text = format!("{kind} {}: {}", input.name, self.shape_text(&input.dims));
        if let Some(dtype) = input.dtype {
            text += &format!(" {dtype}");
        }
        if input.range != super::Interval::ALL {
            text += &format!(" in {}", input.range);
        }
        if input.sharing == Sharing::Group {
            text += " by group";
        }
        text
    }

    fn op_text(&self, op: &Op) -> String {
        let dim = |d: DimId| &self.dims[d.0].name;
        match *op {
            Op::Input(i) => format!("input {}", self.inputs[i.0].name),
            Op::State(i) => format!("state {}", self.states[i.0].name),
            Op::Const(x) => format!("const {x}"),
            Op::Extent(d) => format!("extent {}", dim(d)),
            Op::Unary(f, a) => format!("{} %{}", f.name(), a.0),
            Op::Binary(f, a, b) => format!("{} %{} %{}", f.name(), a.0, b.0),
            Op::Select(c, a, b) => format!("select %{} %{} %{}", c.0, a.0, b.0),
            Op::Reduce(Reduction::Sum, a, d) => format!("sum %{} over {}", a.0, dim(d)),
            Op::Reduce(Reduction::Max, a, d) => format!("max %{} over {}", a.0, dim(d)),
            Op::Dot(a, b, d) => format!("dot %{} %{} over {}", a.0, b.0, dim(d)),
            Op::Outer(a, b) => format!("outer %{} %{}", a.0, b.0),
        }
    }

    fn node_text(&self, index: usize, node: &Node) -> String {
        let text =
            format!("%{index}: {} = {}", self.shape_text(&node.dims), self.op_text(&node.op));
        match &node.name {
            Some(name) => format!("{text:<32} # {name}"),
            None => text,
        }
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "recurrence {}", self.name)?;
        let dim_texts: Vec<String> = self
            .dims
            .iter()
            .map(|d| d.size.map_or(d.name.clone(), |size| format!("{} = {size}", d.name)))
            .collect();
        writeln!(f, "dims {}", dim_texts.join(", "))?;
        for input in &self.inputs {
            writeln!(f, "{}", self.input_text(input))?;
        }
        for state in &self.states {
            writeln!(f, "state {}: {} = {}", state.name, self.shape_text(&state.dims), state.init)?;
        }
        for (i, node) in self.nodes.iter().enumerate() {
            writeln!(f, "{}", self.node_text(i, node))?;
        }
        for (state, update) in self.states.iter().zip(&self.updates) {
            writeln!(f, "update {} = %{}", state.name, update.0)?;
        }
        for output in &self.outputs {
            let shape = self.shape_text(&self.node(output.node).dims);
            let dtype = output.dtype.map(|d| format!(" {d}")).unwrap_or_default();
            writeln!(f, "output {}: {shape}{dtype} = %{}", output.name, output.node.0)?;
        }
        Ok(())
    }
}
