//! What a sample means: [`derive()`] makes a [`Snapshot`] of a sample and the snapshot before it.
//!
//! Pure: no clock, no I/O, no await; names that were looked at before are remembered in [`Grouping`], which changes nothing but
//! the time it takes. Every output (metrics, table, page, status) is a view of one snapshot, so outputs
//! cannot disagree.

mod ages;
mod app;
mod churn;
mod client_counts;
mod closed;
mod count;
mod counters;
mod grouping;
mod groups;
mod kind;
mod label;
mod limits;
mod network;
mod presence;
mod roster;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::client_list::Client;
use crate::sample::{Failure, Pages, Place, Sample};
use crate::server_info::{Product, ServerInfo};

pub use ages::Ages;
pub use app::{AppCounts, output_buffer_bytes};
pub use churn::{Changes, Churn};
pub use client_counts::ClientCounts;
pub use closed::{CloseReason, Closed, ClosedRing, MAX_CLOSED};
pub use counters::{Counter, Counters};
pub use grouping::{By, Fallback, Grouping, GroupingOptions, RULES, Rule};
pub use groups::Groups;
pub use kind::{ClientKind, State};
pub(crate) use label::app_label;
pub use label::{NONE, OTHER, is_cut, label_value, spelled_out};
pub use limits::{Limits, NetworkPrefix};
pub use network::network_label;
pub use presence::{Presence, Seen, Totals};

use churn::Step;
use count::{Counted, count};
use counters::Continuity;
use presence::Delta;
use roster::Roster;

/// What is known of one node at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The sample it was made of.
    pub sample: Arc<Sample>,
    /// What was counted over its clients; `None` where the server refuses to list them, or not all were heard of.
    pub client_counts: Option<ClientCounts>,
    /// The counters up to now.
    pub counters: Counters,
    /// The applications: which are there, which were, what they did.
    pub presence: Presence,
    /// How many came and went up to now, and the last that went.
    pub churn: Churn,
    /// Who came and went since the snapshot before.
    pub changes: Changes,
    /// The clients that are told one by one, the longest silent first, each with its application.
    pub per_client: Vec<(Place, Arc<str>)>,
    /// The roster of the last sample in which clients were listed.
    roster: Option<Arc<Roster>>,
}

impl Snapshot {
    /// What `INFO` told, where it was allowed.
    pub fn info(&self) -> Option<&ServerInfo> {
        self.sample.info.as_ref().ok()
    }

    /// The clients, where listing them was allowed.
    pub fn pages(&self) -> Option<&Pages> {
        self.sample.clients.as_ref().ok()
    }

    /// What the server refused; a snapshot without any is whole.
    pub fn refused(&self) -> impl Iterator<Item = &Failure> {
        [self.sample.info.as_ref().err(), self.sample.clients.as_ref().err()].into_iter().flatten()
    }

    /// Whether every client is in it.
    pub fn is_complete(&self) -> bool {
        self.pages().is_some_and(|pages| pages.unreadable().total() == 0) && !self.sample.is_truncated()
    }

    /// What a connection of this node is.
    pub fn kind(&self, client: &Client<'_>) -> ClientKind {
        ClientKind::of(client, self.product(), &self.sample.own_ids)
    }

    /// The application of the client at a place; `None` for an internal one, and for one without an id.
    pub fn app(&self, place: Place) -> Option<&str> {
        let roster = self.roster.as_deref()?;
        let id = self.pages()?.client(place)?.id()?;
        roster.app(id)
    }

    fn product(&self) -> Product {
        product(&self.sample)
    }
}

/// Makes a snapshot of a sample. Counters, presence and churn go on from the snapshot before; everything else is of this
/// sample alone.
pub fn derive(previous: Option<&Snapshot>, sample: Arc<Sample>, limits: &Limits) -> Snapshot {
    let counters = Counters::next(previous.map(|previous| &previous.counters), &sample);
    let mut snapshot = Snapshot {
        client_counts: None,
        counters,
        presence: previous.map(|previous| previous.presence.clone()).unwrap_or_default(),
        churn: previous.map(|previous| previous.churn.clone()).unwrap_or_default(),
        changes: Changes::default(),
        per_client: Vec::new(),
        roster: None,
        sample,
    };
    match count(previous, &snapshot.sample, limits) {
        Some(counted) => snapshot.take(previous, counted, limits),
        // Whoever it leaves out is compared with when clients are listed again.
        None => snapshot.roster = previous.and_then(|previous| previous.roster.clone()),
    }
    snapshot
}

impl Snapshot {
    /// Takes what was counted, and finds out what has happened since the snapshot before.
    fn take(&mut self, previous: Option<&Snapshot>, counted: Counted, limits: &Limits) {
        self.per_client = self.pages().map(|pages| counted.longest_silent(pages, limits)).unwrap_or_default();
        let roster = Roster::new(Arc::clone(&self.sample), self.counters.clone(), counted.entries, counted.names);
        let before = previous.and_then(|previous| previous.roster.as_deref());
        let life = before.map_or(Continuity::Same, |before| before.counters.life(&self.sample));
        let turnover = before.map(|before| roster.since(before, life)).unwrap_or_default();
        let news = Delta { roster: &roster, before, turnover: &turnover };
        self.presence = self.presence.next(counted.apps, &news, limits);
        let step = Step { turnover: &turnover, roster: &roster, before, life };
        (self.churn, self.changes) = self.churn.next(&step);
        self.client_counts = Some(counted.client_counts);
        self.roster = Some(Arc::new(roster));
    }
}

fn product(sample: &Sample) -> Product {
    sample.info.as_ref().map(|info| info.product).unwrap_or_default()
}

/// When a client last spoke or was spoken to, by what was read of it at that time; `None` if it has never sent a command.
pub fn last_interaction(client: &Client<'_>, at: Timestamp) -> Option<Timestamp> {
    if client.is_silent() { None } else { ago(at, client.idle_seconds()?) }
}

/// When a client connected, by what was read of it at that time.
pub fn connected_at(client: &Client<'_>, at: Timestamp) -> Option<Timestamp> {
    ago(at, client.age_seconds()?)
}

fn ago(at: Timestamp, seconds: u64) -> Option<Timestamp> {
    at.checked_sub(Duration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests;
