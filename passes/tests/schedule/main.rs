//! Schedules of one token against the definition: every operation of the step form, whatever its
//! shapes, whole and cut into parts.

#[allow(dead_code, unused_imports, reason = "each test binary uses some of it")]
#[path = "../step_form/mod.rs"]
mod step_form;

mod agreement;
mod elements;
mod joint;
mod programs;
mod structure;
mod windows;
