//! An application as a row, so that search and filters work on it as on clients.

use jiff::Timestamp;

use super::column::Column;
use super::row::Record;
use super::value::Value;

/// An application of a node.
#[derive(Clone, Copy, Debug)]
pub struct AppRow<'a> {
    /// The node.
    pub node: &'a str,
    /// Its name.
    pub app: &'a str,
}

impl<'a> Record<'a> for AppRow<'a> {
    fn value(self, column: &Column) -> Value<'a> {
        match column.name {
            "redis" => Value::text(Some(self.node)),
            "app" => Value::text(Some(self.app)),
            _ => Value::None,
        }
    }

    fn now(self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}
