//! The liveness and readiness probes.

use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Response, StatusCode};

use super::response::{self, Body};
use crate::latest::Nodes;

/// The liveness probe: always healthy, as the process can respond.
pub(super) fn healthy() -> Response<Body> {
    response::sentence(StatusCode::OK, "healthy")
}

/// The readiness probe: ready after the first attempt to sample each node of the start, failed or not. An exporter must
/// stay in service to report a server that is down, and when a node appears later. `once` remembers that it was ready.
pub(super) fn ready(view: &Nodes, once: &AtomicBool) -> Response<Body> {
    if once.load(Ordering::Relaxed) || view.all_attempted() {
        once.store(true, Ordering::Relaxed);
        response::sentence(StatusCode::OK, "ready")
    } else {
        response::sentence(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the first sample of a node is still in progress; try again in a few seconds",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use jiff::Timestamp;

    use super::*;
    use crate::latest::NodeState;
    use crate::view::fixture::view;

    #[test]
    fn a_node_that_appears_later_does_not_take_the_exporter_out_of_service() {
        let once = AtomicBool::new(false);
        let starting = || Nodes::new(1, Timestamp::UNIX_EPOCH, [NodeState::starting("node:2".into())]);
        assert_eq!(ready(&starting(), &once).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready(&view(2, Instant::now() + Duration::from_secs(9)), &once).status(), StatusCode::OK);
        assert_eq!(ready(&starting(), &once).status(), StatusCode::OK);
    }
}
