//! Grows states of the classes that run token by token, and what is read from them.

use super::grow::Grower;
use super::values::Axis;

impl Grower {
    /// A state, or several that belong together, and what is read from them.
    pub(super) fn other(&mut self) -> (String, Axis) {
        // Whether some of these have a chunked form as well is for the stages to find out.
        self.chunks = false;
        match self.values.dice.weighed(&[20, 10, 10, 8, 12, 10, 8, 8, 6, 8]) {
            0 => self.average(),
            1 => self.convolution(),
            2 => self.shifted(),
            3 => self.mean_of_all(),
            4 => self.stabilised(),
            5 => self.positional(),
            6 => self.elementwise(),
            7 => self.rotated(),
            8 => self.momentum(),
            _ => self.bounded(),
        }
    }

    /// A vector that holds a faded average.
    fn average(&mut self) -> (String, Axis) {
        let dim = self.values.dice.pick(&["K", "V"]);
        let axis = Some(dim);
        let name = self.values.name("m");
        let (order, start) = (self.order(), self.start());
        self.say(&format!("state {name}: [{dim}]{order} = {start}"));
        let (gate, value) = (self.values.gate(axis), self.values.vector("x", axis));
        let gate = self.named("f", &gate);
        self.say(&format!("{name}' = {gate} * {name} + (1 - {gate}) * {value}"));
        (self.values.dice.pick(&[format!("{name}'").as_str(), &name]).to_owned(), axis)
    }

    /// A weighted sum of the last values of a vector.
    fn convolution(&mut self) -> (String, Axis) {
        let dim = self.values.dice.pick(&["K", "V"]);
        let axis = Some(dim);
        let name = self.values.name("B");
        let value = self.values.vector("x", axis);
        self.say(&format!("window {name}: [W, {dim}] = {value}"));
        let sum = if self.values.dice.chance(50) {
            let weights = self.values.declared("w", "param ", "[W]");
            format!("dot({weights}, {name}', W)")
        } else {
            let weights = self.values.declared("w", "param ", &format!("[W, {dim}]"));
            format!("sum({weights} * {name}', W)")
        };
        (self.named("c", &format!("silu({sum})")), axis)
    }

    /// A vector mixed with its value at the token before.
    fn shifted(&mut self) -> (String, Axis) {
        let dim = self.values.dice.pick(&["K", "V"]);
        let axis = Some(dim);
        let name = self.values.name("x");
        let (value, order) = (self.values.vector("x", axis), self.order());
        self.say(&format!("state {name}: [{dim}]{order} = 0"));
        self.say(&format!("{name}' = {value}"));
        let weight = self.values.input("a", axis, "[0, 1]");
        (self.named("y", &format!("{value} + {weight} * ({name} - {value})")), axis)
    }

    /// The mean over the tokens so far, or over all of them.
    fn mean_of_all(&mut self) -> (String, Axis) {
        let dim = self.values.dice.pick(&["K", "V"]);
        let axis = Some(dim);
        let (sum, count) = (self.values.name("s"), self.values.name("n"));
        let value = self.values.vector("x", axis);
        self.say(&format!("state {sum}: [{dim}] = 0"));
        self.say(&format!("state {count}: [] in [0, inf) = 0"));
        self.say(&format!("{sum}' = {sum} + {value}"));
        self.say(&format!("{count}' = {count} + 1"));
        let mean = match self.values.dice.chance(50) {
            true => format!("{sum}' / max({count}', 1)"),
            false => format!("last({sum}) / max(last({count}), 1)"),
        };
        (self.named("y", &mean), axis)
    }

    /// A sum of writes with exponential weights beside the largest exponent.
    fn stabilised(&mut self) -> (String, Axis) {
        let (most, state, sum) =
            (self.values.name("m"), self.values.name("S"), self.values.name("z"));
        let (g, i) = (self.values.input("g", None, "(-inf, 0]"), self.values.input("i", None, ""));
        let joined = self.values.dice.pick(&["max", "logaddexp"]);
        self.say(&format!("state {most}: [] = 0"));
        self.say(&format!("state {state}: [K, V] = 0"));
        self.say(&format!("state {sum}: [K] = 0"));
        self.say(&format!("{most}' = {joined}({g} + {most}, {i})"));
        let keep = self.named("f", &format!("exp({g} + {most} - {most}')"));
        let add = self.named("e", &format!("exp({i} - {most}')"));
        let (key, value) = (self.values.vector("k", Some("K")), self.values.vector("v", Some("V")));
        self.say(&format!("{state}' = {keep} * {state} + {add} * outer({key}, {value})"));
        self.say(&format!("{sum}' = {keep} * {sum} + {add} * ({key})"));
        let query = self.values.vector("q", Some("K"));
        let weight = format!("max(abs(dot({query}, {sum}')), 1)");
        (self.named("r", &format!("dot({query}, {state}') / {weight}")), Some("V"))
    }

