//! Takes samples of one node over one held link, within the two promises that the operator is given: how long one command
//! of ours may hold the server, and how much of its time all of them may use.
//!
//! `sweep` reads all clients in pages, `roll` knows which ids to ask for, `meter` reads what that cost, `cost` learns from
//! it, `plan` decides by it. Between sweeps a quick look tells whether anybody came or went.

mod budget;
mod cost;
mod meter;
mod plan;
mod roll;
mod sweep;

use std::time::{Duration, Instant};

use tracing::warn;

use crate::link::{Link, Target};
use crate::sample::{Failure, Reason, Sample};
use crate::server_info::ServerInfo;

pub use budget::Budget;
pub use cost::{Cost, PageCost};
pub use plan::{Plan, Task, Way, plan};

use meter::Meter;
use roll::{Newcomers, Roll};
use sweep::Sweep;

/// How often a lasting drift may be mended by a full listing.
const MEND_AT_MOST_EVERY: Duration = Duration::from_secs(300);

/// How many sweeps in a row have to drift before it counts as lasting.
const LASTING: u32 = 3;

/// The most newcomers that a quick look reads; more of them bring the next sweep forward instead.
const MOST_AT_A_LOOK: u64 = 1000;

/// What is known of a server from one sample to the next.
#[derive(Debug, Default)]
struct Knowledge {
    run_id: Option<String>,
    /// The ids of its clients; `None` where it does not tell ours.
    roll: Option<Roll>,
    costs: Cost,
    meter: Meter,
    /// Why clients cannot be listed by ids.
    no_pages: Option<Failure>,
    /// The largest page that was asked for.
    largest: usize,
    /// Whether all clients of this run of the server were listed in pages once.
    swept: bool,
    /// The next sweep is to be a full listing.
    wants_full: bool,
    /// Sweeps in a row that drifted.
    drifting: u32,
    mended: Option<Instant>,
}

/// What the last sweep found, for quick looks to add to.
#[derive(Debug)]
struct LastSweep {
    sample: Sample,
    read: Instant,
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
pub struct Look {
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
}

impl Sampler {
    /// A sampler that connects when it is first asked for a sample.
    pub fn new(target: Target, budget: Budget) -> Self {
        Self { target, budget, link: None, known: Knowledge::default(), last: None }
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
        self.known.meter = Meter::default();
        let link = Link::dial(&self.target).await?;
        let node = self.target.node();
        self.sweep(link).await.map_err(|failure| Link::explain(&node, failure))
    }

    async fn sweep(&mut self, mut link: Link) -> Result<Sample, Failure> {
        let read = Instant::now();
        let sample = Sweep::new(&mut link, &self.target, &mut self.known, self.budget).run().await?;
        self.link = Some(link);
        self.judge_drift(&sample);
        self.last = Some(LastSweep { sample: sample.clone(), read });
        Ok(sample)
    }

    /// Looks whether anybody came or went since, and reads who came. Costs the server two `INFO`, at any size of the crowd.
    ///
    /// # Errors
    /// The link broke. The next sample makes a new one.
    pub async fn look(&mut self) -> Result<Look, Failure> {
        let (Some(mut link), Some(mut last)) = (self.link.take(), self.last.take()) else {
            return Ok(Look { sample: None, hurry: true });
        };
        let text = sweep::ask_changes(&mut link).await?;
        self.known.meter.estimate(self.known.costs.info_micros(), sweep::CHANGES.len() as u32);
        let info = ServerInfo::parse(&text);
        let came = match self.known.roll.as_ref().map(|roll| roll.newcomers(info.connections_received)) {
            Some(Newcomers::Within { ids, .. }) => ids.end() - ids.start() + 1,
            Some(Newcomers::None) | None => 0,
            Some(Newcomers::Unknown) => u64::MAX,
        };
        let mut look = Look { sample: None, hurry: came > MOST_AT_A_LOOK || self.known.roll.is_none() && came > 0 };
        if (1..=MOST_AT_A_LOOK).contains(&came) && self.known.no_pages.is_none() {
            let mut sweep =
                Sweep::new(&mut link, &self.target, &mut self.known, self.budget).at(last.sample.at, last.read);
            sweep.ask_newcomers(info.connections_received).await?;
            let (found, unreadable) = sweep.into_pages();
            if let Ok(pages) = &mut last.sample.clients {
                pages.extend(found);
            }
            last.sample.unreadable = unreadable;
            if let Ok(told) = &mut last.sample.info {
                told.update(&text);
            }
            last.sample.cost.server_time = self.known.meter.take_total();
            look.sample = Some(last.sample.clone());
        }
        let connected = info.connected_clients.map(|connected| connected as i64);
        look.hurry |= connected.zip(last.expected()).is_some_and(|(connected, expected)| connected < expected);
        self.link = Some(link);
        self.last = Some(last);
        Ok(look)
    }

    /// How the clients will be listed next.
    pub fn plan(&self) -> Plan {
        let clients =
            self.last.as_ref().and_then(|last| last.sample.clients.as_ref().ok()).map_or(0, |pages| pages.len());
        self.known.plan(clients, self.budget)
    }

    /// What has been learned of the server's costs.
    pub fn costs(&self) -> &Cost {
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
        // Whoever came or went while it was read makes a difference that is none.
        let churn = 2 + sample.clients.as_ref().map_or(0, |pages| pages.len() as i64 / 100);
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
