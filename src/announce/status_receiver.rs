//! What is believed of what is heard. Pure: bytes and the time go in, samples and signs of life come out, and everything that is
//! refused is refused for a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::client_list::{Field, Listing};
use crate::sample::{Cost, Pages, ReceivedTotals, Sample, Source};
use crate::server_info::ServerInfo;
use crate::status::{self, FIELDS, Header, Key, Message, MessageKind, Refusal};

/// The most parts of one status: 16 MiB.
const MAX_PARTS: u32 = 256;

/// The most announcers that are remembered; of more the one heard longest ago is forgotten.
const MAX_ANNOUNCERS: usize = 64;

/// How far the clock of a node may be from ours. What is older was announced before; that much may be heard again.
const CLOCKS_DIFFER: Duration = Duration::from_secs(120);

/// After so long without a message that was believed, the number of an announcer's last unsigned one is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What was heard.
#[derive(Clone, Debug)]
pub enum Received {
    /// A whole status.
    Status {
        /// Its header.
        header: Header,
        /// What it tells.
        sample: Arc<Sample>,
        /// Whether it was signed with a key of ours.
        signed: bool,
    },
    /// That somebody announces: a part of a status, changes, a heartbeat.
    Continuity {
        /// Its header.
        header: Header,
        /// Whether it was signed with a key of ours.
        signed: bool,
    },
}

/// A message whose signature was looked at, which costs too much to be done twice.
#[derive(Clone, Copy, Debug)]
pub struct Credible<'a> {
    bytes: &'a [u8],
    signed: bool,
}

/// Listens to the announcers of a channel.
#[derive(Debug, Default)]
pub struct StatusReceiver {
    keys: Vec<Key>,
    /// The name that we announce by.
    own: Option<String>,
    last: BTreeMap<String, Last>,
    /// The status of which parts have come; of one announcer, since one talks.
    partial: Option<Partial>,
    /// Whether only who announces is of interest, and not what.
    presence_only: bool,
}

/// What was heard last of an announcer.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    part: u32,
    heard: Timestamp,
}

impl StatusReceiver {
    /// An receiver that knows these keys. With any, unsigned messages are refused. What is announced by our own name is not heard.
    pub fn new(keys: &[Key], own: Option<String>) -> Self {
        Self { keys: keys.to_vec(), own, ..Self::default() }
    }

    /// Takes of a status only that somebody announces.
    pub fn presence_only(mut self) -> Self {
        self.presence_only = true;
        self
    }

