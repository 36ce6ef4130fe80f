//! The delays that README and the documents promise.

use std::time::{Duration, Instant};

use crate::longest;
use crate::support::browser::browse;
use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary};
use crate::support::subscriber::Subscriber;
use crate::support::trouble::hoard;
use crate::support::{eventually, pause};

const SECOND: Duration = Duration::from_secs(1);

/// The number of times that each delay is measured.
const ROUNDS: usize = 5;

fn online(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_online", &[])
}

fn up(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_up", &[])
}

/// A server with 50 clients, and an exporter with default flags.
fn scene() -> Option<(Server, Vec<Peer>, Exporter)> {
    let server = Server::start(&any_binary()?);
    let clients = hoard(&server, "web", 50);
    let args = ["--client-announce-frequency=10s", "--sample.max-load=1%"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    exporter.scrape_until("a sample", |scrape| online(scrape) == Some(50.0));
    Some((server, clients, exporter))
}

/// A pause that differs from round to round, so that the rounds are not in step with the exporter.
fn wait_a_while(round: usize) {
    pause(Duration::from_millis(370 * (round as u64 % 3 + 1)));
}

pub(crate) fn opened_connections() -> Option<String> {
    let (server, mut clients, exporter) = scene()?;
    let delays: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            wait_a_while(round);
            let began = Instant::now();
            clients.push(server.peer());
            exporter.scrape_until("the new client", |scrape| online(scrape) == Some(clients.len() as f64));
            began.elapsed()
        })
        .collect();
    Some(longest(&delays, 2 * SECOND))
}

pub(crate) fn closed_connections() -> Option<String> {
    let (_server, mut clients, exporter) = scene()?;
    let delays: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            wait_a_while(round);
            let began = Instant::now();
            clients.pop();
            exporter.scrape_until("it is closed", |scrape| online(scrape) == Some(clients.len() as f64));
            began.elapsed()
        })
        .collect();
    Some(longest(&delays, 10 * SECOND))
}

pub(crate) fn a_killed_application() -> Option<String> {
    let server = Server::start(&any_binary()?);
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=2"], &[]);
    let is_online = |online: f64| {
        move |scrape: &Scrape| scrape.value("redis_clients_app_online", &[("client_app", "billing")]) == Some(online)
    };
    let delays: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            let clients = hoard(&server, "billing", 12);
            exporter.scrape_until("billing is online", is_online(1.0));
            wait_a_while(round);
            let began = Instant::now();
            drop(clients);
            exporter.scrape_until("billing is offline", is_online(0.0));
            began.elapsed()
        })
        .collect();
    // The rest is for the scrape itself.
    Some(longest(&delays, Duration::from_millis(2500)))
}

pub(crate) fn the_page() -> Option<String> {
    let output = browse("live", any_binary(), &["--client-announce-frequency=10s"])?;
    // "# quiet: opened 612, 841 ms, closed 1203, 988 ms"
    let times = |what: &str| -> Vec<Duration> {
        let parts = output.lines().filter_map(|line| line.split_once(&format!("{what} "))?.1.split(" ms").next());
        let numbers = parts.flat_map(|part| part.split(", ")).filter_map(|number| number.parse().ok());
        numbers.map(Duration::from_millis).collect()
    };
    // The browser takes some time to render.
    let (opened, closed) = (times(": opened"), times(", closed"));
    assert!(opened.len() == 10 && closed.len() == 10, "{output}");
    let margin = SECOND / 2;
    Some(format!("opened {}; closed {}", longest(&opened, 2 * SECOND + margin), longest(&closed, 10 * SECOND + margin)))
}

/// Starts an exporter that announces once a second if no other exporter does.
fn announcing(server: &Server, args: &[&str]) -> Exporter {
    let args = [&["--announce=auto", "--client-announce-frequency=1"], args].concat();
    Exporter::start(&[&server.address()], &args, &[])
}

pub(crate) fn another_announcer() -> Option<String> {
    let server = Server::start(&any_binary()?);
    let mut exporters: Vec<_> = (0..2).map(|_| announcing(&server, &[])).collect();
    let subscriber = Subscriber::on(&server.address());
    let delays: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            // If two started at the same time, both may announce for a moment.
            pause(4 * SECOND);
            let name = subscriber.next_status().announcer().to_owned();
            let announces =
                |exporter: &Exporter| exporter.log().iter().any(|line| line.contains(&format!("name={name}")));
            let place = exporters.iter().position(announces).expect("one of them announces");
            drop(exporters.remove(place));
            let last = subscriber.received().last().expect("it announced").at;
            let next = subscriber.next("another announcer", |message| message.announcer() != name);
            exporters.push(announcing(&server, &[]));
            next.at - last
        })
        .collect();
    Some(longest(&delays, SECOND.mul_f64(3.5)))
}

/// Of three exporters with a key, one samples. When it is killed, the others still have its last status until one of
/// them samples.
pub(crate) fn another_sampler() -> Option<String> {
    let server = Server::start(&any_binary()?);
    let key = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(key.path(), "0123456789abcdef0123456789abcdef").expect("it is written");
    let key = format!("--announce.key-file={}", key.path().display());
    let mut exporters: Vec<_> = (0..3).map(|_| announcing(&server, &["--sample=auto", &key])).collect();
    let is_received = |exporter: &Exporter| {
        exporter.scrape().value("redis_clients_sample_source_info", &[("source", "received")]) == Some(1.0)
    };
    let sampler = eventually("two of them listen", || {
        let samplers: Vec<_> = (0..3).filter(|place| !is_received(&exporters[*place])).collect();
        (samplers.len() == 1).then(|| samplers[0])
    });
    drop(exporters.remove(sampler));
    let killed = Instant::now();
    let mut scrapes = 0;
    while killed.elapsed() < 7 * SECOND {
        for exporter in &exporters {
            assert_eq!(up(&exporter.scrape()), Some(1.0), "{:?} after it was killed", killed.elapsed());
            scrapes += 1;
        }
        pause(Duration::from_millis(50));
    }
    let samplers = exporters.iter().filter(|exporter| !is_received(exporter)).count();
    assert_eq!(samplers, 1, "one took over");
    Some(format!("{scrapes} scrapes in 7 s, all of them up"))
}
