//! The limits on what sampling may cost the server.

use std::time::Duration;

/// The limits that sampling must keep: its cost to the server, and the age of its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Target maximum time that one command blocks the server's main thread.
    pub max_stall: Duration,
    /// Maximum share of main-thread time for all our commands, above 0 and at most 1.
    pub max_load: f64,
    /// Maximum age of a sample. If the other limits cannot be kept within it, one of them is exceeded.
    pub max_age: Duration,
    /// Requested time between samples.
    pub interval: Duration,
    /// Time between quick polls; `None` for no quick polls.
    pub quick_poll: Option<Duration>,
}

impl Budget {
    /// The budget of a command that takes one sample and exits: one full listing costs the server least and is the
    /// fastest.
    pub fn single_sample() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { max_stall: day, max_load: 1.0, max_age: day, interval: day, quick_poll: None }
    }
}
