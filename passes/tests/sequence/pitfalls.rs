//! Mistakes that are easy to make in the laws and were made once; others have their tests beside
//! what they concern (resets in `agreement`, guards and several rows a step in `laws`).

use crate::agreement::{lifted, options};
use crate::programs;
use sluice_passes::{Stop, chunk};
use std::collections::BTreeSet;

/// Far above what any program needs, far below what an unpruned class of zeros makes.
const FEW_NODES: usize = 1000;

#[test]
fn law_names_are_unique_for_every_size() {
    // Sub-blocks of 8 in a chunk of 64 are 8 steps in either view.
    for (length, block) in [(64, Some(16)), (64, Some(8)), (16, Some(4)), (32, None)] {
        let laws = options(length, block).laws();
        let names: BTreeSet<&str> = laws.iter().map(|law| law.name.as_str()).collect();
        assert_eq!(names.len(), laws.len(), "chunk {length}, sub-block {block:?}");
    }
}

#[test]
fn zeros_of_different_roles_do_not_flood_the_graph() {
    for recurrence in programs::all() {
        let term = lifted(&recurrence);
        // Where the chunk is as long as the state is high, zeros of different roles are one node.
        let rows = term.leaves().values().map(|leaf| leaf.shape.rows).max().unwrap_or(1);
        for length in [rows.max(2), 64] {
            let found = chunk(&term, &options(length, None)).expect("the program has a form");
            let (nodes, stop) = (found.saturation.nodes, found.saturation.stop);
            assert!(nodes < FEW_NODES, "{} has {nodes} nodes", recurrence.name);
            assert_eq!(stop, Stop::Saturated, "{}", recurrence.name);
        }
    }
}
