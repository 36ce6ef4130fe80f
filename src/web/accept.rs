//! The accept loop, and one task per connection, each with time limits. The loop neither ends nor spins on an error. It
//! does not wait until a connection ends by a time limit: when there are many, one gives its slot to the next.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::WebState;
use super::auth::Peer;
use super::progress::{TrackedBody, TrackedStream};
use super::response::{self, Body};
use super::route::route;
use super::settings::Tls;
use super::slots::{Slot, SlotLimits, Slots, Stage};

/// The limits of connections. Tests choose shorter ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// The slots for connections that a listener serves at once.
    pub(super) slots: SlotLimits,
    /// The time limit for a request's head, and so for an idle connection.
    pub(super) head: Duration,
    /// The time limit for a write that makes no progress.
    pub(super) write: Duration,
    /// The time limit for a TLS handshake.
    pub(super) handshake: Duration,
    /// The time limit for responses in progress after the program was asked to stop.
    pub(super) drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            // One peer gets half of them. Slow but honest peers are not affected by the limit on silence, which applies
            // only while more than half of the slots are taken.
            slots: SlotLimits {
                slots: 256,
                slots_per_source: 128,
                silent: Duration::from_secs(2),
                grace: Duration::from_millis(500),
            },
            // Longer than a scrape interval of 15 s, so that Prometheus can reuse its connection.
            head: Duration::from_secs(20),
            write: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

/// The first byte of a TLS connection: the type of a handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The pause after a failed accept (out of file descriptors, for example), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The pause after a failed accept for which a connection has ended, which frees a descriptor.
const ACCEPT_PAUSE_FREED: Duration = Duration::from_millis(5);

/// The interval of checks for connections that are silent for too long.
const SILENCE_CHECK: Duration = Duration::from_millis(500);

/// The maximum number of sockets for each slot: a connection that gave way has its socket until its task has run.
const SOCKETS_PER_SLOT: usize = 2;

/// The maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Accepts and serves connections until `stop` is cancelled, then waits for those in progress.
pub(super) async fn accept(
    listener: TcpListener,
    app: Arc<WebState>,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let slots = Slots::new(limits.slots);
    let sockets = Arc::new(Semaphore::new(SOCKETS_PER_SLOT * limits.slots.slots));
    let connections = TaskTracker::new();
    let mut silence_check = tokio::time::interval(SILENCE_CHECK);
    silence_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            _ = silence_check.tick() => {
                app.process_metrics.count_dropped(Stage::Silent.label(), slots.end_silent(Instant::now()));
                continue;
            }
            accepted = next(&listener, &sockets) => accepted,
        };
        let (stream, address, socket) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                app.process_metrics.count_accept_error();
                if !failing {
                    warn!(%error, "cannot accept HTTP connections; retrying until it works");
                }
                failing = true;
                let freed = slots.free_one();
                count_dropped(&app, freed);
                tokio::time::sleep(if freed.is_some() { ACCEPT_PAUSE_FREED } else { ACCEPT_PAUSE }).await;
                continue;
            }
        };
        failing = false;
        let (slot, gave_way) = slots.take(address, Instant::now());
        count_dropped(&app, gave_way);
        let serving = serve(
            stream,
            Peer { address, authenticated: false },
            Arc::clone(&slot),
            Arc::clone(&app),
            limits,
            stop.clone(),
        );
        connections.spawn(async move {
            let _socket = socket;
            tokio::select! {
                () = slot.gives_way() => debug!(peer = %address, "connection closed to make room for others"),
                () = serving => {}
            }
        });
    }
    drop(listener);
    connections.close();
    // Connections that are still open after that end with the program.
    let _ = tokio::time::timeout(limits.drain, connections.wait()).await;
}

fn count_dropped(app: &WebState, gave_way: Option<Stage>) {
    if let Some(stage) = gave_way {
        app.process_metrics.count_dropped(stage.label(), 1);
    }
}

/// Waits until there may be another socket, then for the next connection. The first wait is short: a connection ends as
/// soon as its task runs, once it has given way.
async fn next(
    listener: &TcpListener,
    sockets: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let socket = Arc::clone(sockets).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, address) = listener.accept().await?;
    Ok((stream, address.ip().to_canonical(), socket))
}

