//! Files that pages use, built into the program.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::response::{self, Body};

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

static ASSETS: [Asset; 2] = [
    Asset {
        path: "/assets/app.css",
        content_type: "text/css; charset=utf-8",
        content: include_bytes!("assets/app.css"),
    },
    Asset {
        path: "/assets/app.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_bytes!("assets/app.js"),
    },
];

/// The file at a path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    pub(super) fn answer(&self) -> Response<Body> {
        let mut response = response::answer(StatusCode::OK, self.content_type, self.content);
        // A new version of the program may bring another file under the same name.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}
