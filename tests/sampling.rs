//! Sampling in pages on real servers: no client is missing or duplicated, and sampling stays within budget.

use std::collections::{BTreeSet, VecDeque};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis_client_exporter::link::{NodeAddress, TlsOptions, parse_address};
use redis_client_exporter::sample::Sample;
use redis_client_exporter::sampler::{Budget, Sampler};

use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Binary, Server, binaries};
use crate::support::{PATIENCE, eventually, pause, share};

/// Returns a budget so small that even a few hundred clients are listed in pages.
fn budget() -> Budget {
    Budget {
        max_stall: Duration::from_micros(60),
        max_load: 0.5,
        max_age: Duration::from_secs(60),
        interval: Duration::from_secs(1),
        quick_poll: Some(Duration::from_secs(1)),
    }
}

fn sampler(server: &Server, budget: Budget) -> Sampler {
    let parsed = parse_address(&server.address()).expect("an address");
    let address =
        NodeAddress { endpoint: parsed.endpoint, credentials: None, tls: TlsOptions::default(), timeout: PATIENCE };
    Sampler::new(address.into(), budget)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Returns the ids of a sample, and asserts that each is unique.
fn ids(sample: &Sample) -> BTreeSet<u64> {
    let clients = sample.clients.as_ref().expect("the clients were listed");
    let ids: Vec<u64> = clients.clients().filter_map(|(_, client)| client.id()).collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "a client is listed twice");
    distinct
}

fn listed(peer: &mut Peer) -> BTreeSet<u64> {
    let rows = peer.ask(&["CLIENT", "LIST"]);
    rows.lines().map(|row| row[3..].split(' ').next().expect("an id").parse().expect("a number")).collect()
}

fn connect_many(server: &Server, size: usize) -> Vec<TcpStream> {
    let connections: Vec<_> = (0..size).map(|_| TcpStream::connect(server.address()).expect("a connection")).collect();
    let mut control = server.peer();
    eventually("all are accepted", || (listed(&mut control).len() > size).then_some(()));
    control.leave();
    connections
}

/// Waits until the server has this many connections: others may take a while to close.
fn settle(control: &mut Peer, size: usize) {
    eventually("all others are closed", || (listed(control).len() == size).then_some(()));
}

/// Runs a test on every server, alone: other tests beside it would change the costs that are measured. Separate tests
/// would only repeat the names of the servers.
fn on_every_server(test: fn(&Binary)) {
    let _alone = share::alone();
    for binary in binaries() {
        println!("{}", binary.name);
        test(&binary);
    }
}

#[test]
fn pages_find_exactly_the_connected_clients() {
    on_every_server(|binary| {
        let server = Server::start(binary);
        let mut members = connect_many(&server, 700);
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let mut control = server.peer();
        let mut rounds = 0;
        eventually("four samples in pages", || {
            let sample = runtime.block_on(sampler.sample()).expect("a sample");
            assert_eq!(ids(&sample), listed(&mut control), "round {rounds}");
            assert_eq!(sample.cost.drift, Some(0));
            // On a busy machine a full listing may seem to be as good.
            rounds += usize::from(sample.cost.pages > 3);
            // A third of the clients close, and others connect.
            members.drain(..members.len() / 3);
            members.extend(connect_many(&server, 100));
            settle(&mut control, members.len() + 2);
            (rounds == 4).then_some(())
        });
        assert!(sampler.no_pages().is_none());
    });
}

