//! Faults of links and of the exporter itself. docs/reliability.md lists every fault with its test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::exporter::{Exporter, program};
use crate::support::http::request;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, free_port};
use crate::support::{eventually, pause};

fn up(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_up", &[])
}

fn online(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_online", &[])
}

fn timeouts(scrape: &Scrape) -> f64 {
    scrape.value("redis_clients_sample_errors_total", &[("reason", "timeout")]).expect("every reason is exported")
}

/// A link to a server at one address.
struct Link {
    address: String,
    /// True while it carries nothing, and keeps its connections open.
    is_cut: Arc<AtomicBool>,
}

impl Link {
    /// A link on which a piece of this size takes ten milliseconds.
    fn to(server: &Server, piece: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (is_cut, target) = (Arc::new(AtomicBool::new(false)), server.address());
        let cut = Arc::clone(&is_cut);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let cut = Arc::clone(&cut);
                    std::thread::spawn(move || carry(from, to, piece, &cut));
                }
            }
        });
        Self { address, is_cut }
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, piece: usize, is_cut: &AtomicBool) {
    let mut bytes = vec![0; piece];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        pause(Duration::from_millis(10));
        while is_cut.load(Ordering::Relaxed) {
            pause(Duration::from_millis(10));
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_slow_link_delays_samples_and_loses_no_client() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients: Vec<Peer> = (0..200).map(|_| server.peer()).collect();
    // 100 KB/s; a list of these clients has some 60 KB.
    let link = Link::to(&server, 1000);
    let exporter = Exporter::start(&[&link.address], &["--client-announce-frequency=1"], &[]);
    let scrape = exporter.scrape_until("a sample", |scrape| online(scrape) == Some(200.0));
    assert_eq!((up(&scrape), scrape.value("redis_clients_sample_complete", &[])), (Some(1.0), Some(1.0)));
    assert!(scrape.value("redis_clients_sample_duration_seconds", &[]) > Some(0.1));
    // Half the round trip is no difference of clocks.
    let difference = scrape.value("redis_clients_clock_difference_seconds", &[]).expect("the server reports its clock");
    let duration = scrape.value("redis_clients_sample_duration_seconds", &[]).expect("a sample");
    assert!(difference.abs() <= duration, "{difference} {duration}");
    let again = exporter.fresh_scrape();
    assert_eq!((online(&again), again.sum("redis_clients_closed_total")), (Some(200.0), 0.0));
}

#[test]
fn a_link_that_carries_nothing_any_more_is_down_after_the_timeout() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let link = Link::to(&server, 1 << 16);
    let args = ["--client-announce-frequency=1h", "--redis.timeout=2s"];
    let exporter = Exporter::start(&[&link.address], &args, &[]);
    exporter.scrape_until("a sample", |scrape| up(scrape) == Some(1.0));
    link.cut(true);
    let scrape = exporter.scrape_until("it is down", |scrape| up(scrape) == Some(0.0));
    assert!(timeouts(&scrape) >= 1.0 && online(&scrape).is_none());
    link.cut(false);
    let scrape = exporter.scrape_until("it is up again", |scrape| up(scrape) == Some(1.0));
    assert_eq!(scrape.value("redis_clients_closed_total", &[("reason", "restart")]), Some(0.0));
}

#[test]
fn a_server_that_pauses_its_clients_is_down_until_it_goes_on() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let args = ["--client-announce-frequency=1h", "--redis.timeout=1s"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    exporter.scrape_until("a sample", |scrape| up(scrape) == Some(1.0));
    let before = timeouts(&exporter.scrape());
    server.peer().must(&["CLIENT", "PAUSE", "4000", "ALL"]);
    exporter.scrape_until("a time-out", |scrape| timeouts(scrape) > before);
    exporter.scrape_until("it is up again", |scrape| up(scrape) == Some(1.0));
}

#[test]
fn an_exporter_that_is_killed_leaves_no_connection_and_starts_again() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _web = server.peer();
    let mut control = server.peer();
    let mut ours = || control.ask(&["CLIENT", "LIST"]).matches(" name=redis-client-exporter ").count();
    for _ in 0..2 {
        let mut exporter = Exporter::start(&[&server.address()], &["--announce=always"], &[]);
        exporter.scrape_until("a sample", |scrape| online(scrape) == Some(2.0));
        assert!(ours() > 0);
        exporter.signal("KILL");
        exporter.wait();
        eventually("its connections are closed", || (ours() == 0).then_some(()));
    }
}

#[test]
fn an_exporter_that_was_stopped_goes_on_without_false_closed_clients() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _stays = server.peer();
    let closes = server.peer();
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1"], &[]);
    exporter.scrape_until("a sample", |scrape| online(scrape) == Some(2.0));
    exporter.signal("STOP");
    drop(closes);
    // One that it never observes, and one that stays.
    server.peer().must(&["PING"]);
    let _opened = server.peer();
    pause(Duration::from_secs(3));
    exporter.signal("CONT");
    let closed = |scrape: &Scrape| scrape.sum("redis_clients_closed_total");
    let scrape = exporter.scrape_until("it goes on", |scrape| closed(scrape) >= 1.0 && online(scrape) == Some(2.0));
    assert_eq!((up(&scrape), closed(&scrape)), (Some(1.0), 1.0));
}

#[test]
fn a_reader_of_the_log_that_stops_reading_blocks_nothing() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    // Full, so that not even the first line can be written.
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&vec![b'\n'; 1 << 16]).expect("a pipe holds 64 KiB");
    let web = format!("127.0.0.1:{}", free_port());
    let mut command = program();
    command.args(["--redis.addr", &server.address(), "--announce=never", "--web.listen-address", &web]);
    let mut exporter = command.stderr(Stdio::from(writer)).spawn().expect("the program starts");
    // The command keeps a copy of the pipe's other end.
    drop(command);
    let until = |wanted: f64| {
        let scrape = || request(&web, "GET", "/metrics", &[]).ok().map(|answer| Scrape::parse(answer.text()));
        eventually("the server's state", || scrape().filter(|scrape| up(scrape) == Some(wanted)).map(|_| ()));
    };
    until(1.0);
    server.kill();
    until(0.0);
    // The lines were kept, and are written as soon as there is a reader.
    let mut log = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&log).contains("cannot sample") {
        let read = reader.read(&mut piece).expect("a pipe");
        assert!(read > 0, "the log ended: {}", String::from_utf8_lossy(&log));
        log.extend_from_slice(&piece[..read]);
    }
    exporter.kill().expect("it runs");
    exporter.wait().expect("it ends");
}

#[test]
fn an_exporter_with_little_memory_watches_a_server_with_thousands_of_clients() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let clients: Vec<TcpStream> = (0..3000).map_while(|_| TcpStream::connect(server.address()).ok()).collect();
    let mut command = Command::new("sh");
    // The address space, of which most is never used.
    let limited = "ulimit -v 1000000; exec \"$@\"";
    command.env_clear().args(["-c", limited, "sh", env!("CARGO_BIN_EXE_redis-client-exporter")]).args([
        "--redis.addr",
        &server.address(),
        "--web.listen-address=127.0.0.1:0",
    ]);
    let exporter = Exporter::spawn(&mut command);
    exporter.scrape_until("a sample", |scrape| online(scrape) == Some(clients.len() as f64));
    let resident = exporter.scrape().value("process_resident_memory_bytes", &[]).expect("the kernel reports it");
    assert!(resident < 64e6, "{resident} bytes");
}
