//! `/metrics`. What tells of clients is written, and compressed, once a state of the nodes and not once a scrape; what
//! tells of this process is added at the scrape.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};

use super::WebState;
use super::gzip::{self, Part};
use super::response::Body;
use crate::latest::Nodes;
use crate::view::metrics;

/// The written metrics of the nodes, kept until the nodes' state changes.
#[derive(Debug, Default)]
pub(super) struct Exposition(Mutex<Option<(CacheKey, Arc<Part>)>>);

/// What the written metrics depend on: the state of the nodes, and which of them is too old to be shown.
#[derive(Debug, PartialEq, Eq)]
struct CacheKey {
    generation: u64,
    fresh: Vec<bool>,
    /// What was announced and heard: that is counted between two states.
    channel: u64,
}

impl Exposition {
    /// Answers a scrape.
    pub(super) fn answer(&self, app: &WebState, headers: &HeaderMap) -> Response<Body> {
        let nodes = self.nodes(&app.latest.read(), Instant::now());
        let own = Part::new(app.own.text());
        gzip::answer(StatusCode::OK, prometheus::TEXT_FORMAT, &[&nodes, &own], headers)
    }

    fn nodes(&self, view: &Nodes, now: Instant) -> Arc<Part> {
        let fresh = view.nodes.iter().map(|node| node.fresh_snapshot(now).is_some()).collect();
        let channel = view.nodes.iter().map(|node| node.channel.total()).sum();
        let key = CacheKey { generation: view.generation, fresh, channel };
        // Held while it is written, so that scrapes that come together write it once.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, part)) if *of == key => Arc::clone(part),
            _ => {
                let part = Arc::new(Part::new(metrics::text(view, now)));
                *kept = Some((key, Arc::clone(&part)));
                part
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::view::fixture::view as view_for_tests;

    #[test]
    fn nodes_are_written_once_a_state_and_again_when_it_gets_too_old() {
        let exposition = Exposition::default();
        let now = Instant::now();
        let view = view_for_tests(7, now + Duration::from_secs(60));
        let first = exposition.nodes(&view, now);
        assert!(Arc::ptr_eq(&first, &exposition.nodes(&view, now + Duration::from_secs(59))));
        let stale = exposition.nodes(&view, now + Duration::from_secs(60));
        assert!(!Arc::ptr_eq(&first, &stale));
        let next = view_for_tests(8, now + Duration::from_secs(60));
        assert!(!Arc::ptr_eq(&first, &exposition.nodes(&next, now)));
    }
}
