//! Listings that the server or the network cannot answer: buffer limits, huge names, slow links, old servers.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::support::exporter::{Exporter, run};
use crate::support::proxy::Proxy;
use crate::support::scrape::Scrape;
use crate::support::server::{Binary, Server, any_binary, binaries, binary};
use crate::support::{eventually, share};

const CONDITION: &str = "redis_clients_sample_condition";

fn value(scrape: &Scrape, name: &str) -> Option<f64> {
    scrape.value(&format!("redis_clients_{name}"), &[])
}

fn has(scrape: &Scrape, condition: &str) -> bool {
    scrape.value(CONDITION, &[("condition", condition)]) == Some(1.0)
}

/// The oldest and the newest servers: one test on all six would take a minute more, and they do not differ here.
fn some_binaries() -> impl Iterator<Item = Binary> {
    binaries().into_iter().filter(|binary| ["redis-6.2", "redis-8.2", "valkey-9.1"].contains(&&*binary.name))
}

/// Opens connections and closes them at once, so that later clients have high ids.
fn use_up_ids(server: &Server, ids: usize) {
    for _ in 0..ids {
        drop(TcpStream::connect(server.address()).expect("a connection"));
    }
}

/// Connects this many clients, and waits until they are the only ones.
fn connect(server: &Server, size: usize) -> Vec<TcpStream> {
    let clients = (0..size).map(|_| TcpStream::connect(server.address()).expect("a connection")).collect();
    let mut control = server.peer();
    let connected = format!("connected_clients:{}\r", size + 1);
    eventually("only they are connected", || control.ask(&["INFO", "clients"]).contains(&connected).then_some(()));
    control.leave();
    clients
}

/// The first reading of a server whose ids are above 20,000 is one full listing.
#[test]
fn an_old_server_whose_buffer_limit_cuts_a_full_listing_is_sampled_in_pages() {
    for binary in some_binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        use_up_ids(&server, 21_000);
        let _clients = connect(&server, 1500);
        let limit = "normal 256kb 0 0";
        server.peer().must(&["CONFIG", "SET", "client-output-buffer-limit", limit]);
        let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1"], &[]);
        let scrape = exporter.scrape_until("all clients", |scrape| value(scrape, "online") == Some(1500.0));
        assert_eq!((value(&scrape, "up"), value(&scrape, "sample_complete")), (Some(1.0), Some(1.0)));
        assert!(has(&scrape, "full_listing_fails"), "{:?}", scrape.all(CONDITION, &[]).collect::<Vec<_>>());
        let failed: Vec<_> = exporter.log().into_iter().filter(|line| line.contains("cannot sample")).collect();
        assert!(failed.is_empty(), "{failed:?}");
        // Each failed listing costs the exporter its link. Those of the first sample are all that there are.
        let received = value(&scrape, "connections_received_total");
        for _ in 0..3 {
            let scrape = exporter.fresh_scrape();
            assert_eq!((value(&scrape, "online"), value(&scrape, "sample_complete")), (Some(1500.0), Some(1.0)));
            assert!(value(&scrape, "connections_received_total") <= received.map(|received| received + 1.0));
        }
        let listed = run(&["clients", "--redis.addr", &server.address(), "--format=csv"]);
        let rows = String::from_utf8_lossy(&listed.stdout).lines().count();
        assert!(listed.status.success() && (1501..1510).contains(&rows), "{rows} rows, {listed:?}");
        let check = String::from_utf8_lossy(&run(&["check", "--redis.addr", &server.address()]).stdout).into_owned();
        assert!(check.contains("limited  full_listing_fails") && check.contains("CLIENT LIST: 15"), "{check}");
    }
}

/// A row of more than 128 MiB cannot be read at all. Each attempt would cost the server 50 ms, and the exporter memory.
#[test]
fn a_huge_name_hides_only_its_own_client() {
    let _alone = share::alone();
    for binary in some_binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = connect(&server, 400);
        let mut huge = server.peer();
        huge.must(&["CLIENT", "SETNAME", &"x".repeat(135_000_000)]);
        let id = huge.ask(&["CLIENT", "ID"]);
        let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1"], &[]);
        let scrape = exporter.scrape_until("all others", |scrape| value(scrape, "online") == Some(400.0));
        assert_eq!((value(&scrape, "up"), value(&scrape, "sample_complete")), (Some(1.0), Some(0.0)));
        assert!(has(&scrape, "clients_unreadable") && !has(&scrape, "counts_differ") && !has(&scrape, "pages_limited"));
        let unreadable = [("reason", "too_large")];
        assert_eq!(scrape.value("redis_clients_unreadable_lines_total", &unreadable), Some(1.0));
        let log = exporter.log().join("\n");
        assert!(log.contains(&format!("id={}", id.trim_start_matches(':'))), "{log}");
        for _ in 0..3 {
            let scrape = exporter.fresh_scrape();
            assert_eq!(scrape.value("redis_clients_unreadable_lines_total", &unreadable), Some(1.0));
            assert_eq!(value(&scrape, "online"), Some(400.0));
        }
        let peak = peak_megabytes(exporter.pid());
        println!("{peak} MB at its peak");
        assert!(peak < 60, "{peak} MB");
        huge.must(&["CLIENT", "SETNAME", "small"]);
        drop(huge);
        let scrape = exporter.scrape_until("a complete sample", |scrape| value(scrape, "sample_complete") == Some(1.0));
        assert_eq!(value(&scrape, "online"), Some(400.0));
        assert!(!has(&scrape, "clients_unreadable"));
    }
}