/// Serves one connection until the peer closes it, a time limit passes or `stop` is cancelled.
async fn serve(
    stream: TcpStream,
    peer: Peer,
    slot: Arc<Slot>,
    app: Arc<WebState>,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    // Each response is one write, so there is nothing to coalesce. If this fails, responses are only slower.
    let _ = stream.set_nodelay(true);
    // The kernel buffers megabytes for a peer that does not read before a write blocks. This option bounds that time as
    // well.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(limits.write));
    let mut settings = app.settings.clone();
    let tls = settings.borrow_and_update().tls.clone();
    // A connection ends when the settings change: its peer was authenticated under the old ones and must reconnect.
    let end = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(()) = settings.changed() => {}
        }
    };
    let mut end = pin!(end);
    let Some(tls) = tls else {
        let stream = bounded(stream, limits.write);
        return serve_requests(stream, slot, limits, end, |request| route(Arc::clone(&app), request, peer)).await;
    };
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(limits.handshake, handshake(stream, limits.write, &tls, peer)) => handshake,
        () = end.as_mut() => return,
    };
    match handshake {
        Ok(Ok(Handshake::Tls(stream, peer))) => {
            serve_requests(stream, slot, limits, end, |request| route(Arc::clone(&app), request, peer)).await;
        }
        Ok(Ok(Handshake::Plain(stream))) => {
            serve_requests(stream, slot, limits, end, |_| std::future::ready(https_only())).await;
        }
        Ok(Err(error)) => debug!(peer = %peer.address, %error, "TLS handshake failed"),
        Err(_) => debug!(peer = %peer.address, "TLS handshake not completed within {:?}", limits.handshake),
    }
}

type TimedStream = Pin<Box<TimeoutStream<TcpStream>>>;

fn bounded(stream: TcpStream, write: Duration) -> TimedStream {
    let mut stream = TimeoutStream::new(stream);
    // Reads need no time limit here: hyper limits the head, bodies are not read, and the reader of an event stream
    // sends nothing.
    stream.set_write_timeout(Some(write));
    Box::pin(stream)
}

/// The start of a connection to a TLS port.
enum Handshake {
    Tls(Box<TlsStream<TimedStream>>, Peer),
    /// The peer did not start a TLS handshake.
    Plain(TimedStream),
}

async fn handshake(stream: TcpStream, write: Duration, tls: &Tls, peer: Peer) -> io::Result<Handshake> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
        return Ok(Handshake::Plain(bounded(stream, write)));
    }
    let stream = TlsAcceptor::from(Arc::clone(&tls.config)).accept(bounded(stream, write)).await?;
    let authenticated = tls.verifies_clients && stream.get_ref().1.peer_certificates().is_some();
    Ok(Handshake::Tls(Box::new(stream), Peer { authenticated, ..peer }))
}

/// The response to a plain HTTP request on a TLS port.
fn https_only() -> Response<Body> {
    let mut response = response::sentence(StatusCode::BAD_REQUEST, "this port accepts only TLS; use https://");
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers requests until the peer closes the connection or a time limit passes. After `end`, the request in progress
/// is answered and the connection closed.
async fn serve_requests<S, A, F>(
    stream: S,
    slot: Arc<Slot>,
    limits: ConnectionLimits,
    end: Pin<&mut impl Future<Output = ()>>,
    answer: A,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let stream = TrackedStream::new(stream, Arc::clone(&slot));
    let service = service_fn(|request| {
        slot.requested();
        let (answer, slot) = (answer(request), Arc::clone(&slot));
        async move { Ok::<_, Infallible>(answer.await.map(|body| TrackedBody::new(body, slot))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // An error here is the peer's: nothing to report.
        _ = connection.as_mut() => return,
        () = end => connection.as_mut().graceful_shutdown(),
    }
    // The limit is for event streams, which have no end of their own.
    let _ = tokio::time::timeout(limits.drain, connection).await;
}

#[cfg(test)]
mod tests {
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
}
