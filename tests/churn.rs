//! Opened and closed connections, and why they closed, on real servers.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redis_client_exporter::link::{NodeAddress, TlsOptions, parse_address};
use redis_client_exporter::sampler::{Budget, Sampler};
use redis_client_exporter::snapshot::{CloseReason, Closed, Limits, Snapshot, derive};

use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::server::{Binary, Server, any_binary, binaries, binary};
use crate::support::{PATIENCE, eventually, pause, share};

/// Manual sampling: the test decides when a sample is taken.
struct Watch {
    runtime: tokio::runtime::Runtime,
    sampler: Sampler,
    snapshot: Option<Snapshot>,
}

impl Watch {
    fn of(server: &Server) -> Self {
        let endpoint = parse_address(&server.address()).expect("an address").endpoint;
        let address = NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout: PATIENCE };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut watch =
            Self { runtime, sampler: Sampler::new(address.into(), Budget::single_sample()), snapshot: None };
        watch.step();
        watch
    }

    fn step(&mut self) -> &Snapshot {
        let sample = self.runtime.block_on(self.sampler.sample()).expect("a sample");
        self.snapshot.insert(derive(self.snapshot.as_ref(), Arc::new(sample), &Limits::default()))
    }

    /// Samples until this many connections have closed, and returns the last ones.
    fn until_closed(&mut self, count: usize) -> Vec<Arc<Closed>> {
        eventually("they are closed", || {
            let ring = &self.step().churn.ring;
            (ring.iter().len() >= count).then(|| ring.iter().cloned().collect())
        })
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.churn.closed(reason))
    }
}

fn id(peer: &mut Peer) -> u64 {
    peer.ask(&["CLIENT", "ID"])[1..].parse().expect("a number")
}

/// Returns the servers that report this counter.
fn servers_that_count(field: &str) -> Vec<(Binary, Server)> {
    let all = binaries().into_iter().map(|binary| (binary.clone(), Server::start(&binary)));
    let counts = |(_, server): &(Binary, Server)| {
        let mut peer = server.peer();
        let is_reported = peer.ask(&["INFO", "stats"]).contains(&format!("{field}:"));
        peer.leave();
        is_reported
    };
    all.filter(counts).collect()
}

