//! The delays between attempts that fail. Pure.

use std::time::Duration;

/// Delays that double with each failure in a row, up to a maximum.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Delays from `first` to `max`. If `max` is shorter, it is the only delay.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// Counts a failure, and returns the delay before the next attempt.
    pub fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // 2^16 times any delay of ours is beyond any maximum of ours.
        self.first.saturating_mul(1 << (self.failures - 1).min(16)).min(self.max)
    }

    /// Notes a success.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Returns true if the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        let delays: Vec<_> = (0..8).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert!(backoff.is_failing());
        for _ in 0..1000 {
            backoff.fail();
        }
        assert_eq!(backoff.fail(), Duration::from_secs(10));
        backoff.succeed();
        assert!(!backoff.is_failing());
        assert_eq!(backoff.fail(), Duration::from_millis(250));
        assert_eq!(Backoff::new(Duration::from_secs(1), Duration::from_millis(100)).fail(), Duration::from_millis(100));
    }
}
