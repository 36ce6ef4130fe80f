//! Verifies received messages: signature, order, age and completeness. The input is bytes and the time; the output is
//! samples and keep-alives, or the reason of a refusal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::assembly::Partial;
use super::message::{self, Header, Message, MessageKind};
use super::signature::{self, Key, KeyRing};
use crate::failure::Refusal;
use crate::memory::{MemoryLimit, MemoryShare};
use crate::sample::Sample;

/// Maximum number of parts of one status: 16 MiB in total.
const MAX_PARTS: u32 = 256;

/// Maximum number of announcers of a node that are tracked; above it the one that was silent longest is removed.
const MAX_ANNOUNCERS: usize = 64;

/// Maximum difference between the clock of an announcer and ours. Older messages are refused as replays; a message
/// within this time is accepted again only if the sequence number of its announcer is forgotten.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Number of unsigned messages of a node that are remembered, so that each is accepted once.
const MAX_RECENT: usize = 256;

/// Maximum number of statuses of a node of which some parts were received: those of one announcer, and forged ones.
const MAX_PARTIALS: usize = 4;

/// A verified message.
#[derive(Clone, Debug)]
pub enum Received {
    /// A complete status.
    Status {
        /// The header of its last part.
        header: Header,
        /// The sample in it.
        sample: Arc<Sample>,
        /// True if it was signed with one of our keys.
        signed: bool,
    },
    /// A sign of life of an announcer: a part of a status, changes, or a heartbeat.
    KeepAlive {
        /// Its header.
        header: Header,
        /// True if it was signed with one of our keys.
        signed: bool,
    },
}

/// A message whose signature was checked. A separate type, because the check is too expensive to run twice.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedMessage<'a> {
    bytes: &'a [u8],
    signed: bool,
}

/// The names under which we announce. All copies are one set.
#[derive(Clone, Debug, Default)]
pub struct OwnNames(Arc<Mutex<BTreeSet<String>>>);

impl OwnNames {
    /// Adds a name.
    pub fn add(&self, name: String) {
        self.names().insert(name);
    }

    /// Removes a name.
    pub fn remove(&self, name: &str) {
        self.names().remove(name);
    }

    fn has(&self, name: &str) -> bool {
        self.names().contains(name)
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Option<String>> for OwnNames {
    fn from(name: Option<String>) -> Self {
        Self(Arc::new(Mutex::new(name.into_iter().collect())))
    }
}

/// Receives the messages of a channel.
#[derive(Debug)]
pub struct StatusReceiver {
    keys: KeyRing,
    /// The names under which we announce.
    own: OwnNames,
    /// The number of nodes whose messages are received. Each has its part of what is remembered.
    nodes: usize,
    /// The last message of each announcer, where messages are signed.
    last: BTreeMap<String, LastMessage>,
    /// The hashes of the last unsigned messages.
    recent: VecDeque<u64>,
    hasher: RandomState,
    /// The statuses of which some parts were received.
    partials: VecDeque<Partial>,
    /// True if only the presence of an announcer matters, and not the content.
    presence_only: bool,
    /// For the clients of statuses.
    memory: Arc<MemoryShare>,
}

impl Default for StatusReceiver {
    fn default() -> Self {
        Self::of_ring(KeyRing::default(), OwnNames::default())
    }
}

/// The last message of an announcer.
#[derive(Clone, Copy, Debug)]
struct LastMessage {
    seq: u64,
    part: u32,
    received_at: Timestamp,
}

impl StatusReceiver {
    /// A receiver with these keys. If there are any, unsigned messages are refused. Messages with our own name are
    /// ignored.
    pub fn new(keys: &[Key], own: Option<String>) -> Self {
        Self::of_ring(keys.to_vec().into(), own.into())
    }

    /// Like [`StatusReceiver::new`], with keys that may be replaced, and names that may be added.
    pub fn of_ring(keys: KeyRing, own: OwnNames) -> Self {
        Self {
            keys,
            own,
            nodes: 1,
            last: BTreeMap::new(),
            recent: VecDeque::new(),
            hasher: RandomState::new(),
            partials: VecDeque::new(),
            presence_only: false,
            memory: MemoryLimit::of_process().share(),
        }
    }

    /// Takes the memory for statuses from this share, so that a node's statuses and replies have one limit.
    pub fn within(mut self, memory: Arc<MemoryShare>) -> Self {
        self.memory = memory;
        self
    }

    /// Ignores the content of statuses, so that each message is only a sign of life.
    pub fn presence_only(mut self) -> Self {
        self.presence_only = true;
        self
    }

    /// Sets the number of nodes whose messages are received: those of a cluster arrive on one subscription.
    pub fn set_nodes(&mut self, nodes: usize) {
        self.nodes = nodes.max(1);
    }

    /// Verifies the signature of a message. Without keys, unsigned messages are accepted too.
    ///
    /// # Errors
    /// The receiver has keys, and none of them signed the message.
    pub fn verify<'a>(&self, bytes: &'a [u8]) -> Result<VerifiedMessage<'a>, Refusal> {
        Ok(VerifiedMessage { bytes, signed: signature::verify(bytes, &self.keys.keys())? })
    }

