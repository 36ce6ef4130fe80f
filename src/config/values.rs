//! Parses the values of flags: durations, numbers, percentages and lists.

use std::time::Duration;

use crate::duration::duration;

/// The longest duration that any flag accepts.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// The longest time between two samples.
const MAX_FREQUENCY: Duration = Duration::from_secs(24 * 3600);

/// The shortest time between two samples.
const MIN_FREQUENCY: Duration = Duration::from_millis(100);

/// The elements of a list; empty ones, as after a trailing comma, are ignored.
pub(super) fn elements(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(|element| element.trim()).filter(|element| !element.is_empty())
}

pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0; example: 10s".into()),
        long if long > MAX_DURATION => Err(format!("{text} is longer than a year; write 365d or less")),
        duration => Ok(duration),
    }
}

/// Refuses fractions of a second: the server reports whole seconds, and two thresholds within one second would be the
/// same series twice.
pub(super) fn whole_seconds(duration: Duration) -> Result<Duration, String> {
    match duration.subsec_nanos() {
        0 => Ok(duration),
        _ => Err(format!("{} is not a whole number of seconds; example: 5m", humantime::format_duration(duration))),
    }
}

pub(super) fn frequency(text: &str) -> Result<Duration, String> {
    match positive(text)? {
        short if short < MIN_FREQUENCY => {
            Err(format!("{text} is shorter than 100ms and would keep the server busy; write 1s or more"))
        }
        long if long > MAX_FREQUENCY => Err(format!("{text} is longer than a day; write 1d or less")),
        frequency => Ok(frequency),
    }
}

pub(super) fn number(text: &str, min: usize, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{text} is not a number from {min} to {max}")),
    }
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(format!("{text} is not a percentage above 0 and up to 100; example: 1%")),
    }
}
