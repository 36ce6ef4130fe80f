//! The status channel, as a subscriber sees it: it works as the article describes, one exporter announces, and no
//! message exceeds 64 KiB.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis_client_exporter::clock;
use serde_json::Value;

use crate::support::cluster::cluster_node;
use crate::support::exporter::{Exporter, program, run};
use crate::support::http::get;
use crate::support::peer::Peer;
use crate::support::sentinel::Sentinel;
use crate::support::server::{Binary, Server, any_binary, binaries, binary};
use crate::support::subscriber::{Received, Subscriber};
use crate::support::test_clients::{TestClients, Truth};
use crate::support::{eventually, pause, share};

/// The maximum size of a message, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

const SECOND: Duration = Duration::from_secs(1);

/// Starts an exporter that announces once a second if no other exporter does.
fn announcing(server: &Server, args: &[&str]) -> Exporter {
    let args = [&["--announce=auto", "--client-announce-frequency=1"], args].concat();
    Exporter::start(&[&server.address()], &args, &[])
}

/// Returns the idle seconds of the listed clients by id, without the client that sends this command.
fn idle_seconds(control: &mut Peer) -> BTreeMap<u64, i64> {
    let own = control.ask(&["CLIENT", "ID"]);
    let rows = control.ask(&["CLIENT", "LIST"]);
    let field = |row: &str, key: &str| -> i64 {
        let token = row.split(' ').find_map(|token| token.strip_prefix(key)?.strip_prefix('='));
        token.expect("the field exists").parse().expect("a number")
    };
    let clients = rows.lines().map(|row| (field(row, "id") as u64, field(row, "idle")));
    clients.filter(|(id, _)| format!(":{id}") != own).collect()
}

fn ids(clients: &[Value]) -> BTreeSet<u64> {
    clients.iter().map(|client| client["id"].as_u64().expect("an id")).collect()
}

/// Returns the Unix seconds of a time in a message.
fn seconds(time: &Value) -> i64 {
    time.as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339").as_second()
}

#[test]
fn the_channel_works_as_the_article_describes() {
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = TestClients::join(&server);
        let _exporter = announcing(&server, &[]);
        let mut control = server.peer();
        let subscriber = Subscriber::on(&server.address());
        let first = subscriber.next_status();
        assert_eq!(first.json["schema"], "redis-client-status/2");
        assert_eq!(first.json["redis"], server.address().as_str());

        let status = eventually("a status that matches CLIENT LIST", || {
            let status = subscriber.next_status();
            let truth = Truth::ask(&mut control, 300);
            let expected = [truth.kinds.values().sum(), truth.kinds["application"], truth.silent];
            (["connections", "online", "silent"].map(|field| status.number(field)) == expected).then_some(status)
        });
        assert_eq!((status.number("truncated"), status.number("parts")), (0, 1));
        assert_eq!(status.clients().len() as u64, status.number("connections"));
        let of_applications = status.clients().iter().filter(|client| client.get("kind").is_none());
        let (active, silent): (Vec<&Value>, Vec<&Value>) =
            of_applications.partition(|client| client.get("last_interaction").is_some());
        assert_eq!((active.len() + silent.len()) as u64, status.number("online"));
        assert_eq!(silent.len() as u64, status.number("silent"));
        let before = clock::now().as_second();
        let idle = idle_seconds(&mut control);
        let after = clock::now().as_second();
        for client in active {
            let Some(idle) = idle.get(&client["id"].as_u64().expect("an id")) else { continue };
            let last = seconds(&client["last_interaction"]);
            // Both are in whole seconds.
            let expected = before - idle - 2..=after - idle + 2;
            assert!(expected.contains(&last), "the last interaction of {client} is not within {expected:?}");
        }

        // One per second: on a busy machine it may be less.
        let (began, since) = (Instant::now(), clock::now());
        (0..3).for_each(|_| drop(subscriber.next_status()));
        let sampled = |message: &Received| message.json["sampled_at"].as_str().map(str::to_owned);
        let times: Vec<jiff::Timestamp> = subscriber
            .received()
            .iter()
            .filter(|message| message.is_status())
            .filter_map(sampled)
            .map(|time| time.parse().expect("RFC 3339"))
            .filter(|time| *time >= since)
            .collect();
        assert!(times.len() as u64 <= began.elapsed().as_secs() + 2, "{times:?} in {:?}", began.elapsed());
        assert!(subscriber.received().iter().all(|message| message.bytes.len() <= MAX_MESSAGE));
    }
}

