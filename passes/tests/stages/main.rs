//! Stages against the definition: what runs stage by stage gives what the whole program gives.

#[allow(dead_code, unused_imports, reason = "each test binary uses some of it")]
#[path = "../step_form/mod.rs"]
mod step_form;

mod agreement;
mod classes;
mod gauges;
mod programs;
mod replays;
mod segments;
