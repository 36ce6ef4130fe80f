//! Takes samples of one node over one persistent link, within the operator's budget: how long one of our commands may
//! block the main thread, and the share of main-thread time that all of them may use.
//!
//! `sweep` lists all clients in pages, `id_tracker` knows the ids to list, `meter` measures the cost, `cost` learns
//! from the measurements, and `plan` chooses page size and interval by it. Between sweeps a quick poll detects opened
//! and closed connections.

mod budget;
mod cost;
mod id_tracker;
mod listing_limits;
mod meter;
mod plan;
#[cfg(test)]
mod scripted;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::failure::{Failure, Reason};
use crate::link::{Link, Node};
use crate::sample::{OwnConnections, Pages, Sample, SampleCondition};
use crate::server_info::ServerInfo;

pub use budget::Budget;
pub use cost::Costs;
pub use plan::{ListMethod, Plan};

use id_tracker::{IdTracker, NewIds};
use listing_limits::ListingLimits;
use meter::Meter;
use sweep::Sweep;

/// The shortest time between two full listings that are taken because clients are missing, at first and if that does
/// not help.
const RESYNC_INTERVAL: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// Maximum number of new ids that a quick poll lists. If there are more, the next sweep is taken earlier instead.
const MAX_PER_QUICK_POLL: u64 = 1000;

/// The state about a server that is kept from one sample to the next.
#[derive(Debug, Default)]
struct Knowledge {
    run_id: Option<String>,
    /// True if the server of `run_id` is known.
    is_identified: bool,
    /// True if it was sampled once.
    swept_once: bool,
    uptime_seconds: Option<u64>,
    /// The rows of the last sample. Those of clients that cannot be listed are kept.
    rows: Pages,
    /// The ids of its clients; `None` if the server does not report the id of our link.
    tracker: Option<IdTracker>,
    costs: Costs,
    meter: Meter,
    /// The reason why clients cannot be listed by id.
    no_pages: Option<Failure>,
    /// The number of ids in the largest page so far.
    max_page: usize,
    /// True if all clients were listed in pages once since the server started.
    swept: bool,
    /// True if the next sweep must be a full listing.
    full_listing_next: bool,
    /// Connections that were opened during the last sweep.
    opened_during_sweep: u64,
    /// The recent share of main-thread time of quick polls.
    quick_poll_load: f64,
    /// The recent share of main-thread time of announcing.
    announce_load: f64,
    /// The listings that failed.
    limits: ListingLimits,
    /// The full listings that are taken because clients are missing.
    resync: Resync,
    /// True if the ids of clients are in no order.
    is_unordered: bool,
}

/// The schedule of full listings that are taken because clients are missing.
#[derive(Debug)]
struct Resync {
    backoff: Backoff,
    next: Option<tokio::time::Instant>,
}

impl Default for Resync {
    fn default() -> Self {
        Self { backoff: Backoff::new(RESYNC_INTERVAL.0, RESYNC_INTERVAL.1), next: None }
    }
}

impl Resync {
    fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next <= tokio::time::Instant::now())
    }

    fn begin(&mut self) {
        self.next = Some(tokio::time::Instant::now() + self.backoff.fail());
    }

    /// Notes that no client is missing.
    fn succeeded(&mut self) {
        self.backoff.succeed();
    }
}

/// The result of the last sweep. Quick polls add new clients to it.
#[derive(Debug)]
struct LastSweep {
    sample: Sample,
    read_at: Instant,
    /// The number of pages of the sweep itself, without those that quick polls added.
    pages: usize,
    /// The highest id that the sweep settled.
    bound: u64,
    /// Main-thread time of the quick polls since the sweep.
    quick_poll_time: Duration,
}

impl LastSweep {
    /// The `connected_clients` of `INFO` as long as no connection is closed. It excludes replicas, which are listed.
    fn expected(&self) -> Option<i64> {
        let listed = self.sample.clients.as_ref().ok()?.len() as i64;
        Some(listed + self.sample.cost.drift? - self.replicas()?)
    }

    fn replicas(&self) -> Option<i64> {
        let clients = self.sample.clients.as_ref().ok()?.clients();
        Some(clients.filter(|(_, client)| sweep::is_replica(client)).count() as i64)
    }
}

/// The result of a quick poll.
#[derive(Debug)]
pub struct QuickPoll {
    /// The last sample together with the clients that connected since, if there are any.
    pub sample: Option<Sample>,
    /// True if the next sweep should be taken early: a connection was closed, or too many were opened.
    pub sample_early: bool,
}

