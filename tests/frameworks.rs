//! docs/frameworks.md shows what the acceptance test of the frameworks has measured: `tests/corpus/frameworks.tsv`.

use std::collections::BTreeSet;
use std::fmt::Write;

pub(crate) const TABLE: &str = "tests/corpus/frameworks.tsv";
pub(crate) const PAGE: &str = "docs/frameworks.md";
const PAGE_HEAD: &str = "| framework | seen by default | application by default | to set a name | application then |\n\
    |---|---|---|---|---|\n";
pub(crate) const BY_DEFAULT: &str = "(default)";
/// Stands for a text that is empty or missing.
pub(crate) const NONE: &str = "-";

/// Fails with the lines that differ.
pub(crate) fn assert_same(golden: &str, now: &str) {
    let differences: Vec<String> = difference(golden, now, "-").chain(difference(now, golden, "+")).collect();
    assert!(
        golden == now,
        "UPDATE_GOLDEN=1 cargo test --test acceptance frameworks writes it again:\n{}",
        differences.join("\n")
    );
}

/// The lines of a text that another text does not have, each after a mark.
fn difference<'a>(text: &'a str, other: &'a str, mark: &'a str) -> impl Iterator<Item = String> + 'a {
    let known: BTreeSet<&str> = other.lines().collect();
    text.lines().filter(move |line| !known.contains(line)).map(move |line| format!("{mark} {line}"))
}

#[test]
fn the_page_shows_what_was_measured() {
    let read = |path| std::fs::read_to_string(crate::support::project(path)).expect("the file exists");
    let (table, page) = (read(TABLE), read(PAGE));
    let (_, shown, _) = split_page(&page);
    assert_same(shown, &page_table(&table));
}

/// The text of the page before, in and after its table.
pub(crate) fn split_page(page: &str) -> (&str, &str, &str) {
    let start = page.find(PAGE_HEAD).expect("the page has the table");
    let end = page[start..].find("\n\n").map_or(page.len(), |length| start + length + 1);
    (&page[..start], &page[start..end], &page[end..])
}

/// The table of the page: one row a framework.
pub(crate) fn page_table(table: &str) -> String {
    let rows: Vec<[&str; 6]> = table
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>().try_into().expect("six columns"))
        .collect();
    let mut page = PAGE_HEAD.to_owned();
    for framework in rows.chunk_by(|one, next| one[0] == next[0]) {
        let (default, named): (Vec<&[&str; 6]>, Vec<_>) = framework.iter().partition(|row| row[2] == BY_DEFAULT);
        let set_by = named.first().expect("it was tried with a name")[2];
        // The name of the variable is of no use to a reader.
        let set_by =
            set_by.split_once(" = ").filter(|(variable, _)| is_word(variable)).map_or(set_by, |(_, code)| code);
        let cells = |rows: &[&[&str; 6]], cell: fn(&[&str; 6]) -> String| {
            let cells: BTreeSet<String> = rows.iter().map(|row| cell(row)).collect();
            cells.into_iter().collect::<Vec<_>>().join(", ")
        };
        let description = |row: &[&str; 6]| match (row[3], row[4]) {
            (NONE, NONE) => "nothing".to_owned(),
            (NONE, library) => format!("library `{library}`"),
            (name, _) => format!("name `{name}`"),
        };
        let app = |row: &[&str; 6]| format!("`{}`", row[5]);
        writeln!(
            page,
            "| {} {} | {} | {} | `{set_by}` | {} |",
            framework[0][0],
            framework[0][1],
            cells(&default, description),
            cells(&default, app),
            cells(&named, app),
        )
        .expect("a string takes all");
    }
    page
}

/// True if a text could be a variable.
fn is_word(text: &str) -> bool {
    text.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}
