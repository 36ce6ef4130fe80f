//! Messages of a snapshot: a status in one or more parts, changes, and a heartbeat.
//!
//! No time in a message is later than the time with which it is stamped: that of the newest reading in it.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use jiff::Timestamp;

use super::changes::ChangeBatch;
use super::message::{AppCount, FIELDS, Header, MAX_MESSAGE, MessageKind, SCHEMA};
use super::rotation::Rotation;
use crate::client_list::{Client, Field};
use crate::sample::Pages;
use crate::snapshot::{ClientKind, Seen, Snapshot, State, last_interaction};
use crate::text::{OTHER, escaped};
use crate::view::column::Column;
use crate::view::row::{Row, rows};

/// The applications take at most this part of a status, or of its first message: a quarter.
const APPS_SHARE: usize = 4;

/// A client that does not fit, and is larger than this part of the room for the longest silent ones, is skipped: the
/// next ones may fit. At most [`MAX_TOO_LARGE`] are.
const LARGE_SHARE: usize = 8;
const MAX_TOO_LARGE: usize = 64;

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
    /// Makes a status with all clients of a snapshot: application clients by idle time, the longest first, then those
    /// that wait, then internal connections. If there is no room for all, the first of these take half of it, and the
    /// others take turns. Empty if the node's run id or its clients are unknown.
    pub fn status(&self, snapshot: &Snapshot, rotation: &mut Rotation) -> Vec<String> {
        let Some(header) = self.header(snapshot, MessageKind::Status) else { return Vec::new() };
        let begin = joined(&[json(&header), json(&Rest { info: info(snapshot), fields: fields(snapshot) })]);
        let apps = apps(snapshot, self.max_bytes.min(MAX_MESSAGE) / APPS_SHARE);
        let first = joined(&[begin.clone(), format!("{{\"apps\":{}}}", json(&apps))]);
        let ranked = ranked(snapshot);
        let at = read_at(snapshot);
        let empty = Parts::new([&first, &begin].map(|begin| begin.len() + ENDING), self.reserve);
        let mut parts = empty.clone();
        if !ranked.iter().all(|row| parts.push(client(*row, at), self.max_bytes).is_ok()) {
            parts = empty;
            self.select(&ranked, at, rotation, &mut parts);
        }
        let (truncated, count) = (ranked.len() - parts.clients, parts.lists.len());
        let message = |(part, clients): (usize, &Vec<String>)| {
            let begin = open(if part == 1 { &first } else { &begin });
            let clients = clients.join(",");
            format!("{begin},\"truncated\":{truncated},\"part\":{part},\"parts\":{count},\"clients\":[{clients}]}}")
        };
        (1..).zip(&parts.lists).map(message).collect()
    }

    /// Adds as many clients as fit.
    fn select(&self, ranked: &[Row<'_>], at: Timestamp, rotation: &mut Rotation, parts: &mut Parts) {
        let half = parts.total + self.max_bytes.saturating_sub(parts.total) / 2;
        let (mut listed, mut too_large) = (BTreeSet::new(), 0);
        for row in ranked {
            match parts.push(client(*row, at), half) {
                Ok(()) => drop(listed.insert(row.index)),
                // One client with long texts takes the place of no other.
                Err(size) if size > half / LARGE_SHARE && too_large < MAX_TOO_LARGE => too_large += 1,
                Err(_) => break,
            }
        }
        let mut rows: Vec<(u64, Row<'_>)> = ranked.iter().map(|row| (row.entry.id.unwrap_or(0), *row)).collect();
        rows.sort_unstable_by_key(|(id, row)| (*id, row.index));
        let ids: Vec<u64> = rows.iter().map(|(id, _)| *id).collect();
        let (mut added, mut too_large) = (0, 0);
        rotation.offer(&ids, |turn| {
            let row = rows[turn].1;
            if listed.contains(&row.index) {
                return true;
            }
            if parts.push(client(row, at), self.max_bytes).is_ok() {
                added += 1;
                return true;
            }
            // It is the first one of the next status, unless it does not even fit alone.
            too_large += 1;
            added == 0 && too_large < MAX_TOO_LARGE
        });
    }

    /// Makes a message of the changes that were collected, as many as fit into `max_bytes`. `None` if there are none.
    /// It is stamped with the time of the snapshot, the last one that was added to them.
    pub fn changes(&self, batch: &ChangeBatch, snapshot: &Snapshot, max_bytes: usize) -> Option<String> {
        let begin = json(&self.header(snapshot, MessageKind::Changes)?);
        let room = max_bytes.min(MAX_MESSAGE).saturating_sub(begin.len() + ENDING + self.reserve);
        let (opened, closed) = batch.lists(read_at(snapshot), room)?;
        Some(format!("{},\"opened\":[{opened}],\"closed\":[{closed}]}}", open(&begin)))
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
            sampled_at: to_milliseconds(read_at(snapshot)),
            frequency: self.frequency,
            connections: client_counts.connections(),
            online: client_counts.online(),
            silent: client_counts.silent(),
            opened_total: Some(snapshot.churn.opened()),
            closed_total: Some(snapshot.churn.closed_total()),
            maxclients: info.maxclients,
        })
    }
}

/// The members of a status after its header, the same in each part.
#[derive(Serialize)]
struct Rest {
    info: Map<String, Value>,
    fields: Vec<String>,
}