#[test]
fn a_subscriber_beyond_its_output_limit_was_closed_by_the_limit() {
    let servers = servers_that_count("client_output_buffer_limit_disconnections");
    let names: Vec<_> = servers.iter().map(|(binary, _)| binary.name.as_str()).collect();
    assert!(binaries().is_empty() || names.contains(&"redis-8.2") && names.contains(&"valkey-9.1"), "{names:?}");
    for (binary, server) in servers {
        let mut control = server.peer();
        control.must(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"]);
        let mut slow = server.peer();
        let slow_id = id(&mut slow);
        slow.must(&["CLIENT", "SETNAME", "slow-reader-7"]).must(&["SUBSCRIBE", "news"]);
        let mut watch = Watch::of(&server);
        let news = "x".repeat(1 << 20);
        eventually("the server closes it", || (control.ask(&["PUBLISH", "news", &news]) == ":0").then_some(()));
        let closed = watch.until_closed(1);
        assert_eq!((closed[0].id, closed[0].reason), (slow_id, CloseReason::Limit), "{}: {closed:?}", binary.name);
        assert_eq!(closed[0].app.as_deref(), Some("slow-reader"), "{}", binary.name);
        assert_eq!((watch.closed(CloseReason::Limit), watch.closed(CloseReason::Unknown)), (1, 0), "{}", binary.name);
    }
}

#[test]
fn a_client_closed_for_memory_was_evicted() {
    let servers = servers_that_count("evicted_clients");
    assert!(binaries().is_empty() || servers.len() >= 5, "all but 6.2 count evictions");
    for (binary, server) in servers {
        let mut control = server.peer();
        let mut hog = server.peer();
        let hog_id = id(&mut hog);
        hog.must(&["CLIENT", "SETNAME", "hog"]).must(&["MULTI"]);
        let load = "x".repeat(3 << 20);
        hog.must(&["SET", "key", &load]);
        let mut watch = Watch::of(&server);
        control.must(&["CONFIG", "SET", "maxmemory-clients", "2mb"]);
        let closed = watch.until_closed(1);
        assert_eq!((closed[0].id, closed[0].reason), (hog_id, CloseReason::Evicted), "{}: {closed:?}", binary.name);
        assert_eq!((watch.closed(CloseReason::Evicted), watch.closed(CloseReason::Unknown)), (1, 0), "{}", binary.name);
    }
}

#[test]
fn clients_from_before_a_restart_were_closed_by_it() {
    for binary in binaries() {
        let mut server = Server::start(&binary);
        let mut peers: Vec<_> = (0..3).map(|_| server.peer()).collect();
        let ids: Vec<_> = peers.iter_mut().map(id).collect();
        let mut watch = Watch::of(&server);
        server.restart();
        let mut later = server.peer();
        later.must(&["CLIENT", "SETNAME", "later"]);
        let mut closed: Vec<_> = watch.until_closed(3).iter().map(|closed| (closed.id, closed.reason)).collect();
        closed.sort_unstable_by_key(|(id, _)| *id);
        let expected: Vec<_> = ids.into_iter().map(|id| (id, CloseReason::Restart)).collect();
        assert_eq!(closed, expected, "{}", binary.name);
        let mut snapshot = watch.step().clone();
        // The totals of a new application are 0 for a while.
        while let Some(released) = snapshot.release_held() {
            snapshot = released;
        }
        let seen = snapshot.presence.shown.iter().find(|seen| &*seen.app == "later").expect("the later client");
        assert_eq!((seen.now.connections, seen.totals.opened, seen.totals.closed), (1, 1, 0), "{}", binary.name);
    }
}

#[test]
fn kills_and_timeouts_have_no_known_reason() {
    for binary in binaries() {
        let server = Server::start(&binary);
        let (mut control, mut killed, mut quiet) = (server.peer(), server.peer(), server.peer());
        let (killed_id, quiet_id) = (id(&mut killed), id(&mut quiet));
        let mut watch = Watch::of(&server);
        control.must(&["CLIENT", "KILL", "ID", &killed_id.to_string()]);
        assert_eq!(watch.until_closed(1)[0].id, killed_id, "{}", binary.name);
        // The server closes no subscribers for being idle, so it keeps this connection.
        control.send(&["CONFIG", "SET", "timeout", "1"]);
        control.send(&["SUBSCRIBE", "news"]);
        let closed = eventually("the timeout closes it", || {
            pause(Duration::from_millis(100));
            let ring = &watch.step().churn.ring;
            (ring.iter().len() >= 2).then(|| ring.iter().next().cloned()).flatten()
        });
        assert_eq!((closed.id, closed.reason), (quiet_id, CloseReason::Unknown), "{}", binary.name);
        assert_eq!(watch.closed(CloseReason::Unknown), 2, "{}", binary.name);
    }
}

/// A process with all applications of the program `crowd`, in its own process group.
struct Shop(Child);

impl Shop {
    fn open(server: &Server, clients: usize) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_crowd"))
            .args([format!("redis://{}", server.address()), clients.to_string()])
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut shop = Self(child.expect("the program starts"));
        let mut ready = String::new();
        BufReader::new(shop.0.stdout.take().expect("it is piped")).read_line(&mut ready).expect("it prints a line");
        assert_eq!(ready.trim(), "ready");
        shop
    }

    /// Kills the process group, as a crash would.
    fn kill(mut self) {
        let group = format!("-{}", self.0.id());
        let status = Command::new("kill").args(["-s", "KILL", "--", &group]).status().expect("kill runs");
        assert!(status.success());
        let _ = self.0.wait();
    }
}

/// The long-lived applications of that program, with their connections at its smallest size.
const SHOP: [(&str, u64); 6] =
    [("web", 8), ("checkout", 5), ("session-cache", 6), ("celery-worker", 4), ("billing", 12), ("report-cron", 1)];

