//! Random inputs, vectors, scalars and gates: the values that no state of their own program part needs.

use super::dice::Dice;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A dimension of the program; a scalar has none.
pub(super) type Axis = Option<&'static str>;

/// Functions that a text may define, with their definitions.
const FUNCTIONS: &[(&str, &str)] = &[
    ("phi", "fn phi(x) = elu(x) + 1"),
    ("swish", "fn swish(x) = x * sigmoid(x)"),
    ("shifted", "fn shifted(x: [D]) -> [D] = exp(x - max(x, D))"),
    (
        "blend",
        "fn blend(x: [D], y: [D], a: []) -> [D] {\n    let rest = 1 - a\n    a * x + rest * y\n}",
    ),
];

struct Input {
    name: String,
    declaration: String,
    axis: Axis,
    /// What is promised of its values.
    range: &'static str,
}

/// The values of one program, as they are made.
pub(super) struct Values {
    pub(super) dice: Dice,
    inputs: Vec<Input>,
    /// Definitions of the functions in use, by name.
    functions: BTreeMap<&'static str, &'static str>,
    /// Values read from states that are complete, with their axes.
    pub(super) read: Vec<(String, Axis)>,
    names: usize,
}

impl Values {
    pub(super) fn new(dice: Dice) -> Self {
        Self { dice, inputs: vec![], functions: BTreeMap::new(), read: vec![], names: 0 }
    }

    /// A name that nothing else has.
    pub(super) fn name(&mut self, stem: &str) -> String {
        self.names += 1;
        format!("{stem}{}", self.names)
    }

    /// Everything that stands before the program's results.
    pub(super) fn head(&self, name: &str, sequential: bool) -> String {
        let mut text = String::new();
        for definition in self.functions.values() {
            writeln!(text, "{definition}").expect("writing to a string");
        }
        let word = if sequential { "sequential " } else { "" };
        writeln!(text, "{word}recurrence {name}(").expect("writing to a string");
        for input in &self.inputs {
            writeln!(text, "    {},", input.declaration).expect("writing to a string");
        }
        text + ")"
    }

    /// An input, new or one that was there.
    pub(super) fn input(&mut self, stem: &str, axis: Axis, range: &'static str) -> String {
        let known: Vec<usize> = (0..self.inputs.len())
            .filter(|i| (self.inputs[*i].axis, self.inputs[*i].range) == (axis, range))
            .collect();
        if !known.is_empty() && self.dice.chance(20) {
            return self.inputs[self.dice.pick(&known)].name.clone();
        }
        let name = self.name(stem);
        let shape = axis.unwrap_or_default();
        let model = if self.dice.chance(10) { "param " } else { "" };
        let dtype = if self.dice.chance(15) { " f32" } else { "" };
        let group = if self.dice.chance(30) { " by group" } else { "" };
        let range_text = if range.is_empty() { String::new() } else { format!(" in {range}") };
        let declaration = format!("{model}{name}: [{shape}]{dtype}{range_text}{group}");
        self.inputs.push(Input { name: name.clone(), declaration, axis, range });
        name
    }

    /// A new input of another shape, which is used once.
    pub(super) fn declared(&mut self, stem: &str, rate: &str, shape: &str) -> String {
        let name = self.name(stem);
        let declaration = format!("{rate}{name}: {shape}");
        self.inputs.push(Input { name: name.clone(), declaration, axis: None, range: "once" });
        name
    }

    /// A call of a function that the text defines.
    fn call(&mut self, name: &'static str, arguments: &[String]) -> String {
        let (name, definition) =
            FUNCTIONS.iter().find(|f| f.0 == name).expect("the table has the function");
        self.functions.insert(name, definition);
        format!("{name}({})", arguments.join(", "))
    }

    /// What is written or read with: any vector, or a scalar where there is no axis.
    pub(super) fn vector(&mut self, stem: &str, axis: Axis) -> String {
        let Some(dim) = axis else { return self.scalar() };
        let reads: Vec<usize> = (0..self.read.len()).filter(|i| self.read[*i].1 == axis).collect();
        if !reads.is_empty() && self.dice.chance(35) {
            let read = self.read[self.dice.pick(&reads)].0.clone();
            return self.tamed(&read);
        }
        let x = self.input(stem, axis, "");
        match self.dice.weighed(&[60, 6, 5, 5, 5, 3, 3, 3, 6, 4, 4, 4, 3, 2, 2, 3]) {
            0 => x,
            1 => format!("silu({x})"),
            2 => format!("tanh({x})"),
            3 => format!("relu({x})"),
            4 => format!("rmsnorm({x})"),
            5 => format!("layernorm({x})"),
            6 => format!("l2norm({x})"),
            7 => format!("softmax({x}, {dim})"),
            8 => format!("sigmoid({}) * {x}", self.input("x", axis, "")),
            9 => format!("({x} + {})", self.input("x", axis, "")),
            10 => format!("{} * {x}", self.scalar()),
            11 => self.call("swish", &[x]),
            12 => {
                let (y, a) = (self.input("x", axis, ""), self.strength());
                self.call("blend", &[x, y, a])
            }
            13 => format!("where({x} > 0, {}, {x})", self.input("x", axis, "")),
            14 => format!("clamp({x}, -0.25, 0.5)"),
            _ => format!("(-{x})"),
        }
    }

