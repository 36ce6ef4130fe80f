//! Status messages as a source: a status received from another exporter is exported like a sample, and no message that
//! anyone else publishes has an effect.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use redis_client_exporter::clock;
use redis_client_exporter::status::Key;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, binaries};
use crate::support::subscriber::{CHANNEL, Subscriber};
use crate::support::test_clients::TestClients;
use crate::support::{eventually, pause, share};

const SECOND: Duration = Duration::from_secs(1);

const KEY: &str = "0123456789abcdef0123456789abcdef";

const FREQUENCY: &str = "--client-announce-frequency=1";

fn key_file() -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{KEY}\nanother-key-that-was-used-before").expect("it is written");
    file
}

fn up(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_up", &[])
}

fn online(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_online", &[])
}

fn refused(scrape: &Scrape, reason: &str) -> f64 {
    let value = scrape.value("redis_clients_announcements_refused_total", &[("reason", reason)]);
    value.expect("every reason is exported from the start")
}

fn errors(scrape: &Scrape, reason: &str) -> f64 {
    scrape.value("redis_clients_sample_errors_total", &[("reason", reason)]).expect("every reason is exported")
}

fn is_received(scrape: &Scrape) -> bool {
    scrape.value("redis_clients_sample_source_info", &[("source", "received")]) == Some(1.0)
}

/// Returns the counts that all exporters of one server must agree on.
fn counts_of(scrape: &Scrape) -> [BTreeMap<String, u64>; 3] {
    [
        scrape.by("redis_clients_connections", "kind"),
        scrape.by("redis_clients_app_connections", "client_app"),
        BTreeMap::from([("online".to_owned(), online(scrape).unwrap_or(-1.0) as u64)]),
    ]
}

/// Returns how often `CLIENT LIST` was called.
fn listings(control: &mut Peer) -> u64 {
    let text = control.ask(&["INFO", "commandstats"]);
    let calls = |line: &str| {
        let (_, rest) = line.split_once("cmdstat_client|list:calls=")?;
        rest.split(',').next()?.parse().ok()
    };
    text.lines().find_map(calls).unwrap_or(0)
}

#[test]
fn with_a_key_three_exporters_need_one_sampler() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let mut control = server.peer();
    let key = key_file();
    let key = format!("--announce.key-file={}", key.path().display());
    let args = ["--announce=auto", "--sample=auto", FREQUENCY, &key];
    let start = || Exporter::start(&[&server.address()], &args, &[]);
    let mut exporters = vec![start()];
    let subscriber = Subscriber::on(&server.address());
    exporters[0].scrape_until("a sample", |scrape| online(scrape).is_some());
    subscriber.next_status();
    let alone = over_five_statuses(&mut control, &subscriber);

    exporters.extend([start(), start()]);
    let settled = || exporters.iter().filter(|exporter| is_received(&exporter.scrape())).count() == 2;
    eventually("two of them listen", || settled().then_some(()));
    // If the machine is so busy that a status is late, the others sample meanwhile.
    eventually("three need hardly more listings than one", || {
        let together = over_five_statuses(&mut control, &subscriber);
        println!("{together} listings by three, {alone} by one");
        (together <= alone + alone / 4 + 1).then_some(())
    });
    eventually("all export the same counts", || {
        let all: Vec<_> = exporters.iter().map(|exporter| counts_of(&exporter.scrape())).collect();
        (all[0] == all[1] && all[1] == all[2] && !all[0][0].is_empty()).then_some(())
    });

    let sampler = eventually("one samples", || {
        let samplers: Vec<_> = (0..3).filter(|place| !is_received(&exporters[*place].scrape())).collect();
        (samplers.len() == 1).then(|| samplers[0])
    });
    drop(exporters.remove(sampler));
    eventually("another takes over", || {
        let scrapes: Vec<_> = exporters.iter().map(Exporter::scrape).collect();
        let samplers = scrapes.iter().filter(|scrape| !is_received(scrape)).count();
        (samplers == 1 && scrapes.iter().all(|scrape| up(scrape) == Some(1.0))).then_some(())
    });
    // The statuses of the new one are received.
    over_five_statuses(&mut control, &subscriber);
}

/// Returns the number of listings during the next five statuses.
fn over_five_statuses(control: &mut Peer, subscriber: &Subscriber) -> u64 {
    let before = listings(control);
    (0..5).for_each(|_| drop(subscriber.next_status()));
    listings(control) - before
}