/// Takes samples of one node.
#[derive(Debug)]
pub struct Sampler {
    node: Node,
    budget: Budget,
    link: Option<Link>,
    known: Knowledge,
    last: Option<LastSweep>,
    /// Main-thread time of announcing, in microseconds, that is not yet counted into the load.
    spent: Arc<AtomicU64>,
    charged_at: Option<Instant>,
}

impl Sampler {
    /// A sampler that connects when it takes the first sample.
    pub fn new(node: Node, budget: Budget) -> Self {
        let (link, known, last) = (None, Knowledge::default(), None);
        Self { node, budget, link, known, last, spent: Arc::default(), charged_at: None }
    }

    /// The counter to which other parts of this program add their cost to the node, in microseconds. It is counted into
    /// the same load.
    pub fn spent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.spent)
    }

    /// Adds the cost of other parts of this program since the last sample.
    fn charge(&mut self) {
        let spent = Duration::from_micros(self.spent.swap(0, Ordering::Relaxed));
        let since = self.charged_at.replace(Instant::now()).map(|at| at.elapsed());
        self.known.announce_load = since.map_or(0.0, |since| spent.as_secs_f64() / since.as_secs_f64().max(1.0));
        self.known.meter.charge(spent);
    }

    /// Takes a sample of all clients, over the existing link or a new one.
    ///
    /// # Errors
    /// The node could not be reached, did not answer, or refused both `INFO` and `CLIENT LIST`. If it refused only one
    /// of them, the sample holds the refusal.
    pub async fn sample(&mut self) -> Result<Sample, Failure> {
        self.last = None;
        // Taken out, so that a link that failed, or whose sample was cancelled, is never used again.
        if let Some(link) = self.link.take() {
            match self.sweep(link).await {
                // The server may have closed the idle link (its option `timeout`) or restarted. Only a failure of the
                // new link is reported.
                Err(failure) if failure.reason == Reason::Closed => {}
                result => return result,
            }
        }
        let link = self.dial().await?;
        let result = self.sweep(link).await;
        result.map_err(|failure| Link::explain(&self.node.name, failure))
    }

    async fn sweep(&mut self, mut link: Link) -> Result<Sample, Failure> {
        let read_at = Instant::now();
        self.charge();
        let sample = Sweep::new(&mut link, &self.node, &mut self.known, self.budget).run().await?;
        self.link = Some(link);
        // Decays slowly, because the load of quick polls may rise again.
        self.known.quick_poll_load *= 0.8;
        if let Ok(pages) = &sample.clients {
            self.known.rows = pages.clone();
        }
        self.last = Some(LastSweep {
            pages: sample.clients.as_ref().map_or(0, |pages| pages.count()),
            bound: self.known.tracker.as_ref().map_or(0, IdTracker::bound),
            quick_poll_time: Duration::ZERO,
            sample: sample.clone(),
            read_at,
        });
        Ok(sample)
    }

    /// Checks whether connections were opened or closed since the last sample, and lists the new clients. Without new
    /// clients it costs the server two `INFO` sections, independent of the number of clients.
    ///
    /// # Errors
    /// The link failed. [`Sampler::reconnect`] shows whether the node did.
    pub async fn quick_poll(&mut self) -> Result<QuickPoll, Failure> {
        // In this order: without a sample, the link of `reconnect` stays for the next one.
        let Some(mut last) = self.last.take() else { return Ok(QuickPoll { sample: None, sample_early: true }) };
        let Some(mut link) = self.link.take() else { return Ok(QuickPoll { sample: None, sample_early: true }) };
        let own_counted = self.node.dials.answered();
        let text = sweep::request_changes(&mut link).await?;
        self.known.meter.estimate(self.known.costs.info_micros(), plan::QUICK_POLL_COMMANDS.len() as u32);
        let info = ServerInfo::parse(&text);
        let mut result = QuickPoll { sample: None, sample_early: false };
        let max_time = last.read_at.elapsed().mul_f64(self.budget.max_load / 2.0);
        match self.count_new_ids(&info) {
            0 => {}
            new_ids if new_ids > MAX_PER_QUICK_POLL => result.sample_early = true,
            // A later quick poll lists them, when the load allows.
            _ if last.quick_poll_time > max_time => {}
            _ => {
                self.add_new_clients(&mut link, &mut last, info.connections_received).await?;
                last.sample.own = self.node.dials.tally();
                last.sample.arrivals.uncounted_own = last.sample.own.opened.saturating_sub(own_counted);
                last.sample.arrivals.uncounted_clients = 0;
                if let Ok(info) = &mut last.sample.info {
                    info.update(&text);
                }
                result.sample_early |= self.known.limits.has_set_aside();
                last.sample.cost.server_time = self.known.meter.take_total();
                last.quick_poll_time += last.sample.cost.server_time.unwrap_or_default();
                result.sample = Some(last.sample.clone());
            }
        }
        if let (Some(connected), Some(expected)) = (info.connected_clients.map(|count| count as i64), last.expected()) {
            let has_no_pages = self.known.tracker.is_none() || self.known.no_pages.is_some();
            // With pages, all new clients were added; those that are still missing have other ids than expected.
            let are_missing = connected > expected && (has_no_pages || result.sample.is_some());
            result.sample_early |= connected < expected || are_missing;
        }
        let share = last.quick_poll_time.as_secs_f64() / last.read_at.elapsed().as_secs_f64().max(1.0);
        self.known.quick_poll_load = self.known.quick_poll_load.max(share).min(self.budget.max_load / 2.0);
        (self.link, self.last) = (Some(link), Some(last));
        Ok(result)
    }

    /// Opens a new link, which the next sample uses.
    ///
    /// # Errors
    /// The node cannot be reached, or does not accept us.
    pub async fn reconnect(&mut self) -> Result<(), Failure> {
        self.link = Some(self.dial().await?);
        Ok(())
    }

    async fn dial(&mut self) -> Result<Link, Failure> {
        // Earlier statistics may be from before a restart of the server.
        self.known.meter.restart();
        Link::dial(&self.node).await
    }

    /// The number of ids to list for finding the new clients; 0 where clients cannot be listed by id.
    fn count_new_ids(&self, info: &ServerInfo) -> u64 {
        let Some(tracker) = self.known.tracker.as_ref().filter(|_| self.known.no_pages.is_none()) else { return 0 };
        match tracker.new_ids(info.connections_received) {
            NewIds::Within { ids, .. } => ids.end() - ids.start() + 1,
            NewIds::None => 0,
            NewIds::Unknown => u64::MAX,
        }
    }

    /// Adds the clients that connected since the sweep, and are still connected, to its sample.
    async fn add_new_clients(
        &mut self,
        link: &mut Link,
        last: &mut LastSweep,
        received: Option<u64>,
    ) -> Result<(), Failure> {
        let earlier: Vec<u64> = self.known.tracker.iter().flat_map(|tracker| tracker.known_above(last.bound)).collect();
        let mut sweep = Sweep::new(link, &self.node, &mut self.known, self.budget);
        sweep.list_new_clients(received, &earlier).await?;
        let is_incomplete = !sweep.is_settled();
        let own_ids = sweep.own_ids();
        let (found, unreadable) = sweep.into_pages();
        last.sample.own_ids.extend(own_ids);
        last.sample.unreadable_ids = self.known.limits.skipped_ids().filter(|id| !self.known.rows_have(*id)).collect();
        last.sample.conditions.set(SampleCondition::ClientsUnreadable, self.known.limits.skipped() > 0);
        if let Ok(pages) = &mut last.sample.clients {
            pages.truncate(last.pages);
            pages.extend(found);
        }
        last.sample.unreadable = unreadable;
        last.sample.arrivals.is_incomplete = is_incomplete;
        self.known.rows = last.sample.clients.clone().unwrap_or_default();
        Ok(())
    }

    /// The plan for the next sample.
    pub fn plan(&self) -> Plan {
        let clients =
            self.last.as_ref().and_then(|last| last.sample.clients.as_ref().ok()).map_or(0, |pages| pages.len());
        self.known.plan(clients, self.budget)
    }

    /// The connections that this process opened to the node.
    pub fn own_connections(&self) -> OwnConnections {
        self.node.dials.tally()
    }

    /// The learned costs of the server.
    pub fn costs(&self) -> &Costs {
        &self.known.costs
    }

    /// The reason why clients cannot be listed by id, if they cannot.
    pub fn no_pages(&self) -> Option<&Failure> {
        self.known.no_pages.as_ref()
    }

    /// The link, after a sample was taken.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }
}
