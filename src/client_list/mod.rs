//! Parses the reply to `CLIENT LIST` into clients, and counts lines that could not be parsed by their fault. Pure.
//!
//! Accepts the replies of every version of Redis and Valkey, and of compatible servers. Fields are found by key and
//! never by position, because new fields were often added in the middle. Nothing is copied: clients borrow from the
//! reply.

mod address;
mod client;
mod field;
mod flags;
mod line;

use std::collections::HashSet;
use std::fmt;

use memchr::{memchr, memchr_iter};
use self_cell::self_cell;

pub use address::Address;
pub use client::Client;
pub use field::Field;
pub use flags::Flags;

use crate::memory::{HeldText, Reservation};
use line::{Layout, Line};

/// The clients of one reply, and the count of unreadable lines.
#[derive(Clone, Default)]
pub struct Parsed<'a> {
    /// The clients in the order of the reply.
    pub clients: Vec<Client<'a>>,
    /// The counts of lines that could not be parsed.
    pub unreadable: Unreadable,
}

/// The reason why a line could not be parsed as a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It begins with neither `id=` nor `addr=`.
    NotAClient,
    /// The reply ends in the middle of it.
    Truncated,
    /// It is longer than 64 KiB even with every value truncated to 1 KiB.
    TooLong,
    /// The server or the network failed at the reply with this client alone, usually because it is too large.
    TooLarge,
    /// It was not asked for, or is there twice.
    NotAsked,
    /// It continues the row before it, whose text has a line break. On servers that do not validate names (Dragonfly),
    /// a client can write a row.
    Continuation,
    /// A row before it has its id.
    Duplicate,
}

impl Fault {
    /// Every fault, in the order in which they are counted.
    pub const ALL: [Fault; 7] = [
        Fault::NotAClient,
        Fault::Truncated,
        Fault::TooLong,
        Fault::TooLarge,
        Fault::NotAsked,
        Fault::Continuation,
        Fault::Duplicate,
    ];

    /// The fault as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            Fault::NotAClient => "not_a_client",
            Fault::Truncated => "truncated",
            Fault::TooLong => "too_long",
            Fault::TooLarge => "too_large",
            Fault::NotAsked => "not_asked",
            Fault::Continuation => "continuation",
            Fault::Duplicate => "duplicate",
        }
    }
}

/// The counts of lines that could not be parsed, by fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreadable([u64; Fault::ALL.len()]);

impl Unreadable {
    /// Number of lines with this fault.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Number of all unreadable lines.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The sum of both counts.
    pub fn plus(mut self, more: Unreadable) -> Self {
        for (count, more) in self.0.iter_mut().zip(more.0) {
            *count += more;
        }
        self
    }

    /// Counts a line with this fault.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }
}

/// Parses a reply. Never fails: every line that is not blank becomes a client or is counted as unreadable.
pub fn parse(reply: &[u8]) -> Parsed<'_> {
    let (parsed, endings) = parse_rows(reply, None);
    // The rows of a server end with the same key. Another end may be that of a row with a line break in it.
    match endings.most_common() {
        Some(ending) if endings.0.len() > 1 => {
            // Both at the same time would take twice the memory.
            drop(parsed);
            parse_rows(reply, Some(ending)).0
        }
        _ => parsed,
    }
}

/// The last keys of the rows, with their numbers of rows.
struct Endings<'a>(Vec<(&'a [u8], usize)>);

impl<'a> Endings<'a> {
    /// Maximum number of different keys that are counted.
    const MAX: usize = 16;

    fn add(&mut self, key: &'a [u8]) {
        if let Some((_, rows)) = self.0.iter_mut().find(|(known, _)| *known == key) {
            *rows += 1;
        } else if self.0.len() < Self::MAX {
            self.0.push((key, 1));
        }
    }

    fn most_common(&self) -> Option<&'a [u8]> {
        self.0.iter().max_by_key(|(_, rows)| rows).map(|(key, _)| *key)
    }
}