/// Opens and closes about 500 connections a second until it is dropped.
struct Churn {
    opened: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Churn {
    fn start(server: &Server) -> Self {
        let (stop, opened, address) = (Arc::new(AtomicBool::new(false)), Arc::default(), server.address());
        let (stopped, count) = (Arc::clone(&stop), Arc::<AtomicU64>::clone(&opened));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let some: Vec<_> = (0..10).filter_map(|_| TcpStream::connect(&address).ok()).collect();
                count.fetch_add(some.len() as u64, Ordering::Relaxed);
                pause(Duration::from_millis(20));
            }
        });
        Self { opened, stop, thread: Some(thread) }
    }

    /// Returns the number of connections so far.
    fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn churn_during_a_sweep_neither_hides_nor_duplicates_clients() {
    on_every_server(|binary| {
        let server = Server::start(binary);
        let stable = connect_many(&server, 1500);
        let mut control = server.peer();
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let closed: BTreeSet<u64> = {
            let closing = connect_many(&server, 200);
            let with = listed(&mut control);
            drop(closing);
            let left = eventually("they are closed", || {
                Some(listed(&mut control)).filter(|now| now.len() + 200 <= with.len())
            });
            with.difference(&left).copied().collect()
        };
        let churn = Churn::start(&server);
        let mut earlier: BTreeSet<u64> = BTreeSet::new();
        let mut round = 0;
        while round < 6 || churn.opened() <= 100 {
            let before = listed(&mut control);
            let sample = runtime.block_on(sampler.sample()).expect("a sample");
            let after = listed(&mut control);
            let found = ids(&sample);
            let stayed: BTreeSet<u64> = before.intersection(&after).copied().collect();
            assert!(stayed.len() > stable.len());
            assert!(stayed.is_subset(&found), "round {round}: {:?} are missing", stayed.difference(&found));
            assert!(found.is_disjoint(&closed), "round {round}: closed clients are listed");
            // Ids are never reused, so a new id is above all earlier ones.
            let opened: BTreeSet<u64> = found.difference(&earlier).copied().collect();
            assert!(round == 0 || opened.iter().all(|id| *id > *earlier.first().expect("there was a client")));
            earlier = found;
            round += 1;
        }
    });
}

#[test]
fn a_new_client_is_known_at_the_next_quick_poll() {
    on_every_server(|binary| {
        let server = Server::start(binary);
        let _clients = connect_many(&server, 300);
        settle(&mut server.peer(), 301);
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let _control = server.peer();
        let before = ids(&runtime.block_on(sampler.sample()).expect("a sample"));
        let quiet = runtime.block_on(sampler.quick_poll()).expect("a quick poll");
        assert!(quiet.sample.is_none() && !quiet.sample_early, "{quiet:?}");

        let mut new_client = server.peer();
        new_client.must(&["CLIENT", "SETNAME", "new"]);
        let id: u64 = new_client.ask(&["CLIENT", "ID"]).trim_start_matches(':').parse().expect("an id");
        let poll = runtime.block_on(sampler.quick_poll()).expect("a quick poll");
        let now = ids(&poll.sample.expect("a client connected"));
        assert!(now.contains(&id) && now.is_superset(&before) && now.len() == before.len() + 1);

        drop(new_client);
        let sample_early = eventually("the close is detected", || {
            Some(runtime.block_on(sampler.quick_poll()).expect("a quick poll").sample_early).filter(|early| *early)
        });
        assert!(sample_early);
        assert!(!ids(&runtime.block_on(sampler.sample()).expect("a sample")).contains(&id));
    });
}

#[test]
fn an_opened_and_a_closed_connection_are_in_the_metrics_long_before_the_next_sample_is_due() {
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _clients = connect_many(&server, 50);
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1h"], &[]);
    let online = |scrape: &Scrape| scrape.value("redis_clients_online", &[]);
    exporter.scrape_until("a sample of the others only", |scrape| online(scrape) == Some(50.0));
    let new_client = server.peer();
    exporter.scrape_until("the new client", |scrape| online(scrape) == Some(51.0));
    drop(new_client);
    exporter.scrape_until("the close", |scrape| online(scrape) == Some(50.0));
}

