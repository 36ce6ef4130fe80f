//! Listening as a source: what is heard of another exporter is shown as if it had been sampled, and nothing that anybody else
//! publishes does harm.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

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
use crate::support::{PATIENCE, eventually, pause};

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
    value.expect("every reason is there from the start")
}

fn errors(scrape: &Scrape, reason: &str) -> f64 {
    scrape.value("redis_clients_sample_errors_total", &[("reason", reason)]).expect("every reason is there")
}

fn is_heard(scrape: &Scrape) -> bool {
    scrape.value("redis_clients_sample_source", &[("source", "heard")]) == Some(1.0)
}

/// What all who watch one server must agree on.
fn told(scrape: &Scrape) -> [BTreeMap<String, u64>; 3] {
    [
        scrape.by("redis_clients_connections", "kind"),
        scrape.by("redis_clients_app_connections", "client_app"),
        BTreeMap::from([("online".to_owned(), online(scrape).unwrap_or(-1.0) as u64)]),
    ]
}

/// How often clients were listed.
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
    let _crowd = TestClients::join(&server);
    let mut control = server.peer();
    let key = key_file();
    let key = format!("--announce.key-file={}", key.path().display());
    let words = ["--announce=auto", "--sample=auto", FREQUENCY, &key];
    let start = || Exporter::start(&[&server.address()], &words, &[]);
    let mut exporters = vec![start()];
    let subscriber = Subscriber::on(&server.address());
    exporters[0].scrape_until("a sample", |scrape| online(scrape).is_some());
    subscriber.next_status();
    let alone = over_five_seconds(&mut control);
    let began = Instant::now();
    let statuses = || subscriber.since(began).iter().filter(|heard| heard.is_status()).count();
    pause(4 * SECOND);
    assert!((3..=6).contains(&statuses()), "who samples announces each of them: {} in 4 s", statuses());

    exporters.extend([start(), start()]);
    let settled = || exporters.iter().filter(|exporter| is_heard(&exporter.scrape())).count() == 2;
    eventually("two of them listen", PATIENCE, || settled().then_some(()));
    let together = over_five_seconds(&mut control);
    assert!(together <= alone + alone / 4 + 1, "{together} listings by three, {alone} by one");
    eventually("all tell the same", PATIENCE, || {
        let all: Vec<_> = exporters.iter().map(|exporter| told(&exporter.scrape())).collect();
        (all[0] == all[1] && all[1] == all[2] && !all[0][0].is_empty()).then_some(())
    });
    assert!(settled());

    let sampler = exporters.iter().position(|exporter| !is_heard(&exporter.scrape())).expect("one samples");
    exporters.remove(sampler).signal("KILL");
    let killed = Instant::now();
    while killed.elapsed() < 7 * SECOND {
        for exporter in &exporters {
            assert_eq!(up(&exporter.scrape()), Some(1.0), "{:?} after it was killed", killed.elapsed());
        }
        pause(Duration::from_millis(50));
    }
    let samplers = exporters.iter().filter(|exporter| !is_heard(&exporter.scrape())).count();
    assert_eq!(samplers, 1, "one took over");
}

fn over_five_seconds(control: &mut Peer) -> u64 {
    let before = listings(control);
    pause(5 * SECOND);
    listings(control) - before
}

/// A true status, to be changed into another.
fn status_of(subscriber: &Subscriber) -> Value {
    subscriber.next_status().json
}

