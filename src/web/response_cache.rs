//! The cache of rendered pages and API responses, valid for one state of the nodes. Clients that request the same
//! target share a rendering, and a client that has it already gets 304.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::Semaphore;

use super::gzip::{self, Part};
use super::response::{self, Body};
use crate::latest::Nodes;

/// The maximum size of all renderings, in bytes of uncompressed text.
const MAX_BYTES: usize = 8 << 20;

/// The maximum number of renderings.
const MAX_RENDERINGS: usize = 64;

/// The result of rendering: the content type and the text, or the status and sentence of an error.
pub(super) type Written = Result<(&'static str, String), (StatusCode, String)>;

/// A rendering, and its compressed form once requested.
type CachedResponse = Result<(&'static str, Part), (StatusCode, String)>;

/// The renderings of one state of the nodes.
#[derive(Debug)]
pub(super) struct ResponseCache {
    entries: Mutex<Entries>,
    /// One rendering is made at a time. Many at once would need much memory and occupy all worker threads.
    rendering: Semaphore,
}

impl Default for ResponseCache {
    fn default() -> Self {
        Self { entries: Mutex::default(), rendering: Semaphore::new(1) }
    }
}

#[derive(Debug, Default)]
struct Entries {
    state: String,
    bytes: usize,
    by_target: HashMap<String, Arc<OnceLock<CachedResponse>>>,
}

impl ResponseCache {
    /// Answers a request for `target` (path and query). `render` is called only if the target has no rendering of this
    /// state. `run` differs for each run of the program, so that a browser's copy from an earlier run never matches.
    pub(super) async fn answer(
        &self,
        (run, nodes, now): (u64, &Nodes, Instant),
        target: &str,
        headers: &HeaderMap,
        render: impl FnOnce() -> Written,
    ) -> Response<Body> {
        let tag = tag(run, nodes, now, target);
        let state = state(nodes, now);
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return with_tag(response::answer(StatusCode::NOT_MODIFIED, "text/plain", ""), &tag);
        }
        let entry = self.entry(&state, target);
        let rendering = match entry.get() {
            Some(rendering) => rendering,
            None => {
                let _permit = self.rendering.acquire().await.expect("the semaphore is never closed");
                // Another request may have rendered it in the meantime.
                entry.get_or_init(|| tokio::task::block_in_place(|| self.render(&state, render)))
            }
        };
        match rendering {
            Ok((content_type, part)) => with_tag(gzip::answer(StatusCode::OK, content_type, &[part], headers), &tag),
            Err((status, sentence)) => response::refusal(headers, *status, sentence),
        }
    }

    fn render(&self, state: &str, render: impl FnOnce() -> Written) -> CachedResponse {
        let rendering = render().map(|(content_type, text)| (content_type, Part::new(text)));
        self.add_size(state, rendering.as_ref().map_or_else(|(_, sentence)| sentence.len(), |(_, part)| part.len()));
        rendering
    }

    /// Returns the cache entry of a target, which may be empty. Of concurrent requests for it, the first renders and
    /// the others wait.
    fn entry(&self, state: &str, target: &str) -> Arc<OnceLock<CachedResponse>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.state != state
            || entries.by_target.len() >= MAX_RENDERINGS && !entries.by_target.contains_key(target)
        {
            *entries = Entries { state: state.to_owned(), ..Entries::default() };
        }
        Arc::clone(entries.by_target.entry(target.to_owned()).or_default())
    }

    fn add_size(&self, state: &str, bytes: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.state == state {
            entries.bytes += bytes;
            if entries.bytes > MAX_BYTES {
                *entries = Entries { state: state.to_owned(), ..Entries::default() };
            }
        }
    }
}

/// The state that renderings depend on: the generation of the nodes' state, and which nodes have a fresh sample.
fn state(nodes: &Nodes, now: Instant) -> String {
    let fresh = nodes.fresh(now).map(|is_fresh| if is_fresh { '1' } else { '0' });
    format!("{}-{}", nodes.generation(), fresh.collect::<String>())
}

/// The ETag of a rendering. It is weak, because the compressed and the uncompressed body share it.
fn tag(run: u64, nodes: &Nodes, now: Instant, target: &str) -> String {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    format!("W/\"{run:x}-{}-{:x}\"", state(nodes, now), hasher.finish())
}

fn with_tag(mut response: Response<Body>, tag: &str) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::view::fixture::view;

    /// Requests each of these targets in these states, and returns how often a text of this size was rendered.
    async fn times_rendered(states: &[(u64, &str)], bytes: usize) -> usize {
        let (cache, now) = (ResponseCache::default(), Instant::now());
        let mut count = 0;
        for (generation, target) in states {
            let nodes = view(*generation, now + Duration::from_secs(9));
            let render = || {
                count += 1;
                Ok(("text/plain", "x".repeat(bytes)))
            };
            cache.answer((1, &nodes, now), target, &HeaderMap::new(), render).await;
        }
        count
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_is_rendered_once_per_state() {
        assert_eq!(times_rendered(&[(1, "/"), (1, "/"), (1, "/apps"), (1, "/")], 1).await, 2);
        assert_eq!(times_rendered(&[(1, "/"), (2, "/"), (1, "/")], 1).await, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_cache_is_bounded() {
        assert_eq!(times_rendered(&[(1, "/"), (1, "/")], MAX_BYTES + 1).await, 2);
        let targets: Vec<String> = (0..MAX_RENDERINGS + 1).map(|n| format!("/{n}")).collect();
        let mut states: Vec<_> = targets.iter().map(|target| (1, target.as_str())).collect();
        states.push((1, "/0"));
        assert_eq!(times_rendered(&states, 1).await, MAX_RENDERINGS + 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_known_rendering_is_not_modified_until_the_state_changes_or_a_sample_becomes_stale() {
        let (cache, now) = (ResponseCache::default(), Instant::now());
        let later = now + Duration::from_secs(9);
        let ask = async |generation, target: &str, now, headers: &HeaderMap| {
            let nodes = view(generation, later);
            let render = || Ok(("text/plain", "text".to_owned()));
            cache.answer((1, &nodes, now), target, headers, render).await
        };
        let first = ask(1, "/", now, &HeaderMap::new()).await;
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(ask(1, "/", now, &headers).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(1, "/", later, &headers).await.status(), StatusCode::OK);
        assert_eq!(ask(2, "/", now, &headers).await.status(), StatusCode::OK);
        assert_eq!(ask(1, "/apps", now, &headers).await.status(), StatusCode::OK);
    }
}
