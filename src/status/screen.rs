//! The channel as a person sees it: the nodes that are announced, each apart, and a note if no exporter announces.
//! Pure: messages and the time are passed in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::display::{self, ClientLine, shown};
use super::message::{AppCount, Header, Message, MessageKind};
use crate::failure::Refusal;
use crate::view::humanize::ago;

/// Maximum number of nodes. Above it, the one without a message for the longest time is removed.
const MAX_NODES: usize = 256;

/// The last changes of a node that are shown.
const MAX_CHANGE_LINES: usize = 10;

/// The last messages of a node that are remembered: in a cluster, subscriptions of several servers receive each one.
const MAX_REMEMBERED: usize = 32;

/// The time without a message after which a node is no longer announced, in multiples of the announced frequency.
pub const PATIENCE: f64 = 2.5;
const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// The time after which a server without any message has no announcer: 2.5 times the default frequency, and more.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// The nodes that were announced on the channels of some servers.
#[derive(Debug)]
pub struct Screen {
    channel: String,
    /// Maximum number of clients of a node.
    limit: usize,
    servers: BTreeMap<String, Subscribed>,
    /// The reasons of refused messages.
    refused: BTreeSet<&'static str>,
    /// By name and `run_id`.
    nodes: BTreeMap<(String, String), NodeBlock>,
}

/// A server to which we subscribe.
#[derive(Debug)]
struct Subscribed {
    since: Instant,
    has_received: bool,
    /// True if it was reported that no exporter announces.
    is_reported: bool,
    failure: Option<String>,
}

/// An announced node.
#[derive(Debug)]
struct NodeBlock {
    /// Of the last message.
    header: Header,
    received_at: Instant,
    /// Hashes of announcers with their `seq` and `part`.
    remembered: VecDeque<u64>,
    /// The last complete status.
    status: Option<Contents>,
    /// A status of which the last part is missing, and the number of its parts so far.
    incomplete: Option<(Contents, u32)>,
    /// The changes since the last status.
    changes: VecDeque<String>,
    /// True if it was reported that no exporter announces it.
    is_silent: bool,
}

/// The contents of a status.
#[derive(Debug)]
struct Contents {
    announcer: String,
    seq: u64,
    apps: Vec<AppCount>,
    /// Application clients: the longest idle ones.
    clients: Vec<ClientLine>,
}

impl Screen {
    /// A screen of servers of which nothing was received yet. Of each node, at most `limit` clients are shown.
    pub fn new(channel: &str, limit: usize) -> Self {
        let channel = channel.to_owned();
        Self { channel, limit, servers: BTreeMap::new(), refused: BTreeSet::new(), nodes: BTreeMap::new() }
    }

    /// Notes that we are subscribed to a server, or to a cluster, which has one name for all its nodes. Returns what to
    /// do if nothing is received, the first time.
    pub fn subscribed(&mut self, server: &str, now: Instant) -> Option<String> {
        if let Some(subscribed) = self.servers.get_mut(server) {
            subscribed.failure = None;
            return None;
        }
        let subscribed = Subscribed { since: now, has_received: false, is_reported: false, failure: None };
        self.servers.insert(server.to_owned(), subscribed);
        Some(self.waiting(server))
    }

    /// Notes that a message was refused. Returns a warning, once for each reason.
    pub fn refuse(&mut self, refusal: Refusal) -> Option<String> {
        let reason = refusal.label();
        let is_new = self.refused.insert(reason);
        is_new.then(|| format!("warning: a message was refused ({reason}); further ones are not reported"))
    }

    /// Notes that a subscription failed, and is tried again.
    pub fn failed(&mut self, server: &str, failure: String) {
        if let Some(subscribed) = self.servers.get_mut(server) {
            subscribed.failure = Some(failure);
        }
    }

