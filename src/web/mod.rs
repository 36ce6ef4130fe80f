//! The HTTP server. It answers from the latest state of the nodes and never connects to a node.

mod accept;
mod api;
mod assets;
mod auth;
mod client_trend;
mod events;
mod export;
mod gzip;
mod health;
mod metrics;
mod page_policy;
mod pages;
mod progress;
mod query;
mod response;
mod response_cache;
mod route;
mod service_discovery;
mod settings;
mod slots;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exposition::{ProcessMetrics, Validity};
use crate::latest::Latest;
use accept::ConnectionLimits;
use auth::Authenticator;
use client_trend::ClientTrends;
use events::MAX_STREAMS;
use export::MAX_EXPORTS;
use metrics::CachedMetrics;
use response_cache::ResponseCache;
use service_discovery::ServiceDiscovery;
use slots::Permits;

pub use page_policy::PagePolicy;
#[cfg(any(test, fuzzing))]
pub(crate) use query::check_query;
pub use settings::{ConfigFile, WebSettings};

/// The input of the web server: the data it serves, and the access rules.
#[derive(Debug)]
pub struct Served {
    /// The latest state of the nodes.
    pub latest: Arc<Latest>,
    /// The path of the metrics (`--web.telemetry-path`).
    pub telemetry_path: String,
    /// The URL under which browsers reach the pages (`--web.external-url`).
    pub external_url: String,
    /// The URL under which the exporter is scraped, if the operator gave one (`--web.external-url`).
    pub scrape_url: Option<String>,
    /// The access rule of pages and the API (`--web.pages`).
    pub pages: PagePolicy,
    /// True if the certificates of servers are not verified (`--redis.tls-insecure-skip-verify`).
    pub insecure_skip_verify: Arc<AtomicBool>,
    /// The settings of `--web.config.file`: TLS, users, headers and the rate limit.
    pub settings: watch::Receiver<Arc<WebSettings>>,
    /// The validity of the operator's files.
    pub validity: Validity,
}

/// The state that all routes share.
#[derive(Debug)]
struct WebState {
    latest: Arc<Latest>,
    telemetry_path: String,
    pages: PagePolicy,
    /// Permits for event streams.
    streams: Arc<Permits>,
    /// Permits for exports of all clients.
    exports: Arc<Permits>,
    metrics: CachedMetrics,
    service_discovery: ServiceDiscovery,
    response_cache: ResponseCache,
    client_trends: ClientTrends,
    process_metrics: ProcessMetrics,
    /// True once the readiness probe has succeeded.
    was_ready: AtomicBool,
    /// A random number for this run. It is part of each ETag, so that a page cached from an earlier run never matches.
    run: u64,
    settings: watch::Receiver<Arc<WebSettings>>,
    authenticator: Arc<Authenticator>,
}

impl WebState {
    fn new(served: Served) -> Self {
        Self {
            latest: served.latest,
            service_discovery: ServiceDiscovery::new(served.scrape_url.as_deref(), &served.telemetry_path),
            telemetry_path: served.telemetry_path,
            pages: served.pages,
            streams: Permits::new(MAX_STREAMS, MAX_STREAMS / 2),
            exports: Permits::new(MAX_EXPORTS, MAX_EXPORTS / 2),
            metrics: CachedMetrics::default(),
            response_cache: ResponseCache::default(),
            client_trends: ClientTrends::default(),
            process_metrics: ProcessMetrics::new(&served.external_url, served.insecure_skip_verify, served.validity),
            was_ready: AtomicBool::new(false),
            run: rand::random(),
            settings: served.settings,
            authenticator: Authenticator::new(),
        }
    }
}

/// Sockets that are bound but not served yet, so that a port in use is reported before anything starts.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
}

impl Bound {
    /// Binds every address.
    ///
    /// # Errors
    /// Names the first address that cannot be bound, and the flag to change.
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

    /// Returns the bound addresses, with the actual port where port 0 was requested.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `stop` is cancelled, then finishes the requests in progress and returns.
    pub async fn serve(self, served: Served, stop: CancellationToken) {
        let app = Arc::new(WebState::new(served));
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            let limits = ConnectionLimits::default();
            loops.spawn(accept::accept(listener, Arc::clone(&app), limits, stop.clone()));
        }
        while loops.join_next().await.is_some() {}
    }
}

/// Binds one address. `[::]` also accepts IPv4; on a machine without IPv6, `0.0.0.0` is bound instead.
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

/// Address family not supported by protocol (`asm-generic/errno.h`).
const EAFNOSUPPORT: i32 = 97;

/// The fixture of the route tests.
#[cfg(test)]
mod fixture {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::view::fixture::view;

    /// Returns the state of a server with one node that has one client, for requests from this machine.
    pub(super) fn app() -> WebState {
        let (latest, now) = (Latest::default(), jiff::Timestamp::UNIX_EPOCH);
        let id = latest.add("node:1".into(), None, now).expect("the first node");
        let nodes = view(1, Instant::now() + Duration::from_secs(60));
        latest.publish(id, nodes.iter().next().expect("one node").clone(), now);
        WebState::new(Served {
            latest: Arc::new(latest),
            telemetry_path: "/metrics".to_owned(),
            external_url: "http://localhost:19121".to_owned(),
            scrape_url: None,
            pages: PagePolicy::Auto,
            insecure_skip_verify: Arc::default(),
            settings: watch::channel(Arc::default()).1,
            validity: Validity::default(),
        })
    }
}
