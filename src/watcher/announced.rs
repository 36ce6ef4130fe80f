//! Which nodes are announced on a channel. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Reason};
use crate::text::escaped;

/// The nodes that are announced on a channel, by `run_id`.
#[derive(Debug, Default)]
pub(super) struct Announced(BTreeMap<String, AnnouncedNode>);

/// A node that was announced.
#[derive(Debug)]
struct AnnouncedNode {
    name: String,
    last_seen: Instant,
    /// True if another run of a node with this name was announced, and this one was not since: it restarted.
    is_replaced: bool,
}

/// The time for which a node counts as announced after its last status.
const ANNOUNCED_NODE_TTL: Duration = Duration::from_secs(60);

/// Maximum number of nodes that are tracked.
const MAX_NODES: usize = 100;

impl Announced {
    /// Notes that a node is announced.
    pub(super) fn add(&mut self, run_id: &str, name: &str, now: Instant) {
        self.0.retain(|_, node| now.duration_since(node.last_seen) < ANNOUNCED_NODE_TTL);
        if !self.0.contains_key(run_id) {
            self.0.values_mut().filter(|node| node.name == name).for_each(|node| node.is_replaced = true);
        }
        if self.0.len() < MAX_NODES || self.0.contains_key(run_id) {
            self.0
                .insert(run_id.to_owned(), AnnouncedNode { name: name.to_owned(), last_seen: now, is_replaced: false });
        }
    }

    /// The names of all nodes, if there are several.
    pub(super) fn several(&self) -> Option<Vec<&str>> {
        let names: Vec<_> = self.0.values().filter(|node| !node.is_replaced).map(|node| node.name.as_str()).collect();
        (names.len() > 1).then_some(names)
    }
}

/// The failure of a node on whose channel several nodes are announced, so that it is unknown which one it is.
pub(super) fn ambiguous(node: &str, announced: &[&str]) -> Failure {
    let distinct: BTreeSet<&str> = announced.iter().copied().collect();
    let names: Vec<_> = distinct.iter().map(|node| escaped(node.as_bytes())).take(10).collect();
    let names = names.join(", ");
    let message = match distinct.len() {
        1 => format!(
            "{node}: {} servers are announced on its channel with the same name ({names}); start their exporters with \
            a different --redis.name for each server",
            announced.len()
        ),
        _ => format!("{node}: several nodes are announced on its channel ({names}); choose one with --announce.node"),
    };
    Failure { reason: Reason::Other, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_node_counts_once_and_two_nodes_with_one_name_count_twice() {
        let now = Instant::now();
        let mut announced = Announced::default();
        let mut is_one = |run_id, name| {
            announced.add(run_id, name, now);
            announced.several().is_none()
        };
        assert!(is_one("a", "here") && is_one("a", "here"));
        assert!(is_one("b", "here") && is_one("b", "here"), "it restarted");
        assert!(!is_one("a", "here"), "it did not restart");
        assert!(!is_one("b", "here") && !is_one("c", "there"));
        let later = now + ANNOUNCED_NODE_TTL;
        announced.add("d", "here", later);
        assert!(announced.several().is_none(), "the others were not announced for a long time");
        announced.add("e", "there", later);
        assert_eq!(announced.several(), Some(vec!["here", "there"]));
    }
}
