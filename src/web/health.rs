//! Whether this process is alive, and whether it has something to tell.

use hyper::{Response, StatusCode};

use super::response::{self, Body};
use crate::latest::Nodes;

/// Alive: we can answer.
pub(super) fn healthy() -> Response<Body> {
    response::sentence(StatusCode::OK, "healthy")
}

/// Ready after the first attempt on every node, whatever became of it: a server that is down must not take the exporter,
/// which tells so, out of service.
pub(super) fn ready(view: &Nodes) -> Response<Body> {
    if view.all_attempted() {
        response::sentence(StatusCode::OK, "ready")
    } else {
        response::sentence(StatusCode::SERVICE_UNAVAILABLE, "not ready: the first attempt to sample has not ended yet")
    }
}
