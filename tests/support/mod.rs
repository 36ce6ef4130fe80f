//! What the tests stand on: real servers, the real program, its metrics read back.

pub(crate) mod certificates;
pub(crate) mod exporter;
pub(crate) mod http;
pub(crate) mod https;
pub(crate) mod peer;
pub(crate) mod prometheus;
pub(crate) mod promql;
pub(crate) mod rules;
pub(crate) mod scrape;
pub(crate) mod server;
pub(crate) mod subscriber;
pub(crate) mod test_clients;
pub(crate) mod trouble;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file of this project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Tries until there is something, for at most `patience`.
pub(crate) fn eventually<T>(what: &str, patience: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        pause(Duration::from_millis(20));
    }
}

/// Waits, where time itself is what is tested or nothing else can be waited for.
pub(crate) fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "tests run on threads of their own")]
    std::thread::sleep(time);
}

/// Long enough for anything that happens at all, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
