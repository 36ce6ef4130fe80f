//! Watches one node in an endless loop: takes a sample, derives a snapshot, publishes it to the outputs, and waits.
//! While waiting it takes quick polls, or receives statuses that others announce (`remote_source`).
//!
//! After a failure it retries earlier than the next sample is due, with increasing delays, and logs only changes.

mod remote_source;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::clock;
use crate::latest::{ChannelTally, Latest, NodeState, Phase};
use crate::link::Target;
use crate::sample::{Failure, Sample};
use crate::sampler::{Budget, Sampler};
use crate::snapshot::{Limits, Snapshot, derive};

pub use remote_source::RemoteSource;

/// The delay after the first failure. Each further failure doubles it, up to the time between samples.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// The shortest time between two samples when connections were closed.
const MIN_EARLY_INTERVAL: Duration = Duration::from_secs(1);

/// The interval of early samples, taken because connections were closed, in multiples of the shortest interval that the
/// load allows. Where connections are closed all the time, early samples would otherwise use all of the load.
const EARLY_SAMPLE_FACTOR: u32 = 4;

/// Watches one node, and publishes its state at one place in [`Latest`].
#[derive(Debug)]
pub struct Watcher {
    sampler: Sampler,
    budget: Budget,
    remote_source: RemoteSource,
    /// Receives each snapshot for announcing, if this node is announced.
    announcements: Option<mpsc::Sender<Arc<Snapshot>>>,
    limits: watch::Receiver<Arc<Limits>>,
    latest: Arc<Latest>,
    place: usize,
    state: NodeState,
    /// Failures in a row.
    failures: u32,
    /// The commands that the node refused at the last sample, so that only changes are logged.
    refused: Vec<Failure>,
    seen_unreadable: bool,
    logged_no_pages: bool,
    /// True if the plan was within the budget when this was last logged.
    within_budget: bool,
}

impl Watcher {
    /// A watcher that publishes the node's state at `place`.
    pub fn new(
        target: Target,
        budget: Budget,
        limits: watch::Receiver<Arc<Limits>>,
        latest: Arc<Latest>,
        place: usize,
    ) -> Self {
        Self {
            sampler: Sampler::new(target, budget),
            budget,
            remote_source: RemoteSource::Off,
            announcements: None,
            limits,
            state: NodeState::clone(&latest.read().nodes[place]),
            latest,
            place,
            failures: 0,
            refused: Vec::new(),
            seen_unreadable: false,
            logged_no_pages: false,
            within_budget: true,
        }
    }

    /// Sets how statuses that others announce are used.
    pub fn remote_source(mut self, remote_source: RemoteSource) -> Self {
        self.remote_source = remote_source;
        self
    }

    /// Sends each snapshot to an announcer.
    pub fn announcing(mut self, announcements: mpsc::Sender<Arc<Snapshot>>) -> Self {
        self.announcements = Some(announcements);
        self
    }

    /// The counter to which other parts of this program add their cost to the node, in microseconds.
    pub fn spent(&self) -> Arc<AtomicU64> {
        self.sampler.spent()
    }

    /// The counts of messages announced and received on the node's channel.
    pub fn channel(&self) -> Arc<ChannelTally> {
        Arc::clone(&self.state.channel)
    }

    /// Watches until it is dropped.
    pub async fn run(mut self) {
        if let RemoteSource::Only { .. } = self.remote_source {
            return self.listen().await;
        }
        loop {
            let started = Instant::now();
            self.step().await;
            self.wait(started).await;
        }
    }

    async fn step(&mut self) {
        let last = self.state.last_snapshot().cloned();
        self.state.phase = match self.sampler.sample().await {
            Ok(sample) => {
                let snapshot = self.derived(last.as_deref(), Arc::new(sample));
                self.succeeded(&snapshot);
                self.log_plan();
                Phase::Fresh { snapshot, stale_at: Instant::now() + self.fresh_for() }
            }
            Err(failure) => self.failed(failure, last),
        };
        self.publish();
    }

    /// Publishes the state to all outputs.
    fn publish(&mut self) {
        self.state.update_history();
        self.latest.publish(self.place, self.state.clone());
        if let (Phase::Fresh { snapshot, .. }, Some(announcements)) = (&self.state.phase, &self.announcements) {
            // If the announcer's queue is full, this snapshot is not announced; the next one is complete too.
            let _ = announcements.try_send(Arc::clone(snapshot));
        }
    }

    fn derived(&self, last: Option<&Snapshot>, sample: Arc<Sample>) -> Arc<Snapshot> {
        let limits = Arc::clone(&self.limits.borrow());
        Arc::new(derive(last, sample, &limits))
    }

    /// The time during which a sample is shown as fresh.
    fn fresh_for(&self) -> Duration {
        self.budget.max_age.max(3 * self.budget.interval).max(2 * self.sampler.plan().interval)
    }

