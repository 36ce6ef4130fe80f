//! The counts over the clients of one sample.

use std::time::Duration;

use super::ages::Ages;
use super::groups::Groups;
use super::kind::{ClientKind, State};
use super::roster::Entry;
use super::tally::Tally;

/// The counts over the clients of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Connections by kind, in the order of [`ClientKind::ALL`].
    pub(super) kinds: [u64; ClientKind::ALL.len()],
    /// The tally of all application clients.
    pub applications: Tally,
    /// The idle times from which idle clients are counted, in the order of [`Tally::idle`].
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
    /// The number of connections of the node.
    pub fn connections(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// The number of connections of one kind.
    pub fn of_kind(&self, kind: ClientKind) -> u64 {
        self.kinds[kind as usize]
    }

    /// The number of application clients.
    pub fn online(&self) -> u64 {
        self.of_kind(ClientKind::Application)
    }

    /// The number of application clients that have never sent a command.
    pub fn silent(&self) -> u64 {
        self.applications.silent
    }

    /// The number of application clients in one state.
    pub fn in_state(&self, state: State) -> u64 {
        self.applications.in_state(state)
    }

    /// Each idle threshold with the number of application clients that do not wait and were idle for at least that
    /// long.
    pub fn idle(&self) -> impl Iterator<Item = (Duration, u64)> {
        // Without any client, Tally::idle is empty.
        let counts = self.applications.idle.iter().copied().chain(std::iter::repeat(0));
        self.idle_thresholds.iter().copied().zip(counts)
    }

    /// Counts the ages of an application client.
    pub(super) fn add_ages(&mut self, entry: &Entry, age_seconds: Option<u64>) {
        if let Some(age) = age_seconds {
            self.connection_age.add(age);
        }
        let has_interaction = !entry.is_silent && entry.state.is_some_and(|state| !state.is_waiting());
        if let Some(idle) = entry.idle_seconds().filter(|_| has_interaction) {
            self.last_interaction.add(idle);
        }
    }
}
