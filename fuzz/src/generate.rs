//! Programs that follow the grammar, and mostly the rules for shapes too: expressions are made to have
//! the shape that is wanted, from values that are there. Some slips remain on purpose; a compiler meets
//! those too.

use arbitrary::{Arbitrary, Result, Unstructured};
use std::fmt::{self, Debug};

/// The text of a random program.
pub struct Text(pub String);

impl Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let text = DECLARATIONS.to_owned();
        Writer { u, text, values: vec![], states: vec![], params: vec![] }.program()
    }
}

/// Dimensions: three open ones, one of fixed size and one computed from others.
const DIMS: &[&str] = &["K", "V", "N", "M", "F"];

/// Their declarations; an open one may also be declared by its first use.
const DECLARATIONS: &str = "dim M = 4\ndim K\ndim V\ndim N\ndim F = K * 2 + M / 4\n";

const UNARY: &[&str] = &[
    "exp",
    "log",
    "recip",
    "sigmoid",
    "log_sigmoid",
    "softplus",
    "silu",
    "relu",
    "elu",
    "tanh",
    "sqrt",
    "rsqrt",
    "abs",
    "cos",
    "sin",
    "exp2",
    "expm1",
    "log1p",
    "floor",
    "sign",
    "twice",
];

const OVER_DIM: &[&str] = &[
    "sum",
    "mean",
    "max",
    "min",
    "l2norm",
    "softmax",
    "logsumexp",
    "norm",
    "rmsnorm",
    "layernorm",
];

const RANGES: &[&str] = &["", " in (-inf, 0]", " in [0, 1]", " in [-1, 1]", " f32 in [0, inf)"];

const ORDERS: &[&str] = &["", "", "", " reverse", " columns(M)", " reverse columns(M)"];

const NUMBERS: &[&str] = &["0", "1", "-1", "0.5", "2", "1e-6", "3e2"];

/// Programs that a random one may call.
const CALLED: &str = "recurrence decayed(x: [K], g: [] in (-inf, 0]) -> y: [K] {
    state s: [K] = 0
    s' = exp(g) * s + x
    y = s'
}
recurrence counted(x: [K]) -> (y: [K], n: []) {
    state m: [] in [0, inf) = 0
    state s: [K] = 0
    m' = m + 1
    s' = s + x
    y = s' / m'
    n = m'
}
";

/// A list of dimensions by their places in [`DIMS`].
type Shape = Vec<usize>;

/// A value that expressions may name.
struct Named {
    text: String,
    shape: Shape,
}

struct Writer<'u, 'a> {
    u: &'u mut Unstructured<'a>,
    text: String,
    values: Vec<Named>,
    states: Vec<(String, Shape)>,
    params: Vec<(String, Shape)>,
}

impl Writer<'_, '_> {
    fn program(mut self) -> Result<Text> {
        self.text.push_str("fn twice(x) = x + x\n");
        let calls = self.u.ratio(1, 3)?;
        if calls {
            self.text.push_str(CALLED);
        }
        if self.u.ratio(1, 8)? {
            self.text.push_str("/// Kept.\nsequential ");
        }
        self.text.push_str("recurrence random(\n");
        for i in 0..self.u.int_in_range(1..=5)? {
            self.input(i)?;
        }
        let outputs: Vec<Shape> =
            (0..self.u.int_in_range(1..=2)?).map(|_| self.shape(2)).collect::<Result<_>>()?;
        self.text.push_str(") -> (");
        for (i, shape) in outputs.iter().enumerate() {
            self.text.push_str(&format!("o{i}: {}, ", brackets(shape)));
        }
        self.text.push_str(") {\n");
        for i in 0..self.u.int_in_range(0..=4)? {
            self.state(i)?;
        }
        if self.u.ratio(1, 4)? {
            self.window()?;
        }
        if self.u.ratio(1, 4)? {
            self.rotation()?;
        }
        if calls {
            self.call()?;
        }
        for i in 0..self.u.int_in_range(0..=4)? {
            let shape = self.shape(3)?;
            let value = self.expr(&shape, 3)?;
            self.text.push_str(&format!("    let a{i} = {value}\n"));
            self.values.push(Named { text: format!("a{i}"), shape });
        }
        for (state, shape) in std::mem::take(&mut self.states) {
            let value = self.update(&state, &shape)?;
            self.text.push_str(&format!("    {state}' = {value}\n"));
            self.values.push(Named { text: format!("{state}'"), shape });
        }
        for (i, shape) in outputs.iter().enumerate() {
            let value = self.expr(shape, 4)?;
            self.text.push_str(&format!("    o{i} = {value}\n"));
        }
        self.text.push_str("}\n");
        Ok(Text(self.text))
    }

