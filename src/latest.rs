//! The newest state of each node, where watchers put it and every output finds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::history::History;
use crate::sample::{Failure, Reason};
use crate::snapshot::Snapshot;
use crate::status::Refusal;

/// What is known of one node now.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The node's address, without a secret: the label `redis`.
    pub node: Arc<str>,
    /// Whether there is something to show.
    pub phase: Phase,
    /// What became of the attempts so far.
    pub tally: SampleTally,
    /// What was announced and heard so far.
    pub channel: Arc<ChannelTally>,
    /// Its last hour.
    pub history: Arc<History>,
}

/// What was announced and heard on a node's channel. Counted by others than who publishes the node's state.
#[derive(Debug, Default)]
pub struct ChannelTally {
    announced: AtomicU64,
    heard: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl ChannelTally {
    /// Messages that we announced.
    pub fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// Messages of others that were believed.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Messages that were refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Ordering::Relaxed)
    }

    /// All of these together: grows with each of them.
    pub fn total(&self) -> u64 {
        self.announced() + self.heard() + Refusal::ALL.into_iter().map(|refusal| self.refused(refusal)).sum::<u64>()
    }

    /// Counts a message of ours.
    pub fn add_announced(&self) {
        self.announced.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that was believed.
    pub fn add_heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that was not.
    pub fn add_refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a node can be read.
#[derive(Clone, Debug)]
pub enum Phase {
    /// No attempt has ended yet.
    Starting,
    /// The last attempt gave a snapshot.
    Fresh {
        /// What it gave.
        snapshot: Arc<Snapshot>,
        /// From when on its numbers must not be shown as fresh, should no further attempt end before.
        stale_at: Instant,
    },
    /// The last attempt failed.
    Failing {
        /// Why it failed.
        failure: Failure,
        /// When the first failure of this row of failures was.
        since: Timestamp,
        /// The last snapshot before it. Its counters stay true; its clients are a thing of the past.
        last_good: Option<Arc<Snapshot>>,
    },
}

/// How the attempts to sample a node ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleTally {
    /// Samples that told everything.
    pub whole: u64,
    /// Samples of which the server refused one half.
    pub partial: u64,
    /// Attempts that gave nothing.
    pub failed: u64,
    errors: [u64; Reason::ALL.len()],
}

impl SampleTally {
    /// How often this went wrong.
    pub fn errors(&self, reason: Reason) -> u64 {
        self.errors[reason as usize]
    }

    /// Counts an attempt that gave a snapshot.
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
    /// A node of which nothing is known yet.
    pub fn starting(node: Arc<str>) -> Self {
        Self {
            node,
            phase: Phase::Starting,
            tally: SampleTally::default(),
            channel: Arc::default(),
            history: Arc::default(),
        }
    }

    /// Adds what is known now to the last hour.
    pub fn remember(&mut self) {
        self.history = Arc::new(match &self.phase {
            Phase::Starting => return,
            Phase::Fresh { snapshot, .. } => self.history.with(snapshot),
            Phase::Failing { since, .. } => self.history.with_gap(*since),
        });
    }

    /// The snapshot whose numbers are true now: the last attempt gave it, and not too long ago.
    pub fn fresh_snapshot(&self, now: Instant) -> Option<&Arc<Snapshot>> {
        match &self.phase {
            Phase::Fresh { snapshot, stale_at } if now < *stale_at => Some(snapshot),
            Phase::Fresh { .. } | Phase::Starting | Phase::Failing { .. } => None,
        }
    }

    /// The newest snapshot there was, whether or not it is still true.
    pub fn last_snapshot(&self) -> Option<&Arc<Snapshot>> {
        match &self.phase {
            Phase::Starting => None,
            Phase::Fresh { snapshot, .. } => Some(snapshot),
            Phase::Failing { last_good, .. } => last_good.as_ref(),
        }
    }
}

/// The newest state of every node. One writer a node, any number of readers; nobody waits for I/O while holding it.
#[derive(Debug)]
pub struct Latest {
    nodes: RwLock<Nodes>,
    changed: watch::Sender<u64>,
}

/// All nodes at one moment.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// Grows with each change, so that what was rendered of a view can be kept until the next.
    pub generation: u64,
    /// The nodes, in the order in which the operator named them.
    pub nodes: Vec<Arc<NodeState>>,
}

impl Latest {
    /// Nodes of which nothing is known yet.
    pub fn new(nodes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let nodes = nodes.into_iter().map(|node| Arc::new(NodeState::starting(node))).collect();
        Self { nodes: RwLock::new(Nodes { generation: 0, nodes }), changed: watch::Sender::new(0) }
    }

    /// Replaces the state of the node at this place.
    pub fn publish(&self, place: usize, state: NodeState) {
        let mut view = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        view.generation += 1;
        view.nodes[place] = Arc::new(state);
        self.changed.send_replace(view.generation);
    }

    /// Tells of each change by the generation it made; of several that came together, only of the last.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The newest state of all nodes.
    pub fn read(&self) -> Nodes {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Nodes {
    /// Whether an attempt on every node has ended, well or not.
    pub fn all_attempted(&self) -> bool {
        self.nodes.iter().all(|node| !matches!(node.phase, Phase::Starting))
    }
}
