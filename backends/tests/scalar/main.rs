//! Scalar code against the meaning of the kernel form and against recurrences written out as loops.
#![cfg(feature = "scalar")]

mod draft;
mod embed;
mod nests;
mod recurrence;
mod statements;
mod types;
mod walks;
