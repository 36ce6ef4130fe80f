//! When an announcer sends the next status, and the next changes. Pure.
//!
//! There is never more than one status a frequency, however often the node is sampled, and never more than one message
//! of changes a second. Changes together take as many bytes as statuses may.

use std::time::{Duration, Instant};

use crate::status::MAX_MESSAGE;

/// The shortest time between two messages of changes.
const CHANGES_INTERVAL: Duration = Duration::from_secs(1);

/// Changes may use the size of a status in each frequency, or in each of these periods if the frequency is longer.
const MAX_PERIOD: Duration = Duration::from_secs(10);

/// The minimum number of bytes for a message of changes: fewer have no room for a client.
const MIN_CHANGES_BYTES: usize = 1024;

/// A sample that is older than this part of the frequency waits for the next one, but at most for the same time: where
/// samples are early, the one that is due may be a moment away.
const OLD_SHARE: u32 = 4;

/// The longest time before another attempt to send a status, if the last one failed.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// The times of the last messages, and the bytes that changes may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    frequency: Duration,
    /// The time at which a status is due; `None` before the first one.
    status_due: Option<Instant>,
    /// The time at which changes may be sent again; `None` before the first ones.
    changes_due: Option<Instant>,
    /// Bytes that changes may use, as of a time.
    allowance: Option<(Instant, f64)>,
}

impl Pace {
    /// A pace before the first message.
    pub(super) fn new(frequency: Duration) -> Self {
        Self { frequency, status_due: None, changes_due: None, allowance: None }
    }

    /// The time at which to send a status of a sample that was taken at `sampled`.
    pub(super) fn status_at(&self, sampled: Instant) -> Instant {
        let Some(due) = self.status_due else { return sampled };
        let tolerance = self.frequency / OLD_SHARE;
        let is_old = due.saturating_duration_since(sampled) > tolerance;
        if is_old { due + tolerance } else { due.max(sampled) }
    }

    /// Notes that a status was sent, or may have been.
    pub(super) fn status_sent(&mut self, now: Instant) {
        self.status_due = Some(now + self.frequency);
    }

    /// Notes that a status could not be sent.
    pub(super) fn status_failed(&mut self, now: Instant) {
        self.status_due = Some(now + self.frequency.min(MAX_RETRY_DELAY));
    }

    /// The time at which changes may be sent, where a status may have `max_bytes`. `now` if there were none before.
    pub(super) fn changes_at(&self, now: Instant, max_bytes: usize) -> Instant {
        let (Some(due), Some((at, bytes))) = (self.changes_due, self.allowance) else { return now };
        let missing = (MIN_CHANGES_BYTES as f64 - bytes).max(0.0);
        let affordable = at + Duration::try_from_secs_f64(missing / self.rate(max_bytes)).unwrap_or(MAX_PERIOD);
        due.max(affordable)
    }

    /// The maximum size of a message of changes now.
    pub(super) fn changes_bytes(&self, now: Instant, max_bytes: usize) -> usize {
        self.allowed(now, max_bytes) as usize
    }

    /// Notes that changes of this size were sent.
    pub(super) fn changes_sent(&mut self, now: Instant, bytes: usize, max_bytes: usize) {
        self.allowance = Some((now, self.allowed(now, max_bytes) - bytes as f64));
        self.changes_due = Some(now + CHANGES_INTERVAL);
    }

    fn allowed(&self, now: Instant, max_bytes: usize) -> f64 {
        let cap = Self::cap(max_bytes);
        let grown = |(at, bytes)| bytes + now.saturating_duration_since(at).as_secs_f64() * self.rate(max_bytes);
        self.allowance.map_or(cap, grown).min(cap)
    }

    /// Bytes per second.
    fn rate(&self, max_bytes: usize) -> f64 {
        max_bytes as f64 / self.frequency.min(MAX_PERIOD).as_secs_f64().max(0.001)
    }

    fn cap(max_bytes: usize) -> f64 {
        max_bytes.min(MAX_MESSAGE) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FREQUENCY: Duration = Duration::from_secs(10);

    fn seconds(number: f64) -> Duration {
        Duration::from_secs_f64(number)
    }

    #[test]
    fn the_first_status_is_sent_at_once_and_each_further_one_a_frequency_later() {
        let (now, mut pace) = (Instant::now(), Pace::new(FREQUENCY));
        assert_eq!(pace.status_at(now), now);
        pace.status_sent(now);
        assert_eq!(pace.status_at(now + seconds(9.99)), now + FREQUENCY, "a moment early");
        assert_eq!(pace.status_at(now + seconds(10.01)), now + seconds(10.01), "a sample that is due");
        assert_eq!(pace.status_at(now + seconds(8.0)), now + FREQUENCY, "an early sample that is still new");
        assert_eq!(pace.status_at(now + seconds(3.0)), now + seconds(12.5), "an old one waits for the next sample");
    }

    #[test]
    fn a_status_that_failed_is_repeated_after_a_delay() {
        let (now, mut pace) = (Instant::now(), Pace::new(Duration::from_secs(3600)));
        pace.status_failed(now);
        assert_eq!(pace.status_at(now), now + MAX_RETRY_DELAY);
        let mut fast = Pace::new(SECOND);
        fast.status_failed(now);
        assert_eq!(fast.status_at(now + SECOND), now + SECOND);
    }

    #[test]
    fn changes_are_sent_once_a_second_and_use_no_more_bytes_than_statuses() {
        let (start, max_bytes) = (Instant::now(), 40_000);
        let (mut now, mut pace, mut sent, mut count) = (start, Pace::new(FREQUENCY), 0, 0);
        while now < start + 100 * SECOND {
            now = now.max(pace.changes_at(now, max_bytes));
            let bytes = pace.changes_bytes(now, max_bytes);
            assert!((MIN_CHANGES_BYTES..=max_bytes).contains(&bytes), "{bytes}");
            pace.changes_sent(now, bytes, max_bytes);
            (sent, count) = (sent + bytes, count + 1);
        }
        assert!(sent <= 11 * max_bytes, "{sent} bytes in 100 s: ten statuses, and the first burst");
        assert!((90..=101).contains(&count), "{count} messages in 100 s");
        // After a quiet time there is room for a whole message again.
        assert_eq!(pace.changes_bytes(now + 10 * SECOND, max_bytes), max_bytes);
    }

    proptest! {
        /// Whenever samples arrive, also while many are early.
        #[test]
        fn there_is_never_more_than_one_status_a_frequency(steps in proptest::collection::vec(1_u64..12_000, 1..200)) {
            let start = Instant::now();
            let (mut pace, mut sampled, mut pending) = (Pace::new(FREQUENCY), start, None);
            let mut sent: Vec<Instant> = Vec::new();
            for step in steps {
                let next = sampled + Duration::from_millis(step);
                // What was due before the next sample.
                if let Some(at) = pending.map(|sampled| pace.status_at(sampled)).filter(|at| *at < next) {
                    pace.status_sent(at);
                    sent.push(at);
                }
                sampled = next;
                if pace.status_at(sampled) <= sampled {
                    pace.status_sent(sampled);
                    sent.push(sampled);
                    pending = None;
                } else {
                    pending = Some(sampled);
                }
            }
            for pair in sent.windows(2) {
                let between = pair[1] - pair[0];
                prop_assert!(between >= FREQUENCY, "{between:?}");
                // As long as samples are not further apart, there is one.
                prop_assert!(between <= seconds(10.0 + 12.0), "{between:?}");
            }
        }
    }
}
