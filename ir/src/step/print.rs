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

use super::{
    Dim, DimId, Formula, Init, Input, MatrixFunction, Node, Op, Order, Rate, Recurrence, Reduction,
    Sharing, State,
};
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

    /// The name of an operation.
    pub(crate) fn op_name(&self, op: &Op) -> String {
        let text = self.op_text(op);
        text.split(' ').next().unwrap_or_default().to_owned()
    }

    fn op_text(&self, op: &Op) -> String {
        let dim = |d: DimId| &self.dims[d.0].name;
        match *op {
            Op::Input(i) => format!("input {}", self.inputs[i.0].name),
            Op::State(i) => format!("state {}", self.states[i.0].name),
            Op::Final(i) => format!("final {}", self.states[i.0].name),
            Op::Const(x) => format!("const {x}"),
            Op::Extent(d) => format!("extent {}", dim(d)),
            Op::Index(d) => format!("index {}", dim(d)),
            Op::Table(t) => format!("table {}", t.0),
            Op::Unary(f, a) => format!("{} %{}", f.name(), a.0),
            Op::Binary(f, a, b) => format!("{} %{} %{}", f.name(), a.0, b.0),
            Op::Select(c, a, b) => format!("select %{} %{} %{}", c.0, a.0, b.0),
            Op::Reduce(Reduction::Sum, a, d) => format!("sum %{} over {}", a.0, dim(d)),
            Op::Reduce(Reduction::Max, a, d) => format!("max %{} over {}", a.0, dim(d)),
            Op::Dot(a, b, d) => format!("dot %{} %{} over {}", a.0, b.0, dim(d)),
            Op::Outer(a, b) => format!("outer %{} %{}", a.0, b.0),
            Op::Reshape(a, _) => format!("reshape %{}", a.0),
            Op::Concat(a, b, [x, y], to) => {
                format!("concat %{} %{} along {} and {} as {}", a.0, b.0, dim(x), dim(y), dim(to))
            }
            Op::Slice(a, from, to, run) => {
                format!("slice %{} along {}, run {run} of {}", a.0, dim(from), dim(to))
            }
            Op::Push(window, x) => format!("push %{} %{}", window.0, x.0),
            Op::TopK(a, d, k) => format!("top {k} of %{} over {}", a.0, dim(d)),
            Op::Matrix(MatrixFunction::Exp, a) => format!("matrix_exp %{}", a.0),
            Op::Matrix(MatrixFunction::Inverse, a) => format!("matrix_inverse %{}", a.0),
        }
    }

    fn formula_text(&self, formula: &Formula) -> String {
        let pair = |a: &Formula, sign: &str, b: &Formula| {
            format!("({} {sign} {})", self.formula_text(a), self.formula_text(b))
        };
        match formula {
            Formula::Number(n) => n.to_string(),
            Formula::Dim(d) => self.dims[d.0].name.clone(),
            Formula::Add(a, b) => pair(a, "+", b),
            Formula::Sub(a, b) => pair(a, "-", b),
            Formula::Mul(a, b) => pair(a, "*", b),
            Formula::Div(a, b) => pair(a, "/", b),
        }
    }

    fn dim_text(&self, dim: &Dim) -> String {
        match (&dim.formula, dim.size) {
            (Some(formula), _) => format!("{} = {}", dim.name, self.formula_text(formula)),
            (None, Some(size)) => format!("{} = {size}", dim.name),
            (None, None) => dim.name.clone(),
        }
    }

    fn state_text(&self, state: &State) -> String {
        let mut text = format!("state {}: {}", state.name, self.shape_text(&state.dims));
        if state.order != Order::Forward {
            text += &format!(" {}", state.order.with(|d| &self.dims[d.0].name));
        }
        if let Some(range) = state.range {
            text += &format!(" in {range}");
        }
        match state.init {
            Init::Value(x) => text + &format!(" = {x}"),
            Init::Identity => text + " = identity",
            Init::Input(i) => text + &format!(" = {}", self.inputs[i.0].name),
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
        let kind = if self.sequential { "sequential recurrence" } else { "recurrence" };
        writeln!(f, "{kind} {}", self.name)?;
        let dim_texts: Vec<String> = self.dims.iter().map(|d| self.dim_text(d)).collect();
        writeln!(f, "dims {}", dim_texts.join(", "))?;
        for input in &self.inputs {
            writeln!(f, "{}", self.input_text(input))?;
        }
        for state in &self.states {
            writeln!(f, "{}", self.state_text(state))?;
        }
        for (i, table) in self.tables.iter().enumerate() {
            writeln!(f, "table {i}: {} = {:?}", self.shape_text(&table.dims), table.values)?;
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
