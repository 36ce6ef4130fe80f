//! The status channel as a subscriber of it sees it: what the article promises is true, one exporter talks, and no message is
//! larger than 64 KiB.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use redis_client_exporter::clock;
use serde_json::Value;

use crate::support::exporter::{Exporter, run};
use crate::support::peer::Peer;
use crate::support::server::{Server, any_binary, binaries};
use crate::support::subscriber::{Received, Subscriber};
use crate::support::test_clients::{TestClients, Truth};
use crate::support::{PATIENCE, eventually, pause};

/// The most that one message may take.
const MAX_MESSAGE: usize = 64 * 1024;

const SECOND: Duration = Duration::from_secs(1);

/// An exporter that announces once a second if nobody else does.
fn announcing(server: &Server, words: &[&str]) -> Exporter {
    let words = [&["--announce=auto", "--client-announce-frequency=1"], words].concat();
    Exporter::start(&[&server.address()], &words, &[])
}

/// The clients that the server lists, as seconds since their last byte by id, without the one who asks.
fn idle_seconds(control: &mut Peer) -> BTreeMap<u64, i64> {
    let own = control.ask(&["CLIENT", "ID"]);
    let rows = control.ask(&["CLIENT", "LIST"]);
    let field = |row: &str, key: &str| -> i64 {
        let token = row.split(' ').find_map(|token| token.strip_prefix(key)?.strip_prefix('='));
        token.expect("the field is there").parse().expect("a number")
    };
    let told = rows.lines().map(|row| (field(row, "id") as u64, field(row, "idle")));
    told.filter(|(id, _)| format!(":{id}") != own).collect()
}

fn ids(clients: &[Value]) -> BTreeSet<u64> {
    clients.iter().map(|client| client["id"].as_u64().expect("an id")).collect()
}

#[test]
fn a_subscriber_gets_what_the_article_promises() {
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _crowd = TestClients::join(&server);
        let _exporter = announcing(&server, &[]);
        let mut control = server.peer();
        let subscriber = Subscriber::on(&server.address());
        let first = subscriber.next_status();
        assert_eq!(first.json["schema"], "redis-client-status/1");
        assert_eq!(first.json["node"], server.address().as_str());

        let status = eventually("a status that tells what CLIENT LIST tells", PATIENCE, || {
            let status = subscriber.next_status();
            let truth = Truth::ask(&mut control, 300);
            let expected = [truth.kinds.values().sum(), truth.kinds["application"], truth.silent];
            (["connections", "online", "silent"].map(|field| status.number(field)) == expected).then_some(status)
        });
        assert_eq!((status.number("truncated"), status.number("parts")), (0, 1));
        assert_eq!(status.clients().len() as u64, status.number("connections"));
        let of_applications = status.clients().iter().filter(|client| client.get("kind").is_none());
        let (spoke, silent): (Vec<&Value>, Vec<&Value>) =
            of_applications.partition(|client| client.get("last_interaction").is_some());
        assert_eq!((spoke.len() + silent.len()) as u64, status.number("online"));
        assert_eq!(silent.len() as u64, status.number("silent"));
        let (now, idle) = (clock::now().as_second(), idle_seconds(&mut control));
        for client in spoke {
            let Some(idle) = idle.get(&client["id"].as_u64().expect("an id")) else { continue };
            let last = client["last_interaction"].as_i64().expect("a time");
            assert!((now - idle - last).abs() <= 2, "{now} - {idle} is not {client}");
        }

        let began = Instant::now();
        pause(4 * SECOND);
        let statuses = subscriber.since(began).into_iter().filter(Received::is_status).count();
        assert!((3..=6).contains(&statuses), "one a second: {statuses} in four");
        assert!(subscriber.heard().iter().all(|heard| heard.bytes.len() <= MAX_MESSAGE));
    }
}

