//! Streams of events whose reader does not read: they are dropped, and make room for others.

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

/// The most streams (ARCHITECTURE: bounds).
const MAX_STREAMS: usize = 200;

/// How long a peer may leave a write without progress.
const STALLED: Duration = Duration::from_secs(30);

/// Who comes and goes at once, so that each change has much to tell.
const VISITORS: usize = 100;

const REQUEST: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The largest segment of a stream that is not read, in bytes: one that is small keeps small what the kernel holds for it.
const SEGMENT: u32 = 536;

/// Asks for a stream, and reads nothing of it.
fn unread(exporter: &Exporter) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    socket.set_tcp_mss(SEGMENT).expect("small segments");
    let address: SocketAddr = exporter.address.parse().expect("an address");
    socket.connect(&address.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    (&stream).write_all(REQUEST).expect("it is asked");
    let mut answer = [0; 12];
    stream.peek(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

/// Reads a stream until it ends; counts the states it told.
fn read(exporter: &Exporter) -> std::sync::mpsc::Receiver<Instant> {
    let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
    stream.write_all(REQUEST).expect("it is asked");
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter(|line| line == "event: status").try_for_each(|_| sender.send(Instant::now()))
    });
    told
}

/// Clients that come and go until this is dropped.
struct Visitors(Arc<AtomicBool>);

impl Visitors {
    fn to(server: &Server) -> Self {
        let (over, address) = (Arc::new(AtomicBool::new(false)), server.address());
        let is_over = Arc::clone(&over);
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let visitors: Vec<_> = (0..VISITORS).map_while(|_| Peer::try_connect(&address).ok()).collect();
                pause(Duration::from_millis(300));
                drop(visitors);
                pause(Duration::from_millis(300));
            }
        });
        Self(over)
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_stream_that_nobody_reads_makes_room_for_another() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let exporter = Exporter::start(&[&server.address()], &["--sample.max-load=50%"], &[]);
    let told = read(&exporter);
    told.recv_timeout(PATIENCE).expect("it is told the state");
    let unread: Vec<_> = (1..MAX_STREAMS).map(|_| unread(&exporter)).collect();
    let began = Instant::now();
    assert!(refused(&exporter), "all are taken");
    let visitors = Visitors::to(&server);
    eventually("there is room again", STALLED + PATIENCE, || (!refused(&exporter)).then_some(()));
    let dropped = began.elapsed();
    assert!(dropped >= STALLED, "who is slow is given time, not {dropped:?}");
    println!("dropped after {dropped:?}");
    // Not one of them only.
    eventually("there is much room", PATIENCE, || {
        let more: Vec<_> = (0..MAX_STREAMS / 2).map(|_| read(&exporter)).collect();
        more.iter().all(|told| told.recv_timeout(Duration::from_secs(5)).is_ok()).then_some(())
    });
    while told.try_recv().is_ok() {}
    told.recv_timeout(PATIENCE).expect("who reads is told on");
    drop((visitors, unread));
}

/// Whether no stream is to be had.
fn refused(exporter: &Exporter) -> bool {
    let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(REQUEST).expect("it is asked");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.contains(" 503 ")
}
