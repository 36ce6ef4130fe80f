//! The newest state of each node: watchers publish it, and every output reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::history::History;
use crate::sample::{Failure, Reason};
use crate::snapshot::Snapshot;
use crate::status::Refusal;

/// The current state of one node.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The node's address, without secrets: the label `redis`.
    pub node: Arc<str>,
    /// The result of the last attempt to sample it.
    pub phase: Phase,
    /// The counts of attempts by result.
    pub tally: SampleTally,
    /// The counts of messages on its channel.
    pub channel: Arc<ChannelTally>,
    /// The last hour.
    pub history: Arc<History>,
}

/// The counts of messages announced and received on a node's channel. They are atomic, because the listener and the
/// announcer count them, while the watcher publishes the node's state.
#[derive(Debug, Default)]
pub struct ChannelTally {
    announced: AtomicU64,
    received: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl ChannelTally {
    /// Number of messages that we announced.
    pub fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// Number of accepted messages of others.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Number of messages that were refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Ordering::Relaxed)
    }

    /// Number of all these messages together; it changes whenever one of the counts does.
    pub fn total(&self) -> u64 {
        self.announced() + self.received() + Refusal::ALL.into_iter().map(|refusal| self.refused(refusal)).sum::<u64>()
    }

    /// Counts a message that we announced.
    pub fn add_announced(&self) {
        self.announced.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an accepted message.
    pub fn add_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refused message.
    pub fn add_refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The result of the last attempt to sample a node.
#[derive(Clone, Debug)]
pub enum Phase {
    /// No attempt has completed yet.
    Starting,
    /// The last attempt produced a snapshot.
    Fresh {
        /// The snapshot.
        snapshot: Arc<Snapshot>,
        /// The time from which on it must not be shown as fresh, if no further attempt completes before.
        stale_at: Instant,
    },
    /// The last attempt failed.
    Failing {
        /// The failure.
        failure: Failure,
        /// The time of the first of these consecutive failures.
        since: Timestamp,
        /// The last snapshot before the failures. Its counters are still valid, its clients are out of date.
        last_good: Option<Arc<Snapshot>>,
    },
}

/// The counts of attempts to sample a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleTally {
    /// Complete samples.
    pub whole: u64,
    /// Samples for which the server refused either `INFO` or `CLIENT LIST`.
    pub partial: u64,
    /// Attempts without a sample.
    pub failed: u64,
    errors: [u64; Reason::ALL.len()],
}

impl SampleTally {
    /// Number of failures with this reason.
    pub fn errors(&self, reason: Reason) -> u64 {
        self.errors[reason as usize]
    }

    /// Counts an attempt that produced a snapshot.
    pub fn add_snapshot(&mut self, snapshot: &Snapshot) {
        let before = self.errors;
        for failure in snapshot.refused() {
            self.errors[failure.reason as usize] += 1;
        }
        let count = if before == self.errors { &mut self.whole } else { &mut self.partial };
        *count += 1;
    }

    /// Counts an attempt that failed.
    pub fn add_failure(&mut self, failure: &Failure) {
        self.failed += 1;
        self.errors[failure.reason as usize] += 1;
    }
}

impl NodeState {
    /// A node before its first attempt.
    pub fn starting(node: Arc<str>) -> Self {
        Self {
            node,
            phase: Phase::Starting,
            tally: SampleTally::default(),
            channel: Arc::default(),
            history: Arc::default(),
        }
    }

    /// Adds the current phase to the history.
    pub fn update_history(&mut self) {
        self.history = Arc::new(match &self.phase {
            Phase::Starting => return,
            Phase::Fresh { snapshot, .. } => self.history.with(snapshot),
            Phase::Failing { since, .. } => self.history.with_gap(*since),
        });
    }

    /// The snapshot of the last attempt, if that succeeded and is not stale.
    pub fn fresh_snapshot(&self, now: Instant) -> Option<&Arc<Snapshot>> {
        match &self.phase {
            Phase::Fresh { snapshot, stale_at } if now < *stale_at => Some(snapshot),
            Phase::Fresh { .. } | Phase::Starting | Phase::Failing { .. } => None,
        }
    }

    /// The newest snapshot, which may be stale.
    pub fn last_snapshot(&self) -> Option<&Arc<Snapshot>> {
        match &self.phase {
            Phase::Starting => None,
            Phase::Fresh { snapshot, .. } => Some(snapshot),
            Phase::Failing { last_good, .. } => last_good.as_ref(),
        }
    }
}

/// The newest state of every node. Each node has one writer, and there may be any number of readers. The lock is never
/// held during I/O.
#[derive(Debug)]
pub struct Latest {
    nodes: RwLock<Nodes>,
    changed: watch::Sender<u64>,
}

/// The state of all nodes at one point in time.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// Grows with each change, so that rendered responses can be cached until the next change.
    pub generation: u64,
    /// The nodes, in the order of the command line.
    pub nodes: Vec<Arc<NodeState>>,
}

impl Latest {
    /// The state of these nodes before their first attempt.
    pub fn new(nodes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let nodes = nodes.into_iter().map(|node| Arc::new(NodeState::starting(node))).collect();
        Self { nodes: RwLock::new(Nodes { generation: 0, nodes }), changed: watch::Sender::new(0) }
    }

    /// Replaces the state of the node at this index.
    pub fn publish(&self, place: usize, state: NodeState) {
        let mut view = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        view.generation += 1;
        view.nodes[place] = Arc::new(state);
        self.changed.send_replace(view.generation);
    }

    /// Subscribes to changes: receives the generation of each change; of several changes in a short time, only the last
    /// one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The newest state of all nodes.
    pub fn read(&self) -> Nodes {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Nodes {
    /// Returns true if at least one attempt on every node has completed, successfully or not.
    pub fn all_attempted(&self) -> bool {
        self.nodes.iter().all(|node| !matches!(node.phase, Phase::Starting))
    }
}
