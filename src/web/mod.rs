//! The HTTP server: routes in, answers out. Reads the newest state of the nodes; never talks to one.

mod accept;
mod assets;
mod exposition;
mod gzip;
mod health;
mod landing;
mod own;
mod response;
mod route;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::latest::Latest;
use exposition::Exposition;
use own::Own;

/// What the routes are served from.
#[derive(Debug)]
struct App {
    latest: Arc<Latest>,
    telemetry_path: String,
    exposition: Exposition,
    own: Own,
}

/// Sockets that are bound and not served yet, so that a port in use is told before anything starts.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
}

impl Bound {
    /// Binds every address.
    ///
    /// # Errors
    /// The first address that cannot be bound, in a sentence.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, String> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let listener = listen(address).await.map_err(|error| {
                format!("cannot listen on {address} ({error}); choose another --web.listen-address")
            })?;
            listeners.push(listener);
        }
        Ok(Self { listeners })
    }

    /// The addresses, with the ports that were given for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `stop` is cancelled, then answers what has been asked and ends.
    ///
    /// `groups_valid` tells whether the operator's file of groups made sense when it was read last, if there is one.
    pub async fn serve(
        self,
        latest: Arc<Latest>,
        telemetry_path: String,
        groups_valid: Option<Arc<AtomicBool>>,
        stop: CancellationToken,
    ) {
        let own = Own::new(groups_valid);
        let app = Arc::new(App { latest, telemetry_path, exposition: Exposition::default(), own });
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            loops.spawn(accept::accept(listener, Arc::clone(&app), stop.clone()));
        }
        while loops.join_next().await.is_some() {}
    }
}

/// `[::]` takes IPv4 as well; where the machine has no IPv6, `0.0.0.0` is meant.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(EAFNOSUPPORT) => {
            match address {
                SocketAddr::V6(v6) if v6.ip().is_unspecified() => TcpListener::bind(("0.0.0.0", v6.port())).await,
                _ => Err(error),
            }
        }
        result => result,
    }
}

/// `asm-generic/errno.h`: address family not supported by protocol.
const EAFNOSUPPORT: i32 = 97;
