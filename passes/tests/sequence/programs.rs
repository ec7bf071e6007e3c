//! Programs of the normal form in step form, written with a small builder.

use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::step::{
    Dim, DimId, Input, InputId, Node, NodeId, Op, Output, Rate, Recurrence, Reduction, Sharing,
    State, StateId, check, result_dims,
};

/// A recurrence under construction; dimensions are `K`, `V` and `M`.
pub(crate) struct Step {
    recurrence: Recurrence,
}

impl Step {
    pub(crate) fn new(name: &str) -> Self {
        let dim = |name: &str| Dim { name: name.into(), size: None };
        let recurrence = Recurrence {
            name: name.into(),
            doc: vec![],
            dims: ["K", "V", "M"].map(dim).to_vec(),
            inputs: vec![],
            states: vec![],
            nodes: vec![],
            updates: vec![],
            outputs: vec![],
        };
        Self { recurrence }
    }

    fn dims(&self, names: &str) -> Vec<DimId> {
        let find = |c: char| self.recurrence.dims.iter().position(|d| d.name == c.to_string());
        names.chars().map(|c| DimId(find(c).expect("a dimension of the builder"))).collect()
    }

    /// Adds a node; its span is its index, so that diagnostics can be told apart.
    pub(crate) fn node(&mut self, op: Op) -> NodeId {
        let dims = result_dims(&self.recurrence, &op).expect("operands fit");
        let index = self.recurrence.nodes.len();
        self.recurrence.nodes.push(Node { op, dims, span: index..index + 1, name: None });
        NodeId(index)
    }

    fn input(&mut self, name: &str, dims: &str, range: [f64; 2], rate: Rate) -> NodeId {
        let input = Input {
            name: name.into(),
            dims: self.dims(dims),
            sharing: Sharing::Head,
            rate,
            dtype: None,
            range: Interval::new(range[0], range[1]),
            span: 0..0,
        };
        self.recurrence.inputs.push(input);
        let id = InputId(self.recurrence.inputs.len() - 1);
        self.node(Op::Input(id))
    }

    /// An input per token of any numbers.
    pub(crate) fn token(&mut self, name: &str, dims: &str) -> NodeId {
        self.ranged(name, dims, [f64::NEG_INFINITY, f64::INFINITY])
    }

    pub(crate) fn ranged(&mut self, name: &str, dims: &str, range: [f64; 2]) -> NodeId {
        self.input(name, dims, range, Rate::Token)
    }

    /// A log decay.
    pub(crate) fn gate(&mut self, name: &str, dims: &str) -> NodeId {
        self.ranged(name, dims, [f64::NEG_INFINITY, 0.0])
    }

    pub(crate) fn model(&mut self, name: &str, dims: &str, range: [f64; 2]) -> NodeId {
        self.input(name, dims, range, Rate::Model)
    }

    pub(crate) fn shared_by_group(&mut self) {
        let last = self.recurrence.inputs.last_mut().expect("an input was declared");
        last.sharing = Sharing::Group;
    }

    pub(crate) fn state(&mut self, name: &str, dims: &str) -> NodeId {
        let dims = self.dims(dims);
        self.recurrence.states.push(State { name: name.into(), dims, init: 0.0, span: 0..0 });
        self.recurrence.updates.push(NodeId(0));
        let id = StateId(self.recurrence.states.len() - 1);
        self.node(Op::State(id))
    }

    pub(crate) fn number(&mut self, x: f64) -> NodeId {
        self.node(Op::Const(x))
    }

    pub(crate) fn unary(&mut self, f: Unary, a: NodeId) -> NodeId {
        self.node(Op::Unary(f, a))
    }

    pub(crate) fn exp(&mut self, a: NodeId) -> NodeId {
        self.unary(Unary::Exp, a)
    }

