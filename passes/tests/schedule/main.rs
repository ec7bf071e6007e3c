//! Schedules of one token against the definition: every operation of the step form, whatever its
//! shapes, whole and cut into parts.

mod agreement;
mod builder;
mod elements;
mod programs;
mod structure;
