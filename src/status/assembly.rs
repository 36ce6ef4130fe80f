//! Assembles the parts of a status into a sample. Its clients become rows in the format of `CLIENT LIST`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::message::{FIELDS, Header, Message};
use crate::client_list::{Field, Listing};
use crate::failure::Refusal;
use crate::memory::{HeldText, LINE_BYTES, MemoryShare, Reservation};
use crate::sample::{ReceivedTotals, Sample, Source};
use crate::server_info::ServerInfo;
use crate::view::column::Column;

/// A status of which some parts were received. Its clients are stored as rows in the format of `CLIENT LIST`, so that
/// received and sampled clients are processed by the same code. Parsed JSON would take many times as much memory.
#[derive(Debug)]
pub(super) struct Partial {
    header: Header,
    info: Map<String, Value>,
    fields: Vec<Field>,
    truncated: u64,
    /// Number of parts received.
    pub(super) parts: u32,
    rows: String,
    seen: BTreeSet<u64>,
    own_ids: Vec<u64>,
    /// For the rows.
    reservation: Reservation,
}

/// Maximum size of the rows of one status in bytes: about 300,000 clients.
const MAX_ROW_BYTES: usize = 64 << 20;

/// Maximum time from the beginning of a sample to its status, where the announcer's frequency is not longer.
const MAX_SAMPLING_TIME: Duration = Duration::from_secs(10);

impl Partial {
    pub(super) fn begin(first: &Message, memory: &Arc<MemoryShare>) -> Self {
        Self {
            header: first.header.clone(),
            info: first.info.clone(),
            fields: known_fields(&first.fields),
            truncated: first.truncated,
            parts: 0,
            rows: String::new(),
            seen: BTreeSet::new(),
            own_ids: Vec::new(),
            reservation: Reservation::none(memory),
        }
    }

    pub(super) fn is_followed_by(&self, message: &Message) -> bool {
        let (header, next) = (&self.header, &message.header);
        header.announcer == next.announcer && header.seq == next.seq && message.part == self.parts + 1
    }

    pub(super) fn is_of_announcer(&self, other: &Self) -> bool {
        self.header.announcer == other.header.announcer
    }

    pub(super) fn add(&mut self, message: &Message) -> Result<(), Refusal> {
        self.parts += 1;
        for client in &message.clients {
            let id = id_of(client)?;
            if !self.seen.insert(id) {
                return Err(Refusal::Client);
            }
            if client.get("kind").is_some_and(|kind| kind == "exporter") {
                self.own_ids.push(id);
            }
            write_row(&mut self.rows, client, &self.fields)?;
            if self.rows.len() > MAX_ROW_BYTES {
                return Err(Refusal::Oversize);
            }
        }
        Ok(())
    }

    /// Reserves memory for the rows so far. Returns false if there is no room.
    pub(super) fn reserve(&mut self) -> bool {
        let needed = self.rows.capacity() as u64 + self.seen.len() as u64 * LINE_BYTES;
        let more = needed.saturating_sub(self.reservation.bytes());
        more == 0 || self.reservation.try_grow(more)
    }

    /// The sample, if the last part arrived at `now`.
    pub(super) fn into_sample(self, now: Timestamp) -> Result<Sample, Refusal> {
        let header = &self.header;
        let listing = Listing::of(HeldText::new(self.rows.into_bytes(), self.reservation));
        let totals = ReceivedTotals {
            connections: header.connections,
            online: header.online,
            silent: header.silent,
            truncated: self.truncated,
        };
        if self.truncated == 0 && listing.clients().len() as u64 != header.connections {
            return Err(Refusal::Incomplete);
        }
        Ok(Sample {
            info: Ok(info_of(header, &self.info)?),
            own_ids: self.own_ids,
            source: Source::Received(totals),
            ..Sample::of(by_our_clock(header, now), listing)
        })
    }
}

/// The time at which a received status was sampled, by our clock: what its announcer says, but not after it arrived,
/// nor longer before than sampling takes. A difference beyond that is one between both clocks.
fn by_our_clock(header: &Header, now: Timestamp) -> Timestamp {
    let delay = Duration::try_from_secs_f64(header.frequency).unwrap_or_default().max(MAX_SAMPLING_TIME);
    let earliest = now.checked_sub(delay).unwrap_or(now);
    header.sampled_at.clamp(earliest, now)
}

fn known_fields(names: &[String]) -> Vec<Field> {
    let is_named = |field: &Field| names.iter().any(|name| name == Column::of_field(*field).name);
    FIELDS.into_iter().filter(|field| *field != Field::Id && is_named(field)).collect()
}

/// The id of a client. Servers count ids as 64-bit signed numbers; a larger one would be lost in the row.
fn id_of(client: &Map<String, Value>) -> Result<u64, Refusal> {
    let id = client.get("id").and_then(Value::as_i64).and_then(|id| u64::try_from(id).ok());
    id.ok_or(Refusal::Client)
}

/// Writes a client as a row of `CLIENT LIST`. Missing fields are written as zero or empty.
fn write_row(reply: &mut String, client: &Map<String, Value>, fields: &[Field]) -> Result<(), Refusal> {
    let id = id_of(client)?;
    write!(reply, "id={id}").map_err(|_| Refusal::Client)?;
    for field in fields {
        let key = field.key();
        let value = client.get(Column::of_field(*field).name);
        let written = match (field.is_text(), value) {
            // A client without a last command, as the server prints it.
            (true, None) if *field == Field::Cmd => write!(reply, " {key}=NULL"),
            (true, None) => write!(reply, " {key}="),
            (false, None) => write!(reply, " {key}=0"),
            (true, Some(Value::String(text))) if is_safe(*field, text) => write!(reply, " {key}={text}"),
            (false, Some(Value::Number(number))) if number.is_i64() || number.is_u64() => {
                write!(reply, " {key}={number}")
            }
            _ => return Err(Refusal::Client),
        };
        written.map_err(|_| Refusal::Client)?;
    }
    reply.push('\n');
    Ok(())
}

/// Returns true if text cannot be read as the start of another field. It must have no control characters and no spaces,
/// because a space separates fields. The path of a unix socket may have spaces, but no `key=` after one.
fn is_safe(field: Field, text: &str) -> bool {
    // Valkey 9.1 writes `[/path:0]:0`.
    let is_path = field == Field::Addr && (text.starts_with('/') || text.starts_with("[/"));
    let is_plain = |character: char| !character.is_control() && (character != ' ' || is_path);
    let looks_like_a_field = |word: &str| {
        let key = word.split_once('=').map(|(key, _)| key);
        key.is_some_and(|key| {
            key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
    };
    text.chars().all(is_plain) && !text.split(' ').skip(1).any(looks_like_a_field)
}

fn info_of(header: &Header, fields: &Map<String, Value>) -> Result<ServerInfo, Refusal> {
    let mut text = String::new();
    for (name, value) in fields {
        let value = match value {
            Value::String(value) => value.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Refusal::Malformed),
        };
        if name.contains([':', '\n', '\r']) || value.contains(['\n', '\r']) {
            return Err(Refusal::Malformed);
        }
        writeln!(text, "{name}:{value}").map_err(|_| Refusal::Malformed)?;
    }
    let mut info = ServerInfo::parse(text.as_bytes());
    info.run_id = Some(header.run_id.clone());
    Ok(info)
}
