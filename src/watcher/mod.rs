//! Watches one node in an endless loop: takes a sample, derives a snapshot, publishes it to the outputs, and waits.
//!
//! `schedule` decides when to sample and when to take a quick poll, `notices` logs changes, and `remote` uses the
//! statuses that other exporters announce.

mod announced;
mod notices;
mod remote;
mod schedule;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::backoff::Backoff;
use crate::clock;
use crate::exposition::shared_limits;
use crate::failure::{Failure, Reason};
use crate::latest::{ChannelTally, NodeState, Phase, Publication, Publisher};
use crate::link::{Admission, LinkPurpose, Node};
use crate::sample::Sample;
use crate::sampler::{Budget, Sampler};
use crate::snapshot::{HOLD_STEP, Limits, Snapshot, derive};

use notices::Notices;
use schedule::{Attempt, NextStep, Schedule};

pub use remote::{ReceivedQueue, RemoteSource, RemoteUse};

/// The delay after the first failure. Each further failure doubles it, up to the time between samples.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// Watches one node.
#[derive(Debug)]
pub struct Watcher {
    sampler: Sampler,
    budget: Budget,
    remote_source: RemoteSource,
    limits: watch::Receiver<Arc<Limits>>,
    publisher: Publisher,
    state: NodeState,
    backoff: Backoff,
    notices: Notices,
    admission: Arc<Admission>,
    /// The time of the next step towards showing the totals of new applications.
    release_at: Instant,
}

impl Watcher {
    /// A watcher that continues from the publisher's state.
    pub fn new(node: Node, budget: Budget, limits: watch::Receiver<Arc<Limits>>, publisher: Publisher) -> Self {
        Self {
            notices: Notices::new(Arc::clone(&node.name)),
            admission: Arc::clone(&node.admission),
            sampler: Sampler::new(node, budget),
            budget,
            remote_source: RemoteSource::Off,
            limits,
            state: publisher.state(),
            publisher,
            backoff: Backoff::new(FIRST_RETRY, budget.interval),
            release_at: Instant::now(),
        }
    }

    /// Sets how statuses that others announce are used.
    pub fn remote_source(mut self, remote_source: RemoteSource) -> Self {
        self.remote_source = remote_source;
        self
    }

    /// Adds a subscriber to the snapshots. `name` is a metric's label value.
    pub fn subscribe(&mut self, name: &'static str, queue: mpsc::Sender<Publication>) {
        self.publisher.subscribe(self.state.subscriber(name), queue);
    }

    /// The counter to which other parts of this program add their cost to the node, in microseconds.
    pub fn spent(&self) -> Arc<AtomicU64> {
        self.sampler.spent()
    }

    /// The counts of messages announced and received on the node's channel.
    pub fn channel(&self) -> Arc<ChannelTally> {
        Arc::clone(&self.state.channel)
    }

    /// Watches until it is dropped. It can be dropped at any time.
    pub async fn run(mut self) {
        if let RemoteSource::Only { .. } = self.remote_source {
            return self.receive_only().await;
        }
        loop {
            let started = Instant::now();
            let schedule = self.sample(started).await;
            self.wait(schedule).await;
        }
    }

    /// Takes a sample, publishes the result, and returns when the next one is due.
    async fn sample(&mut self, started: Instant) -> Schedule {
        let result = self.sampler.sample().await;
        let attempt = Attempt { started, ended: Instant::now() };
        match result {
            Ok(sample) => {
                self.take(Arc::new(sample), attempt.ended + self.fresh_for());
                let plan = self.sampler.plan();
                self.notices.planned(&plan, self.sampler.no_pages());
                Schedule::after_sample(attempt, &plan, self.budget.interval)
            }
            Err(failure) => {
                self.fail(failure);
                self.retry(attempt)
            }
        }
    }

    /// The time of the next attempt after one that failed.
    fn retry(&mut self, attempt: Attempt) -> Schedule {
        let schedule = Schedule::after_failure(attempt, self.backoff.fail(), self.budget.interval);
        self.admission.due(LinkPurpose::Sampling).map_or(schedule, |due| schedule.not_before(due))
    }

