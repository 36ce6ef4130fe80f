//! The cost of the exporter: time of the server, and its own memory.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::exporter::Exporter;
use crate::support::pause;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary};
use crate::support::trouble::{hoard, rotate, work};

const SECOND: Duration = Duration::from_secs(1);

/// Flags with their default values, where those of tests differ.
const DEFAULTS: [&str; 2] = ["--client-announce-frequency=10s", "--sample.max-load=1%"];

fn of(scrape: &Scrape, name: &str) -> f64 {
    scrape.value(name, &[]).unwrap_or_else(|| panic!("{name} is missing"))
}

pub(crate) fn many_clients() -> Option<String> {
    const CLIENTS: usize = 8000;
    let server = Server::start(&any_binary()?);
    let _clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(server.address()).expect("a connection")).collect();
    let exporter = Exporter::start(&[&server.address()], &DEFAULTS, &[]);
    let is_complete = |scrape: &Scrape| scrape.value("redis_clients_online", &[]) == Some(CLIENTS as f64);
    let first = exporter.scrape_until("a sample of all", is_complete);
    let began = Instant::now();
    pause(60 * SECOND);
    let last = exporter.scrape_until("a sample of all", is_complete);
    let cost = "redis_clients_sample_server_seconds_total";
    let load = (of(&last, cost) - of(&first, cost)) / began.elapsed().as_secs_f64();
    let longest = of(&last, "redis_clients_sample_longest_command_seconds");
    let resident = of(&last, "process_resident_memory_bytes");
    assert!(load <= 0.01, "{load}");
    Some(format!(
        "{:.2} % of the server's time, {:.2} ms the longest command, {:.0} MB of memory",
        load * 100.0,
        longest * 1e3,
        resident / 1e6
    ))
}

/// Half an hour of clients that come and go; ACCEPTANCE_MINUTES changes that.
pub(crate) fn churn() -> Option<String> {
    let minutes = std::env::var("ACCEPTANCE_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(30_u32);
    let server = Server::start(&any_binary()?);
    let _clients = hoard(&server, "pool", 500);
    let _busy = work(&server, "web", 4, SECOND / 5);
    let _reconnecting = rotate(&server, "probe", 200, SECOND / 50);
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1s"], &[]);
    exporter.scrape_until("a sample", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    // What is kept of closed connections and of the last hour grows at first; the bounds of both are reached later.
    let began = Instant::now();
    let mut resident = Vec::new();
    while began.elapsed() < 60 * SECOND * minutes {
        pause(SECOND);
        let scrape = exporter.scrape();
        resident.push(of(&scrape, "process_resident_memory_bytes"));
        assert_eq!(scrape.value("redis_clients_up", &[]), Some(1.0));
    }
    let third = resident.len() / 3;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (middle, last) = (mean(&resident[third..2 * third]), mean(&resident[2 * third..]));
    let growth = (last - middle) / 1e6;
    assert!(last <= middle * 1.1, "memory grows: {middle} bytes, then {last}");
    let closed = exporter.scrape().sum("redis_clients_closed_total");
    assert!(closed >= 600.0 * f64::from(minutes), "only {closed} connections were closed");
    Some(format!("{minutes} min, {closed} closed connections: {:.0} MB, {growth:+.1} MB in the last third", last / 1e6))
}
