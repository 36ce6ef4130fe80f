//! Event streams whose client does not read: they are dropped, which frees places for others.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::server::{Server, any_binary};
use crate::support::{PATIENCE, eventually, pause};

/// The maximum number of streams (ARCHITECTURE: bounds).
const MAX_STREAMS: usize = 200;

/// The time limit for a write that makes no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that open and close at once, so that each change has many events.
const BURST: usize = 100;

const REQUEST: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The maximum segment size of a stream that is not read, in bytes. A small one keeps the kernel's buffers small.
const SEGMENT: u32 = 536;

/// Requests a stream, and reads none of it.
fn unread(exporter: &Exporter) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    socket.set_tcp_mss(SEGMENT).expect("small segments");
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

/// Reads a stream until it ends, and reports the time of each `status` event.
fn read(exporter: &Exporter) -> std::sync::mpsc::Receiver<Instant> {
    let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
    stream.write_all(REQUEST).expect("the request is sent");
    let (sender, statuses) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter(|line| line == "event: status").try_for_each(|_| sender.send(Instant::now()))
    });
    statuses
}

/// Clients that connect and close repeatedly until this is dropped.
struct Bursts(Arc<AtomicBool>);

impl Bursts {
    fn to(server: &Server) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), server.address());
        let is_stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                let clients: Vec<_> = (0..BURST).map_while(|_| Peer::try_connect(&address).ok()).collect();
                pause(Duration::from_millis(300));
                drop(clients);
                pause(Duration::from_millis(300));
            }
        });
        Self(stop)
    }
}

impl Drop for Bursts {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_stream_that_is_not_read_is_dropped_and_frees_a_place() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let exporter = Exporter::start(&[&server.address()], &["--sample.max-load=50%"], &[]);
    let statuses = read(&exporter);
    statuses.recv_timeout(PATIENCE).expect("a first status");
    let unread: Vec<_> = (1..MAX_STREAMS).map(|_| unread(&exporter)).collect();
    let began = Instant::now();
    assert!(refused(&exporter), "all places are taken");
    let bursts = Bursts::to(&server);
    eventually("a place is free again", WRITE_TIMEOUT + PATIENCE, || (!refused(&exporter)).then_some(()));
    let dropped = began.elapsed();
    assert!(dropped >= WRITE_TIMEOUT, "a slow client gets time, not only {dropped:?}");
    println!("dropped after {dropped:?}");
    // Not only one of them was dropped.
    eventually("many places are free", PATIENCE, || {
        let more: Vec<_> = (0..MAX_STREAMS / 2).map(|_| read(&exporter)).collect();
        more.iter().all(|statuses| statuses.recv_timeout(Duration::from_secs(5)).is_ok()).then_some(())
    });
    while statuses.try_recv().is_ok() {}
    statuses.recv_timeout(PATIENCE).expect("the stream that is read continues");
    drop((bursts, unread));
}

/// Returns true if a further stream is refused.
fn refused(exporter: &Exporter) -> bool {
    let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(REQUEST).expect("the request is sent");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.contains(" 503 ")
}
