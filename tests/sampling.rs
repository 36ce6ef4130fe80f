//! Sampling in pages, on real servers: nobody is missed, nobody is there twice, and the two promises are kept.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis_client_exporter::link::{Target, TlsFiles, parse_address};
use redis_client_exporter::sample::Sample;
use redis_client_exporter::sampler::{Budget, ListMethod, Sampler};

use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Binary, Server, binaries};
use crate::support::{PATIENCE, eventually, pause};

/// A budget so small that even some hundred clients are listed in pages.
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
    let address = parse_address(&server.address()).expect("an address");
    let target = Target {
        endpoint: address.endpoint,
        credentials: None,
        tls: TlsFiles::default(),
        timeout: Duration::from_secs(5),
    };
    Sampler::new(target, budget)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The ids of a sample, each of which must be there once.
fn ids(sample: &Sample) -> BTreeSet<u64> {
    let clients = sample.clients.as_ref().expect("the clients were listed");
    let ids: Vec<u64> = clients.clients().filter_map(|(_, client)| client.id()).collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "a client is there twice");
    distinct
}

fn listed(peer: &mut Peer) -> BTreeSet<u64> {
    let rows = peer.ask(&["CLIENT", "LIST"]);
    rows.lines().map(|row| row[3..].split(' ').next().expect("an id").parse().expect("a number")).collect()
}

fn crowd(server: &Server, size: usize) -> Vec<TcpStream> {
    let crowd: Vec<_> = (0..size).map(|_| TcpStream::connect(server.address()).expect("a connection")).collect();
    let mut control = server.peer();
    eventually("all are accepted", PATIENCE, || (listed(&mut control).len() > size).then_some(()));
    crowd
}

/// On every server generation; each as a test of its own would only repeat their names.
fn on_every_server(test: fn(&Binary)) {
    for binary in binaries() {
        println!("{}", binary.name);
        test(&binary);
    }
}

#[test]
fn pages_find_exactly_those_who_are_there() {
    on_every_server(|binary| {
        let server = Server::start(binary);
        let mut members = crowd(&server, 700);
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let mut control = server.peer();
        for round in 0..4 {
            let sample = runtime.block_on(sampler.sample()).expect("a sample");
            assert_eq!(ids(&sample), listed(&mut control), "round {round}");
            assert!(sample.cost.pages > 3, "{:?}", sample.cost);
            assert_eq!(sample.cost.drift, Some(0));
            // A third leaves, others come.
            members.drain(..members.len() / 3);
            members.extend(crowd(&server, 100));
            let open = members.len() + 2;
            eventually("they have left", PATIENCE, || (listed(&mut control).len() == open).then_some(()));
        }
        assert!(matches!(sampler.plan().method, ListMethod::Pages(_)) && sampler.no_pages().is_none());
    });
}

/// Opens and closes some 500 connections a second until it is dropped.
struct Churn {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Churn {
    fn start(server: &Server) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), server.address());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut opened = 0;
            while !stopped.load(Ordering::Relaxed) {
                let some: Vec<_> = (0..10).filter_map(|_| TcpStream::connect(&address).ok()).collect();
                opened += some.len() as u64;
                pause(Duration::from_millis(20));
            }
            opened
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("it ends well")
    }
}

#[test]
fn churn_through_a_sweep_neither_hides_nor_doubles_anybody() {
    on_every_server(|binary| {
        let server = Server::start(binary);
        let stable = crowd(&server, 1500);
        let mut control = server.peer();
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let gone: BTreeSet<u64> = {
            let leavers = crowd(&server, 200);
            let with = listed(&mut control);
            drop(leavers);
            let left = eventually("they have left", PATIENCE, || {
                Some(listed(&mut control)).filter(|now| now.len() + 200 <= with.len())
            });
            with.difference(&left).copied().collect()
        };
        let churn = Churn::start(&server);
        let mut earlier: BTreeSet<u64> = BTreeSet::new();
        for round in 0..6 {
            let before = listed(&mut control);
            let sample = runtime.block_on(sampler.sample()).expect("a sample");
            let after = listed(&mut control);
            let found = ids(&sample);
            let stayed: BTreeSet<u64> = before.intersection(&after).copied().collect();
            assert!(stayed.len() > stable.len());
            assert!(stayed.is_subset(&found), "round {round}: {:?} are missing", stayed.difference(&found));
            assert!(found.is_disjoint(&gone), "round {round}: the dead are there");
            // Ids are never given out twice, so who is new was not there before.
            let opened: BTreeSet<u64> = found.difference(&earlier).copied().collect();
            assert!(round == 0 || opened.iter().all(|id| *id > *earlier.first().expect("somebody was there")));
            earlier = found;
        }
        assert!(churn.stop() > 100, "it churned");
    });
}

