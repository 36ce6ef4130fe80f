//! Sentinel groups: asks several sentinels for a primary and its replicas, and takes the union, since a sentinel that
//! is cut off knows the state before the last failover. Listens to one sentinel, which reports a failover at once.

use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::warn;

use super::address_map::AddressMap;
use super::announced::{View, label};
use super::answers::{gather, no_server};
use super::{FoundNode, Role, Topology};
use crate::backoff::Backoff;
use crate::failure::{Failure, Reason};
use crate::link::{Command, Delivery, Endpoint, HeldTree, Link, Node, NodeAddress, ReplyTree, Request, Subscription};
use crate::text::escaped;

/// The number of sentinels whose answers are joined: most groups have three or five.
const ANSWERS: usize = 5;

/// Maximum number of sentinels of one group that are known.
const MAX_SENTINELS: usize = 32;

/// The number of primaries that a failure names.
const MAX_NAMED: usize = 10;

/// The channel on which sentinels report that another server is the primary (`sentinel.c`).
pub const SWITCH_CHANNEL: &str = "+switch-master";

/// Maximum size of an event in bytes: two addresses and a name.
const MAX_EVENT: usize = 4096;

/// The shortest time between two attempts to listen.
const RETRY: Duration = Duration::from_secs(1);

/// The time between two events that are read: more of them wait in the sentinel.
const EVENT_PAUSE: Duration = Duration::from_millis(100);

/// The sentinels of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Sentinels {
    /// Those that answered the last question.
    pub(super) answering: Vec<Node>,
    /// Others that they know.
    pub(super) others: Vec<Node>,
}

impl Sentinels {
    /// All of them, those first that answer.
    pub(super) fn all(&self) -> Vec<Node> {
        self.answering.iter().chain(&self.others).cloned().collect()
    }
}

/// The answer of one sentinel.
struct Answer<'a> {
    sentinel: &'a Node,
    /// The number of the configuration; each failover has a higher one.
    epoch: i64,
    topology: Topology,
    others: Vec<Endpoint>,
}

/// Asks sentinels, in this order, about a primary and its replicas. Returns the sentinels to ask the next time, too.
///
/// # Errors
/// No sentinel answered: the failure of one.
pub(super) async fn read(
    sentinels: &[Node],
    primary: &str,
    map: &AddressMap,
) -> Result<(Topology, Sentinels), Failure> {
    let mut answers = gather(sentinels, ANSWERS, |sentinel| ask(sentinel, primary, map)).await?;
    // Where answers differ, such as in the role of a node, the first one counts.
    answers.sort_by_key(|answer| std::cmp::Reverse(answer.epoch));
    let mut known = Sentinels { answering: Vec::new(), others: Vec::new() };
    let mut topology = Topology::default();
    let mut endpoints = Vec::new();
    for answer in answers {
        known.answering.push(answer.sentinel.clone());
        endpoints.extend(answer.others.into_iter().map(|endpoint| (endpoint, answer.sentinel)));
        topology.extend(answer.topology);
    }
    for (endpoint, source) in endpoints {
        let is_same = |node: &&Node| node.address.endpoint.key() == endpoint.key();
        let is_known = known.answering.iter().chain(&known.others).any(|node| is_same(&node));
        if is_known || known.answering.len() + known.others.len() >= MAX_SENTINELS {
            continue;
        }
        let before = sentinels.iter().find(is_same).cloned();
        let node = || Node::from(NodeAddress { endpoint: endpoint.clone(), ..source.address.clone() });
        known.others.push(before.unwrap_or_else(node));
    }
    Ok((topology, known))
}

async fn ask<'a>(sentinel: &'a Node, primary: &str, map: &AddressMap) -> Result<Answer<'a>, Failure> {
    let Endpoint::Tcp { host, tls, .. } = &sentinel.address.endpoint else {
        let message = format!("{}: sentinels are not asked through a unix socket; give a host", sentinel.name);
        return Err(Failure { reason: Reason::Other, message });
    };
    let view = View { asked: host, tls: *tls, map };
    let mut link = Link::dial_for_announcing(sentinel).await.map_err(with_flags)?;
    let about = |command| Request::of_master(command, primary);
    let master = match link.ask_tree(about(Command::SentinelMaster)).await? {
        Ok(master) => master,
        Err(failure) => return Err(explained(failure, &mut link, sentinel, primary).await),
    };
    let epoch = master.tree.get("config-epoch").and_then(ReplyTree::number).unwrap_or_default();
    let replicas = link.ask_tree(about(Command::SentinelReplicas)).await?.map_err(with_flags)?;
    let topology = view.group(&master.tree, &replicas.tree, primary);
    // Without this permission, the sentinels that the operator named are asked.
    let others = link.ask_tree(about(Command::SentinelSentinels)).await?;
    let others = others.map(|others| view.sentinels(&others.tree)).unwrap_or_default();
    Ok(Answer { sentinel, epoch, topology, others })
}

