//! The newest state of each node: watchers publish it, and every output reads it. Nodes come and go.

mod fleet_apps;
mod publisher;
mod same_server;
mod state;
mod target_state;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::link::{Endpoint, Origin};

#[cfg(test)]
pub(crate) use fleet_apps::by_target;
pub use fleet_apps::{AppSum, FleetApps, FleetExpectation};
pub use publisher::{NodeReader, Publication, Publisher};
pub use same_server::{SameServer, run_id, same_server_warning, same_servers};
pub use state::{ChannelTally, NodeState, Phase, SampleTally, SubscriberTally};
pub use target_state::TargetState;

/// Identifies a node from its addition to its removal. Ids are assigned in the order in which nodes are added, and are
/// never used again: what a removed node still publishes cannot appear under its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

/// The newest state of every node. Each node has one writer, and there may be any number of readers. The lock is never
/// held during I/O.
#[derive(Debug, Default)]
pub struct Latest {
    nodes: RwLock<Arc<Nodes>>,
    changed: watch::Sender<u64>,
}

/// The state of all nodes at one point in time.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    generation: u64,
    changed_at: Timestamp,
    next_id: u64,
    by_id: BTreeMap<NodeId, Arc<NodeState>>,
    targets: Arc<[TargetState]>,
}

impl Latest {
    /// Adds a node before its first attempt. Returns `None` if there is a node with this name: two nodes with the same
    /// labels would make every metric invalid. By its address it can be selected, too.
    pub fn add(&self, name: Arc<str>, address: Option<Endpoint>, now: Timestamp) -> Option<NodeId> {
        let mut added = None;
        self.change(now, |nodes| {
            if nodes.find(&name).is_none() {
                added = Some(nodes.push(NodeState { address, ..NodeState::starting(name) }));
            }
            added.is_some()
        });
        added
    }

    /// Sets where a node was found, which may change while it is watched.
    pub fn set_origin(&self, id: NodeId, origin: &Arc<Origin>, now: Timestamp) {
        self.change(now, |nodes| match nodes.by_id.get_mut(&id) {
            Some(place) if place.origin != *origin => {
                Arc::make_mut(place).origin = Arc::clone(origin);
                true
            }
            _ => false,
        });
    }

    /// Sets the state of the discovery of every target.
    pub fn set_targets(&self, targets: Vec<TargetState>, now: Timestamp) {
        self.change(now, |nodes| {
            let has_changed = *nodes.targets != *targets;
            nodes.targets = targets.into();
            has_changed
        });
    }

    /// Removes a node, and with it all its series and rows.
    pub fn remove(&self, id: NodeId, now: Timestamp) {
        self.change(now, |nodes| nodes.by_id.remove(&id).is_some());
    }

    /// Replaces the state of a node. A node that was removed stays removed.
    pub fn publish(&self, id: NodeId, state: NodeState, now: Timestamp) {
        self.change(now, |nodes| match nodes.by_id.get_mut(&id) {
            Some(place) => {
                let origin = Arc::clone(&place.origin);
                *place = Arc::new(NodeState { origin, ..state });
                true
            }
            None => false,
        });
    }

    /// Applies a change, and notifies the readers if it returns true.
    fn change(&self, now: Timestamp, change: impl FnOnce(&mut Nodes) -> bool) {
        let mut shared = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        // Readers keep the state that they have read.
        let nodes = Arc::make_mut(&mut shared);
        if change(nodes) {
            nodes.generation += 1;
            nodes.changed_at = now;
            self.changed.send_replace(nodes.generation);
        }
    }