/// The highest resident memory of a process so far.
fn peak_megabytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().split(' ').next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") / 1024
}

/// The limit is smaller than any page. Servers count only the bytes beyond the first 16 KiB, so small pages succeed.
#[test]
fn pages_become_as_small_as_the_buffer_limit_requires() {
    for binary in some_binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = connect(&server, 900);
        server.peer().must(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1 0 0"]);
        let args = ["--client-announce-frequency=1", "--sample.max-stall=1s"];
        let exporter = Exporter::start(&[&server.address()], &args, &[]);
        let scrape = exporter.scrape_until("all clients", |scrape| value(scrape, "online") == Some(900.0));
        assert_eq!((value(&scrape, "up"), value(&scrape, "sample_complete")), (Some(1.0), Some(1.0)));
        assert!(has(&scrape, "full_listing_fails") && value(&scrape, "sample_pages") > Some(9.0));
        assert_eq!(scrape.sum("redis_clients_unreadable_lines_total"), 0.0);
        assert!(!has(&scrape, "clients_unreadable") && !has(&scrape, "counts_differ"));
    }
}

#[test]
fn while_every_listing_is_cut_the_metrics_of_info_are_exported_and_the_server_is_spared() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = connect(&server, 300);
    let proxy = Proxy::start(&server.address());
    proxy.faults.cuts_listings.store(true, Ordering::Relaxed);
    let args = ["--client-announce-frequency=0.5", "--sample.quick-poll=0"];
    let exporter = Exporter::start(&[&proxy.address], &args, &[]);
    let partial = |scrape: &Scrape| scrape.value("redis_clients_samples_total", &[("result", "partial")]);
    let scrape = exporter.scrape_until("five samples", |scrape| partial(scrape) >= Some(5.0));
    assert_eq!((value(&scrape, "up"), value(&scrape, "reported_connections")), (Some(1.0), Some(301.0)));
    assert_eq!((value(&scrape, "online"), value(&scrape, "sample_complete")), (None, Some(0.0)));
    assert!(scrape.value("redis_clients_sample_errors_total", &[("reason", "closed")]) > Some(0.0));
    // One link, and one more for each attempt: a full listing, and pages until not even one id can be listed.
    assert!(proxy.accepted() < 40, "{}", proxy.accepted());
    proxy.faults.cuts_listings.store(false, Ordering::Relaxed);
    let scrape = exporter.scrape_until("all clients", |scrape| value(scrape, "online") == Some(300.0));
    assert_eq!(value(&scrape, "sample_complete"), Some(1.0));
}

#[test]
fn on_a_slow_link_clients_are_listed_in_pages_that_arrive_within_the_time_out() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    use_up_ids(&server, 21_000);
    let _clients = connect(&server, 1500);
    let proxy = Proxy::start(&server.address());
    // A full listing has some 400 KB, and takes eight seconds.
    proxy.faults.bytes_per_second.store(50_000, Ordering::Relaxed);
    let args = ["--client-announce-frequency=1", "--redis.timeout=2s", "--sample.quick-poll=0"];
    let exporter = Exporter::start(&[&proxy.address], &args, &[]);
    let scrape = exporter.scrape_until("all clients", |scrape| value(scrape, "online") == Some(1500.0));
    assert_eq!((value(&scrape, "up"), value(&scrape, "sample_complete")), (Some(1.0), Some(1.0)));
    assert!(has(&scrape, "full_listing_fails"));
}

/// A proxy like those of Redis Enterprise: it composes ids, so that they are in no order. No server at hand does.
#[derive(Default)]
struct Composed {
    ids: BTreeSet<u64>,
    received: u64,
    listings: u64,
}

impl Composed {
    fn open(&mut self, id: u64) {
        self.received += 1;
        self.ids.insert(id);
    }

