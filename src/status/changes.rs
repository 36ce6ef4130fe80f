//! The clients that opened and closed since the last message of changes, collected until the next one is due.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::encode::{client_object, interaction, json, no_later, read_at};
use crate::snapshot::{ClientKind, Closed, Snapshot, State};
use crate::view::row::Row;

/// Maximum number of opened, and of closed, clients that are collected. The totals count the others, and the next
/// status has all clients, or lists them in turn.
const MAX_CHANGES: usize = 100;

/// The application clients that opened and closed.
#[derive(Debug, Default)]
pub struct ChangeBatch {
    opened: Vec<OpenedObject>,
    closed: Vec<Arc<Closed>>,
}

/// An opened client: its members without the last interaction, which is limited by the time of the message.
#[derive(Debug)]
struct OpenedObject {
    members: Map<String, Value>,
    last_interaction: Option<Timestamp>,
}

/// A closed client in a message.
#[derive(Serialize)]
struct ClosedObject<'a> {
    id: u64,
    address: &'a str,
    name: &'a str,
    app: Option<&'a str>,
    last_interaction: Option<String>,
    closed_at: String,
    closed_reason: &'a str,
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_buffer_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_buffer_bytes: Option<u64>,
}

impl ChangeBatch {
    /// Adds the clients that opened and closed since the previous snapshot.
    pub fn add(&mut self, snapshot: &Snapshot) {
        let Some(roster) = snapshot.clients() else { return };
        let changes = &snapshot.changes;
        let rows = changes.opened.iter().filter_map(|&id| Row::new("", snapshot, roster.find(id)?));
        let opened = rows.filter(|row| row.entry.kind == ClientKind::Application).map(|row| OpenedObject {
            members: client_object(row, read_at(snapshot)),
            last_interaction: interaction(row),
        });
        self.opened.extend(opened.take(MAX_CHANGES - self.opened.len()));
        let closed = changes.closed.iter().filter(|closed| closed.kind == ClientKind::Application);
        self.closed.extend(closed.take(MAX_CHANGES - self.closed.len()).cloned());
    }

    /// Returns true if there are no changes.
    pub fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.closed.is_empty()
    }

    /// Removes all changes: they were sent, or another exporter announces them.
    pub fn clear(&mut self) {
        self.opened.clear();
        self.closed.clear();
    }

    /// Both lists for a message that is stamped with `at`, with as many clients as fit into `room` bytes: of each list
    /// in turn. `None` if there are none, or if none fits.
    pub(super) fn lists(&self, at: Timestamp, room: usize) -> Option<(String, String)> {
        let (mut opened, mut closed) = (Texts::default(), Texts::default());
        let mut room = room;
        for index in 0..self.opened.len().max(self.closed.len()) {
            if let Some(client) = self.opened.get(index) {
                opened.push(&mut room, || client.text(at));
            }
            if let Some(client) = self.closed.get(index) {
                closed.push(&mut room, || closed_text(client, at));
            }
        }
        let is_empty = opened.0.is_empty() && closed.0.is_empty();
        (!is_empty).then(|| (opened.0.join(","), closed.0.join(",")))
    }
}

/// The clients of a list.
#[derive(Default)]
struct Texts(Vec<String>);

impl Texts {
    /// Adds a client if it fits. After one that does not fit there is no room.
    fn push(&mut self, room: &mut usize, text: impl FnOnce() -> String) {
        if *room == 0 {
            return;
        }
        let text = text();
        let left = room.checked_sub(text.len() + 1);
        *room = left.unwrap_or(0);
        self.0.extend(left.map(|_| text));
    }
}

impl OpenedObject {
    fn text(&self, at: Timestamp) -> String {
        let mut members = self.members.clone();
        if let Some(time) = self.last_interaction {
            members.insert("last_interaction".to_owned(), no_later(time, at).into());
        }
        json(&members)
    }
}

fn closed_text(closed: &Closed, at: Timestamp) -> String {
    json(&ClosedObject {
        id: closed.id,
        address: &closed.address,
        name: &closed.name,
        app: closed.app.as_deref(),
        last_interaction: closed.last_interaction.map(|time| no_later(time, at.min(closed.closed_at))),
        closed_at: no_later(closed.closed_at, at),
        closed_reason: closed.reason.label(),
        state: closed.state.map(State::label),
        output_buffer_bytes: Some(closed.output_buffer_bytes).filter(|bytes| *bytes > 0),
        query_buffer_bytes: closed.query_buffer_bytes.filter(|bytes| *bytes > 0),
    })
}
