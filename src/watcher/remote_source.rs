//! Statuses that other exporters announce, used in place of our own samples, or because we do not sample.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio::sync::mpsc;

use super::{MIN_EARLY_INTERVAL, Watcher, sleep_until};
use crate::announce::Received;
use crate::clock;
use crate::latest::Phase;
use crate::sample::{Failure, Reason, Sample, Source};
use crate::snapshot::escaped;

/// The use of statuses that other exporters announce.
#[derive(Debug)]
pub enum RemoteSource {
    /// They are not used.
    Off,
    /// They are preferred to our own samples, as long as they are complete, signed, and of the same server.
    Preferred(ReceivedQueue),
    /// They are the only source: we never sample.
    Only {
        /// The received messages.
        received: ReceivedQueue,
        /// The node whose statuses are used, where several nodes are announced.
        node: Option<String>,
    },
}

/// The messages received for a node, and failures of the subscription.
type ReceivedQueue = mpsc::Receiver<Result<Received, Failure>>;

/// The time to wait for the next status, in multiples of the announced frequency.
const PATIENCE: f64 = 2.5;

impl Watcher {
    /// Returns true if the last snapshot was received from another exporter.
    pub(super) fn relies_on_remote(&self) -> bool {
        self.state.last_snapshot().is_some_and(|snapshot| snapshot.sample.source != Source::Sampled)
    }

    /// Receives statuses of others and publishes them, until the queue is closed.
    pub(super) async fn listen(mut self) {
        let mut announced = Announced::default();
        let patience = self.budget.interval.mul_f64(PATIENCE) + MIN_EARLY_INTERVAL;
        // Messages about other nodes do not extend this deadline.
        let mut deadline = Instant::now() + patience;
        loop {
            let RemoteSource::Only { received, node } = &mut self.remote_source else { return };
            let wanted = node.clone();
            let failure = match tokio::time::timeout_at(deadline.into(), received.recv()).await {
                Ok(None) => return,
                Ok(Some(Ok(Received::Status { header, .. }))) if wanted.is_some_and(|wanted| wanted != header.node) => {
                    continue;
                }
                Ok(Some(Ok(Received::Status { header, sample, .. }))) => {
                    announced.add(&header.run_id, &header.node, Instant::now());
                    match announced.several() {
                        Some(names) => ambiguous(&self.state.node, &names),
                        None => {
                            if self.is_newer(&sample) {
                                self.take_received(&sample, header.frequency);
                            }
                            deadline = Instant::now() + patience.max(self.patience());
                            continue;
                        }
                    }
                }
                Ok(Some(Ok(Received::KeepAlive { header, .. }))) => {
                    // While the announcer's next sample takes long, a sign of life from it keeps the last one valid for
                    // a while.
                    if self.stay_fresh(&header.run_id, header.frequency) {
                        deadline = Instant::now() + patience.max(self.patience());
                    }
                    continue;
                }
                Ok(Some(Err(failure))) => failure,
                Err(_) => no_announcer(&self.state.node),
            };
            self.fail(failure);
            deadline = Instant::now() + patience;
        }
    }

    /// The time to wait for the next status, by the last one received.
    fn patience(&self) -> Duration {
        match &self.state.phase {
            Phase::Fresh { stale_at, .. } => stale_at.saturating_duration_since(Instant::now()),
            Phase::Starting | Phase::Failing { .. } => Duration::ZERO,
        }
    }

    fn take_received(&mut self, sample: &Arc<Sample>, frequency: f64) {
        let last = self.state.last_snapshot().cloned();
        let snapshot = self.derived(last.as_deref(), Arc::clone(sample));
        self.succeeded(&snapshot);
        self.state.phase = Phase::Fresh { snapshot, stale_at: Instant::now() + self.valid_for(frequency) };
        self.publish();
    }

    /// The time for which a received status is valid, by its frequency; at most as long as our own sample would be.
    fn valid_for(&self, frequency: f64) -> Duration {
        let by_frequency = Duration::try_from_secs_f64(frequency * (PATIENCE + 0.5)).unwrap_or_default();
        let min = 3 * self.budget.interval;
        by_frequency.clamp(min, self.budget.max_age.max(min))
    }

    /// Returns true if a received sample is newer than the last snapshot. An older one of the same server may have
    /// waited in the queue, or was received twice.
    fn is_newer(&self, sample: &Sample) -> bool {
        let run = |sample: &Sample| sample.info.as_ref().ok().and_then(|info| info.run_id.clone());
        self.state.last_snapshot().is_none_or(|last| run(&last.sample) != run(sample) || sample.at > last.sample.at)
    }

