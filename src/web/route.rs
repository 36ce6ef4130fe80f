//! Which request is answered by what.

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::response::{self, Body};
use super::{App, assets, health, landing};

/// A route, also the label of the request counter: a path from outside never becomes one.
#[derive(Clone, Copy)]
enum Route {
    Landing,
    Metrics,
    Healthy,
    Ready,
    Asset(&'static assets::Asset),
    Unknown,
}

impl Route {
    fn of(path: &str, telemetry_path: &str) -> Self {
        match path {
            _ if path == telemetry_path => Route::Metrics,
            "/" => Route::Landing,
            "/-/healthy" | "/health" => Route::Healthy,
            "/-/ready" => Route::Ready,
            _ => assets::find(path).map_or(Route::Unknown, Route::Asset),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Route::Landing => "landing",
            Route::Metrics => "metrics",
            Route::Healthy => "healthy",
            Route::Ready => "ready",
            Route::Asset(_) => "asset",
            Route::Unknown => "unknown",
        }
    }
}

/// Answers a request, and counts it.
pub(super) fn route<B: hyper::body::Body>(app: &App, request: &Request<B>) -> Response<Body> {
    let route = Route::of(request.uri().path(), &app.telemetry_path);
    let mut response = answer(app, route, request);
    // A body that is not read would be taken for the next request; nothing here wants one.
    if !request.body().is_end_stream() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    app.own.count_request(route.label(), response.status());
    response
}

fn answer<B>(app: &App, route: Route, request: &Request<B>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response =
            response::error(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered: nothing here changes anything");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match route {
        Route::Landing => landing::page(app),
        Route::Metrics => app.exposition.answer(app, request.headers()),
        Route::Healthy => health::healthy(),
        Route::Ready => health::ready(&app.latest.read()),
        Route::Asset(asset) => asset.answer(),
        Route::Unknown => response::error(StatusCode::NOT_FOUND, "there is no such page; see / for what there is"),
    }
}
