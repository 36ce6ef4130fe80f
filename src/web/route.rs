//! Which request is answered by what.

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::access::Peer;
use super::api::Call;
use super::pages::Page;
use super::response::{self, Body};
use super::{App, api, assets, events, health, pages};

/// A route, also the label of the request counter: a path from outside never becomes one.
#[derive(Clone, Copy)]
enum Route<'a> {
    Page(Page<'a>),
    Api(Call<'a>),
    Events,
    Metrics,
    Healthy,
    Ready,
    Asset(&'static assets::Asset),
    Unknown,
}

impl<'a> Route<'a> {
    fn of(path: &'a str, telemetry_path: &str) -> Self {
        match path {
            _ if path == telemetry_path => Route::Metrics,
            "/" => Route::Page(Page::Overview),
            "/clients" => Route::Page(Page::Clients),
            "/apps" => Route::Page(Page::Apps),
            "/closed" => Route::Page(Page::Closed),
            "/api/v1/events" => Route::Events,
            "/-/healthy" | "/health" => Route::Healthy,
            "/-/ready" => Route::Ready,
            _ => {
                let client = path.strip_prefix("/clients/").map(|id| Route::Page(Page::Client(id)));
                let call = || path.strip_prefix("/api/v1/").and_then(Call::of).map(Route::Api);
                let asset = || assets::find(path).map(Route::Asset);
                client.or_else(call).or_else(asset).unwrap_or(Route::Unknown)
            }
        }
    }

    fn label(self) -> &'static str {
        match self {
            Route::Page(_) => "page",
            Route::Api(_) => "api",
            Route::Events => "events",
            Route::Metrics => "metrics",
            Route::Healthy => "healthy",
            Route::Ready => "ready",
            Route::Asset(_) => "asset",
            Route::Unknown => "unknown",
        }
    }
}

/// Answers a request, and counts it.
pub(super) fn route<B: hyper::body::Body>(app: &App, peer: Peer, request: &Request<B>) -> Response<Body> {
    let route = Route::of(request.uri().path(), &app.telemetry_path);
    let mut response = answer(app, peer, route, request);
    // A body that is not read would be taken for the next request; nothing here wants one.
    if !request.body().is_end_stream() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    app.own.count_request(route.label(), response.status());
    response
}

fn answer<B>(app: &App, peer: Peer, route: Route<'_>, request: &Request<B>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response =
            response::error(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered: nothing here changes anything");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if let Route::Page(_) | Route::Api(_) | Route::Events = route
        && let Err(refusal) = app.pages.admit(peer, request.headers())
    {
        return *refusal;
    }
    let query = request.uri().query().unwrap_or_default();
    match route {
        Route::Page(page) => pages::answer(app, page, query, request.headers()),
        Route::Api(call) => api::answer(app, call, query),
        // To HEAD there is nothing to say but what it would be.
        Route::Events if request.method() == Method::HEAD => response::answer(StatusCode::OK, "text/event-stream", ""),
        Route::Events => events::answer(app),
        Route::Metrics => app.exposition.answer(app, request.headers()),
        Route::Healthy => health::healthy(),
        Route::Ready => health::ready(&app.latest.read()),
        Route::Asset(asset) => asset.answer(),
        Route::Unknown => response::error(StatusCode::NOT_FOUND, "there is no such page; see / for what there is"),
    }
}
