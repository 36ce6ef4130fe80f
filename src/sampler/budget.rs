//! What the operator allows sampling to cost.

use std::time::Duration;

/// What sampling may cost the server, and how fresh its answer must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The longest that one command should hold the main thread.
    pub max_stall: Duration,
    /// The share of main-thread time that all our commands may use, above 0 and at most 1.
    pub max_load: f64,
    /// The oldest answer that is accepted before a promise is broken instead.
    pub max_age: Duration,
    /// The time between samples that is asked for.
    pub every: Duration,
    /// The time between quick looks; `None` for none.
    pub look: Option<Duration>,
}

impl Budget {
    /// For who takes one sample and is gone: one listing is the least that can be asked, and the fastest answer.
    pub fn of_one_sample() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { max_stall: day, max_load: 1.0, max_age: day, every: day, look: None }
    }
}
