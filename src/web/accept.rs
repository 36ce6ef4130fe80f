//! The accept loop, and one task per connection, each with time limits. The loop neither ends nor spins on an error.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::WebState;
use super::auth::Peer;
use super::response::{self, Body};
use super::route::route;
use super::settings::Tls;

/// The maximum number of connections that a listener serves at once. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;

/// The time limit for a request's head, and so for an idle connection. It is longer than a scrape interval of 15 s, so
/// that Prometheus can reuse its connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The time limit for a write that makes no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The time limit for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The first byte of a TLS connection: the type of a handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The pause after a failed accept (out of file descriptors, for example), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The time limit for responses in progress after `stop` is cancelled.
const DRAIN: Duration = Duration::from_secs(5);

/// The maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Accepts and serves connections until `stop` is cancelled, then waits up to [`DRAIN`] for those in progress.
pub(super) async fn accept(listener: TcpListener, app: Arc<WebState>, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &free) => accepted,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                app.process_metrics.count_accept_error();
                if !failing {
                    warn!(%error, "cannot accept HTTP connections; retrying until it works");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        connections.spawn(serve(stream, address, permit, Arc::clone(&app), stop.clone()));
    }
    drop(listener);
    connections.close();
    // Connections that are still open after that end with the program.
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

/// Waits for a free slot, then for the next connection.
async fn next(listener: &TcpListener, free: &Arc<Semaphore>) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, address) = listener.accept().await?;
    Ok((stream, address.ip().to_canonical(), permit))
}

/// Serves one connection until the peer closes it, a time limit passes or `stop` is cancelled. Dropping the permit
/// frees the slot.
async fn serve(
    stream: TcpStream,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
    app: Arc<WebState>,
    stop: CancellationToken,
) {
    // Each response is one write, so there is nothing to coalesce. If this fails, responses are only slower.
    let _ = stream.set_nodelay(true);
    // The kernel buffers megabytes for a peer that does not read before a write blocks. This option bounds that time as
    // well.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT));
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
    let peer = Peer { address, authenticated: false };
    let Some(tls) = tls else {
        return serve_requests(bounded(stream), end, |request| route(Arc::clone(&app), request, peer)).await;
    };
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, &tls, peer)) => handshake,
        () = end.as_mut() => return,
    };
    match handshake {
        Ok(Ok(Handshake::Tls(stream, peer))) => {
            serve_requests(stream, end, |request| route(Arc::clone(&app), request, peer)).await;
        }
        Ok(Ok(Handshake::Plain(stream))) => serve_requests(stream, end, |_| std::future::ready(https_only())).await,
        Ok(Err(error)) => debug!(peer = %address, %error, "TLS handshake failed"),
        Err(_) => debug!(peer = %address, "TLS handshake not completed within {HANDSHAKE_TIMEOUT:?}"),
    }
}

type TimedStream = Pin<Box<TimeoutStream<TcpStream>>>;

fn bounded(stream: TcpStream) -> TimedStream {
    let mut stream = TimeoutStream::new(stream);
    // Reads need no time limit here: hyper limits the head, bodies are not read, and the reader of an event stream
    // sends nothing.
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}

/// The start of a connection to a TLS port.
enum Handshake {
    Tls(Box<TlsStream<TimedStream>>, Peer),
    /// The peer did not start a TLS handshake.
    Plain(TimedStream),
}

async fn handshake(stream: TcpStream, tls: &Tls, peer: Peer) -> io::Result<Handshake> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
        return Ok(Handshake::Plain(bounded(stream)));
    }
    let stream = TlsAcceptor::from(Arc::clone(&tls.config)).accept(bounded(stream)).await?;
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
async fn serve_requests<S, A, F>(stream: S, end: Pin<&mut impl Future<Output = ()>>, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // An error here is the peer's: nothing to report.
        _ = connection.as_mut() => return,
        () = end => connection.as_mut().graceful_shutdown(),
    }
    // The limit is for event streams, which have no end of their own.
    let _ = tokio::time::timeout(DRAIN, connection).await;
}
