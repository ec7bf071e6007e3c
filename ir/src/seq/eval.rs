//! What a sequence term means: every node as an array of doubles.

use super::array::{Array3, CoreArrays, History, history};
use super::shape::{Blocks, Shape};
use super::{Core, Facts, Leaf, LeafKind, Mask, RootKind, Seq, Source, Term, core_of};
use super::{dense, lti, mixing, square};
use crate::problem::{Array, Arrays, Problem};
use crate::step::{Order, Sharing};
use egg::Id;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values of the leaves for one sequence and head.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Tokens including padding; a multiple of [`Term::granule`].
    pub tokens: usize,
    /// Tokens that exist; token leaves are 0 from there on.
    pub live: usize,
    /// The leaves by name, each of its own shape.
    pub leaves: BTreeMap<String, Array3>,
}

/// The value of every root, by name, for one sequence and head.
///
/// # Panics
/// If a leaf is missing or has another shape than the term says.
pub fn eval(term: &Term, values: &Values) -> BTreeMap<String, Array3> {
    let mut done = Evaluator { term, values, arrays: Vec::new(), loops: BTreeMap::new() };
    for id in term.ids() {
        let array = match term.facts(id) {
            Facts::Array(_) => Some(done.node(id)),
            Facts::Count(_) | Facts::Mask(_) => None,
        };
        done.arrays.push(array);
    }
    term.roots().iter().map(|r| (r.name.clone(), done.array(r.id).clone())).collect()
}

struct Evaluator<'a> {
    term: &'a Term,
    values: &'a Values,
    arrays: Vec<Option<Array3>>,
    loops: BTreeMap<(Mask, Core), History>,
}

