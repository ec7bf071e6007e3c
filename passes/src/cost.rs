//! What a node costs, in nanoseconds, from its shape and the machine.
//!
//! ```text
//! product        2 flops / (tensor rate if all three extents are 8 or more, else scalar rate)
//! score, vmix    pairs of steps * width(g) exponentials, flops, scalings
//! pointwise      elements / scalar rate, or / special rate
//! inverse, solve their flops
//! loop           blocks * waves * (latency * dependent products + body flops of one instance)
//! token level    the same, and its result through memory; loops over tokens are never chosen
//! ```
//!
//! Parallel work is spread over all multiprocessors; a loop is serial. An exponent that may be
//! larger than the target allows costs infinity.

use crate::saturate::Class;
use egg::Id;
use sluice_ir::pointwise::{Binary, Unary};
use sluice_ir::seq::{ArrayFacts, Core, Facts, Seq, Shape, core_of};
use sluice_ir::target::Target;

/// The machine and the size of the problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    /// Rates and multiprocessors.
    pub(crate) target: Target,
    /// Nominal number of tokens of a sequence.
    pub(crate) tokens: usize,
    /// Sequences times heads.
    pub(crate) instances: usize,
}

/// Cost of a view or an index map: enough to prefer fewer.
const VIEW: f64 = 1e-3;
/// Cost of starting a product.
const PRODUCT: f64 = 1e-2;
/// Dependent steps of a triangular solve or inverse, in nanoseconds.
const TRIANGULAR: f64 = 50.0;
/// Share of an operation that is done on accumulators in registers.
const ON_ACCUMULATORS: f64 = 0.25;
/// Operations on an element that becomes an operand in shared memory, both halves of it.
const STORED: f64 = 8.0;
/// Bytes of an element that passes through memory.
const BYTES: f64 = 4.0;

/// Cost of a loop that takes one token at a time, beyond all others: chunked terms have none.
const TOKEN_LOOP: f64 = 1e15;

/// Operands below this extent do not fill a matrix instruction.
const TENSOR_EXTENT: usize = 8;

impl Model {
    /// Cost of a node whose class and operands' classes are known.
    pub(crate) fn cost(&self, node: &Seq, class: &Class, of: &dyn Fn(Id) -> Class) -> f64 {
        let Facts::Array(me) = class.facts else { return 0.0 };
        if me.zero {
            return VIEW;
        }
        let array = |id: Id| *of(id).facts.array();
        let work = match node {
            Seq::Count(_) | Seq::Number(_) | Seq::Mask(_) | Seq::Zero(_) | Seq::Ones(_) => {
                return 0.0;
            }
            Seq::Var(_) => return self.traffic(me.shape),
            Seq::Blk(_) => return VIEW,
            Seq::Unblk(_)
            | Seq::Rows(_)
            | Seq::Cols(_)
            | Seq::Weave(_)
            | Seq::Cat(_)
            | Seq::Bdiag(_)
            | Seq::Bget(_)
            | Seq::Split(_)
            | Seq::Join(_) => VIEW,
            Seq::Tr(_) => self.traffic(me.shape),
            Seq::Last(_) | Seq::Paired(_) | Seq::Unpaired(_) => VIEW,
            Seq::Drun([_, n, ..]) => {
                let doublings = of(*n).facts.count().next_power_of_two().ilog2();
                f64::from(doublings) * self.product(me.shape, me.shape.features)
            }
            Seq::Krylov([.., a, _]) => self.product(me.shape, array(*a).shape.rows),
            Seq::Dots([.., h]) => self.scalar(me.shape, 2.0 * array(*h).shape.rows as f64),
            Seq::Conv(_) => self.scalar(me.shape, me.shape.rows as f64),
            Seq::Lhist([n, _, _, u, _]) => {
                self.constant_loop(of(*n).facts.count(), array(*u).shape, me.shape)
            }
            Seq::Lfin(_) => VIEW,
            Seq::Mprod(_) | Seq::Mall(_) => self.scalar(me.shape, me.shape.features as f64),
            Seq::Blend([r, _]) | Seq::Blendt([r, _]) => {
                self.scalar(me.shape, 2.0 * array(*r).shape.features as f64)
            }
            Seq::Mscore([_, p, _, r]) => {
                let n = array(*r).shape.features;
                let pairs =
                    Shape { rows: me.shape.rows * n, features: me.shape.features * n, ..me.shape };
                self.product(pairs, array(*p).shape.features / n) + self.scalar(pairs, 2.0)
            }
            Seq::Dhist([.., x, _]) => self.dense_loop(array(*x).shape),
            Seq::Tile(_) | Seq::Kron(_) | Seq::Pairs(_) => self.scalar(me.shape, 1.0),
            Seq::Top(_) => self.scalar(me.shape, me.shape.features as f64),
            Seq::Unary(..) | Seq::Binary(..) | Seq::Select(_) | Seq::Live(_) => {
                self.pointwise(node, me.shape, of)
            }
            Seq::RowSum([x]) | Seq::RowMax([x]) | Seq::Tot([x]) | Seq::Tots([_, x]) => {
                self.scalar(array(*x).shape, 1.0)
            }
            Seq::Run(_) => self.scalar(me.shape, 3.0),
            Seq::Masked(_) => self.scalar(me.shape, 1.0),
            Seq::Mm([a, _]) | Seq::Mmt([a, _]) => self.product(me.shape, array(*a).shape.features),
            Seq::Tmm([a, _]) => self.product(me.shape, array(*a).shape.rows),
            Seq::Score([_, p, _, g]) => {
                self.pairs(me.shape, array(*p).shape, array(*p).shape.features, array(*g))
            }
            Seq::Vmix([_, w, _, g]) => {
                self.pairs(me.shape, array(*w).shape, me.shape.features, array(*g))
            }
            Seq::Seg([_, g]) => self.segments(me.shape, array(*g)),
            Seq::Solve([l, _]) => {
                let rows = array(*l).shape.rows as f64;
                self.scalar(me.shape, rows) + TRIANGULAR
            }
            Seq::Tinv([l]) => self.inverse(array(*l).shape),
            Seq::Hist(_) | Seq::Hz(_) | Seq::Fin(_) => self.loop_over_blocks(node, &array),
        };
        if me.shape.is_token_level() { work + self.traffic(me.shape) } else { work }
    }

