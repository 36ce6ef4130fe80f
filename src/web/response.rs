//! Responses: the headers that all of them have, and the forms of an error.

use std::convert::Infallible;

use askama::Template;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The body of a response. It is complete when the response starts, except for event streams and exports.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The headers of every response: a page may load nothing from other sites, run no inline script and not be framed, and
/// no content type is guessed.
const ALWAYS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Makes a response with the given content type.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Makes a plain text response.
pub(super) fn sentence(status: StatusCode, sentence: &str) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    status: &'a str,
    sentence: &'a str,
}

/// Makes an error response in the form that the client accepts: a page for a browser, otherwise JSON.
pub(super) fn refusal(headers: &HeaderMap, status: StatusCode, sentence: &str) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let page = ErrorPage { status: status.canonical_reason().unwrap_or("Error"), sentence };
    match accept.contains("text/html").then(|| page.render()) {
        Some(Ok(html)) => answer(status, "text/html; charset=utf-8", html),
        Some(Err(_)) | None => error(status, sentence),
    }
}

/// Makes an error response in JSON: the status and a sentence.
pub(super) fn error(status: StatusCode, sentence: &str) -> Response<Body> {
    let body = serde_json::json!({ "status": status.as_u16(), "error": sentence });
    answer(status, "application/json", format!("{body}\n"))
}