    fn input(&mut self, i: usize) -> Result<()> {
        let shape = self.shape(3)?;
        let param = if self.u.ratio(1, 4)? { "param " } else { "" };
        let range = *self.u.choose(RANGES)?;
        let group = if self.u.ratio(1, 5)? { " by group" } else { "" };
        let list = brackets(&shape);
        self.text.push_str(&format!("    {param}x{i}: {list}{range}{group},\n"));
        if !param.is_empty() {
            self.params.push((format!("x{i}"), shape.clone()));
        }
        self.values.push(Named { text: format!("x{i}"), shape });
        Ok(())
    }

    fn state(&mut self, i: usize) -> Result<()> {
        let shape = self.shape(2)?;
        let order = *self.u.choose(ORDERS)?;
        let list = brackets(&shape);
        let range = if self.u.ratio(1, 8)? { " in [0, inf)" } else { "" };
        let learned = self.params.iter().find(|(_, dims)| *dims == shape);
        let init = learned.map_or("0", |(name, _)| name).to_owned();
        self.text.push_str(&format!("    state S{i}: {list}{range}{order} = {init}\n"));
        self.values.push(Named { text: format!("S{i}"), shape: shape.clone() });
        if self.u.ratio(1, 6)? {
            self.values.push(Named { text: format!("last(S{i})"), shape: shape.clone() });
        }
        self.states.push((format!("S{i}"), shape));
        Ok(())
    }

    /// The last few values of something.
    fn window(&mut self) -> Result<()> {
        let mut shape = self.shape(2)?;
        shape.retain(|dim| DIMS[*dim] != "M");
        let value = self.expr(&shape, 2)?;
        shape.insert(0, DIMS.iter().position(|dim| *dim == "M").unwrap_or(0));
        let order = *self.u.choose(ORDERS)?;
        self.text.push_str(&format!("    window W: {}{order} = {value}\n", brackets(&shape)));
        self.values.push(Named { text: "W'".to_owned(), shape: shape.clone() });
        self.values.push(Named { text: "W".to_owned(), shape });
        Ok(())
    }

    /// A complex state that is turned.
    fn rotation(&mut self) -> Result<()> {
        let shape = self.shape(2)?;
        let list = brackets(&shape);
        let (size, angle) = (self.expr(&shape, 2)?, self.expr(&shape, 2)?);
        let (re, im) = (self.expr(&shape, 2)?, self.expr(&shape, 2)?);
        self.text.push_str(&format!("    state H: complex {list} = 0\n"));
        let write = format!("complex({re}, {im})");
        self.text.push_str(&format!("    H' = polar(exp({size}), {angle}) * H + {write}\n"));
        for text in ["re(H')", "im(conj(H) * H')", "abs(H)"] {
            self.values.push(Named { text: text.to_owned(), shape: shape.clone() });
        }
        Ok(())
    }

    /// Another program in this one.
    fn call(&mut self) -> Result<()> {
        let reverse = if self.u.ratio(1, 4)? { "reverse " } else { "" };
        let (x, g) = (self.expr(&[0], 2)?, self.expr(&[], 2)?);
        self.text.push_str(&format!("    let y = {reverse}decayed({x}, g = -exp({g}))\n"));
        let x = self.expr(&[0], 2)?;
        self.text.push_str(&format!("    let (z, n) = {reverse}counted({x})\n"));
        for (text, shape) in [("y", vec![0]), ("z", vec![0]), ("n", vec![])] {
            self.values.push(Named { text: text.to_owned(), shape });
        }
        Ok(())
    }

    /// Mostly an affine update, as real programs have.
    fn update(&mut self, state: &str, shape: &Shape) -> Result<String> {
        let write = self.expr(shape, 3)?;
        Ok(match self.u.int_in_range(0..=4)? {
            0 => write,
            1 if !shape.is_empty() => format!("push({state}, {})", self.expr(&shape[1..], 2)?),
            2 => format!("max({state}, {write})"),
            _ => {
                format!("exp({}) * {state} + {write}", self.expr(&shape[..shape.len().min(1)], 2)?)
            }
        })
    }

    /// At most `rank` different dimensions.
    fn shape(&mut self, rank: usize) -> Result<Shape> {
        let mut shape = Shape::new();
        for _ in 0..self.u.int_in_range(0..=rank)? {
            let dim = self.u.choose_index(DIMS.len())?;
            if !shape.contains(&dim) {
                shape.push(dim);
            }
        }
        Ok(shape)
    }

