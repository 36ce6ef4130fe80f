//! The type of a column, and how columns are found. The columns themselves are the table in `column`.

use std::sync::LazyLock;

use super::COLUMNS;
use crate::client_list::{Client, Field};
use crate::view::row::{ClosedRow, Row};
use crate::view::value::Value;

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name in every output.
    pub name: &'static str,
    /// Other names that filters, sorts, groupings and column lists accept, in addition to the key of `CLIENT LIST`.
    pub aliases: &'static [&'static str],
    /// The title in pages and tables.
    pub title: &'static str,
    /// The type of its values, with their unit.
    pub kind: ValueKind,
    /// A sentence that explains it.
    pub help: &'static str,
    /// True if clients can be grouped by it.
    pub groupable: bool,
    /// The position among the default columns; `None` if it is not one of them.
    pub default_place: Option<u8>,
    /// The position among the default columns of closed clients; `None` if it is not one of them.
    pub closed_place: Option<u8>,
    source: ValueSource,
    pub(super) closed: Option<for<'a> fn(ClosedRow<'a>) -> Value<'a>>,
}

/// The type of a column's values. It decides how they are compared and shown.
#[derive(Clone, Copy, Debug)]
pub enum ValueKind {
    /// Text.
    Text,
    /// One of a fixed set of words.
    Word(fn() -> Vec<&'static str>),
    /// A number that names something, such as an id.
    Number,
    /// A count.
    Count,
    /// A size in bytes.
    Bytes,
    /// A time span in seconds.
    Seconds,
    /// A time, written as RFC 3339 in UTC.
    Time,
    /// An IP address with or without a port, a network, or the path of a unix socket.
    Address,
    /// A version, compared number by number.
    Version,
}

/// The source of a column's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueSource {
    /// A field of `CLIENT LIST`.
    Field(Field),
    /// A field of `CLIENT LIST` whose value needs interpretation.
    Interpreted(Field, for<'a> fn(Row<'a>) -> Value<'a>),
    /// Derived from the row.
    Row(for<'a> fn(Row<'a>) -> Value<'a>),
    /// Only closed clients have it.
    ClosedOnly,
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Column {}

impl Column {
    pub(super) const fn field(
        field: Field,
        name: &'static str,
        title: &'static str,
        kind: ValueKind,
        help: &'static str,
    ) -> Self {
        Self::new(ValueSource::Field(field), name, title, kind, help)
    }

    pub(super) const fn derived(
        value: for<'a> fn(Row<'a>) -> Value<'a>,
        name: &'static str,
        title: &'static str,
        kind: ValueKind,
        help: &'static str,
    ) -> Self {
        Self::new(ValueSource::Row(value), name, title, kind, help)
    }

