//! Every connection that a real server received is in exactly one counter, whatever clients and the exporter do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, binaries, binary};
use crate::support::{eventually, pause, share};

const APP_OPENED: &str = "redis_clients_app_opened_total";
const APP_CLOSED: &str = "redis_clients_app_closed_total";
const OPENED: &str = "redis_clients_opened_total";
const CLOSED: &str = "redis_clients_closed_total";
const UNSEEN: &str = "redis_clients_unseen_total";
const OWN: &str = "redis_clients_own_connections_total";
const RECEIVED: &str = "redis_clients_connections_received_total";

/// The server's count before the first sample: the same in every scrape.
fn received_before(scrape: &Scrape) -> f64 {
    scrape.sum(RECEIVED) - scrape.sum(OPENED) - scrape.sum(UNSEEN) - scrape.sum(OWN)
}

/// A named connection that opens and closes.
fn flicker(address: &str, name: &str) {
    let mut peer = Peer::connect(address);
    peer.must(&["CLIENT", "SETNAME", name]);
    peer.leave();
}

/// Four threads open and close named connections for some seconds. Returns how many.
fn churn(address: &str, name: impl Fn(u64) -> String + Sync) -> u64 {
    let (opened, end) = (AtomicU64::new(0), Instant::now() + Duration::from_secs(4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while Instant::now() < end {
                    flicker(address, &name(opened.fetch_add(1, Ordering::Relaxed)));
                }
            });
        }
    });
    opened.into_inner()
}

/// While clients with these names open and close, and after that, no connection is lost or counted twice.
fn adds_up(args: &[&str], name: impl Fn(u64) -> String + Sync) {
    let Some(binary) = binary("redis-8.2").or_else(any_binary) else { return };
    let server = Server::start(&binary);
    let exporter = Exporter::start(&[&server.address()], args, &[]);
    let first = exporter.scrape_until("it is up", |scrape| scrape.value("redis_clients_up", &[]) == Some(1.0));
    let before = received_before(&first);
    let opened = std::thread::scope(|scope| {
        let churning = scope.spawn(|| churn(&server.address(), &name));
        while !churning.is_finished() {
            let scrape = exporter.scrape();
            assert_eq!(received_before(&scrape), before);
            assert_eq!(scrape.sum(APP_CLOSED), scrape.sum(CLOSED));
            assert!(scrape.sum(APP_OPENED) <= scrape.sum(OPENED));
        }
        churning.join().expect("the clients end")
    });
    let all = opened as f64;
    // The totals of a new application are 0 for a while.
    let last = exporter.scrape_until("all are counted", |scrape| {
        scrape.sum(APP_OPENED) + scrape.sum(UNSEEN) >= all && scrape.sum(CLOSED) == scrape.sum(OPENED)
    });
    assert_eq!(last.sum(APP_OPENED) + last.sum(UNSEEN), all);
    assert_eq!((last.sum(APP_OPENED), last.sum(APP_CLOSED)), (last.sum(OPENED), last.sum(CLOSED)));
    assert_eq!(received_before(&last), before);
    assert!(last.sum(OPENED) > 0.0 && last.sum(UNSEEN) > 0.0, "both kinds are in the test");
}

#[test]
fn churn_of_more_applications_than_are_shown_adds_up() {
    let _alone = share::alone();
    adds_up(&["--announce=auto", "--group.limit=20"], |number| format!("job{}-{:x}", number % 200, number * 7919));
}

#[test]
fn churn_of_five_applications_and_of_names_used_once_adds_up() {
    let _alone = share::alone();
    let letters =
        |number: u64| -> String { (0..6).map(|n| char::from(b'a' + (number / 26_u64.pow(n) % 26) as u8)).collect() };
    adds_up(&["--group.limit=6"], |number| match number % 50 {
        0 => format!("once{}", letters(number)),
        other => format!("app{}", ["one", "two", "three", "four", "five"][other as usize % 5]),
    });
}

#[test]
fn a_new_application_is_seen_at_zero_first() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let args = ["--client-announce-frequency=1h", "--sample.quick-poll=1s"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    exporter.scrape_until("it is up", |scrape| scrape.value("redis_clients_up", &[]) == Some(1.0));
    let mut peers: Vec<_> = (0..5).map(|_| server.peer()).collect();
    for peer in &mut peers {
        peer.must(&["CLIENT", "SETNAME", "late"]);
    }
    let late = [("client_app", "late")];
    let first = exporter.scrape_until("it is shown", |scrape| scrape.value(APP_OPENED, &late).is_some());
    assert_eq!((first.value(APP_OPENED, &late), first.sum(OPENED)), (Some(0.0), 5.0));
    exporter.scrape_until("its burst is shown", |scrape| scrape.value(APP_OPENED, &late) == Some(5.0));
}