    pub(crate) fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(Binary::Mul, a, b))
    }

    pub(crate) fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(Binary::Add, a, b))
    }

    pub(crate) fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let b = self.unary(Unary::Neg, b);
        self.add(a, b)
    }

    pub(crate) fn div(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(Binary::Div, a, b))
    }

    pub(crate) fn outer(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Outer(a, b))
    }

    pub(crate) fn dot(&mut self, a: NodeId, b: NodeId, dim: &str) -> NodeId {
        let dim = self.dims(dim)[0];
        self.node(Op::Dot(a, b, dim))
    }

    pub(crate) fn reduce(&mut self, reduction: Reduction, a: NodeId, dim: &str) -> NodeId {
        let dim = self.dims(dim)[0];
        self.node(Op::Reduce(reduction, a, dim))
    }

    /// `a * S` with `a = exp(gate)`.
    pub(crate) fn decayed(&mut self, gate: NodeId, state: NodeId) -> NodeId {
        let factor = self.exp(gate);
        self.mul(factor, state)
    }

    /// `D + outer(k, beta * (v - dot(k, D)))`.
    pub(crate) fn delta(&mut self, d: NodeId, [k, v, beta]: [NodeId; 3]) -> NodeId {
        let seen = self.dot(k, d, "K");
        let error = self.sub(v, seen);
        let value = self.mul(beta, error);
        let write = self.outer(k, value);
        self.add(d, write)
    }

    pub(crate) fn update(&mut self, state: &str, node: NodeId) {
        let find = |s: &State| s.name == state;
        let index = self.recurrence.states.iter().position(find).expect("the state is declared");
        self.recurrence.updates[index] = node;
    }

    pub(crate) fn output(&mut self, name: &str, node: NodeId) {
        let output = Output { name: name.into(), node, dtype: None, span: 0..0 };
        self.recurrence.outputs.push(output);
    }

    pub(crate) fn finish(self) -> Recurrence {
        check(&self.recurrence).expect("the program is legal");
        self.recurrence
    }
}

