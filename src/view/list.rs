//! Rows and groups as tables for people, as JSON and as CSV.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value as Json};

use super::column::{COLUMNS, Column, ValueKind};
use super::humanize::{ago, bytes};
use super::measure::{self, MEASURES, Measure};
use super::row::{ClosedRow, Record, Row};
use super::selection::Group;
use super::value::Value;
use crate::client_list::Field;
use crate::text::{NONE, escaped};

/// The content type of CSV.
pub const CSV: &str = "text/csv; charset=utf-8";

/// The content type of NDJSON: one JSON object per line.
pub const NDJSON: &str = "application/x-ndjson";

/// Maximum length of a table cell, in characters. JSON and CSV have the whole value.
const MAX_CELL: usize = 48;

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

/// A table of clients for people.
pub fn table(rows: &[Row<'_>], columns: &[&Column]) -> String {
    let heads: Vec<String> = columns.iter().map(|column| column.title.to_uppercase()).collect();
    let mut table = plain_table(heads.iter().map(String::as_str));
    for row in rows {
        table.add_row(columns.iter().map(|column| truncated(cell_text(*row, column))));
    }
    render(&table)
}

/// Clients as a JSON array of objects.
pub fn json(rows: &[Row<'_>], columns: &[&Column]) -> Json {
    rows.iter().map(|row| object(*row, columns)).collect()
}

/// A client as a JSON object with these columns. Without any: every column that the server reports, and also the fields
/// that this program does not know, under their own keys with `_` for `-`.
pub fn object(row: Row<'_>, columns: &[&Column]) -> Json {
    if !columns.is_empty() {
        return members(row, columns.iter().copied()).into();
    }
    let mut object = members(row, Column::of_clients().filter(|column| column.is_reported(row.client)));
    for (key, text) in row.client.fields().filter(|(key, _)| Field::from_key(key).is_none()) {
        let name = escaped(key).replace('-', "_");
        // The first of several fields with one key counts, as elsewhere, and none passes for a column, even if the
        // server does not report that column.
        if !COLUMNS.iter().any(|column| column.name == name) {
            object.entry(name).or_insert_with(|| escaped(text).into());
        }
    }
    object.into()
}

/// A closed client as a JSON object with these columns; without any, with all columns of closed clients.
pub fn closed_object(row: ClosedRow<'_>, columns: &[&Column]) -> Json {
    if columns.is_empty() {
        members(row, Column::of_closed()).into()
    } else {
        members(row, columns.iter().copied()).into()
    }
}

fn members<'a, 'c>(row: impl Record<'a>, columns: impl Iterator<Item = &'c Column>) -> Map<String, Json> {
    columns.map(|column| (column.name.to_owned(), row.value(column).into_json())).collect()
}

/// The columns of a CSV of clients: the chosen ones; without any, all that the server reports for at least one of these
/// clients.
pub fn csv_columns<'c>(rows: &[Row<'_>], chosen: &[&'c Column]) -> Vec<&'c Column> {
    if !chosen.is_empty() {
        return chosen.to_vec();
    }
    Column::of_clients().filter(|column| rows.iter().any(|row| column.is_reported(row.client))).collect()
}

/// The header line of a CSV.
pub fn csv_head(columns: &[&Column]) -> String {
    records(std::iter::once(columns.iter().map(|column| column.name.to_owned()).collect()))
}

/// The lines of a CSV, one per row. Text that a spreadsheet would run as a formula gets an apostrophe in front.
pub fn csv_lines<'a>(rows: impl Iterator<Item = impl Record<'a>>, columns: &[&Column]) -> String {
    records(rows.map(|row| columns.iter().map(|column| csv_cell(row.value(column))).collect()))
}

/// Clients as CSV.
pub fn csv(rows: &[Row<'_>], columns: &[&Column]) -> String {
    let columns = csv_columns(rows, columns);
    csv_head(&columns) + &csv_lines(rows.iter().copied(), &columns)
}

/// Objects as NDJSON.
pub fn lines(objects: impl Iterator<Item = Json>) -> String {
    objects.map(|object| format!("{object}\n")).collect()
}

/// A group as a JSON object: its value as `group`, then all measures.
pub fn group_object(group: &Group<'_>) -> Json {
    let mut object = Map::from_iter([("group".to_owned(), group.value.clone().into_json())]);
    object.extend(measure::members(&group.tally));
    object.into()
}

/// Groups as CSV, with all measures.
pub fn groups_csv(groups: &[Group<'_>]) -> String {
    let heads = std::iter::once("group").chain(MEASURES.iter().map(|measure| measure.name)).map(str::to_owned);
    let record = |group: &Group<'_>| {
        let measures = MEASURES.iter().map(|measure| Value::number(measure.value(&group.tally)).into_text());
        std::iter::once(csv_cell(group.value.clone())).chain(measures).collect()
    };
    records(std::iter::once(heads.collect()).chain(groups.iter().map(record)))
}

/// Groups as a table for people.
pub fn groups_table(by: &Column, groups: &[Group<'_>]) -> String {
    let heads: Vec<String> =
        [by.title].into_iter().chain(Measure::shown().map(|measure| measure.title)).map(str::to_uppercase).collect();
    let mut table = plain_table(heads.iter().map(String::as_str));
    for group in groups {
        let measures = Measure::shown().map(|measure| measure_text(measure, measure.value(&group.tally)));
        table.add_row([truncated(group_name(group))].into_iter().chain(measures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    render(&table)
}

/// The name of a group for people.
pub fn group_name(group: &Group<'_>) -> String {
    if group.value == Value::None { NONE.to_owned() } else { group.value.clone().into_text() }
}

/// A value as a CSV cell.
fn csv_cell(value: Value<'_>) -> String {
    match value {
        Value::Text(text) => without_formula(text.into_owned()),
        value => value.into_text(),
    }
}

fn records(records: impl Iterator<Item = Vec<String>>) -> String {
    let infallible = "writing to a vector cannot fail, and all records have the same length";
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record).expect(infallible);
    }
    String::from_utf8(writer.into_inner().expect(infallible)).expect("all cells are text")
}

fn without_formula(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{text}") } else { text }
}

pub(crate) fn plain_table<'a>(heads: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    table
}

/// The lines of a table without trailing spaces.
pub(crate) fn render(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

pub(crate) fn truncated(text: String) -> String {
    if text.chars().count() <= MAX_CELL {
        return text;
    }
    let begin: String = text.chars().take(MAX_CELL - 1).collect();
    begin + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    #[test]
    fn an_unknown_field_is_passed_on_and_never_passes_for_a_column() {
        let snapshot = snapshot("id=1 addr=a flags=N foo-bar=1 foo-bar=2 memory-bytes=x closed-at=y app=z kind=z\n");
        let row = Row::new("node", &snapshot, 0).expect("a client");
        let object = object(row, &[]);
        let texts = ["foo_bar", "app", "kind"].map(|name| object[name].as_str());
        assert_eq!(texts, [Some("1"), Some("(unnamed)"), Some("application")]);
        assert!(object.get("memory_bytes").is_none() && object.get("closed_at").is_none(), "{object}");
    }

    #[test]
    fn formulas_are_escaped() {
        assert_eq!(without_formula("=cmd|calc".into()), "'=cmd|calc");
        assert_eq!(without_formula("web-1".into()), "web-1");
    }
}
