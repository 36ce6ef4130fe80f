//! Servers whose clock is wrong, and is set while they run. libfaketime gives a real server such a clock.
//!
//! Only the servers of wheels run with it: libfaketime and jemalloc, which Debian's servers use, wait for each other.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::exporter::{Exporter, program, run};
use crate::support::http::get;
use crate::support::peer::Peer;
use crate::support::project;
use crate::support::scrape::Scrape;
use crate::support::server::{Binary, Server, any_binary, binary, missing};

const DIFFERENCE: &str = "redis_clients_clock_difference_seconds";

/// 6.2 computes ages from the second of its event loop, 8.2 from the time of the command.
const SERVERS: [&str; 2] = ["redis-6.2", "redis-8.2"];

const TWO_HOURS: i64 = 7200;

/// The longest time that a test may take between two readings of a clock, in seconds: far less than their difference.
const TOLERANCE: f64 = 1200.0;

/// A clock that a test sets.
struct FakeClock(TempDir);

impl FakeClock {
    fn new() -> Option<Self> {
        let clock = FakeClock(TempDir::new().expect("a temporary folder"));
        clock.set(0);
        let is_installed = faketime().exists();
        if !is_installed {
            missing("faketime");
        }
        is_installed.then_some(clock)
    }

    fn set(&self, ahead_seconds: i64) {
        // Replaced as a whole, so that no program reads a part of it.
        let new = self.0.path().join("new");
        fs::write(&new, format!("{ahead_seconds:+}\n")).expect("a file");
        fs::rename(&new, self.offset()).expect("a file");
    }

    fn offset(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    /// A command that runs a program by this clock.
    fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(faketime());
        command.arg(self.offset()).arg(program);
        command
    }

    /// A server that runs by this clock.
    fn server(&self, name: &str) -> Option<Server> {
        let Binary { name, path } = binary(name)?;
        let script = self.0.path().join("server");
        let command = [&faketime(), &self.offset(), &path].map(|path| format!("'{}'", path.display())).join(" ");
        fs::write(&script, format!("#!/bin/sh\nexec {command} \"$@\"\n")).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("permissions");
        Some(Server::start(&Binary { name, path: script }))
    }
}

fn faketime() -> PathBuf {
    project(".cache/servers/faketime/faketime")
}

fn is_ahead_by(scrape: &Scrape, seconds: i64) -> bool {
    scrape.value(DIFFERENCE, &[]).is_some_and(|difference| (difference - seconds as f64).abs() < TOLERANCE)
}

#[expect(clippy::disallowed_methods, reason = "the test compares the exporter's times with the clock")]
fn now() -> f64 {
    Timestamp::now().as_duration().as_secs_f64()
}

/// The times since `start`, with a second of rounding.
fn since(start: f64) -> RangeInclusive<f64> {
    start - 1.0..=now() + 1.0
}

/// The first row of an answer of the API.
fn first_row(exporter: &Exporter, path: &str) -> Value {
    let answer: Value = serde_json::from_slice(&get(&exporter.address, path).body).expect("JSON");
    answer["items"][0].clone()
}

fn seconds(time: &Value) -> f64 {
    let time = time.as_str().unwrap_or_else(|| panic!("a time, not {time}"));
    time.parse::<Timestamp>().expect("a time").as_duration().as_secs_f64()
}

#[test]
fn a_servers_clock_moves_no_time() {
    SERVERS.into_iter().for_each(set_while_it_runs);
}

