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