/// Replicas, monitors and other exporters connect too.
#[test]
fn internal_connections_are_among_the_others() {
    let Some(binary) = binary("redis-8.2").or_else(any_binary) else { return };
    let server = Server::start(&binary);
    let exporter = Exporter::watching(&[&server.address()]);
    exporter.scrape_until("it is up", |scrape| scrape.value("redis_clients_up", &[]) == Some(1.0));
    let mut monitor = server.peer();
    monitor.must(&["CLIENT", "SETNAME", "redis-client-exporter"]);
    let other = [("client_app", "(other)")];
    let scrape = exporter.scrape_until("it is counted", |scrape| scrape.sum(OPENED) == 1.0);
    assert_eq!((scrape.value(APP_OPENED, &other), scrape.sum(UNSEEN)), (Some(1.0), 0.0));
    monitor.send(&["MONITOR"]);
    drop(monitor);
    let scrape = exporter.scrape_until("it is closed", |scrape| scrape.sum(CLOSED) == 1.0);
    assert_eq!(scrape.value(APP_CLOSED, &other), Some(1.0));
    assert_eq!(scrape.value("redis_clients_app_connections", &other), Some(0.0));
}

/// The exporter gives up its links and opens others while the server does not answer.
#[test]
fn our_own_dials_are_nobodys_churn() {
    for binary in binaries() {
        let server = Server::start_with(&binary, &["--maxclients 60", "--lua-time-limit 50"]);
        let (mut control, mut script) = (server.peer(), server.peer());
        let args = ["--announce=auto", "--redis.timeout=300ms"];
        let exporter = Exporter::start(&[&server.address()], &args, &[]);
        let failed =
            |scrape: &Scrape| scrape.value("redis_clients_samples_total", &[("result", "failed")]).unwrap_or(0.0);
        let is_up = |scrape: &Scrape| scrape.value("redis_clients_up", &[]) == Some(1.0);
        let trouble = |what: &str, cause: &mut dyn FnMut(), end: &mut dyn FnMut()| {
            let before = failed(&exporter.scrape_until("it is up", is_up));
            cause();
            exporter.scrape_until(what, |scrape| failed(scrape) >= before + 3.0);
            end();
            exporter.scrape_until("it is up again", is_up);
            let scrape = exporter.fresh_scrape();
            let counts = [OPENED, UNSEEN, APP_OPENED, CLOSED].map(|name| scrape.sum(name));
            assert_eq!(counts, [0.0; 4], "{}: {what}", binary.name);
        };
        trouble(
            "it is paused",
            &mut || {
                control.must(&["CLIENT", "PAUSE", "3000"]);
            },
            &mut || {},
        );
        trouble("a script blocks it", &mut || script.send(&["EVAL", "while true do end", "0"]), &mut || {
            control.must(&["SCRIPT", "KILL"]);
        });
        trouble(
            "its counters are reset",
            &mut || {
                control.must(&["CONFIG", "RESETSTAT"]).must(&["CLIENT", "PAUSE", "2500"]);
            },
            &mut || {},
        );
        trouble("it is stopped", &mut || signal(&server, "STOP"), &mut || signal(&server, "CONT"));
        assert!(exporter.scrape().sum(OWN) > 6.0, "{}", binary.name);
    }
}

fn signal(server: &Server, name: &str) {
    let pid = server.pid().to_string();
    let status = std::process::Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
    assert!(status.success());
}

/// A server that is full counts us as rejected, and not as received.
#[test]
fn dials_that_a_full_server_rejects_are_not_subtracted() {
    for binary in binaries() {
        let server = Server::start_with(&binary, &["--maxclients 40"]);
        let mut control = server.peer();
        let exporter = Exporter::watching(&[&server.address()]);
        let is_up = |scrape: &Scrape| scrape.value("redis_clients_up", &[]) == Some(1.0);
        let own = exporter.scrape_until("it is up", is_up).sum(OWN);
        // All places but one, which is that of the exporter until it is killed.

        let listed = control.ask(&["CLIENT", "LIST"]);
        let row = listed.lines().find(|row| row.contains("name=redis-client-exporter")).expect("our link is listed");
        let id = row[3..].split(' ').next().expect("an id");
        control.must(&["CONFIG", "SET", "maxclients", "1"]).must(&["CLIENT", "KILL", "ID", id]);
        exporter.scrape_until("it is rejected", |scrape| {
            scrape.value("redis_clients_sample_errors_total", &[("reason", "maxclients")]).unwrap_or(0.0) >= 3.0
        });
        control.must(&["CONFIG", "SET", "maxclients", "40"]);
        exporter.scrape_until("it is up again", is_up);
        let scrape = exporter.fresh_scrape();
        assert_eq!((scrape.sum(UNSEEN), scrape.sum(OPENED)), (0.0, 0.0), "{}", binary.name);
        assert_eq!(scrape.sum(OWN), own + 1.0, "{}", binary.name);
    }
}

