//! The operator's settings for deriving a snapshot.

use std::sync::Arc;
use std::time::Duration;

use super::expectation::Expectation;
use super::grouping::Grouping;

/// The settings of [`derive`](super::derive): the idle threshold, the number of groups, the expected applications.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The idle time from which a client that does not wait counts as idle.
    pub idle_after: Duration,
    /// The idle times from which idle connections are counted, ascending.
    pub idle_thresholds: Vec<Duration>,
    /// Maximum number of groups of one dimension; the others are folded into `(other)`.
    pub groups: usize,
    /// The rules by which a client belongs to an application.
    pub grouping: Arc<Grouping>,
    /// The prefix lengths by which clients are grouped into networks.
    pub network_prefix: NetworkPrefix,
    /// The expected applications.
    pub expected: Vec<Expectation>,
    /// The time for which an offline application is remembered.
    pub forget_after: Duration,
    /// Maximum number of clients that are exported individually.
    pub per_client: usize,
    /// Maximum number of series of all nodes together, from which the limits of each node follow
    /// ([`shared_limits`](crate::exposition::shared_limits)).
    pub max_series: usize,
}

/// The prefix lengths by which clients are grouped into networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkPrefix {
    /// Bits of an IPv4 address, at most 32.
    pub v4: u8,
    /// Bits of an IPv6 address, at most 128.
    pub v6: u8,
}

impl Default for NetworkPrefix {
    fn default() -> Self {
        Self { v4: 24, v6: 64 }
    }
}

impl Default for Limits {
    /// The defaults of the flags.
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
            max_series: 50_000,
        }
    }
}

impl Limits {
    /// Limits for a list of clients without any counts.
    pub fn rows_only() -> Self {
        Self { idle_after: Duration::MAX, idle_thresholds: Vec::new(), groups: 0, ..Self::default() }
    }
}
