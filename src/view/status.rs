//! A snapshot as messages for the channel: a status in one part or several, who came and went, a sign of life.

use serde::Serialize;
use serde_json::{Map, Value};

use jiff::Timestamp;

use super::column::Column;
use super::row::{Row, rows};
use crate::client_list::{Client, Field};
use crate::snapshot::{ClientKind, Seen, Snapshot, last_interaction, spelled_out};
use crate::status::{AppCount, FIELDS, Header, MAX_MESSAGE, MessageKind, SCHEMA};

/// The most applications that a status counts.
const MAX_APPS: usize = 20;

/// The most who came or went that one message tells; a status follows anyway.
const MAX_CHANGES: usize = 100;

/// Bytes to leave free for what ends a message: the numbers of a part, and the names and brackets of its lists.
const ENDING: usize = 100;

/// The longest text of a client's field that is told, in bytes: a longer one says no more of a client, and would push others out.
const MAX_TEXT: usize = 512;

/// Who announces, and what the messages of this moment have in common.
#[derive(Clone, Debug)]
pub struct Announcement<'a> {
    /// Who announces.
    pub announcer: &'a str,
    /// The node's address.
    pub node: &'a str,
    /// The number of this message among the announcer's.
    pub seq: u64,
    /// Seconds from one status to the next.
    pub frequency: f64,
    /// The most bytes of a status in all its parts, without what signing adds.
    pub max_bytes: usize,
    /// Bytes of a part to leave free for a signature.
    pub reserve: usize,
}

impl Announcement<'_> {
    /// All clients of a snapshot, or as many as fit: of the applications' clients those that have been silent longest first,
    /// then those that wait, then internal ones. Nothing if the node's identity or its clients are not known.
    pub fn status(&self, snapshot: &Snapshot) -> Vec<String> {
        let Some(header) = self.header(snapshot, MessageKind::Status) else { return Vec::new() };
        let rest = Rest { info: info(snapshot), fields: fields(snapshot), apps: apps(snapshot) };
        let clients = ranked(snapshot);
        let begin = joined(&[json(&header), json(&rest)]);
        let room = MAX_MESSAGE.saturating_sub(begin.len() + ENDING + self.reserve);
        let mut parts: Vec<Vec<String>> = vec![Vec::new()];
        let (mut used, mut total, mut told) = (0, begin.len(), 0_u64);
        for text in clients.iter().map(|row| client(*row)) {
            let size = text.len() + 1;
            if used + size > room && !parts.last().is_some_and(Vec::is_empty) {
                if total + begin.len() + size > self.max_bytes {
                    break;
                }
                parts.push(Vec::new());
                (used, total) = (0, total + begin.len());
            }
            if used + size > room || total + size > self.max_bytes {
                break;
            }
            (used, total, told) = (used + size, total + size, told + 1);
            if let Some(part) = parts.last_mut() {
                part.push(text);
            }
        }
        let truncated = clients.len() as u64 - told;
        let (begin, count) = (open(&begin), parts.len());
        let written = |(part, clients): (usize, &Vec<String>)| {
            let clients = clients.join(",");
            format!("{begin},\"truncated\":{truncated},\"part\":{part},\"parts\":{count},\"clients\":[{clients}]}}")
        };
        (1..).zip(&parts).map(written).collect()
    }

    /// Who came and went since the snapshot before; `None` if nobody did.
    pub fn changes(&self, snapshot: &Snapshot) -> Option<String> {
        let (changes, roster) = (&snapshot.changes, snapshot.clients()?);
        let rows = changes.opened.iter().filter_map(|&id| Row::new(self.node, snapshot, roster.find(id)?));
        let applications = rows.filter(|row| row.entry.kind == ClientKind::Application);
        let opened = applications.take(MAX_CHANGES).map(client);
        let closed = changes.closed.iter().filter(|closed| closed.kind == ClientKind::Application).map(|closed| {
            json(&Gone {
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

    /// That the announcer is there, with the totals of the last snapshot.
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

/// What follows a status's header.
#[derive(Serialize)]
struct Rest {
    info: Map<String, Value>,
    fields: Vec<String>,
    apps: Vec<AppCount>,
}

/// A client that went.
#[derive(Serialize)]
struct Gone<'a> {
    id: u64,
    address: &'a str,
    name: &'a str,
    app: Option<&'a str>,
    last_interaction: Option<String>,
    closed_at: String,
    closed_reason: &'a str,
}

/// More digits than anybody compares would only make messages longer.
fn to_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it has only text keys and finite numbers")
}

/// An object without its last brace, for more members to follow.
fn open(object: &str) -> &str {
    object.strip_suffix('}').unwrap_or(object)
}

/// Objects as one: the members of all.
fn joined(objects: &[String]) -> String {
    let members = objects.iter().map(|object| &object[1..object.len() - 1]);
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn info(snapshot: &Snapshot) -> Map<String, Value> {
    snapshot.info().into_iter().flat_map(|info| info.fields()).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The fields of a status that this server reports.
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
        (rank, std::cmp::Reverse(row.entry.idle_seconds), row.entry.id)
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

/// A field's value, unless it is zero, empty or unknown.
fn value(client: &Client<'_>, field: Field) -> Option<Value> {
    // The server's word for no command is not a command.
    if field == Field::Cmd && client.is_silent() {
        return None;
    }
    if field.is_text() {
        let text = client.text(field).filter(|text| !text.is_empty())?;
        return Some(spelled_out(&text[..text.len().min(MAX_TEXT)]).into());
    }
    client.number(field).filter(|number| *number != 0).map(Value::from)
}
