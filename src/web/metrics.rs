//! `/metrics`. The metrics of the nodes are written and compressed once per change of their state, not once per scrape.
//! The metrics of this process are added at each scrape.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};

use super::WebState;
use super::gzip::{self, Part};
use super::response::Body;
use crate::exposition::{TEXT_FORMAT, encode, node_families};
use crate::latest::Nodes;

/// The metrics of the nodes in the text format, cached until the state of the nodes changes.
#[derive(Debug, Default)]
pub(super) struct CachedMetrics(Mutex<Option<(CacheKey, Arc<Part>)>>);

/// The state that the text depends on: the generation of the nodes' state, and which nodes have a fresh sample.
#[derive(Debug, PartialEq, Eq)]
struct CacheKey {
    generation: u64,
    fresh: Vec<bool>,
    /// The sum of the counters of announced, received and refused messages, which change between two generations.
    channel: u64,
}

impl CachedMetrics {
    /// Answers a scrape.
    pub(super) fn answer(&self, app: &WebState, headers: &HeaderMap) -> Response<Body> {
        let nodes = self.nodes(&app.latest.read(), Instant::now());
        let own = Part::new(encode(&app.process_metrics.families()));
        gzip::answer(StatusCode::OK, TEXT_FORMAT, &[&nodes, &own], headers)
    }

    fn nodes(&self, view: &Nodes, now: Instant) -> Arc<Part> {
        let fresh = view.fresh(now).collect();
        let channel = view.iter().map(|node| node.channel.total()).sum();
        let key = CacheKey { generation: view.generation(), fresh, channel };
        // The lock is held during writing, so that concurrent scrapes write the text once.
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((cached_key, part)) if *cached_key == key => Arc::clone(part),
            _ => {
                let part = Arc::new(Part::new(encode(&node_families(view, now))));
                *cached = Some((key, Arc::clone(&part)));
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
    fn the_text_is_written_once_per_state_and_again_when_a_sample_becomes_stale() {
        let metrics = CachedMetrics::default();
        let now = Instant::now();
        let view = view_for_tests(7, now + Duration::from_secs(60));
        let first = metrics.nodes(&view, now);
        assert!(Arc::ptr_eq(&first, &metrics.nodes(&view, now + Duration::from_secs(59))));
        let stale = metrics.nodes(&view, now + Duration::from_secs(60));
        assert!(!Arc::ptr_eq(&first, &stale));
        let next = view_for_tests(8, now + Duration::from_secs(60));
        assert!(!Arc::ptr_eq(&first, &metrics.nodes(&next, now)));
    }
}
