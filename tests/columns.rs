//! docs/columns.md is made from the tables of columns and measures.

use std::fmt::Write;
use std::fs;

use redis_client_exporter::view::column::{COLUMNS, Column, ValueKind};
use redis_client_exporter::view::measure::MEASURES;

use crate::support::project;

/// The marks in the document between which the tables are.
const BEGIN: &str = "<!-- made from the table: UPDATE_GOLDEN=1 cargo test columns -->\n";
const END: &str = "<!-- end of the table -->\n";

fn columns() -> String {
    let mut text =
        String::from("| column | also | title | type | group by | explanation |\n|---|---|---|---|---|---|\n");
    for column in COLUMNS {
        let also: Vec<String> = column
            .key()
            .into_iter()
            .chain(column.aliases.iter().copied())
            .collect::<Vec<_>>()
            .into_iter()
            .filter(|name| *name != column.name)
            .map(|name| format!("`{name}`"))
            .collect();
        let kind = match column.kind {
            ValueKind::Word(words) => words().join(", "),
            kind => kind.label().to_owned(),
        };
        let group = if column.groupable { "yes" } else { "" };
        let only = if Column::of_clients().any(|known| known == column) { "" } else { " Closed clients only." };
        writeln!(
            text,
            "| `{}` | {} | {} | {kind} | {group} | {}{only} |",
            column.name,
            also.join(" "),
            column.title,
            column.help
        )
        .expect("writing to a string cannot fail");
    }
    text
}

fn measures() -> String {
    let mut text = String::from("| measure | title | type | explanation |\n|---|---|---|---|\n");
    for measure in MEASURES {
        writeln!(text, "| `{}` | {} | {} | {} |", measure.name, measure.title, measure.kind.label(), measure.help)
            .expect("writing to a string cannot fail");
    }
    text
}

#[test]
fn the_documented_columns_are_those_of_the_program() {
    let path = project("docs/columns.md");
    let text = fs::read_to_string(&path).expect("the document");
    let mut parts: Vec<String> = text.split(BEGIN).map(str::to_owned).collect();
    assert_eq!(parts.len(), 3, "two tables");
    for (part, table) in parts.iter_mut().skip(1).zip([columns(), measures()]) {
        let (_, rest) = part.split_once(END).expect("the end of the table");
        *part = format!("{table}{END}{rest}");
    }
    let made = parts.join(BEGIN);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &made).expect("the document can be written");
    }
    assert_eq!(fs::read_to_string(&path).expect("the document"), made, "UPDATE_GOLDEN=1 cargo test columns writes it");
}
