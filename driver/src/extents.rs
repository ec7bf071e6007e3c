//! Sizes of the dimensions that a program leaves open, as given by the user.

use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::step::{Dim, DimId, Recurrence};
use std::collections::BTreeMap;

/// Size of each named dimension.
pub type Extents = BTreeMap<String, usize>;

/// The largest size of a dimension: no index or count of a kernel overflows below it.
pub const LARGEST: usize = 1 << 20;

/// The sizes of all dimensions: those that the program fixes and those given.
///
/// # Errors
///
/// [`Code::MissingDimension`] for each dimension without a size; [`Code::TooLarge`] for a size beyond
/// [`LARGEST`]; [`Code::BadBinding`] for a size of 0, for one that contradicts the program, and for a
/// name that is no dimension of it.
pub fn bind(recurrence: &Recurrence, given: &Extents) -> Result<Extents, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut bound = Extents::new();
    for (i, dim) in recurrence.dims.iter().enumerate() {
        if dim.formula.is_some() {
            match recurrence.size(DimId(i), &bound) {
                Some(size) if size <= LARGEST => {
                    bound.insert(dim.name.clone(), size);
                    errors.extend(contradiction(&dim.name, size, given));
                }
                // An operand without a size has been reported.
                _ if !errors.is_empty() => {}
                _ => errors.push(
                    Diagnostic::new(
                        Code::BadBinding,
                        format!(
                            "the size of `{}` is no whole number from 1 to {LARGEST}",
                            dim.name
                        ),
                    )
                    .with_help(
                        "choose sizes for which the formula of the dimension comes out even",
                    ),
                ),
            }
            continue;
        }
        match (dim.size, given.get(&dim.name)) {
            (Some(fixed), Some(&size)) if fixed != size => {
                errors.extend(contradiction(&dim.name, fixed, given));
            }
            (_, Some(0)) => errors.push(
                Diagnostic::new(Code::BadBinding, format!("dimension `{}` has size 0", dim.name))
                    .with_help("sizes are 1 or more"),
            ),
            (fixed, size) => match fixed.or(size.copied()) {
                Some(size) if size > LARGEST => errors.push(
                    Diagnostic::new(
                        Code::TooLarge,
                        format!("dimension `{}` has size {size}", dim.name),
                    )
                    .with_help(format!("sizes are {LARGEST} or less")),
                ),
                Some(size) => drop(bound.insert(dim.name.clone(), size)),
                None => errors.push(
                    Diagnostic::new(
                        Code::MissingDimension,
                        format!("dimension `{}` of `{}` has no size", dim.name, recurrence.name),
                    )
                    .with_help(format!("give it one, as in `--dims {}=64`", dim.name)),
                ),
            },
        }
    }
    let names: Vec<&str> = recurrence.dims.iter().map(|d| d.name.as_str()).collect();
    for name in given.keys().filter(|name| !names.contains(&name.as_str())) {
        errors.push(
            Diagnostic::new(
                Code::BadBinding,
                format!("`{}` has no dimension `{name}`", recurrence.name),
            )
            .with_help(format!("its dimensions are {}", names.join(", "))),
        );
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

/// An error if a size is given that is not the one that the program has.
fn contradiction(name: &str, fixed: usize, given: &Extents) -> Option<Diagnostic> {
    let size = given.get(name).filter(|size| **size != fixed)?;
    let message = format!("dimension `{name}` is {fixed} in the program, not {size}");
    Some(Diagnostic::new(Code::BadBinding, message).with_help(format!("leave out `{name}`")))
}

/// Sizes of all dimensions from a size for each that the program does not compute from others.
pub fn with_formulas(recurrence: &Recurrence, mut size: impl FnMut(&Dim) -> usize) -> Extents {
    let mut extents = Extents::new();
    for (i, dim) in recurrence.dims.iter().enumerate() {
        let size = match dim.formula {
            Some(_) => recurrence.size(DimId(i), &extents).unwrap_or(1),
            None => size(dim),
        };
        extents.insert(dim.name.clone(), size);
    }
    extents
}

/// The same size for every dimension that the program leaves open.
pub fn uniform(recurrence: &Recurrence, size: usize) -> Extents {
    with_formulas(recurrence, |dim| dim.size.unwrap_or(size))
}