/// `S' = D + outer(k, v); o = dot(q, S')`, with `D` made from the state.
fn additive(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// `S' = D + outer(k, beta * (v - dot(k, D))); o = dot(q, S')`.
fn delta(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [q, k, v] = [p.token("q", "K"), p.ranged("k", "K", [-0.5, 0.5]), p.token("v", "V")];
    let beta = p.ranged("beta", "", [0.0, 1.0]);
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let next = p.delta(d, [k, v, beta]);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

fn two_sided(p: &mut Step, s: NodeId) -> NodeId {
    let (g, w) = (p.gate("g", "K"), p.gate("w", "V"));
    let rows = p.decayed(g, s);
    p.decayed(w, rows)
}

fn gated(dims: &'static str) -> impl Fn(&mut Step, NodeId) -> NodeId {
    move |p, s| {
        let g = p.gate("g", dims);
        p.decayed(g, s)
    }
}

/// The state is read before the step, and the step's own write through a bonus factor.
fn read_before_with_bonus() -> Recurrence {
    let mut p = Step::new("read before with bonus");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let (g, u) = (p.gate("g", "K"), p.model("u", "K", [-1.0, 1.0]));
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let before = p.dot(q, s, "K");
    let bonus = p.mul(u, k);
    let weight = p.dot(q, bonus, "K");
    let own = p.mul(weight, v);
    let o = p.add(before, own);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A decayed state, a rank-one change of its transition, and a write.
fn diagonal_plus_low_rank() -> Recurrence {
    let mut p = Step::new("diagonal plus low rank");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let [a, b] = [p.ranged("a", "K", [-0.4, 0.4]), p.ranged("b", "K", [-0.4, 0.4])];
    let g = p.gate("g", "K");
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let seen = p.dot(b, s, "K");
    let change = p.outer(a, seen);
    let write = p.outer(k, v);
    let changed = p.add(d, change);
    let next = p.add(changed, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A plain state that is read along its values, with one decay.
fn read_along_values(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [k, v, r] = [p.token("k", "K"), p.token("v", "V"), p.token("r", "V")];
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(next, r, "V");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A plain state that is read along both sides before the step.
fn read_before(name: &str, decay: impl Fn(&mut Step, NodeId) -> NodeId) -> Recurrence {
    let mut p = Step::new(name);
    let [q, k] = [p.token("q", "K"), p.token("k", "K")];
    let [v, r] = [p.token("v", "V"), p.token("r", "V")];
    let s = p.state("S", "KV");
    let d = decay(&mut p, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let along_keys = p.dot(q, s, "K");
    let along_values = p.dot(s, r, "V");
    p.update("S", next);
    p.output("along_keys", along_keys);
    p.output("along_values", along_values);
    p.finish()
}

/// The sum of all earlier tokens.
fn exclusive_sum() -> Recurrence {
    let mut p = Step::new("exclusive sum");
    let x = p.token("x", "K");
    let z = p.state("z", "K");
    let next = p.add(z, x);
    let o = p.mul(x, z);
    p.update("z", next);
    p.output("o", o);
    p.finish()
}

fn two_reflections() -> Recurrence {
    let mut p = Step::new("two reflections");
    let [q, v, u] = [p.token("q", "K"), p.token("v", "V"), p.token("u", "V")];
    let [k, b] = [p.ranged("k", "K", [-0.5, 0.5]), p.ranged("b", "K", [-0.5, 0.5])];
    let beta = [p.ranged("beta", "", [0.0, 1.0]), p.ranged("beta2", "", [0.0, 1.0])];
    let g = p.gate("g", "");
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let first = p.delta(d, [k, v, beta[0]]);
    let next = p.delta(first, [b, u, beta[1]]);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Decay and feedback on the value side: only the transposed state can be lifted.
fn feedback_along_values() -> Recurrence {
    let mut p = Step::new("feedback along values");
    let [q, k] = [p.token("q", "K"), p.token("k", "K")];
    let v = p.ranged("v", "V", [-0.5, 0.5]);
    let (g, beta) = (p.gate("g", "V"), p.ranged("beta", "", [0.0, 1.0]));
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let seen = p.dot(d, v, "V");
    let error = p.sub(k, seen);
    let value = p.mul(beta, error);
    let write = p.outer(value, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Reads between two statements, before the step, and along the values after it.
fn reads_everywhere() -> Recurrence {
    let mut p = Step::new("reads everywhere");
    let [q, v, u] = [p.token("q", "K"), p.token("v", "V"), p.token("u", "V")];
    let [k, b] = [p.ranged("k", "K", [-0.5, 0.5]), p.ranged("b", "K", [-0.5, 0.5])];
    let (g, beta) = (p.gate("g", "K"), p.ranged("beta", "", [0.0, 1.0]));
    let s = p.state("S", "KV");
    let d = p.decayed(g, s);
    let first = p.delta(d, [k, v, beta]);
    let write = p.outer(b, u);
    let next = p.add(first, write);
    let between = p.dot(q, first, "K");
    let before = p.dot(b, s, "K");
    let along_values = p.dot(next, u, "V");
    p.update("S", next);
    p.output("between", between);
    p.output("before", before);
    p.output("along_values", along_values);
    p.finish()
}

/// A normaliser with the same keys, feature maps that are not 0 at 0, a scaled output.
fn normalised() -> Recurrence {
    let mut p = Step::new("normalised");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let one = p.number(1.0);
    let map = |p: &mut Step, x: NodeId| {
        let x = p.unary(Unary::Elu, x);
        p.add(x, one)
    };
    let (q, k) = (map(&mut p, q), map(&mut p, k));
    let (s, z) = (p.state("S", "KV"), p.state("z", "K"));
    let write = p.outer(k, v);
    let next = p.add(s, write);
    let next_z = p.add(z, k);
    let above = p.dot(q, next, "K");
    let below = p.dot(q, next_z, "K");
    let epsilon = p.number(1e-6);
    let below = p.add(below, epsilon);
    let o = p.div(above, below);
    p.update("S", next);
    p.update("z", next_z);
    p.output("o", o);
    p.finish()
}

/// Two passes: scores from one state select what is read from the other.
fn two_passes() -> Recurrence {
    let mut p = Step::new("two passes");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let g = p.ranged("g", "M", [f64::NEG_INFINITY, 0.0]);
    let (keys, values) = (p.state("A", "KM"), p.state("B", "MV"));
    let decay = p.exp(g);
    let one = p.number(1.0);
    let write = p.sub(one, decay);
    let kept = p.mul(decay, keys);
    let added = p.outer(k, write);
    let next_keys = p.add(kept, added);
    let score = p.dot(q, next_keys, "K");
    let weight = p.unary(Unary::Sigmoid, score);
    let kept = p.mul(decay, values);
    let added = p.outer(write, v);
    let next_values = p.add(kept, added);
    let o = p.dot(weight, next_values, "M");
    p.update("A", next_keys);
    p.update("B", next_values);
    p.output("o", o);
    p.finish()
}

/// A softmax between the passes: reductions over features move with the blocks.
fn two_passes_with_softmax() -> Recurrence {
    let mut p = Step::new("two passes with softmax");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let f = p.ranged("f", "M", [0.0, 1.0]);
    let (keys, values) = (p.state("A", "KM"), p.state("B", "MV"));
    let one = p.number(1.0);
    let write = p.sub(one, f);
    let kept = p.mul(f, keys);
    let added = p.outer(k, write);
    let next_keys = p.add(kept, added);
    let score = p.dot(q, next_keys, "K");
    let largest = p.reduce(Reduction::Max, score, "M");
    let shifted = p.sub(score, largest);
    let raised = p.exp(shifted);
    let total = p.reduce(Reduction::Sum, raised, "M");
    let weight = p.div(raised, total);
    let kept = p.mul(f, values);
    let added = p.outer(write, v);
    let next_values = p.add(kept, added);
    let o = p.dot(weight, next_values, "M");
    p.update("A", next_keys);
    p.update("B", next_values);
    p.output("o", o);
    p.finish()
}

/// A step size that is no power: softplus, a per-model rate, a skip, inputs shared by groups.
fn selective() -> Recurrence {
    let mut p = Step::new("selective");
    let c = p.token("c", "K");
    p.shared_by_group();
    let b = p.token("b", "K");
    p.shared_by_group();
    let (x, raw) = (p.token("x", "V"), p.token("dt", ""));
    let (bias, log_rate) = (p.model("bias", "", [-1.0, 1.0]), p.model("log_rate", "", [-1.0, 1.0]));
    let skip = p.model("skip", "", [-1.0, 1.0]);
    let s = p.state("S", "KV");
    let biased = p.add(raw, bias);
    let dt = p.unary(Unary::Softplus, biased);
    let rate = p.exp(log_rate);
    let product = p.mul(dt, rate);
    let log = p.unary(Unary::Neg, product);
    let d = p.decayed(log, s);
    let input = p.mul(dt, x);
    let write = p.outer(b, input);
    let next = p.add(d, write);
    let read = p.dot(c, next, "K");
    let around = p.mul(skip, x);
    let o = p.add(read, around);
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// A vector state whose elements are the output: a decayed cumulative sum, read both ways.
fn vector_state(decayed: bool) -> Recurrence {
    let mut p = Step::new(if decayed { "decayed vector state" } else { "cumulative sum" });
    let [x, q] = [p.token("x", "K"), p.token("q", "K")];
    let z = p.state("z", "K");
    let kept = if decayed {
        let g = p.gate("g", "K");
        p.decayed(g, z)
    } else {
        z
    };
    let next = p.add(kept, x);
    let inner = p.dot(q, next, "K");
    let o = p.unary(Unary::Tanh, next);
    p.update("z", next);
    p.output("o", o);
    p.output("inner", inner);
    p.finish()
}

/// A constant decay, and a factor that is no exponential.
fn factors() -> Recurrence {
    let mut p = Step::new("factors");
    let [q, k, v] = [p.token("q", "K"), p.token("k", "K"), p.token("v", "V")];
    let (f, x) = (p.ranged("f", "K", [0.0, 1.0]), p.token("x", ""));
    let gamma = p.model("gamma", "", [0.5, 1.0]);
    let s = p.state("S", "KV");
    let half = p.number(0.5);
    let soft = p.unary(Unary::Sigmoid, x);
    let scaled = p.mul(half, soft);
    let scaled = p.mul(scaled, gamma);
    let d = p.mul(scaled, s);
    let d = p.mul(f, d);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "K");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Keys and readers pass through a per-model matrix and several pointwise functions.
fn feature_map() -> Recurrence {
    let mut p = Step::new("feature map");
    let [x, y, v] = [p.token("x", "K"), p.token("y", "K"), p.token("v", "V")];
    let w = p.model("w", "MK", [-1.0, 1.0]);
    let g = p.gate("g", "");
    let s = p.state("S", "MV");
    let map = |p: &mut Step, x: NodeId| {
        let x = p.dot(w, x, "K");
        p.exp(x)
    };
    let (q, k) = (map(&mut p, x), map(&mut p, y));
    let d = p.decayed(g, s);
    let write = p.outer(k, v);
    let next = p.add(d, write);
    let o = p.dot(q, next, "M");
    p.update("S", next);
    p.output("o", o);
    p.finish()
}

/// Every program of the normal form that the tests run through.
pub(crate) fn all() -> Vec<Recurrence> {
    vec![
        additive("linear", |_, s| s),
        additive("scalar decay", gated("")),
        additive("key decay", gated("K")),
        additive("value decay", gated("V")),
        additive("two-sided decay", two_sided),
        read_before_with_bonus(),
        delta("delta", |_, s| s),
        delta("gated delta", gated("")),
        delta("vector-gated delta", gated("K")),
        diagonal_plus_low_rank(),
        two_reflections(),
        read_along_values("scalar decay read along values", gated("")),
        read_along_values("value decay read along values", gated("V")),
        read_before("scalar decay read before", gated("")),
        read_before("value decay read before", gated("V")),
        exclusive_sum(),
        feedback_along_values(),
        reads_everywhere(),
        normalised(),
        two_passes(),
        two_passes_with_softmax(),
        selective(),
        vector_state(false),
        vector_state(true),
        factors(),
        feature_map(),
    ]
}

/// The program of that name.
pub(crate) fn named(name: &str) -> Recurrence {
    all().into_iter().find(|r| r.name == name).expect("a program of this module")
}