/// Returns a genuine status, as the base of forged ones.
fn status_of(subscriber: &Subscriber) -> Value {
    subscriber.next_status().json
}

/// Returns a status with the current time, of an announcer that does not exist.
fn forged(status: &Value, changes: &Value) -> String {
    let mut status = status.clone();
    let object = status.as_object_mut().expect("a status is an object");
    object.remove("signature");
    object.insert("announcer".to_owned(), "forger/1".into());
    object.insert("sampled_at".to_owned(), clock::now().to_string().into());
    object.extend(changes.as_object().expect("an object").clone());
    status.to_string()
}

#[test]
fn a_forged_status_changes_nothing_where_there_is_a_key() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let key = key_file();
    let key = format!("--announce.key-file={}", key.path().display());
    let start = |more: &[&str]| Exporter::start(&[&server.address()], &[more, &[FREQUENCY, &key]].concat(), &[]);
    let exporters = [start(&["--announce=auto"]), start(&["--sample=auto"]), start(&["--sample=never"])];
    let subscriber = Subscriber::on(&server.address());
    let genuine = subscriber.next_status();
    assert!(Key::new(KEY.as_bytes()).verifies(&genuine.bytes));
    for exporter in &exporters {
        exporter.scrape_until("it is up", |scrape| up(scrape) == Some(1.0));
    }
    let before: Vec<_> = exporters.iter().map(|exporter| refused(&exporter.scrape(), "signature")).collect();
    let mut control = server.peer();
    for round in 0..10 {
        let changes = json!({"seq": 1_000_000 + round, "connections": 9999, "online": 9999, "truncated": 9000});
        let unsigned = forged(&genuine.json, &changes);
        let mut wrong = unsigned.clone();
        Key::new(b"this key is not used by anyone").sign(&mut wrong);
        for message in [unsigned, wrong] {
            control.must(&["PUBLISH", CHANNEL, &message]);
        }
        pause(Duration::from_millis(200));
        for exporter in &exporters {
            // On a busy machine, the genuine statuses may be late.
            let online = online(&exporter.scrape());
            assert!(online.is_none_or(|online| online < 20.0), "{online:?}");
        }
    }
    for (exporter, before) in exporters.iter().zip(before) {
        exporter.scrape_until("they were refused", |scrape| {
            refused(scrape, "signature") >= before + 20.0 && up(scrape) == Some(1.0)
        });
    }
}

#[test]
fn a_listener_that_may_only_subscribe_exports_received_statuses() {
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = TestClients::join(&server);
        server.peer().must(&[
            "ACL",
            "SETUSER",
            "listener",
            "on",
            ">secret",
            "resetchannels",
            "&__redis__:cli",
            "-@all",
            "+subscribe",
        ]);
        let exporter = Exporter::start(&[&server.address()], &["--announce=auto", FREQUENCY], &[]);
        let args = ["--redis.user=listener", "--redis.password=secret", "--sample=never", FREQUENCY];
        let listener = Exporter::start(&[&server.address()], &args, &[]);
        listener.scrape_until("a status is received", |scrape| up(scrape) == Some(1.0));
        eventually("both export the same counts", || {
            let (sampled, received) = (counts_of(&exporter.scrape()), counts_of(&listener.scrape()));
            (sampled == received && sampled[0].contains_key("exporter")).then_some(())
        });
        let scrape = listener.scrape();
        assert!(is_received(&scrape) && scrape.value("redis_clients_sample_complete", &[]) == Some(1.0));
        assert_eq!(listener.log().iter().filter(|line| line.contains("level=warn")).count(), 0, "{:?}", listener.log());
    }
}

#[test]
fn a_listener_that_receives_no_status_reports_it() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let listener = Exporter::start(&[&server.address()], &["--sample=never", FREQUENCY], &[]);
    let scrape = listener.scrape_until("a timeout", |scrape| errors(scrape, "silent") >= 1.0);
    assert_eq!(up(&scrape), Some(0.0));
    assert!(listener.log().join("\n").contains("no exporter announces its status"), "{:?}", listener.log());
    let announcer = Exporter::start(&[&server.address()], &["--announce=auto", FREQUENCY], &[]);
    listener.scrape_until("a status", |scrape| up(scrape) == Some(1.0));
    drop(announcer);
    listener.scrape_until("another timeout", |scrape| up(scrape) == Some(0.0));
}

