//! What the operator chose that decides how a sample is read.

use std::time::Duration;

/// The choices that `derive` takes: where idle begins, how many groups there may be, what our commands may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// From this age of its last interaction on, a client that is not waiting is idle.
    pub idle_after: Duration,
    /// The ages at which idle connections are counted, ascending.
    pub idle_thresholds: Vec<Duration>,
    /// The most groups of one dimension; the others are folded into `(other)`.
    pub groups: usize,
    /// What sampling may cost the server.
    pub budget: Budget,
}

/// What sampling may cost the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The longest that one command should hold the main thread.
    pub max_stall: Duration,
    /// The share of main-thread time that all our commands may use, between 0 and 1.
    pub max_load: f64,
    /// How often samples are taken.
    pub every: Duration,
}

impl Limits {
    /// Limits for who wants the clients themselves and none of the counts.
    pub fn of_no_interest() -> Self {
        let budget = Budget { max_stall: Duration::MAX, max_load: 1.0, every: Duration::MAX };
        Self { idle_after: Duration::MAX, idle_thresholds: Vec::new(), groups: 0, budget }
    }
}