    /// What all tokens of the sequence write, read at each.
    fn positional(&mut self) -> (String, Axis) {
        let (name, order) = (self.values.name("S"), self.order());
        self.say(&format!("state {name}: [K, V]{order} = 0"));
        let (key, value) = (self.values.vector("k", Some("K")), self.values.vector("v", Some("V")));
        let gate = self.values.gate(None);
        self.say(&format!("{name}' = {gate} * {name} + outer({key}, {value})"));
        let query = self.values.vector("q", Some("K"));
        (self.named("r", &format!("dot({query}, last({name}))")), Some("V"))
    }

    /// A state whose elements fade each in its own way.
    fn elementwise(&mut self) -> (String, Axis) {
        let (name, order) = (self.values.name("S"), self.order());
        self.say(&format!("state {name}: [K, V]{order} = 0"));
        let gates = self.values.declared("g", "", "[K, V] in [-2, -0.01]");
        let (key, value) = (self.values.vector("k", Some("K")), self.values.vector("v", Some("V")));
        self.say(&format!("{name}' = exp({gates}) * {name} + outer({key}, {value})"));
        let query = self.values.vector("q", Some("K"));
        (self.named("r", &format!("dot({query}, {name}')")), Some("V"))
    }

    /// A complex state that turns while it fades.
    fn rotated(&mut self) -> (String, Axis) {
        let (name, axis) = (self.values.name("H"), self.values.dice.pick(&[None, Some("K")]));
        self.say(&format!("state {name}: complex [K, V] = 0"));
        let (g, angle) =
            (self.values.input("g", axis, "(-inf, 0]"), self.values.input("t", axis, ""));
        let key = self.values.declared("k", "", "complex [K]");
        let value = self.values.vector("v", Some("V"));
        self.say(&format!("{name}' = polar(exp({g}), {angle}) * {name} + outer({key}, {value})"));
        let query = self.values.declared("q", "", "complex [K]");
        let part = self.values.dice.pick(&["re", "im", "abs"]);
        (self.named("r", &format!("{part}(dot({query}, {name}'))")), Some("V"))
    }

    /// A state that another one moves, and that moves it.
    fn momentum(&mut self) -> (String, Axis) {
        let (fast, state) = (self.values.name("M"), self.values.name("S"));
        self.say(&format!("state {fast}: [K, V] = 0"));
        self.say(&format!("state {state}: [K, V] = 0"));
        let (keep, fade) = (self.values.input("f", None, "[0, 0.9]"), self.values.gate(None));
        let (key, value) = (self.values.unit("k", Some("K")), self.values.vector("v", Some("V")));
        let strength = self.values.input("b", None, "[0, 1]");
        let error = format!("{value} - dot({key}, {state})");
        self.say(&format!("{fast}' = {keep} * {fast} + {strength} * outer({key}, {error})"));
        self.say(&format!("{state}' = {fade} * {state} + 0.5 * {fast}'"));
        let query = self.values.vector("q", Some("K"));
        (self.named("r", &format!("dot({query}, {state}')")), Some("V"))
    }

    /// A state that a function keeps bounded.
    fn bounded(&mut self) -> (String, Axis) {
        self.sequential = true;
        let dim = self.values.dice.pick(&["K", "V"]);
        let axis = Some(dim);
        let name = self.values.name("h");
        let (value, gate) = (self.values.vector("x", axis), self.values.gate(axis));
        self.say(&format!("state {name}: [{dim}] = 0"));
        self.say(&format!("{name}' = tanh({gate} * {name} + {value})"));
        (format!("{name}'"), axis)
    }
}
