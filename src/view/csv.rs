//! Clients and groups as CSV.

use super::column::Column;
use super::measure::MEASURES;
use super::row::{Record, Row};
use super::selection::Group;
use super::value::Value;

/// The content type of CSV.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8";

/// The columns of a CSV of clients: the chosen ones; without any, all that the server reports for at least one of these
/// clients.
pub fn columns<'c>(rows: &[Row<'_>], chosen: &[&'c Column]) -> Vec<&'c Column> {
    if !chosen.is_empty() {
        return chosen.to_vec();
    }
    Column::of_clients().filter(|column| rows.iter().any(|row| column.is_reported(row.client))).collect()
}

/// The header line of a CSV.
pub fn head(columns: &[&Column]) -> String {
    records(std::iter::once(columns.iter().map(|column| column.name.to_owned()).collect()))
}

/// The lines of a CSV, one per row. Text that a spreadsheet would run as a formula gets an apostrophe in front.
pub fn lines<'a>(rows: impl Iterator<Item = impl Record<'a>>, columns: &[&Column]) -> String {
    records(rows.map(|row| columns.iter().map(|column| cell(row.value(column))).collect()))
}

/// Clients as CSV.
pub fn clients(rows: &[Row<'_>], columns: &[&Column]) -> String {
    let columns = self::columns(rows, columns);
    head(&columns) + &lines(rows.iter().copied(), &columns)
}

/// Groups as CSV, with all measures.
pub fn groups(groups: &[Group<'_>]) -> String {
    let heads = std::iter::once("group").chain(MEASURES.iter().map(|measure| measure.name)).map(str::to_owned);
    let record = |group: &Group<'_>| {
        let measures = MEASURES.iter().map(|measure| Value::number(measure.value(&group.tally)).into_text());
        std::iter::once(cell(group.value.clone())).chain(measures).collect()
    };
    records(std::iter::once(heads.collect()).chain(groups.iter().map(record)))
}

/// A value as a CSV cell.
fn cell(value: Value<'_>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_escaped() {
        assert_eq!(without_formula("=cmd|calc".into()), "'=cmd|calc");
        assert_eq!(without_formula("web-1".into()), "web-1");
    }
}
