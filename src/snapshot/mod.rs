//! What a sample means: [`derive()`] makes a [`Snapshot`] of a sample and the snapshot before it.
//!
//! Pure: no clock, no I/O, no await. Every output (metrics, table, page, status) is a view of one snapshot, so outputs
//! cannot disagree.

mod ages;
mod counters;
mod groups;
mod kind;
mod label;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::client_list::{Client, Field};
use crate::sample::{Failure, Pages, Sample};
use crate::server_info::{Product, ServerInfo};

pub use ages::Ages;
pub use counters::{Counter, Counters};
pub use groups::Groups;
pub use kind::{Kind, State};
pub use label::{NONE, label_value, spelled_out};
pub use limits::Limits;

use groups::Counting;

/// What is known of one node at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The sample it was made of.
    pub sample: Arc<Sample>,
    /// What was counted over its clients; `None` where the server refuses to list them.
    pub crowd: Option<Crowd>,
    /// The counters up to now.
    pub counters: Counters,
}

/// The clients of a node, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Connections by kind, in the order of [`Kind::ALL`].
    kinds: [u64; Kind::ALL.len()],
    /// Application clients by state, in the order of [`State::ALL`].
    states: [u64; State::ALL.len()],
    /// Application clients that have never sent a command.
    pub silent: u64,
    /// The longest time since the last interaction, in seconds, of the application clients that have spoken and do not wait.
    pub oldest_interaction_seconds: Option<u64>,
    /// The shortest one of the same clients, in seconds.
    pub newest_interaction_seconds: Option<u64>,
    /// Time since the last interaction of the application clients that have spoken.
    pub last_interaction: Ages,
    /// Time since application clients connected.
    pub connection_age: Ages,
    /// Each threshold with the application clients that do not wait and were silent at least that long.
    pub idle: Vec<(Duration, u64)>,
    /// Application clients by ACL user (6.0+).
    pub users: Option<Groups>,
    /// Application clients by client library (7.2+).
    pub libraries: Option<Groups>,
    /// Application clients by selected database.
    pub databases: Option<Groups>,
    /// Application clients by last command.
    pub commands: Option<Groups>,
}

impl Crowd {
    /// All connections of the node.
    pub fn connections(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Connections of one kind.
    pub fn of_kind(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    /// Application clients.
    pub fn online(&self) -> u64 {
        self.of_kind(Kind::Application)
    }

    /// Application clients in one state.
    pub fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }
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
        self.pages().is_some_and(|pages| pages.unreadable().total() == 0)
    }

    /// What a connection of this node is.
    pub fn kind(&self, client: &Client<'_>) -> Kind {
        Kind::of(client, self.product(), &self.sample.own_ids)
    }

    fn product(&self) -> Product {
        product(&self.sample)
    }
}

/// Makes a snapshot of a sample. Counters go on from the snapshot before; everything else is of this sample alone.
pub fn derive(previous: Option<&Snapshot>, sample: Arc<Sample>, limits: &Limits) -> Snapshot {
    Snapshot {
        crowd: sample.clients.as_ref().ok().map(|pages| count(pages, &sample, limits)),
        counters: Counters::next(previous.map(|previous| &previous.counters), &sample),
        sample,
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

fn count(pages: &Pages, sample: &Sample, limits: &Limits) -> Crowd {
    let product = product(sample);
    let mut crowd =
        Crowd { idle: limits.idle_thresholds.iter().map(|&threshold| (threshold, 0)).collect(), ..Crowd::default() };
    let mut by = [Field::User, Field::LibName, Field::Db, Field::Cmd].map(|field| (field, Counting::default()));
    for (_, client) in pages.clients() {
        let kind = Kind::of(client, product, &sample.own_ids);
        crowd.kinds[kind as usize] += 1;
        if kind != Kind::Application {
            continue;
        }
        crowd.add_application(client, limits);
        for (field, counting) in &mut by {
            counting.add(value_to_group_by(client, *field));
        }
    }
    let [users, libraries, databases, commands] = by.map(|(_, counting)| counting.finish(limits.groups));
    Crowd { users, libraries, databases, commands, ..crowd }
}

fn value_to_group_by<'a>(client: &'a Client<'_>, field: Field) -> Option<&'a [u8]> {
    match client.text(field) {
        // The server's word for "no command yet".
        Some(b"NULL") if field == Field::Cmd => Some(b""),
        value => value,
    }
}

impl Crowd {
    fn add_application(&mut self, client: &Client<'_>, limits: &Limits) {
        let state = State::of(client, limits.idle_after);
        self.states[state as usize] += 1;
        if let Some(age) = client.age_seconds() {
            self.connection_age.add(age);
        }
        let idle = client.idle_seconds();
        if client.is_silent() {
            self.silent += 1;
        } else if let Some(idle) = idle {
            self.last_interaction.add(idle);
            if state != State::Waiting {
                self.oldest_interaction_seconds = self.oldest_interaction_seconds.max(Some(idle));
                self.newest_interaction_seconds =
                    Some(self.newest_interaction_seconds.map_or(idle, |newest| newest.min(idle)));
            }
        }
        if let Some(idle) = idle.filter(|_| state != State::Waiting) {
            for (threshold, count) in &mut self.idle {
                *count += u64::from(idle >= threshold.as_secs());
            }
        }
    }
}

#[cfg(test)]
mod tests;
