//! Accepting connections and serving each within its bounds. The loop never ends on an error and never spins on one.

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

/// Connections a listener serves at once. The next ones wait in the kernel's queue until one ends.
const CONNECTIONS: usize = 256;

/// How long a request's head may take, and how long an idle connection is kept: over a scrape interval of 15 s.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer may leave a write without any progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long shaking hands may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a TLS connection begins with: a record of the handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The pause after an accept that failed, as when file descriptors have run out: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers that are under way may take once we were told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Accepts and serves connections until `stop` is cancelled, then lets what is under way end.
pub(super) async fn accept(listener: TcpListener, app: Arc<WebState>, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
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
                app.own.accept_errors.inc();
                if !failing {
                    warn!(%error, "cannot accept HTTP connections; trying again until it works");
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
    // What has not ended by then is cut off with the program.
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

/// The next connection, once there is room for it.
async fn next(listener: &TcpListener, free: &Arc<Semaphore>) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, address) = listener.accept().await?;
    Ok((stream, address.ip().to_canonical(), permit))
}

/// Serves one connection until the peer leaves, stalls or we are told to stop; the permit makes room when it ends.
async fn serve(
    stream: TcpStream,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
    app: Arc<WebState>,
    stop: CancellationToken,
) {
    // Answers are one write each. Not being able to say so is no harm.
    let _ = stream.set_nodelay(true);
    // What is not read waits in the kernel, megabytes of it before we are kept from writing more: that counts as a stall, too.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALL_TIMEOUT));
    let mut settings = app.settings.clone();
    let tls = settings.borrow_and_update().tls.clone();
    // A connection does not outlive the settings it began under: who was let in by them has to come again.
    let end = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(()) = settings.changed() => {}
        }
    };
    let mut end = pin!(end);
    let peer = Peer { address, authenticated: false };
    let Some(tls) = tls else {
        return converse(bounded(stream), end, |request| route(Arc::clone(&app), request, peer)).await;
    };
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(HANDSHAKE_TIMEOUT, greet(stream, &tls, peer)) => greeted,
        () = end.as_mut() => return,
    };
    match greeted {
        Ok(Ok(Greeted::Tls(stream, peer))) => {
            converse(stream, end, |request| route(Arc::clone(&app), request, peer)).await;
        }
        Ok(Ok(Greeted::Plain(stream))) => converse(stream, end, |_| std::future::ready(https_only())).await,
        Ok(Err(error)) => debug!(peer = %address, %error, "no TLS handshake"),
        Err(_) => debug!(peer = %address, "no TLS handshake within {HANDSHAKE_TIMEOUT:?}"),
    }
}

type TimedStream = Pin<Box<TimeoutStream<TcpStream>>>;

fn bounded(stream: TcpStream) -> TimedStream {
    let mut stream = TimeoutStream::new(stream);
    // Reading needs no time-out of its own: a head has one, nothing is read of a body, and who only listens to a stream of events
    // has nothing to say.
    stream.set_write_timeout(Some(STALL_TIMEOUT));
    Box::pin(stream)
}

/// How a connection began that ought to speak TLS.
enum Greeted {
    Tls(Box<TlsStream<TimedStream>>, Peer),
    /// It did not.
    Plain(TimedStream),
}

async fn greet(stream: TcpStream, tls: &Tls, peer: Peer) -> io::Result<Greeted> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
        return Ok(Greeted::Plain(bounded(stream)));
    }
    let stream = TlsAcceptor::from(Arc::clone(&tls.config)).accept(bounded(stream)).await?;
    let authenticated = tls.verifies_clients && stream.get_ref().1.peer_certificates().is_some();
    Ok(Greeted::Tls(Box::new(stream), Peer { authenticated, ..peer }))
}

/// The answer to who takes a port that speaks TLS for one that does not.
fn https_only() -> Response<Body> {
    let mut response = response::sentence(StatusCode::BAD_REQUEST, "this port speaks TLS only; write https://");
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers requests until the peer leaves, stalls, or the end has come and what is under way is answered.
async fn converse<S, A, F>(stream: S, end: Pin<&mut impl Future<Output = ()>>, answer: A)
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
        // How a connection ends is its peer's affair.
        _ = connection.as_mut() => return,
        () = end => connection.as_mut().graceful_shutdown(),
    }
    // A stream of events would go on for ever.
    let _ = tokio::time::timeout(DRAIN, connection).await;
}
