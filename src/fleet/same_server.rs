//! Warns when several nodes are one server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use crate::latest::{Latest, Nodes, same_server_warning};

/// Warns about nodes that are one server, until the future is dropped. It warns once about each set of nodes, although
/// the server may restart, which the nodes notice one after the other.
pub async fn warn_of_same_servers(latest: Arc<Latest>) {
    let (mut changes, mut warned) = (latest.changes(), BTreeSet::new());
    loop {
        for warning in new_warnings(&latest.read(), &mut warned, Instant::now()) {
            warn!("{warning}");
        }
        // It cannot fail: `latest` lives as long as this future.
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The warnings that were not given before. Sets with a node that was removed are forgotten.
fn new_warnings(nodes: &Nodes, warned: &mut BTreeSet<Vec<String>>, now: Instant) -> Vec<String> {
    warned.retain(|names| names.iter().all(|name| nodes.find(name).is_some()));
    let is_new = |names: &Vec<&str>| warned.insert(names.iter().map(|name| (*name).to_owned()).collect());
    nodes.same_servers(now).into_iter().filter(is_new).map(|names| same_server_warning(&names)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latest::{NodeState, Phase};
    use crate::server_info::ServerInfo;
    use crate::view::fixture;

    fn nodes(states: &[(&str, Option<&str>)], now: Instant) -> Nodes {
        let state = |(name, run_id): &(&str, Option<&str>)| {
            let mut state = NodeState::starting((*name).into());
            if let Some(run_id) = run_id {
                let mut snapshot = fixture::snapshot("id=1 addr=10.0.0.1:1\n");
                let mut sample = snapshot.sample.as_ref().clone();
                sample.info = Ok(ServerInfo { run_id: Some((*run_id).to_owned()), ..ServerInfo::default() });
                snapshot.sample = Arc::new(sample);
                let stale_at = now + std::time::Duration::from_secs(60);
                state.phase = Phase::Fresh { snapshot: Arc::new(snapshot), stale_at };
            }
            state
        };
        Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, states.iter().map(state))
    }

    #[test]
    fn a_restart_and_a_failure_give_no_second_warning_and_another_set_does() {
        let (now, mut warned) = (Instant::now(), BTreeSet::new());
        let mut warnings = |states: &[(&str, Option<&str>)]| new_warnings(&nodes(states, now), &mut warned, now).len();
        assert_eq!(warnings(&[("a", None), ("b", Some("one"))]), 0);
        assert_eq!(warnings(&[("a", Some("one")), ("b", Some("one"))]), 1);
        assert_eq!(warnings(&[("a", Some("one")), ("b", Some("one"))]), 0);
        assert_eq!(warnings(&[("a", Some("one")), ("b", None)]), 0);
        assert_eq!(warnings(&[("a", Some("two")), ("b", Some("one"))]), 0, "one has noticed the restart");
        assert_eq!(warnings(&[("a", Some("two")), ("b", Some("two"))]), 0, "both have");
        assert_eq!(warnings(&[("a", Some("two")), ("b", Some("two")), ("c", Some("two"))]), 1);
        assert_eq!(warnings(&[("a", Some("two"))]), 0);
        assert_eq!(warnings(&[("a", Some("two")), ("b", Some("two"))]), 1, "it was removed and is added again");
    }
}
