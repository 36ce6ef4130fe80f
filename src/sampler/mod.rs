//! Takes samples of one node over one held link, within the two promises that the operator is given: how long one command
//! of ours may hold the server, and how much of its time all of them may use.
//!
//! `sweep` reads all clients in pages, `tracker` knows which ids to ask for, `meter` reads what that cost, `cost` learns from
//! it, `plan` decides by it. Between sweeps a quick look tells whether anybody came or went.

mod budget;
mod cost;
mod id_tracker;
mod meter;
mod plan;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::link::{Link, Target};
use crate::sample::{Failure, Reason, Sample};
use crate::server_info::ServerInfo;

pub use budget::Budget;
pub use cost::Costs;
pub use plan::{Plan, Way};

use id_tracker::{IdTracker, NewIds};
use meter::Meter;
use sweep::Sweep;

/// How often a lasting drift may be mended by a full listing.
const MEND_AT_MOST_EVERY: Duration = Duration::from_secs(300);

/// How many sweeps in a row have to drift before it counts as lasting.
const LASTING: u32 = 3;

/// The most newcomers that a quick look reads; more of them bring the next sweep forward instead.
const MAX_PER_QUICK_POLL: u64 = 1000;

/// What is known of a server from one sample to the next.
#[derive(Debug, Default)]
struct Knowledge {
    run_id: Option<String>,
    /// The ids of its clients; `None` where it does not tell ours.
    tracker: Option<IdTracker>,
    costs: Costs,
    meter: Meter,
    /// Why clients cannot be listed by ids.
    no_pages: Option<Failure>,
    /// The largest page that was asked for.
    largest: usize,
    /// Whether all clients of this run of the server were listed in pages once.
    swept: bool,
    /// The next sweep is to be a full listing.
    wants_full: bool,
    /// Connections that came while the last sweep was under way.
    came: u64,
    /// The share of main-thread time that quick looks used lately.
    looks: f64,
    /// The share of main-thread time that announcing used lately.
    announcing: f64,
    /// Sweeps in a row that drifted.
    drifting: u32,
    mended: Option<Instant>,
}

/// What the last sweep found, for quick looks to add to.
#[derive(Debug)]
struct LastSweep {
    sample: Sample,
    read: Instant,
    /// The pages of the sweep itself, without those of looks since.
    pages: usize,
    /// The highest id that was settled by it.
    bound: u64,
    /// What looks have used since.
    looked: Duration,
}

impl LastSweep {
    /// What `INFO` counts as long as nobody leaves: it leaves out replicas, which are listed.
    fn expected(&self) -> Option<i64> {
        let listed = self.sample.clients.as_ref().ok()?.len() as i64;
        Some(listed + self.sample.cost.drift? - self.replicas()?)
    }

    fn replicas(&self) -> Option<i64> {
        let clients = self.sample.clients.as_ref().ok()?.clients();
        Some(clients.filter(|(_, client)| sweep::is_replica(client)).count() as i64)
    }
}

/// What a quick look found.
#[derive(Debug)]
pub struct QuickPoll {
    /// The last sample with the newcomers in it, if there are any.
    pub sample: Option<Sample>,
    /// Whether the next sweep should not be waited for: somebody left, or too many came.
    pub hurry: bool,
}

/// Takes samples of one node.
#[derive(Debug)]
pub struct Sampler {
    target: Target,
    budget: Budget,
    link: Option<Link>,
    known: Knowledge,
    last: Option<LastSweep>,
    /// Main-thread time that announcing took, in microseconds, to be counted as ours.
    spent: Arc<AtomicU64>,
    charged: Option<Instant>,
}

impl Sampler {
    /// A sampler that connects when it is first asked for a sample.
    pub fn new(target: Target, budget: Budget) -> Self {
        let (link, known, last) = (None, Knowledge::default(), None);
        Self { target, budget, link, known, last, spent: Arc::default(), charged: None }
    }