/// Adds the flags for sentinels to the failure of a login: those for data nodes are not used.
fn with_flags(failure: Failure) -> Failure {
    if !matches!(failure.reason, Reason::Auth | Reason::NoPermission) {
        return failure;
    }
    let message = format!(
        "{} (user and password of sentinels: --redis.sentinel-user and --redis.sentinel-password-file)",
        failure.message
    );
    Failure { message, ..failure }
}

/// Explains why a sentinel does not know a primary.
async fn explained(failure: Failure, link: &mut Link, sentinel: &Node, primary: &str) -> Failure {
    if failure.reason == Reason::UnknownCommand {
        let message = format!(
            "{}: this server is no sentinel (their port is usually 26379); to sample this server alone, write redis:// \
            instead of redis+sentinel://",
            sentinel.name
        );
        return Failure { message, ..failure };
    }
    if !failure.message.contains("No such master") {
        return with_flags(failure);
    }
    let known = match link.ask_tree(Command::SentinelMasters.into()).await {
        Ok(Ok(HeldTree { tree, .. })) => names(&tree),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let known = match known.len() {
        0 => "check the name after the / of --redis.addr".to_owned(),
        _ => format!("it knows: {}", known.join(", ")),
    };
    let message = format!("{}: this sentinel knows no primary named {primary}; {known}", sentinel.name);
    Failure { message, ..failure }
}

/// The names in a reply to `SENTINEL MASTERS`.
fn names(reply: &ReplyTree) -> Vec<String> {
    let names = reply.list().iter().filter_map(|primary| primary.get("name")?.text());
    names.take(MAX_NAMED).map(|name| escaped(label(name).as_bytes())).collect()
}

impl View<'_> {
    /// Reads the replies to `SENTINEL MASTER` and `SENTINEL REPLICAS` (`sentinel.c: addReplySentinelRedisInstance`).
    fn group(&self, master: &ReplyTree, replicas: &ReplyTree, name: &str) -> Topology {
        let mut topology = Topology::default();
        // A sentinel has one primary, so it is never left out. If it has failed, another one will follow it.
        self.member(master, Role::Primary, name, &mut topology);
        for replica in replicas.list() {
            self.member(replica, Role::Replica, name, &mut topology);
        }
        topology
    }

    fn member(&self, member: &ReplyTree, role: Role, name: &str, topology: &mut Topology) {
        let is_failed = role == Role::Replica
            && flags(member).split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"));
        let found = FoundNode {
            endpoint: Endpoint::Tcp { host: String::new(), port: 0, tls: self.tls },
            role: Some(role),
            is_failed,
            shard: label(name.as_bytes()),
            node_id: Default::default(),
            availability_zone: Default::default(),
        };
        let (host, port) = address(member);
        self.add(&host, port, found, topology);
    }

    /// The addresses in a reply to `SENTINEL SENTINELS`, those last that do not answer.
    fn sentinels(&self, reply: &ReplyTree) -> Vec<Endpoint> {
        let is_down = |sentinel: &&ReplyTree| flags(sentinel).split(',').any(|flag| flag == "s_down");
        let (down, working): (Vec<_>, Vec<_>) = reply.list().iter().partition(is_down);
        let endpoint = |sentinel: &ReplyTree| {
            let (host, port) = address(sentinel);
            self.endpoint(&host, port).ok()
        };
        working.into_iter().chain(down).filter_map(endpoint).take(MAX_SENTINELS).collect()
    }
}

fn flags(instance: &ReplyTree) -> String {
    let flags = instance.get("flags").and_then(ReplyTree::text);
    String::from_utf8_lossy(flags.unwrap_or_default()).into_owned()
}

fn address(instance: &ReplyTree) -> (String, Option<u16>) {
    let host = instance.get("ip").and_then(ReplyTree::text);
    let port = instance.get("port").and_then(ReplyTree::number);
    (String::from_utf8_lossy(host.unwrap_or_default()).into_owned(), port.and_then(|port| u16::try_from(port).ok()))
}

