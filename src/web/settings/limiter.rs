//! The rate limit: a token bucket, as in the exporter-toolkit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bucket of at most `burst` tokens that gains one every `interval`.
#[derive(Debug)]
pub(in crate::web) struct Limiter {
    interval: Duration,
    burst: u32,
    bucket: Mutex<Option<(f64, Instant)>>,
}

impl Limiter {
    /// Makes a limiter from the settings in `rate_limit`. An interval of 0 means no limit.
    ///
    /// # Errors
    /// Names the invalid setting.
    pub(super) fn new(interval: &str, burst: u32) -> Result<Option<Self>, String> {
        let invalid = "interval must be a duration (the time between two requests); write 100ms or 1s";
        let interval = match interval.trim() {
            "0" | "" => Duration::ZERO,
            text => humantime::parse_duration(text).map_err(|_| invalid.to_owned())?,
        };
        match (interval.is_zero(), burst) {
            (true, _) => Ok(None),
            (false, 0) => Err("burst is missing or 0, so no request would be answered; write burst: 10".to_owned()),
            (false, burst) => Ok(Some(Self { interval, burst, bucket: Mutex::new(None) })),
        }
    }

    /// Takes a token. Returns false if there is none.
    pub(in crate::web) fn admits(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let burst = f64::from(self.burst);
        let tokens = bucket.map_or(burst, |(tokens, since)| {
            let gained = now.saturating_duration_since(since).as_secs_f64() / self.interval.as_secs_f64();
            (tokens + gained).min(burst)
        });
        let admits = tokens >= 1.0;
        *bucket = Some((if admits { tokens - 1.0 } else { tokens }, now));
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_request_per_interval() {
        let limiter = Limiter::new("1s", 3).expect("valid").expect("a limit");
        let start = Instant::now();
        let admitted = |after: u64| limiter.admits(start + Duration::from_millis(after));
        assert_eq!(
            [0, 1, 2, 3, 900, 1100, 1200, 2200].map(admitted),
            [true, true, true, false, false, true, false, true]
        );
        assert!(Limiter::new("0", 0).expect("valid").is_none());
    }
}
