//! Publishes the states of one node: to [`Latest`], and each new snapshot to subscribers with bounded queues.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Latest, NodeId, NodeState, Phase, SubscriberTally};
use crate::snapshot::Snapshot;

/// A snapshot for a subscriber.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The node's name: the label `redis`.
    pub node: Arc<str>,
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
}

/// Publishes the states of one node. It never waits: a subscriber whose queue is full misses the snapshot, which is
/// counted.
#[derive(Debug)]
pub struct Publisher {
    latest: Arc<Latest>,
    id: NodeId,
    subscribers: Vec<Subscriber>,
}

/// Reads what was published last about one node.
#[derive(Clone, Debug)]
pub struct NodeReader {
    latest: Arc<Latest>,
    id: NodeId,
}

impl NodeReader {
    /// The `run_id` that the node had in its last snapshot.
    pub fn run_id(&self) -> Option<String> {
        self.latest.read().get(self.id)?.last_snapshot()?.info()?.run_id.clone()
    }

    /// Returns true if the last attempt to sample the node failed.
    pub fn is_failing(&self) -> bool {
        self.latest.read().get(self.id).is_some_and(|node| matches!(node.phase, Phase::Failing { .. }))
    }

    /// The number of nodes of the node's target that work, watched or not; `None` if no discovery found any.
    pub fn nodes_of_target(&self) -> Option<u64> {
        let nodes = self.latest.read();
        let origin = &nodes.get(self.id)?.origin;
        let target = nodes.targets().iter().find(|target| target.name == origin.target)?;
        Some(target.working).filter(|working| *working > 0)
    }
}

#[derive(Debug)]
struct Subscriber {
    queue: mpsc::Sender<Publication>,
    tally: SubscriberTally,
}

impl Publisher {
    /// A publisher without subscribers.
    pub fn new(latest: Arc<Latest>, id: NodeId) -> Self {
        Self { latest, id, subscribers: Vec::new() }
    }

    /// Adds a subscriber that may fall behind by the capacity of its queue; what it misses is counted. Several nodes
    /// may share a queue.
    pub fn subscribe(&mut self, tally: SubscriberTally, queue: mpsc::Sender<Publication>) {
        self.subscribers.push(Subscriber { queue, tally });
    }

    /// The state that was published last, or the one before the first attempt.
    pub fn state(&self) -> NodeState {
        self.latest.read().get(self.id).cloned().unwrap_or_else(|| NodeState::starting(Arc::default()))
    }

    /// A reader of what is published about the node.
    pub fn reader(&self) -> NodeReader {
        NodeReader { latest: Arc::clone(&self.latest), id: self.id }
    }

    /// The number of nodes that are watched now.
    pub fn node_count(&self) -> usize {
        self.latest.read().count()
    }

    /// Publishes a state without a new snapshot.
    pub fn publish(&self, state: &NodeState, now: Timestamp) {
        self.latest.publish(self.id, state.clone(), now);
    }

    /// Publishes a state, and its snapshot to the subscribers.
    pub fn publish_snapshot(&mut self, state: &NodeState, snapshot: &Arc<Snapshot>, now: Timestamp) {
        self.subscribers.retain(|subscriber| {
            let publication = Publication { node: Arc::clone(&state.node), snapshot: Arc::clone(snapshot) };
            match subscriber.queue.try_send(publication) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    subscriber.tally.add_missed();
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
        self.publish(state, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture;

    #[tokio::test]
    async fn a_full_queue_never_delays_the_node_and_is_counted_and_a_closed_one_is_forgotten() {
        let latest = Arc::new(Latest::default());
        let now = Timestamp::UNIX_EPOCH;
        let id = latest.add("node:1".into(), None, now).expect("a new node");
        let mut publisher = Publisher::new(Arc::clone(&latest), id);
        let (slow, mut received) = mpsc::channel(2);
        let (closed, _) = mpsc::channel(2);
        let mut state = publisher.state();
        publisher.subscribe(state.subscriber("slow"), slow);
        publisher.subscribe(state.subscriber("closed"), closed);
        for _ in 0..5 {
            let snapshot = Arc::new(fixture::snapshot("id=1 addr=10.0.0.1:1\n"));
            publisher.publish_snapshot(&state, &snapshot, now);
        }
        let nodes = latest.read();
        let tallies = &nodes.get(id).expect("the node").subscribers;
        let missed = || tallies.iter().map(|tally| (tally.name, tally.missed())).collect::<Vec<_>>();
        assert_eq!(missed(), [("slow", 3), ("closed", 0)]);
        assert_eq!(publisher.state().subscriber("slow").missed(), 3, "it continues when the node starts again");
        assert_eq!(&*received.recv().await.expect("a snapshot").node, "node:1");
        assert_eq!(received.len(), 1);
    }
}
