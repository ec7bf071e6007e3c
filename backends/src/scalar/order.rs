//! Statements of roles that run side by side as one list in a legal order.

use sluice_ir::kernel::{Kernel, Role, Stmt, Sync};
use std::collections::BTreeMap;

/// One phase (setup, body or finish) of all roles, in the order of a run in which each role goes on
/// until it waits for arrivals that have not happened.
///
/// A wait concerns arrivals of its own chunk, so a legal order within one chunk is legal for all;
/// what must be free was left by an earlier chunk. Arrivals of another phase count as having happened.
pub(super) fn interleave<'k>(
    kernel: &'k Kernel,
    phase: impl Fn(&'k Role) -> &'k [Stmt],
) -> Vec<&'k Stmt> {
    let mut streams: Vec<_> =
        kernel.roles.iter().map(|r| (r, phase(r).iter().peekable())).collect();
    let total: usize = streams.iter().map(|(_, s)| s.len()).sum();
    let mut arrivals: BTreeMap<usize, usize> = BTreeMap::new();
    let mut order = Vec::with_capacity(total);
    let mut blocked_may_pass = false;
    while order.len() < total {
        let before = order.len();
        for (role, stream) in &mut streams {
            while let Some(stmt) = stream.next_if(|s| match s {
                Stmt::Sync(Sync::Wait(m)) => {
                    let arrived = arrivals.get(m).copied().unwrap_or(0);
                    blocked_may_pass || arrived >= kernel.mbarriers[*m].count
                }
                _ => true,
            }) {
                if let Stmt::Sync(Sync::Arrive(m)) = stmt {
                    *arrivals.entry(*m).or_default() += role.warps;
                }
                blocked_may_pass = false;
                order.push(stmt);
            }
        }
        blocked_may_pass = order.len() == before;
    }
    order
}
