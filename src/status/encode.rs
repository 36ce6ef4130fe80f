//! Messages of a snapshot: a status in one or more parts, changes, and a heartbeat.

use serde::Serialize;
use serde_json::{Map, Value};

use jiff::Timestamp;

use super::message::{AppCount, FIELDS, Header, MAX_MESSAGE, MessageKind, SCHEMA};
use crate::client_list::{Client, Field};
use crate::snapshot::{ClientKind, Seen, Snapshot, last_interaction};
use crate::text::escaped;
use crate::view::column::Column;
use crate::view::row::{Row, rows};

/// Maximum number of applications in a status.
const MAX_APPS: usize = 20;

/// Maximum number of opened, and of closed, clients in one message of changes. The next status has all clients in any
/// case.
const MAX_CHANGES: usize = 100;

/// Bytes to leave free for the end of a message: the part numbers, and the names and brackets of its lists.
const ENDING: usize = 100;

/// Maximum length of a text field in a message, in bytes. Longer text adds little and takes the place of other clients.
const MAX_TEXT: usize = 512;

/// The parts that the messages of one announcement have in common.
#[derive(Clone, Debug)]
pub struct Announcement<'a> {
    /// The id of the announcer.
    pub announcer: &'a str,
    /// The node's address.
    pub node: &'a str,
    /// The sequence number of the announcer's message.
    pub seq: u64,
    /// The interval of statuses in seconds.
    pub frequency: f64,
    /// Maximum size of a status in bytes, over all parts, without signatures.
    pub max_bytes: usize,
    /// Bytes to leave free in each part for a signature.
    pub reserve: usize,
}

impl Announcement<'_> {
    /// Makes a status with all clients of a snapshot, or as many as fit: application clients by idle time, the longest
    /// first, then those that wait, then internal connections. Empty if the node's run id or its clients are unknown.
    pub fn status(&self, snapshot: &Snapshot) -> Vec<String> {
        let Some(header) = self.header(snapshot, MessageKind::Status) else { return Vec::new() };
        let rest = Rest { info: info(snapshot), fields: fields(snapshot), apps: apps(snapshot) };
        let clients = ranked(snapshot);
        let begin = joined(&[json(&header), json(&rest)]);
        let frame = begin.len() + ENDING;
        let room = MAX_MESSAGE.saturating_sub(frame + self.reserve);
        let mut parts: Vec<Vec<String>> = vec![Vec::new()];
        let (mut used, mut total, mut written) = (0, frame, 0_u64);
        for text in clients.iter().map(|row| client(*row)) {
            let size = text.len() + 1;
            if used + size > room && !parts.last().is_some_and(Vec::is_empty) {
                if total + frame + size > self.max_bytes {
                    break;
                }
                parts.push(Vec::new());
                (used, total) = (0, total + frame);
            }
            if used + size > room || total + size > self.max_bytes {
                break;
            }
            (used, total, written) = (used + size, total + size, written + 1);
            if let Some(part) = parts.last_mut() {
                part.push(text);
            }
        }
        let truncated = clients.len() as u64 - written;
        let (begin, count) = (open(&begin), parts.len());
        let message = |(part, clients): (usize, &Vec<String>)| {
            let clients = clients.join(",");
            format!("{begin},\"truncated\":{truncated},\"part\":{part},\"parts\":{count},\"clients\":[{clients}]}}")
        };
        (1..).zip(&parts).map(message).collect()
    }

    /// Makes a message of the clients that opened and closed since the previous snapshot; `None` if there are none.
    pub fn changes(&self, snapshot: &Snapshot) -> Option<String> {
        let (changes, roster) = (&snapshot.changes, snapshot.clients()?);
        let rows = changes.opened.iter().filter_map(|&id| Row::new(self.node, snapshot, roster.find(id)?));
        let applications = rows.filter(|row| row.entry.kind == ClientKind::Application);
        let opened = applications.take(MAX_CHANGES).map(client);
        let closed = changes.closed.iter().filter(|closed| closed.kind == ClientKind::Application).map(|closed| {
            json(&ClosedObject {
                id: closed.id,
                address: &closed.address,
                name: &closed.name,
                app: closed.app.as_deref(),
                last_interaction: closed.last_interaction.map(|time| format!("{time:.0}")),
                closed_at: format!("{:.0}", closed.closed_at),
                closed_reason: closed.reason.label(),
            })
        });
        let begin = json(&self.header(snapshot, MessageKind::Changes)?);
        let mut room = MAX_MESSAGE.saturating_sub(begin.len() + ENDING + self.reserve);
        let mut fits = |text: &String| {
            room = room.saturating_sub(text.len() + 1);
            room > 0
        };
        let opened: Vec<String> = opened.take_while(&mut fits).collect();
        let closed: Vec<String> = closed.take(MAX_CHANGES).take_while(&mut fits).collect();
        if opened.is_empty() && closed.is_empty() {
            return None;
        }
        let begin = open(&begin);
        Some(format!("{begin},\"opened\":[{}],\"closed\":[{}]}}", opened.join(","), closed.join(",")))
    }

    /// Makes a heartbeat: the announcer is alive. It has the totals of the last snapshot.
    pub fn heartbeat(&self, snapshot: &Snapshot) -> Option<String> {
        Some(json(&self.header(snapshot, MessageKind::Heartbeat)?))
    }

    fn header(&self, snapshot: &Snapshot, kind: MessageKind) -> Option<Header> {
        let (info, client_counts) = (snapshot.info()?, snapshot.client_counts.as_ref()?);
        Some(Header {
            schema: SCHEMA.to_owned(),
            kind,
            announcer: self.announcer.to_owned(),
            node: self.node.to_owned(),
            run_id: info.run_id.clone()?,
            role: info.role.clone(),
            seq: self.seq,
            sampled_at: to_milliseconds(snapshot.sample.at),
            frequency: self.frequency,
            connections: client_counts.connections(),
            online: client_counts.online(),
            silent: client_counts.silent(),
            maxclients: info.maxclients,
        })
    }
}

