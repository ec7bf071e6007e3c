//! A sequence term: a shared graph of operators with named roots and a table of leaves.

use super::shape::{Facts, Leaves, Shape, facts};
use super::{Core, Number, Seq, core_of};
use crate::pointwise::{Binary, Interval, Unary};
use crate::step::Sharing;
use egg::{Id, Language, RecExpr};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What a leaf holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeafKind {
    /// An input with a value per token: `[T, 1, F]`.
    Token,
    /// An input with one value for the model: `[1, 1, F]`, or `[1, R, F]` for a matrix.
    Model,
    /// A state before the first token: `[1, K, V]`.
    State,
}

/// A leaf: an input of the recurrence, or a state before the first token, of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// What it holds.
    pub kind: LeafKind,
    /// Its shape.
    pub shape: Shape,
    /// Values that the caller promises.
    pub range: Interval,
    /// Heads that share it. States always have their own; for a state that starts from an input, the
    /// heads that share that input.
    pub sharing: Sharing,
    /// Whether rows and features are exchanged against the recurrence's natural order.
    pub transposed: bool,
    /// Where its values come from when the caller gives no array of its name.
    pub source: Source,
}

/// Where the values of a leaf come from when the caller gives no array of its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The caller must give them.
    Caller,
    /// Every element is this number.
    Number(f64),
    /// A state starts from the identity.
    Identity,
    /// A state starts from the per-model input of this name.
    Input(Arc<str>),
    /// Constants, row by row.
    Table(Arc<[f64]>),
}

/// What a root becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootKind {
    /// An output with a value per token: `[T, 1, F]`.
    Output,
    /// A state after the last token: `[1, K, V]`.
    State,
}

/// A named result.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// Name of the output or state.
    pub name: String,
    /// What it becomes.
    pub kind: RootKind,
    /// Whether rows and features are exchanged against the recurrence's natural order.
    pub transposed: bool,
    /// Extents of one value in the recurrence's order: of a token's output, or of a state.
    pub dims: Vec<usize>,
    /// The node that is its value.
    pub id: Id,
}

/// A sequence term. Operands come before their users, and no node occurs twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    nodes: RecExpr<Seq>,
    facts: Vec<Facts>,
    roots: Vec<Root>,
    leaves: Leaves,
}

impl Term {
    /// The nodes, operands before users.
    pub fn nodes(&self) -> &[Seq] {
        self.nodes.as_ref()
    }

    /// The nodes as egg's expression; its last node is no root in particular.
    pub fn expression(&self) -> &RecExpr<Seq> {
        &self.nodes
    }

    /// The indices of all nodes in order.
    pub fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.facts.len()).map(Id::from)
    }

    /// The node of an index.
    pub fn node(&self, id: Id) -> &Seq {
        &self.nodes.as_ref()[usize::from(id)]
    }

    /// The facts of a node.
    pub fn facts(&self, id: Id) -> &Facts {
        &self.facts[usize::from(id)]
    }

    /// The shape of an array node.
    pub fn shape(&self, id: Id) -> Shape {
        self.facts(id).shape()
    }

    /// Whether a node is an array: not a count or a mask.
    pub fn is_array(&self, id: Id) -> bool {
        matches!(self.facts(id), Facts::Array(_))
    }

    /// Whether a node is an array whose elements are all 0.
    pub fn is_zero(&self, id: Id) -> bool {
        matches!(self.facts(id), Facts::Array(a) if a.zero)
    }

    /// The results, outputs first, each kind in order of declaration.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// All leaves by name.
    pub fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// The leaf that a node is, if it is a variable.
    pub fn leaf(&self, id: Id) -> Option<&Leaf> {
        match self.node(id) {
            Seq::Var(name) => Some(&self.leaves[name]),
            _ => None,
        }
    }

    /// The loops along the sequence: core and whether it runs backwards in time. History, written
    /// values and final state of one core come from one loop.
    pub fn loops(&self) -> BTreeSet<(Core, bool)> {
        let key =
            |node| core_of(node).map(|(m, core)| (core, self.facts(m).mask().is_transposed()));
        self.nodes().iter().filter_map(key).collect()
    }

    /// Whether what a loop needs is computed from another loop's states.
    pub fn reads(&self, reader: &Core, target: &Core) -> bool {
        let mut waiting = reader.operands(reader.s).to_vec();
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if seen.insert(id) {
                let node = self.node(id);
                if core_of(node).is_some_and(|(_, core)| core == *target) {
                    return true;
                }
                waiting.extend(node.operands());
            }
        }
        false
    }

    /// Loops that take one token at a time; a chunked term has none.
    pub fn token_loops(&self) -> usize {
        let loops = self.loops();
        let loops = loops.iter().filter(|(core, _)| self.shape(core.c).is_token_level());
        let dense =
            |node: &&Seq| matches!(node, Seq::Dhist([.., x, _]) if self.shape(*x).is_token_level());
        loops.count() + self.nodes().iter().filter(dense).count()
    }

    /// Tokens of the largest block: lengths must be padded to a multiple of it.
    pub fn granule(&self) -> usize {
        let per = |facts: &Facts| match facts {
            Facts::Array(a) => a.shape.blocks.code(),
            Facts::Count(_) | Facts::Mask(_) => 0,
        };
        self.facts.iter().map(per).max().unwrap_or(0).max(1)
    }

    /// The part of the expression below one root, as egg's expression with that root last.
    pub fn below(&self, root: Id) -> RecExpr<Seq> {
        self.nodes[root].build_recexpr(|id| self.nodes[id].clone())
    }
}

