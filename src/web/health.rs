//! The liveness and readiness probes.

use hyper::{Response, StatusCode};

use super::response::{self, Body};
use crate::latest::Nodes;

/// The liveness probe: always healthy, as the process can respond.
pub(super) fn healthy() -> Response<Body> {
    response::sentence(StatusCode::OK, "healthy")
}

/// The readiness probe: ready after the first attempt to sample each node, failed or not. An exporter must stay in
/// service to report a server that is down.
pub(super) fn ready(view: &Nodes) -> Response<Body> {
    if view.all_attempted() {
        response::sentence(StatusCode::OK, "ready")
    } else {
        response::sentence(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the first sample of a node is still in progress; try again in a few seconds",
        )
    }
}
