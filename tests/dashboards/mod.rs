//! The boards that are shipped, read: what they hold, and what they ask.
//!
//! Reads files only. [`expressions`] gives what the boards ask, for a test that asks a real Prometheus.

mod form;
mod links;
mod linter;
mod questions;
mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::project;

/// The variables of boards, each narrowed by those before it, and what a selector needs to follow them.
const VARIABLES: [(&str, &str); 4] = [
    ("job", r#"job=~"$job""#),
    ("instance", r#"instance=~"$instance""#),
    ("redis", r#"redis=~"$redis""#),
    ("client_app", r#"client_app=~"$client_app""#),
];

/// What Grafana puts in for its variables, with ranges for a Prometheus that scrapes every second or two.
const SUBSTITUTES: &[(&str, &str)] = &[
    ("$__rate_interval", "10s"),
    ("$__interval_ms", "1000"),
    ("$__interval", "1s"),
    ("$__range_s", "60"),
    ("$__range_ms", "60000"),
    ("$__range", "1m"),
    ("$job", ".+"),
    ("$instance", ".+"),
    ("$redis", ".+"),
    ("$client_app", ".+"),
];

/// Every question of every board as `(panel title, expression)`, Grafana's variables substituted.
pub(crate) fn expressions() -> Vec<(String, String)> {
    queries().into_iter().map(|query| (query.title, substituted(&query.expr))).collect()
}

/// What the boards' annotations ask, as above.
pub(crate) fn annotations() -> Vec<(String, String)> {
    let boards = boards();
    let all = boards.iter().flat_map(|board| list(&board.json, "/annotations/list"));
    all.map(|item| (text(item, "/name").to_owned(), substituted(text(item, "/target/expr")))).collect()
}

/// A board.
struct Board {
    file: PathBuf,
    text: String,
    json: Value,
}

/// A question of a panel.
struct Query {
    /// The variables that its board has.
    variables: BTreeSet<String>,
    title: String,
    description: String,
    expr: String,
    legend: String,
    instant: bool,
    heatmap: bool,
}

impl Board {
    fn name(&self) -> String {
        self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Every board, by name.
fn boards() -> Vec<Board> {
    let folder = fs::read_dir(project("dashboards")).expect("the boards are in the repository");
    let files = folder.map(|entry| entry.expect("a folder can be listed").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    assert!(!files.is_empty(), "no boards");
    files.into_iter().map(board).collect()
}

fn board(file: PathBuf) -> Board {
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Board { file, text, json }
}

/// Every panel: of the board, and of its collapsed rows.
fn panels(board: &Value) -> Vec<&Value> {
    list(board, "/panels").iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "/panels"))).collect()
}

fn variable_names(board: &Value) -> BTreeSet<String> {
    list(board, "/templating/list").iter().map(|variable| text(variable, "/name").to_owned()).collect()
}

/// The variables whose values come from Prometheus.
fn query_variables(board: &Value) -> impl Iterator<Item = &Value> {
    list(board, "/templating/list").iter().filter(|variable| text(variable, "/type") == "query")
}

fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for board in boards() {
        let variables = variable_names(&board.json);
        for panel in panels(&board.json) {
            queries.extend(list(panel, "/targets").iter().map(|target| query(&variables, panel, target)));
        }
    }
    queries
}

fn query(variables: &BTreeSet<String>, panel: &Value, target: &Value) -> Query {
    Query {
        variables: variables.clone(),
        title: text(panel, "/title").to_owned(),
        description: text(panel, "/description").to_owned(),
        expr: text(target, "/expr").to_owned(),
        legend: text(target, "/legendFormat").to_owned(),
        instant: target["instant"] == true,
        heatmap: text(panel, "/type") == "heatmap",
    }
}

fn is_row(panel: &Value) -> bool {
    text(panel, "/type") == "row"
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn no_faulty_panel(is_faulty: impl Fn(&Value) -> bool) {
    for board in boards() {
        let faulty: Vec<&Value> = panels(&board.json).into_iter().filter(|panel| is_faulty(panel)).collect();
        let titles: Vec<&Value> = faulty.iter().map(|panel| &panel["title"]).collect();
        assert!(titles.is_empty(), "{}: {titles:?}", board.name());
    }
}

fn substituted(expr: &str) -> String {
    SUBSTITUTES.iter().fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value))
}