    /// Operations of all instances at a rate of one multiprocessor.
    fn parallel(&self, operations: f64, rate: f64) -> f64 {
        operations * self.instances as f64 / (self.target.processors as f64 * rate)
    }

    fn volume(&self, shape: Shape) -> f64 {
        shape.volume(self.tokens) as f64
    }

    fn scalar(&self, shape: Shape, operations: f64) -> f64 {
        self.parallel(operations * self.volume(shape), self.target.rates.scalar) + VIEW
    }

    fn special(&self, elements: f64) -> f64 {
        self.parallel(elements, self.target.rates.special)
    }

    /// Bytes of all instances through memory.
    fn traffic(&self, shape: Shape) -> f64 {
        self.volume(shape) * BYTES * self.instances as f64 / self.target.rates.memory
    }

    fn flop_rate(&self, extents: [usize; 3]) -> f64 {
        let rates = &self.target.rates;
        if extents.iter().all(|e| *e >= TENSOR_EXTENT) { rates.tensor } else { rates.scalar }
    }

    fn product(&self, result: Shape, inner: usize) -> f64 {
        let rate = self.flop_rate([result.rows, result.features, inner]);
        self.parallel(2.0 * self.volume(result) * inner as f64, rate) + PRODUCT
    }

    fn pointwise(&self, node: &Seq, shape: Shape, of: &dyn Fn(Id) -> Class) -> f64 {
        let max = self.target.rates.max_exponent;
        let is_unsafe = |x: &Class| x.sums_gates && x.facts.array().range.hi > max;
        match node {
            Seq::Unary(Unary::Exp, [x]) if is_unsafe(&of(*x)) => f64::INFINITY,
            Seq::Unary(Unary::Neg | Unary::Abs | Unary::Relu, _) | Seq::Live(_) => {
                self.scalar(shape, 1.0)
            }
            Seq::Unary(..) | Seq::Binary(Binary::Div | Binary::Pow | Binary::LogAddExp, _) => {
                self.special(self.volume(shape)) + VIEW
            }
            Seq::Binary(Binary::Add | Binary::Mul, [a, b]) => {
                let accumulates = of(*a).accumulates || of(*b).accumulates;
                self.scalar(shape, if accumulates { ON_ACCUMULATORS } else { 1.0 })
            }
            _ => self.scalar(shape, 1.0),
        }
    }

    /// Whether a sum of gates over a block may exceed the largest exponent.
    fn is_unsafe(&self, gate: ArrayFacts) -> bool {
        gate.range.hi > 0.0
            && gate.range.hi * gate.shape.rows as f64 > self.target.rates.max_exponent
    }