#[test]
fn two_nodes_on_one_channel_are_distinguished() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let address = server.address();
    let _exporter = Exporter::start(&[&address], &["--announce=auto", FREQUENCY], &[]);
    let subscriber = Subscriber::on(&address);
    let status = status_of(&subscriber);
    let mut control = server.peer();
    let listener = Exporter::start(&[&address], &["--sample=never", FREQUENCY], &[]);
    let node = format!("--announce.node={address}");
    let chooser = Exporter::start(&[&address], &["--sample=never", FREQUENCY, &node], &[]);
    let of_other = Exporter::start(&[&address], &["--sample=never", FREQUENCY, "--announce.node=10.0.0.9:6379"], &[]);
    let mut seq = 0;
    let mut publish = || {
        seq += 1;
        let other = json!({"seq": seq, "redis": "10.0.0.9:6379", "run_id": "f".repeat(40), "connections": 1,
            "online": 0,
            "silent": 0, "clients": [{"id": 5, "address": "10.0.0.1:1", "kind": "replica", "flags": "S"}]});
        control.must(&["PUBLISH", CHANNEL, &forged(&status, &other)]);
    };
    let both_are_announced = |chooser: &Scrape, of_other: &Scrape| {
        up(chooser) == Some(1.0)
            && online(chooser).is_some_and(|online| online > 1.0)
            && (up(of_other), online(of_other)) == (Some(1.0), Some(0.0))
    };
    eventually("each has the statuses that it wants", || {
        publish();
        pause(Duration::from_millis(500));
        // It warns that there are several, and follows one of them.
        let log = listener.log().join("\n");
        let is_warned = log.contains("10.0.0.9:6379") && log.contains(&address) && log.contains("--announce.node");
        (is_warned && both_are_announced(&chooser.scrape(), &of_other.scrape())).then_some(())
    });
    let followed = online(&listener.scrape_until("one is followed", |scrape| up(scrape) == Some(1.0)));
    // And it stays like this.
    for _ in 0..6 {
        publish();
        pause(Duration::from_millis(500));
        assert!(online(&listener.scrape()).is_none_or(|online| (online == 0.0) == (followed == Some(0.0))));
        assert!(online(&chooser.scrape()).is_none_or(|online| online > 1.0));
        assert!(online(&of_other.scrape()).is_none_or(|online| online == 0.0));
    }
    // The other node's announcements stop. The remaining ones are of a node that this listener does not want.
    of_other.scrape_until("no status of the wanted node", |scrape| {
        up(scrape) == Some(0.0) && errors(scrape, "silent") >= 1.0
    });
}

