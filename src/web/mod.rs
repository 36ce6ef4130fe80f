//! The HTTP server: routes in, answers out. Reads the newest state of the nodes; never talks to one.

mod accept;
mod api;
mod assets;
mod auth;
mod client_trend;
mod events;
mod export;
mod exposition;
mod gzip;
mod health;
mod page_policy;
mod pages;
mod query;
mod response;
mod response_cache;
mod route;
mod self_metrics;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::latest::Latest;
use auth::Authenticator;
use client_trend::ClientTrends;
use events::MAX_STREAMS;
use export::MAX_EXPORTS;
use exposition::Exposition;
use response_cache::ResponseCache;
use self_metrics::SelfMetrics;

pub use page_policy::PagePolicy;
pub use settings::{ConfigFile, WebSettings};

/// What is served, and to whom.
#[derive(Debug)]
pub struct Served {
    /// The nodes.
    pub latest: Arc<Latest>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Where browsers find the pages.
    pub external_url: String,
    /// Who may see pages and the API.
    pub pages: PagePolicy,
    /// TLS, users and headers.
    pub settings: watch::Receiver<Arc<WebSettings>>,
    /// Whether the operator's files make sense.
    pub validity: Validity,
}

/// Whether the operator's files made sense when they were read last; `None` where there is no such file.
#[derive(Debug, Default)]
pub struct Validity {
    /// `--group.file`.
    pub groups: Option<Arc<AtomicBool>>,
    /// `--web.config.file`.
    pub web_config: Option<Arc<AtomicBool>>,
}

/// What the routes are served from.
#[derive(Debug)]
struct WebState {
    latest: Arc<Latest>,
    telemetry_path: String,
    pages: PagePolicy,
    /// Room for streams of events, and for lists of all clients.
    streams: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    exposition: Exposition,
    renderings: ResponseCache,
    trails: ClientTrends,
    own: SelfMetrics,
    /// Another one at each start of the program, so that no browser takes an old page for a new one.
    started: u64,
    settings: watch::Receiver<Arc<WebSettings>>,
    access: Arc<Authenticator>,
}

impl WebState {
    fn new(served: Served) -> Self {
        Self {
            latest: served.latest,
            telemetry_path: served.telemetry_path,
            pages: served.pages,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            exposition: Exposition::default(),
            renderings: ResponseCache::default(),
            trails: ClientTrends::default(),
            own: SelfMetrics::new(&served.external_url, served.validity),
            started: rand::random(),
            settings: served.settings,
            access: Authenticator::new(),
        }
    }
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
    pub async fn serve(self, served: Served, stop: CancellationToken) {
        let app = Arc::new(WebState::new(served));
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

/// What the tests of routes stand on.
#[cfg(test)]
mod fixture {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::latest::NodeState;
    use crate::view::fixture::view;

    /// One node with one client, served to this machine.
    pub(super) fn app() -> WebState {
        let latest = Latest::new(["node:1".into()]);
        let node = view(1, Instant::now() + Duration::from_secs(60)).nodes[0].clone();
        latest.publish(0, NodeState::clone(&node));
        WebState::new(Served {
            latest: Arc::new(latest),
            telemetry_path: "/metrics".to_owned(),
            external_url: "http://localhost:19121".to_owned(),
            pages: PagePolicy::Auto,
            settings: watch::channel(Arc::default()).1,
            validity: Validity::default(),
        })
    }
}
