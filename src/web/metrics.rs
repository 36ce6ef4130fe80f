//! `/metrics`. The metrics of the nodes are written and compressed once per change of their state, not once per scrape.
//! The metrics of this process are added at each scrape.
//!
//! Many nodes are scraped apart: `redis=NODE` has the series of one node, `collect=exporter` all other series. Together
//! they are the series of a scrape without a parameter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};

use super::WebState;
use super::gzip::{self, Part};
use super::query::Query;
use super::response::{self, Body};
use crate::exposition::{TEXT_FORMAT, encode, fleet_families, node_families, text};
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
    pub(super) fn answer(&self, app: &WebState, headers: &HeaderMap, query: &str) -> Response<Body> {
        let (nodes, now) = (app.latest.read(), Instant::now());
        let refusal = |status, sentence: &str| response::refusal(headers, status, sentence);
        let mut query = match Query::of_scrape(query) {
            Ok(query) => query,
            Err(sentence) => return refusal(StatusCode::BAD_REQUEST, &sentence),
        };
        if let Err(sentence) = query.resolve_nodes(&nodes) {
            return refusal(StatusCode::NOT_FOUND, &sentence);
        }
        let selected = query.node.as_deref().and_then(|name| nodes.find(name));
        if let Some((_, node)) = selected {
            // It is scraped about once per state, so it is not cached.
            let node = Part::new(encode(&node_families(&nodes, Some(node), now)));
            return gzip::answer(StatusCode::OK, TEXT_FORMAT, &[&node], headers);
        }
        let own = Part::new(encode(&app.process_metrics.families()));
        let nodes = match query.is_of_exporter() {
            true => Arc::new(Part::new(encode(&fleet_families(&nodes, now)))),
            false => self.nodes(&nodes, now),
        };
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
                let part = Arc::new(Part::new(text(view, now)));
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
