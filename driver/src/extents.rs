//! Sizes of the dimensions that a program leaves open, as given by the user.

use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::step::Recurrence;
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
    for dim in &recurrence.dims {
        match (dim.size, given.get(&dim.name)) {
            (Some(fixed), Some(&size)) if fixed != size => errors.push(
                Diagnostic::new(
                    Code::BadBinding,
                    format!("dimension `{}` is {fixed} in the program, not {size}", dim.name),
                )
                .with_help(format!("leave out `{}`", dim.name)),
            ),
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

/// The same size for every dimension that the program leaves open.
pub fn uniform(recurrence: &Recurrence, size: usize) -> Extents {
    recurrence.dims.iter().map(|d| (d.name.clone(), d.size.unwrap_or(size))).collect()
}
