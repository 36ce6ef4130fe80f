//! Routes: authentication, access, and the handler of each path.

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tracing::debug;

use super::api::Call;
use super::auth::{BasicCredentials, Peer};
use super::export::Lines;
use super::page_policy::has_several_hosts;
use super::pages::PageRoute;
use super::response::{self, Body};
use super::response_cache::Written;
use super::settings::WebSettings;
use super::slots::PeerNetwork;
use super::{WebState, api, assets, events, export, health, pages, service_discovery};
use crate::latest::Nodes;

/// A route. Its label is the one of the request counter, so that a requested path never becomes a label value.
#[derive(Clone, Copy)]
enum Route<'a> {
    Page(PageRoute<'a>),
    Api(Call<'a>),
    /// All matching clients, one per line.
    Export(Lines),
    Events,
    Metrics,
    ServiceDiscovery,
    Healthy,
    Ready,
    Asset(&'static assets::Asset),
    Unknown,
}

impl<'a> Route<'a> {
    fn of(path: &'a str, telemetry_path: &str) -> Self {
        match path {
            _ if path == telemetry_path => Route::Metrics,
            "/" => Route::Page(PageRoute::Overview),
            "/clients" => Route::Page(PageRoute::Clients),
            "/apps" => Route::Page(PageRoute::Apps),
            "/closed" => Route::Page(PageRoute::Closed),
            "/api/v1/clients.csv" => Route::Export(Lines::Csv),
            "/api/v1/clients.ndjson" => Route::Export(Lines::Ndjson),
            "/api/v1/events" => Route::Events,
            "/api/v1/sd" => Route::ServiceDiscovery,
            "/-/healthy" | "/health" => Route::Healthy,
            "/-/ready" => Route::Ready,
            _ => {
                let client = path.strip_prefix("/clients/").map(|id| Route::Page(PageRoute::Client(id)));
                let call = || path.strip_prefix("/api/v1/").and_then(Call::of).map(Route::Api);
                let asset = || assets::find(path).map(Route::Asset);
                client.or_else(call).or_else(asset).unwrap_or(Route::Unknown)
            }
        }
    }

    fn label(self) -> &'static str {
        match self {
            Route::Page(_) => "page",
            Route::Api(_) | Route::Export(_) => "api",
            Route::Events => "events",
            Route::Metrics => "metrics",
            Route::ServiceDiscovery => "sd",
            Route::Healthy => "healthy",
            Route::Ready => "ready",
            Route::Asset(_) => "asset",
            Route::Unknown => "unknown",
        }
    }
}

/// Authenticates a request, answers it and counts it.
pub(super) async fn route<B: hyper::body::Body>(app: Arc<WebState>, request: Request<B>, peer: Peer) -> Response<Body> {
    let settings = Arc::clone(&app.settings.borrow());
    // No route reads a request body.
    let (request, body) = request.into_parts();
    let route = Route::of(request.uri.path(), &app.telemetry_path);
    let credentials = BasicCredentials::of(&request.headers);
    let mut response = match admit(&app, &settings, credentials, peer).await {
        Ok(peer) => answer(&app, route, &request, &peer).await,
        Err(refusal) => refusal,
    };
    settings.apply_headers(response.headers_mut());
    // An unread body would be parsed as the next request. A peer that is refused has no use for its connection.
    if !body.is_end_stream() || is_refusal(response.status()) || has_several_hosts(&request.headers) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    app.process_metrics.count_request(route.label(), response.status().as_str());
    response
}

/// Returns true if the status means that the peer has to come back with something else, or later.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Returns the peer with the result of its authentication, or the response that refuses it. This applies to every
/// route, as in the exporter-toolkit.
async fn admit(
    app: &WebState,
    settings: &WebSettings,
    credentials: Option<BasicCredentials>,
    peer: Peer,
) -> Result<Peer, Response<Body>> {
    if settings.limiter.as_ref().is_some_and(|limiter| !limiter.admits(Instant::now())) {
        return Err(response::error(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests; send fewer, or raise rate_limit in --web.config.file",
        ));
    }
    if settings.users.is_empty() {
        return Ok(peer);
    }
    if app.authenticator.admits(&settings.users, credentials).await {
        return Ok(Peer { authenticated: true, ..peer });
    }
    debug!(peer = %peer.address, "request without a valid user and password");
    let mut refusal =
        response::error(StatusCode::UNAUTHORIZED, "a valid user and password are required (basic authentication)");
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    Err(refusal)
}

/// The `WWW-Authenticate` header (RFC 7617).
const CHALLENGE: &str = "Basic realm=\"redis-client-exporter\", charset=\"UTF-8\"";

async fn answer(app: &WebState, route: Route<'_>, request: &Parts, peer: &Peer) -> Response<Body> {
    if has_several_hosts(&request.headers) {
        return response::error(StatusCode::BAD_REQUEST, "the request has several host headers; send one");
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        let mut response =
            response::error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed: this server is read-only");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if let Route::Page(_) | Route::Api(_) | Route::Export(_) | Route::Events = route
        && let Err(refusal) = app.pages.admit(*peer, request)
    {
        return *refusal;
    }
    let query = request.uri.query().unwrap_or_default();
    match route {
        Route::Page(page) => app.render(request, |nodes, now| pages::write(app, nodes, now, page, query)).await,
        Route::Api(call) => app.render(request, |nodes, now| api::write(nodes, now, call, query)).await,
        Route::Export(lines) => {
            tokio::task::block_in_place(|| export::answer(app, PeerNetwork::of(peer.address), lines, query))
        }
        // HEAD gets the headers only and must not start a stream.
        Route::Events if request.method == Method::HEAD => response::answer(StatusCode::OK, "text/event-stream", ""),
        Route::Events => events::answer(app, PeerNetwork::of(peer.address), query),
        Route::Metrics => app.metrics.answer(app, &request.headers, query),
        Route::ServiceDiscovery => service_discovery::answer(app, request, query),
        Route::Healthy => health::healthy(),
        Route::Ready => health::ready(&app.latest.read(), &app.was_ready),
        Route::Asset(asset) => asset.answer(&request.headers),
        Route::Unknown => {
            let sentence = "there is nothing at this path; start at /";
            response::refusal(&request.headers, StatusCode::NOT_FOUND, sentence)
        }
    }
}

impl WebState {
    /// Answers with a rendering of the latest state of the nodes, which all requests for the same target share.
    pub(super) async fn render(
        &self,
        request: &Parts,
        write: impl FnOnce(&Nodes, Instant) -> Written,
    ) -> Response<Body> {
        let (nodes, now) = (self.latest.read(), Instant::now());
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let state = (self.run, &*nodes, now);
        self.response_cache.answer(state, target, &request.headers, || write(&nodes, now)).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use hyper::header::HeaderMap;

    use super::*;
    use crate::web::fixture::app;

    #[tokio::test]
    async fn a_peer_without_proof_is_not_authenticated() {
        let app = app();
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic YW5uOmE="));
        for authenticated in [false, true] {
            // With and without a certificate. Where no users are configured, a password proves nothing.
            let peer = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), authenticated };
            let found = admit(&app, &WebSettings::default(), BasicCredentials::of(&headers), peer).await;
            assert_eq!(found.map(|peer| peer.authenticated).ok(), Some(authenticated));
        }
        let hash = secrecy::SecretString::from(bcrypt::hash("a", 4).expect("a hash"));
        let users = crate::web::settings::Users::new([("ann".to_owned(), hash)].into()).expect("a user");
        let mut settings = WebSettings::default();
        settings.users = users;
        let peer = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), authenticated: false };
        let found = admit(&app, &settings, BasicCredentials::of(&headers), peer).await;
        assert_eq!(found.map(|peer| peer.authenticated).ok(), Some(true));
        // A certificate does not replace a password.
        let peer = Peer { authenticated: true, ..peer };
        let refused = admit(&app, &settings, None, peer).await;
        assert_eq!(refused.err().map(|refusal| refusal.status()), Some(StatusCode::UNAUTHORIZED));
    }
}