#[test]
fn samples_are_complete_after_resets_and_restarts() {
    on_every_server(|binary| {
        let mut server = Server::start(binary);
        let mut members = connect_many(&server, 400);
        let mut control = server.peer();
        settle(&mut control, members.len() + 1);
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let mut assert_complete = |control: &mut Peer, what: &str| {
            let sample = runtime.block_on(sampler.sample()).expect(what);
            assert_eq!(ids(&sample), listed(control), "{what}");
        };
        // With the control and the sampler's link.
        assert_complete(&mut control, "at first");
        control.must(&["CONFIG", "RESETSTAT"]);
        members.extend(connect_many(&server, 50));
        settle(&mut control, members.len() + 2);
        assert_complete(&mut control, "after CONFIG RESETSTAT");
        members.extend(connect_many(&server, 50));
        settle(&mut control, members.len() + 2);
        assert_complete(&mut control, "after that");
        server.restart();
        members = connect_many(&server, 300);
        control = server.peer();
        settle(&mut control, members.len() + 1);
        assert_complete(&mut control, "after a restart: ids start again");
        members.drain(..100);
        settle(&mut control, members.len() + 2);
        assert_complete(&mut control, "and after that");
    });
}

#[test]
fn a_link_that_is_cut_during_a_sweep_loses_only_that_sweep() {
    let _alone = share::alone();
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _clients = connect_many(&server, 2000);
    let args = ["--sample.max-stall=60us", "--sample.max-load=50%", "--client-announce-frequency=0.2"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    let online = |scrape: &Scrape| scrape.value("redis_clients_online", &[]);
    exporter.scrape_until("all of them", |scrape| online(scrape).is_some_and(|online| online >= 2000.0));
    let mut control = server.peer();
    for _ in 0..20 {
        let rows = control.ask(&["CLIENT", "LIST"]);
        let ours = rows.lines().find(|row| row.contains("name=redis-client-exporter"));
        if let Some(id) = ours.and_then(|row| row[3..].split(' ').next()) {
            control.ask(&["CLIENT", "KILL", "ID", id]);
        }
        pause(Duration::from_millis(60));
    }
    exporter.scrape_until("all of them again", |scrape| online(scrape) == Some(2001.0));
}

/// The time of the current sample, and what all samples so far have cost the server, both in seconds and as the
/// exporter reports them.
fn cost(scrape: &Scrape) -> (f64, f64) {
    let value = |name: &str| scrape.value(&format!("redis_clients_sample_{name}"), &[]).unwrap_or(0.0);
    (value("timestamp_seconds"), value("server_seconds_total"))
}

#[test]
fn a_small_load_budget_is_kept_by_less_frequent_samples() {
    let _alone = share::alone();
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _clients = connect_many(&server, 3000);
    let args = ["--sample.max-load=0.2%", "--client-announce-frequency=0.1", "--sample.quick-poll=0"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    let mut before = cost(&exporter.scrape_until("a sample", |scrape| cost(scrape).0 > 0.0));
    let mut last = VecDeque::from([before]);
    // The first sample costs more than all others, as no costs were measured before it. On a busy machine some cost
    // more than expected, and then the next one is due later: so three intervals together.
    eventually("three intervals in a row in which the load is within the budget", || {
        before = cost(&exporter.scrape_until("one more", |scrape| cost(scrape).0 > before.0));
        last.push_back(before);
        let first = if last.len() > 3 { last.pop_front()? } else { return None };
        let (interval, spent) = (before.0 - first.0, before.1 - first.1);
        println!("{spent} s of the server's time in {interval} s");
        (interval > 0.6 && spent / interval < 0.003).then_some(())
    });
}

#[test]
fn without_permission_for_ids_clients_are_listed_at_once_and_a_warning_is_logged() {
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _clients = connect_many(&server, 600);
    server.peer().must(&["ACL", "SETUSER", "plain", "on", ">secret", "-@all", "+client|list", "+info"]);
    let args = ["--redis.user=plain", "--redis.password=secret", "--sample.max-stall=60us"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    let scrape = exporter.scrape_until("a sample", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    assert_eq!(scrape.value("redis_clients_sample_pages", &[]), Some(0.0));
    assert_eq!(scrape.value("redis_clients_sample_within_budget", &[]), Some(0.0));
    assert!(exporter.log().join("\n").contains("cannot both be kept"), "{:?}", exporter.log());
}
