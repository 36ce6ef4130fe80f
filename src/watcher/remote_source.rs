//! What a watcher makes of what others announce: instead of its own samples, or because it may not take any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio::sync::mpsc;

use super::{HURRY, Watcher, sleep_until};
use crate::announce::Received;
use crate::clock;
use crate::latest::Phase;
use crate::sample::{Failure, Reason, Sample, Source};
use crate::snapshot::escaped;

/// Whether statuses that others announce are used.
#[derive(Debug)]
pub enum RemoteSource {
    /// They are not.
    Off,
    /// Preferred of our own samples, as long as they are whole, signed, and of the same server.
    Preferred(ReceivedQueue),
    /// We never sample.
    Only {
        /// What is heard.
        heard: ReceivedQueue,
        /// The node to hear of, where several are announced.
        node: Option<String>,
    },
}

/// What is heard of a node, and failures to listen.
type ReceivedQueue = mpsc::Receiver<Result<Received, Failure>>;

/// For how many times the frequency that another announced we wait for his next status.
const PATIENCE: f64 = 2.5;

impl Watcher {
    /// Whether what is shown is what another told.
    pub(super) fn relies_on_remote(&self) -> bool {
        self.state.last_snapshot().is_some_and(|snapshot| snapshot.sample.source != Source::Sampled)
    }

    /// Hears others for ever, and shows what they tell.
    pub(super) async fn listen(mut self) {
        let mut announced = Announced::default();
        let patience = self.budget.every.mul_f64(PATIENCE) + HURRY;
        // What others say of other nodes is no sign that anybody will speak of ours.
        let mut silent_at = Instant::now() + patience;
        loop {
            let RemoteSource::Only { heard, node } = &mut self.remote_source else { return };
            let wanted = node.clone();
            let failure = match tokio::time::timeout_at(silent_at.into(), heard.recv()).await {
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
                            silent_at = Instant::now() + patience.max(self.patience());
                            continue;
                        }
                    }
                }
                Ok(Some(Ok(Received::Continuity { header, .. }))) => {
                    // While a sample takes long, that the same announcer is there keeps the last one good for a while.
                    if self.stay_fresh(&header.run_id, header.frequency) {
                        silent_at = Instant::now() + patience.max(self.patience());
                    }
                    continue;
                }
                Ok(Some(Err(failure))) => failure,
                Err(_) => silence(&self.state.node),
            };
            self.fail(failure);
            silent_at = Instant::now() + patience;
        }
    }

    /// How long to wait for the next status, by the last one that was heard.
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
        self.state.phase = Phase::Fresh { snapshot, stale_at: Instant::now() + self.good_for(frequency) };
        self.publish();
    }

    /// How long what was heard is good for, by how often it is announced; at most as long as our own sample would be.
    fn good_for(&self, frequency: f64) -> Duration {
        let told = Duration::try_from_secs_f64(frequency * (PATIENCE + 0.5)).unwrap_or_default();
        let own = 3 * self.budget.every;
        told.clamp(own, self.budget.max_age.max(own))
    }

    /// Whether a heard sample is newer than what is shown: an older one of the same server may have waited, or be heard again.
    fn is_newer(&self, sample: &Sample) -> bool {
        let run = |sample: &Sample| sample.info.as_ref().ok().and_then(|info| info.run_id.clone());
        self.state.last_snapshot().is_none_or(|last| run(&last.sample) != run(sample) || sample.at > last.sample.at)
    }

    /// Whether a heard sample is no older than one that we would take only next.
    fn is_current(&self, sample: &Sample) -> bool {
        let every = SignedDuration::try_from(self.budget.every).unwrap_or(SignedDuration::MAX);
        self.state.last_snapshot().is_none_or(|last| last.sample.at.duration_since(sample.at) < every)
    }

    /// Keeps a heard sample of this server good, for no longer than it may ever be; whether it did.
    fn stay_fresh(&mut self, run_id: &str, frequency: f64) -> bool {
        let good_for = self.good_for(frequency);
        let most = self.budget.max_age.max(3 * self.budget.every);
        let Phase::Fresh { snapshot, stale_at } = &mut self.state.phase else { return false };
        let age = clock::now().duration_since(snapshot.sample.at).unsigned_abs();
        if snapshot.info().and_then(|info| info.run_id.as_deref()) != Some(run_id) || age > most {
            return false;
        }
        *stale_at = (*stale_at).max(Instant::now() + good_for.min(most.saturating_sub(age)));
        self.latest.publish(self.place, self.state.clone());
        true
    }

    fn fail(&mut self, failure: Failure) {
        let last = self.state.last_snapshot().cloned();
        self.state.phase = self.failed(failure, last);
        self.publish();
    }

    /// Waits so long, or until a status is heard that our next sample may wait for; gives how long the next one may take.
    pub(super) async fn wait_or_hear(&mut self, pause: Duration) -> Option<Duration> {
        let until = Instant::now() + pause;
        loop {
            let RemoteSource::Preferred(heard) = &mut self.remote_source else {
                sleep_until(until).await;
                return None;
            };
            let Ok(heard) = tokio::time::timeout_at(until.into(), heard.recv()).await else { return None };
            let Some(heard) = heard else {
                self.remote_source = RemoteSource::Off;
                continue;
            };
            let ours = self.state.last_snapshot().and_then(|snapshot| snapshot.info()?.run_id.clone());
            if let Ok(Received::Status { header, sample, signed: true }) = heard
                && ours.as_ref() == Some(&header.run_id)
                && !sample.is_truncated()
                && self.is_current(&sample)
            {
                // Two who sample at the same moment would never rest if each waited for what is newer than its own.
                if self.is_newer(&sample) {
                    self.take_received(&sample, header.frequency);
                }
                return Duration::try_from_secs_f64(header.frequency * PATIENCE)
                    .ok()
                    .map(|told| told.min(self.good_for(header.frequency)));
            }
        }
    }
}

