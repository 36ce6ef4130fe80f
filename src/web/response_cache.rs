//! What was written of one state of the nodes, kept until the next: those who look at the same page share it, and who has it
//! already is told so.

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

/// The most that is kept, in bytes of uncompressed text.
const MAX_BYTES: usize = 8 << 20;

/// The most renderings that are kept.
const MAX_RENDERINGS: usize = 64;

/// What is written: the type of its content, and the text; or why not.
pub(super) type Written = Result<(&'static str, String), (StatusCode, String)>;

/// A page or an answer of the API, and the same compressed.
type CachedResponse = Result<(&'static str, Part), (StatusCode, String)>;

/// The renderings of one state of the nodes.
#[derive(Debug)]
pub(super) struct ResponseCache {
    kept: Mutex<Kept>,
    /// One is written at a time: many at once would take much memory, and all threads that answer.
    turn: Semaphore,
}

impl Default for ResponseCache {
    fn default() -> Self {
        Self { kept: Mutex::default(), turn: Semaphore::new(1) }
    }
}

#[derive(Debug, Default)]
struct Kept {
    state: String,
    bytes: usize,
    renderings: HashMap<String, Arc<OnceLock<CachedResponse>>>,
}

impl ResponseCache {
    /// Answers a request for `target` (path and query) with what `write` writes of this state, unless it was written before.
    /// `started` is another one at each start of the program, so that no browser takes an old page for a new one.
    pub(super) async fn answer(
        &self,
        (started, nodes, now): (u64, &Nodes, Instant),
        target: &str,
        headers: &HeaderMap,
        write: impl FnOnce() -> Written,
    ) -> Response<Body> {
        let tag = tag(started, nodes, now, target);
        let state = state(nodes, now);
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return tagged(response::answer(StatusCode::NOT_MODIFIED, "text/plain", ""), &tag);
        }
        let place = self.place(&state, target);
        let rendering = match place.get() {
            Some(rendering) => rendering,
            None => {
                let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
                // Whoever had the turn before may have written it.
                place.get_or_init(|| tokio::task::block_in_place(|| self.written(&state, write)))
            }
        };
        match rendering {
            Ok((content_type, part)) => tagged(gzip::answer(StatusCode::OK, content_type, &[part], headers), &tag),
            Err((status, sentence)) => response::refusal(headers, *status, sentence),
        }
    }

    fn written(&self, state: &str, write: impl FnOnce() -> Written) -> CachedResponse {
        let rendering = write().map(|(content_type, text)| (content_type, Part::new(text)));
        self.add(state, rendering.as_ref().map_or_else(|(_, sentence)| sentence.len(), |(_, part)| part.len()));
        rendering
    }

    /// Where the rendering of a target is, or is to be: whoever comes second waits for the first.
    fn place(&self, state: &str, target: &str) -> Arc<OnceLock<CachedResponse>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.state != state || kept.renderings.len() >= MAX_RENDERINGS && !kept.renderings.contains_key(target) {
            *kept = Kept { state: state.to_owned(), ..Kept::default() };
        }
        Arc::clone(kept.renderings.entry(target.to_owned()).or_default())
    }

    fn add(&self, state: &str, bytes: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.state == state {
            kept.bytes += bytes;
            if kept.bytes > MAX_BYTES {
                *kept = Kept { state: state.to_owned(), ..Kept::default() };
            }
        }
    }
}

/// What is shown changes with the nodes, and when the last sample gets too old.
fn state(nodes: &Nodes, now: Instant) -> String {
    let fresh = nodes.nodes.iter().map(|node| if node.fresh_snapshot(now).is_some() { '1' } else { '0' });
    format!("{}-{}", nodes.generation, fresh.collect::<String>())
}

/// Weak: what is shown is the same, compressed or not.
fn tag(started: u64, nodes: &Nodes, now: Instant, target: &str) -> String {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    format!("W/\"{started:x}-{}-{:x}\"", state(nodes, now), hasher.finish())
}

fn tagged(mut response: Response<Body>, tag: &str) -> Response<Body> {
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

    /// How often a text of so many bytes was written for these targets, of these states.
    async fn written(states: &[(u64, &str)], bytes: usize) -> usize {
        let (renderings, now) = (ResponseCache::default(), Instant::now());
        let mut count = 0;
        for (generation, target) in states {
            let nodes = view(*generation, now + Duration::from_secs(9));
            let write = || {
                count += 1;
                Ok(("text/plain", "x".repeat(bytes)))
            };
            renderings.answer((1, &nodes, now), target, &HeaderMap::new(), write).await;
        }
        count
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_state_of_a_page_is_written_once() {
        assert_eq!(written(&[(1, "/"), (1, "/"), (1, "/apps"), (1, "/")], 1).await, 2);
        assert_eq!(written(&[(1, "/"), (2, "/"), (1, "/")], 1).await, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_kept_is_bounded() {
        assert_eq!(written(&[(1, "/"), (1, "/")], MAX_BYTES + 1).await, 2);
        let targets: Vec<String> = (0..MAX_RENDERINGS + 1).map(|n| format!("/{n}")).collect();
        let mut states: Vec<_> = targets.iter().map(|target| (1, target.as_str())).collect();
        states.push((1, "/0"));
        assert_eq!(written(&states, 1).await, MAX_RENDERINGS + 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_it_is_told_so_until_it_changes_or_gets_too_old() {
        let (renderings, now) = (ResponseCache::default(), Instant::now());
        let later = now + Duration::from_secs(9);
        let ask = async |generation, target: &str, now, headers: &HeaderMap| {
            let nodes = view(generation, later);
            let write = || Ok(("text/plain", "text".to_owned()));
            renderings.answer((1, &nodes, now), target, headers, write).await
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