/// Makes terms; equal nodes are made once.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    nodes: Vec<Seq>,
    facts: Vec<Facts>,
    memo: HashMap<Seq, Id>,
    leaves: Leaves,
}

impl Builder {
    /// A builder without nodes that knows these leaves.
    pub fn new(leaves: Leaves) -> Self {
        Self { leaves, ..Self::default() }
    }

    /// The leaf of that name.
    pub fn leaf_named(&self, name: &str) -> &Leaf {
        self.leaves.get(name).unwrap_or_else(|| panic!("no leaf is called {name}"))
    }

    /// The node, made if it is new.
    ///
    /// # Panics
    /// If the operands do not fit the operator.
    pub fn add(&mut self, node: Seq) -> Id {
        if let Some(id) = self.memo.get(&node) {
            return *id;
        }
        let facts = facts(&node, &self.leaves, &|id| self.facts[usize::from(id)]);
        let id = Id::from(self.nodes.len());
        self.nodes.push(node.clone());
        self.facts.push(facts);
        self.memo.insert(node, id);
        id
    }

    /// A node made before.
    pub fn node(&self, id: Id) -> &Seq {
        &self.nodes[usize::from(id)]
    }

    /// The facts of a node.
    pub fn facts(&self, id: Id) -> &Facts {
        &self.facts[usize::from(id)]
    }

    /// The shape of an array node.
    pub fn shape(&self, id: Id) -> Shape {
        self.facts(id).shape()
    }

    /// Whether an array is 0.
    pub fn is_zero(&self, id: Id) -> bool {
        self.facts(id).array().zero
    }

    /// Declares a leaf and makes its node.
    pub fn leaf(&mut self, name: &str, leaf: Leaf) -> Id {
        self.leaves.insert(name.into(), leaf);
        self.add(Seq::Var(name.into()))
    }

    /// A count.
    pub fn count(&mut self, n: usize) -> Id {
        self.add(Seq::Count(n))
    }

    /// A constant, `[1, 1, 1]`.
    pub fn number(&mut self, x: f64) -> Id {
        self.add(Seq::Number(Number::new(x)))
    }

    fn extents(&mut self, shape: Shape) -> [Id; 3] {
        [shape.blocks.code(), shape.rows, shape.features].map(|n| self.count(n))
    }

    /// Zeros.
    pub fn zeros(&mut self, shape: Shape) -> Id {
        let extents = self.extents(shape);
        self.add(Seq::Zero(extents))
    }

    /// Ones.
    pub fn ones(&mut self, shape: Shape) -> Id {
        let extents = self.extents(shape);
        self.add(Seq::Ones(extents))
    }

    /// A pointwise function.
    pub fn unary(&mut self, f: Unary, x: Id) -> Id {
        self.add(Seq::Unary(f, [x]))
    }

    /// A pointwise function.
    pub fn binary(&mut self, f: Binary, a: Id, b: Id) -> Id {
        self.add(Seq::Binary(f, [a, b]))
    }

    /// Whether an array is 1 everywhere.
    fn is_one(&self, id: Id) -> bool {
        self.facts(id).array().range == Interval::point(1.0)
    }

    /// Whether a pointwise result of `a` and `b` has the shape of `a`.
    fn covers(&self, a: Id, b: Id) -> bool {
        let shape = self.shape(a);
        shape.broadcast(self.shape(b)) == Some(shape)
    }

    /// `a + b`, without adding zeros.
    pub fn sum(&mut self, a: Id, b: Id) -> Id {
        if self.is_zero(a) && self.covers(b, a) {
            b
        } else if self.is_zero(b) && self.covers(a, b) {
            a
        } else {
            self.binary(Binary::Add, a, b)
        }
    }

    /// `a * b`, without multiplying by ones.
    pub fn times(&mut self, a: Id, b: Id) -> Id {
        if self.is_one(a) && self.covers(b, a) {
            b
        } else if self.is_one(b) && self.covers(a, b) {
            a
        } else {
            self.binary(Binary::Mul, a, b)
        }
    }

    /// The array repeated to a shape that it broadcasts to.
    pub fn spread(&mut self, x: Id, shape: Shape) -> Id {
        if self.shape(x) == shape {
            return x;
        }
        if self.is_zero(x) {
            return self.zeros(shape);
        }
        let ones = self.ones(shape);
        self.times(ones, x)
    }

    /// The term with these roots; nodes that no root needs are left out.
    pub fn finish(self, roots: Vec<Root>) -> Term {
        let mut needed = vec![false; self.nodes.len()];
        for root in &roots {
            needed[usize::from(root.id)] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if needed[i] {
                for operand in self.nodes[i].operands() {
                    needed[usize::from(*operand)] = true;
                }
            }
        }
        let (mut nodes, mut facts, mut place) = (vec![], vec![], BTreeMap::new());
        for (i, node) in self.nodes.into_iter().enumerate().filter(|(i, _)| needed[*i]) {
            place.insert(Id::from(i), Id::from(nodes.len()));
            nodes.push(node.map_children(|c| place[&c]));
            facts.push(self.facts[i]);
        }
        let roots = roots.into_iter().map(|r| Root { id: place[&r.id], ..r }).collect();
        let used = |name: &Arc<str>| nodes.contains(&Seq::Var(name.clone()));
        let leaves = self.leaves.into_iter().filter(|(name, _)| used(name)).collect();
        Term { nodes: nodes.into(), facts, roots, leaves }
    }
}