/// Requests a discovery when a sentinel reports that another server is the primary. Listens to one sentinel at a time,
/// and never returns.
pub(super) async fn listen(
    primary: &str,
    mut sentinels: watch::Receiver<Sentinels>,
    request: &Notify,
    interval: Duration,
) {
    let mut retries = Backoff::new(RETRY, interval);
    loop {
        let known = sentinels.borrow_and_update().all();
        if known.is_empty() {
            // An error means that the discovery ends, and this future with it.
            let _ = sentinels.changed().await;
            continue;
        }
        match subscribe(&known).await {
            Ok((subscription, sentinel)) => {
                retries.succeed();
                // There may have been a failover since the last discovery.
                request.notify_one();
                events(subscription, sentinel, primary, &sentinels, request, interval).await;
                sleep(RETRY).await;
            }
            Err(failure) => {
                if !retries.is_failing() {
                    warn!(
                        "{primary}: no sentinel reports failovers at once; they are seen after an interval: {failure}"
                    );
                }
                sleep(retries.fail()).await;
            }
        }
    }
}

/// Subscribes to the first sentinel that permits it.
async fn subscribe(sentinels: &[Node]) -> Result<(Subscription, &Node), Failure> {
    let mut failed = None;
    for sentinel in sentinels {
        match Subscription::open(sentinel, SWITCH_CHANNEL, MAX_EVENT).await {
            Ok(subscription) => return Ok((subscription, sentinel)),
            Err(failure) => failed = failed.or(Some(with_flags(failure))),
        }
    }
    Err(failed.unwrap_or_else(no_server))
}

