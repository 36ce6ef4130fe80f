//! Connections that ask nothing, do not read or never end, against a server in this process.

use std::net::SocketAddr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::watch;

use super::*;
use crate::web::events::MAX_STREAMS;
use crate::web::fixture;
use crate::web::settings::{ConfigFile, WebSettings};

/// The time limit of a wait. Only a hang exceeds it.
const PATIENCE: Duration = Duration::from_secs(180);

/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(500);

/// Limits that no test reaches.
const LONG: ConnectionLimits = ConnectionLimits {
    slots: SlotLimits { slots: 256, slots_per_source: 256, silent: PATIENCE, grace: Duration::ZERO },
    head: PATIENCE,
    write: PATIENCE,
    handshake: PATIENCE,
    drain: PATIENCE,
};

const EVENTS: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A web server in this process.
struct WebServer {
    address: SocketAddr,
    app: Arc<WebState>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl WebServer {
    async fn start(app: WebState, limits: ConnectionLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, app, stop) =
            (listener.local_addr().expect("an address"), Arc::new(app), CancellationToken::new());
        let ended = tokio::spawn(accept(listener, Arc::clone(&app), limits, stop.clone()));
        Self { address, app, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Requests a page, and returns the first line of the response.
    async fn status(&self) -> String {
        let mut stream = self.connect().await;
        let request = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("a request");
        first_line(&mut stream).await
    }

    /// Publishes the state of the node again, which is an event for each stream.
    fn publish(&self) {
        let nodes = self.app.latest.read();
        let (id, node) = nodes.with_ids().next().expect("one node");
        self.app.latest.publish(id, node.clone(), nodes.changed_at());
    }

    /// The number of event streams that may be opened.
    fn free_streams(&self) -> usize {
        MAX_STREAMS - self.app.streams.taken()
    }
}

async fn first_line(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.expect("an answer");
    line.trim_end().to_owned()
}

/// Waits with a limit that only a hang exceeds.
async fn within_patience<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it ends")
}

/// Limits on the number of connections, all of one source, and none on time.
fn few(slots: usize) -> ConnectionLimits {
    ConnectionLimits { slots: SlotLimits { slots, slots_per_source: slots, ..LONG.slots }, ..LONG }
}

#[tokio::test]
async fn connections_that_ask_nothing_make_room_at_once_the_oldest_first() {
    let running = WebServer::start(fixture::app(), few(4)).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(running.connect().await);
    }
    // Each takes the slot of one of them, and none of them has a time limit that could pass.
    for _ in 0..3 {
        assert_eq!(within_patience(running.status()).await, "HTTP/1.1 200 OK");
        let oldest = within_patience(idle.remove(0).read_to_end(&mut Vec::new())).await;
        assert!(!matches!(oldest, Ok(1..)), "it is closed");
        idle.push(running.connect().await);
    }
}

