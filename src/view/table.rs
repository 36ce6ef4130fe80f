//! Clients and groups as tables for a terminal.

use comfy_table::{CellAlignment, Table, presets};

use super::column::Column;
use super::humanize::{cell_text, group_name, measure_text};
use super::measure::Measure;
use super::row::Row;
use super::selection::Group;

/// Maximum length of a table cell, in characters. JSON and CSV have the whole value.
const MAX_CELL: usize = 48;

/// A table of clients.
pub fn clients(rows: &[Row<'_>], columns: &[&Column]) -> String {
    let heads: Vec<String> = columns.iter().map(|column| column.title.to_uppercase()).collect();
    let mut table = plain_table(heads.iter().map(String::as_str));
    for row in rows {
        table.add_row(columns.iter().map(|column| truncated(cell_text(*row, column))));
    }
    render(&table)
}

/// A table of groups.
pub fn groups(by: &Column, groups: &[Group<'_>]) -> String {
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

/// A table with these heads and no lines.
pub(crate) fn plain_table<'a>(heads: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    table
}

/// The lines of a table without trailing spaces.
pub(crate) fn render(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Cuts a text to the maximum length of a cell.
pub(crate) fn truncated(text: String) -> String {
    if text.chars().count() <= MAX_CELL {
        return text;
    }
    let begin: String = text.chars().take(MAX_CELL - 1).collect();
    begin + "…"
}
