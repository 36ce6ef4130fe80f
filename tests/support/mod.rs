//! Test support: real servers, the real exporter, and parsers of its output.

pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod dns;
pub(crate) mod exporter;
pub(crate) mod fleet;
pub(crate) mod http;
pub(crate) mod https;
pub(crate) mod peer;
pub(crate) mod prometheus;
pub(crate) mod promql;
pub(crate) mod proxy;
pub(crate) mod rules;
pub(crate) mod scrape;
pub(crate) mod sentinel;
pub(crate) mod server;
pub(crate) mod share;
pub(crate) mod subscriber;
pub(crate) mod test_clients;
pub(crate) mod trouble;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Returns the path of a file of this project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Repeats an attempt until it returns a value. Panics after [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        pause(Duration::from_millis(20));
    }
}

/// Sleeps. Only for tests of time itself, and where there is no condition to wait for.
pub(crate) fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "tests run on threads of their own")]
    std::thread::sleep(time);
}

/// The time limit of every wait. Only a hang exceeds it, however slow and busy the machine is. A test that is about
/// time compares times with each other, or with what the exporter reports; it does not choose a shorter limit.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
