//! The one aggregation over clients: metrics, `/apps`, group-by and `clients --by` are all made from it.

use std::time::Duration;

use super::kind::State;
use super::roster::Entry;
use crate::client_list::{Client, Field};

/// The counts over a set of clients.
///
/// Interaction ages cover the application clients that have sent a command and do not wait. A blocked or subscribed
/// client is silent by design, so its age is kept separately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of clients.
    pub connections: u64,
    /// The number of application clients by state, in the order of [`State::ALL`].
    states: [u64; State::ALL.len()],
    /// The number of application clients that have never sent a command.
    pub silent: u64,
    /// For each idle threshold, in their order: the number of application clients that do not wait and were idle for at
    /// least that long.
    pub idle: Vec<u64>,
    /// Smallest idle time in seconds; `None` if no client has an interaction age.
    pub newest_interaction_seconds: Option<u64>,
    /// Largest idle time in seconds of the same clients.
    pub oldest_interaction_seconds: Option<u64>,
    /// Largest idle time in seconds of the clients that wait.
    pub oldest_waiting_seconds: Option<u64>,
    /// Memory that the server holds for the clients, in bytes; `None` where it does not report it (before 6.0.9).
    pub memory_bytes: Option<u64>,
    /// Bytes in the clients' output buffers.
    pub output_buffer_bytes: u64,
    /// Largest output buffer of one client, in bytes.
    pub largest_output_buffer_bytes: u64,
}

impl Tally {
    /// Counts one client. `thresholds` must be the same in every call.
    pub fn add(&mut self, entry: &Entry, client: &Client<'_>, thresholds: &[Duration]) {
        self.connections += 1;
        self.idle.resize(thresholds.len(), 0);
        if let Some(state) = entry.state {
            self.add_application(entry, state, thresholds);
        }
        if let Some(memory) = client.unsigned(Field::TotMem) {
            self.memory_bytes = Some(self.memory_bytes.unwrap_or(0).saturating_add(memory));
        }
        let output = output_buffer_bytes(client);
        self.output_buffer_bytes = self.output_buffer_bytes.saturating_add(output);
        self.largest_output_buffer_bytes = self.largest_output_buffer_bytes.max(output);
    }

    fn add_application(&mut self, entry: &Entry, state: State, thresholds: &[Duration]) {
        self.states[state as usize] += 1;
        self.silent += u64::from(entry.is_silent);
        let Some(idle) = entry.idle_seconds() else { return };
        if state.is_waiting() {
            self.oldest_waiting_seconds = self.oldest_waiting_seconds.max(Some(idle));
            return;
        }
        for (count, threshold) in self.idle.iter_mut().zip(thresholds) {
            *count += u64::from(idle >= threshold.as_secs());
        }
        if !entry.is_silent {
            self.newest_interaction_seconds = smaller(self.newest_interaction_seconds, Some(idle));
            self.oldest_interaction_seconds = self.oldest_interaction_seconds.max(Some(idle));
        }
    }

    /// Adds the counts of another set. No client may be in both.
    pub fn merge(&mut self, other: &Tally) {
        self.connections += other.connections;
        add_each(&mut self.states, &other.states);
        self.silent += other.silent;
        self.idle.resize(other.idle.len().max(self.idle.len()), 0);
        add_each(&mut self.idle, &other.idle);
        self.newest_interaction_seconds = smaller(self.newest_interaction_seconds, other.newest_interaction_seconds);
        self.oldest_interaction_seconds = self.oldest_interaction_seconds.max(other.oldest_interaction_seconds);
        self.oldest_waiting_seconds = self.oldest_waiting_seconds.max(other.oldest_waiting_seconds);
        if let Some(memory) = other.memory_bytes {
            self.memory_bytes = Some(self.memory_bytes.unwrap_or(0).saturating_add(memory));
        }
        self.output_buffer_bytes = self.output_buffer_bytes.saturating_add(other.output_buffer_bytes);
        self.largest_output_buffer_bytes = self.largest_output_buffer_bytes.max(other.largest_output_buffer_bytes);
    }

    /// The number of application clients in one state.
    pub fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }

    /// The numbers of application clients by state, in the order of [`State::ALL`].
    pub fn states(&self) -> [u64; State::ALL.len()] {
        self.states
    }
}

/// Bytes in a client's output buffer: the static reply buffer (`obl`) and the reply list (`omem`).
pub fn output_buffer_bytes(client: &Client<'_>) -> u64 {
    client.unsigned(Field::Obl).unwrap_or(0).saturating_add(client.unsigned(Field::Omem).unwrap_or(0))
}

fn add_each(sums: &mut [u64], more: &[u64]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn smaller(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
