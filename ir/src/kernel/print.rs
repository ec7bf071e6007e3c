//! How a kernel prints.
