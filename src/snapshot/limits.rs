//! What the operator chose that decides how a sample is read.

use std::sync::Arc;
use std::time::Duration;

use super::grouping::Grouping;

/// The choices that `derive` takes: where idle begins, how many groups there may be, who is expected.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From this age of its last interaction on, a client that is not waiting is idle.
    pub idle_after: Duration,
    /// The ages at which idle connections are counted, ascending.
    pub idle_thresholds: Vec<Duration>,
    /// The most groups of one dimension; the others are folded into `(other)`.
    pub groups: usize,
    /// Which application a client belongs to.
    pub grouping: Arc<Grouping>,
    /// How many bits of an address make its network.
    pub network_prefix: NetworkPrefix,
    /// Applications that should be there, each with the least connections it should have.
    pub expected: Vec<(Arc<str>, u64)>,
    /// For how long an application that is gone is remembered.
    pub forget_after: Duration,
    /// The most clients that are told one by one.
    pub per_client: usize,
}

/// How many bits of an address make its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkPrefix {
    /// Of 32.
    pub v4: u8,
    /// Of 128.
    pub v6: u8,
}

impl Default for NetworkPrefix {
    fn default() -> Self {
        Self { v4: 24, v6: 64 }
    }
}

impl Default for Limits {
    /// What is counted where the operator says nothing.
    fn default() -> Self {
        Self {
            idle_after: Duration::from_secs(300),
            idle_thresholds: [60, 300, 3600, 86_400].map(Duration::from_secs).into(),
            groups: 50,
            grouping: Arc::default(),
            network_prefix: NetworkPrefix::default(),
            expected: Vec::new(),
            forget_after: Duration::from_secs(86_400),
            per_client: 0,
        }
    }
}

impl Limits {
    /// Limits for who wants the clients themselves and none of the counts.
    pub fn rows_only() -> Self {
        Self { idle_after: Duration::MAX, idle_thresholds: Vec::new(), groups: 0, ..Self::default() }
    }
}
