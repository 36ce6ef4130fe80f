//! What the connections of one application are like at one moment.

use std::time::Duration;

use super::kind::State;
use crate::client_list::{Client, Field};

/// The connections of one application, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppCounts {
    /// Its connections.
    pub connections: u64,
    /// Its connections that wait in a blocking command.
    pub blocked: u64,
    /// For each idle threshold, in their order, its connections that do not wait and were silent at least that long.
    pub idle: Vec<u64>,
    /// The shortest time since the last interaction, in seconds, of those that have spoken and do not wait.
    pub newest_interaction_seconds: Option<u64>,
    /// The longest one of the same connections, in seconds.
    pub oldest_interaction_seconds: Option<u64>,
    /// Bytes that the server holds for them; `None` where it does not tell (before 6.0.9).
    pub memory_bytes: Option<u64>,
    /// Bytes that wait to be sent to them.
    pub output_buffer_bytes: u64,
    /// The most of these for one connection.
    pub largest_output_buffer_bytes: u64,
}

impl AppCounts {
    /// Counts one connection.
    pub(super) fn add(&mut self, client: &Client<'_>, state: State, thresholds: &[Duration]) {
        self.connections += 1;
        self.blocked += u64::from(client.flags().has('b'));
        self.idle.resize(thresholds.len(), 0);
        if state != State::Waiting
            && let Some(idle) = client.idle_seconds()
        {
            for (count, threshold) in self.idle.iter_mut().zip(thresholds) {
                *count += u64::from(idle >= threshold.as_secs());
            }
            if !client.is_silent() {
                self.newest_interaction_seconds = least(self.newest_interaction_seconds, Some(idle));
                self.oldest_interaction_seconds = self.oldest_interaction_seconds.max(Some(idle));
            }
        }
        if let Some(memory) = bytes(client, Field::TotMem) {
            self.memory_bytes = Some(self.memory_bytes.unwrap_or(0).saturating_add(memory));
        }
        let output = output_buffer_bytes(client);
        self.output_buffer_bytes = self.output_buffer_bytes.saturating_add(output);
        self.largest_output_buffer_bytes = self.largest_output_buffer_bytes.max(output);
    }

    /// Adds the connections of another application.
    pub(super) fn merge(&mut self, other: &AppCounts) {
        self.connections += other.connections;
        self.blocked += other.blocked;
        self.idle.resize(other.idle.len().max(self.idle.len()), 0);
        for (count, more) in self.idle.iter_mut().zip(&other.idle) {
            *count += more;
        }
        self.newest_interaction_seconds = least(self.newest_interaction_seconds, other.newest_interaction_seconds);
        self.oldest_interaction_seconds = self.oldest_interaction_seconds.max(other.oldest_interaction_seconds);
        if let Some(memory) = other.memory_bytes {
            self.memory_bytes = Some(self.memory_bytes.unwrap_or(0).saturating_add(memory));
        }
        self.output_buffer_bytes = self.output_buffer_bytes.saturating_add(other.output_buffer_bytes);
        self.largest_output_buffer_bytes = self.largest_output_buffer_bytes.max(other.largest_output_buffer_bytes);
    }
}

/// Bytes that wait to be sent to a client: in the static buffer (`obl`) and in the list of replies (`omem`).
pub fn output_buffer_bytes(client: &Client<'_>) -> u64 {
    bytes(client, Field::Obl).unwrap_or(0).saturating_add(bytes(client, Field::Omem).unwrap_or(0))
}

/// A field's value that counts something and so is never negative.
pub(super) fn bytes(client: &Client<'_>, field: Field) -> Option<u64> {
    u64::try_from(client.number(field)?).ok()
}

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