    /// Scores or mixes: every pair of steps has its own decay.
    fn pairs(&self, me: Shape, reader: Shape, features: usize, gate: ArrayFacts) -> f64 {
        if self.is_unsafe(gate) {
            return f64::INFINITY;
        }
        let steps = gate.shape.rows;
        let rows = reader.rows / steps;
        let pairs = me.blocks.count(self.tokens) as f64 * (steps * steps) as f64 / 2.0;
        let per_pair = (rows * rows * features) as f64;
        let unit = self.flop_rate([rows, rows, features]);
        let products = self.parallel(2.0 * pairs * per_pair, unit) + PRODUCT;
        let whole = self.product(me, reader.features);
        // Masked products and products with segments, which weigh every pair of rows, are the forms to
        // prefer: kernels have no others for one decay.
        let weights = Shape { rows: reader.rows, features: reader.rows, ..me };
        let weighed = 2.0 * (whole + self.scalar(weights, 1.0));
        if gate.zero {
            return weighed;
        }
        if gate.shape.features == 1 && features > 1 {
            return weighed + self.segments(weights, gate);
        }
        let exponentials = self.special(pairs * gate.shape.features as f64);
        let scalings = pairs * (rows * features) as f64;
        products + exponentials + self.parallel(scalings, self.target.rates.scalar)
    }

    fn segments(&self, me: Shape, gate: ArrayFacts) -> f64 {
        if self.is_unsafe(gate) {
            return f64::INFINITY;
        }
        self.special(self.volume(me) / 2.0) + self.scalar(me, 1.0)
    }

    /// A triangular inverse, partly on matrix units.
    fn inverse(&self, shape: Shape) -> f64 {
        let rates = &self.target.rates;
        let flops = self.volume(shape) * shape.rows as f64 / 3.0;
        self.parallel(flops, (rates.tensor * rates.scalar).sqrt()) + TRIANGULAR
    }

    /// A loop that picks the last state out of those that are found for all steps of a block.
    fn dense_loop(&self, written: Shape) -> f64 {
        if written.is_token_level() {
            return TOKEN_LOOP;
        }
        let waves = self.instances.div_ceil(self.target.processors) as f64;
        written.blocks.count(self.tokens) as f64 * waves * self.target.rates.latency
    }

    /// A loop that takes its state over a whole block at once.
    fn constant_loop(&self, steps: usize, written: Shape, state: Shape) -> f64 {
        let (keys, values) = (state.rows, state.features);
        let flops = 2.0 * ((keys + steps) * keys * values) as f64;
        let waves = self.instances.div_ceil(self.target.processors) as f64;
        let body = flops / self.flop_rate([keys, keys, values]);
        let blocks = written.blocks.count(self.tokens) as f64;
        blocks * waves * (self.target.rates.latency + body)
    }

    fn loop_over_blocks(&self, node: &Seq, array: &dyn Fn(Id) -> ArrayFacts) -> f64 {
        let (_, core) = core_of(node).expect("the node is a history");
        let Core { a, l, p, b, c, d, .. } = core;
        let (a, l, p, b, c, d) = (array(a), array(l), array(p), array(b), array(c), array(d));
        if c.shape.is_token_level() {
            return TOKEN_LOOP;
        }
        let (keys, values) = (c.shape.features, d.shape.features);
        let rows = a.shape.rows;
        let product =
            |x: usize, y: usize, z: usize| 2.0 * (x * y * z) as f64 / self.flop_rate([x, y, z]);
        let mut body = (keys * values) as f64 / self.target.rates.scalar;
        let mut depth = 1.0;
        let mut ahead = 0.0;
        if !a.zero {
            body += product(rows, keys, values);
        }
        if !c.zero {
            body += product(c.shape.rows, keys, values);
        }
        if !p.zero {
            body += product(rows, keys, values);
            depth += 1.0;
            if l.zero && b.zero {
                // Solved early, `p` is no operand that was loaded, and no value beside it gains by that.
                body += STORED * (rows * keys) as f64 / self.target.rates.scalar;
            }
        }
        if !l.zero {
            // No depth: an early solve makes the same product in the same chunk, on wider operands.
            body += product(rows, rows, values);
            ahead = self.inverse(l.shape);
        }
        let waves = self.instances.div_ceil(self.target.processors) as f64;
        let blocks = c.shape.blocks.count(self.tokens) as f64;
        ahead + blocks * waves * (self.target.rates.latency * depth + body)
    }
}
