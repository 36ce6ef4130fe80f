//! What the operator chose that decides how a sample is read.

use std::time::Duration;

/// The choices that `derive` takes: where idle begins, how many groups there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// From this age of its last interaction on, a client that is not waiting is idle.
    pub idle_after: Duration,
    /// The ages at which idle connections are counted, ascending.
    pub idle_thresholds: Vec<Duration>,
    /// The most groups of one dimension; the others are folded into `(other)`.
    pub groups: usize,
}

impl Limits {
    /// Limits for who wants the clients themselves and none of the counts.
    pub fn of_no_interest() -> Self {
        Self { idle_after: Duration::MAX, idle_thresholds: Vec::new(), groups: 0 }
    }
}