impl Evaluator<'_> {
    fn array(&self, id: Id) -> &Array3 {
        self.arrays[usize::from(id)].as_ref().expect("facts say which operands are arrays")
    }

    fn count(&self, id: Id) -> usize {
        self.term.facts(id).count()
    }

    fn mask(&self, id: Id) -> Mask {
        self.term.facts(id).mask()
    }

    fn node(&mut self, id: Id) -> Array3 {
        let shape = self.term.shape(id);
        let extents = [shape.blocks.count(self.values.tokens), shape.rows, shape.features];
        let node = self.term.node(id);
        let result = match node {
            Seq::Count(_) | Seq::Mask(_) => unreachable!("only arrays are evaluated"),
            Seq::Number(x) => Array3::filled(extents, x.value()),
            Seq::Zero(_) => Array3::filled(extents, 0.0),
            Seq::Ones(_) => Array3::filled(extents, 1.0),
            Seq::Var(name) => {
                let value = self.values.leaves.get(&**name).cloned();
                value.or_else(|| self.table(id)).unwrap_or_else(|| panic!("no value for {name}"))
            }
            Seq::Unary(..) | Seq::Binary(..) | Seq::Select(_) | Seq::Live(_) => {
                self.pointwise(node)
            }
            Seq::Hist(_) | Seq::Hz(_) | Seq::Fin(_) => self.history(node),
            _ => self.batched(node),
        };
        assert_eq!(result.shape(), extents, "value of {node}");
        result
    }

    /// The constants that a leaf holds.
    fn table(&self, id: Id) -> Option<Array3> {
        let leaf = self.term.leaf(id)?;
        let Source::Table(values) = &leaf.source else { return None };
        let Shape { rows, features, .. } = leaf.shape;
        Some(Array3 { blocks: 1, rows, features, data: values.to_vec() })
    }

    fn pointwise(&self, node: &Seq) -> Array3 {
        match node {
            Seq::Unary(f, [x]) => self.array(*x).map(|v| f.eval(v)),
            Seq::Binary(f, [a, b]) => {
                Array3::zip(&[self.array(*a), self.array(*b)], |x| f.eval(x[0], x[1]))
            }
            Seq::Select([c, a, b]) => {
                let operands = [self.array(*c), self.array(*a), self.array(*b)];
                Array3::zip(&operands, |x| if x[0] == 0.0 { x[2] } else { x[1] })
            }
            _ => {
                let id = node.operands()[0];
                let (x, shape) = (self.array(id), self.term.shape(id));
                let Blocks::Tokens { per } = shape.blocks else {
                    unreachable!("live is checked to have tokens")
                };
                Array3::from_fn(x.shape(), |n, r, c| {
                    let token = n * per + r * per / shape.rows;
                    if token < self.values.live { x.at(n, r, c) } else { 0.0 }
                })
            }
        }
    }

    fn batched(&self, node: &Seq) -> Array3 {
        let array = |id: &Id| self.array(*id);
        match node {
            Seq::RowSum([x]) => over_features(array(x), |row| row.iter().sum()),
            Seq::RowMax([x]) => {
                over_features(array(x), |row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            }
            Seq::Mm([a, b]) => Array3::product(array(a), array(b)),
            Seq::Mmt([a, b]) => Array3::product(array(a), &array(b).transposed()),
            Seq::Tmm([a, b]) => Array3::product(&array(a).transposed(), array(b)),
            Seq::Tot([x]) => {
                let x = array(x);
                let sum = |n, c| (0..x.rows).map(|r| x.at(n, r, c)).sum();
                Array3::from_fn([x.blocks, 1, x.features], |n, _, c| sum(n, c))
            }
            Seq::Tots([n, x]) => {
                let (n, x) = (self.count(*n), array(x));
                let sum = |b, r: usize, c| (r * n..(r + 1) * n).map(|s| x.at(b, s, c)).sum();
                Array3::from_fn([x.blocks, x.rows / n, x.features], sum)
            }
            Seq::Run([m, x]) => array(x).run(self.mask(*m)),
            Seq::Score([m, p, a, g]) => Array3::score(self.mask(*m), array(p), array(a), array(g)),
            Seq::Vmix([m, w, y, g]) => Array3::vmix(self.mask(*m), array(w), array(y), array(g)),
            Seq::Seg([m, g]) => array(g).segments(self.mask(*m)),
            Seq::Masked([m, n, w]) => array(w).masked(self.mask(*m), self.count(*n)),
            Seq::Solve([l, b]) => Array3::solve(array(l), array(b)),
            Seq::Tinv([l]) => {
                let l = array(l);
                Array3::solve(l, &Array3::identity(l.blocks, l.rows))
            }
            _ => self.layout(node),
        }
    }

    fn layout(&self, node: &Seq) -> Array3 {
        let array = |id: &Id| self.array(*id);
        match node {
            Seq::Blk([_, x]) if self.term.shape(*x).blocks == Blocks::One => array(x).clone(),
            Seq::Blk([c, x]) => {
                let (c, x) = (self.count(*c), array(x));
                x.reshape(x.blocks / c, x.rows * c)
            }
            Seq::Unblk([c, x]) => {
                let (c, x) = (self.count(*c), array(x));
                x.reshape(x.blocks * c, x.rows / c)
            }
            Seq::Bdiag([c, x]) => array(x).onto_diagonal(self.count(*c)),
            Seq::Bget([c, x]) => array(x).from_diagonal(self.count(*c)),
            Seq::Weave([a, b]) => {
                let (a, b) = (array(a), array(b));
                Array3::from_fn([a.blocks, a.rows + b.rows, a.features], |n, r, c| {
                    if r < a.rows { a.at(n, r, c) } else { b.at(n, r - a.rows, c) }
                })
            }
            Seq::Rows([i, rows, x]) => {
                let (i, rows, x) = (self.count(*i), self.count(*rows), array(x));
                Array3::from_fn([x.blocks, rows, x.features], |n, r, c| x.at(n, r + i, c))
            }
            Seq::Cat([a, b]) => {
                let (a, b) = (array(a), array(b));
                Array3::from_fn([a.blocks, a.rows, a.features + b.features], |n, r, c| {
                    if c < a.features { a.at(n, r, c) } else { b.at(n, r, c - a.features) }
                })
            }
            Seq::Cols([i, width, x]) => {
                let (i, width, x) = (self.count(*i), self.count(*width), array(x));
                Array3::from_fn([x.blocks, x.rows, width], |n, r, c| x.at(n, r, c + i))
            }
            Seq::Split([n, x]) => {
                let (n, x) = (self.count(*n), array(x));
                Array3 { rows: x.rows * n, features: x.features / n, ..x.clone() }
            }
            Seq::Join([n, x]) => {
                let (n, x) = (self.count(*n), array(x));
                Array3 { rows: x.rows / n, features: x.features * n, ..x.clone() }
            }
            Seq::Top([k, x]) => {
                let (k, x) = (self.count(*k), array(x));
                Array3::from_fn(x.shape(), |n, r, c| {
                    let ahead = |i: &usize| {
                        let (own, other) = (x.at(n, r, c), x.at(n, r, *i));
                        other > own || (other == own && *i < c)
                    };
                    f64::from(u8::from((0..x.features).filter(ahead).count() < k))
                })
            }
            Seq::Kron([a, b]) => {
                let (a, b) = (array(a), array(b));
                let extents = [a.blocks, a.rows, a.features * b.features];
                Array3::from_fn(extents, |n, r, c| {
                    a.at(n, r, c / b.features) * b.at(n, r, c % b.features)
                })
            }
            Seq::Tile([n, x]) => {
                let (n, x) = (self.count(*n), array(x));
                let extents = [x.blocks, x.rows, x.features * n];
                Array3::from_fn(extents, |b, r, c| x.at(b, r, c % x.features))
            }
            other => self.dense(other),
        }
    }

    /// What has to do with a transition that is a matrix.
    fn dense(&self, node: &Seq) -> Array3 {
        let array = |id: &Id| self.array(*id);
        match node {
            Seq::Tr([x]) => array(x).transposed(),
            Seq::Drun([m, n, a, x, h]) => {
                dense::run(self.mask(*m), self.count(*n), [array(a), array(x), array(h)])
            }
            Seq::Dhist([m, n, a, x, s]) => {
                dense::states(self.mask(*m), self.count(*n), [array(a), array(x), array(s)])
            }
            Seq::Krylov([m, n, a, x]) => {
                lti::krylov(self.mask(*m), self.count(*n), array(a), array(x))
            }
            Seq::Dots([n, p, h]) => lti::dots(self.count(*n), array(p), array(h)),
            Seq::Conv([m, k, u]) => lti::conv(self.mask(*m), array(k), array(u)),
            Seq::Lhist([_, a, b, u, s]) => lti::states([a, b, u, s].map(array), 0).0,
            Seq::Lfin([_, a, b, u, s]) => lti::states([a, b, u, s].map(array), self.values.live).1,
            Seq::Mprod([m, r]) => mixing::running(self.mask(*m), array(r)),
            Seq::Mall([r]) => mixing::total(array(r)),
            Seq::Blend([r, x]) => mixing::blend(array(r), array(x), false),
            Seq::Blendt([r, x]) => mixing::blend(array(r), array(x), true),
            Seq::Mscore([m, p, a, r]) => {
                mixing::score(self.mask(*m), [array(p), array(a), array(r)])
            }
            Seq::Last([_, s]) if self.values.live == 0 => array(s).clone(),
            Seq::Last([x, _]) => array(x).block(self.values.live - 1),
            Seq::Pairs([c, x]) => square::pairs(self.count(*c), array(x)),
            Seq::Paired([i, n, s]) => square::paired([i, n].map(|n| self.count(*n)), array(s)),
            Seq::Unpaired([i, n, r, s]) => {
                square::unpaired([i, n].map(|n| self.count(*n)), array(r), array(s))
            }
            other => unreachable!("{other} has its meaning elsewhere"),
        }
    }

    fn history(&mut self, node: &Seq) -> Array3 {
        let (mask, core) = core_of(node).expect("the node is a history");
        let key = (self.mask(mask), core);
        if !self.loops.contains_key(&key) {
            let array = |id: Id| self.array(id).clone();
            let arrays = CoreArrays {
                g: array(core.g),
                w: array(core.w),
                a: array(core.a),
                l: array(core.l),
                p: array(core.p),
                b: array(core.b),
                c: array(core.c),
                d: array(core.d),
                s: array(core.s),
            };
            self.loops.insert(key, history(key.0, &arrays));
        }
        let history = &self.loops[&key];
        match node {
            Seq::Hist(_) => history.states.clone(),
            Seq::Hz(_) => history.written.clone(),
            _ => history.last.clone(),
        }
    }
}