    fn rows(&self, ids: impl Iterator<Item = u64>) -> String {
        let connected = ids.filter(|id| self.ids.contains(id));
        connected.map(|id| format!("id={id} addr=10.0.0.1:7 name=web age=9 idle=1 flags=N db=0 cmd=get\n")).collect()
    }

    /// The answer to a command on the connection with this id.
    fn answer(&mut self, own_id: u64, args: &[&str]) -> String {
        let text = match args {
            ["CLIENT", "ID"] => return format!(":{own_id}\r\n"),
            ["CLIENT", "LIST"] => {
                self.listings += 1;
                self.rows(self.ids.iter().copied())
            }
            ["CLIENT", "LIST", "ID", ids @ ..] => self.rows(ids.iter().map(|id| id.parse().expect("an id"))),
            ["INFO", "server"] => "redis_version:7.4.0\r\nrun_id:composed\r\nuptime_in_seconds:99\r\n".into(),
            ["INFO", "clients"] => format!("connected_clients:{}\r\nmaxclients:10000\r\n", self.ids.len()),
            ["INFO", "stats"] => format!("total_connections_received:{}\r\n", self.received),
            ["INFO", "replication"] => "role:master\r\n".into(),
            _ => return "+OK\r\n".into(),
        };
        format!("${}\r\n{text}\r\n", text.len())
    }
}

/// Serves it. Each connection gets the lowest id that is free.
fn serve(proxy: &Arc<Mutex<Composed>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, proxy) = (listener.local_addr().expect("an address").to_string(), Arc::clone(proxy));
    std::thread::spawn(move || {
        for (own_id, stream) in (3..).zip(listener.incoming().map_while(Result::ok)) {
            let proxy = Arc::clone(&proxy);
            std::thread::spawn(move || {
                proxy.lock().expect("no test panics with it").open(own_id);
                let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines().map_while(Result::ok);
                while let Some(count) = lines.next().and_then(|head| head.strip_prefix('*')?.parse::<usize>().ok()) {
                    let args: Vec<String> = (0..count).filter_map(|_| lines.nth(1)).collect();
                    let args: Vec<&str> = args.iter().map(String::as_str).collect();
                    let answer = proxy.lock().expect("no test panics with it").answer(own_id, &args);
                    if (&stream).write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
                proxy.lock().expect("no test panics with it").ids.remove(&own_id);
            });
        }
    });
    address
}

/// The ids of 805 clients are above ours, and later ones are below those.
#[test]
fn ids_in_no_order_are_detected_in_the_first_sample_and_listed_in_full_from_then_on() {
    let proxy = Arc::new(Mutex::new(Composed::default()));
    let open = |id| proxy.lock().expect("no test panics with it").open(id);
    (0..805).for_each(|number| open(5_000_000 + 7919 * number));
    let args = ["--client-announce-frequency=1h", "--sample.max-stall=60us", "--announce=never"];
    let exporter = Exporter::start(&[&serve(&proxy)], &args, &[]);
    let scrape = exporter.scrape_until("a sample", |scrape| value(scrape, "up") == Some(1.0));
    assert_eq!((value(&scrape, "online"), value(&scrape, "sample_complete")), (Some(805.0), Some(1.0)));
    assert!(has(&scrape, "ids_unordered"), "{:?}", scrape.all(CONDITION, &[]).collect::<Vec<_>>());
    // The next regular sample is an hour away; the quick poll finds that a client is missing.
    open(100);
    let scrape = exporter.scrape_until("the new client", |scrape| value(scrape, "online") == Some(806.0));
    assert_eq!((value(&scrape, "opened_total"), value(&scrape, "unseen_total")), (Some(1.0), Some(0.0)));
    assert!(has(&scrape, "ids_unordered") && !has(&scrape, "counts_differ"));
    assert!(proxy.lock().expect("no test panics with it").listings <= 4);
}

/// The server's own counter. Unlike the exported one, it knows nothing of what was listed.
fn received(server: &Server) -> u64 {
    let stats = server.peer().ask(&["INFO", "stats"]);
    let (_, rest) = stats.split_once("total_connections_received:").expect("a counter");
    rest.lines().next().and_then(|line| line.trim().parse().ok()).expect("a number")
}

/// Opened, closed and unseen connections since the start of the exporter.
fn turnover(scrape: &Scrape) -> (f64, f64, f64) {
    (
        scrape.sum("redis_clients_opened_total"),
        scrape.sum("redis_clients_closed_total"),
        scrape.sum("redis_clients_unseen_total"),
    )
}

