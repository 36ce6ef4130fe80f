//! The clients of one sample, counted.

use std::time::Duration;

use super::ages::Ages;
use super::groups::Groups;
use super::kind::{ClientKind, State};
use super::roster::Entry;
use super::tally::Tally;
use crate::client_list::Client;

/// The clients of a node, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Connections by kind, in the order of [`ClientKind::ALL`].
    pub(super) kinds: [u64; ClientKind::ALL.len()],
    /// Application clients together.
    pub applications: Tally,
    /// The ages at which idle clients are counted, in the order of [`Tally::idle`].
    pub idle_thresholds: Vec<Duration>,
    /// Distribution of the idle times of the clients that [`Tally::oldest_interaction_seconds`] covers.
    pub last_interaction: Ages,
    /// Distribution of the times since application clients connected.
    pub connection_age: Ages,
    /// Application clients by ACL user (6.0+).
    pub users: Option<Groups>,
    /// Application clients by client library (7.2+).
    pub libraries: Option<Groups>,
    /// Application clients by selected database.
    pub databases: Option<Groups>,
    /// Application clients by last command.
    pub commands: Option<Groups>,
    /// Application clients by the network they connect from.
    pub networks: Option<Groups>,
}

impl ClientCounts {
    /// All connections of the node.
    pub fn connections(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Connections of one kind.
    pub fn of_kind(&self, kind: ClientKind) -> u64 {
        self.kinds[kind as usize]
    }

    /// Application clients.
    pub fn online(&self) -> u64 {
        self.of_kind(ClientKind::Application)
    }

    /// Application clients that have never sent a command.
    pub fn silent(&self) -> u64 {
        self.applications.silent
    }

    /// Application clients in one state.
    pub fn in_state(&self, state: State) -> u64 {
        self.applications.in_state(state)
    }

    /// Each idle threshold with the application clients that do not wait and were idle for at least that long.
    pub fn idle(&self) -> impl Iterator<Item = (Duration, u64)> {
        // Without a client nothing was counted at any threshold.
        let counts = self.applications.idle.iter().copied().chain(std::iter::repeat(0));
        self.idle_thresholds.iter().copied().zip(counts)
    }

    /// Counts an application client.
    pub(super) fn add_application(&mut self, entry: &Entry, client: &Client<'_>) {
        self.applications.add(entry, client, &self.idle_thresholds);
        if let Some(age) = client.age_seconds() {
            self.connection_age.add(age);
        }
        let has_interaction = !entry.is_silent && entry.state.is_some_and(|state| !state.is_waiting());
        if let Some(idle) = entry.idle_seconds.filter(|_| has_interaction) {
            self.last_interaction.add(idle);
        }
    }
}