    /// Publishes a sample that is fresh until `stale_at`.
    fn take(&mut self, sample: Arc<Sample>, stale_at: Instant) {
        let snapshot = self.derived(sample);
        self.backoff.succeed();
        self.notices.succeeded(&self.state.phase, &snapshot);
        self.state.succeed(Arc::clone(&snapshot), stale_at);
        self.publisher.publish_snapshot(&self.state, &snapshot, clock::now());
    }

    fn fail(&mut self, failure: Failure) {
        self.notices.failed(&self.state.phase, &failure);
        self.state.fail(failure, clock::now());
        self.publisher.publish(&self.state, clock::now());
    }

    fn derived(&mut self, sample: Arc<Sample>) -> Arc<Snapshot> {
        self.release_held();
        let limits = shared_limits(&self.limits.borrow(), self.publisher.node_count()).of_node(&self.state.node);
        Arc::new(derive(self.state.last_snapshot().map(|last| &**last), sample, &limits))
    }

    /// Comes closer to showing the totals of new applications, if it is time.
    fn release_held(&mut self) {
        if Instant::now() < self.release_at {
            return;
        }
        self.release_at = Instant::now() + HOLD_STEP;
        if let Phase::Fresh { snapshot, stale_at } = &self.state.phase
            && let (Some(released), stale_at) = (snapshot.release_held(), *stale_at)
        {
            self.state.replace(Arc::new(released), stale_at);
            self.publisher.publish(&self.state, clock::now());
        }
    }

    /// The time during which a sample is shown as fresh.
    fn fresh_for(&self) -> Duration {
        self.budget.max_age.max(3 * self.budget.interval).max(2 * self.sampler.plan().interval)
    }

    /// Waits until the next sample is due, and takes quick polls meanwhile.
    async fn wait(&mut self, mut schedule: Schedule) {
        loop {
            let is_failing = self.backoff.is_failing();
            // While the node fails, or another exporter samples it, there is nothing to poll.
            let quick_poll = self.budget.quick_poll.filter(|_| !is_failing && !self.relies_on_remote());
            self.release_held();
            let (pause, then_poll) = match schedule.next(Instant::now(), quick_poll) {
                NextStep::Sample => return,
                NextStep::Wait(pause) => (pause.min(HOLD_STEP), false),
                NextStep::QuickPoll(pause) => (pause, true),
            };
            if is_failing {
                // A status that waited in the queue must not hide the failure.
                tokio::time::sleep(pause).await;
            } else if let Some(valid_for) = self.wait_or_receive(pause).await {
                schedule.sample_at(Instant::now() + valid_for);
            } else if then_poll {
                match self.quick_poll().await {
                    Ok(true) => schedule.sample_early(),
                    Ok(false) => {}
                    Err(failure) => schedule = self.retry_after(failure),
                }
            }
        }
    }

    /// Takes a quick poll. Returns true if the next sample must be early.
    ///
    /// # Errors
    /// The node does not answer anymore.
    async fn quick_poll(&mut self) -> Result<bool, Failure> {
        match self.sampler.quick_poll().await {
            Ok(poll) => {
                if let Some(sample) = poll.sample {
                    self.add_new_clients(sample);
                }
                Ok(poll.sample_early)
            }
            Err(failure) if failure.reason == Reason::Timeout => Err(failure),
            // Only the link failed, if a new one can be opened. Otherwise the node is down, however long the load that
            // samples may cause delays the next one.
            Err(_) => self.sampler.reconnect().await.map(|()| true),
        }
    }

    /// Publishes a failure that ended just now, and returns when to try again.
    fn retry_after(&mut self, failure: Failure) -> Schedule {
        let now = Instant::now();
        self.fail(failure);
        self.retry(Attempt { started: now, ended: now })
    }

    /// Publishes the last sample with new clients in it. The time at which it becomes stale stays the same.
    fn add_new_clients(&mut self, sample: Sample) {
        if let Phase::Fresh { stale_at, .. } = self.state.phase {
            let snapshot = self.derived(Arc::new(sample));
            self.state.replace(Arc::clone(&snapshot), stale_at);
            self.publisher.publish_snapshot(&self.state, &snapshot, clock::now());
        }
    }
}