    /// Adds a message that a server sent. Returns the text of what is new; `None` for a message that was received
    /// before, and for a part of a status after which others are missing.
    pub fn add(&mut self, server: &str, message: Message, now: Instant) -> Option<String> {
        if let Some(subscribed) = self.servers.get_mut(server) {
            subscribed.has_received = true;
        }
        let key = (message.header.node.clone(), message.header.run_id.clone());
        if !self.nodes.contains_key(&key) {
            self.make_room(now);
        }
        let header = message.header.clone();
        let node = self.nodes.entry(key.clone()).or_insert_with(|| NodeBlock::new(header, now));
        let is_new = node.add(message, self.limit, now)?;
        let is_only = self.nodes.len() == 1;
        let node = self.nodes.get(&key)?;
        Some(match is_new {
            News::Status => self.block(&key, node, now),
            News::Changes(lines) => {
                let prefix = if is_only { String::new() } else { format!("{}  ", shown(&key.0)) };
                lines.iter().map(|line| format!("{prefix}{line}\n")).collect()
            }
            News::Heartbeat => {
                format!("{} (heartbeat: the current sample takes long)\n", display::totals(&node.header))
            }
        })
    }

    /// Removes the node without a message for the longest time, if there are too many, and nodes that have restarted:
    /// that are not announced while another run of the same name is.
    fn make_room(&mut self, now: Instant) {
        if self.nodes.len() >= MAX_NODES
            && let Some(oldest) = self.nodes.iter().min_by_key(|(_, node)| node.received_at).map(|(key, _)| key.clone())
        {
            self.nodes.remove(&oldest);
        }
        self.forget_restarted(now);
    }

    fn forget_restarted(&mut self, now: Instant) {
        let is_announced = |node: &NodeBlock| now.duration_since(node.received_at) <= node.patience();
        let announced: Vec<String> =
            self.nodes.iter().filter(|(_, node)| is_announced(node)).map(|(key, _)| key.0.clone()).collect();
        self.nodes.retain(|key, node| is_announced(node) || !announced.contains(&key.0));
    }

    /// The changes by the time alone: each server and node of which no exporter sends messages, once, and each
    /// node that is announced again.
    pub fn notices(&mut self, now: Instant) -> Vec<String> {
        self.forget_restarted(now);
        let mut notices = Vec::new();
        let channel = &self.channel;
        for (server, subscribed) in &mut self.servers {
            if subscribed.is_silent(now) && !std::mem::replace(&mut subscribed.is_reported, true) {
                notices.push(no_announcer(channel, server));
            }
        }
        for ((name, _), node) in &mut self.nodes {
            let is_silent = now.duration_since(node.received_at) > node.patience();
            if is_silent != std::mem::replace(&mut node.is_silent, is_silent) {
                let name = shown(name);
                notices.push(match is_silent {
                    true => format!("no exporter announces {name} now: {}", silence(node, now)),
                    false => format!("{name} is announced again"),
                });
            }
        }
        notices
    }

    /// The whole screen.
    pub fn text(&self, now: Instant) -> String {
        let blocks: Vec<String> = self.nodes.iter().map(|(key, node)| self.block(key, node, now)).collect();
        let servers = self.servers.iter().filter_map(|(server, subscribed)| {
            Some(match &subscribed.failure {
                Some(failure) => format!("{failure}; retrying\n"),
                None if subscribed.is_silent(now) => no_announcer(&self.channel, server) + "\n",
                None if !subscribed.has_received => self.waiting(server) + "\n",
                None => return None,
            })
        });
        let refused = Vec::from_iter(self.refused.iter().copied()).join(", ");
        let refused = (!refused.is_empty()).then(|| format!("messages were refused: {refused}\n"));
        blocks.into_iter().chain(servers).chain(refused).collect::<Vec<_>>().join("\n")
    }

    fn waiting(&self, server: &str) -> String {
        format!("waiting for a status on {} of {server}; {}", self.channel, how_to_start(server))
    }

