//! The contents of outputs. `column` and `measure` are the tables of all that can be shown; `row`, `filter` and
//! `selection` select from it; `json`, `csv` and `table` are its shapes, side by side. All pure.

pub mod app_row;
pub mod column;
pub mod csv;
pub mod filter;
pub mod humanize;
pub mod json;
pub mod measure;
pub mod row;
pub mod selection;
pub mod table;
pub mod value;

/// Fixtures for the tests of views and of the modules that use them.
#[cfg(test)]
pub(crate) mod fixture {
    use std::sync::Arc;
    use std::time::Instant;

    use jiff::Timestamp;

    use crate::client_list::Listing;
    use crate::latest::{NodeState, Nodes, Phase};
    use crate::sample::Sample;

    use crate::snapshot::{Limits, Snapshot, derive};

    /// A snapshot of a reply to CLIENT LIST.
    pub(crate) fn snapshot(reply: &str) -> Snapshot {
        snapshot_after(None, "2026-01-01T00:00:00Z", reply)
    }

    /// A snapshot of a made-up reply at a time, after another.
    pub(crate) fn snapshot_after(previous: Option<&Snapshot>, at: &str, reply: &str) -> Snapshot {
        let at = at.parse().expect("a time");
        let sample = Sample::of(at, Listing::new(reply.into()));
        derive(previous, Arc::new(sample), &Limits { idle_thresholds: Vec::new(), ..Limits::default() })
    }

    /// One node with one client, fresh until `stale_at`.
    pub(crate) fn view(generation: u64, stale_at: Instant) -> Nodes {
        let mut state = NodeState::starting("node:1".into());
        let snapshot = Arc::new(snapshot("id=1 addr=10.0.0.1:1 name=web user=app idle=5 cmd=get flags=N\n"));
        state.phase = Phase::Fresh { snapshot, stale_at };
        Nodes::new(generation, Timestamp::UNIX_EPOCH, [state])
    }
}