    pub(super) const fn new(
        source: ValueSource,
        name: &'static str,
        title: &'static str,
        kind: ValueKind,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            title,
            kind,
            help,
            groupable: false,
            default_place: None,
            closed_place: None,
            source,
            closed: None,
        }
    }

    pub(super) const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(super) const fn groupable(self) -> Self {
        Self { groupable: true, ..self }
    }

    pub(super) const fn default_place(self, place: u8) -> Self {
        Self { default_place: Some(place), ..self }
    }

    pub(super) const fn closed_place(self, place: u8) -> Self {
        Self { closed_place: Some(place), ..self }
    }

    pub(super) const fn closed(self, value: for<'a> fn(ClosedRow<'a>) -> Value<'a>) -> Self {
        Self { closed: Some(value), ..self }
    }

    /// Finds a column by its name, an alias, the key of `CLIENT LIST`, or its title. Case does not matter, and `-`, `_`
    /// and spaces are equal.
    pub fn find(name: &str) -> Option<&'static Self> {
        let is_same = |known: &str| {
            let normalized = |byte: u8| if matches!(byte, b'-' | b' ') { b'_' } else { byte.to_ascii_lowercase() };
            known.len() == name.len() && known.bytes().map(normalized).eq(name.bytes().map(normalized))
        };
        let find = |matches: &dyn Fn(&Column) -> bool| COLUMNS.iter().find(|column| matches(column));
        // Names come first, since a title may be the alias of another column.
        find(&|column| is_same(column.name))
            .or_else(|| find(&|column| column.aliases.iter().any(|alias| is_same(alias))))
            .or_else(|| find(&|column| column.key().is_some_and(is_same)))
            .or_else(|| find(&|column| is_same(column.title)))
    }

    /// The column of a field of `CLIENT LIST`.
    pub fn of_field(field: Field) -> &'static Self {
        /// In the order of the fields; a status message looks up each field of each client.
        static BY_FIELD: LazyLock<Vec<&'static Column>> = LazyLock::new(|| {
            let of = |field: Field| COLUMNS.iter().find(|column| column.client_list_field() == Some(field));
            Field::ALL.iter().map(|&field| of(field).expect("a test holds that every field is a column")).collect()
        });
        BY_FIELD[field as usize]
    }

    /// The columns of connected clients.
    pub fn of_clients() -> impl Iterator<Item = &'static Self> {
        COLUMNS.iter().filter(|column| !matches!(column.source, ValueSource::ClosedOnly))
    }

    /// The columns of closed clients.
    pub fn of_closed() -> impl Iterator<Item = &'static Self> {
        COLUMNS.iter().filter(|column| column.closed.is_some())
    }

    /// The columns by which clients can be grouped.
    pub fn groupings() -> impl Iterator<Item = &'static Self> {
        COLUMNS.iter().filter(|column| column.groupable)
    }

    /// The default columns, in their order.
    pub fn defaults() -> Vec<&'static Self> {
        Self::in_order(|column| column.default_place)
    }

    /// The default columns of closed clients, in their order.
    pub fn closed_defaults() -> Vec<&'static Self> {
        Self::in_order(|column| column.closed_place)
    }

    fn in_order(place: fn(&Self) -> Option<u8>) -> Vec<&'static Self> {
        let mut columns: Vec<&Self> = COLUMNS.iter().filter(|column| place(column).is_some()).collect();
        columns.sort_by_key(|column| place(column));
        columns
    }

    /// The key of `CLIENT LIST` from which the column is made; `None` if it is derived.
    pub fn key(&self) -> Option<&'static str> {
        self.client_list_field().map(Field::key)
    }

    fn client_list_field(&self) -> Option<Field> {
        match self.source {
            ValueSource::Field(field) | ValueSource::Interpreted(field, _) => Some(field),
            ValueSource::Row(_) | ValueSource::ClosedOnly => None,
        }
    }

    /// The value of a connected client.
    pub fn value<'a>(&self, row: Row<'a>) -> Value<'a> {
        match self.source {
            ValueSource::Field(field) if field.is_text() => Value::untrusted(row.client.text(field)),
            // An age is negative only after the server's clock stepped back, and counts as 0 everywhere.
            ValueSource::Field(field) => {
                let least = if matches!(self.kind, ValueKind::Seconds) { 0 } else { i64::MIN };
                row.client.number(field).map_or(Value::None, |number| Value::Number(number.max(least)))
            }
            ValueSource::Interpreted(_, value) | ValueSource::Row(value) => value(row),
            ValueSource::ClosedOnly => Value::None,
        }
    }

    /// The value of a closed client.
    pub fn closed_value<'a>(&self, row: ClosedRow<'a>) -> Value<'a> {
        self.closed.map_or(Value::None, |value| value(row))
    }

    /// True if the server reports the column for this client; always true for a derived column.
    pub fn is_reported(&self, client: &Client<'_>) -> bool {
        self.client_list_field().is_none_or(|field| client.text(field).is_some())
    }

    /// Checks that clients can be grouped by it.
    ///
    /// # Errors
    /// Returns a sentence that names the columns to group by if they cannot.
    pub fn check_groupable(&'static self) -> Result<&'static Self, String> {
        if self.groupable {
            return Ok(self);
        }
        let names: Vec<_> = Self::groupings().map(|column| column.name).collect();
        Err(format!("clients cannot be grouped by {}; columns to group by are {}", self.name, names.join(", ")))
    }

    /// True if values are amounts, which are right-aligned and sorted with the largest first.
    pub fn is_quantity(&self) -> bool {
        matches!(self.kind, ValueKind::Count | ValueKind::Bytes | ValueKind::Seconds)
    }
}

impl ValueKind {
    /// The type's name in documents.
    pub fn label(self) -> &'static str {
        match self {
            ValueKind::Text => "text",
            ValueKind::Word(_) => "word",
            ValueKind::Number => "number",
            ValueKind::Count => "count",
            ValueKind::Bytes => "bytes",
            ValueKind::Seconds => "seconds",
            ValueKind::Time => "time",
            ValueKind::Address => "address",
            ValueKind::Version => "version",
        }
    }

    /// True if values are written as JSON numbers.
    pub fn is_number(self) -> bool {
        matches!(self, ValueKind::Number | ValueKind::Count | ValueKind::Bytes | ValueKind::Seconds)
    }
}