/// The members of a status after its header.
#[derive(Serialize)]
struct Rest {
    info: Map<String, Value>,
    fields: Vec<String>,
    apps: Vec<AppCount>,
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
}

/// Cuts a time to milliseconds: more digits would only make messages longer.
fn to_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("all keys are text and all numbers are finite")
}

/// An object without its closing brace, so that members can be added.
fn open(object: &str) -> &str {
    object.strip_suffix('}').unwrap_or(object)
}

/// Joins objects into one with the members of all.
fn joined(objects: &[String]) -> String {
    let members = objects.iter().map(|object| &object[1..object.len() - 1]);
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn info(snapshot: &Snapshot) -> Map<String, Value> {
    snapshot.info().into_iter().flat_map(|info| info.fields()).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The status fields that this server reports.
fn fields(snapshot: &Snapshot) -> Vec<String> {
    let rows = || rows("", snapshot).take(100);
    let is_reported = |field: &&Field| rows().any(|row| row.text(**field).is_some());
    FIELDS.iter().filter(is_reported).map(|field| Column::of_field(*field).name.to_owned()).collect()
}

fn apps(snapshot: &Snapshot) -> Vec<AppCount> {
    let online = snapshot.presence.shown.iter().filter(|seen| seen.is_online());
    let count = |seen: &Seen| AppCount { app: seen.app.to_string(), connections: seen.now.connections };
    online.take(MAX_APPS).map(count).collect()
}

/// The clients in the order in which a status lists them.
fn ranked(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = rows("", snapshot).collect();
    rows.sort_unstable_by_key(|row| {
        let rank = row.entry.state.map_or(2, |state| u8::from(state.is_waiting()));
        (rank, std::cmp::Reverse(row.entry.idle_seconds()), row.entry.id)
    });
    rows
}

fn client(row: Row<'_>) -> String {
    let mut object = Map::new();
    for field in FIELDS {
        if let Some(value) = value(row.client, field) {
            object.insert(Column::of_field(field).name.to_owned(), value);
        }
    }
    match row.entry.kind {
        ClientKind::Application => {
            object.insert("app".to_owned(), row.app.unwrap_or_default().into());
            if let Some(time) = last_interaction(row.client, row.read_at()) {
                object.insert("last_interaction".to_owned(), format!("{time:.0}").into());
            }
        }
        kind => drop(object.insert("kind".to_owned(), kind.label().into())),
    }
    json(&object)
}

/// A field's value; `None` if it is 0, empty or unknown, since such fields are left out. An id is never left out.
fn value(client: &Client<'_>, field: Field) -> Option<Value> {
    // The server's word for no command is not a command.
    if field == Field::Cmd && client.is_silent() {
        return None;
    }
    if field.is_text() {
        let text = client.text(field).filter(|text| !text.is_empty())?;
        let text = escaped(&text[..text.len().min(MAX_TEXT)]);
        // Some compatible servers don't validate names. A receiver refuses a status in which a text could be read as
        // two fields, so a space is escaped. The path of a unix socket keeps its spaces.
        let is_path = field == Field::Addr && (text.starts_with('/') || text.starts_with("[/"));
        return Some(if is_path { text } else { text.replace(' ', "\\x20") }.into());
    }
    client.number(field).filter(|number| *number != 0 || field == Field::Id).map(Value::from)
}

#[cfg(test)]
mod tests;