    /// An expression that has the shape, unless a slip is made.
    fn expr(&mut self, shape: &[usize], depth: usize) -> Result<String> {
        if depth == 0 || self.u.is_empty() {
            return self.leaf(shape);
        }
        let depth = depth - 1;
        let choice = self.u.int_in_range(0..=15)?;
        Ok(match choice {
            0..=2 => {
                let a = self.expr(shape, depth)?;
                let kept = self.u.int_in_range(0..=shape.len())?;
                let b = self.expr(&shape[..kept], depth)?;
                let symbol = self.u.choose(&["+", "-", "*", "/", "<", "<=", ">", ">=", "=="])?;
                format!("({a} {symbol} {b})")
            }
            3 => format!("-{}", self.expr(shape, depth)?),
            4 | 5 => {
                let function = *self.u.choose(UNARY)?;
                format!("{function}({})", self.expr(shape, depth)?)
            }
            6 => {
                let function = *self.u.choose(&["min", "max", "pow", "logaddexp"])?;
                let a = self.expr(shape, depth)?;
                format!("{function}({a}, {})", self.expr(shape, depth)?)
            }
            7 | 8 => self.dot(shape, depth)?,
            9 if shape.len() == 2 => {
                let a = self.expr(&shape[..1], depth)?;
                format!("outer({a}, {})", self.expr(&shape[1..], depth)?)
            }
            10 => match self.other(shape)? {
                Some(dim) => {
                    let function = *self.u.choose(OVER_DIM)?;
                    let whole = [shape, &[dim]].concat();
                    format!("{function}({}, {})", self.expr(&whole, depth)?, DIMS[dim])
                }
                None => self.leaf(shape)?,
            },
            11 => {
                let condition = self.expr(shape, depth)?;
                let a = self.expr(shape, depth)?;
                format!("where({condition} < 0, {a}, {})", self.expr(shape, depth)?)
            }
            12 => self.rearranged(shape, depth)?,
            13 => format!("clamp({}, -1, 1)", self.expr(shape, depth)?),
            14 if !shape.is_empty() => {
                let x = self.expr(shape, depth)?;
                let count = self.u.int_in_range(1..=3)?;
                format!("topk({x}, {count}, {})", DIMS[shape[0]])
            }
            _ => self.leaf(shape)?,
        })
    }

    fn dot(&mut self, shape: &[usize], depth: usize) -> Result<String> {
        let Some(dim) = self.other(shape)? else { return self.leaf(shape) };
        let kept = self.u.int_in_range(0..=shape.len())?;
        let a = self.expr(&[&shape[..kept], &[dim]].concat(), depth)?;
        let b = self.expr(&[&[dim], &shape[kept..]].concat(), depth)?;
        Ok(format!("dot({a}, {b}, {})", DIMS[dim]))
    }

    /// An array of other elements or in another order.
    fn rearranged(&mut self, shape: &[usize], depth: usize) -> Result<String> {
        let list = brackets(shape);
        let Some((&first, rest)) = shape.split_first() else { return self.leaf(shape) };
        let other = self.other(shape)?.unwrap_or(first);
        Ok(match self.u.int_in_range(0..=4)? {
            0 => format!("spread({}, {list})", self.expr(rest, depth)?),
            1 => format!("reshape({}, {list})", self.expr(shape, depth)?),
            2 => {
                let whole = [&[other], rest].concat();
                let x = self.expr(&whole, depth)?;
                let (from, to) = (DIMS[other], DIMS[first]);
                format!("slice({x}, {from}, {to}, {})", self.u.int_in_range(0..=2)?)
            }
            3 => {
                let a = self.expr(&[&[other], rest].concat(), depth)?;
                let b = self.expr(&[&[other], rest].concat(), depth)?;
                format!("concat({a}, {b}, {})", DIMS[first])
            }
            _ if rest.is_empty() => format!("index({})", DIMS[first]),
            _ => self.leaf(shape)?,
        })
    }

    /// A dimension that is not in the shape.
    fn other(&mut self, shape: &[usize]) -> Result<Option<usize>> {
        let dim = self.u.choose_index(DIMS.len())?;
        Ok((shape.len() < 3 && !shape.contains(&dim)).then_some(dim))
    }

    /// A value of the shape, or a smaller one or a number, spread as needed.
    fn leaf(&mut self, shape: &[usize]) -> Result<String> {
        let start = self.u.int_in_range(0..=self.values.len())?;
        let (before, after) = self.values.split_at(start);
        let mut near = after.iter().chain(before);
        if let Some(value) = near.clone().find(|value| value.shape == shape) {
            return Ok(value.text.clone());
        }
        let smaller = near.find(|value| value.shape.iter().all(|dim| shape.contains(dim)));
        let text = match smaller {
            Some(value) => value.text.as_str(),
            None => *self.u.choose(NUMBERS)?,
        };
        Ok(if shape.is_empty() {
            text.to_owned()
        } else {
            format!("spread({text}, {})", brackets(shape))
        })
    }
}

fn brackets(shape: &[usize]) -> String {
    let names: Vec<&str> = shape.iter().map(|&dim| DIMS[dim]).collect();
    format!("[{}]", names.join(", "))
}