/// The nodes that are announced on a channel, by their identity.
#[derive(Debug, Default)]
struct Announced(BTreeMap<String, Node>);

/// A node that was heard of.
#[derive(Debug)]
struct Node {
    name: String,
    at: Instant,
    /// Another of its name began to be announced, and it has not been since: it was restarted.
    is_over: bool,
}

/// For how long a node that was heard of counts as one that is announced.
const LONG_AGO: Duration = Duration::from_secs(60);

/// The most nodes that are told apart.
const MAX_NODES: usize = 100;

impl Announced {
    /// Notes that a node is announced.
    fn add(&mut self, run_id: &str, name: &str, now: Instant) {
        self.0.retain(|_, node| now.duration_since(node.at) < LONG_AGO);
        if !self.0.contains_key(run_id) {
            self.0.values_mut().filter(|node| node.name == name).for_each(|node| node.is_over = true);
        }
        if self.0.len() < MAX_NODES || self.0.contains_key(run_id) {
            self.0.insert(run_id.to_owned(), Node { name: name.to_owned(), at: now, is_over: false });
        }
    }

    /// The names of all nodes, if there are several of them.
    fn several(&self) -> Option<Vec<&str>> {
        let names: Vec<_> = self.0.values().filter(|node| !node.is_over).map(|node| node.name.as_str()).collect();
        (names.len() > 1).then_some(names)
    }
}

fn ambiguous(node: &str, heard: &[&str]) -> Failure {
    let distinct: BTreeSet<&str> = heard.iter().copied().collect();
    let told: Vec<_> = distinct.iter().map(|node| escaped(node.as_bytes())).take(10).collect();
    let told = told.join(", ");
    let message = match distinct.len() {
        1 => format!(
            "{node}: {} servers are announced there by one name ({told}); announce them by another",
            heard.len()
        ),
        _ => format!("{node}: several nodes are announced there ({told}); choose one with --announce.node"),
    };
    Failure { reason: Reason::Other, message }
}

fn silence(node: &str) -> Failure {
    let message = format!("{node}: nobody announces there; start an exporter that may sample, without --sample never");
    Failure { reason: Reason::Silent, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_restarted_is_one_and_two_of_one_name_are_two() {
        let now = Instant::now();
        let mut announced = Announced::default();
        let mut is_one = |run_id, name| {
            announced.add(run_id, name, now);
            announced.several().is_none()
        };
        assert!(is_one("a", "here") && is_one("a", "here"));
        assert!(is_one("b", "here") && is_one("b", "here"), "it was restarted");
        assert!(!is_one("a", "here"), "it was not");
        assert!(!is_one("b", "here") && !is_one("c", "there"));
        let later = now + LONG_AGO;
        announced.add("d", "here", later);
        assert!(announced.several().is_none(), "the others have been silent for long");
        announced.add("e", "there", later);
        assert_eq!(announced.several(), Some(vec!["here", "there"]));
    }
}