#[tokio::test]
async fn connections_between_requests_and_those_that_are_not_read_make_room() {
    let running = WebServer::start(fixture::app(), few(4)).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a request");
        assert_eq!(within_patience(first_line(&mut stream)).await, "HTTP/1.1 200 OK");
        waiting.push(stream);
    }
    assert_eq!(within_patience(running.status()).await, "HTTP/1.1 200 OK");
    let mut unread = Vec::new();
    for _ in 0..4 {
        let mut stream = connect_to_never_read(running.address);
        stream.write_all(EVENTS).await.expect("a request");
        unread.push(stream);
    }
    assert_eq!(within_patience(running.status()).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_silent_connection_ends_soon_while_places_are_scarce() {
    let slots = SlotLimits { silent: SHORT, ..few(4).slots };
    let running = WebServer::start(fixture::app(), ConnectionLimits { slots, ..LONG }).await;
    let began = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(running.connect().await);
    }
    for stream in &mut streams[1..] {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.expect("the beginning of a request");
    }
    // Without it, places are no longer scarce.
    let _ = within_patience(streams[0].read_to_end(&mut Vec::new())).await;
    assert!((SHORT..PATIENCE).contains(&began.elapsed()), "the limit on heads is longer: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_continues_longer_than_every_limit_while_it_is_read() {
    let limits = ConnectionLimits { head: SHORT, write: SHORT, handshake: SHORT, drain: SHORT, ..LONG };
    let running = WebServer::start(fixture::app(), limits).await;
    let mut stream = running.connect().await;
    stream.write_all(EVENTS).await.expect("a request");
    let mut lines = BufReader::new(stream).lines();
    let began = Instant::now();
    let mut events = 0;
    while began.elapsed() < 3 * SHORT || events < 3 {
        let line = within_patience(lines.next_line()).await.expect("it continues").expect("it continues");
        if line == "event: status" {
            events += 1;
            tokio::time::sleep(SHORT / 10).await;
            running.publish();
        }
    }
}

/// Connects with buffers so small that few events fill them, and reads nothing.
fn connect_to_never_read(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    socket.set_tcp_mss(536).expect("small segments");
    socket.connect(&address.into()).expect("a connection");
    socket.set_nonblocking(true).expect("a socket");
    TcpStream::from_std(socket.into()).expect("a runtime")
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_dropped_and_frees_its_place() {
    let running = WebServer::start(fixture::app(), ConnectionLimits { write: SHORT, ..LONG }).await;
    let free = running.free_streams();
    let began = Instant::now();
    let mut unread = connect_to_never_read(running.address);
    unread.write_all(EVENTS).await.expect("a request");
    let mut seen_open = false;
    let dropped = async {
        while !seen_open || running.free_streams() < free {
            seen_open |= running.free_streams() < free;
            running.publish();
            tokio::task::yield_now().await;
        }
    };
    within_patience(dropped).await;
    assert!(began.elapsed() >= SHORT, "a slow reader is given time, not only {:?}", began.elapsed());
    assert_eq!(running.status().await, "HTTP/1.1 200 OK");
}

/// The settings of a configuration with a certificate.
fn encrypted() -> watch::Receiver<Arc<WebSettings>> {
    let folder = tempfile::tempdir().expect("a folder");
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    std::fs::write(folder.path().join("server.crt"), cert.pem()).expect("a file");
    std::fs::write(folder.path().join("server.key"), signing_key.serialize_pem()).expect("a file");
    let file = folder.path().join("web.yml");
    std::fs::write(&file, "tls_server_config: {cert_file: server.crt, key_file: server.key}").expect("a file");
    ConfigFile::read(&file).expect("it is valid").settings()
}

#[tokio::test]
async fn a_handshake_that_is_never_completed_is_aborted() {
    let app = WebState { settings: encrypted(), ..fixture::app() };
    let running = WebServer::start(app, ConnectionLimits { handshake: SHORT, ..LONG }).await;
    let began = Instant::now();
    let mut silent = running.connect().await;
    let mut begun = running.connect().await;
    begun.write_all(&[22, 3, 1, 2, 0]).await.expect("the beginning of a handshake");
    for stream in [&mut silent, &mut begun] {
        let _ = within_patience(stream.read_to_end(&mut Vec::new())).await;
    }
    assert!(began.elapsed() >= SHORT, "a slow peer is given time, not only {:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_that_is_never_completed_delays_the_end_no_longer_than_the_limit() {
    let running = WebServer::start(fixture::app(), ConnectionLimits { drain: SHORT, ..LONG }).await;
    let mut stream = running.connect().await;
    stream.write_all(EVENTS).await.expect("a request");
    assert_eq!(within_patience(first_line(&mut stream)).await, "HTTP/1.1 200 OK");
    let began = Instant::now();
    running.stop.cancel();
    within_patience(running.ended).await.expect("it does not panic");
    assert!(began.elapsed() >= SHORT, "a response in progress is given time, not only {:?}", began.elapsed());
}