#[test]
fn opened_and_closed_connections_are_announced_at_once() {
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = TestClients::join(&server);
        let subscriber = Subscriber::on(&server.address());
        // The next sample is not due before the end of the test: what is announced was detected before.
        let args = ["--announce=always", "--client-announce-frequency=1h"];
        let _exporter = Exporter::start(&[&server.address()], &args, &[]);
        eventually("the first status", || subscriber.received().into_iter().find(Received::is_status));
        let mut new_client = server.peer();
        new_client.must(&["CLIENT", "SETNAME", "new-1"]);
        let id: u64 = new_client.ask(&["CLIENT", "ID"]).trim_start_matches(':').parse().expect("an id");
        let opened = subscriber.next("the new client", |message| {
            let lists = [&message.json["opened"], &message.json["clients"]].map(|list| list.as_array().cloned());
            lists.iter().flatten().any(|clients| ids(clients).contains(&id))
        });
        assert_eq!(opened.kind(), "changes");

        drop(new_client);
        subscriber.next("the close", |message| match message.kind() {
            "changes" => message.json["closed"].as_array().is_some_and(|clients| ids(clients).contains(&id)),
            "status" => !ids(message.clients()).contains(&id),
            _ => false,
        });
    }
}

/// Opens and closes connections until it is dropped.
struct Churn {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Churn {
    fn start(server: &Server) -> Self {
        let (address, stop) = (server.address(), Arc::new(AtomicBool::new(false)));
        let is_stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut open = VecDeque::new();
            for number in 0.. {
                if is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut peer = Peer::connect(&address);
                peer.must(&["CLIENT", "SETNAME", &format!("job-{number}")]);
                open.push_back(peer);
                if open.len() > 30 {
                    open.pop_front();
                }
                pause(SECOND / 20);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Returns the time of a member, in milliseconds.
fn millis(object: &Value, member: &str) -> Option<i64> {
    Some(object[member].as_str()?.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond())
}

/// Instance: 18 statuses in 20 s at a frequency of 10 s, and last interactions 1.1 s after their message.
#[test]
fn while_connections_open_and_close_there_is_one_status_a_frequency() {
    const FREQUENCY_SECONDS: i64 = 3;
    for binary in ["redis-7.0", "valkey-9.1"].into_iter().filter_map(binary) {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let subscriber = Subscriber::on(&server.address());
        let began = Instant::now();
        let _exporter =
            Exporter::start(&[&server.address()], &["--announce=always", "--client-announce-frequency=3"], &[]);
        let churn = Churn::start(&server);
        let statuses = eventually("six statuses", || {
            let statuses: Vec<Received> = subscriber.received().into_iter().filter(Received::is_status).collect();
            (statuses.len() >= 6).then_some(statuses)
        });
        let times: Vec<i64> = statuses.iter().filter_map(|status| millis(&status.json, "sampled_at")).collect();
        let periods = (times[times.len() - 1] - times[0]) / 1000 / FREQUENCY_SECONDS;
        // The sample of a status may be up to a frequency old.
        assert!(times.len() as i64 - 1 <= periods + 2, "more than one status a frequency: {times:?}");

        let messages = subscriber.received();
        let changes = messages.iter().filter(|message| message.kind() == "changes").count() as u64;
        assert!((1..=began.elapsed().as_secs() + 1).contains(&changes), "{changes} in {:?}", began.elapsed());
        for message in messages.iter().map(|message| &message.json) {
            let at = millis(message, "sampled_at").expect("a time");
            let lists = ["clients", "opened", "closed"].into_iter().filter_map(|list| message[list].as_array());
            for client in lists.flatten() {
                let last = ["last_interaction", "closed_at"].into_iter().filter_map(|member| millis(client, member));
                assert!(last.max().is_none_or(|last| last <= at), "{client} in a message of {}", message["sampled_at"]);
            }
        }
        // Whatever the lists have room for, the totals show every connection that was seen. Before the second status,
        // the announcer has opened its own connection.
        drop(churn);
        let number = |status: &Received, member| status.number(member) as i64;
        let grown = |one: &Received, other: &Received, member| number(other, member) - number(one, member);
        for pair in statuses[1..].windows(2) {
            let [opened, closed, connections] =
                ["opened_total", "closed_total", "connections"].map(|member| grown(&pair[0], &pair[1], member));
            assert!(opened > 0 && opened - closed == connections, "{opened} - {closed} = {connections}");
        }
    }
}

/// Returns the names of those that announced a status within the last `time`.
fn announcers(subscriber: &Subscriber, time: Duration) -> BTreeSet<String> {
    let now = Instant::now();
    let since = subscriber.since(now.checked_sub(time).expect("the machine has run so long"));
    since.iter().filter(|message| message.is_status()).map(|message| message.announcer().to_owned()).collect()
}

/// Waits until exactly one exporter announces, and returns its name.
fn only_announcer(subscriber: &Subscriber) -> String {
    pause(3 * SECOND);
    eventually("one announcer", || {
        let mut names = announcers(subscriber, 3 * SECOND);
        names.pop_first().filter(|_| names.is_empty())
    })
}

/// Returns the index of the exporter that announces under this name.
pub(crate) fn index_of(exporters: &[Exporter], name: &str) -> usize {
    let logs_name = |exporter: &Exporter| exporter.log().iter().any(|line| line.contains(&format!("name={name}")));
    exporters.iter().position(logs_name).expect("one of them announces")
}

#[test]
fn of_three_exporters_one_announces_and_another_takes_over() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let mut exporters: Vec<_> = (0..3).map(|_| announcing(&server, &[])).collect();
    let subscriber = Subscriber::on(&server.address());
    let first = only_announcer(&subscriber);
    exporters.swap_remove(index_of(&exporters, &first)).signal("KILL");
    let second = only_announcer(&subscriber);
    assert_ne!(first, second);
    eventually("a new exporter does not replace the announcer", || {
        let announcer = only_announcer(&subscriber);
        let start = Instant::now();
        let _new = announcing(&server, &[]);
        // Twice as long as it takes an exporter to announce if it receives no status.
        (0..6).for_each(|_| drop(subscriber.next_status()));
        let statuses = subscriber.since(start);
        // If the machine was so busy that the announcer was silent for long, another one had to take over.
        let was_silent = statuses.windows(2).any(|pair| pair[1].at - pair[0].at > 2 * SECOND);
        let names: BTreeSet<_> = statuses.iter().map(|message| message.announcer().to_owned()).collect();
        assert!(was_silent || names == BTreeSet::from([announcer]), "{names:?}");
        (!was_silent).then_some(())
    });
}

#[test]
fn an_exporter_does_not_announce_if_it_is_disabled() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let subscriber = Subscriber::on(&server.address());
    let exporter = Exporter::watching(&[&server.address()]);
    exporter.fresh_scrape();
    pause(SECOND);
    assert_eq!(subscriber.received().len(), 0);
}

/// Connects clients with long names.
pub(crate) fn long_names(server: &Server, count: usize, length: usize) -> Vec<Peer> {
    let join = |number| {
        let mut peer = server.peer();
        peer.must(&["CLIENT", "SETNAME", &format!("{number}-{}", "n".repeat(length))]);
        peer
    };
    (0..count).map(join).collect()
}

#[test]
fn a_status_of_many_clients_is_truncated_to_64_kib_and_says_so() {
    let _alone = share::alone();
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let mut oldest = long_names(&server, 3, 10);
    pause(2 * SECOND);
    let _clients = long_names(&server, 2000, 200);
    let exporter = announcing(&server, &[]);
    let subscriber = Subscriber::on(&server.address());
    let status = subscriber.next("a status of all", |message| message.is_status() && message.number("online") > 2000);
    assert!(status.bytes.len() <= MAX_MESSAGE && status.bytes.len() > MAX_MESSAGE - 1000, "{}", status.bytes.len());
    assert!(status.number("truncated") > 1000);
    assert_eq!(status.number("truncated") + status.clients().len() as u64, status.number("connections"));
    let idle: Vec<_> = status.clients().iter().map(|client| client["idle_seconds"].as_u64().unwrap_or(0)).collect();
    let first_half = &idle[..idle.len() / 3];
    assert!(first_half.is_sorted_by(|one, next| one >= next), "the longest idle first: {idle:?}");
    let listed = ids(status.clients());
    for peer in &mut oldest {
        let id = peer.ask(&["CLIENT", "ID"]).trim_start_matches(':').parse().expect("an id");
        assert!(listed.contains(&id), "{id} has the longest idle time");
    }

    let args = ["--sample=never", "--client-announce-frequency=1"];
    let listener = Exporter::start(&[&server.address()], &args, &[]);
    let scrape = listener.scrape_until("a status", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    let online = exporter.scrape_until("a sample", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    let online = online.value("redis_clients_online", &[]).expect("it was sampled");
    // The listener itself was not connected yet when the first status was taken.
    let received = scrape.value("redis_clients_online", &[]).expect("a status was received");
    assert!((received - online).abs() <= 1.0, "{received} {online}");
    assert_eq!(scrape.all("redis_clients_connections", &[]).count(), 0, "kinds are unknown");
    assert_eq!(scrape.value("redis_clients_sample_complete", &[]), Some(0.0));
}

/// Starts servers that know each other as nodes of a cluster.
fn cluster(binary: &Binary, nodes: usize) -> Vec<Server> {
    let servers: Vec<_> = (0..nodes).map(|_| cluster_node(binary, &["--cluster-enabled yes"])).collect();
    for other in &servers[1..] {
        servers[0].peer().must(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]);
    }
    let is_met = |server: &Server| {
        let nodes = server.peer().ask(&["CLUSTER", "NODES"]);
        nodes.lines().count() == servers.len() && !nodes.contains("handshake")
    };
    eventually("all nodes know each other", || servers.iter().all(is_met).then_some(()));
    servers
}

/// Each node receives the messages of all.
#[test]
fn the_nodes_of_a_cluster_share_the_size_of_a_status() {
    let _alone = share::alone();
    for binary in ["redis-7.0", "valkey-9.1"].into_iter().filter_map(binary) {
        println!("{}", binary.name);
        let servers = cluster(&binary, 3);
        let _clients = long_names(&servers[0], 500, 200);
        let subscriber = Subscriber::on(&servers[2].address());
        let address = servers[0].address();
        let start = |args: &[&str]| {
            let args = [&["--announce=always", "--client-announce-frequency=1"], args].concat();
            Exporter::start(&[&address], &args, &[])
        };
        let exporter = start(&[]);
        let share = MAX_MESSAGE / 3;
        let is_full = |message: &Received| message.is_status() && message.number("truncated") > 0;
        let status = subscriber.next("a status of the first node", is_full);
        assert!((share - 1000..=share).contains(&status.bytes.len()), "{}", status.bytes.len());
        drop(exporter);
        // A size that is set is used.
        let _explicit = start(&["--announce.max-bytes=40KiB"]);
        let status = subscriber.next("a larger status", |message| is_full(message) && message.bytes.len() > share);
        assert!(status.bytes.len() <= 40 << 10, "{}", status.bytes.len());
    }
}

#[test]
fn an_exporter_that_may_not_count_the_nodes_of_a_cluster_announces_small_statuses_and_reports_it_once() {
    let Some(binary) = any_binary() else { return };
    let servers = cluster(&binary, 1);
    let _clients = long_names(&servers[0], 100, 200);
    let address = servers[0].address();
    let user = ["--redis.user=limited", "--redis.password=secret"];
    servers[0].peer().must(&["ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-cluster"]);
    let subscriber = Subscriber::on(&address);
    let args = [&["--announce=always", "--client-announce-frequency=1"], &user[..]].concat();
    let exporter = Exporter::start(&[&address], &args, &[]);
    let is_full = |message: &Received| message.is_status() && message.number("truncated") > 0;
    let sizes: Vec<usize> = (0..2).map(|_| subscriber.next("a status", is_full).bytes.len()).collect();
    assert!(sizes.iter().all(|size| (3000..=4096).contains(size)), "{sizes:?}");
    let log = exporter.log();
    let warned: Vec<_> = log.iter().filter(|line| line.contains("the number of nodes of the cluster")).collect();
    assert!(warned.len() == 1 && warned[0].contains("+cluster|info"), "{log:?}");
    // The printed ACL line contains the rule, here and not elsewhere.
    let acl_of = |address: &str| {
        let text = run(&["check", "--redis.addr", address]).stdout;
        String::from_utf8_lossy(&text).lines().find(|line| line.contains("ACL SETUSER")).map(str::to_owned)
    };
    assert!(acl_of(&address).is_some_and(|line| line.contains(" +cluster|info ")), "{:?}", acl_of(&address));
    let alone = Server::start(&binary);
    assert!(acl_of(&alone.address()).is_some_and(|line| !line.contains("cluster")), "{:?}", acl_of(&alone.address()));
}

#[test]
fn nothing_is_announced_on_a_sentinel() {
    for binary in ["redis-7.0", "valkey-9.1"].into_iter().filter_map(binary) {
        println!("{}", binary.name);
        let sentinel = Sentinel::start(&binary, &[]);
        let address = sentinel.address();
        let args = ["--announce=always", "--client-announce-frequency=0.1"];
        let exporter = Exporter::start(&[&address], &args, &[]);
        exporter.fresh_scrape();
        let scrape = exporter.fresh_scrape();
        assert_eq!(scrape.value("redis_clients_announcements_total", &[]), Some(0.0));
        let log = exporter.log();
        assert_eq!(log.iter().filter(|line| line.contains("it is a Sentinel")).count(), 1, "{log:?}");
        assert!(!log.iter().any(|line| line.contains("cannot announce")), "{log:?}");
        let text = run(&["check", "--redis.addr", &address]).stdout;
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("skipped  PUBLISH") && !text.contains("missing  PUBLISH"), "{text}");
        // It is called what it is, and it is neither a primary nor a replica.
        assert!(text.lines().any(|line| line.ends_with(", sentinel)")), "{text}");
        let page = get(&exporter.address, "/");
        assert!(page.text().contains(", sentinel"), "{}", page.text());
        assert_eq!(scrape.value("redis_clients_up", &[]), Some(1.0));
        assert_eq!(scrape.all("redis_clients_node_role", &[]).count(), 0);
    }
}

#[test]
fn a_larger_status_is_sent_in_parts_that_are_complete() {
    let _alone = share::alone();
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = long_names(&server, 2000, 200);
    let _exporter = announcing(&server, &["--announce.max-bytes=4MiB"]);
    let subscriber = Subscriber::on(&server.address());
    let last = subscriber.next("all parts", |message| {
        message.is_status() && message.number("part") == message.number("parts") && message.number("parts") > 5
    });
    let of_this = |message: &Received| message.is_status() && message.json["seq"] == last.json["seq"];
    let parts: Vec<_> = subscriber.received().into_iter().filter(of_this).collect();
    assert_eq!(parts.len() as u64, last.number("parts"));
    assert!(parts.iter().all(|part| part.bytes.len() <= MAX_MESSAGE && part.number("truncated") == 0));
    let listed: BTreeSet<u64> = parts.iter().flat_map(|part| ids(part.clients())).collect();
    assert_eq!(listed.len() as u64, last.number("connections"));

    let args = ["--sample=never", "--client-announce-frequency=1"];
    let listener = Exporter::start(&[&server.address()], &args, &[]);
    let of_applications = [("kind", "application")];
    let scrape = listener.scrape_until("a complete status", |scrape| {
        scrape.value("redis_clients_connections", &of_applications).is_some_and(|value| value >= 2000.0)
    });
    assert_eq!(scrape.value("redis_clients_sample_complete", &[]), Some(1.0));
    assert_eq!(scrape.value("redis_clients_sample_source_info", &[("source", "received")]), Some(1.0));
}

#[test]
fn a_message_of_many_changes_is_no_larger_than_a_status() {
    let _alone = share::alone();
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _exporter = announcing(&server, &["--announce.max-bytes=16MiB"]);
    let subscriber = Subscriber::on(&server.address());
    subscriber.next_status();
    for _ in 0..3 {
        let clients = long_names(&server, 300, 2000);
        subscriber
            .next("opened ones", |message| message.kind() == "changes" && message.json["opened"].as_array().is_some());
        subscriber.next("all opened", |message| message.is_status() && message.number("online") >= 300);
        drop(clients);
        subscriber.next("all closed", |message| message.is_status() && message.number("online") < 10);
    }
    for message in subscriber.received() {
        assert!(message.bytes.len() <= MAX_MESSAGE, "{} of {} bytes", message.kind(), message.bytes.len());
    }
}

#[test]
fn watch_prints_the_announced_statuses() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let _exporter = announcing(&server, &[]);
    let address = server.address();
    let watch = |args: &[&str]| run(&[&["watch", "--redis.addr", &address], args].concat());
    let json = watch(&["--format=json", "--count=2"]);
    assert!(json.status.success(), "{json:?}");
    let lines: Vec<Value> = String::from_utf8_lossy(&json.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is a JSON object"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["schema"] == "redis-client-status/2"));

    let table = watch(&["--count=1"]);
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(table.status.success() && text.contains(" of 10000 connections, "), "{table:?}");
    assert!(text.contains(" online, ") && text.contains("LAST INTERACTION") && text.contains("worker-1"), "{text}");
    assert!(!text.contains('\x1b'), "no control characters without a terminal");
}

/// A running `watch`, and what it has printed. Killed on drop.
pub(crate) struct Watch {
    child: Child,
    output: Arc<Mutex<String>>,
    notes: Arc<Mutex<String>>,
}

impl Watch {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = program();
        let command = command.arg("watch").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let output = collected(child.stdout.take().expect("it is piped"));
        let notes = collected(child.stderr.take().expect("it is piped"));
        Self { child, output, notes }
    }