/// Each one alone replaced the genuine statuses, or made it unknown which ones are genuine, for half a minute or more.
#[test]
fn no_single_forged_message_replaces_the_node_that_is_followed() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let address = server.address();
    let clients: Vec<Peer> = (0..20).map(|_| server.peer()).collect();
    let subscriber = Subscriber::on(&address);
    let exporter = Exporter::start(&[&address], &["--announce=always", FREQUENCY], &[]);
    exporter.scrape_until("all clients", |scrape| online(scrape) >= Some(clients.len() as f64));
    let status = eventually("all clients", || {
        Some(status_of(&subscriber)).filter(|status| status["online"].as_u64() >= Some(20))
    });
    // There is no other genuine status, so nothing repairs what a forged one has changed.
    drop(exporter);
    let never = ["--sample=never", "--client-announce-frequency=1h", "--sample.max-age=24h"];
    let node = format!("--announce.node={}", status["redis"].as_str().expect("a name"));
    let listeners = [
        Exporter::start(&[&address], &never, &[]),
        Exporter::start(&[&address], &[&never[..], &[&node]].concat(), &[]),
    ];
    let mut control = server.peer();
    let seconds = |seconds| Duration::from_secs(seconds);
    for listener in &listeners {
        eventually("the genuine status", || {
            control.must(&["PUBLISH", CHANNEL, &forged(&status, &json!({"announcer": status["announcer"]}))]);
            pause(seconds(1) / 5);
            (up(&listener.scrape()) == Some(1.0)).then_some(())
        });
    }
    let truth = listeners.each_ref().map(|listener| online(&listener.scrape()));
    assert!(truth.iter().all(|online| *online >= Some(clients.len() as f64)), "{truth:?}");
    let other = json!({"run_id": "f".repeat(40), "online": 7777, "connections": 0, "clients": [], "truncated": 0});
    let announcer = status["announcer"].clone();
    for (what, changes) in [
        ("another run", json!({"seq": 1})),
        ("of the same announcer", json!({"announcer": announcer, "seq": u64::MAX})),
        ("with an endless frequency", json!({"announcer": announcer, "seq": 2, "frequency": 86_400})),
        ("from the future", json!({"seq": 3, "sampled_at": (clock::now() + seconds(100)).to_string()})),
        ("from the past", json!({"seq": 4, "sampled_at": (clock::now() - seconds(100)).to_string()})),
        ("a heartbeat", json!({"seq": 5, "kind": "heartbeat", "frequency": 86_400})),
        ("changes", json!({"seq": 6, "kind": "changes", "opened": [], "closed": []})),
        ("another node", json!({"seq": 7, "redis": "10.0.0.9:6379"})),
    ] {
        let mut changes = changes;
        let object = changes.as_object_mut().expect("an object");
        for (member, value) in other.as_object().expect("an object") {
            object.insert(member.clone(), value.clone());
        }
        let received = |scrape: &Scrape| {
            refused(scrape, "not_followed") + scrape.sum("redis_clients_announcements_received_total")
        };
        let before = listeners.each_ref().map(|listener| received(&listener.scrape()));
        control.must(&["PUBLISH", CHANNEL, &forged(&status, &changes)]);
        for ((listener, truth), before) in listeners.iter().zip(&truth).zip(before) {
            let scrape = listener.scrape_until(what, |scrape| received(scrape) > before);
            assert_eq!((up(&scrape), online(&scrape)), (Some(1.0), *truth), "{what}");
        }
    }
    // The genuine one is accepted whatever was forged before.
    let sampled_at = |scrape: &Scrape| scrape.value("redis_clients_sample_timestamp_seconds", &[]);
    let before = listeners.each_ref().map(|listener| sampled_at(&listener.scrape()));
    control.must(&["PUBLISH", CHANNEL, &forged(&status, &json!({"announcer": announcer, "seq": 1}))]);
    for ((listener, truth), before) in listeners.iter().zip(truth).zip(before) {
        let scrape = listener.scrape_until("the genuine status", |scrape| sampled_at(scrape) > before);
        assert_eq!((up(&scrape), online(&scrape)), (Some(1.0), truth));
        let warnings = listener.log().iter().filter(|line| line.contains("announced on its channel")).count();
        assert_eq!(warnings, 1, "{:?}", listener.log());
    }
}

/// Returns the resident memory of a process, in bytes.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has resident memory");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

/// Publishes `count` messages at once, as fast as the server can.
fn flood(server: &Server, message: &str, count: usize) {
    let script = "for i = 1, ARGV[3] do redis.call('PUBLISH', ARGV[1], ARGV[2]) end";
    server.peer().must(&["EVAL", script, "0", CHANNEL, message, &count.to_string()]);
}

