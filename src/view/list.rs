//! Rows as a table for people, JSON or CSV.

use std::collections::HashMap;

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::grouped::Group;
use super::humanize::ago;
use super::rows::{Column, Record, Row, Value};
use crate::client_list::Field;
use crate::snapshot::{NONE, connected_at, label_value, last_interaction, spelled_out};

/// The type of what is written as CSV.
pub const CSV: &str = "text/csv; charset=utf-8";

/// The type of what is written as JSON, one object a line.
pub const NDJSON: &str = "application/x-ndjson";

/// The longest cell of the table, in characters. JSON and CSV have the value as it was kept.
const MAX_CELL: usize = 48;

/// The columns of the table, with their heads.
const TABLE: [(&str, Cell); 12] = [
    ("CLIENT ID", Cell::Column(Column::Field(Field::Id))),
    ("ADDRESS", Cell::Column(Column::Field(Field::Addr))),
    ("APP", Cell::Column(Column::App)),
    ("NAME", Cell::Column(Column::Field(Field::Name))),
    ("USER", Cell::Column(Column::Field(Field::User))),
    ("LIBRARY", Cell::Column(Column::Field(Field::LibName))),
    ("KIND", Cell::Column(Column::ClientKind)),
    ("STATE", Cell::Column(Column::State)),
    ("CONNECTED", Cell::Connected),
    ("LAST INTERACTION", Cell::LastInteraction),
    ("DB", Cell::Column(Column::Field(Field::Db))),
    ("COMMAND", Cell::Column(Column::Field(Field::Cmd))),
];

/// What stands in a cell of the table.
#[derive(Clone, Copy)]
enum Cell {
    Column(Column),
    /// How long ago it connected.
    Connected,
    /// How long ago it last spoke.
    LastInteraction,
}

