//! The meaning of a sample: [`derive()`] makes a [`Snapshot`] from a sample and the previous snapshot.
//!
//! Pure: no clock, no I/O, no await. [`Grouping`] caches the applications of names, which only saves time. Every output
//! (metrics, table, page, status) is a view of one snapshot, so outputs cannot disagree.

mod ages;
mod churn;
mod client_counts;
mod closed;
mod count;
mod counters;
mod expectation;
mod failover;
mod grouping;
mod groups;
mod kind;
mod limits;
mod network;
mod presence;
mod roster;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::client_list::Client;
use crate::failure::Failure;
use crate::sample::{Pages, Sample, SampleCondition, SampleConditions};
use crate::server_info::{Product, ServerInfo};

pub use ages::Ages;
pub use churn::{Changes, Churn};
pub use client_counts::ClientCounts;
pub use closed::{CloseReason, Closed, ClosedRing, MAX_CLOSED};
pub use counters::{Counter, Counters};
pub use expectation::{Expectation, ExpectedOn, Minimum, NamePattern};
pub use grouping::{By, Fallback, Grouping, GroupingOptions, RULES, Rule};
pub use groups::Groups;
pub use kind::{ClientKind, State};
pub use limits::{Limits, NetworkPrefix};
pub use network::network_label;
pub use presence::{Held, Presence, Seen, Totals};
pub use roster::{Entry, Roster};
pub use tally::{Tally, output_buffer_bytes};

use churn::Step;
use count::{Counted, classify, longest_idle};
use counters::Continuity;
use presence::Delta;

/// The time between two calls of [`Snapshot::release_held`]. The totals of a new application are 0 for two to three
/// times as long, so that a Prometheus that scrapes as often as usual sees the 0.
pub const HOLD_STEP: Duration = Duration::from_secs(5);

/// The state of one node at the time of a sample.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The sample that it is made from.
    pub sample: Arc<Sample>,
    /// The counts over its clients; `None` if the server refuses to list them, or if the sample does not have all of
    /// them.
    pub client_counts: Option<ClientCounts>,
    /// The server's counters, monotonic.
    pub counters: Counters,
    /// The applications: online, offline and expected ones, with what they did.
    pub presence: Presence,
    /// The numbers of opened and closed connections since exporter start, and the clients that closed last.
    pub churn: Churn,
    /// The clients that opened and closed since the previous snapshot.
    pub changes: Changes,
    /// The clients that are exported individually, the largest idle time first: indexes into the entries of
    /// [`Snapshot::clients`].
    pub per_client: Vec<usize>,
    /// True if another server answers since the previous snapshot, which was already running before.
    pub is_another_server: bool,
    /// The conditions that are events, and the time of the last sample in which each happened.
    events: [(SampleCondition, Option<Timestamp>); 2],
    /// The clients of this sample; `None` if the server refuses to list them.
    clients: Option<Arc<Roster>>,
    /// The roster of the last sample in which all clients were listed.
    last_complete: Option<Arc<Roster>>,
}

impl Snapshot {
    /// The fields of `INFO`; `None` if the server refuses it.
    pub fn info(&self) -> Option<&ServerInfo> {
        self.sample.info.as_ref().ok()
    }

    /// The pages of clients; `None` if the server refuses to list them.
    pub fn pages(&self) -> Option<&Pages> {
        self.sample.clients.as_ref().ok()
    }

    /// The failures of the commands that the server refused.
    pub fn refused(&self) -> impl Iterator<Item = &Failure> {
        [self.sample.info.as_ref().err(), self.sample.clients.as_ref().err()].into_iter().flatten()
    }

    /// The same snapshot, closer to showing the totals of new applications; `None` if no application is new. Called at
    /// regular times, so that the totals of a new application are 0 for as long as [`HOLD_STEP`] says.
    pub fn release_held(&self) -> Option<Self> {
        let mut next = self.presence.has_held().then(|| self.clone())?;
        next.presence.release_held();
        Some(next)
    }

    /// The connections that the server received, monotonic, with those that were observed although its counter does not
    /// contain them; `None` if it does not report them.
    pub fn connections_received(&self) -> Option<u64> {
        self.churn.received(&self.counters)
    }

    /// True if it has every client of the server.
    pub fn is_complete(&self) -> bool {
        self.pages().is_some_and(|pages| pages.unreadable().total() == 0)
            && !self.sample.is_truncated()
            && !self.sample.conditions.iter().any(SampleCondition::is_incomplete)
    }