    /// Where others of us note what they cost the node, in microseconds: it is counted into the same load.
    pub fn spent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.spent)
    }

    /// Counts what others of us have cost since the last sample.
    fn charge(&mut self) {
        let spent = Duration::from_micros(self.spent.swap(0, Ordering::Relaxed));
        let since = self.charged.replace(Instant::now()).map(|charged| charged.elapsed());
        self.known.announcing = since.map_or(0.0, |since| spent.as_secs_f64() / since.as_secs_f64().max(1.0));
        self.known.meter.charge(spent);
    }

    /// Takes a sample of all clients, over the held link or a new one.
    ///
    /// # Errors
    /// The node could not be reached or did not answer. What it merely refuses is told in the sample, unless it
    /// refuses everything.
    pub async fn sample(&mut self) -> Result<Sample, Failure> {
        self.last = None;
        // Taken out, so that a link that failed half-way, or whose sample was given up, is never used again.
        if let Some(link) = self.link.take() {
            match self.sweep(link).await {
                // The server may close a link that was quiet for long (`timeout`), or restart: that is told by a new
                // link failing, not by the old one.
                Err(failure) if failure.reason == Reason::Closed => {}
                result => return result,
            }
        }
        // The statistics of another link's time, or of another run, are no beginning.
        self.known.meter.restart();
        let link = Link::dial(&self.target).await?;
        let node = self.target.node();
        self.sweep(link).await.map_err(|failure| Link::explain(&node, failure))
    }

    async fn sweep(&mut self, mut link: Link) -> Result<Sample, Failure> {
        let read = Instant::now();
        self.charge();
        let sample = Sweep::new(&mut link, &self.target, &mut self.known, self.budget).run().await?;
        self.link = Some(link);
        self.judge_drift(&sample);
        // What looks use is forgotten as slowly as it may come back.
        self.known.looks *= 0.8;
        self.last = Some(LastSweep {
            pages: sample.clients.as_ref().map_or(0, |pages| pages.count()),
            bound: self.known.tracker.as_ref().map_or(0, IdTracker::bound),
            looked: Duration::ZERO,
            sample: sample.clone(),
            read,
        });
        Ok(sample)
    }

    /// Looks whether anybody came or went since, and reads who came. Costs the server two `INFO`, at any size of the client_counts.
    ///
    /// # Errors
    /// The link broke. The next sample makes a new one.
    pub async fn look(&mut self) -> Result<QuickPoll, Failure> {
        let (Some(mut link), Some(mut last)) = (self.link.take(), self.last.take()) else {
            return Ok(QuickPoll { sample: None, hurry: true });
        };
        let text = sweep::ask_changes(&mut link).await?;
        self.known.meter.estimate(self.known.costs.info_micros(), plan::CHANGES.len() as u32);
        let info = ServerInfo::parse(&text);
        let mut look = QuickPoll { sample: None, hurry: false };
        match self.came(&info) {
            0 => {}
            came if came > MAX_PER_QUICK_POLL => look.hurry = true,
            // They are still there to be read at a later look, when the load allows.
            _ if last.looked.as_secs_f64() > last.read.elapsed().as_secs_f64() * self.budget.max_load / 2.0 => {}
            _ => {
                self.read_newcomers(&mut link, &mut last, info.connections_received).await?;
                if let Ok(told) = &mut last.sample.info {
                    told.update(&text);
                }
                last.sample.cost.server_time = self.known.meter.take_total();
                last.looked += last.sample.cost.server_time.unwrap_or_default();
                look.sample = Some(last.sample.clone());
            }
        }
        if let (Some(connected), Some(expected)) = (info.connected_clients.map(|count| count as i64), last.expected()) {
            let pageless = self.known.tracker.is_none() || self.known.no_pages.is_some();
            look.hurry |= connected < expected || pageless && connected > expected;
        }
        let share = last.looked.as_secs_f64() / last.read.elapsed().as_secs_f64().max(1.0);
        self.known.looks = self.known.looks.max(share).min(self.budget.max_load / 2.0);
        (self.link, self.last) = (Some(link), Some(last));
        Ok(look)
    }

    /// How many ids have to be asked for to read those who came; 0 where ids cannot be asked for.
    fn came(&self, info: &ServerInfo) -> u64 {
        let Some(tracker) = self.known.tracker.as_ref().filter(|_| self.known.no_pages.is_none()) else { return 0 };
        match tracker.newcomers(info.connections_received) {
            NewIds::Within { ids, .. } => ids.end() - ids.start() + 1,
            NewIds::None => 0,
            NewIds::Unknown => u64::MAX,
        }
    }

    /// Puts those who came since the sweep, and are still there, into its sample.
    async fn read_newcomers(
        &mut self,
        link: &mut Link,
        last: &mut LastSweep,
        received: Option<u64>,
    ) -> Result<(), Failure> {
        let earlier: Vec<u64> = self.known.tracker.iter().flat_map(|tracker| tracker.known_above(last.bound)).collect();
        let mut sweep = Sweep::new(link, &self.target, &mut self.known, self.budget).at(last.sample.at, last.read);
        sweep.ask_newcomers(received, &earlier).await?;
        let (found, unreadable) = sweep.into_pages();
        if let Ok(pages) = &mut last.sample.clients {
            pages.truncate(last.pages);
            pages.extend(found);
        }
        last.sample.unreadable = unreadable;
        Ok(())
    }

    /// How the clients will be listed next.
    pub fn plan(&self) -> Plan {
        let clients =
            self.last.as_ref().and_then(|last| last.sample.clients.as_ref().ok()).map_or(0, |pages| pages.len());
        self.known.plan(clients, self.budget)
    }

    /// What has been learned of the server's costs.
    pub fn costs(&self) -> &Costs {
        &self.known.costs
    }

    /// Why clients are not listed by ids, where they cannot be.
    pub fn no_pages(&self) -> Option<&Failure> {
        self.known.no_pages.as_ref()
    }

    /// The held link, once a sample was taken.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Has a lasting drift mended by one full listing.
    fn judge_drift(&mut self, sample: &Sample) {
        // Whoever came or went while it was read makes a difference that is none; as many go as come.
        let churn = 2 + 2 * self.known.came as i64;
        match sample.cost.drift {
            Some(drift) if drift.abs() > churn => self.known.drifting += 1,
            _ => self.known.drifting = 0,
        }
        let due = self.known.mended.is_none_or(|mended| mended.elapsed() >= MEND_AT_MOST_EVERY);
        if self.known.drifting >= LASTING && due && sample.cost.pages > 0 {
            self.known.drifting = 0;
            self.known.mended = Some(Instant::now());
            self.known.wants_full = true;
            let (node, drift) = (self.target.node(), sample.cost.drift);
            warn!(
                node = &*node,
                drift, "INFO counts other connections than were listed; the next sample is a full listing"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_list::Unreadable;
    use crate::link::{Endpoint, TlsFiles};
    use crate::sample::{Cost, Pages};

    fn drifting(drift: i64) -> Sample {
        Sample {
            at: "2026-01-01T00:00:00Z".parse().expect("a time"),
            info: Ok(ServerInfo::default()),
            clients: Ok(Pages::default()),
            unreadable: Unreadable::default(),
            own_ids: Vec::new(),
            cost: Cost { drift: Some(drift), pages: 3, ..Cost::default() },
            source: crate::sample::Source::Sampled,
        }
    }

    #[test]
    fn only_a_lasting_drift_is_mended_and_not_again_at_once() {
        let target = Target {
            endpoint: Endpoint::Unix("/nowhere".into()),
            credentials: None,
            tls: TlsFiles::default(),
            timeout: Duration::from_secs(1),
        };
        let mut sampler = Sampler::new(target, Budget::of_one_sample());
        let mut mended = |drifts: &[i64]| {
            for &drift in drifts {
                sampler.judge_drift(&drifting(drift));
            }
            std::mem::take(&mut sampler.known.wants_full)
        };
        assert!(!mended(&[9, 9, 0, 9, -9]), "not three in a row");
        assert!(!mended(&[1, 1, 2, -2]), "what churn explains");
        assert!(mended(&[9, 9, 9]));
        assert!(!mended(&[9, 9, 9, 9, 9, 9]), "once is enough for a while");
    }
}
