//! When the next sample and the next quick poll are due. Pure.

use std::time::{Duration, Instant};

use crate::sampler::Plan;

/// The shortest time between two samples when connections were closed.
pub(super) const MIN_EARLY_INTERVAL: Duration = Duration::from_secs(1);

/// The interval of early samples, taken because connections were closed, in multiples of the shortest interval that the
/// load allows. Where connections are closed all the time, early samples would otherwise use all of the load.
const EARLY_SAMPLE_FACTOR: u32 = 4;

/// The time of the next sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    due: Instant,
    /// The time to which the sample may be moved forward.
    earliest: Instant,
}

/// The next step until a sample is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Sample now.
    Sample,
    /// Wait for this time, then sample.
    Wait(Duration),
    /// Wait for this time, then take a quick poll.
    QuickPoll(Duration),
}

/// An attempt to sample: when it started, and when it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) started: Instant,
    pub(super) ended: Instant,
}

impl Attempt {
    /// The end of the pause after the attempt. It is as long as the attempt, so that a slow server is left alone half
    /// of the time, but not longer than the sample interval.
    fn rest(self, interval: Duration) -> Instant {
        self.ended + self.ended.duration_since(self.started).min(interval)
    }
}

impl Schedule {
    /// The schedule after a sample, by the plan for the next one. `interval` is the requested sample interval.
    pub(super) fn after_sample(attempt: Attempt, plan: &Plan, interval: Duration) -> Self {
        let rest = attempt.rest(interval);
        let early = (plan.min_interval * EARLY_SAMPLE_FACTOR).max(MIN_EARLY_INTERVAL);
        Self { due: (attempt.started + plan.interval).max(rest), earliest: (attempt.started + early).max(rest) }
    }

    /// The schedule after a failed attempt, `delay` after its start.
    pub(super) fn after_failure(attempt: Attempt, delay: Duration, interval: Duration) -> Self {
        let due = (attempt.started + delay).max(attempt.rest(interval));
        Self { due, earliest: due }
    }

    /// Moves the sample forward, as far as the load allows: a connection was closed, or a quick poll failed.
    pub(super) fn sample_early(&mut self) {
        self.due = self.due.min(self.earliest);
    }

    /// Moves the sample to this time if it is due before: the server refuses connections until then.
    pub(super) fn not_before(mut self, time: Instant) -> Self {
        self.due = self.due.max(time);
        self.earliest = self.earliest.max(time);
        self
    }

    /// Moves the sample to this time: a status of another exporter replaces it.
    pub(super) fn sample_at(&mut self, due: Instant) {
        self.due = due;
    }

    /// The next step. `quick_poll` is the interval of quick polls, if there are any.
    pub(super) fn next(&self, now: Instant, quick_poll: Option<Duration>) -> NextStep {
        let left = self.due.saturating_duration_since(now);
        match quick_poll {
            _ if left.is_zero() => NextStep::Sample,
            Some(interval) if interval < left => NextStep::QuickPoll(interval),
            _ => NextStep::Wait(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::ListMethod;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn plan(interval: u64, min_interval_ms: u64) -> Plan {
        Plan {
            method: ListMethod::Full,
            longest_command: Duration::ZERO,
            server_time: Duration::ZERO,
            interval: Duration::from_secs(interval),
            min_interval: Duration::from_millis(min_interval_ms),
            load: 0.0,
            within_budget: true,
            excess: 1.0,
            burden: 0.0,
        }
    }

    /// An attempt that took this long, and the time to the next sample after its start, in milliseconds.
    fn due_ms(took_ms: u64, schedule: impl FnOnce(Attempt) -> Schedule) -> u128 {
        let started = Instant::now();
        let schedule = schedule(Attempt { started, ended: started + Duration::from_millis(took_ms) });
        schedule.due.duration_since(started).as_millis()
    }

    #[test]
    fn a_sample_is_due_by_its_plan_and_a_slow_one_is_followed_by_a_pause() {
        let after = |took| due_ms(took, |attempt| Schedule::after_sample(attempt, &plan(10, 0), INTERVAL));
        assert_eq!([after(5), after(4_000), after(8_000), after(60_000)], [10_000, 10_000, 16_000, 70_000]);
        let slow_plan = due_ms(5, |attempt| Schedule::after_sample(attempt, &plan(60, 0), INTERVAL));
        assert_eq!(slow_plan, 60_000);
    }

    #[test]
    fn an_early_sample_uses_a_quarter_of_the_load_and_is_never_later_than_the_plan() {
        let early = |took, min_interval| {
            due_ms(took, |attempt| {
                let mut schedule = Schedule::after_sample(attempt, &plan(10, min_interval), INTERVAL);
                schedule.sample_early();
                schedule
            })
        };
        assert_eq!(early(5, 1), 1_000, "not more often than once a second");
        assert_eq!(early(5, 500), 2_000);
        assert_eq!(early(5, 9_000), 10_000);
        assert_eq!(early(3_000, 1), 6_000, "after a slow sample there is a pause");
    }

    #[test]
    fn a_failed_attempt_is_repeated_after_its_delay_and_a_long_one_after_a_pause() {
        let delay = Duration::from_millis(250);
        let after = |took| due_ms(took, |attempt| Schedule::after_failure(attempt, delay, INTERVAL));
        assert_eq!([after(1), after(5_000), after(60_000)], [250, 10_000, 70_000]);
        let hurried = due_ms(1, |attempt| {
            let mut schedule = Schedule::after_failure(attempt, delay, INTERVAL);
            schedule.sample_early();
            schedule
        });
        assert_eq!(hurried, 250);
    }

    #[test]
    fn quick_polls_fill_the_time_until_the_sample_and_do_not_delay_it() {
        let now = Instant::now();
        let attempt = Attempt { started: now, ended: now };
        let mut schedule = Schedule::after_sample(attempt, &plan(10, 0), INTERVAL);
        let second = Duration::from_secs(1);
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!(schedule.next(now, Some(second)), NextStep::QuickPoll(second));
        assert_eq!(schedule.next(at(9_000), Some(second)), NextStep::Wait(second), "a sample replaces the last poll");
        assert_eq!(schedule.next(now, None), NextStep::Wait(INTERVAL));
        assert_eq!(schedule.next(at(10_000), Some(second)), NextStep::Sample);
        assert_eq!(schedule.next(at(99_000), None), NextStep::Sample);
        schedule.sample_at(at(25_000));
        assert_eq!(schedule.next(at(10_000), None), NextStep::Wait(Duration::from_secs(15)));
    }
}
