//! What a snapshot looks like from outside: one file an output, all pure.

pub mod catalogue;
pub mod list;
pub mod metrics;
pub mod rows;
pub mod select;

/// A snapshot of a made-up reply, for the tests of views.
#[cfg(test)]
fn sample_for_tests(reply: &str) -> crate::snapshot::Snapshot {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::client_list::Listing;
    use crate::sample::{Cost, Sample};
    use crate::server_info::ServerInfo;
    use crate::snapshot::{Budget, Limits, derive};

    let sample = Sample {
        at: "2026-01-01T00:00:00Z".parse().expect("a time"),
        info: Ok(ServerInfo::default()),
        listing: Ok(Listing::new(reply.into())),
        own_ids: Vec::new(),
        cost: Cost::default(),
    };
    let budget = Budget { max_stall: Duration::ZERO, max_load: 1.0, every: Duration::from_secs(10) };
    let limits = Limits { idle_after: Duration::from_secs(300), idle_thresholds: Vec::new(), groups: 50, budget };
    derive(None, Arc::new(sample), &limits)
}
