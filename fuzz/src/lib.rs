//! What the fuzz targets share: programs that follow the grammar, and what must hold of each.

mod generate;

pub use generate::Text;

use sluice_ir::problem::{Array, Arrays, Problem};
use sluice_ir::staged;
use sluice_ir::step::{self, DimId, Rate, Recurrence};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// A tree as text, without the places that it came from.
pub fn without_places(tree: &impl Debug) -> String {
    let text = format!("{tree:?}");
    let mut parts = text.split("..").peekable();
    let mut kept = String::new();
    while let Some(part) = parts.next() {
        let ahead = if kept.is_empty() { part } else { part.trim_start_matches(digit) };
        kept.push_str(if parts.peek().is_some() { ahead.trim_end_matches(digit) } else { ahead });
        kept.push('|');
    }
    kept
}

fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Takes a text through the stages; whatever one of them accepts, the next must not stumble over, and
/// a program cut into stages must compute what its step says.
pub fn follow(text: &str) -> Option<()> {
    let tree = sluice_dsl::parse(text).expect("random programs follow the grammar");
    for recurrence in &sluice_dsl::lower(&tree).ok()? {
        step::check(recurrence).expect("lowering makes legal step forms");
        let problem = problem(recurrence)?;
        let arrays = arrays(recurrence, &problem);
        let defined = step::eval(recurrence, &problem, &arrays);
        let Ok(staged) = sluice_passes::stages(recurrence, &problem.extents) else { continue };
        staged::check(&staged).expect("programs are cut into legal stages");
        let computed = staged.eval(&problem, &arrays);
        for (name, want) in &defined {
            agree(name, want, &computed[name]);
        }
    }
    Some(())
}

/// Both are sums in f64, perhaps in another order, of terms that may cancel; what has grown beyond all
/// bounds on the way says nothing.
fn agree(name: &str, want: &Array, got: &Array) {
    assert_eq!(want.shape, got.shape, "{name}");
    let size = want.data.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    if size >= 1e6 || want.data.iter().any(|x| !x.is_finite()) {
        return;
    }
    for (x, y) in want.data.iter().zip(&got.data) {
        assert!((x - y).abs() <= 1e-6 * size, "{name} is {y}, not {x}");
    }
}

/// Two sequences of few tokens and small sizes; none if a formula has no whole value.
fn problem(recurrence: &Recurrence) -> Option<Problem> {
    let mut extents = BTreeMap::new();
    for (i, dim) in recurrence.dims.iter().enumerate() {
        let open = recurrence.is_open(DimId(i)).then_some(2 + i % 2);
        let size = open.or_else(|| recurrence.size(DimId(i), &extents))?;
        extents.insert(dim.name.clone(), Some(size).filter(|size| (1..=32).contains(size))?);
    }
    Some(Problem { extents, cu_seqlens: vec![0, 4, 12], heads: 2, groups: 1 })
}

/// Inputs that keep the declared ranges.
fn arrays(recurrence: &Recurrence, problem: &Problem) -> Arrays {
    let mut arrays = Arrays::new();
    for input in &recurrence.inputs {
        let rows = match input.sharing {
            step::Sharing::Head => problem.heads,
            step::Sharing::Group => problem.groups,
        };
        let mut shape = match input.rate {
            Rate::Token => vec![problem.tokens(), rows],
            Rate::Model => vec![rows],
        };
        shape.extend(input.dims.iter().map(|d| problem.extents[&recurrence.dims[d.0].name]));
        let mut array = Array::zeros(&shape);
        for (i, x) in array.data.iter_mut().enumerate() {
            *x = (i as f64 * 0.7).sin().clamp(input.range.lo, input.range.hi);
        }
        arrays.insert(input.name.clone(), array);
    }
    arrays
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbitrary::{Arbitrary, Unstructured};

    /// Not the compiler but the generator is tested: programs that all fail to parse find nothing.
    #[test]
    fn most_programs_parse_and_many_lower() {
        let mut seed = 1_u64;
        let mut byte = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        };
        let (mut parsed, mut lowered, total) = (0, 0, 500);
        for _ in 0..total {
            let bytes: Vec<u8> = (0..600).map(|_| byte()).collect();
            let Text(text) = Text::arbitrary(&mut Unstructured::new(&bytes)).expect("enough bytes");
            match sluice_dsl::parse(&text) {
                Ok(tree) => {
                    parsed += 1;
                    lowered += usize::from(sluice_dsl::lower(&tree).is_ok());
                    follow(&text);
                }
                Err(errors) => println!("{errors:?}\n{text}"),
            }
        }
        println!("{parsed} of {total} parse, {lowered} lower");
        assert_eq!(parsed, total, "the generator has left the grammar");
        assert!(lowered * 5 > total, "only {lowered} of {total} lower");
    }
}