#[test]
fn who_comes_and_goes_is_told_at_once() {
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _crowd = TestClients::join(&server);
        let _exporter =
            Exporter::start(&[&server.address()], &["--announce=always", "--client-announce-frequency=5"], &[]);
        let subscriber = Subscriber::on(&server.address());
        subscriber.next_status();
        let came = Instant::now();
        let mut newcomer = server.peer();
        newcomer.must(&["CLIENT", "SETNAME", "newcomer-1"]);
        let id: u64 = newcomer.ask(&["CLIENT", "ID"]).trim_start_matches(':').parse().expect("an id");
        let opened = subscriber.next("the newcomer", |heard| {
            let told = [&heard.json["opened"], &heard.json["clients"]].map(|told| told.as_array().cloned());
            told.iter().flatten().any(|clients| ids(clients).contains(&id))
        });
        assert!(opened.at - came <= 2 * SECOND, "{:?}", opened.at - came);

        let left = Instant::now();
        drop(newcomer);
        let closed = subscriber.next("his leaving", |heard| match heard.kind() {
            "changes" => heard.json["closed"].as_array().is_some_and(|clients| ids(clients).contains(&id)),
            "status" => !ids(heard.clients()).contains(&id),
            _ => false,
        });
        assert!(closed.at - left <= 6 * SECOND, "{:?}", closed.at - left);
    }
}

/// Who announced statuses of late.
fn voices(subscriber: &Subscriber, time: Duration) -> BTreeSet<String> {
    let now = Instant::now();
    let since = subscriber.since(now.checked_sub(time).expect("the machine has run so long"));
    since.iter().filter(|heard| heard.is_status()).map(|heard| heard.announcer().to_owned()).collect()
}

/// Waits until one talks and no other, and gives his name.
fn one_voice(subscriber: &Subscriber) -> String {
    pause(3 * SECOND);
    eventually("one voice", PATIENCE, || {
        let mut voices = voices(subscriber, 3 * SECOND);
        voices.pop_first().filter(|_| voices.is_empty())
    })
}

/// The place of the exporter who announces by this name.
fn named(exporters: &[Exporter], name: &str) -> usize {
    let says = |exporter: &Exporter| exporter.log().iter().any(|line| line.contains(&format!("name={name}")));
    exporters.iter().position(says).expect("one of them announces")
}

#[test]
fn of_three_exporters_one_talks_and_another_takes_over() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let mut exporters: Vec<_> = (0..3).map(|_| announcing(&server, &[])).collect();
    let subscriber = Subscriber::on(&server.address());
    let first = one_voice(&subscriber);
    exporters.swap_remove(named(&exporters, &first)).signal("KILL");
    let spoke = subscriber.heard().last().expect("it spoke").at;
    let next = subscriber.next("another", |heard| heard.announcer() != first);
    assert!(next.at - spoke <= SECOND.mul_f64(3.5), "{:?}", next.at - spoke);
    let second = one_voice(&subscriber);
    assert_ne!(first, second);
    let _again = announcing(&server, &[]);
    let came = Instant::now();
    pause(5 * SECOND);
    let voices: BTreeSet<_> = subscriber.since(came).iter().map(|heard| heard.announcer().to_owned()).collect();
    assert_eq!(voices, BTreeSet::from([second]), "there is no fight");
}

#[test]
fn an_exporter_that_is_told_not_to_announce_does_not() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let subscriber = Subscriber::on(&server.address());
    let exporter = Exporter::watching(&[&server.address()]);
    exporter.fresh_scrape();
    pause(SECOND);
    assert_eq!(subscriber.heard().len(), 0);
}

/// Clients with long names.
fn long_names(server: &Server, count: usize, length: usize) -> Vec<Peer> {
    let join = |number| {
        let mut peer = server.peer();
        peer.must(&["CLIENT", "SETNAME", &format!("{number}-{}", "n".repeat(length))]);
        peer
    };
    (0..count).map(join).collect()
}