    /// Returns true if a received sample is less than one sample interval older than the last snapshot.
    fn is_current(&self, sample: &Sample) -> bool {
        let interval = SignedDuration::try_from(self.budget.interval).unwrap_or(SignedDuration::MAX);
        self.state.last_snapshot().is_none_or(|last| last.sample.at.duration_since(sample.at) < interval)
    }

    /// Extends the time for which the last received sample of this server is valid, up to its maximum age. Returns true
    /// if it did.
    fn stay_fresh(&mut self, run_id: &str, frequency: f64) -> bool {
        let valid_for = self.valid_for(frequency);
        let max_age = self.budget.max_age.max(3 * self.budget.interval);
        let Phase::Fresh { snapshot, stale_at } = &mut self.state.phase else { return false };
        let age = clock::now().duration_since(snapshot.sample.at).unsigned_abs();
        if snapshot.info().and_then(|info| info.run_id.as_deref()) != Some(run_id) || age > max_age {
            return false;
        }
        *stale_at = (*stale_at).max(Instant::now() + valid_for.min(max_age.saturating_sub(age)));
        self.latest.publish(self.place, self.state.clone());
        true
    }

    fn fail(&mut self, failure: Failure) {
        let last = self.state.last_snapshot().cloned();
        self.state.phase = self.failed(failure, last);
        self.publish();
    }

    /// Waits for this time, or until a status is received that replaces our next sample. Returns the time to wait for
    /// the next status in that case.
    pub(super) async fn wait_or_receive(&mut self, pause: Duration) -> Option<Duration> {
        let until = Instant::now() + pause;
        loop {
            let RemoteSource::Preferred(received) = &mut self.remote_source else {
                sleep_until(until).await;
                return None;
            };
            let Ok(received) = tokio::time::timeout_at(until.into(), received.recv()).await else { return None };
            let Some(received) = received else {
                self.remote_source = RemoteSource::Off;
                continue;
            };
            let run_id = self.state.last_snapshot().and_then(|snapshot| snapshot.info()?.run_id.clone());
            if let Ok(Received::Status { header, sample, signed: true }) = received
                && run_id.as_ref() == Some(&header.run_id)
                && !sample.is_truncated()
                && self.is_current(&sample)
            {
                // An older status counts too: two exporters that sample at the same moment would otherwise both go on
                // sampling.
                if self.is_newer(&sample) {
                    self.take_received(&sample, header.frequency);
                }
                return Duration::try_from_secs_f64(header.frequency * PATIENCE)
                    .ok()
                    .map(|wait| wait.min(self.valid_for(header.frequency)));
            }
        }
    }
}

/// The nodes that are announced on a channel, by `run_id`.
#[derive(Debug, Default)]
struct Announced(BTreeMap<String, Node>);

/// A node that was announced.
#[derive(Debug)]
struct Node {
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
    fn add(&mut self, run_id: &str, name: &str, now: Instant) {
        self.0.retain(|_, node| now.duration_since(node.last_seen) < ANNOUNCED_NODE_TTL);
        if !self.0.contains_key(run_id) {
            self.0.values_mut().filter(|node| node.name == name).for_each(|node| node.is_replaced = true);
        }
        if self.0.len() < MAX_NODES || self.0.contains_key(run_id) {
            self.0.insert(run_id.to_owned(), Node { name: name.to_owned(), last_seen: now, is_replaced: false });
        }
    }

    /// The names of all nodes, if there are several.
    fn several(&self) -> Option<Vec<&str>> {
        let names: Vec<_> = self.0.values().filter(|node| !node.is_replaced).map(|node| node.name.as_str()).collect();
        (names.len() > 1).then_some(names)
    }
}

fn ambiguous(node: &str, announced: &[&str]) -> Failure {
    let distinct: BTreeSet<&str> = announced.iter().copied().collect();
    let names: Vec<_> = distinct.iter().map(|node| escaped(node.as_bytes())).take(10).collect();
    let names = names.join(", ");
    let message = match distinct.len() {
        1 => format!(
            "{node}: {} servers are announced on its channel with the same name ({names}); start their exporters with \
            a different address for each server",
            announced.len()
        ),
        _ => format!("{node}: several nodes are announced on its channel ({names}); choose one with --announce.node"),
    };
    Failure { reason: Reason::Other, message }
}

fn no_announcer(node: &str) -> Failure {
    let message = format!(
        "{node}: no exporter announces its status on the channel, and --sample never disables sampling; start an \
        exporter without --sample never for this server"
    );
    Failure { reason: Reason::Silent, message }
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