/// A forwarder in front of servers, like a balancer.
struct Balancer {
    address: String,
    port: Arc<AtomicU16>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Balancer {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (port, streams) = (Arc::new(AtomicU16::new(server.port)), Arc::new(Mutex::new(Vec::new())));
        let (to, kept) = (Arc::clone(&port), Arc::clone(&streams));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", to.load(Ordering::SeqCst))) else { continue };
                let copy = || -> io::Result<_> { Ok((near.try_clone()?, far.try_clone()?)) };
                let (one, two) = (copy().expect("a copy"), copy().expect("a copy"));
                kept.lock().expect("no holder panics").push(two.0);
                std::thread::spawn(move || forward(one.0, far));
                std::thread::spawn(move || forward(two.1, near));
            }
        });
        Self { address, port, streams }
    }

    /// Sends further connections to this server.
    fn switch(&self, server: &Server) {
        self.port.store(server.port, Ordering::SeqCst);
    }

    /// Closes the connections so far but the newest ones.
    fn cut(&self, kept: usize) {
        let mut streams = self.streams.lock().expect("no holder panics");
        let old = streams.len() - kept;
        streams.drain(..old).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn another_server_behind_one_address_is_a_failover_and_no_churn() {
    let Some(binary) = binary("redis-8.2").or_else(any_binary) else { return };
    let (first, second) = (Server::start(&binary), Server::start(&binary));
    let balancer = Balancer::before(&first);
    let named = |name: &str| {
        let mut peer = Peer::connect(&balancer.address);
        peer.must(&["CLIENT", "SETNAME", name]);
        peer
    };
    let names: Vec<String> = (0..5).map(|number| format!("web-{number}")).collect();
    let _old: Vec<_> = names.iter().map(|name| named(name)).collect();
    let _once = named("cron");
    let exporter = Exporter::start(&[&balancer.address], &["--client-announce-frequency=1"], &[]);
    let web = [("client_app", "web")];
    exporter.scrape_until("all are online", |scrape| scrape.value("redis_clients_online", &[]) == Some(6.0));
    // A server that started since our last sample would be a restart.
    let mut control = second.peer();
    let uptime = |control: &mut Peer| {
        let info = control.ask(&["INFO", "server"]);
        let (_, rest) = info.split_once("uptime_in_seconds:").expect("an uptime");
        rest.lines().next().and_then(|line| line.trim().parse::<u64>().ok()).expect("a number")
    };
    eventually("the other server has been running", || {
        pause(Duration::from_millis(200));
        (uptime(&mut control) >= 12).then_some(())
    });
    control.leave();
    balancer.switch(&second);
    let _new: Vec<_> = names.iter().map(|name| named(name)).collect();
    balancer.cut(names.len());
    let scrape = exporter
        .scrape_until("it is another server", |scrape| scrape.value(CLOSED, &[("reason", "failover")]) == Some(1.0));
    assert_eq!((scrape.sum(CLOSED), scrape.sum(OPENED), scrape.sum(UNSEEN)), (1.0, 0.0, 0.0));
    let condition = [("condition", "another_server")];
    assert_eq!(scrape.value("redis_clients_sample_condition", &condition), Some(1.0));
    let of_web = [APP_OPENED, APP_CLOSED, "redis_clients_app_connections"].map(|name| scrape.value(name, &web));
    assert_eq!(of_web, [Some(0.0), Some(0.0), Some(5.0)]);
    assert_eq!(scrape.value(APP_CLOSED, &[("client_app", "cron")]), Some(1.0));
    let closed = crate::support::http::get(&exporter.address, "/api/v1/closed");
    assert!(closed.text().contains("\"name\":\"cron\"") && !closed.text().contains("web-"), "{}", closed.text());
    let notices: Vec<_> =
        exporter.log().into_iter().filter(|line| line.contains("another server answers here now (run_id ")).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    // What happens after it is counted as before.
    drop(_new);
    exporter.scrape_until("they are closed", |scrape| scrape.value(APP_CLOSED, &web) == Some(5.0));
}
