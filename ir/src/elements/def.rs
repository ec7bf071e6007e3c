//! What an elementwise form is.
//!
//! ```text
//! Elements = recurrence, groups of states in the order in which they can be computed
//! Group    = states of the same dimensions, law
//! Law      = free | linear over a ring | window of an entry
//! linear   = for each state, for each element by itself:  h_i' = sum_j a_ij h_j + b_i
//! ```
//!
//! Sums and products are the ring's. Gates `a` and entries `b` depend on inputs and on states of
//! earlier groups only (a state that never changes is an input), so all of them can be computed before the scan, and several tokens change the
//! states as one does: `(A, b)` and after it `(A', b')` is `(A' A, A' b + b')`. This operation is
//! associative, whatever the ring \[Blelloch 1990\], so tokens can be cut into segments that are
//! summarised, combined and completed side by side. Only products of gates are formed, never
//! quotients: no exponent can overflow that the recurrence itself does not have.
//!
//! A window holds the entries of the last tokens, the newest last. An entry depends on inputs and on states
//! of earlier groups only, so a window before any token is a piece of the row of all entries.

use crate::pointwise::Ring;
use crate::step::{NodeId, Op, Recurrence, StateId};

/// A recurrence of one sweep as scans of its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements {
    /// The recurrence, with the nodes of gates and entries after its own.
    pub recurrence: Recurrence,
    /// All of its states that change.
    pub groups: Vec<Group>,
}

impl Elements {
    /// Whether a state keeps its first value for good.
    pub fn is_held(&self, state: StateId) -> bool {
        self.recurrence.node(self.recurrence.updates[state.0]).op == Op::State(state)
    }
}

/// States that are scanned together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The states.
    pub states: Vec<StateId>,
    /// How they change.
    pub law: Law,
}

/// How the states of a group change with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Law {
    /// As functions of their own elements before the token, that is, one token after the other.
    Free,
    /// As sums of products over a ring.
    Linear {
        /// The ring.
        ring: Ring,
        /// One a state.
        rows: Vec<Row>,
    },
    /// As the last values of something: the group's one state gives up its oldest entry for this one.
    Window(NodeId),
}

/// What a state of a group becomes; what is missing is the ring's zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Factors of the states of the group.
    pub gates: Vec<Option<NodeId>>,
    /// What is added.
    pub entry: Option<NodeId>,
}
