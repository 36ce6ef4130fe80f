//! Watches one node: takes a sample, derives a snapshot, puts it where outputs find it, waits, and so on for ever.
//! A failure is retried sooner than the next sample is due, ever less often, and logged when it is news.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::clock;
use crate::latest::{Latest, NodeState, Phase};
use crate::sample::Failure;
use crate::sampler::Sampler;
use crate::snapshot::{Limits, Snapshot, derive};

/// The first pause after a failure. Each further failure doubles it, up to the time between samples.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// The oldest answer that is shown as fresh, unless three sampling intervals are longer.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Watches one node. Its state lies at one place of the shared ones.
#[derive(Debug)]
pub struct Watcher {
    sampler: Sampler,
    limits: Arc<Limits>,
    latest: Arc<Latest>,
    place: usize,
    state: NodeState,
    /// Failures in a row.
    failures: u32,
    /// What the node refused at the last sample, so that only news is logged.
    refused: Vec<Failure>,
    seen_unreadable: bool,
}

impl Watcher {
    /// A watcher of the node whose state lies at `place`.
    pub fn new(sampler: Sampler, limits: Arc<Limits>, latest: Arc<Latest>, place: usize) -> Self {
        let state = NodeState::clone(&latest.read().nodes[place]);
        Self { sampler, limits, latest, place, state, failures: 0, refused: Vec::new(), seen_unreadable: false }
    }

    /// Watches until it is dropped.
    pub async fn run(mut self) {
        loop {
            let started = tokio::time::Instant::now();
            self.step().await;
            let due = started + pause(self.failures, self.limits.budget.every);
            // A sample that took longer than the time between two must not leave the server without a rest.
            let rest = started.elapsed().min(self.limits.budget.every);
            tokio::time::sleep_until(due.max(tokio::time::Instant::now() + rest)).await;
        }
    }

    async fn step(&mut self) {
        let last = self.state.last_snapshot().cloned();
        self.state.phase = match self.sampler.sample().await {
            Ok(sample) => {
                let snapshot = Arc::new(derive(last.as_deref(), Arc::new(sample), &self.limits));
                self.succeeded(&snapshot);
                let stale_at = Instant::now() + MAX_AGE.max(3 * self.limits.budget.every);
                Phase::Fresh { snapshot, stale_at }
            }
            Err(failure) => self.failed(failure, last),
        };
        self.latest.publish(self.place, self.state.clone());
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
        let unreadable = snapshot.listing().map_or(0, |listing| listing.unreadable().total());
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
