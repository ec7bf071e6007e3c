//! What runs built programs: loads an artifact, moves buffers, launches; compiles nothing.

pub mod npz;
