//! Every law on random arrays.