/// Parses the rows. With the last key of rows, the line after a row that was cut is the rest of it, and no client. More
/// than this one line is never taken from the clients that follow: they could be others.
fn parse_rows<'a>(reply: &'a [u8], ending: Option<&[u8]>) -> (Parsed<'a>, Endings<'a>) {
    let mut endings = Endings(Vec::new());
    let mut ids = Ids::default();
    let mut is_cut = false;
    // Counted, as a vector that grows takes up to three times the memory for a moment.
    let lines = memchr_iter(b'\n', reply).count() + 1;
    let mut parsed = Parsed { clients: Vec::with_capacity(lines), unreadable: Unreadable::default() };
    let mut layout = Layout::new();
    let mut rest = reply;
    while !rest.is_empty() {
        let (line, ended) = match memchr(b'\n', rest) {
            Some(end) => {
                let line = &rest[..end];
                rest = &rest[end + 1..];
                (line, true)
            }
            None => (std::mem::take(&mut rest), false),
        };
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let follows_cut = std::mem::take(&mut is_cut);
        match read_line(line, ended, &mut layout) {
            Ok(_) if follows_cut => parsed.unreadable.add(Fault::Continuation),
            Ok(client) if client.id().is_some_and(|id| ids.has(id, &parsed.clients)) => {
                parsed.unreadable.add(Fault::Duplicate);
            }
            Ok(client) => {
                parsed.clients.push(client);
                if let Some((key, field)) = layout.last() {
                    endings.add(key);
                    is_cut = ending.is_some_and(|ending| !layout.iter().any(|(key, _)| *key == ending))
                        && field.is_some_and(Field::is_set_by_clients);
                }
            }
            Err(fault) => parsed.unreadable.add(fault),
        }
    }
    (parsed, endings)
}

/// The ids of the rows so far. Most servers list them in ascending order, and then only the last one is needed.
#[derive(Default)]
struct Ids {
    highest: u64,
    all: Option<HashSet<u64>>,
}

impl Ids {
    /// Adds an id. Returns true if a row before has it.
    fn has(&mut self, id: u64, rows: &[Client<'_>]) -> bool {
        if let Some(all) = &mut self.all {
            return !all.insert(id);
        }
        if id > self.highest || rows.is_empty() {
            self.highest = id;
            return false;
        }
        let mut all: HashSet<u64> = rows.iter().filter_map(Client::id).collect();
        let is_known = !all.insert(id);
        self.all = Some(all);
        is_known
    }
}

fn read_line<'a>(text: &'a [u8], ended: bool, layout: &mut Layout<'a>) -> Result<Client<'a>, Fault> {
    if !line::begins_a_client(text) {
        return Err(Fault::NotAClient);
    }
    if text.len() > line::MAX_ROW {
        return Line::read_shortened(text).map(|line| Client { line }).ok_or(Fault::TooLong);
    }
    let keys_before = layout.len();
    let line = Line::read(text, layout);
    // Some servers omit the line break of the last line, so only missing fields show that it was truncated.
    if !ended && layout.len() < keys_before {
        return Err(Fault::Truncated);
    }
    Ok(Client { line })
}

self_cell!(
    struct ParsedReply {
        owner: Vec<u8>,
        #[covariant]
        dependent: Parsed,
    }
);

/// A reply together with the clients that borrow from it.
pub struct Listing {
    parsed: ParsedReply,
    /// Released with the listing.
    _reservation: Option<Reservation>,
}

impl Listing {
    /// Parses a reply and keeps it. Rows longer than 64 KiB are kept with each value truncated to 1 KiB, so that names
    /// of megabytes do not use up our memory.
    pub fn new(reply: Vec<u8>) -> Self {
        Self::of(reply.into())
    }

    /// Parses a reply and keeps it, with the memory that is reserved for it.
    pub fn of(reply: HeldText) -> Self {
        let (reply, reservation) = reply.into_parts();
        Self { parsed: ParsedReply::new(shortened(reply), |reply| parse(reply)), _reservation: reservation }
    }

    /// The clients in the order of the reply.
    pub fn clients(&self) -> &[Client<'_>] {
        &self.parsed.borrow_dependent().clients
    }

    /// Removes the clients for which `keep` is false. Returns their number.
    pub fn retain(&mut self, keep: impl FnMut(&Client<'_>) -> bool) -> usize {
        self.parsed.with_dependent_mut(|_, parsed| {
            let before = parsed.clients.len();
            parsed.clients.retain(keep);
            before - parsed.clients.len()
        })
    }

    /// The counts of lines that could not be parsed.
    pub fn unreadable(&self) -> Unreadable {
        self.parsed.borrow_dependent().unreadable
    }
}

/// Truncates the values of rows that are too long. A row that stays too long keeps one byte more than the limit.
fn shortened(reply: Vec<u8>) -> Vec<u8> {
    if reply.split(|&byte| byte == b'\n').all(|row| row.len() <= line::MAX_ROW) {
        return reply;
    }
    let mut short = Vec::new();
    for row in reply.split_inclusive(|&byte| byte == b'\n') {
        match row.len() > line::MAX_ROW {
            true => {
                line::shorten(row, &mut short);
                short.extend(row.ends_with(b"\n").then_some(b'\n'));
            }
            false => short.extend_from_slice(row),
        }
    }
    short
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("clients", &self.clients().len())
            .field("unreadable", &self.unreadable())
            .finish()
    }
}