/// A table for people. `several_nodes` adds the node as the first column.
pub fn table(rows: &[Row<'_>], several_nodes: bool) -> String {
    let node = several_nodes.then_some(("REDIS", Cell::Column(Column::Redis)));
    let columns: Vec<_> = node.into_iter().chain(TABLE).collect();
    let mut table = plain_table(columns.iter().map(|(head, _)| *head));
    for row in rows {
        table.add_row(columns.iter().map(|(_, cell)| shortened(cell_text(row, *cell))));
    }
    finished(&table)
}

fn cell_text(row: &Row<'_>, cell: Cell) -> String {
    match cell {
        Cell::Column(column) => text(row.value(column)),
        Cell::Connected => row.client.age_seconds().map_or_else(String::new, ago),
        Cell::LastInteraction if row.client.is_silent() => "never".into(),
        Cell::LastInteraction => row.client.idle_seconds().map_or_else(String::new, ago),
    }
}

/// Rows as JSON: an array of objects with every field of the server, `-` written `_`, and what we add to them.
pub fn json(rows: &[Row<'_>]) -> Json {
    rows.iter().map(|row| object(row, &[])).collect()
}

/// One row as a JSON object: these columns of it; if none are named, all the server told, and what we add to it.
pub fn object(row: &Row<'_>, columns: &[Column]) -> Json {
    if !columns.is_empty() {
        return columns.iter().map(|&column| (column.name(), value(row.value(column)))).collect::<Map<_, _>>().into();
    }
    let time = |time: Option<Timestamp>| time.map_or(Json::Null, |time| time.to_string().into());
    let mut object = Map::new();
    object.insert("redis".into(), row.node.into());
    object.insert("app".into(), row.app.as_deref().into());
    object.insert("kind".into(), row.kind.label().into());
    object.insert("state".into(), row.state.map(|state| state.label()).into());
    object.insert("connected_at".into(), time(connected_at(row.client, row.at)));
    object.insert("last_interaction".into(), time(last_interaction(row.client, row.at)));
    for (key, text) in row.client.fields() {
        let known = Field::from_key(key);
        let value = match known.filter(|field| !field.is_text()).and_then(|field| row.client.number(field)) {
            Some(number) => number.into(),
            None => spelled_out(text).into(),
        };
        // The first occurrence wins, here as everywhere.
        object.entry(spelled_out(key).replace('-', "_")).or_insert(value);
    }
    object.into()
}

fn value(value: Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
    }
}

/// The columns of a CSV of clients. Text that a spreadsheet would take for a formula is quoted with an apostrophe.
#[derive(Clone, Debug)]
pub enum CsvColumns {
    /// Those that were asked for.
    Chosen(Vec<Column>),
    /// What we add, and the fields that any of the clients has.
    All(Vec<Field>),
}

/// What we add to what the server tells.
const OURS: [Column; 4] = [Column::Redis, Column::App, Column::ClientKind, Column::State];

impl CsvColumns {
    /// The chosen columns; if none are chosen, all that these rows have.
    pub fn of(rows: &[Row<'_>], chosen: &[Column]) -> Self {
        if !chosen.is_empty() {
            return Self::Chosen(chosen.to_vec());
        }
        let fields = Field::ALL.iter().filter(|&&field| rows.iter().any(|row| row.client.text(field).is_some()));
        Self::All(fields.copied().collect())
    }

    /// The first line.
    pub fn heads(&self) -> String {
        records_as_csv(std::iter::once(match self {
            Self::Chosen(columns) => columns.iter().map(|column| column.name()).collect(),
            Self::All(fields) => {
                let times = ["connected_at", "last_interaction"].map(str::to_owned);
                let fields = fields.iter().map(|&field| Column::Field(field).name());
                OURS.iter().map(|column| column.name()).chain(times).chain(fields).collect()
            }
        }))
    }

    /// A line a row.
    pub fn lines(&self, rows: &[Row<'_>]) -> String {
        records_as_csv(rows.iter().map(|row| match self {
            Self::Chosen(columns) => columns.iter().map(|&column| cell(row.value(column))).collect(),
            Self::All(fields) => {
                let times = [connected_at(row.client, row.at), last_interaction(row.client, row.at)];
                let times = times.map(|time| time.map_or_else(String::new, |time| time.to_string()));
                let fields = fields.iter().map(|&field| cell(row.value(Column::Field(field))));
                OURS.iter().map(|&column| cell(row.value(column))).chain(times).chain(fields).collect()
            }
        }))
    }
}

/// Rows as CSV, with all their columns.
pub fn csv(rows: &[Row<'_>]) -> String {
    let columns = CsvColumns::of(rows, &[]);
    columns.heads() + &columns.lines(rows)
}

/// Groups as CSV.
pub fn groups_csv(groups: &[Group]) -> String {
    const HEADS: [&str; 7] =
        ["group", "connections", "active", "waiting", "idle", "oldest_interaction_seconds", "buffers_bytes"];
    objects_csv(&HEADS, groups.iter().map(Group::object))
}

/// Objects as NDJSON: one a line.
pub fn lines(objects: impl Iterator<Item = Json>) -> String {
    objects.map(|object| format!("{object}\n")).collect()
}

/// Flat objects as CSV, with these of their values.
pub fn objects_csv(heads: &[&str], objects: impl Iterator<Item = Json>) -> String {
    let cell = |value: &Json| match value {
        Json::Null => String::new(),
        Json::String(text) => harmless(text.clone()),
        other => other.to_string(),
    };
    let records = objects.map(|object| heads.iter().map(|head| cell(&object[*head])).collect());
    let heads = heads.iter().map(|&head| head.to_owned()).collect();
    records_as_csv(std::iter::once(heads).chain(records))
}

/// What goes into a cell of a CSV.
fn cell(value: Value) -> String {
    match value {
        Value::Text(text) => harmless(text),
        value => text(value),
    }
}

fn records_as_csv(records: impl Iterator<Item = Vec<String>>) -> String {
    let fits = "a vector takes everything, and all records are of one length";
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record).expect(fits);
    }
    String::from_utf8(writer.into_inner().expect(fits)).expect("all cells are text")
}

/// Rows counted by a column: the most first.
pub fn counts(rows: &[Row<'_>], column: Column) -> Vec<(String, u64)> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for row in rows {
        *counts.entry(group(row, column)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(name, count), (other_name, other)| other.cmp(count).then_with(|| name.cmp(other_name)));
    counts
}

/// The group of a row, named as in the metrics.
fn group(row: &Row<'_>, column: Column) -> String {
    match column {
        Column::Field(Field::Cmd) if row.client.is_silent() => NONE.to_owned(),
        Column::Field(field) => match row.client.text(field) {
            None | Some(b"") => NONE.to_owned(),
            Some(value) => label_value(value),
        },
        column => Some(text(row.value(column))).filter(|value| !value.is_empty()).unwrap_or_else(|| NONE.to_owned()),
    }
}

/// Counts as a table for people.
pub fn counts_table(head: &str, counts: &[(String, u64)]) -> String {
    let mut table = plain_table([head, "CONNECTIONS"].into_iter());
    for (name, count) in counts {
        table.add_row([shortened(name.clone()), count.to_string()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    finished(&table)
}

/// Counts as CSV.
pub fn counts_csv(head: &str, counts: &[(String, u64)]) -> String {
    let records = counts.iter().map(|(name, count)| vec![harmless(name.clone()), count.to_string()]);
    let heads = vec![head.to_owned(), "connections".to_owned()];
    records_as_csv(std::iter::once(heads).chain(records))
}

pub(super) fn plain_table<'a>(heads: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    table
}

pub(super) fn finished(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn text(value: Value) -> String {
    match value {
        Value::None => String::new(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text,
    }
}

fn harmless(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{text}") } else { text }
}

pub(super) fn shortened(text: String) -> String {
    if text.chars().count() <= MAX_CELL {
        return text;
    }
    let kept: String = text.chars().take(MAX_CELL - 1).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_text() {
        assert_eq!(harmless("=cmd|calc".into()), "'=cmd|calc");
        assert_eq!(harmless("web-1".into()), "web-1");
    }
}