#[test]
fn hostile_messages_have_no_effect() {
    let _alone = share::alone();
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let address = server.address();
    let _clients = TestClients::join(&server);
    let node = format!("--announce.node={address}");
    let mut exporters = [
        Exporter::start(&[&address], &["--announce=auto", FREQUENCY], &[]),
        Exporter::start(&[&address], &["--sample=never", FREQUENCY, &node], &[]),
    ];
    let subscriber = Subscriber::on(&address);
    let status = status_of(&subscriber);
    let truth = status["online"].as_f64().expect("a number");
    for exporter in &exporters {
        exporter.scrape_until("it is up", |scrape| up(scrape) == Some(1.0));
    }
    pause(2 * SECOND);
    let before = exporters.each_ref().map(|exporter| resident_bytes(exporter.pid()));

    let mut control = server.peer();
    let text = status.to_string();
    let yesterday = (clock::now() - Duration::from_secs(86_400)).to_string();
    let other = json!({"seq": 7, "redis": "10.0.0.9:6379", "run_id": "f".repeat(40), "online": 7777});
    let many = json!({"seq": 8, "redis": "10.0.0.8:6379", "run_id": "e".repeat(40), "truncated": 1_000_000,
        "connections": 1_000_000});
    for (reason, message) in [
        ("malformed", "garbage".to_owned()),
        ("malformed", text[..text.len() / 2].to_owned()),
        ("malformed", "[".repeat(60_000)),
        ("oversize", "x".repeat(10 << 20)),
        ("schema", text.replace("redis-client-status/2", "redis-client-status/3")),
        ("replay", forged(&status, &json!({"sampled_at": yesterday}))),
        ("incomplete", forged(&status, &json!({"part": 2, "parts": 3, "seq": 5}))),
        ("client", forged(&status, &json!({"clients": [{"id": 1, "name": "a b=c"}], "seq": 6}))),
        ("", forged(&status, &other)),
        ("", forged(&status, &many)),
    ] {
        let before = exporters.each_ref().map(|exporter| exporter.scrape());
        control.must(&["PUBLISH", CHANNEL, &message]);
        // An exporter that samples reads only who announces, not the content of the status.
        let listener_only = ["incomplete", "client"].contains(&reason);
        for (exporter, before) in exporters.iter().zip(before).skip(usize::from(listener_only)) {
            if !reason.is_empty() {
                exporter.scrape_until(reason, |scrape| refused(scrape, reason) > refused(&before, reason));
            }
        }
    }
    eventually("they refuse a flood", || {
        for _ in 0..20 {
            flood(&server, "a flood of garbage", 500);
            flood(&server, &forged(&status, &json!({"run_id": "d".repeat(40), "redis": "10.0.0.7:6379"})), 500);
            pause(Duration::from_millis(100));
        }
        exporters.iter().all(|exporter| refused(&exporter.scrape(), "flood") > 1000.0).then_some(())
    });
    // The queued messages are read, and then the genuine statuses behind them.
    pause(3 * SECOND);
    for (exporter, before) in exporters.iter_mut().zip(before) {
        assert!(exporter.is_running());
        let scrape = exporter.scrape_until("a genuine status", |scrape| up(scrape) == Some(1.0));
        assert!(online(&scrape).is_some_and(|online| (online - truth).abs() <= 3.0), "{:?}", online(&scrape));
        let grown = resident_bytes(exporter.pid()).saturating_sub(before);
        println!("{} KB more", grown / 1024);
        assert!(grown < 20_000_000, "{grown} bytes more");
        for reason in ["malformed", "oversize", "schema", "replay", "flood"] {
            let line = |line: &&String| line.contains("was refused") && line.contains(&format!("reason={reason}"));
            assert_eq!(exporter.log().iter().filter(line).count(), 1, "{reason}: {:?}", exporter.log());
        }
    }
}

/// The parts of a status that is never complete took 64 MiB, and what waited gigabytes.
#[test]
fn forged_statuses_take_no_more_memory_than_replies_may() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let args = ["--sample=never", "--client-announce-frequency=1h", "--sample.max-memory=16MiB"];
    let listener = Exporter::start(&[&server.address()], &args, &[]);
    let (mut control, mut seq) = (server.peer(), 0);
    eventually("a status without room is refused", || {
        seq += 1;
        for part in 1..=30 {
            let clients: Vec<Value> = (0..3500).map(|id| json!({ "id": part * 10_000 + id })).collect();
            let message = json!({"schema": "redis-client-status/2", "kind": "status", "announcer": "forged",
                "redis": "n:1", "run_id": "r", "seq": seq, "sampled_at": clock::now().to_string(), "frequency": 10,
                "connections": 1_000_000, "online": 0, "silent": 0, "fields": [], "truncated": 1, "part": part,
                "parts": 40, "clients": clients});
            let message = message.to_string();
            assert!(message.len() < 64 << 10, "it is refused for its own size");
            control.must(&["PUBLISH", CHANNEL, &message]);
        }
        pause(SECOND / 5);
        (refused(&listener.scrape(), "oversize") >= 1.0).then_some(())
    });
    assert!(resident_bytes(listener.pid()) < 80_000_000, "{}", resident_bytes(listener.pid()));
}

#[test]
fn a_listener_recovers_from_a_cut_link_and_a_restart() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    let address = server.address();
    let announcer = Exporter::start(&[&address], &["--announce=auto", FREQUENCY], &[]);
    let listener = Exporter::start(&[&address], &["--sample=never", FREQUENCY], &[]);
    let received = |scrape: &Scrape| scrape.value("redis_clients_announcements_received_total", &[]).unwrap_or(0.0);
    let wait_for_statuses = |what: &str| {
        let before = received(&listener.scrape());
        listener.scrape_until(what, |scrape| up(scrape) == Some(1.0) && received(scrape) >= before + 2.0);
    };
    wait_for_statuses("at first");
    server.peer().must(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_for_statuses("after its link was cut");
    server.peer().must(&["CLIENT", "KILL", "TYPE", "normal"]);
    wait_for_statuses("after the announcer's link was cut");
    server.restart();
    wait_for_statuses("after a restart");
    announcer.scrape_until("it samples", |scrape| up(scrape) == Some(1.0));
}
