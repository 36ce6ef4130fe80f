//! One value of one client, before any output format.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::text::escaped;

/// A value of a row. Values of one column compare; `None` is smallest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value<'a> {
    /// No value.
    None,
    /// A number, in the unit of its column.
    Number(i64),
    /// Text that is safe to show: control characters are escaped.
    Text(Cow<'a, str>),
    /// A time.
    Time(Timestamp),
}

impl<'a> Value<'a> {
    /// Text that a client or a server chose, escaped; `None` for no text.
    pub fn untrusted(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Value::None, |bytes| match std::str::from_utf8(bytes) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') => Value::Text(text.into()),
            _ => Value::Text(escaped(bytes).into()),
        })
    }

    /// Text that is already safe; `None` for no text.
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Value::None, |text| Value::Text(text.into()))
    }

    /// A number; `None` if it is unknown or has more than 63 bits.
    pub fn number(number: Option<u64>) -> Self {
        number.and_then(|number| i64::try_from(number).ok()).map_or(Value::None, Value::Number)
    }

    /// A time; `None` if it is unknown.
    pub fn time(time: Option<Timestamp>) -> Self {
        time.map_or(Value::None, Value::Time)
    }

    /// True for no value and for empty text.
    pub fn is_empty(&self) -> bool {
        matches!(self, Value::None) || matches!(self, Value::Text(text) if text.is_empty())
    }

    /// The value as text: numbers in decimal, times in RFC 3339 to the second, no value as empty text.
    pub fn into_text(self) -> String {
        match self {
            Value::None => String::new(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.into_owned(),
            Value::Time(time) => format!("{time:.0}"),
        }
    }

    /// The value as JSON: a number, a string, or `null`.
    pub fn into_json(self) -> Json {
        match self {
            Value::None => Json::Null,
            Value::Number(number) => number.into(),
            value => value.into_text().into(),
        }
    }
}
