//! Watches one node: takes a sample, derives a snapshot, puts it where outputs find it, waits, and so on for ever. While it
//! waits it looks who came, or hears what others announce (`remote_source`).
//!
//! A failure is retried sooner than the next sample is due, ever less often, and logged when it is news.

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

/// The first pause after a failure. Each further failure doubles it, up to the time between samples.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// The shortest time between two samples when somebody left.
const HURRY: Duration = Duration::from_secs(1);

/// The part of the load that samples may use that come early because somebody left. Where somebody always leaves, they would
/// use all of it.
const HURRIED_PART: u32 = 4;

/// Watches one node. Its state lies at one place of the shared ones.
#[derive(Debug)]
pub struct Watcher {
    sampler: Sampler,
    budget: Budget,
    remote_source: RemoteSource,
    /// Where snapshots are taken to be announced, if they are.
    announcements: Option<mpsc::Sender<Arc<Snapshot>>>,
    limits: watch::Receiver<Arc<Limits>>,
    latest: Arc<Latest>,
    place: usize,
    state: NodeState,
    /// Failures in a row.
    failures: u32,
    /// What the node refused at the last sample, so that only news is logged.
    refused: Vec<Failure>,
    seen_unreadable: bool,
    told_no_pages: bool,
    /// Whether the plan kept both promises when it was last told.
    within: bool,
}

impl Watcher {
    /// A watcher of the node whose state lies at `place`.
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
            told_no_pages: false,
            within: true,
        }
    }

    /// Uses what others announce.
    pub fn remote_source(mut self, remote_source: RemoteSource) -> Self {
        self.remote_source = remote_source;
        self
    }

    /// Hands each snapshot on to be announced.
    pub fn announcing(mut self, announcements: mpsc::Sender<Arc<Snapshot>>) -> Self {
        self.announcements = Some(announcements);
        self
    }

    /// Where others of us note what they cost the node, in microseconds.
    pub fn spent(&self) -> Arc<AtomicU64> {
        self.sampler.spent()
    }

    /// What is announced and heard on the node's channel.
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

    /// Shows the state to all outputs.
    fn publish(&mut self) {
        self.state.remember();
        self.latest.publish(self.place, self.state.clone());
        if let (Phase::Fresh { snapshot, .. }, Some(announcements)) = (&self.state.phase, &self.announcements) {
            // An announcer that is so busy misses one; the next tells all there is to tell.
            let _ = announcements.try_send(Arc::clone(snapshot));
        }
    }

    fn derived(&self, last: Option<&Snapshot>, sample: Arc<Sample>) -> Arc<Snapshot> {
        let limits = Arc::clone(&self.limits.borrow());
        Arc::new(derive(last, sample, &limits))
    }

    /// How long a sample may be shown as fresh: nothing newer may be had sooner.
    fn fresh_for(&self) -> Duration {
        self.budget.max_age.max(3 * self.budget.every).max(2 * self.sampler.plan().every)
    }

    /// Waits until the next sample is due, and looks now and then whether anybody came or went meanwhile.
    async fn wait(&mut self, started: Instant) {
        if self.failures > 0 {
            let due = started + pause(self.failures, self.budget.every);
            // An attempt that took long must not be followed by the next without a rest.
            return sleep_until(due.max(Instant::now() + started.elapsed().min(self.budget.every))).await;
        }
        let plan = self.sampler.plan();
        let rest = Instant::now() + started.elapsed().min(self.budget.every);
        let mut due = (started + plan.every).max(rest);
        // When somebody left, the next sample comes as soon as a part of the load allows.
        let soonest = (started + (plan.least * HURRIED_PART).max(HURRY)).max(rest);
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let look = self.budget.look.filter(|look| *look < left && !self.relies_on_remote());
            if let Some(patience) = self.wait_or_hear(look.unwrap_or(left)).await {
                due = Instant::now() + patience;
                continue;
            }
            if look.is_none() {
                return;
            }
            match self.sampler.look().await {
                Ok(look) => {
                    if let Some(sample) = look.sample {
                        self.add_newcomers(sample);
                    }
                    if look.hurry {
                        due = due.min(soonest);
                    }
                }
                // The next sample tells whether it was more than a link.
                Err(_) => due = due.min(soonest),
            }
        }
    }

    /// Shows a sample that was added to since it was taken; when it gets too old depends on when it was taken.
    fn add_newcomers(&mut self, sample: Sample) {
        if let Phase::Fresh { snapshot, stale_at } = &self.state.phase {
            let phase = Phase::Fresh { snapshot: self.derived(Some(snapshot), Arc::new(sample)), stale_at: *stale_at };
            self.state.phase = phase;
            self.publish();
        }
    }

    /// Logs when the way of listing changes for better or worse.
    fn log_plan(&mut self) {
        let node = &*self.state.node;
        if let Some(failure) = self.sampler.no_pages()
            && !self.told_no_pages
        {
            self.told_no_pages = true;
            warn!(node, "clients cannot be listed in pages, so each sample is one full listing: {failure}");
        }
        let plan = self.sampler.plan();
        if plan.within != self.within {
            self.within = plan.within;
            let (stall, load) = (plan.stall.as_micros() as u64, format!("{:.2}%", plan.load * 100.0));
            let every = plan.every.as_secs();
            match plan.within {
                true => info!(node, stall_us = stall, load, every_s = every, "both promises are kept again"),
                false => warn!(
                    node,
                    stall_us = stall,
                    load,
                    every_s = every,
                    "--sample.max-stall and --sample.max-load cannot both be kept within --sample.max-age; the least harmful way is taken"
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
                warn!(node, reason = failure.reason.label(), "part of the metrics is missing: {failure}");
            }
            if refused.is_empty() {
                info!(node, "nothing is refused any more");
            }
            self.refused = refused;
        }
        let unreadable = snapshot.sample.unreadable.total();
        if unreadable > 0 && !self.seen_unreadable {
            self.seen_unreadable = true;
            warn!(node, lines = unreadable, "some lines of CLIENT LIST cannot be read; see unreadable_lines_total");
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

/// How long to wait for the next attempt after so many failures in a row.
fn pause(failures: u32, every: Duration) -> Duration {
    match failures {
        0 => every,
        failures => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(every),
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
    fn retries_come_ever_less_often_up_to_the_frequency() {
        let every = Duration::from_secs(10);
        let pauses = [0, 1, 2, 3, 6, 7, 1000].map(|failures| pause(failures, every).as_millis());
        assert_eq!(pauses, [10_000, 250, 500, 1000, 8000, 10_000, 10_000]);
        assert_eq!(
            pause(1, Duration::from_millis(100)),
            Duration::from_millis(100),
            "never later than a sample is due"
        );
    }
}