fn set_while_it_runs(name: &str) {
    println!("{name}");
    let Some(clock) = FakeClock::new() else { return };
    clock.set(TWO_HOURS);
    let Some(server) = clock.server(name) else { return };
    let start = now();
    let mut web = Peer::connect(&server.address());
    web.must(&["CLIENT", "SETNAME", "web"]);
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1"], &[]);
    let mut connected_at = Value::Null;
    for ahead in [TWO_HOURS, -TWO_HOURS, 0, -TWO_HOURS] {
        clock.set(ahead);
        let scrape = exporter.scrape_until("the difference", |scrape| is_ahead_by(scrape, ahead));
        let sampled = scrape.value("redis_clients_sample_timestamp_seconds", &[]).expect("a sample");
        let last_seen = scrape.value("redis_clients_app_last_seen_timestamp_seconds", &[("client_app", "web")]);
        assert!(since(start).contains(&sampled), "{sampled} with a clock of {ahead:+} s");
        assert!(last_seen.is_some_and(|seen| since(start).contains(&seen)), "{last_seen:?}, {ahead:+}");
        assert_eq!(scrape.sum("redis_clients_closed_total"), 0.0, "no client closed, {ahead:+}");
        let client = first_row(&exporter, "/api/v1/clients?app=web");
        let first = std::mem::replace(&mut connected_at, client["connected_at"].clone());
        assert!(first.is_null() || first == connected_at, "{first} became {connected_at}, {ahead:+}");
        assert!(since(start).contains(&seconds(&connected_at)), "{connected_at}");
    }
    assert!(get(&exporter.address, "/").text().contains("clock is 2h behind"));
    let check = run(&["check", &format!("--redis.addr={}", server.address())]);
    let report = String::from_utf8_lossy(&check.stdout);
    assert!(report.contains("clock is 2h behind") && check.status.success(), "{report}");
    drop(web);
    exporter.scrape_until("it closed", |scrape| scrape.sum("redis_clients_closed_total") >= 1.0);
    let closed = first_row(&exporter, "/api/v1/closed?app=web");
    for time in ["connected_at", "last_seen_at", "closed_at"] {
        assert!(since(start).contains(&seconds(&closed[time])), "{time}: {closed}");
    }
    assert_eq!(closed["connected_at"], connected_at);
}

#[test]
fn a_listener_takes_no_time_from_the_servers_clock() {
    for ahead in [TWO_HOURS, -TWO_HOURS] {
        let Some(clock) = FakeClock::new() else { return };
        clock.set(ahead);
        let Some(server) = clock.server(SERVERS[0]) else { return };
        let address = server.address();
        let start = now();
        let _announcer = Exporter::start(&[&address], &["--announce=auto", "--client-announce-frequency=1"], &[]);
        let args = ["--sample=never", "--client-announce-frequency=1"];
        let listener = Exporter::start(&[&address], &args, &[]);
        let scrape = listener.scrape_until("a status", |scrape| scrape.value("redis_clients_up", &[]) == Some(1.0));
        let sampled = scrape.value("redis_clients_sample_timestamp_seconds", &[]).expect("a sample");
        assert!(since(start).contains(&sampled), "{sampled}, {ahead:+}");
        assert_eq!(scrape.value(DIFFERENCE, &[]), None, "it is measured by who samples");
        let refused = scrape.value("redis_clients_announcements_refused_total", &[("reason", "replay")]);
        assert_eq!(refused, Some(0.0), "{ahead:+}");
    }
}

#[test]
fn when_our_own_clock_is_set_only_later_times_are_different() {
    let Some(clock) = FakeClock::new() else { return };
    let Some(server) = any_binary().map(|binary| Server::start(&binary)) else { return };
    let start = now();
    let mut web = Peer::connect(&server.address());
    web.must(&["CLIENT", "SETNAME", "web"]);
    let mut command = clock.run(Path::new(program().get_program()));
    command.args(["--client-announce-frequency=1", "--announce=never", "--web.listen-address=127.0.0.1:0"]);
    command.arg(format!("--redis.addr={}", server.address()));
    let exporter = Exporter::spawn(&mut command);
    let mut connected_at = Value::Null;
    for ahead in [0, TWO_HOURS, -TWO_HOURS] {
        clock.set(ahead);
        let scrape = exporter.scrape_until("the difference", |scrape| is_ahead_by(scrape, -ahead));
        assert_eq!(scrape.value("redis_clients_up", &[]), Some(1.0), "{ahead:+}");
        let sampled = scrape.value("redis_clients_sample_timestamp_seconds", &[]).expect("a sample");
        assert!(since(start).contains(&(sampled - ahead as f64)), "{sampled}, {ahead:+}");
        assert_eq!(scrape.sum("redis_clients_closed_total"), 0.0, "no client closed, {ahead:+}");
        let client = first_row(&exporter, "/api/v1/clients?app=web");
        let first = std::mem::replace(&mut connected_at, client["connected_at"].clone());
        assert!(first.is_null() || first == connected_at, "{first} became {connected_at}, {ahead:+}");
    }
    assert!(since(start).contains(&seconds(&connected_at)), "{connected_at}");
}
