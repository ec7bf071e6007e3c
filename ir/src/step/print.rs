//! How a recurrence prints.
