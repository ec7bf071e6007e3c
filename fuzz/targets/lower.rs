//! Random programs that follow the grammar: lowering ends with diagnostics or with a step form that
//! is legal, can be evaluated, and can be cut into legal stages that compute the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::{Text, follow};

fuzz_target!(|program: Text| {
    follow(&program.0);
});
