//! The sizes of a problem from the shapes of its arrays.

use crate::extents;
use crate::figures::counted;
use sluice_ir::binding;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::step::{DimId, Input, Interval, Order, Rate, Recurrence, Sharing};
use std::collections::BTreeMap;

/// Name of the optional array of token offsets.
pub const CU_SEQLENS: &str = "cu_seqlens";

/// The problem that `arrays` describe.
///
/// Per-token inputs are `[tokens, heads or groups, dims..]`, per-model inputs
/// `[heads or groups, dims..]`, initial states `[sequences, heads, dims..]`. Without an array
/// `cu_seqlens` all tokens are one sequence.
///
/// # Errors
///
/// [`Code::MissingArray`] for an absent input; [`Code::BadBinding`] for groups that do not divide the
/// heads; [`Code::MissingDimension`] for a dimension that no array has; those of [`extents::bind`] for
/// its size; [`Code::BadArray`] for a wrong rank, sizes that contradict each other, no heads, a value
/// outside its declared range, or a name that means nothing.
pub fn problem(recurrence: &Recurrence, arrays: &Arrays) -> Result<Problem, Vec<Diagnostic>> {
    let mut sizes = Sizes::default();
    for dim in &recurrence.dims {
        if let Some(size) = dim.size {
            sizes.known.insert(dim.name.clone(), (size, "the program".to_owned()));
        }
    }
    for input in &recurrence.inputs {
        let axes = input_axes(recurrence, input);
        match arrays.get(&input.name) {
            Some(array) => {
                sizes.take(&input.name, &axes, array);
                sizes.errors.extend(outside_range(&input.name, input.range, array));
            }
            None => sizes.errors.push(
                Diagnostic::new(Code::MissingArray, format!("no array `{}`", input.name))
                    .with_help(format!(
                        "`{}` needs one of shape [{}]",
                        recurrence.name,
                        axes.join(", ")
                    )),
            ),
        }
    }
    for state in &recurrence.states {
        if let Some(array) = arrays.get(&state.name) {
            let mut axes = vec!["sequences".to_owned(), "heads".to_owned()];
            axes.extend(names(recurrence, &state.dims));
            sizes.take(&state.name, &axes, array);
            let promised = state.range.and_then(|range| outside_range(&state.name, range, array));
            sizes.errors.extend(promised);
        }
    }
    sizes.errors.extend(arrays.keys().filter_map(|name| meaningless(recurrence, name)));
    let cu_seqlens = sizes.offsets(arrays.get(CU_SEQLENS));
    if !sizes.errors.is_empty() {
        return Err(sizes.errors);
    }
    sizes.problem(recurrence, cu_seqlens)
}

fn names(recurrence: &Recurrence, dims: &[DimId]) -> Vec<String> {
    dims.iter().map(|d| recurrence.dims[d.0].name.clone()).collect()
}

/// Names of the extents of an input's array, outermost first.
fn input_axes(recurrence: &Recurrence, input: &Input) -> Vec<String> {
    let rows = match input.sharing {
        Sharing::Head => "heads",
        Sharing::Group => "groups",
    };
    let outer = match input.rate {
        Rate::Token => vec!["tokens", rows],
        Rate::Model => vec![rows],
    };
    outer.into_iter().map(str::to_owned).chain(names(recurrence, &input.dims)).collect()
}

/// An error if a value breaks the promise of a declaration; NaN always does.
fn outside_range(name: &str, range: Interval, array: &Array) -> Option<Diagnostic> {
    let place = array.data.iter().position(|x| !(range.lo <= *x && *x <= range.hi))?;
    let (value, at) = (array.data[place], coordinates(&array.shape, place));
    let held = format!("array `{name}` holds {value} at {at:?}");
    let (message, help) = if value.is_nan() {
        (held, "a state keeps NaN for ever: mend the data")
    } else {
        let help = "the derivation relies on the range: mend the data or widen the declaration";
        (format!("{held}, outside its declared range {range}"), help)
    };
    Some(Diagnostic::new(Code::BadArray, message).with_help(help))
}

/// Indices of a row-major position, outermost first.
fn coordinates(shape: &[usize], mut place: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|extent| {
            let index = place % extent;
            place /= extent;
            index
        })
        .collect();
    indices.reverse();
    indices
}