/// Reads events until the link fails, or the sentinel no longer answers questions.
async fn events(
    mut subscription: Subscription,
    sentinel: &Node,
    primary: &str,
    sentinels: &watch::Receiver<Sentinels>,
    request: &Notify,
    interval: Duration,
) {
    let is_it = |node: &Node| node.address.endpoint == sentinel.address.endpoint;
    loop {
        match subscription.next_within(interval).await {
            Ok(Some(event)) => {
                if is_about(&event, primary) {
                    request.notify_one();
                }
                sleep(EVENT_PAUSE).await;
            }
            Ok(None) if sentinels.borrow().answering.iter().any(is_it) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// True for an event `NAME OLD_HOST OLD_PORT NEW_HOST NEW_PORT` of this primary.
fn is_about(event: &Delivery, primary: &str) -> bool {
    match event {
        Delivery::Message(event) => event.strip_prefix(primary.as_bytes()).is_some_and(|rest| rest.starts_with(b" ")),
        Delivery::Oversize(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;
    use crate::discovery::DropReason;
    use crate::link::{TlsOptions, parse_address};

    static NO_MAP: std::sync::LazyLock<AddressMap> = std::sync::LazyLock::new(AddressMap::default);

    fn view(asked: &str) -> View<'_> {
        View { asked, tls: false, map: &NO_MAP }
    }

    /// A list of keys and values.
    fn instance(host: &str, port: &str, flags: &str) -> ReplyTree {
        let pairs = [("name", "x"), ("ip", host), ("port", port), ("flags", flags)];
        ReplyTree::List(pairs.iter().flat_map(|(key, value)| [text(key), text(value)]).collect())
    }

    fn text(text: &str) -> ReplyTree {
        ReplyTree::Text(text.into())
    }

    fn found(topology: &Topology) -> Vec<String> {
        let show = |node: &FoundNode| {
            let role = node.role.map_or("?", Role::label);
            format!("{} {role}{} {}", node.endpoint, if node.is_failed { " failed" } else { "" }, node.shard)
        };
        topology.nodes().map(show).collect()
    }

    #[test]
    fn a_primary_is_never_left_out_and_a_replica_that_sentinel_gave_up_is_failed() {
        let replicas = ReplyTree::List(vec![
            instance("10.0.0.2", "6379", "slave"),
            instance("10.0.0.3", "6379", "s_down,slave"),
            instance("10.0.0.4", "6379", "slave,disconnected"),
            instance("10.0.0.5", "6379", "o_down,slave"),
            instance("node-6.example", "6379", "slave"),
            instance("fd00::7", "6379", "slave"),
            instance("10.0.0.1", "6379", "slave"),
        ]);
        let primary = instance("10.0.0.1", "6379", "s_down,o_down,master");
        assert_eq!(
            found(&view("10.0.0.9").group(&primary, &replicas, "main")),
            [
                "10.0.0.1:6379 primary main",
                "10.0.0.2:6379 replica main",
                "10.0.0.3:6379 replica failed main",
                "10.0.0.4:6379 replica failed main",
                "10.0.0.5:6379 replica failed main",
                "[fd00::7]:6379 replica main",
                "node-6.example:6379 replica main",
            ]
        );
    }

    #[test]
    fn hostile_replies_are_read_without_their_impossible_parts() {
        let hostile = ReplyTree::List(vec![
            instance("169.254.169.254", "80", "slave"),
            instance("127.0.0.1", "6379", "slave"),
            instance("10.0.0.2", "70000", "slave"),
            instance("10.0.0.2", "0", "slave"),
            instance("10.0.0.2", "-1", "slave"),
            instance("", "6379", ""),
            instance("a/../b\r\n", "6379", "slave"),
            ReplyTree::Number(7),
            ReplyTree::Nothing,
            ReplyTree::List(vec![text("ip"), ReplyTree::List(vec![]), text("port"), text("6379"), text("flags")]),
        ]);
        let topology = view("10.0.0.9").group(&ReplyTree::Nothing, &hostile, "main");
        assert_eq!(found(&topology), [""; 0]);
        assert_eq!(topology.dropped()[&DropReason::Refused], 2);
        assert_eq!(view("10.0.0.9").sentinels(&hostile), []);
        assert_eq!(names(&hostile), ["x"; 7]);
        for no_list in [ReplyTree::Nothing, ReplyTree::Number(1), text("x"), ReplyTree::List(vec![])] {
            assert_eq!(found(&view("10.0.0.9").group(&no_list, &no_list, "main")), [""; 0]);
        }
    }

    #[test]
    fn sentinels_that_do_not_answer_are_asked_last_and_their_number_is_bounded() {
        let mut all = vec![instance("10.0.0.1", "26379", "s_down,sentinel,disconnected")];
        all.extend((2..=200).map(|last| instance(&format!("10.0.0.{last}"), "26379", "sentinel")));
        let sentinels = view("10.0.0.9").sentinels(&ReplyTree::List(all.clone()));
        assert_eq!((sentinels.len(), sentinels[0].to_string()), (MAX_SENTINELS, "10.0.0.2:26379".to_owned()));
        all.truncate(2);
        let sentinels = view("10.0.0.9").sentinels(&ReplyTree::List(all));
        assert_eq!(sentinels[1].to_string(), "10.0.0.1:26379");
    }

    #[test]
    fn only_events_of_the_primary_count() {
        for (event, expected) in [
            ("main 10.0.0.1 6379 10.0.0.2 6379", true),
            ("main2 10.0.0.1 6379 10.0.0.2 6379", false),
            ("other 10.0.0.1 6379 10.0.0.2 6379", false),
            ("main", false),
            ("", false),
        ] {
            assert_eq!(is_about(&Delivery::Message(event.into()), "main"), expected, "{event}");
        }
        assert!(!is_about(&Delivery::Oversize(1 << 20), "main"));
    }

    /// Answers like a sentinel of one connection, then reports two failovers.
    async fn impostor(listener: tokio::net::TcpListener, events: [&'static str; 2]) {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
            let reply = match line.trim() {
                "ID" => ":7\r\n",
                "SETNAME" => "+OK\r\n",
                SWITCH_CHANNEL => "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n",
                _ => "",
            };
            lines.write_all(reply.as_bytes()).await.expect("it reads");
            if line.trim() == SWITCH_CHANNEL {
                for event in events {
                    let event =
                        format!("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${}\r\n{event}\r\n", event.len());
                    lines.write_all(event.as_bytes()).await.expect("it reads");
                }
            }
            line.clear();
        }
    }

    #[tokio::test]
    async fn a_failover_of_the_primary_requests_a_discovery_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = parse_address(&listener.local_addr().expect("an address").to_string()).expect("it").endpoint;
        let hour = Duration::from_secs(3600);
        let sentinel =
            Node::from(NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout: hour });
        let known = Sentinels { answering: vec![sentinel], others: Vec::new() };
        let (_sentinels, receiver) = watch::channel(known);
        let request = Notify::new();
        let requests = async {
            // Once when it begins to listen, and once for the event.
            request.notified().await;
            request.notified().await;
        };
        tokio::select! {
            () = impostor(listener, ["other 10.0.0.1 1 10.0.0.2 1", "main 10.0.0.1 1 10.0.0.2 1"]) => panic!("left"),
            () = listen("main", receiver, &request, hour) => panic!("it ended"),
            () = requests => {}
        }
    }
}