    pub(crate) fn output(&self) -> String {
        self.output.lock().expect("no writer panics").clone()
    }

    /// Waits until its notes contain a text this many times.
    pub(crate) fn notes_until(&self, what: &str, text: &str, count: usize) -> String {
        eventually(what, || {
            let notes = self.notes.lock().expect("no writer panics").clone();
            (notes.matches(text).count() >= count).then_some(notes)
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a stream in a thread of its own.
fn collected(stream: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut text = shared.lock().expect("no reader panics");
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

/// Instance: several parts were several screens, and several nodes overwrote each other.
#[test]
fn watch_shows_the_parts_of_a_status_as_one_and_several_nodes_apart() {
    let _alone = share::alone();
    let Some(binary) = any_binary() else { return };
    let servers = [Server::start(&binary), Server::start(&binary)];
    let _clients = long_names(&servers[0], 700, 200);
    let mut other = servers[1].peer();
    other.must(&["CLIENT", "SETNAME", "on-the-other-node"]);
    let addresses = servers.each_ref().map(Server::address);
    let args = ["--announce=always", "--client-announce-frequency=1", "--announce.max-bytes=4MiB"];
    let _exporter = Exporter::start(&addresses.each_ref().map(String::as_str), &args, &[]);
    let watch = Watch::start(&["--redis.addr", &addresses[0], "--redis.addr", &addresses[1], "--limit=5000"]);
    let blocks_of = |address: &str| -> Vec<String> {
        let output = watch.output();
        let begins = |line: &str| line.starts_with("20") && line.contains(" connections, ");
        let mut blocks: Vec<String> = Vec::new();
        for line in output.lines() {
            match blocks.last_mut() {
                Some(block) if !begins(line) => block.push_str(&format!("{line}\n")),
                _ => blocks.push(format!("{line}\n")),
            }
        }
        // The last one may not be complete yet.
        blocks.pop();
        blocks.into_iter().filter(|block| block.lines().next().is_some_and(|line| line.contains(address))).collect()
    };
    let subscriber = Subscriber::on(&addresses[0]);
    subscriber.next("a status in parts", |message| message.is_status() && message.number("parts") > 2);
    eventually("the first node is one block", || {
        let blocks = blocks_of(&addresses[0]);
        let rows =
            |block: &String| block.lines().filter(|line| line.contains("-nnnn") && line.contains("default")).count();
        assert!(blocks.iter().all(|block| !block.contains("on-the-other-node")));
        blocks.iter().any(|block| rows(block) == 700).then_some(())
    });
    eventually("the other node has its own", || {
        let blocks = blocks_of(&addresses[1]);
        assert!(blocks.iter().all(|block| !block.contains("-nnnn")));
        blocks.iter().any(|block| block.contains("on-the-other-node")).then_some(())
    });
    let table = run(&["watch", "--redis.addr", &addresses[0], "--count=1", "--limit=5000"]);
    let text = String::from_utf8_lossy(&table.stdout);
    let is_changes = text.starts_with(['+', '-']);
    assert!(table.status.success() && (is_changes || text.contains("-nnnn")), "the parts are one message: {text}");
}

/// Instance: without an announcer the screen stayed empty.
#[test]
fn watch_reports_that_no_exporter_announces_and_recovers() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    let address = server.address();
    for format in ["--format=table", "--format=json"] {
        let watch = Watch::start(&["--redis.addr", &address, format]);
        let notes = watch.notes_until("at the start", "waiting for a status", 1);
        let how = format!("redis-client-exporter --redis.addr {address}");
        assert!(notes.contains(&format!("on __redis__:cli of {address}")) && notes.contains(&how), "{notes}");
        let start = || Exporter::start(&[&address], &["--announce=always", "--client-announce-frequency=1"], &[]);
        let exporter = start();
        eventually("a status is printed", || watch.output().contains("connections").then_some(()));
        drop(exporter);
        watch.notes_until("the exporter has stopped", &format!("no exporter announces {address} now"), 1);
        let exporter = start();
        watch.notes_until("it announces again", &format!("{address} is announced again"), 1);
        // It subscribes again by itself.
        server.restart();
        watch.notes_until("the subscription is lost", "retrying", 1);
        let before = watch.output().len();
        eventually("statuses are printed again", || (watch.output().len() > before + 1000).then_some(()));
        drop(exporter);
    }
}

#[test]
fn watch_reports_that_a_server_cannot_be_reached() {
    let port = crate::support::server::free_port();
    let output = run(&["watch", "--redis.addr", &format!("127.0.0.1:{port}"), "--count=1"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&port.to_string()) && text.contains("refused"), "{text}");
}
