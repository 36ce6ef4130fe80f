//! Nodes that are one server under several addresses, whose clients would be counted several times. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Nodes;
use crate::sample::{Sample, Source};

/// The names of nodes that are one server, in the order in which they were added.
pub type SameServer<'a> = Vec<&'a str>;

impl Nodes {
    /// The nodes that report the same `run_id` now: each server draws one when it starts, so a replica has another one.
    /// Only current samples of our own count: a status of another exporter may be about the primary of our server.
    pub fn same_servers(&self, now: Instant) -> Vec<SameServer<'_>> {
        let runs = self.iter().filter_map(|node| Some((run_id(&node.fresh_snapshot(now)?.sample)?, &*node.node)));
        same_servers(runs)
    }
}

/// The names that have the same `run_id`.
pub fn same_servers<'a>(runs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<SameServer<'a>> {
    let mut by_run = BTreeMap::<&str, SameServer<'_>>::new();
    for (run_id, name) in runs {
        by_run.entry(run_id).or_default().push(name);
    }
    by_run.into_values().filter(|names| names.len() > 1).collect()
}

/// The `run_id` of a server; `None` if it has none of its own, as some compatible servers do.
pub fn run_id(sample: &Sample) -> Option<&str> {
    let run_id = sample.info.as_ref().ok()?.run_id.as_deref()?;
    (sample.source == Source::Sampled && run_id.bytes().any(|byte| byte != b'0')).then_some(run_id)
}

/// The sentence about nodes that are one server.
pub fn same_server_warning(names: &[&str]) -> String {
    format!(
        "{} are one server (they report the same run_id), so its clients are counted {} times; keep one of the \
        addresses in --redis.addr",
        names.join(" and "),
        names.len()
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::latest::{NodeState, Phase};
    use crate::sample::ReceivedTotals;
    use crate::server_info::ServerInfo;
    use crate::view::fixture;

    fn node(name: &str, run_id: Option<&str>, source: Source, stale_at: Instant) -> NodeState {
        let mut snapshot = fixture::snapshot("id=1 addr=10.0.0.1:1\n");
        let mut sample = snapshot.sample.as_ref().clone();
        sample.info = Ok(ServerInfo { run_id: run_id.map(str::to_owned), ..ServerInfo::default() });
        sample.source = source;
        snapshot.sample = Arc::new(sample);
        let phase = Phase::Fresh { snapshot: Arc::new(snapshot), stale_at };
        NodeState { phase, ..NodeState::starting(name.into()) }
    }

    #[test]
    fn two_addresses_of_one_server_are_found_and_replicas_restarts_and_received_samples_are_not() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let received = Source::Received(ReceivedTotals { connections: 1, online: 1, silent: 0, truncated: 0 });
        let nodes = Nodes::new(
            1,
            jiff::Timestamp::UNIX_EPOCH,
            [
                node("a", Some("one"), Source::Sampled, later),
                node("replica", Some("two"), Source::Sampled, later),
                node("b", Some("one"), Source::Sampled, later),
                node("stale", Some("one"), Source::Sampled, now),
                node("received", Some("one"), received, later),
                node("no run_id", None, Source::Sampled, later),
                node("none either", None, Source::Sampled, later),
                node("zeros", Some("0000"), Source::Sampled, later),
                node("as well", Some("0000"), Source::Sampled, later),
                NodeState::starting("starting".into()),
            ],
        );
        assert_eq!(nodes.same_servers(now), [["a", "b"]]);
        assert_eq!(nodes.same_servers(later), [[""; 0]; 0], "there is no current sample");
        assert!(same_server_warning(&["a", "b"]).starts_with("a and b are one server"));
    }
}