    /// Waits until the next sample is due, and takes quick polls meanwhile.
    async fn wait(&mut self, started: Instant) {
        if self.failures > 0 {
            let due = started + retry_delay(self.failures, self.budget.interval);
            // After a long attempt there must be a pause as well.
            return sleep_until(due.max(Instant::now() + started.elapsed().min(self.budget.interval))).await;
        }
        let plan = self.sampler.plan();
        let rest = Instant::now() + started.elapsed().min(self.budget.interval);
        let mut due = (started + plan.interval).max(rest);
        // When a connection was closed, the next sample is taken as soon as a quarter of the load allows.
        let earliest = (started + (plan.min_interval * EARLY_SAMPLE_FACTOR).max(MIN_EARLY_INTERVAL)).max(rest);
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let quick_poll = self.budget.quick_poll.filter(|interval| *interval < left && !self.relies_on_remote());
            if let Some(valid_for) = self.wait_or_receive(quick_poll.unwrap_or(left)).await {
                due = Instant::now() + valid_for;
                continue;
            }
            if quick_poll.is_none() {
                return;
            }
            match self.sampler.quick_poll().await {
                Ok(result) => {
                    if let Some(sample) = result.sample {
                        self.add_new_clients(sample);
                    }
                    if result.sample_early {
                        due = due.min(earliest);
                    }
                }
                // The next sample shows whether only the link failed, or the node.
                Err(_) => due = due.min(earliest),
            }
        }
    }

    /// Publishes the last sample with new clients in it. The time at which it becomes stale stays the same.
    fn add_new_clients(&mut self, sample: Sample) {
        if let Phase::Fresh { snapshot, stale_at } = &self.state.phase {
            let phase = Phase::Fresh { snapshot: self.derived(Some(snapshot), Arc::new(sample)), stale_at: *stale_at };
            self.state.phase = phase;
            self.publish();
        }
    }

    /// Logs when the plan enters or leaves the budget.
    fn log_plan(&mut self) {
        let node = &*self.state.node;
        if let Some(failure) = self.sampler.no_pages()
            && !self.logged_no_pages
        {
            self.logged_no_pages = true;
            warn!(node, "clients cannot be listed in pages, so each sample is one full listing: {failure}");
        }
        let plan = self.sampler.plan();
        if plan.within_budget != self.within_budget {
            self.within_budget = plan.within_budget;
            let (longest_command_us, interval_s) = (plan.longest_command.as_micros() as u64, plan.interval.as_secs());
            let load = format!("{:.2}%", plan.load * 100.0);
            match plan.within_budget {
                true => info!(node, longest_command_us, load, interval_s, "sampling is within budget again"),
                false => warn!(
                    node,
                    longest_command_us,
                    load,
                    interval_s,
                    "sampling exceeds its budget: --sample.max-stall and --sample.max-load cannot both be kept within \
                    --sample.max-age; the plan with the least excess is used; to change that, raise one of the three"
                ),
            }
        }
    }

    fn succeeded(&mut self, snapshot: &Snapshot) {
        self.failures = 0;
        self.state.tally.add_snapshot(snapshot);
        let node = &*self.state.node;
        match &self.state.phase {
            Phase::Starting => info!(node, version = version(snapshot), "watching"),
            Phase::Failing { .. } => info!(node, version = version(snapshot), "watching again"),
            Phase::Fresh { .. } => {}
        }
        let refused: Vec<_> = snapshot.refused().cloned().collect();
        if refused != self.refused {
            for failure in &refused {
                warn!(node, reason = failure.reason.label(), "some metrics are missing: {failure}");
            }
            if refused.is_empty() {
                info!(node, "the node no longer refuses any command");
            }
            self.refused = refused;
        }
        let unreadable = snapshot.sample.unreadable.total();
        if unreadable > 0 && !self.seen_unreadable {
            self.seen_unreadable = true;
            warn!(
                node,
                lines = unreadable,
                "CLIENT LIST has lines that cannot be parsed; these clients are missing; further ones are only counted \
                in redis_clients_unreadable_lines_total"
            );
        }
    }

    fn failed(&mut self, failure: Failure, last_good: Option<Arc<Snapshot>>) -> Phase {
        self.failures += 1;
        self.state.tally.add_failure(&failure);
        let (since, known) = match &self.state.phase {
            Phase::Failing { since, failure: before, .. } => (*since, before.reason == failure.reason),
            Phase::Starting | Phase::Fresh { .. } => (clock::now(), false),
        };
        if !known {
            warn!(node = &*self.state.node, reason = failure.reason.label(), "cannot sample: {failure}");
        }
        Phase::Failing { failure, since, last_good }
    }
}

async fn sleep_until(time: Instant) {
    tokio::time::sleep_until(time.into()).await;
}

/// The delay before the next attempt after this number of failures in a row.
fn retry_delay(failures: u32, interval: Duration) -> Duration {
    match failures {
        0 => interval,
        failures => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(interval),
    }
}

fn version(snapshot: &Snapshot) -> String {
    let info = snapshot.info();
    let version = info.and_then(|info| info.version.as_deref()).unwrap_or("of unknown version");
    format!("{} {version}", info.map_or("a server", |info| info.product.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_double_up_to_the_sample_interval() {
        let interval = Duration::from_secs(10);
        let delays = [0, 1, 2, 3, 6, 7, 1000].map(|failures| retry_delay(failures, interval).as_millis());
        assert_eq!(delays, [10_000, 250, 500, 1000, 8000, 10_000, 10_000]);
        let short = Duration::from_millis(100);
        assert_eq!(retry_delay(1, short), short, "never later than the next sample is due");
    }
}