/// A status of an announcer who does not exist, taken now.
fn forged(status: &Value, changes: &Value) -> String {
    let mut status = status.clone();
    let object = status.as_object_mut().expect("a status is an object");
    object.remove("signature");
    object.insert("announcer".to_owned(), "forger/1".into());
    object.insert("at".to_owned(), (clock::now().as_millisecond() as f64 / 1000.0).into());
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
    let true_status = subscriber.next_status();
    assert!(Key::new(KEY.as_bytes()).verifies(&true_status.bytes));
    for exporter in &exporters {
        exporter.scrape_until("it is up", |scrape| up(scrape) == Some(1.0));
    }
    let before: Vec<_> = exporters.iter().map(|exporter| refused(&exporter.scrape(), "signature")).collect();
    let mut control = server.peer();
    for round in 0..10 {
        let changes = json!({"seq": 1_000_000 + round, "connections": 9999, "online": 9999, "truncated": 9000});
        let unsigned = forged(&true_status.json, &changes);
        let mut wrong = unsigned.clone();
        Key::new(b"this is not the key of anybody").sign(&mut wrong);
        for message in [unsigned, wrong] {
            control.must(&["PUBLISH", CHANNEL, &message]);
        }
        pause(Duration::from_millis(200));
        for exporter in &exporters {
            let scrape = exporter.scrape();
            assert_eq!(up(&scrape), Some(1.0));
            assert!(online(&scrape).is_some_and(|online| online < 20.0), "{:?}", online(&scrape));
        }
    }
    for (exporter, before) in exporters.iter().zip(before) {
        exporter.scrape_until("they were refused", |scrape| refused(scrape, "signature") >= before + 20.0);
    }
}

#[test]
fn a_listener_who_may_only_subscribe_tells_what_statuses_tell() {
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _crowd = TestClients::join(&server);
        server.peer().must(&[
            "ACL",
            "SETUSER",
            "ear",
            "on",
            ">secret",
            "resetchannels",
            "&__redis__:cli",
            "-@all",
            "+subscribe",
        ]);
        let exporter = Exporter::start(&[&server.address()], &["--announce=auto", FREQUENCY], &[]);
        let words = ["--redis.user=ear", "--redis.password=secret", "--sample=never", FREQUENCY];
        let listener = Exporter::start(&[&server.address()], &words, &[]);
        listener.scrape_until("a status is heard", |scrape| up(scrape) == Some(1.0));
        eventually("both tell the same", PATIENCE, || {
            let (sampled, heard) = (told(&exporter.scrape()), told(&listener.scrape()));
            (sampled == heard && sampled[0].contains_key("exporter")).then_some(())
        });
        let scrape = listener.scrape();
        assert!(is_heard(&scrape) && scrape.value("redis_clients_sample_complete", &[]) == Some(1.0));
        assert_eq!(listener.log().iter().filter(|line| line.contains("level=warn")).count(), 0, "{:?}", listener.log());
    }
}

#[test]
fn a_listener_to_whom_nobody_talks_says_so() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let listener = Exporter::start(&[&server.address()], &["--sample=never", FREQUENCY], &[]);
    let scrape = listener.scrape_until("silence", |scrape| errors(scrape, "silent") >= 1.0);
    assert_eq!(up(&scrape), Some(0.0));
    assert!(listener.log().join("\n").contains("no exporter announces its status"), "{:?}", listener.log());
    let announcer = Exporter::start(&[&server.address()], &["--announce=auto", FREQUENCY], &[]);
    listener.scrape_until("somebody", |scrape| up(scrape) == Some(1.0));
    drop(announcer);
    listener.scrape_until("silence again", |scrape| up(scrape) == Some(0.0));
}

#[test]
fn two_nodes_on_one_channel_are_told_apart() {
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
        let other = json!({"seq": seq, "node": "10.0.0.9:6379", "run_id": "f".repeat(40), "connections": 1, "online": 0,
            "silent": 0, "clients": [{"id": 5, "addr": "10.0.0.1:1", "kind": "replica", "flags": "S"}]});
        control.must(&["PUBLISH", CHANNEL, &forged(&status, &other)]);
    };
    let end = Instant::now() + 8 * SECOND;
    let mut is_told = false;
    while Instant::now() < end {
        publish();
        pause(Duration::from_millis(500));
        let log = listener.log().join("\n");
        is_told |= log.contains("10.0.0.9:6379") && log.contains(&address) && log.contains("--announce.node");
        is_told &= up(&listener.scrape()) == Some(0.0);
    }
    assert!(is_told, "{:?}", listener.log());
    let scrape = chooser.scrape();
    assert_eq!(up(&scrape), Some(1.0));
    assert!(online(&scrape).is_some_and(|online| online > 1.0));
    let scrape = of_other.scrape();
    assert_eq!((up(&scrape), online(&scrape)), (Some(1.0), Some(0.0)));
    // Another node is still announced, but not the wanted one.
    of_other
        .scrape_until("silence of the wanted one", |scrape| up(scrape) == Some(0.0) && errors(scrape, "silent") >= 1.0);
}

