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
mod tests;