    /// The assumptions about the server that do not hold, and the reasons for missing clients.
    pub fn conditions(&self) -> SampleConditions {
        let mut conditions = self.sample.conditions;
        for (condition, at) in self.events {
            let is_recent = at.is_some_and(|at| self.sample.at.duration_since(at) < EVENT_SHOWN_FOR);
            conditions.set(condition, is_recent);
        }
        conditions
    }

    /// The clients of this sample, classified; `None` if the server refuses to list them.
    pub fn clients(&self) -> Option<&Roster> {
        self.clients.as_deref()
    }
}

/// The time for which an event is shown as a condition: several scrapes of any Prometheus.
const EVENT_SHOWN_FOR: SignedDuration = SignedDuration::from_mins(5);

/// The time of the last sample in which an event happened.
fn last_event(previous: Option<&Snapshot>, event: SampleCondition) -> Option<Timestamp> {
    previous?.events.iter().find(|(of, _)| *of == event)?.1
}

/// Makes a snapshot from a sample. Counters, presence and churn continue from the previous snapshot; everything else is
/// from this sample alone.
pub fn derive(previous: Option<&Snapshot>, sample: Arc<Sample>, limits: &Limits) -> Snapshot {
    let before = previous.map(|previous| &previous.counters);
    let is_another_server = before.is_some_and(|before| before.continuity(&sample) == Continuity::Another);
    let counters = Counters::next(before, &sample);
    let mut snapshot = Snapshot {
        client_counts: None,
        counters,
        presence: previous.map(|previous| previous.presence.clone()).unwrap_or_default(),
        churn: previous.map(|previous| previous.churn.clone()).unwrap_or_default(),
        changes: Changes::default(),
        per_client: Vec::new(),
        is_another_server,
        events: [
            (SampleCondition::CountersReset, sample.conditions.has(SampleCondition::CountersReset)),
            (SampleCondition::AnotherServer, is_another_server),
        ]
        .map(|(event, happens)| (event, if happens { Some(sample.at) } else { last_event(previous, event) })),
        clients: None,
        last_complete: previous.and_then(|previous| previous.last_complete.clone()),
        sample,
    };
    let counts_before = previous.and_then(|previous| previous.client_counts.as_ref());
    if let Some(classified) = classify(counts_before, &snapshot.sample, limits) {
        let (sample, counters) = (Arc::clone(&snapshot.sample), snapshot.counters.clone());
        let roster = Roster::new(sample, counters, classified.entries, classified.apps, limits.network_prefix);
        match classified.counted {
            Some(counted) => snapshot.compare(roster, counted, limits),
            // A partial list is shown, but not compared: clients that it lacks would seem closed.
            None => {
                let mut roster = roster;
                let before = previous.and_then(|previous| previous.clients.as_deref());
                let is_same = |before: &&Roster| before.counters.continuity(&snapshot.sample) == Continuity::Same;
                if let Some(before) = before.filter(is_same) {
                    // Only for the connection times, which it takes over.
                    drop(roster.turnover_since(before, Continuity::Same));
                }
                snapshot.clients = Some(Arc::new(roster));
            }
        }
    }
    snapshot
}

impl Snapshot {
    /// Adds the counts over all clients, and the changes since the last sample that had all of them.
    fn compare(&mut self, mut roster: Roster, counted: Counted, limits: &Limits) {
        self.per_client = longest_idle(roster.entries(), limits.per_client);
        let before = self.last_complete.take();
        let before = before.as_deref();
        let continuity = before.map_or(Continuity::Same, |before| before.counters.continuity(&self.sample));
        let turnover = before.map(|before| roster.turnover_since(before, continuity)).unwrap_or_default();
        let step = Step { turnover: &turnover, roster: &roster, before, continuity };
        let anonymous;
        (self.churn, self.changes, anonymous) = self.churn.next(&step);
        let delta = Delta { roster: &roster, before, turnover: &turnover, anonymous };
        self.presence = self.presence.next(counted.apps, &delta, limits);
        self.client_counts = Some(counted.client_counts);
        let roster = Arc::new(roster);
        self.clients = Some(Arc::clone(&roster));
        self.last_complete = Some(roster);
    }
}

fn product(sample: &Sample) -> Product {
    sample.info.as_ref().map(|info| info.product).unwrap_or_default()
}

/// The time of a client's last interaction, from its idle time when it was read; `None` if it has never sent a command.
pub fn last_interaction(client: &Client<'_>, at: Timestamp) -> Option<Timestamp> {
    if client.is_silent() {
        return None;
    }
    at.checked_sub(Duration::from_secs(client.idle_seconds()?)).ok()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::model;
