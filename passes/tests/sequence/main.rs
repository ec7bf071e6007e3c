//! The sequence form end to end: lifted and chunked terms against the definition, every law on
//! random arrays, and what each law is needed for.

mod ablation;
mod agreement;
mod builder;
mod explanations;
mod laws;
mod notation;
mod orders;
mod pitfalls;
mod programs;
mod random;
mod readouts;
mod refusals;
mod sizes;
mod tensors;
