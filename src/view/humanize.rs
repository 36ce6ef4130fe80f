//! Values formatted for people.

use jiff::SignedDuration;

use super::column::{Column, ValueKind};
use super::measure::Measure;
use super::row::Row;
use super::selection::Group;
use super::value::Value;
use crate::client_list::Field;
use crate::text::NONE;

/// The smallest difference between the server's clock and ours that is worth showing, in seconds.
const MIN_CLOCK_DIFFERENCE_SECONDS: u64 = 2;

/// Formats a duration in at most two units: `3s`, `12m 5s`, `2d 4h`.
pub fn ago(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let Some(first) = units.iter().position(|&(size, _)| seconds >= size) else { return "0s".into() };
    let (size, unit) = units[first];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some(&(next, unit)) = units.get(first + 1)
        && seconds % size / next > 0
    {
        text.push_str(&format!(" {}{unit}", seconds % size / next));
    }
    text
}

/// Formats the difference between the server's clock and ours, `2h ahead`; `None` if it is small enough to be due to
/// rounding and round trips.
pub fn clock_difference(difference: SignedDuration) -> Option<String> {
    let seconds = difference.unsigned_abs().as_secs();
    let direction = if difference.is_negative() { "behind" } else { "ahead" };
    (seconds >= MIN_CLOCK_DIFFERENCE_SECONDS).then(|| format!("{} {direction}", ago(seconds)))
}

/// Formats a count with thousands separators: `48,120`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a share as a percentage, with one decimal below 10 %: `0.4 %`, `87 %`.
pub fn share(part: u64, whole: u64) -> String {
    let percent = part as f64 / whole as f64 * 100.0;
    let digits = usize::from(percent < 10.0);
    format!("{percent:.digits$} %")
}

/// Formats a number of bytes in the largest unit in which it is at least 1: `0 B`, `19.9 KiB`, `1.5 GiB`.
pub fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (number.max(1).ilog2() / 10) as usize;
    match power {
        0 => format!("{number} B"),
        power => format!("{:.1} {}", number as f64 / (1_u64 << (10 * power)) as f64, units[power]),
    }
}

/// Formats a rate with its significant digits: `0`, `0.03`, `4.2`, `317`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        zero if zero < 0.005 => "0".to_owned(),
        small if small < 1.0 => format!("{small:.2}"),
        some if some < 100.0 => format!("{some:.1}"),
        many => count(many.round() as u64),
    }
}

/// Formats a value for people: sizes and time spans with units, and `never` for the idle time of a client that has
/// never sent a command.
pub fn cell_text(row: Row<'_>, column: &Column) -> String {
    if row.entry.is_silent && column.key() == Some(Field::Idle.key()) {
        return "never".to_owned();
    }
    value_text(column.kind, column.value(row))
}

/// Formats a value of this type for people: sizes and time spans with units.
pub fn value_text(kind: ValueKind, value: Value<'_>) -> String {
    let unsigned = |number: i64| u64::try_from(number).ok();
    match (kind, value) {
        (ValueKind::Seconds, Value::Number(seconds)) => ago(unsigned(seconds).unwrap_or_default()),
        (ValueKind::Bytes, Value::Number(size)) => unsigned(size).map_or_else(|| size.to_string(), bytes),
        (_, value) => value.into_text(),
    }
}

/// Formats a measure for people; an unknown value is empty.
pub fn measure_text(measure: &Measure, value: Option<u64>) -> String {
    value_text(measure.kind, Value::number(value))
}

/// The name of a group for people.
pub fn group_name(group: &Group<'_>) -> String {
    if group.value == Value::None { NONE.to_owned() } else { group.value.clone().into_text() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let cases =
            [(0, "0s"), (3, "3s"), (60, "1m"), (725, "12m 5s"), (3600, "1h"), (187_200, "2d 4h"), (86_401, "1d")];
        for (seconds, text) in cases {
            assert_eq!(ago(seconds), text);
        }
    }

    #[test]
    fn only_a_clock_difference_of_seconds_is_shown() {
        let shown = |milliseconds| clock_difference(SignedDuration::from_millis(milliseconds));
        assert_eq!([1999, -1999, 0].map(shown), [None, None, None]);
        let expected = ["2s ahead", "2h behind", "106751991167d 7h behind"].map(|text| Some(text.to_owned()));
        assert_eq!([2000, -7_200_900, i64::MIN].map(shown), expected);
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 48_120, 1_000_000].map(count), ["0", "999", "1,000", "48,120", "1,000,000"]);
        let sizes = [0, 1023, 1024, 20_400, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "19.9 KiB", "1.0 GiB", "16.0 EiB"]);
        assert_eq!([0.0, 0.004, 0.031, 4.25, 317.4, 12_000.0].map(rate), ["0", "0", "0.03", "4.2", "317", "12,000"]);
    }
}