#[test]
fn an_application_that_is_killed_is_offline_long_before_the_next_sample_is_due() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let args = ["--client-announce-frequency=1h", "--presence.expect=billing=12,ghost,ghost@127.*=2"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    let seconds = || redis_client_exporter::clock::now().as_duration().as_secs_f64();
    let opened = seconds();
    let shop = Shop::open(&server, 40);
    let billing = [("client_app", "billing")];
    exporter.scrape_until("billing is online", |scrape| {
        scrape.value("redis_clients_app_connections", &billing) == Some(12.0)
            && scrape.value("redis_clients_app_online", &billing) == Some(1.0)
    });
    let mut watch = Watch::of(&server);
    let mut ids: Vec<u64> = server
        .peer()
        .ask(&["CLIENT", "LIST"])
        .lines()
        .filter(|row| row.contains("name=billing-"))
        .map(|row| row[3..].split(' ').next().expect("an id").parse().expect("a number"))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 12);
    shop.kill();
    let killed = seconds();
    exporter
        .scrape_until("billing is offline", |scrape| scrape.value("redis_clients_app_online", &billing) == Some(0.0));
    let detected = seconds();
    // The totals of a new application are 0 for a while.
    let scrape = exporter.scrape_until("all that they did is shown", |scrape| {
        scrape.sum("redis_clients_app_opened_total") >= scrape.sum("redis_clients_opened_total")
    });
    let last_seen = scrape.value("redis_clients_app_last_seen_timestamp_seconds", &billing).expect("it was seen");
    assert!((opened - 1.0..=detected).contains(&last_seen), "seen {} s before it was killed", killed - last_seen);
    for (app, count) in SHOP {
        let label = [("client_app", app)];
        assert_eq!(scrape.value("redis_clients_app_connections", &label), Some(0.0), "{app}");
        assert_eq!(scrape.value("redis_clients_app_opened_total", &label), Some(count as f64), "{app}");
        assert_eq!(scrape.value("redis_clients_app_closed_total", &label), Some(count as f64), "{app}");
    }
    // An expected application is exported although it was never online.
    let ghost = [("client_app", "ghost")];
    assert_eq!(scrape.value("redis_clients_app_online", &ghost), Some(0.0));
    assert_eq!(scrape.value("redis_clients_app_expected", &ghost), Some(2.0));
    assert_eq!(scrape.value("redis_clients_app_expected", &billing), None, "it is expected on all nodes together");
    for (label, minimum) in [(billing, 12.0), (ghost, 1.0)] {
        assert_eq!(scrape.value("redis_clients_fleet_app_expected", &label), Some(minimum));
        assert_eq!(scrape.value("redis_clients_fleet_expected_app_connections", &label), Some(0.0));
    }
    assert_eq!(scrape.value("redis_clients_app_last_seen_timestamp_seconds", &ghost), None);
    // Each of its clients is kept with its name, its command and when it was last seen.
    let ring: Vec<_> = watch.step().churn.ring.iter().cloned().collect();
    let mut billing: Vec<_> = ring.iter().filter(|closed| closed.app.as_deref() == Some("billing")).collect();
    billing.sort_unstable_by_key(|closed| closed.id);
    assert_eq!(billing.iter().map(|closed| closed.id).collect::<Vec<_>>(), ids);
    for closed in billing {
        assert!(
            closed.name.starts_with("billing-")
                && closed.command.as_deref().is_some_and(|command| command.starts_with("client")),
            "{closed:?}"
        );
        assert!(
            closed.lifetime_seconds().is_some_and(|lifetime| lifetime as f64 <= seconds() - opened + 1.0)
                && closed.closed_at >= closed.last_seen_at
        );
        assert_eq!(closed.reason, CloseReason::Unknown);
    }
}

/// Thousands of applications, some with names 500 bytes long.
#[test]
fn thousands_of_applications_make_a_bounded_scrape() {
    let _alone = share::alone();
    let Some(binary) = binary("valkey-9.1").or_else(any_binary) else { return };
    let server = Server::start(&binary);
    let count = 2000;
    let _peers: Vec<_> = (0..count).map(|number| named(&server, number)).collect();
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1"], &[]);
    let scrape = exporter
        .scrape_until("all are online", |scrape| scrape.value("redis_clients_online", &[]) == Some(f64::from(count)));
    assert_eq!(scrape.sum("redis_clients_app_connections"), f64::from(count));
    assert_eq!(scrape.all("redis_clients_app_connections", &[]).count(), 51);
    let folded = scrape.value("redis_clients_groups_folded", &[("dimension", "app")]);
    assert_eq!(folded, Some(f64::from(count) - 50.0));
    assert!(scrape.series.len() <= 2000 && scrape.bytes <= 200_000, "{} {}", scrape.series.len(), scrape.bytes);
}

/// Connects a client whose name gives it its own application.
fn named(server: &Server, number: u32) -> Peer {
    let tail = if number.is_multiple_of(100) { "y".repeat(480) } else { String::new() };
    let letters: String = (0..4).map(|place| char::from(b'a' + (number / 26_u32.pow(place) % 26) as u8)).collect();
    let mut peer = server.peer();
    peer.must(&["CLIENT", "SETNAME", &format!("app-{letters}{tail}-{number}")]);
    peer
}