    /// A vector of positive numbers.
    pub(super) fn positive(&mut self, stem: &str, axis: Axis) -> String {
        let x = self.input(stem, axis, "");
        match self.dice.weighed(&[30, 20, 20, 10, 10, 10]) {
            0 => self.call("phi", &[x]),
            1 if axis.is_some() => self.call("shifted", &[x]),
            2 if axis.is_some() => format!("softmax({x})"),
            3 => format!("softplus({x})"),
            4 => format!("(1 - exp({}))", self.input("g", axis, "(-inf, 0]")),
            _ => format!("sigmoid({x})"),
        }
    }

    /// A vector with a norm of at most 1 (unbounded vectors are drawn so), to erase along.
    pub(super) fn unit(&mut self, stem: &str, axis: Axis) -> String {
        let x = self.input(stem, axis, "");
        match self.dice.weighed(&[60, 15, 10, 8, 7]) {
            1 => format!("l2norm({x})"),
            2 => format!("tanh({x})"),
            3 => format!("relu({x})"),
            4 => format!("softmax({x})"),
            _ => x,
        }
    }

    /// A value read from a state, brought to the size of an input.
    fn tamed(&mut self, read: &str) -> String {
        match self.dice.weighed(&[5, 2, 2, 1, 1]) {
            0 => format!("softmax({read})"),
            1 => format!("tanh({read})"),
            2 => format!("sigmoid({read})"),
            3 => format!("l2norm({read})"),
            _ => format!("{read} / (1 + abs({read}))"),
        }
    }

    fn scalar(&mut self) -> String {
        match self.dice.weighed(&[50, 10, 10, 10, 10, 10]) {
            1 => {
                let (x, y) = (self.input("x", Some("K"), ""), self.input("x", Some("K"), ""));
                format!("dot({x}, {y})")
            }
            2 => format!("mean({})", self.input("x", Some("V"), "")),
            3 => format!("max({}, V)", self.input("x", Some("V"), "")),
            4 => format!("tanh({})", self.input("c", None, "")),
            5 => format!("logsumexp({})", self.input("x", Some("K"), "")),
            _ => self.input("c", None, ""),
        }
    }

    /// A number in [0, 1]: how much is written or erased.
    pub(super) fn strength(&mut self) -> String {
        match self.dice.weighed(&[50, 20, 10, 10, 10]) {
            1 => format!("sigmoid({})", self.input("c", None, "")),
            2 => "0.5".to_owned(),
            3 => format!("min(abs({}), 1)", self.input("c", None, "")),
            4 => format!("(1 - {})", self.input("b", None, "[0, 1]")),
            _ => self.input("b", None, "[0, 1]"),
        }
    }

    /// A factor in [0, 1] by which a state fades, from a logarithm of which it can be proven that it
    /// is at most 0.
    pub(super) fn gate(&mut self, axis: Axis) -> String {
        match self.dice.weighed(&[30, 12, 12, 6, 8, 8, 8, 5, 4, 5, 4, 4]) {
            1 => format!("exp({})", self.input("g", axis, "[-20, -1e-6]")),
            2 => format!("exp({})", self.input("g", axis, "[-0.1, 0]")),
            3 if axis.is_none() => self.dice.pick(&["0.9", "0.99", "exp(-0.05)", "1"]).to_owned(),
            4 => format!("sigmoid({})", self.input("x", axis, "")),
            5 => format!("exp(log_sigmoid({}) / 16)", self.input("x", axis, "")),
            6 => {
                let rate = self.dice.pick(&[None, axis]);
                let (a, x, b) = (
                    self.input("a", rate, ""),
                    self.input("x", axis, ""),
                    self.input("b", None, ""),
                );
                format!("exp(-exp({a}) * softplus({x} + {b}))")
            }
            7 => self.input("f", axis, "[0, 1]"),
            8 => format!("1 / (1 + softplus({}))", self.input("x", axis, "")),
            9 => {
                let factors = (self.gate(None), self.gate(axis));
                format!("{} * ({})", factors.0, factors.1)
            }
            10 => format!("(1 - {})", self.input("f", axis, "[0, 1]")),
            11 => {
                let (g, x) = (self.input("g", axis, "(-inf, 0]"), self.input("x", axis, ""));
                format!("exp({g} - softplus({x}))")
            }
            _ => format!("exp({})", self.input("g", axis, "(-inf, 0]")),
        }
    }
}