/// An error if no array of this name can be of use. Outputs are allowed: they may be expected ones.
fn meaningless(recurrence: &Recurrence, name: &str) -> Option<Diagnostic> {
    let inputs = recurrence.inputs.iter().map(|i| &i.name);
    let states = recurrence.states.iter().map(|s| &s.name);
    let mut known = inputs.chain(states).chain(recurrence.outputs.iter().map(|o| &o.name));
    if name == CU_SEQLENS || known.any(|k| k == name) {
        return None;
    }
    let takes: Vec<&str> = recurrence.inputs.iter().map(|i| i.name.as_str()).collect();
    let states: Vec<&str> = recurrence.states.iter().map(|s| s.name.as_str()).collect();
    Some(
        Diagnostic::new(
            Code::BadArray,
            format!("`{}` has no use for an array `{name}`", recurrence.name),
        )
        .with_help(format!(
            "it takes {}, the initial states {} and `{CU_SEQLENS}`",
            takes.join(", "),
            states.join(", ")
        )),
    )
}

/// Sizes seen so far, each with the array that said so first, and what contradicts them.
#[derive(Default)]
struct Sizes {
    known: BTreeMap<String, (usize, String)>,
    errors: Vec<Diagnostic>,
}

impl Sizes {
    /// Reads the extents of an array along named axes.
    fn take(&mut self, name: &str, axes: &[String], array: &Array) {
        if array.shape.len() != axes.len() {
            let rank = counted(array.shape.len(), "dimension");
            let message = format!("array `{name}` has {rank} instead of {}", axes.len());
            self.errors.push(
                Diagnostic::new(Code::BadArray, message)
                    .with_help(format!("its shape is [{}]", axes.join(", "))),
            );
            return;
        }
        for (axis, &size) in axes.iter().zip(&array.shape) {
            self.learn(axis, size, &format!("array `{name}`"));
        }
    }

    fn learn(&mut self, axis: &str, size: usize, witness: &str) {
        let (first, by) =
            self.known.entry(axis.to_owned()).or_insert_with(|| (size, witness.to_owned()));
        if *first != size {
            let message = format!("{witness} has {axis} = {size}, but {by} has {axis} = {first}");
            self.errors.push(
                Diagnostic::new(Code::BadArray, message)
                    .with_help("arrays of one call share the sizes of their dimensions"),
            );
        }
    }

    fn size(&self, axis: &str) -> Option<usize> {
        self.known.get(axis).map(|(size, _)| *size)
    }

    /// Token offsets, checked against what is known of tokens and sequences.
    fn offsets(&mut self, array: Option<&Array>) -> Vec<usize> {
        let tokens = self.size("tokens").unwrap_or(0);
        let Some(array) = array else {
            self.learn("sequences", 1, "a call without `cu_seqlens`");
            return vec![0, tokens];
        };
        let offsets: Vec<usize> = array.data.iter().map(|&x| x as usize).collect();
        let exact = offsets.iter().zip(&array.data).all(|(&n, &x)| n as f64 == x);
        let rises = offsets.windows(2).all(|w| w[0] <= w[1]);
        let spans = offsets.first() == Some(&0) && offsets.last() == Some(&tokens);
        if !(array.shape.len() == 1 && exact && rises && spans) {
            self.errors.push(
                Diagnostic::new(
                    Code::BadArray,
                    format!("array `{CU_SEQLENS}` holds no token offsets"),
                )
                .with_help(format!(
                    "it is one rising row of integers from 0 to the {tokens} tokens"
                )),
            );
            return vec![0, tokens];
        }
        self.learn("sequences", offsets.len() - 1, "array `cu_seqlens`");
        offsets
    }

    fn problem(
        self,
        recurrence: &Recurrence,
        cu_seqlens: Vec<usize>,
    ) -> Result<Problem, Vec<Diagnostic>> {
        let heads = self.size("heads").or(self.size("groups")).unwrap_or(1);
        let groups = self.size("groups").unwrap_or(heads);
        if heads == 0 {
            return Err(vec![
                Diagnostic::new(Code::BadArray, "the arrays have no heads")
                    .with_help("only the axis of tokens may be empty"),
            ]);
        }
        let mut extents = BTreeMap::new();
        for dim in &recurrence.dims {
            let size = self.size(&dim.name);
            if size.is_none() && dim.formula.is_some() {
                continue;
            }
            let size = size.ok_or_else(|| {
                vec![
                    Diagnostic::new(
                        Code::MissingDimension,
                        format!("no array tells the size of dimension `{}`", dim.name),
                    )
                    .with_help("pass an initial state that has it"),
                ]
            })?;
            extents.insert(dim.name.clone(), size);
        }
        let extents = extents::bind(recurrence, &extents)?;
        let problem = Problem { extents, heads, groups, cu_seqlens };
        let size = |dim: DimId| problem.extents[&recurrence.dims[dim.0].name];
        let orders = recurrence.states.iter().map(|state| state.order.with(size));
        let mut orders = [Order::Forward].into_iter().chain(orders);
        orders.try_for_each(|order| binding::check_launch(&problem, order)).map_err(|e| vec![e])?;
        Ok(problem)
    }
}