    fn block(&self, key: &(String, String), node: &NodeBlock, now: Instant) -> String {
        let has_same_name = self.nodes.keys().filter(|(name, _)| *name == key.0).count() > 1;
        let run = if has_same_name { format!("run {}\n", shown(&key.1)) } else { String::new() };
        let mut text = format!("{}\n{run}", display::totals(&node.header));
        match &node.status {
            Some(status) => text += &display::contents(&status.apps, &status.clients, node.header.online),
            None => text += "no complete status was received yet\n",
        }
        node.changes.iter().for_each(|line| text += &format!("{line}\n"));
        if now.duration_since(node.received_at) > node.patience() {
            text += &format!("no exporter announces this node now: {}\n", silence(node, now));
        }
        text
    }
}

/// The effect of a message on a node.
enum News {
    Status,
    Changes(Vec<String>),
    Heartbeat,
}

impl Subscribed {
    /// True if nothing was received for so long that no exporter announces.
    fn is_silent(&self, now: Instant) -> bool {
        self.failure.is_none() && !self.has_received && now.duration_since(self.since) > FIRST_PATIENCE
    }
}

impl NodeBlock {
    fn new(header: Header, now: Instant) -> Self {
        Self {
            header,
            received_at: now,
            remembered: VecDeque::new(),
            status: None,
            incomplete: None,
            changes: VecDeque::new(),
            is_silent: false,
        }
    }

    fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.header.frequency * PATIENCE).unwrap_or_default().max(MIN_PATIENCE)
    }

    fn add(&mut self, message: Message, limit: usize, now: Instant) -> Option<News> {
        let id = hash_of(&message);
        if self.remembered.contains(&id) {
            return None;
        }
        self.remembered.push_back(id);
        if self.remembered.len() > MAX_REMEMBERED {
            self.remembered.pop_front();
        }
        (self.received_at, self.header) = (now, message.header.clone());
        match message.header.kind {
            MessageKind::Status => self.add_part(message, limit).then_some(News::Status),
            MessageKind::Changes => {
                let lines = display::changes(&message);
                self.changes.extend(lines.iter().cloned());
                self.changes.drain(..self.changes.len().saturating_sub(MAX_CHANGE_LINES));
                Some(News::Changes(lines))
            }
            MessageKind::Heartbeat => Some(News::Heartbeat),
        }
    }

    /// Adds a part of a status. Returns true if it is complete.
    fn add_part(&mut self, message: Message, limit: usize) -> bool {
        let Message { header, apps, clients, part, parts, .. } = message;
        let incomplete = self.incomplete.take().filter(|(before, received)| {
            (&before.announcer, before.seq, received + 1) == (&header.announcer, header.seq, part)
        });
        let mut contents = match incomplete {
            Some((contents, _)) => contents,
            None if part == 1 => Contents { announcer: header.announcer, seq: header.seq, apps, clients: Vec::new() },
            // A part before it is missing: the next status follows.
            None => return false,
        };
        contents.clients.extend(clients.iter().filter_map(ClientLine::new));
        // The sort is stable: those that are equally idle stay in the order of the status.
        contents.clients.sort_by_key(ClientLine::order);
        contents.clients.truncate(limit);
        if part < parts {
            self.incomplete = Some((contents, part));
            return false;
        }
        self.status = Some(contents);
        self.changes.clear();
        true
    }
}

fn hash_of(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&message.header.announcer, message.header.seq, message.part).hash(&mut hasher);
    hasher.finish()
}

fn silence(node: &NodeBlock, now: Instant) -> String {
    format!("the last message is from {} ago", ago(now.duration_since(node.received_at).as_secs()))
}

fn no_announcer(channel: &str, server: &str) -> String {
    format!("no exporter announces on {channel} of {server}; {}", how_to_start(server))
}

