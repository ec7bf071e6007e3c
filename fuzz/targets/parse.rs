//! Any text: parsing ends with a tree or with diagnostics, and formatting keeps the tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::without_places;

fuzz_target!(|text: &str| {
    let Ok(tree) = sluice_dsl::parse(text) else { return };
    let formatted = sluice_dsl::format(text).expect("what parses can be formatted");
    let again = sluice_dsl::parse(&formatted).expect("the layout is legal");
    assert_eq!(without_places(&tree), without_places(&again), "another tree\n{formatted}");
    let twice = sluice_dsl::format(&formatted).expect("the layout is legal");
    assert_eq!(formatted, twice, "the layout is not stable");
});
