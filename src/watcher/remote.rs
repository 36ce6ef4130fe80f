//! Statuses that other exporters announce, used in place of our own samples, or because we do not sample.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio::sync::mpsc;
use tracing::warn;

use super::Watcher;
use super::announced::{Decision, FollowedNode};
use super::schedule::MIN_EARLY_INTERVAL;
use crate::clock;
use crate::failure::{Failure, Reason, Refusal};
use crate::latest::Phase;
use crate::sample::{Sample, Source};
use crate::status::{PATIENCE, Received};

/// The use of statuses that other exporters announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteUse {
    /// They are not used: we always sample.
    Off,
    /// They are preferred to our own samples, as long as they are complete, signed, and of the same server.
    Preferred,
    /// They are the only source: we never sample.
    Only {
        /// The node whose statuses are used, where several nodes are announced.
        node: Option<String>,
    },
}

/// The statuses that other exporters announce, with their use.
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

impl RemoteSource {
    /// Received messages with their use.
    pub fn new(usage: RemoteUse, received: ReceivedQueue) -> Self {
        match usage {
            RemoteUse::Off => RemoteSource::Off,
            RemoteUse::Preferred => RemoteSource::Preferred(received),
            RemoteUse::Only { node } => RemoteSource::Only { received, node },
        }
    }
}

/// The messages received for a node, and failures of the subscription.
pub type ReceivedQueue = mpsc::Receiver<Result<Received, Failure>>;

impl Watcher {
    /// Returns true if the last snapshot was received from another exporter.
    pub(super) fn relies_on_remote(&self) -> bool {
        self.state.last_snapshot().is_some_and(|snapshot| snapshot.sample.source != Source::Sampled)
    }

    /// Receives statuses of others and publishes them, until the queue is closed.
    pub(super) async fn receive_only(mut self) {
        let mut followed = FollowedNode::default();
        let patience = self.budget.interval.mul_f64(PATIENCE) + MIN_EARLY_INTERVAL;
        // Messages about other nodes do not extend this deadline.
        let mut deadline = Instant::now() + patience;
        loop {
            let RemoteSource::Only { received, node } = &mut self.remote_source else { return };
            let wanted = node.clone();
            let is_chosen = wanted.is_some();
            let failure = match tokio::time::timeout_at(deadline.into(), received.recv()).await {
                Ok(None) => return,
                Ok(Some(Ok(Received::Status { header, .. }))) if wanted.is_some_and(|wanted| wanted != header.node) => {
                    continue;
                }
                Ok(Some(Ok(Received::Status { header, sample, signed }))) => {
                    let (patience_of_run, max) = (self.silence_after(header.frequency), self.budget.max_age);
                    let node = &self.state.node;
                    let address = self.state.address.as_ref();
                    let is_own = is_chosen
                        || **node == *header.node
                        || address.is_some_and(|address| address.is_written_as(&header.node));
                    match followed.status(node, &header, (signed, is_own), patience_of_run, max, Instant::now()) {
                        Decision::Ignore(warning) => {
                            self.state.channel.add_refused(Refusal::NotFollowed);
                            if let Some(warning) = warning {
                                warn!("{warning}");
                            }
                        }
                        Decision::Follow => {
                            if self.is_newer(&sample) {
                                self.take_received(&sample, header.frequency);
                            }
                            deadline = Instant::now() + patience.max(self.patience());
                        }
                    }
                    continue;
                }
                Ok(Some(Ok(Received::KeepAlive { header, .. }))) => {
                    followed.keep_alive(&header, self.silence_after(header.frequency), Instant::now());
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
        let mut sample = Sample::clone(sample);
        sample.own = self.sampler.own_connections();
        // The announcer does not know our addresses. With the same status, all exporters show the same counts.
        sample.own.addresses.clear();
        self.take(Arc::new(sample), Instant::now() + self.valid_for(frequency));
    }

    /// The time for which a received status is valid, by its frequency; at most as long as our own sample would be.
    fn valid_for(&self, frequency: f64) -> Duration {
        let by_frequency = Duration::try_from_secs_f64(frequency * (PATIENCE + 0.5)).unwrap_or_default();
        let min = 3 * self.budget.interval;
        by_frequency.clamp(min, self.budget.max_age.max(min))
    }

    /// The time after a status from which its node counts as silent, so that another one may be followed. It is shorter
    /// than the time for which the status is valid: a node that has restarted is followed without a gap.
    fn silence_after(&self, frequency: f64) -> Duration {
        self.valid_for(frequency).mul_f64(PATIENCE / (PATIENCE + 0.5))
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
        self.publisher.publish(&self.state, clock::now());
        true
    }

    /// Waits for this time, or until a status is received that replaces our next sample. Returns the time to wait for
    /// the next status in that case.
    pub(super) async fn wait_or_receive(&mut self, pause: Duration) -> Option<Duration> {
        let until = Instant::now() + pause;
        loop {
            let RemoteSource::Preferred(received) = &mut self.remote_source else {
                tokio::time::sleep_until(until.into()).await;
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

fn no_announcer(node: &str) -> Failure {
    let message = format!(
        "{node}: no exporter announces its status on the channel, and --sample never disables sampling; start an \
        exporter without --sample never for this server"
    );
    Failure { reason: Reason::Silent, message }
}
