//! What was written of one state of the nodes, kept until the next: those who look at the same page share it, and who has it
//! already is told so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::gzip::{self, Part};
use super::response::{self, Body};
use crate::latest::Nodes;

/// The most that is kept, in bytes of uncompressed text.
const MOST_BYTES: usize = 8 << 20;

/// The most renderings that are kept.
const MOST_RENDERINGS: usize = 64;

/// What is written: the type of its content, and the text; or why not.
pub(super) type Written = Result<(&'static str, String), (StatusCode, String)>;

/// A page or an answer of the API, and the same compressed.
type Rendering = Result<(&'static str, Part), (StatusCode, String)>;

/// The renderings of one state of the nodes.
#[derive(Debug, Default)]
pub(super) struct Renderings(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    tag: String,
    bytes: usize,
    renderings: HashMap<String, Arc<OnceLock<Rendering>>>,
}

impl Renderings {
    /// Answers a request for `target` (path and query) with what `write` writes of this state, unless it was written before.
    /// `started` is another one at each start of the program, so that no browser takes an old page for a new one.
    pub(super) fn answer(
        &self,
        (started, nodes, now): (u64, &Nodes, Instant),
        target: &str,
        headers: &HeaderMap,
        write: impl FnOnce() -> Written,
    ) -> Response<Body> {
        let tag = tag(started, nodes, now);
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return tagged(response::answer(StatusCode::NOT_MODIFIED, "text/plain", ""), &tag);
        }
        let place = self.place(&tag, target);
        let mut is_new = false;
        let rendering = place.get_or_init(|| {
            is_new = true;
            write().map(|(content_type, text)| (content_type, Part::new(text)))
        });
        let (response, bytes) = match rendering {
            Ok((content_type, part)) => {
                (tagged(gzip::answer(StatusCode::OK, content_type, &[part], headers), &tag), part.len())
            }
            Err((status, sentence)) => (response::refusal(headers, *status, sentence), sentence.len()),
        };
        if is_new {
            self.add(&tag, bytes);
        }
        response
    }

    /// Where the rendering of a target is, or is to be: whoever comes second waits for the first.
    fn place(&self, tag: &str, target: &str) -> Arc<OnceLock<Rendering>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.tag != tag || kept.renderings.len() >= MOST_RENDERINGS && !kept.renderings.contains_key(target) {
            *kept = Kept { tag: tag.to_owned(), ..Kept::default() };
        }
        Arc::clone(kept.renderings.entry(target.to_owned()).or_default())
    }

    fn add(&self, tag: &str, bytes: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.tag == tag {
            kept.bytes += bytes;
            if kept.bytes > MOST_BYTES {
                *kept = Kept { tag: tag.to_owned(), ..Kept::default() };
            }
        }
    }
}

/// What is shown changes with the nodes, and when the last sample gets too old. Weak: it is the same, compressed or not.
fn tag(started: u64, nodes: &Nodes, now: Instant) -> String {
    let fresh = nodes.nodes.iter().map(|node| if node.fresh_snapshot(now).is_some() { '1' } else { '0' });
    format!("W/\"{started:x}-{}-{}\"", nodes.generation, fresh.collect::<String>())
}

fn tagged(mut response: Response<Body>, tag: &str) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
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
    fn written(states: &[(u64, &str)], bytes: usize) -> usize {
        let (renderings, now) = (Renderings::default(), Instant::now());
        let mut count = 0;
        for (generation, target) in states {
            let nodes = view(*generation, now + Duration::from_secs(9));
            renderings.answer((1, &nodes, now), target, &HeaderMap::new(), || {
                count += 1;
                Ok(("text/plain", "x".repeat(bytes)))
            });
        }
        count
    }

    #[test]
    fn one_state_of_a_page_is_written_once() {
        assert_eq!(written(&[(1, "/"), (1, "/"), (1, "/apps"), (1, "/")], 1), 2);
        assert_eq!(written(&[(1, "/"), (2, "/"), (1, "/")], 1), 3);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!(written(&[(1, "/"), (1, "/")], MOST_BYTES + 1), 2);
        let targets: Vec<String> = (0..MOST_RENDERINGS + 1).map(|n| format!("/{n}")).collect();
        let mut states: Vec<_> = targets.iter().map(|target| (1, target.as_str())).collect();
        states.push((1, "/0"));
        assert_eq!(written(&states, 1), MOST_RENDERINGS + 2);
    }

    #[test]
    fn who_has_it_is_told_so_until_it_changes_or_gets_too_old() {
        let (renderings, now) = (Renderings::default(), Instant::now());
        let nodes = view(1, now + Duration::from_secs(9));
        let ask = |nodes: &Nodes, now, headers: &HeaderMap| {
            renderings.answer((1, nodes, now), "/", headers, || Ok(("text/plain", "text".to_owned())))
        };
        let first = ask(&nodes, now, &HeaderMap::new());
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(ask(&nodes, now, &headers).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&nodes, now + Duration::from_secs(9), &headers).status(), StatusCode::OK);
        assert_eq!(ask(&view(2, now + Duration::from_secs(9)), now, &headers).status(), StatusCode::OK);
    }
}