#[test]
fn a_client_that_takes_a_huge_name_neither_closes_nor_opens() {
    for binary in some_binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = connect(&server, 400);
        let mut huge = server.peer();
        huge.must(&["CLIENT", "SETNAME", "before"]);
        let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1"], &[]);
        exporter.scrape_until("all", |scrape| value(scrape, "online") == Some(401.0));
        huge.must(&["CLIENT", "SETNAME", &"x".repeat(20_000_000)]);
        let scrape = exporter.scrape_until("it cannot be read", |scrape| has(scrape, "clients_unreadable"));
        assert_eq!((value(&scrape, "online"), value(&scrape, "sample_complete")), (Some(401.0), Some(0.0)));
        let before = [("client_app", "before")];
        assert_eq!(scrape.value("redis_clients_app_connections", &before), Some(1.0), "as it was read last");
        huge.must(&["CLIENT", "SETNAME", "after"]);
        let after = [("client_app", "after")];
        let is_read = |scrape: &Scrape| scrape.value("redis_clients_app_connections", &after) == Some(1.0);
        let scrape = exporter.scrape_until("it can be read", is_read);
        assert_eq!((turnover(&scrape), value(&scrape, "sample_complete")), ((0.0, 0.0, 0.0), Some(1.0)));
        huge.must(&["CLIENT", "SETNAME", &"x".repeat(20_000_000)]);
        exporter.scrape_until("it cannot be read", |scrape| has(scrape, "clients_unreadable"));
        drop(huge);
        let scrape = exporter.scrape_until("it is closed", |scrape| turnover(scrape) == (0.0, 1.0, 0.0));
        assert!(!has(&scrape, "counts_differ") && value(&scrape, "online") == Some(400.0));
    }
}

#[test]
fn a_new_client_with_a_huge_name_hides_none_of_those_that_connect_with_it() {
    for binary in some_binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = connect(&server, 400);
        let exporter =
            Exporter::start(&[&server.address()], &["--client-announce-frequency=1", "--announce=never"], &[]);
        exporter.scrape_until("all", |scrape| value(scrape, "online") == Some(400.0));
        let before = received(&server);
        let mut new_clients: Vec<_> = (0..20).map(|_| server.peer()).collect();
        new_clients[9].must(&["CLIENT", "SETNAME", &"x".repeat(20_000_000)]);
        let scrape = exporter.scrape_until("the others", |scrape| {
            value(scrape, "online") == Some(419.0) && has(scrape, "clients_unreadable")
        });
        assert_eq!(value(&scrape, "sample_complete"), Some(0.0));
        new_clients[9].must(&["CLIENT", "SETNAME", "small"]);
        exporter.scrape_until("all of them", |scrape| value(scrape, "online") == Some(420.0));
        drop(new_clients);
        // The connections that asked for the counter are among those that the exporter may or may not see.
        let scrape = exporter.scrape_until("they are closed", |scrape| value(scrape, "online") == Some(400.0));
        let (opened, closed, unseen) = turnover(&exporter.fresh_scrape());
        let own = scrape.sum("redis_clients_own_connections_total");
        let last = received(&server);
        assert_eq!(opened, closed);
        assert!((20.0..=21.0).contains(&opened), "{opened}");
        // The last question itself is not counted yet.
        let of_others = (last - before) as f64 - own;
        assert!((opened + unseen - of_others).abs() <= 2.0, "{opened} + {unseen} of {of_others}");
    }
}

/// A scan of more ids than one sample may ask for finds clients that connected long ago.
#[test]
fn clients_that_a_scan_finds_later_did_not_open() {
    let Some(binary) = binary("redis-8.2").or_else(any_binary) else { return };
    let server = Server::start(&binary);
    let mut clients = Vec::new();
    for _ in 0..6 {
        use_up_ids(&server, 10_000);
        clients.extend((0..250).map(|_| TcpStream::connect(server.address()).expect("a connection")));
    }
    server.peer().must(&["CONFIG", "SET", "client-output-buffer-limit", "normal 100kb 0 0"]);
    let args = ["--client-announce-frequency=1", "--sample.max-load=0.1%", "--announce=never"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    let first = exporter.scrape_until("some of them", |scrape| value(scrape, "online") > Some(0.0));
    let scrape = exporter.scrape_until("all of them", |scrape| value(scrape, "online") == Some(1500.0));
    println!("{:?} in the first sample", value(&first, "online"));
    assert!(has(&first, "scanning") && value(&first, "sample_complete") == Some(0.0), "the first sample has them all");
    assert_eq!(value(&scrape, "sample_complete"), Some(1.0));
    let (opened, closed, _) = turnover(&scrape);
    assert!(opened <= 1.0 && closed <= 1.0, "{opened} opened and {closed} closed, with our own question");
}