fn how_to_start(server: &str) -> String {
    format!(
        "an exporter announces every 10 s if it runs as: redis-client-exporter --redis.addr {server} (not with \
        --announce never or --sample never, and with the same --announce.channel)"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::status::{SCHEMA, read};

    const SERVER: &str = "10.0.0.5:6379";

    fn message(members: &Value) -> Message {
        let mut message = json!({
            "schema": SCHEMA, "kind": "status", "announcer": "host/1", "redis": SERVER, "run_id": "r1", "seq": 1,
            "sampled_at": "2025-11-23T03:53:20.123Z", "frequency": 10.0, "connections": 9, "online": 8, "silent": 0,
        });
        message.as_object_mut().expect("an object").extend(members.as_object().cloned().expect("an object"));
        read(message.to_string().as_bytes()).expect("a valid message").expect("a known kind")
    }

    fn part(seq: u64, part: u64, parts: u64, names: &[&str]) -> Message {
        let client = |name: &&str| json!({"id": 1, "name": name, "last_interaction": "", "idle_seconds": 3});
        let clients: Vec<Value> = names.iter().map(client).collect();
        message(&json!({"seq": seq, "part": part, "parts": parts, "clients": clients, "apps": []}))
    }

    fn screen() -> (Screen, Instant) {
        let (mut screen, now) = (Screen::new("__redis__:cli", 20), Instant::now());
        screen.subscribed(SERVER, now);
        (screen, now)
    }

    #[test]
    fn the_parts_of_a_status_are_shown_as_one() {
        let (mut screen, now) = screen();
        assert_eq!(screen.add(SERVER, part(1, 1, 3, &["one"]), now), None);
        assert_eq!(screen.add(SERVER, part(1, 2, 3, &["two"]), now), None);
        let waiting = screen.text(now);
        assert!(waiting.contains("no complete status") && !waiting.contains("one"), "{waiting}");
        let text = screen.add(SERVER, part(1, 3, 3, &["three"]), now).expect("it is complete");
        assert!(["one", "two", "three", "… and 5 more"].iter().all(|name| text.contains(name)), "{text}");
        assert_eq!(text.matches("9 connections").count(), 1, "{text}");
        assert_eq!(screen.text(now), text, "nothing else");
        // A status without its first part does not replace it, nor do the parts of two statuses mix.
        assert_eq!(screen.add(SERVER, part(2, 2, 2, &["other"]), now), None);
        assert_eq!(screen.add(SERVER, part(3, 1, 2, &["other"]), now), None);
        assert_eq!(screen.add(SERVER, part(4, 2, 2, &["other"]), now), None);
        assert_eq!(screen.text(now), text);
        assert!(screen.add(SERVER, part(5, 1, 1, &["next"]), now).is_some());
        assert!(!screen.text(now).contains("one") && screen.text(now).contains("next"));
    }

    #[test]
    fn several_nodes_are_shown_apart() {
        let (mut screen, now) = screen();
        screen.subscribed("10.0.0.6:6379", now);
        screen.add(SERVER, part(1, 1, 1, &["first-node"]), now);
        let other = json!({"redis": "10.0.0.6:6379", "run_id": "r2", "connections": 3, "clients": [], "apps": [
            {"app": "shop", "connections": 2, "idle": 1}]});
        screen.add("10.0.0.6:6379", message(&other), now);
        let text = screen.text(now);
        let (first, second) = text.split_once("\n\n").expect("two blocks");
        assert!(first.contains(SERVER) && first.contains("first-node") && !first.contains("shop"), "{text}");
        assert!(second.contains("10.0.0.6:6379") && second.contains("shop 2"), "{text}");
        // One of them changes: the other one stays.
        screen.add(SERVER, part(2, 1, 1, &["again"]), now);
        assert!(screen.text(now).contains("again") && screen.text(now).contains("shop 2"));
        let changes = json!({"kind": "changes", "seq": 3, "opened": [{"id": 7, "address": "a:1", "app": "web"}]});
        let lines = screen.add(SERVER, message(&changes), now).expect("changes");
        assert_eq!(lines, format!("{SERVER}  + 7 a:1 web\n"));
        assert!(screen.text(now).contains("+ 7 a:1 web"), "until the next status");
        screen.add(SERVER, part(4, 1, 1, &["again"]), now);
        assert!(!screen.text(now).contains("+ 7"));
        // In a cluster, both subscriptions receive each message.
        assert_eq!(screen.add("10.0.0.6:6379", part(4, 1, 1, &["again"]), now), None);
    }

    #[test]
    fn it_reports_that_no_exporter_announces_and_that_one_does_again() {
        let (mut screen, now) = screen();
        let seconds = |seconds| now + Duration::from_secs(seconds);
        let fix = format!("redis-client-exporter --redis.addr {SERVER}");
        let first = Screen::new("__redis__:cli", 20).subscribed(SERVER, now).expect("a note");
        for text in [screen.text(now), first] {
            assert!(text.contains("waiting for a status on __redis__:cli of 10.0.0.5:6379"), "{text}");
            assert!(text.contains(&fix), "{text}");
        }
        assert!(screen.notices(seconds(30)).is_empty());
        let [notice] = screen.notices(seconds(31)).try_into().expect("one notice");
        assert!(notice.contains("no exporter announces on __redis__:cli of") && notice.contains(&fix), "{notice}");
        assert!(screen.notices(seconds(99)).is_empty(), "once");
        assert!(screen.text(seconds(99)).contains(&notice));

        screen.add(SERVER, part(1, 1, 1, &["web"]), seconds(100));
        assert!(!screen.text(seconds(100)).contains("no exporter"));
        assert!(screen.notices(seconds(125)).is_empty(), "2.5 times the frequency");
        let [notice] = screen.notices(seconds(126)).try_into().expect("one notice");
        assert!(notice.contains(SERVER) && notice.contains("26s ago"), "{notice}");
        let text = screen.text(seconds(160));
        assert!(text.contains("no exporter announces this node now") && text.contains("1m ago"), "{text}");
        screen.add(SERVER, part(2, 1, 1, &["web"]), seconds(200));
        assert_eq!(screen.notices(seconds(201)), [format!("{SERVER} is announced again")]);
        assert!(!screen.text(seconds(201)).contains("no exporter"));

        screen.failed(SERVER, "10.0.0.5:6379: refused".to_owned());
        assert!(screen.text(seconds(202)).contains("10.0.0.5:6379: refused; retrying"));
        screen.subscribed(SERVER, seconds(203));
        assert!(!screen.text(seconds(203)).contains("refused"));
        assert!(screen.refuse(Refusal::Signature).is_some() && screen.refuse(Refusal::Signature).is_none());
        assert!(screen.text(seconds(203)).contains("messages were refused: signature"));
    }

    #[test]
    fn a_restarted_node_replaces_its_former_run_once_that_is_not_announced() {
        let (mut screen, now) = screen();
        screen.add(SERVER, part(1, 1, 1, &["before"]), now);
        let after =
            message(&json!({"run_id": "r2", "seq": 2, "clients": [], "apps": [{"app": "new", "connections": 1}]}));
        screen.add(SERVER, after.clone(), now);
        assert!(screen.text(now).contains("before") && screen.text(now).contains("run r2"), "may be two servers");
        let later = now + Duration::from_secs(20);
        screen.add(SERVER, Message { header: Header { seq: 3, ..after.header.clone() }, ..after }, later);
        assert_eq!(screen.notices(now + Duration::from_secs(26)), Vec::<String>::new());
        let text = screen.text(now + Duration::from_secs(26));
        assert!(!text.contains("before") && !text.contains("run r"), "{text}");
    }

    #[test]
    fn hostile_messages_are_bounded_and_escaped() {
        let (mut screen, now) = screen();
        for node in 0..300 {
            let name = format!("node-{node}\u{1b}[2J");
            let clients = vec![json!({"id": 1, "name": "\u{1b}[31m", "idle_seconds": -1}); 100];
            screen.add(SERVER, message(&json!({"redis": name, "clients": clients, "apps": []})), now);
            let changes = json!({"kind": "changes", "redis": name, "seq": 2, "closed": clients});
            screen.add(SERVER, message(&changes), now);
        }
        assert_eq!(screen.nodes.len(), MAX_NODES);
        let text = screen.text(now);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.lines().count() < MAX_NODES * 40, "{}", text.lines().count());
        let every_day =
            json!({"frequency": 86_400, "online": u64::MAX, "truncated": u64::MAX, "clients": [], "apps": []});
        assert!(screen.add(SERVER, message(&every_day), now).is_some());
    }
}
