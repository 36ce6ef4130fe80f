//! The state of one node: the result of the last attempt to sample it, and the counts of all attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jiff::Timestamp;

use crate::failure::Refusal;
use crate::failure::{Failure, Reason};
use crate::history::History;
use crate::link::{Endpoint, Origin};
use crate::snapshot::Snapshot;

/// The current state of one node.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The node's name: the label `redis`.
    pub node: Arc<str>,
    /// The address that is connected to, by which it can be selected; `None` in tests.
    pub address: Option<Endpoint>,
    /// The target that led to it.
    pub origin: Arc<Origin>,
    /// The result of the last attempt to sample it.
    pub phase: Phase,
    /// The counts of attempts by result.
    pub tally: SampleTally,
    /// The counts of messages on its channel.
    pub channel: Arc<ChannelTally>,
    /// The snapshots that subscribers missed.
    pub subscribers: Vec<SubscriberTally>,
    /// The last hour.
    pub history: Arc<History>,
}

/// The number of snapshots of a node that a subscriber missed, because its queue was full.
#[derive(Clone, Debug)]
pub struct SubscriberTally {
    /// The subscriber, also a metric's label value.
    pub name: &'static str,
    missed: Arc<AtomicU64>,
}

impl SubscriberTally {
    /// A subscriber that has missed nothing.
    pub fn new(name: &'static str) -> Self {
        Self { name, missed: Arc::default() }
    }

    /// Number of missed snapshots.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Counts a missed snapshot.
    pub fn add_missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }
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
            address: None,
            origin: Arc::default(),
            phase: Phase::Starting,
            tally: SampleTally::default(),
            channel: Arc::default(),
            subscribers: Vec::new(),
            history: Arc::default(),
        }
    }

    /// The target through which the node was found. Without one, as in tests, the node is its own.
    pub fn target(&self) -> &str {
        if self.origin.target.is_empty() { &self.node } else { &self.origin.target }
    }

    /// The count of what a subscriber missed, which continues if there was one of this name.
    pub fn subscriber(&mut self, name: &'static str) -> SubscriberTally {
        if let Some(tally) = self.subscribers.iter().find(|tally| tally.name == name) {
            return tally.clone();
        }
        let tally = SubscriberTally::new(name);
        self.subscribers.push(tally.clone());
        tally
    }

    /// Notes an attempt that produced a snapshot, which is fresh until `stale_at`.
    pub fn succeed(&mut self, snapshot: Arc<Snapshot>, stale_at: Instant) {
        self.tally.add_snapshot(&snapshot);
        self.replace(snapshot, stale_at);
    }

    /// Replaces the snapshot by a more complete one of the same attempt.
    pub fn replace(&mut self, snapshot: Arc<Snapshot>, stale_at: Instant) {
        self.history = Arc::new(self.history.with(&snapshot));
        self.phase = Phase::Fresh { snapshot, stale_at };
    }

    /// Notes an attempt that failed at a time by our clock.
    pub fn fail(&mut self, failure: Failure, at: Timestamp) {
        self.tally.add_failure(&failure);
        let since = match &self.phase {
            Phase::Failing { since, .. } => *since,
            Phase::Starting | Phase::Fresh { .. } => at,
        };
        self.history = Arc::new(self.history.with_gap(since));
        self.phase = Phase::Failing { failure, since, last_good: self.last_snapshot().cloned() };
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