    /// Subscribes to changes: receives the generation of each change; of several changes in a short time, only the last
    /// one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The newest state of all nodes.
    pub fn read(&self) -> Arc<Nodes> {
        Arc::clone(&self.nodes.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Nodes {
    /// Nodes with these states, in this order.
    pub fn new(generation: u64, changed_at: Timestamp, states: impl IntoIterator<Item = NodeState>) -> Self {
        let mut nodes = Self { generation, changed_at, ..Self::default() };
        for state in states {
            nodes.push(state);
        }
        nodes
    }

    fn push(&mut self, state: NodeState) -> NodeId {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        self.by_id.insert(id, Arc::new(state));
        id
    }

    /// A number that grows with each change, so that rendered responses can be cached until the next change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The time of the last change, by our clock. Renderings use it in place of the current time, so that they depend
    /// on nothing but the state.
    pub fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    /// All nodes, in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &NodeState> + Clone {
        self.by_id.values().map(|node| &**node)
    }

    /// All nodes with their ids.
    pub fn with_ids(&self) -> impl ExactSizeIterator<Item = (NodeId, &NodeState)> {
        self.by_id.iter().map(|(id, node)| (*id, &**node))
    }

    /// The state of a node; `None` if it was removed.
    pub fn get(&self, id: NodeId) -> Option<&NodeState> {
        self.by_id.get(&id).map(|node| &**node)
    }

    /// The node with this name, and its id.
    pub fn find(&self, name: &str) -> Option<(NodeId, &NodeState)> {
        self.with_ids().find(|(_, node)| &*node.node == name)
    }

    /// The node with this name, or else with this address, however it is written.
    pub fn find_by_name_or_address(&self, text: &str) -> Option<&NodeState> {
        if let Some((_, node)) = self.find(text) {
            return Some(node);
        }
        let exact = |node: &&NodeState| node.address.as_ref().is_some_and(|address| address.to_string() == text);
        if let Some(node) = self.iter().find(exact) {
            return Some(node);
        }
        let is_written_as =
            |node: &&NodeState| node.address.as_ref().is_some_and(|address| address.is_written_as(text));
        let mut found = self.iter().filter(is_written_as);
        // Servers on several loopback addresses may share a port.
        found.next().filter(|_| found.next().is_none())
    }

    /// The state of the discovery of each target whose nodes are discovered.
    pub fn targets(&self) -> &[TargetState] {
        &self.targets
    }

    /// The number of nodes.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Returns for each node whether it has a fresh sample at this time. With the generation, this is all that pages
    /// and API answers depend on; metrics also depend on the counts of messages ([`ChannelTally::total`]).
    pub fn fresh(&self, now: Instant) -> impl Iterator<Item = bool> {
        self.iter().map(move |node| node.fresh_snapshot(now).is_some())
    }

    /// Returns true if at least one attempt on every node, and one discovery of every target, has completed,
    /// successfully or not.
    pub fn all_attempted(&self) -> bool {
        self.targets.iter().all(TargetState::is_attempted)
            && self.iter().all(|node| !matches!(node.phase, Phase::Starting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Reason};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn names(latest: &Latest) -> Vec<String> {
        latest.read().iter().map(|node| node.node.to_string()).collect()
    }

    #[test]
    fn nodes_come_and_go_and_keep_their_order() {
        let latest = Latest::default();
        let ids: Vec<_> = ["c", "a", "b"].map(|name| latest.add(name.into(), None, at(1)).expect("a new node")).into();
        assert_eq!(latest.add("a".into(), None, at(2)), None, "the name is taken");
        latest.remove(ids[1], at(3));
        assert_eq!(names(&latest), ["c", "b"]);
        latest.add("a".into(), None, at(4)).expect("the name is free again");
        assert_eq!(names(&latest), ["c", "b", "a"]);
    }

    #[test]
    fn a_removed_node_that_still_publishes_does_not_return() {
        let latest = Latest::default();
        let old = latest.add("a".into(), None, at(1)).expect("a new node");
        let mut state = NodeState::starting("a".into());
        state.fail(Failure { reason: Reason::Closed, message: String::new() }, at(1));
        latest.remove(old, at(2));
        latest.publish(old, state.clone(), at(3));
        assert!(names(&latest).is_empty());
        let new = latest.add("a".into(), None, at(4)).expect("the name is free again");
        latest.publish(old, state, at(5));
        let nodes = latest.read();
        assert!(matches!(nodes.get(new).map(|node| &node.phase), Some(Phase::Starting)));
        assert_eq!((nodes.generation(), nodes.changed_at()), (3, at(4)), "only real changes are noticed");
    }

    #[test]
    fn a_reader_keeps_the_state_that_it_has_read() {
        let latest = Latest::default();
        let id = latest.add("a".into(), None, at(1)).expect("a new node");
        let (before, mut changes) = (latest.read(), latest.changes());
        latest.remove(id, at(2));
        assert_eq!((before.count(), latest.read().count()), (1, 0));
        assert!(changes.has_changed().expect("the state exists") && *changes.borrow_and_update() == 2);
    }
}