fn over_features(x: &Array3, f: impl Fn(&[f64]) -> f64) -> Array3 {
    Array3::from_fn([x.blocks, x.rows, 1], |n, r, _| {
        let start = (n * x.rows + r) * x.features;
        f(&x.data[start..start + x.features])
    })
}

/// Evaluates every sequence and head of a problem; arrays are laid out as for the step form, and the
/// `i`-th token of the term is the one that comes `i`th in `order`. Initial states that `inputs`
/// does not hold have their declared value.
pub fn run(term: &Term, order: Order<usize>, problem: &Problem, inputs: &Arrays) -> Arrays {
    let mut results = Arrays::new();
    for sequence in 0..problem.sequences() {
        for head in 0..problem.heads {
            let place = Place { term, order, problem, sequence, head };
            let roots = eval(term, &place.values(inputs));
            place.store(&roots, &mut results);
        }
    }
    results
}

/// One sequence and head of a problem.
struct Place<'a> {
    term: &'a Term,
    order: Order<usize>,
    problem: &'a Problem,
    sequence: usize,
    head: usize,
}

impl Place<'_> {
    /// Number of tokens.
    fn length(&self) -> usize {
        let offsets = &self.problem.cu_seqlens;
        offsets[self.sequence + 1] - offsets[self.sequence]
    }

    /// The token, of all sequences together, that comes `place`th.
    fn token(&self, place: usize) -> usize {
        self.problem.cu_seqlens[self.sequence] + self.order.token(place, self.length())
    }

    fn values(&self, inputs: &Arrays) -> Values {
        let live = self.length();
        let tokens = live.next_multiple_of(self.term.granule());
        let leaf = |(name, leaf): (&Arc<str>, &Leaf)| {
            let value = match (&leaf.source, inputs.get(&**name)) {
                (Source::Table(_), _) => return None,
                (Source::Input(from), None) => {
                    let learned = Leaf { kind: LeafKind::Model, ..leaf.clone() };
                    self.leaf(&learned, inputs.get(&**from), tokens)
                }
                (_, array) => self.leaf(leaf, array, tokens),
            };
            Some((name.to_string(), value))
        };
        Values { tokens, live, leaves: self.term.leaves().iter().filter_map(leaf).collect() }
    }

    fn leaf(&self, leaf: &Leaf, array: Option<&Array>, tokens: usize) -> Array3 {
        let shape = leaf.shape;
        let extents = [shape.blocks.count(tokens), shape.rows, shape.features];
        let live = self.length();
        let (heads, head) = match leaf.sharing {
            Sharing::Head => (self.problem.heads, self.head),
            Sharing::Group => (self.problem.groups, self.problem.group_of(self.head)),
        };
        let placed = |row: &[f64]| {
            Array3::from_fn(extents, |_, r, c| {
                let natural = !leaf.transposed;
                row[if natural { r * shape.features + c } else { c * shape.rows + r }]
            })
        };
        match (leaf.kind, array) {
            (LeafKind::Token, Some(array)) => Array3::from_fn(extents, |t, _, c| {
                if t < live { array.row(self.token(t) * heads + head, 2)[c] } else { 0.0 }
            }),
            (LeafKind::Model, Some(array)) => placed(array.row(head, 1)),
            (LeafKind::State, Some(array)) => {
                placed(array.row(self.sequence * self.problem.heads + self.head, 2))
            }
            (_, None) => match leaf.source {
                Source::Number(x) => Array3::filled(extents, x),
                Source::Identity => {
                    Array3::from_fn(extents, |_, r, c| if r == c { 1.0 } else { 0.0 })
                }
                _ => panic!("an input has no array"),
            },
        }
    }

    fn store(&self, roots: &BTreeMap<String, Array3>, results: &mut Arrays) {
        let heads = self.problem.heads;
        for root in self.term.roots() {
            let value = &roots[&root.name];
            let outer = match root.kind {
                RootKind::Output => self.problem.tokens(),
                RootKind::State => self.problem.sequences(),
            };
            let shape: Vec<usize> = [outer, heads].iter().chain(&root.dims).copied().collect();
            let to = results.entry(root.name.clone()).or_insert_with(|| Array::zeros(&shape));
            let mut put = |row: usize, from: &[f64]| {
                let at = (row * heads + self.head) * from.len();
                to.data[at..at + from.len()].copy_from_slice(from);
            };
            match root.kind {
                RootKind::Output => {
                    for t in 0..self.length() {
                        put(self.token(t), value.block(t).data.as_slice());
                    }
                }
                RootKind::State if root.transposed => put(self.sequence, &value.transposed().data),
                RootKind::State => put(self.sequence, &value.data),
            }
        }
    }
}
