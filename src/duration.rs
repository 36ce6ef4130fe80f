//! The format of durations in flags and filters.

use std::time::Duration;

/// Parses a duration: `10s`, `1h30m`, `500us`, or plain seconds.
///
/// # Errors
/// A sentence with examples of durations.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let fault = || format!("{text} is not a duration; examples: 500us, 10s, 5m, 1d, or plain seconds");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| fault());
    }
    humantime::parse_duration(text).map_err(|_| fault())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_users_write_them() {
        for (text, millis) in
            [("10s", 10_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("2.5", 2_500)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("500us"), Ok(Duration::from_micros(500)));
        for text in ["", "-1s", "-1", "NaN", "1e300", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
