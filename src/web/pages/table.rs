//! The tables of clients and of closed clients: heads with links that sort, and cells. Both are made from the table of
//! columns; `rows.html` is their markup.

use super::{client_link, closed_link, rfc3339};
use crate::client_list::Field;
use crate::snapshot::last_interaction;
use crate::view::column::{Column, ValueKind};
use crate::view::humanize::{cell_text, value_text};
use crate::view::row::{ClosedRow, Row};
use crate::view::value::Value;
use crate::web::query::Query;

/// The head of a column, with the link that sorts by it.
#[derive(Default)]
pub(super) struct Head {
    pub(super) text: &'static str,
    pub(super) help: &'static str,
    pub(super) link: String,
    /// The value of `aria-sort`: `ascending`, `descending` or empty.
    pub(super) sorted: &'static str,
    pub(super) is_number: bool,
}

/// A cell, with its link and its exact value.
#[derive(Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) link: String,
    pub(super) title: String,
    pub(super) is_time: bool,
    /// True for a placeholder, such as `(none)`, which is not a client's value.
    pub(super) is_placeholder: bool,
    pub(super) is_number: bool,
}

/// Length from which text may be cut in a cell, in bytes. The tooltip has the whole text.
const MAX_UNCUT: usize = 40;

/// The default columns of a table, with the server in front if there are several.
pub(super) fn with_node(several_nodes: bool, defaults: Vec<&'static Column>) -> Vec<&'static Column> {
    let node = Column::find("redis").filter(|_| several_nodes);
    node.into_iter().chain(defaults).collect()
}

/// The head of a column of the table at this path.
pub(super) fn head(path: &str, query: &Query, column: &'static Column) -> Head {
    let sort = query.selection.sort;
    let is_sorted = sort.column == column;
    // A second click reverses the order; amounts begin with the largest.
    let descending = if is_sorted { !sort.descending } else { column.is_quantity() };
    let next = format!("{}{}", if descending { "-" } else { "" }, column.name);
    Head {
        text: column.title,
        help: column.help,
        link: format!("{path}?{}", query.with(&[("offset", ""), ("sort", &next)])),
        sorted: match (is_sorted, sort.descending) {
            (false, _) => "",
            (true, true) => "descending",
            (true, false) => "ascending",
        },
        is_number: is_right_aligned(column),
    }
}

/// True for numbers, except ids, which are names.
fn is_right_aligned(column: &Column) -> bool {
    column.kind.is_number() && column.name != "id"
}

/// The cell of a connected client.
pub(super) fn cell(row: Row<'_>, column: &Column) -> Cell {
    let field = |field: Field| column.key() == Some(field.key());
    match (column.kind, column.value(row)) {
        (_, Value::Number(id)) if field(Field::Id) => {
            Cell { link: client_link(row.node, id.unsigned_abs()), ..plain(column, id.to_string()) }
        }
        // Internal connections belong to no application: their kind is shown instead.
        (_, Value::None) if column.name == "app" => plain(column, format!("({})", row.entry.kind.label())),
        (ValueKind::Seconds, _) => {
            let time = match (field(Field::Idle), row.entry.is_silent) {
                (true, true) => None,
                (true, false) => last_interaction(row.client, row.read_at()),
                (false, _) => row.entry.connected_at(),
            };
            Cell { title: rfc3339(time), is_time: time.is_some(), ..plain(column, cell_text(row, column)) }
        }
        (_, value) => value_cell(column, value),
    }
}

/// The cell of a closed client.
pub(super) fn closed_cell(row: ClosedRow<'_>, column: &Column) -> Cell {
    match column.closed_value(row) {
        Value::Number(id) if column.name == "id" => {
            Cell { link: closed_link(row.node, row.closed), ..plain(column, id.to_string()) }
        }
        Value::None if column.name == "app" => plain(column, format!("({})", row.closed.kind.label())),
        value => value_cell(column, value),
    }
}

fn value_cell(column: &Column, value: Value<'_>) -> Cell {
    let (title, is_time) = match (column.kind, &value) {
        (ValueKind::Bytes, Value::Number(size)) => (format!("{size} bytes"), false),
        (_, Value::Text(text)) if text.len() > MAX_UNCUT => (text.clone().into_owned(), false),
        (_, Value::Time(time)) => (rfc3339(Some(*time)), true),
        _ => (String::new(), false),
    };
    Cell { title, is_time, ..plain(column, value_text(column.kind, value)) }
}

fn plain(column: &Column, text: String) -> Cell {
    Cell { text, is_number: is_right_aligned(column), ..Cell::default() }
}