#[test]
fn a_new_client_is_known_at_the_next_quick_poll() {
    on_every_server(|binary| {
        let server = Server::start(binary);
        let _crowd = crowd(&server, 300);
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let before = ids(&runtime.block_on(sampler.sample()).expect("a sample"));
        let quiet = runtime.block_on(sampler.quick_poll()).expect("a quick poll");
        assert!(quiet.sample.is_none() && !quiet.sample_early, "{quiet:?}");

        let mut newcomer = server.peer();
        newcomer.must(&["CLIENT", "SETNAME", "newcomer"]);
        let id: u64 = newcomer.ask(&["CLIENT", "ID"]).trim_start_matches(':').parse().expect("an id");
        let poll = runtime.block_on(sampler.quick_poll()).expect("a quick poll");
        let now = ids(&poll.sample.expect("a new client"));
        assert!(now.contains(&id) && now.is_superset(&before) && now.len() == before.len() + 1);

        drop(newcomer);
        let sample_early = eventually("the closed connection is noticed", PATIENCE, || {
            Some(runtime.block_on(sampler.quick_poll()).expect("a quick poll").sample_early).filter(|early| *early)
        });
        assert!(sample_early);
        assert!(!ids(&runtime.block_on(sampler.sample()).expect("a sample")).contains(&id));
    });
}

#[test]
fn a_newcomer_is_in_the_metrics_within_two_seconds_and_who_left_within_one_frequency() {
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _crowd = crowd(&server, 50);
    // The default frequency is 10 s.
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=10s"], &[]);
    let online = |scrape: &Scrape| scrape.value("redis_clients_online", &[]);
    let before = online(&exporter.scrape_until("a sample", |scrape| online(scrape).is_some()));
    let newcomer = server.peer();
    let came = Instant::now();
    let more = before.map(|before| before + 1.0);
    exporter.scrape_until("the newcomer", |scrape| online(scrape) == more);
    assert!(came.elapsed() < Duration::from_secs(2), "{:?}", came.elapsed());
    drop(newcomer);
    let left = Instant::now();
    exporter.scrape_until("his leaving", |scrape| online(scrape) == before);
    assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
}

#[test]
fn resets_restarts_and_cut_links_make_no_wrong_picture() {
    on_every_server(|binary| {
        let mut server = Server::start(binary);
        let mut members = crowd(&server, 400);
        let (runtime, mut sampler) = (runtime(), sampler(&server, budget()));
        let mut whole = |server: &Server, what: &str| {
            let sample = runtime.block_on(sampler.sample()).expect(what);
            let mut control = server.peer();
            let mut truth = listed(&mut control);
            // Who asks came after the sample.
            truth.pop_last();
            assert_eq!(ids(&sample), truth, "{what}");
        };
        whole(&server, "at first");
        server.peer().must(&["CONFIG", "RESETSTAT"]);
        members.extend(crowd(&server, 50));
        pause(Duration::from_millis(50));
        whole(&server, "after CONFIG RESETSTAT");
        members.extend(crowd(&server, 50));
        pause(Duration::from_millis(50));
        whole(&server, "after that");
        server.restart();
        members = crowd(&server, 300);
        pause(Duration::from_millis(50));
        whole(&server, "after a restart: ids begin again");
        members.drain(..100);
        pause(Duration::from_millis(50));
        whole(&server, "and after that");
        drop(members);
    });
}

#[test]
fn a_link_that_is_cut_in_the_middle_of_a_sweep_costs_nothing_but_the_sweep() {
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _crowd = crowd(&server, 2000);
    let words = ["--sample.max-stall=60us", "--sample.max-load=50%", "--client-announce-frequency=0.2"];
    let exporter = Exporter::start(&[&server.address()], &words, &[]);
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

#[test]
fn a_small_load_is_kept_by_rarer_samples() {
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _crowd = crowd(&server, 3000);
    let words = ["--sample.max-load=0.1%", "--client-announce-frequency=1s", "--sample.quick-poll=0"];
    let exporter = Exporter::start(&[&server.address()], &words, &[]);
    let cost = |scrape: &Scrape| scrape.value("redis_clients_sample_server_seconds_total", &[]).unwrap_or(0.0);
    let samples = |scrape: &Scrape| scrape.value("redis_clients_samples_total", &[("result", "whole")]).unwrap_or(0.0);
    // The first sample is dearer than all others, and nothing was known before it.
    let first = exporter.scrape_until("a second sample", |scrape| samples(scrape) >= 2.0);
    let began = Instant::now();
    let last = exporter.scrape_until("two more", |scrape| samples(scrape) >= samples(&first) + 2.0);
    let load = (cost(&last) - cost(&first)) / began.elapsed().as_secs_f64();
    assert!(began.elapsed() > Duration::from_secs(4), "samples come less often: {:?}", began.elapsed());
    assert!(load < 0.002, "{load}");
}

#[test]
fn a_user_without_ids_and_a_server_without_pages_are_listed_at_once_and_told() {
    let Some(binary) = binaries().pop() else { return };
    let server = Server::start(&binary);
    let _crowd = crowd(&server, 600);
    server.peer().must(&["ACL", "SETUSER", "plain", "on", ">secret", "-@all", "+client|list", "+info"]);
    let words = ["--redis.user=plain", "--redis.password=secret", "--sample.max-stall=60us"];
    let exporter = Exporter::start(&[&server.address()], &words, &[]);
    let scrape = exporter.scrape_until("a sample", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    assert_eq!(scrape.value("redis_clients_sample_pages", &[]), Some(0.0));
    assert_eq!(scrape.value("redis_clients_sample_within_budget", &[]), Some(0.0));
    assert!(exporter.log().join("\n").contains("cannot both be kept"), "{:?}", exporter.log());
}