    /// Whether a message is worth hearing: with keys, only a signed one is.
    ///
    /// # Errors
    /// If it is not.
    pub fn credible<'a>(&self, bytes: &'a [u8]) -> Result<Credible<'a>, Refusal> {
        Ok(Credible { bytes, signed: status::is_signed(bytes, &self.keys)? })
    }

    /// Hears a message; nothing comes of our own, nor of one of a kind that is not known.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn hear(&mut self, message: Credible<'_>, now: Timestamp) -> Result<Option<Received>, Refusal> {
        let Credible { bytes, signed } = message;
        let Some(message) = status::read(bytes)? else { return Ok(None) };
        // Our own words are no reason to believe that another speaks, or samples.
        if self.own.as_ref() == Some(&message.header.announcer) {
            return Ok(None);
        }
        self.refuse_replay(&message, now)?;
        if message.header.kind != MessageKind::Status {
            return Ok(Some(Received::Continuity { header: message.header, signed }));
        }
        if message.parts > MAX_PARTS {
            return Err(Refusal::Oversize);
        }
        let header = message.header.clone();
        if self.presence_only {
            return Ok(Some(Received::Continuity { header, signed }));
        }
        let Some(whole) = self.assembled(&message)? else { return Ok(Some(Received::Continuity { header, signed })) };
        let sample = Arc::new(whole.into_sample()?);
        Ok(Some(Received::Status { header, sample, signed }))
    }

    fn refuse_replay(&mut self, message: &Message, now: Timestamp) -> Result<(), Refusal> {
        let header = &message.header;
        let age = now.as_duration().as_secs_f64() - header.at;
        if age.abs() > CLOCKS_DIFFER.as_secs_f64() + 3.0 * header.frequency {
            return Err(Refusal::Replay);
        }
        let next = Last { seq: header.seq, part: message.part, heard: now };
        // Without a key anybody may take an announcer's name and a number that none comes after: that is forgotten.
        let forgets = |last: &Last| {
            let silence = now.duration_since(last.heard).as_secs_f64();
            self.keys.is_empty() && silence > (3.0 * header.frequency).min(FORGOTTEN_AFTER.as_secs_f64())
        };
        if let Some(last) = self.last.get(&header.announcer)
            && (next.seq, next.part) <= (last.seq, last.part)
            && !forgets(last)
        {
            return Err(Refusal::Replay);
        }
        self.last.insert(header.announcer.clone(), next);
        if self.last.len() > MAX_ANNOUNCERS
            && let Some(oldest) = self.last.iter().min_by_key(|(_, last)| last.heard).map(|(name, _)| name.clone())
        {
            self.last.remove(&oldest);
        }
        Ok(())
    }

    /// The whole status, once its last part is there.
    fn assembled(&mut self, message: &Message) -> Result<Option<Partial>, Refusal> {
        let begun = self.partial.take();
        // They come in their order, over one connection; one that is missing spoils the whole.
        let mut partial = match begun.filter(|begun| begun.is_followed_by(message)) {
            Some(begun) => begun,
            None if message.part == 1 => Partial::begin(message),
            None => return Err(Refusal::Incomplete),
        };
        partial.add(message)?;
        if partial.parts == message.parts {
            return Ok(Some(partial));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

/// A status of which some parts have come: its clients written as the server would write them, so that what is heard goes the same
/// way as what is sampled. What was read of JSON takes many times as much memory.
#[derive(Debug)]
struct Partial {
    header: Header,
    info: Map<String, Value>,
    fields: Vec<Field>,
    truncated: u64,
    /// Parts that have come.
    parts: u32,
    rows: String,
    seen: BTreeSet<u64>,
    own_ids: Vec<u64>,
}

/// The most bytes of rows that a status may make: some 300,000 clients.
const MAX_ROW_BYTES: usize = 64 << 20;

impl Partial {
    fn begin(first: &Message) -> Self {
        Self {
            header: first.header.clone(),
            info: first.info.clone(),
            fields: known_fields(&first.fields),
            truncated: first.truncated,
            parts: 0,
            rows: String::new(),
            seen: BTreeSet::new(),
            own_ids: Vec::new(),
        }
    }

    fn is_followed_by(&self, message: &Message) -> bool {
        let (ours, its) = (&self.header, &message.header);
        ours.announcer == its.announcer && ours.seq == its.seq && message.part == self.parts + 1
    }

    fn add(&mut self, message: &Message) -> Result<(), Refusal> {
        self.parts += 1;
        for client in &message.clients {
            let id = client.get("id").and_then(Value::as_u64).ok_or(Refusal::Client)?;
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

    fn into_sample(self) -> Result<Sample, Refusal> {
        let header = &self.header;
        let at = Timestamp::from_millisecond((header.at * 1000.0) as i64).map_err(|_| Refusal::Malformed)?;
        let pages = Pages::one(at, Listing::new(self.rows.into_bytes()));
        let totals = ReceivedTotals {
            connections: header.connections,
            online: header.online,
            silent: header.silent,
            truncated: self.truncated,
        };
        if self.truncated == 0 && pages.len() as u64 != header.connections {
            return Err(Refusal::Incomplete);
        }
        Ok(Sample {
            at,
            info: Ok(info_of(header, &self.info)?),
            unreadable: pages.unreadable(),
            clients: Ok(pages),
            own_ids: self.own_ids,
            cost: Cost::default(),
            source: Source::Received(totals),
        })
    }
}

fn known_fields(names: &[String]) -> Vec<Field> {
    let named = names.iter().filter_map(|name| Field::from_key(name.replace('_', "-").as_bytes()));
    named.filter(|field| FIELDS.contains(field) && *field != Field::Id).collect()
}

/// A client as `CLIENT LIST` would tell it: fields that were left out are zero or empty.
fn write_row(reply: &mut String, client: &Map<String, Value>, fields: &[Field]) -> Result<(), Refusal> {
    let id = client.get("id").and_then(Value::as_u64).ok_or(Refusal::Client)?;
    write!(reply, "id={id}").map_err(|_| Refusal::Client)?;
    for field in fields {
        let key = field.key();
        let value = client.get(&key.replace('-', "_"));
        let written = match (field.is_text(), value) {
            (true, None) => write!(reply, " {key}="),
            (false, None) => write!(reply, " {key}=0"),
            (true, Some(Value::String(text))) if is_harmless(*field, text) => write!(reply, " {key}={text}"),
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

/// Whether text stays within its field: no space, which would begin the next one. Other white space is a part of a row's value. The path of a unix socket may hold
/// spaces, but nothing behind one that looks like a field.
fn is_harmless(field: Field, text: &str) -> bool {
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

fn info_of(header: &Header, told: &Map<String, Value>) -> Result<ServerInfo, Refusal> {
    let mut text = String::new();
    for (name, value) in told {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:10Z".parse().expect("a time")
    }

    /// A status of one announcer, with this at its end.
    fn status(seq: u64, more: &str) -> String {
        let at = now().as_second() - 5;
        format!(
            r#"{{"schema":"redis-client-status/1","kind":"status","announcer":"a","node":"n:1","run_id":"r","seq":{seq},"at":{at},"frequency":10,"connections":1,"online":1,"silent":0,"fields":["id","addr","name","idle"],{more}}}"#
        )
    }

    fn hear(receiver: &mut StatusReceiver, text: &str, now: Timestamp) -> Result<Option<Received>, Refusal> {
        let message = receiver.credible(text.as_bytes())?;
        receiver.hear(message, now)
    }

    fn heard(receiver: &mut StatusReceiver, text: &str) -> Result<Option<usize>, Refusal> {
        Ok(match hear(receiver, text, now())? {
            Some(Received::Status { sample, .. }) => sample.clients.as_ref().ok().map(|pages| pages.len()),
            Some(Received::Continuity { .. }) | None => None,
        })
    }

    #[test]
    fn a_status_is_read_as_the_server_would_have_told_it() {
        let mut receiver = StatusReceiver::default();
        for (seq, path) in [(1, "/tmp/a b/s=1.sock:0"), (2, "[/tmp/a b/s=1.sock:0]:0")] {
            let client = format!(r#"{{"id":5,"addr":"{path}","idle":3}}"#);
            let text = status(seq, &format!(r#""info":{{"maxclients":7}},"clients":[{client}]"#));
            let Ok(Some(Received::Status { sample, signed: false, .. })) = hear(&mut receiver, &text, now()) else {
                panic!("a status");
            };
            assert_eq!(sample.info.as_ref().map(|info| info.maxclients), Ok(Some(7)));
            let pages = sample.clients.as_ref().expect("clients");
            let client = pages.clients().next().expect("a client").1;
            assert_eq!((client.id(), client.idle_seconds()), (Some(5), Some(3)));
            assert_eq!(client.text(Field::Name), Some(&b""[..]));
            assert_eq!(client.text(Field::Addr), Some(path.as_bytes()));
            assert_eq!(client.text(Field::User), None, "a field that this server does not have");
        }
    }

    #[test]
    fn whatever_is_wrong_is_refused_for_its_reason() {
        let one = |client: &str| status(1, &format!(r#""clients":[{client}]"#));
        for (text, refusal) in [
            (one(r#"{"id":1,"name":"a user=admin"}"#), Refusal::Client),
            (one("{\"id\":1,\"name\":\"a\\nid=2 addr=x\"}"), Refusal::Client),
            (one(r#"{"id":1,"addr":"/a user=admin"}"#), Refusal::Client),
            (one(r#"{"id":"1"}"#), Refusal::Client),
            (one(r#"{"id":-1}"#), Refusal::Client),
            (one(r#"{"id":1,"idle":"3"}"#), Refusal::Client),
            (one(r#"{"id":1,"idle":1.5}"#), Refusal::Client),
            (one(r#"{"id":1},{"id":1}"#), Refusal::Client),
            (one(r#"{"id":1},{"id":2}"#), Refusal::Incomplete),
            (status(1, r#""clients":[]"#), Refusal::Incomplete),
            (status(1, r#""parts":2,"part":2"#), Refusal::Incomplete),
            (one("{\"a\":0}"), Refusal::Client),
            (status(1, r#""parts":1000"#), Refusal::Oversize),
            (status(1, r#""parts":1,"part":2"#), Refusal::Malformed),
            (status(1, r#""info":{"a":[]},"clients":[{"id":1}]"#), Refusal::Malformed),
            (status(1, r#""info":{"a":"b\nmaxclients:1"},"clients":[{"id":1}]"#), Refusal::Malformed),
            (one(r#"{"id":1}"#).replace("\"at\":17", "\"at\":16"), Refusal::Replay),
        ] {
            assert_eq!(heard(&mut StatusReceiver::default(), &text), Err(refusal), "{text}");
        }
    }

    #[test]
    fn nothing_is_heard_twice() {
        let mut receiver = StatusReceiver::default();
        let text = status(7, r#""clients":[{"id":1}]"#);
        assert_eq!(heard(&mut receiver, &text), Ok(Some(1)));
        assert_eq!(heard(&mut receiver, &text), Err(Refusal::Replay));
        assert_eq!(heard(&mut receiver, &status(6, r#""clients":[{"id":1}]"#)), Err(Refusal::Replay));
        assert_eq!(heard(&mut receiver, &status(8, r#""clients":[{"id":1}]"#)), Ok(Some(1)));
    }

    #[test]
    fn parts_make_a_whole_in_their_order_only() {
        let mut receiver = StatusReceiver::default();
        let part = |seq, part, id| {
            status(seq, &format!(r#""parts":2,"part":{part},"clients":[{{"id":{id}}}]"#))
                .replace("\"connections\":1", "\"connections\":2")
        };
        assert_eq!(heard(&mut receiver, &part(1, 1, 1)), Ok(None));
        assert_eq!(heard(&mut receiver, &part(1, 2, 2)), Ok(Some(2)));
        assert_eq!(heard(&mut receiver, &part(2, 1, 1)), Ok(None));
        assert_eq!(heard(&mut receiver, &part(3, 2, 2)), Err(Refusal::Incomplete), "of another status");
        assert_eq!(heard(&mut receiver, &part(4, 1, 1)), Ok(None), "and the next is whole again");
        assert_eq!(heard(&mut receiver, &part(4, 2, 2)), Ok(Some(2)));
    }

    #[test]
    fn with_a_key_only_what_is_signed_is_believed() {
        let mut receiver = StatusReceiver::new(&[Key::new(b"new"), Key::new(b"old")], None);
        for (key, seq, expected) in
            [("old", 1, Ok(Some(1))), ("new", 2, Ok(Some(1))), ("wrong", 3, Err(Refusal::Signature))]
        {
            let mut text = status(seq, r#""clients":[{"id":1}]"#);
            assert_eq!(heard(&mut receiver, &text), Err(Refusal::Signature), "unsigned");
            Key::new(key.as_bytes()).sign(&mut text);
            assert_eq!(heard(&mut receiver, &text), expected, "{key}");
        }
    }

    #[test]
    fn we_do_not_hear_ourselves() {
        let text = status(1, r#""clients":[{"id":1}]"#);
        assert_eq!(heard(&mut StatusReceiver::new(&[], Some("a".into())), &text), Ok(None));
        assert_eq!(heard(&mut StatusReceiver::new(&[], Some("b".into())), &text), Ok(Some(1)));
    }

    /// A part of small clients must not take many times its size.
    #[test]
    fn parts_that_are_waited_for_are_bounded() {
        let mut receiver = StatusReceiver::default();
        let mut id = 0;
        let refusal = (1..=MAX_PARTS).find_map(|part| {
            let clients: Vec<String> = (0..7000)
                .map(|_| {
                    id += 1;
                    format!("{{\"id\":{id}}}")
                })
                .collect();
            let text = status(1, &format!(r#""parts":256,"part":{part},"clients":[{}]"#, clients.join(",")));
            let fields = FIELDS.map(|field| format!("\"{}\"", field.key().replace('-', "_"))).join(",");
            let text = text.replace(r#""id","addr","name","idle""#, &fields);
            heard(&mut receiver, &text).err()
        });
        assert_eq!(refusal, Some(Refusal::Oversize));
        assert!(receiver.partial.is_none(), "and then nothing of it is kept");
    }

    #[test]
    fn a_forged_number_silences_an_announcer_for_a_while_only() {
        let mut receiver = StatusReceiver::default();
        assert_eq!(heard(&mut receiver, &status(u64::MAX, r#""clients":[{"id":1}]"#)), Ok(Some(1)));
        assert_eq!(heard(&mut receiver, &status(2, r#""clients":[{"id":1}]"#)), Err(Refusal::Replay));
        let later = now() + Duration::from_secs(31);
        assert!(hear(&mut receiver, &status(3, r#""clients":[{"id":1}]"#), later).is_ok());
    }

    #[test]
    fn announcers_without_end_are_not_all_remembered() {
        let mut receiver = StatusReceiver::default();
        for number in 0..1000 {
            let text = status(1, r#""clients":[{"id":1}]"#).replace("\"a\"", &format!("\"a{number}\""));
            assert_eq!(heard(&mut receiver, &text), Ok(Some(1)));
        }
        assert!(receiver.last.len() <= MAX_ANNOUNCERS);
    }
}
