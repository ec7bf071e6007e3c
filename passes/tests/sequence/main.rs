//! The sequence form end to end: lifted and chunked terms against the definition, every law on
//! random arrays, and what each law is needed for.

#[allow(dead_code, unused_imports, reason = "each test binary uses some of it")]
#[path = "../step_form/mod.rs"]
mod step_form;

mod ablation;
mod agreement;
mod explanations;
mod laws;
mod mixed;
mod notation;
mod orders;
mod pitfalls;
mod programs;
mod readouts;
mod refusals;
mod scores;
mod sizes;
mod tensors;