/// The clients of the parts of a status.
#[derive(Clone)]
struct Parts {
    lists: Vec<Vec<String>>,
    /// Number of clients in all parts.
    clients: usize,
    /// Size of the last part, and of all parts, in bytes.
    last: usize,
    total: usize,
    /// Size of a part without clients: of the first one, and of each further one.
    frames: [usize; 2],
    /// Bytes to leave free in each part.
    reserve: usize,
}

impl Parts {
    /// A first part without clients.
    fn new(frames: [usize; 2], reserve: usize) -> Self {
        Self { lists: vec![Vec::new()], clients: 0, last: frames[0], total: frames[0], frames, reserve }
    }

    /// Adds a client, in a new part if the last one is full.
    ///
    /// # Errors
    /// All parts together would have more than `max_total` bytes. The value is the size of the client.
    fn push(&mut self, client: String, max_total: usize) -> Result<(), usize> {
        let size = client.len() + 1;
        let fits = |frame: usize| frame + size + self.reserve <= MAX_MESSAGE;
        let needs_part = !fits(self.last) && fits(self.frames[1]) && self.lists.last().is_some_and(|it| !it.is_empty());
        let frame = if needs_part { self.frames[1] } else { 0 };
        if self.total + frame + size > max_total || !needs_part && !fits(self.last) {
            return Err(size);
        }
        if needs_part {
            self.lists.push(Vec::new());
            self.last = frame;
        }
        (self.last, self.total, self.clients) = (self.last + size, self.total + frame + size, self.clients + 1);
        if let Some(list) = self.lists.last_mut() {
            list.push(client);
        }
        Ok(())
    }
}

/// The time of the newest reading of a snapshot: clients that connected after the sample are read later.
pub(super) fn read_at(snapshot: &Snapshot) -> Timestamp {
    let sampled_at = snapshot.sample.at;
    snapshot.pages().and_then(Pages::newest).map_or(sampled_at, |newest| newest.max(sampled_at))
}

/// A time in a message that is stamped with `at`, to the second. It is not later than the message: a server's clock may
/// step back.
pub(super) fn no_later(time: Timestamp, at: Timestamp) -> String {
    format!("{:.0}", time.min(at))
}

/// Cuts a time to milliseconds: more digits would only make messages longer.
fn to_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

pub(super) fn json(value: &impl Serialize) -> String {
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

/// The applications, the most connections first. Those beyond `max_bytes` are added to `(other)`, so the sum is always
/// the number of online clients.
fn apps(snapshot: &Snapshot, max_bytes: usize) -> Vec<AppCount> {
    let mut all = snapshot.presence.shown.iter().map(app_count);
    let (mut apps, mut size) = (Vec::new(), 0);
    let mut other = AppCount { app: OTHER.to_owned(), ..AppCount::default() };
    for app in all.by_ref() {
        size += json(&app).len() + 1;
        if size > max_bytes {
            other.add(&app);
            break;
        }
        apps.push(app);
    }
    let folded = snapshot.presence.other.iter().map(app_count);
    all.chain(folded).for_each(|app| other.add(&app));
    apps.extend(Some(other).filter(|other| other.connections > 0));
    apps
}

fn app_count(seen: &Seen) -> AppCount {
    let [blocked, subscribed, idle] =
        [State::Blocked, State::Subscribed, State::Idle].map(|state| seen.now.in_state(state));
    AppCount { app: seen.app.to_string(), connections: seen.now.connections, blocked, subscribed, idle }
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

/// A client in a status that is stamped with `at`.
fn client(row: Row<'_>, at: Timestamp) -> String {
    let mut object = client_object(row, at);
    if let Some(time) = interaction(row) {
        object.insert("last_interaction".to_owned(), no_later(time, at).into());
    }
    json(&object)
}

/// The last interaction of an application client.
pub(super) fn interaction(row: Row<'_>) -> Option<Timestamp> {
    let is_application = row.entry.kind == ClientKind::Application;
    is_application.then(|| last_interaction(row.client, row.read_at())).flatten()
}

/// A client without its last interaction. Its age and its idle time are those at the time `at`, as far as is known.
pub(super) fn client_object(row: Row<'_>, at: Timestamp) -> Map<String, Value> {
    let mut object = Map::new();
    let elapsed = u64::try_from(at.duration_since(row.read_at()).as_secs()).unwrap_or(0);
    let later = |seconds: Option<u64>| seconds.map(|seconds| seconds.saturating_add(elapsed)).filter(|it| *it > 0);
    for field in FIELDS {
        let value = match field {
            Field::Age => later(row.client.age_seconds()).map(Value::from),
            Field::Idle => later(row.client.idle_seconds()).map(Value::from),
            field => value(row.client, field),
        };
        if let Some(value) = value {
            object.insert(Column::of_field(field).name.to_owned(), value);
        }
    }
    match row.entry.kind {
        ClientKind::Application => object.insert("app".to_owned(), row.app.unwrap_or_default().into()),
        kind => object.insert("kind".to_owned(), kind.label().into()),
    };
    object
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
    match field {
        Field::Db => client.number(field).filter(|number| *number != 0).map(Value::from),
        field => client.unsigned(field).filter(|number| *number != 0 || field == Field::Id).map(Value::from),
    }
}

#[cfg(test)]
mod tests;