/// The memory that a process has, in bytes.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

/// Publishes so many messages at once, as fast as the server takes them.
fn flood(server: &Server, message: &str, count: usize) {
    let script = "for i = 1, ARGV[3] do redis.call('PUBLISH', ARGV[1], ARGV[2]) end";
    server.peer().must(&["EVAL", script, "0", CHANNEL, message, &count.to_string()]);
}

#[test]
fn nothing_that_is_published_does_harm() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let address = server.address();
    let _crowd = TestClients::join(&server);
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
    let yesterday = clock::now().as_second() - 86_400;
    let other = json!({"seq": 7, "node": "10.0.0.9:6379", "run_id": "f".repeat(40), "online": 7777});
    let many = json!({"seq": 8, "node": "10.0.0.8:6379", "run_id": "e".repeat(40), "truncated": 1_000_000,
        "connections": 1_000_000});
    for (reason, message) in [
        ("malformed", "garbage".to_owned()),
        ("malformed", text[..text.len() / 2].to_owned()),
        ("malformed", "[".repeat(60_000)),
        ("oversize", "x".repeat(10 << 20)),
        ("schema", text.replace("redis-client-status/1", "redis-client-status/2")),
        ("replay", forged(&status, &json!({"at": yesterday}))),
        ("incomplete", forged(&status, &json!({"part": 2, "parts": 3, "seq": 5}))),
        ("client", forged(&status, &json!({"clients": [{"id": 1, "name": "a b=c"}], "seq": 6}))),
        ("", forged(&status, &other)),
        ("", forged(&status, &many)),
    ] {
        let before = exporters.each_ref().map(|exporter| exporter.scrape());
        control.must(&["PUBLISH", CHANNEL, &message]);
        // Who samples himself looks only who talks, and not at what is told.
        let listener_only = ["incomplete", "client"].contains(&reason);
        for (exporter, before) in exporters.iter().zip(before).skip(usize::from(listener_only)) {
            if !reason.is_empty() {
                exporter.scrape_until(reason, |scrape| refused(scrape, reason) > refused(&before, reason));
            }
        }
    }
    for _ in 0..20 {
        flood(&server, "a flood of garbage", 500);
        flood(&server, &forged(&status, &json!({"run_id": "d".repeat(40), "node": "10.0.0.7:6379"})), 500);
        pause(Duration::from_millis(100));
    }
    for exporter in &exporters {
        exporter.scrape_until("a flood", |scrape| refused(scrape, "flood") > 1000.0);
    }
    // What waits in the server is read, and so are true statuses behind it.
    pause(3 * SECOND);
    for (exporter, before) in exporters.iter_mut().zip(before) {
        assert!(exporter.is_running());
        let scrape = exporter.scrape_until("the truth", |scrape| up(scrape) == Some(1.0));
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

#[test]
fn a_cut_link_and_a_restart_are_survived() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    let address = server.address();
    let announcer = Exporter::start(&[&address], &["--announce=auto", FREQUENCY], &[]);
    let listener = Exporter::start(&[&address], &["--sample=never", FREQUENCY], &[]);
    let heard = |scrape: &Scrape| scrape.value("redis_clients_announcements_heard_total", &[]).unwrap_or(0.0);
    let hears = |what: &str| {
        let before = heard(&listener.scrape());
        listener.scrape_until(what, |scrape| up(scrape) == Some(1.0) && heard(scrape) >= before + 2.0);
    };
    hears("at first");
    server.peer().must(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    hears("after its link was cut");
    server.peer().must(&["CLIENT", "KILL", "TYPE", "normal"]);
    hears("after the announcer's was");
    server.restart();
    let restarted = Instant::now();
    hears("after a restart");
    assert!(restarted.elapsed() < 15 * SECOND, "{:?}", restarted.elapsed());
    announcer.scrape_until("it samples", |scrape| up(scrape) == Some(1.0));
}
