//! Watches one node: takes a sample, derives a snapshot, puts it where outputs find it, waits, and so on for ever. While it
//! waits it looks who came.
//! A failure is retried sooner than the next sample is due, ever less often, and logged when it is news.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::announce::Heard;
use crate::clock;
use crate::latest::{ChannelTally, Latest, NodeState, Phase};
use crate::link::Target;
use crate::sample::{Failure, Reason, Sample, Source};
use crate::sampler::{Budget, Sampler};
use crate::snapshot::{Limits, Snapshot, derive, spelled_out};

/// The first pause after a failure. Each further failure doubles it, up to the time between samples.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// The shortest time between two samples when somebody left.
const HURRY: Duration = Duration::from_secs(1);

/// The part of the load that samples may use that come early because somebody left. Where somebody always leaves, they would
/// use all of it.
const HURRIED_PART: u32 = 4;

/// Whether statuses that others announce are used.
#[derive(Debug)]
pub enum Hearing {
    /// They are not.
    Deaf,
    /// Instead of our own samples, as long as they are whole, signed, and of the same server.
    Instead(Heards),
    /// We never sample.
    Only {
        /// What is heard.
        heard: Heards,
        /// The node to hear of, where several are announced.
        node: Option<String>,
    },
}

/// What is heard of a node, and failures to listen.
type Heards = mpsc::Receiver<Result<Heard, Failure>>;

/// For how many times the frequency that another announced we wait for his next status.
const PATIENCE: f64 = 2.5;

/// Watches one node. Its state lies at one place of the shared ones.
#[derive(Debug)]
pub struct Watcher {
    node: Arc<str>,
    sampler: Sampler,
    budget: Budget,
    hearing: Hearing,
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
            node: target.node(),
            sampler: Sampler::new(target, budget),
            budget,
            hearing: Hearing::Deaf,
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
    pub fn hearing(mut self, hearing: Hearing) -> Self {
        self.hearing = hearing;
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
        if let Hearing::Only { .. } = self.hearing {
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
                let snapshot = self.derived(last.as_deref(), sample);
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
        self.latest.publish(self.place, self.state.clone());
        if let (Phase::Fresh { snapshot, .. }, Some(announcements)) = (&self.state.phase, &self.announcements) {
            // An announcer that is so busy misses one; the next tells all there is to tell.
            let _ = announcements.try_send(Arc::clone(snapshot));
        }
    }

    fn derived(&self, last: Option<&Snapshot>, sample: Sample) -> Arc<Snapshot> {
        let limits = Arc::clone(&self.limits.borrow());
        Arc::new(derive(last, Arc::new(sample), &limits))
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
            let look = self.budget.look.filter(|look| *look < left && !self.relies_on_another());
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

    /// Whether what is shown is what another told.
    fn relies_on_another(&self) -> bool {
        self.state.last_snapshot().is_some_and(|snapshot| snapshot.sample.source != Source::Sampled)
    }

    /// Shows a sample that was added to since it was taken; when it gets too old depends on when it was taken.
    fn add_newcomers(&mut self, sample: Sample) {
        if let Phase::Fresh { snapshot, stale_at } = &self.state.phase {
            let phase = Phase::Fresh { snapshot: self.derived(Some(snapshot), sample), stale_at: *stale_at };
            self.state.phase = phase;
            self.publish();
        }
    }

    /// Hears others for ever, and shows what they tell.
    async fn listen(mut self) {
        let mut announced = Announced::default();
        let patience = self.budget.every.mul_f64(PATIENCE) + HURRY;
        // What others say of other nodes is no sign that anybody will speak of ours.
        let mut silent_at = Instant::now() + patience;
        loop {
            let Hearing::Only { heard, node } = &mut self.hearing else { return };
            let wanted = node.clone();
            let failure = match tokio::time::timeout_at(silent_at.into(), heard.recv()).await {
                Ok(None) => return,
                Ok(Some(Ok(Heard::Status { header, .. }))) if wanted.is_some_and(|wanted| wanted != header.node) => {
                    continue;
                }
                Ok(Some(Ok(Heard::Status { header, sample, .. }))) => {
                    announced.add(&header.run_id, &header.node, Instant::now());
                    match announced.several() {
                        Some(names) => ambiguous(&self.node, &names),
                        None => {
                            if self.is_news(&sample) {
                                self.take_heard(&sample, header.frequency);
                            }
                            silent_at = Instant::now() + patience.max(self.patience());
                            continue;
                        }
                    }
                }
                Ok(Some(Ok(Heard::Life { header, .. }))) => {
                    // While a sample takes long, that the same announcer is there keeps the last one good for a while.
                    if self.stay_fresh(&header.run_id, header.frequency) {
                        silent_at = Instant::now() + patience.max(self.patience());
                    }
                    continue;
                }
                Ok(Some(Err(failure))) => failure,
                Err(_) => silence(&self.node),
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

    fn take_heard(&mut self, sample: &Arc<Sample>, frequency: f64) {
        let last = self.state.last_snapshot().cloned();
        let limits = Arc::clone(&self.limits.borrow());
        let snapshot = Arc::new(derive(last.as_deref(), Arc::clone(sample), &limits));
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
    fn is_news(&self, sample: &Sample) -> bool {
        let run = |sample: &Sample| sample.info.as_ref().ok().and_then(|info| info.run_id.clone());
        self.state.last_snapshot().is_none_or(|last| run(&last.sample) != run(sample) || sample.at > last.sample.at)
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

    /// Waits so long, or until a status is heard that replaces our own sample; gives how long the next one may take.
    async fn wait_or_hear(&mut self, pause: Duration) -> Option<Duration> {
        let until = Instant::now() + pause;
        loop {
            let Hearing::Instead(heard) = &mut self.hearing else {
                sleep_until(until).await;
                return None;
            };
            let Ok(heard) = tokio::time::timeout_at(until.into(), heard.recv()).await else { return None };
            let Some(heard) = heard else {
                self.hearing = Hearing::Deaf;
                continue;
            };
            let ours = self.state.last_snapshot().and_then(|snapshot| snapshot.info()?.run_id.clone());
            if let Ok(Heard::Status { header, sample, signed: true }) = heard
                && ours.as_ref() == Some(&header.run_id)
                && !sample.is_truncated()
                && self.is_news(&sample)
            {
                self.take_heard(&sample, header.frequency);
                return Duration::try_from_secs_f64(header.frequency * PATIENCE)
                    .ok()
                    .map(|told| told.min(self.good_for(header.frequency)));
            }
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
const MOST_NODES: usize = 100;

impl Announced {
    /// Notes that a node is announced.
    fn add(&mut self, run_id: &str, name: &str, now: Instant) {
        self.0.retain(|_, node| now.duration_since(node.at) < LONG_AGO);
        if !self.0.contains_key(run_id) {
            self.0.values_mut().filter(|node| node.name == name).for_each(|node| node.is_over = true);
        }
        if self.0.len() < MOST_NODES || self.0.contains_key(run_id) {
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
    let told: Vec<_> = distinct.iter().map(|node| spelled_out(node.as_bytes())).take(10).collect();
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
