//! The time limits of the web server, in the real program. Unit tests of `web::accept` test the same with short ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::certificates::Certificates;
use crate::support::exporter::Exporter;
use crate::support::http::connect;
use crate::support::peer::Peer;
use crate::support::server::{Server, any_binary};
use crate::support::trouble::hoard;
use crate::support::{PATIENCE, eventually, pause};

const SECOND: Duration = Duration::from_secs(1);

/// The maximum number of streams (ARCHITECTURE: bounds).
const MAX_STREAMS: usize = 200;

const REQUEST: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Fails if a delay is not about as long as the limit.
fn about(delay: Duration, limit: u64) -> String {
    let bounds = Duration::from_secs(limit)..Duration::from_secs(limit + 15);
    assert!(bounds.contains(&delay), "{delay:?} is not within {bounds:?}");
    format!("{:.1} s", delay.as_secs_f64())
}

pub(crate) fn idle_connections() -> Option<String> {
    let exporter = Exporter::watching(&["127.0.0.1:1"]);
    let began = Instant::now();
    // More than are served at once.
    let _idle: Vec<_> = (0..300).map_while(|_| TcpStream::connect(&exporter.address).ok()).collect();
    let mut stream = connect(&exporter.address).expect("a connection");
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    Some(about(began.elapsed(), 20))
}

/// Requests a stream, and reads none of it.
fn unread(exporter: &Exporter) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Small segments keep the kernel's buffers small.
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    socket.set_tcp_mss(536).expect("small segments");
    let address: SocketAddr = exporter.address.parse().expect("an address");
    socket.connect(&address.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    (&stream).write_all(REQUEST).expect("the request is sent");
    let mut answer = [0; 12];
    stream.peek(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

/// Reads a stream until it ends, and reports each `status` event.
fn read(exporter: &Exporter) -> Receiver<()> {
    let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
    stream.write_all(REQUEST).expect("the request is sent");
    let (sender, statuses) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter(|line| line == "event: status").try_for_each(|_| sender.send(()))
    });
    statuses
}

/// Returns true if a further stream is refused.
fn is_refused(exporter: &Exporter) -> bool {
    let mut stream = connect(&exporter.address).expect("a connection");
    stream.write_all(REQUEST).expect("the request is sent");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.contains(" 503 ")
}

pub(crate) fn streams() -> Option<String> {
    let server = Server::start(&any_binary()?);
    let exporter = Exporter::watching(&[&server.address()]);
    let statuses = read(&exporter);
    statuses.recv_timeout(PATIENCE).expect("a first status");
    let _unread: Vec<_> = (1..MAX_STREAMS).map(|_| unread(&exporter)).collect();
    let began = Instant::now();
    assert!(is_refused(&exporter), "all places are taken");
    let mut burst: Vec<Peer> = Vec::new();
    eventually("a place is free again", || {
        // Each change has many events, which fill the buffers.
        burst = if burst.is_empty() { hoard(&server, "burst", 100) } else { Vec::new() };
        pause(SECOND / 4);
        (!is_refused(&exporter)).then_some(())
    });
    let dropped = began.elapsed();
    // Not only one of them was dropped.
    eventually("many places are free", || {
        let more: Vec<_> = (0..MAX_STREAMS / 2).map(|_| read(&exporter)).collect();
        more.iter().all(|statuses| statuses.recv_timeout(5 * SECOND).is_ok()).then_some(())
    });
    while statuses.try_recv().is_ok() {}
    statuses.recv_timeout(PATIENCE).expect("the stream that is read continues");
    Some(about(dropped, 30))
}

pub(crate) fn handshakes() -> Option<String> {
    let certificates = Certificates::new();
    let file = certificates.path("web.yml");
    std::fs::write(&file, "tls_server_config: {cert_file: server.crt, key_file: server.key}").expect("a file");
    let file = format!("--web.config.file={}", file.display());
    let exporter = Exporter::start(&["127.0.0.1:1"], &[&file], &[]);
    let began = Instant::now();
    let mut stream = connect(&exporter.address).expect("a connection");
    stream.write_all(&[22, 3, 1, 2, 0]).expect("the beginning of a handshake");
    let _ = stream.read_to_end(&mut Vec::new());
    Some(about(began.elapsed(), 10))
}