#[test]
fn a_status_of_many_is_cut_to_64_kib_and_says_so() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let mut oldest = long_names(&server, 3, 10);
    pause(2 * SECOND);
    let _crowd = long_names(&server, 2000, 200);
    let exporter = announcing(&server, &[]);
    let subscriber = Subscriber::on(&server.address());
    let status = subscriber.next("a status of all", |heard| heard.is_status() && heard.number("online") > 2000);
    assert!(status.bytes.len() <= MAX_MESSAGE && status.bytes.len() > MAX_MESSAGE - 1000, "{}", status.bytes.len());
    assert!(status.number("truncated") > 1000);
    assert_eq!(status.number("truncated") + status.clients().len() as u64, status.number("connections"));
    let idle: Vec<_> = status.clients().iter().map(|client| client["idle"].as_u64().unwrap_or(0)).collect();
    assert!(idle.is_sorted_by(|one, next| one >= next), "longest silent first: {idle:?}");
    let told = ids(status.clients());
    for peer in &mut oldest {
        let id = peer.ask(&["CLIENT", "ID"]).trim_start_matches(':').parse().expect("an id");
        assert!(told.contains(&id), "{id} was silent longest");
    }

    let words = ["--sample=never", "--client-announce-frequency=1"];
    let listener = Exporter::start(&[&server.address()], &words, &[]);
    let scrape = listener.scrape_until("a status", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    let online = exporter.scrape_until("a sample", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    let online = online.value("redis_clients_online", &[]).expect("it was sampled");
    // The listener itself was not there yet when the first status was taken.
    let heard = scrape.value("redis_clients_online", &[]).expect("it was told");
    assert!((heard - online).abs() <= 1.0, "{heard} {online}");
    assert_eq!(scrape.all("redis_clients_connections", &[]).count(), 0, "kinds cannot be known");
    assert_eq!(scrape.value("redis_clients_sample_complete", &[]), Some(0.0));
}

#[test]
fn a_larger_status_comes_in_parts_that_make_a_whole() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _crowd = long_names(&server, 2000, 200);
    let _exporter = announcing(&server, &["--announce.max-bytes=4MiB"]);
    let subscriber = Subscriber::on(&server.address());
    let last = subscriber.next("all parts", |heard| {
        heard.is_status() && heard.number("part") == heard.number("parts") && heard.number("parts") > 5
    });
    let of_this = |heard: &Received| heard.is_status() && heard.json["seq"] == last.json["seq"];
    let parts: Vec<_> = subscriber.heard().into_iter().filter(of_this).collect();
    assert_eq!(parts.len() as u64, last.number("parts"));
    assert!(parts.iter().all(|part| part.bytes.len() <= MAX_MESSAGE && part.number("truncated") == 0));
    let told: BTreeSet<u64> = parts.iter().flat_map(|part| ids(part.clients())).collect();
    assert_eq!(told.len() as u64, last.number("connections"));

    let words = ["--sample=never", "--client-announce-frequency=1"];
    let listener = Exporter::start(&[&server.address()], &words, &[]);
    let of_applications = [("kind", "application")];
    let scrape = listener.scrape_until("a whole status", |scrape| {
        scrape.value("redis_clients_connections", &of_applications).is_some_and(|value| value >= 2000.0)
    });
    assert_eq!(scrape.value("redis_clients_sample_complete", &[]), Some(1.0));
    assert_eq!(scrape.value("redis_clients_sample_source_info", &[("source", "received")]), Some(1.0));
}

#[test]
fn changes_of_many_are_no_larger_than_a_status() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _exporter = announcing(&server, &["--announce.max-bytes=16MiB"]);
    let subscriber = Subscriber::on(&server.address());
    subscriber.next_status();
    for _ in 0..3 {
        let crowd = long_names(&server, 300, 2000);
        subscriber.next("they came", |heard| heard.kind() == "changes" && heard.json["opened"].as_array().is_some());
        subscriber.next("all came", |heard| heard.is_status() && heard.number("online") >= 300);
        drop(crowd);
        subscriber.next("they went", |heard| heard.is_status() && heard.number("online") < 10);
    }
    for heard in subscriber.heard() {
        assert!(heard.bytes.len() <= MAX_MESSAGE, "{} of {} bytes", heard.kind(), heard.bytes.len());
    }
}

#[test]
fn watch_prints_what_is_announced() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _crowd = TestClients::join(&server);
    let _exporter = announcing(&server, &[]);
    let address = server.address();
    let watch = |words: &[&str]| run(&[&["watch", "--redis.addr", &address], words].concat());
    let json = watch(&["--format=json", "--count=2"]);
    assert!(json.status.success(), "{json:?}");
    let lines: Vec<Value> = String::from_utf8_lossy(&json.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is a JSON object"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["schema"] == "redis-client-status/1"));

    let table = watch(&["--count=1"]);
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(table.status.success() && text.contains(" of 10000 connections, "), "{table:?}");
    assert!(text.contains(" online, ") && text.contains("LAST INTERACTION") && text.contains("worker-1"), "{text}");
    assert!(!text.contains('\x1b'), "no control characters where there is no terminal");
}

#[test]
fn watch_says_that_a_server_cannot_be_reached() {
    let port = crate::support::server::free_port();
    let output = run(&["watch", "--redis.addr", &format!("127.0.0.1:{port}"), "--count=1"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&port.to_string()) && text.contains("refused"), "{text}");
}
