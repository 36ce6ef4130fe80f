//! The clients of one sample, counted.

use std::time::Duration;

use super::ages::Ages;
use super::groups::Groups;
use super::kind::{ClientKind, State};
use crate::client_list::Client;

/// The clients of a node, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Connections by kind, in the order of [`ClientKind::ALL`].
    pub(super) kinds: [u64; ClientKind::ALL.len()],
    /// Application clients by state, in the order of [`State::ALL`].
    pub(super) states: [u64; State::ALL.len()],
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
    /// Application clients by the network they come from.
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

    /// Application clients in one state.
    pub fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }
}

impl ClientCounts {
    /// Counts an application client that is in this state.
    pub(super) fn add_application(&mut self, client: &Client<'_>, state: State) {
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
