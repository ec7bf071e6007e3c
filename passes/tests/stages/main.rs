//! Stages against the definition: what runs stage by stage gives what the whole program gives.

#[allow(dead_code, reason = "programs of the sequence form use the rest of it")]
#[path = "../sequence/builder.rs"]
mod builder;
#[path = "../sequence/random.rs"]
mod random;

mod agreement;
mod classes;
mod gauges;
mod programs;
mod replays;
