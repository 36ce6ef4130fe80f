//! The state of the discovery of one target.

use std::sync::Arc;

use jiff::Timestamp;

use crate::failure::Failure;

/// The results of the discoveries of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// The target: the label `target`.
    pub name: Arc<str>,
    /// Number of its nodes that are watched.
    pub nodes: u64,
    /// Number of its nodes that work, as far as is known, whether they are watched or not.
    pub working: u64,
    /// Number of its nodes that are not watched, by every reason.
    pub dropped: Arc<[(&'static str, u64)]>,
    /// Number of discoveries that failed.
    pub errors: u64,
    /// Number of nodes that were removed.
    pub removed: u64,
    /// The time of the last discovery that succeeded.
    pub last_success: Option<Timestamp>,
    /// The failure of the last discovery.
    pub failure: Option<Failure>,
}

impl TargetState {
    /// Returns true if all of its nodes are watched: they were found, and none was left out for lack of places.
    pub fn is_known(&self) -> bool {
        let has_found = self.last_success.is_some() && (self.failure.is_none() || self.nodes > 0);
        has_found && self.dropped.iter().all(|&(reason, count)| reason != "max_nodes" || count == 0)
    }

    /// Returns true if a discovery has completed, successfully or not.
    pub fn is_attempted(&self) -> bool {
        self.last_success.is_some() || self.errors > 0
    }
}
