//! The measures of a set of clients: one table of names, titles, types and help. `/apps`, groups, CSV and `clients
//! --by` are made from it. A new measure is one row of the table.

use super::column::ValueKind;
use crate::snapshot::{State, Tally};

/// One measure.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// The name in every output.
    pub name: &'static str,
    /// The title in pages and tables.
    pub title: &'static str,
    /// The type of its values, with their unit.
    pub kind: ValueKind,
    /// A sentence that explains it.
    pub help: &'static str,
    /// True if pages and tables show it.
    pub is_shown: bool,
    value: fn(&Tally) -> Option<u64>,
}

impl Measure {
    const fn new(
        name: &'static str,
        title: &'static str,
        kind: ValueKind,
        help: &'static str,
        value: fn(&Tally) -> Option<u64>,
    ) -> Self {
        Self { name, title, kind, help, is_shown: true, value }
    }

    const fn hidden(self) -> Self {
        Self { is_shown: false, ..self }
    }

    /// The value; `None` if it is unknown.
    pub fn value(&self, tally: &Tally) -> Option<u64> {
        (self.value)(tally)
    }

    /// The measures that pages and tables show.
    pub fn shown() -> impl Iterator<Item = &'static Self> {
        MEASURES.iter().filter(|measure| measure.is_shown)
    }
}

use ValueKind::{Bytes, Count, Seconds};

/// Every measure, in the order of display.
pub static MEASURES: &[Measure] = &[
    Measure::new("connections", "Connections", Count, "Clients of the set.", |tally| Some(tally.connections)),
    Measure::new("active", "Active", Count, "Clients with a byte in either direction within --idle-after.", |tally| {
        Some(tally.in_state(State::Active))
    }),
    Measure::new("blocked", "Blocked", Count, "Clients that wait in a blocking command.", |tally| {
        Some(tally.in_state(State::Blocked))
    }),
    Measure::new("subscribed", "Subscribed", Count, "Clients that are subscribed to channels or patterns.", |tally| {
        Some(tally.in_state(State::Subscribed))
    }),
    Measure::new("idle", "Idle", Count, "Clients without a byte in either direction for --idle-after.", |tally| {
        Some(tally.in_state(State::Idle))
    }),
    Measure::new("silent", "No command yet", Count, "Clients that have never sent a command.", |tally| {
        Some(tally.silent)
    }),
    Measure::new(
        "oldest_interaction_seconds",
        "Oldest interaction",
        Seconds,
        "Largest idle time of the clients that have sent a command and do not wait.",
        |tally| tally.oldest_interaction_seconds,
    ),
    Measure::new(
        "newest_interaction_seconds",
        "Newest interaction",
        Seconds,
        "Smallest idle time of the clients that have sent a command and do not wait.",
        |tally| tally.newest_interaction_seconds,
    )
    .hidden(),
    Measure::new(
        "oldest_waiting_seconds",
        "Longest wait",
        Seconds,
        "Largest idle time of the blocked and subscribed clients.",
        |tally| tally.oldest_waiting_seconds,
    ),
    Measure::new("memory_bytes", "Memory", Bytes, "Memory that the server holds for the clients (6.0.9+).", |tally| {
        tally.memory_bytes
    }),
    Measure::new(
        "output_buffer_bytes",
        "Output buffers",
        Bytes,
        "Bytes that wait to be sent to the clients: reply buffers and reply lists (obl and omem).",
        |tally| Some(tally.output_buffer_bytes),
    ),
    Measure::new(
        "largest_output_buffer_bytes",
        "Largest output buffer",
        Bytes,
        "Bytes that wait to be sent to one client at most.",
        |tally| Some(tally.largest_output_buffer_bytes),
    )
    .hidden(),
];
