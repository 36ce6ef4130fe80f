//! Files that pages use, built into the program.

use std::sync::LazyLock;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::gzip::{self, Part};
use super::response::{self, Body};

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: LazyLock<Content>,
}

/// The content of a file, prepared at its first use.
#[derive(Debug)]
struct Content {
    part: Part,
    /// A hash of the content: a new version of the program may bring another file under the same name.
    tag: String,
}

impl Content {
    fn new(content: &'static [u8]) -> Self {
        let hash: String = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { part: Part::new(content), tag: format!("W/\"{hash}\"") }
    }
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset {
            path: concat!("/assets/", $name),
            content_type: $content_type,
            content: LazyLock::new(|| Content::new(include_bytes!(concat!("assets/", $name)))),
        }
    };
}

static ASSETS: [Asset; 8] = [
    asset!("app.css", CSS),
    asset!("app.js", JS),
    asset!("charts.js", JS),
    asset!("favicon.svg", "image/svg+xml"),
    asset!("stream.js", JS),
    asset!("uplot/uPlot.esm.js", JS),
    asset!("uplot/uPlot.min.css", CSS),
    asset!("windows.js", JS),
];

/// The file at a path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let Content { part, tag } = &*self.content;
        let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut response = match is_known {
            true => response::answer(StatusCode::NOT_MODIFIED, self.content_type, ""),
            false => gzip::answer(StatusCode::OK, self.content_type, &[part], headers),
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_as_they_published_it() {
        let list = include_str!("assets/uplot/README.md");
        for (name, content) in [
            ("uPlot.esm.js", include_bytes!("assets/uplot/uPlot.esm.js").as_slice()),
            ("uPlot.min.css", include_bytes!("assets/uplot/uPlot.min.css")),
            ("LICENSE", include_bytes!("assets/uplot/LICENSE")),
        ] {
            let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            let line = list.lines().find(|line| line.starts_with(&format!("| `{name}`"))).unwrap_or_default();
            assert!(line.contains(&hash), "{name} is {hash}");
        }
    }

    #[test]
    fn each_file_is_at_its_path() {
        for asset in &ASSETS {
            assert_eq!(find(asset.path).map(|found| found.content.part.len()), Some(asset.content.part.len()));
        }
        assert!(find("/assets/").is_none() && find("/assets/../app.js").is_none());
    }
}