    /// Processes a message. Returns `None` for our own messages, and for messages of an unknown kind.
    ///
    /// # Errors
    /// The reason why it is refused.
    pub fn receive(&mut self, message: VerifiedMessage<'_>, now: Timestamp) -> Result<Option<Received>, Refusal> {
        let VerifiedMessage { bytes, signed } = message;
        let Some(message) = message::read(bytes)? else { return Ok(None) };
        // Our own messages must not count as those of another announcer.
        if self.own.has(&message.header.announcer) {
            return Ok(None);
        }
        self.refuse_replay(&message, bytes, now)?;
        if message.header.kind != MessageKind::Status {
            return Ok(Some(Received::KeepAlive { header: message.header, signed }));
        }
        if message.parts > MAX_PARTS {
            return Err(Refusal::Oversize);
        }
        let header = message.header.clone();
        if self.presence_only {
            return Ok(Some(Received::KeepAlive { header, signed }));
        }
        let Some(status) = self.assemble(&message)? else { return Ok(Some(Received::KeepAlive { header, signed })) };
        let sample = Arc::new(status.into_sample(now)?);
        Ok(Some(Received::Status { header, sample, signed }))
    }

    fn refuse_replay(&mut self, message: &Message, bytes: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let header = &message.header;
        let age = now.duration_since(header.sampled_at).as_secs_f64();
        let max_skew = MAX_CLOCK_SKEW.as_secs_f64();
        // No frequency explains a message from the future, whose sample would be newer than all that follow.
        if age > max_skew + 3.0 * header.frequency || age < -max_skew {
            return Err(Refusal::Replay);
        }
        if self.keys.keys().is_empty() {
            return self.refuse_repetition(bytes);
        }
        let next = LastMessage { seq: header.seq, part: message.part, received_at: now };
        if self.last.get(&header.announcer).is_some_and(|last| (next.seq, next.part) <= (last.seq, last.part)) {
            return Err(Refusal::Replay);
        }
        self.last.insert(header.announcer.clone(), next);
        if self.last.len() > MAX_ANNOUNCERS * self.nodes
            && let Some(oldest) =
                self.last.iter().min_by_key(|(_, last)| last.received_at).map(|(name, _)| name.clone())
        {
            self.last.remove(&oldest);
        }
        Ok(())
    }

    /// Refuses a message that was received before. Without keys, anyone can use an announcer's name with the highest
    /// sequence number, so the numbers do not count: a forged one would block the announcer.
    fn refuse_repetition(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let hash = self.hasher.hash_one(bytes);
        if self.recent.contains(&hash) {
            return Err(Refusal::Replay);
        }
        self.recent.push_back(hash);
        while self.recent.len() > MAX_RECENT * self.nodes {
            self.recent.pop_front();
        }
        Ok(())
    }

