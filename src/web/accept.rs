//! Accepting connections and serving each within its bounds. The loop never ends on an error and never spins on one.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::App;
use super::access::Peer;
use super::route::route;

/// Connections a listener serves at once. The next ones wait in the kernel's queue until one ends.
const CONNECTIONS: usize = 256;

/// How long a request's head may take, and how long an idle connection is kept: over a scrape interval of 15 s.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer may leave a read or a write without any progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after an accept that failed, as when file descriptors have run out: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers that are under way may take once we were told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 16 * 1024;

/// Accepts and serves connections until `stop` is cancelled, then lets what is under way end.
pub(super) async fn accept(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &free) => accepted,
        };
        let (stream, peer, permit) = match accepted {
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
        connections.spawn(serve(stream, peer, permit, Arc::clone(&app), stop.clone()));
    }
    drop(listener);
    connections.close();
    // What has not ended by then is cut off with the program.
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

/// The next connection, once there is room for it.
async fn next(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Serves one connection until the peer leaves, stalls or we are told to stop; the permit makes room when it ends.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
    app: Arc<App>,
    stop: CancellationToken,
) {
    // Answers are one write each. Not being able to say so is no harm.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(STALL_TIMEOUT));
    stream.set_write_timeout(Some(STALL_TIMEOUT));
    let service = service_fn(|request| {
        let peer = Peer { address: peer.ip(), authenticated: false };
        let response = route(&app, peer, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // How a connection ends is its peer's affair.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // A stream of events would go on for ever.
    let _ = tokio::time::timeout(DRAIN, connection).await;
}