    /// Adds a part. Returns the status once its last part is there.
    fn assemble(&mut self, message: &Message) -> Result<Option<Partial>, Refusal> {
        // Parts arrive in order, over one connection. If one is missing, the status is never completed, and discarded
        // when there are too many.
        let started = self.partials.iter().position(|partial| partial.is_followed_by(message));
        let mut partial = match started.and_then(|place| self.partials.remove(place)) {
            Some(partial) => partial,
            None if message.part == 1 => Partial::begin(message, &self.memory),
            None => return Err(Refusal::Incomplete),
        };
        partial.add(message)?;
        // Without room, the statuses that began earlier are given up first.
        while !partial.reserve() {
            self.partials.pop_front().ok_or(Refusal::Oversize)?;
        }
        if partial.parts == message.parts {
            // An announcer sends the parts of one status at a time.
            self.partials.retain(|other| !other.is_of_announcer(&partial));
            return Ok(Some(partial));
        }
        if self.partials.len() >= MAX_PARTIALS * self.nodes {
            self.partials.pop_front();
        }
        self.partials.push_back(partial);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_list::Field;
    use crate::server_info::ServerInfo;
    use crate::snapshot::{Limits, derive};
    use crate::status::{Announcement, FIELDS, Rotation};
    use crate::view::column::Column;
    use crate::view::fixture;

    fn now() -> Timestamp {
        "2026-01-01T00:00:10Z".parse().expect("a time")
    }

    /// A status of one announcer, with these members at the end.
    fn status(seq: u64, more: &str) -> String {
        let at = now() - std::time::Duration::from_secs(5);
        let source = r#""schema":"redis-client-status/2","kind":"status","announcer":"a","redis":"n:1","run_id":"r""#;
        let counts =
            r#""frequency":10,"connections":1,"online":1,"silent":0,"fields":["id","address","name","idle_seconds"]"#;
        format!(r#"{{{source},"seq":{seq},"sampled_at":"{at}",{counts},{more}}}"#)
    }

    fn receive(receiver: &mut StatusReceiver, text: &str, now: Timestamp) -> Result<Option<Received>, Refusal> {
        let message = receiver.verify(text.as_bytes())?;
        receiver.receive(message, now)
    }

    fn receive_now(receiver: &mut StatusReceiver, text: &str) -> Result<Option<usize>, Refusal> {
        Ok(match receive(receiver, text, now())? {
            Some(Received::Status { sample, .. }) => sample.clients.as_ref().ok().map(|pages| pages.len()),
            Some(Received::KeepAlive { .. }) | None => None,
        })
    }

    #[test]
    fn a_status_is_read_like_a_reply_of_the_server() {
        let mut receiver = StatusReceiver::default();
        for (seq, path) in [(1, "/tmp/a b/s=1.sock:0"), (2, "[/tmp/a b/s=1.sock:0]:0")] {
            let client = format!(r#"{{"id":5,"address":"{path}","idle_seconds":3}}"#);
            let text = status(seq, &format!(r#""info":{{"maxclients":7}},"clients":[{client}]"#));
            let Ok(Some(Received::Status { sample, signed: false, .. })) = receive(&mut receiver, &text, now()) else {
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
    fn a_sample_has_a_time_by_our_clock() {
        let mut receiver = StatusReceiver::default();
        let mut sampled_at = |seq: u64, by_the_announcer: &str| {
            let text = status(seq, r#""clients":[{"id":5}]"#).replace("2026-01-01T00:00:05Z", by_the_announcer);
            match receive(&mut receiver, &text, now()) {
                Ok(Some(Received::Status { sample, .. })) => {
                    let pages = sample.clients.as_ref().expect("clients");
                    assert!(pages.clients().all(|(at, _)| at == sample.at));
                    sample.at.to_string()
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(sampled_at(1, "2026-01-01T00:00:04.5Z"), "2026-01-01T00:00:04.5Z", "sampling takes time");
        assert_eq!(sampled_at(2, "2026-01-01T00:01:40Z"), "2026-01-01T00:00:10Z", "its clock is ahead");
        assert_eq!(sampled_at(3, "2025-12-31T23:59:00Z"), "2026-01-01T00:00:00Z", "its clock is behind");
    }

    #[test]
    fn text_with_a_space_does_not_spoil_the_status() {
        // A compatible server that does not validate names.
        let rows =
            "id=1 addr=n:1 name=a b user=app lib-name=c d idle=3 cmd=get\nid=2 addr=n:2 name=web idle=4 cmd=get\n";
        let mut sample = fixture::snapshot(rows).sample.as_ref().clone();
        sample.info = Ok(ServerInfo { run_id: Some("r".into()), ..ServerInfo::default() });
        let snapshot = derive(None, Arc::new(sample), &Limits::default());
        let announcement =
            Announcement { announcer: "a", node: "n:1", seq: 1, frequency: 10.0, max_bytes: 1 << 20, reserve: 0 };
        let parts = announcement.status(&snapshot, &mut Rotation::default());
        assert!(parts[0].contains(r#"a\\x20b"#), "{parts:?}");
        assert_eq!(receive_now(&mut StatusReceiver::default(), &parts[0]), Ok(Some(2)), "{parts:?}");
    }

    /// No server counts from 0, but compatible ones could.
    #[test]
    fn a_client_with_the_id_zero_does_not_spoil_the_status() {
        let mut sample = fixture::snapshot("id=0 addr=n:1 name=web idle=3 cmd=get\n").sample.as_ref().clone();
        sample.info = Ok(ServerInfo { run_id: Some("r".into()), ..ServerInfo::default() });
        let snapshot = derive(None, Arc::new(sample), &Limits::default());
        let announcement =
            Announcement { announcer: "a", node: "n:1", seq: 1, frequency: 10.0, max_bytes: 1 << 20, reserve: 0 };
        let parts = announcement.status(&snapshot, &mut Rotation::default());
        assert_eq!(receive_now(&mut StatusReceiver::default(), &parts[0]), Ok(Some(1)), "{parts:?}");
    }

    #[test]
    fn every_fault_is_refused_with_its_reason() {
        let one = |client: &str| status(1, &format!(r#""clients":[{client}]"#));
        for (text, refusal) in [
            (one(r#"{"id":1,"name":"a user=admin"}"#), Refusal::Client),
            (one("{\"id\":1,\"name\":\"a\\nid=2 addr=x\"}"), Refusal::Client),
            (one(r#"{"id":1,"address":"/a user=admin"}"#), Refusal::Client),
            (one(r#"{"id":"1"}"#), Refusal::Client),
            (one(r#"{"id":-1}"#), Refusal::Client),
            (one(r#"{"id":9223372036854775808}"#), Refusal::Client),
            (one(r#"{"id":1,"idle_seconds":"3"}"#), Refusal::Client),
            (one(r#"{"id":1,"idle_seconds":1.5}"#), Refusal::Client),
            (one(r#"{"id":1},{"id":1}"#), Refusal::Client),
            (one(r#"{"id":1},{"id":2}"#), Refusal::Incomplete),
            (status(1, r#""clients":[]"#), Refusal::Incomplete),
            (status(1, r#""parts":2,"part":2"#), Refusal::Incomplete),
            (one("{\"a\":0}"), Refusal::Client),
            (status(1, r#""parts":1000"#), Refusal::Oversize),
            (status(1, r#""parts":1,"part":2"#), Refusal::Malformed),
            (status(1, r#""info":{"a":[]},"clients":[{"id":1}]"#), Refusal::Malformed),
            (status(1, r#""info":{"a":"b\nmaxclients:1"},"clients":[{"id":1}]"#), Refusal::Malformed),
            (one(r#"{"id":1}"#).replace(":\"2026", ":\"2025"), Refusal::Replay),
        ] {
            assert_eq!(receive_now(&mut StatusReceiver::default(), &text), Err(refusal), "{text}");
        }
    }

    #[test]
    fn a_message_is_accepted_once() {
        for keys in [vec![], vec![Key::new(b"secret")]] {
            let mut receiver = StatusReceiver::new(&keys, None);
            let signed = |seq| {
                let mut text = status(seq, r#""clients":[{"id":1}]"#);
                keys.iter().for_each(|key| key.sign(&mut text));
                text
            };
            assert_eq!(receive_now(&mut receiver, &signed(7)), Ok(Some(1)));
            assert_eq!(receive_now(&mut receiver, &signed(7)), Err(Refusal::Replay));
            // Without keys, a sequence number proves nothing.
            let older = if keys.is_empty() { Ok(Some(1)) } else { Err(Refusal::Replay) };
            assert_eq!(receive_now(&mut receiver, &signed(6)), older);
            assert_eq!(receive_now(&mut receiver, &signed(8)), Ok(Some(1)));
            assert_eq!(receive_now(&mut receiver, &signed(7)), Err(Refusal::Replay));
        }
    }

    #[test]
    fn parts_are_assembled_only_in_their_order() {
        let mut receiver = StatusReceiver::default();
        let part = |seq, part, id| {
            status(seq, &format!(r#""parts":2,"part":{part},"clients":[{{"id":{id}}}]"#))
                .replace("\"connections\":1", "\"connections\":2")
        };
        assert_eq!(receive_now(&mut receiver, &part(1, 1, 1)), Ok(None));
        assert_eq!(receive_now(&mut receiver, &part(1, 2, 2)), Ok(Some(2)));
        assert_eq!(receive_now(&mut receiver, &part(2, 1, 1)), Ok(None));
        assert_eq!(receive_now(&mut receiver, &part(3, 2, 2)), Err(Refusal::Incomplete), "a part of another status");
        assert_eq!(receive_now(&mut receiver, &part(4, 1, 1)), Ok(None), "the next status is assembled again");
        assert_eq!(receive_now(&mut receiver, &part(4, 2, 2)), Ok(Some(2)));
    }

    #[test]
    fn with_keys_only_signed_messages_are_accepted() {
        let mut receiver = StatusReceiver::new(&[Key::new(b"new"), Key::new(b"old")], None);
        for (key, seq, expected) in
            [("old", 1, Ok(Some(1))), ("new", 2, Ok(Some(1))), ("wrong", 3, Err(Refusal::Signature))]
        {
            let mut text = status(seq, r#""clients":[{"id":1}]"#);
            assert_eq!(receive_now(&mut receiver, &text), Err(Refusal::Signature), "unsigned");
            Key::new(key.as_bytes()).sign(&mut text);
            assert_eq!(receive_now(&mut receiver, &text), expected, "{key}");
        }
    }

    #[test]
    fn our_own_messages_are_ignored() {
        let text = status(1, r#""clients":[{"id":1}]"#);
        assert_eq!(receive_now(&mut StatusReceiver::new(&[], Some("a".into())), &text), Ok(None));
        assert_eq!(receive_now(&mut StatusReceiver::new(&[], Some("b".into())), &text), Ok(Some(1)));
    }

    /// A publisher sends them faster than they are processed: 64 may wait for that, of up to 64 MiB each.
    #[test]
    fn statuses_that_wait_share_the_limit_on_memory() {
        let limit = MemoryLimit::new(16 << 20);
        let mut receiver = StatusReceiver::default().within(limit.share());
        let clients: Vec<String> = (0..7000).map(|id| format!("{{\"id\":{id}}}")).collect();
        let text = |seq| status(seq, &format!(r#""truncated":1,"clients":[{}]"#, clients.join(",")));
        let mut waiting = Vec::new();
        let refusal = (0..20).find_map(|seq| match receive(&mut receiver, &text(seq), now()) {
            Ok(received) => {
                waiting.push(Ok(received));
                None
            }
            Err(refusal) => Some(refusal),
        });
        assert_eq!(refusal, Some(Refusal::Oversize));
        assert!((5..12).contains(&waiting.len()), "{}", waiting.len());
        assert!(limit.used() > 8 << 20 && limit.used() <= 16 << 20, "{}", limit.used());
        waiting.clear();
        assert_eq!(limit.used(), 0);
        // The parts of one that is never completed give way to another one.
        let parts =
            |seq, part| text(seq).replace("\"truncated\"", &format!("\"parts\":9,\"part\":{part},\"truncated\""));
        for part in 1..=7 {
            let ids = parts(100, part).replace("{\"id\":", &format!("{{\"id\":{part}0000"));
            assert_eq!(receive_now(&mut receiver, &ids), Ok(None), "{part}");
        }
        assert!(limit.used() > 8 << 20);
        for seq in 200..204 {
            waiting.push(receive(&mut receiver, &text(seq), now()));
            assert!(matches!(waiting.last(), Some(Ok(Some(Received::Status { .. })))), "{seq}");
        }
    }

    /// Parts with many small clients must not take many times their size in memory.
    #[test]
    fn the_memory_of_an_incomplete_status_is_bounded() {
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
            let fields = FIELDS.map(|field| format!("\"{}\"", Column::of_field(field).name)).join(",");
            let text = text.replace(r#""id","address","name","idle_seconds""#, &fields);
            receive_now(&mut receiver, &text).err()
        });
        assert_eq!(refusal, Some(Refusal::Oversize));
        assert!(receiver.partials.is_empty(), "the incomplete status is discarded");
    }

    /// It blocked the announcer for half a minute.
    #[test]
    fn a_forged_sequence_number_blocks_no_announcer() {
        let mut receiver = StatusReceiver::default();
        assert_eq!(receive_now(&mut receiver, &status(u64::MAX, r#""clients":[{"id":1}]"#)), Ok(Some(1)));
        assert_eq!(receive_now(&mut receiver, &status(2, r#""clients":[{"id":1}]"#)), Ok(Some(1)));
    }

    #[test]
    fn forged_statuses_between_the_parts_of_another_one_do_not_discard_it() {
        let mut receiver = StatusReceiver::default();
        let part = |seq, part, id, announcer: &str| {
            status(seq, &format!(r#""parts":2,"part":{part},"clients":[{{"id":{id}}}]"#))
                .replace("\"connections\":1", "\"connections\":2")
                .replace("\"announcer\":\"a\"", &format!("\"announcer\":\"{announcer}\""))
        };
        assert_eq!(receive_now(&mut receiver, &part(1, 1, 1, "a")), Ok(None));
        assert_eq!(receive_now(&mut receiver, &part(1, 1, 7, "forger")), Ok(None));
        assert_eq!(receive_now(&mut receiver, &part(9, 1, 8, "a")), Ok(None));
        assert_eq!(receive_now(&mut receiver, &part(3, 2, 9, "forger")), Err(Refusal::Incomplete));
        assert_eq!(
            receive_now(&mut receiver, &status(4, r#""clients":[{"id":3}]"#).replace("\"a\"", "\"b\"")),
            Ok(Some(1))
        );
        assert_eq!(receive_now(&mut receiver, &part(1, 2, 2, "a")), Ok(Some(2)));
        for seq in 10..100 {
            assert_eq!(receive_now(&mut receiver, &part(seq, 1, 1, "forger")), Ok(None));
        }
        assert_eq!(receiver.partials.len(), MAX_PARTIALS);
    }

    /// It would be newer than every true status until then.
    #[test]
    fn no_frequency_makes_a_message_from_the_future_valid() {
        let text = status(1, r#""clients":[{"id":1}]"#).replace("\"frequency\":10", "\"frequency\":86400");
        assert!(text.contains("86400"), "{text}");
        let at = |now| receive(&mut StatusReceiver::default(), &text, now).map(|received| received.is_some());
        let seconds = Duration::from_secs;
        assert_eq!(at(now() + seconds(100_000)), Ok(true), "read long ago, and announced seldom");
        assert_eq!((at(now() - seconds(100)), at(now() - seconds(200))), (Ok(true), Err(Refusal::Replay)));
    }

    #[test]
    fn the_number_of_tracked_announcers_is_bounded() {
        let key = Key::new(b"secret");
        let mut receiver = StatusReceiver::new(std::slice::from_ref(&key), None);
        for number in 0..1000 {
            let mut text = status(1, r#""clients":[{"id":1}]"#).replace("\"a\"", &format!("\"a{number}\""));
            key.sign(&mut text);
            assert_eq!(receive_now(&mut receiver, &text), Ok(Some(1)));
        }
        assert!(receiver.last.len() <= MAX_ANNOUNCERS);
    }
}
