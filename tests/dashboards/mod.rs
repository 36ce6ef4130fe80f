//! The shipped dashboards: their form, links and queries.
//!
//! These tests read files only. [`expressions`] returns the queries for a test with a real Prometheus.

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

/// The variables of dashboards, each filtered by those before it, with the matcher that a selector needs to follow it.
const VARIABLES: [(&str, &str); 5] = [
    ("job", r#"job=~"$job""#),
    ("instance", r#"instance=~"$instance""#),
    ("cluster", r#"cluster=~"$cluster""#),
    ("redis", r#"redis=~"$redis""#),
    ("client_app", r#"client_app=~"$client_app""#),
];

/// The values for Grafana's variables, with ranges for a Prometheus that scrapes every second or two.
const SUBSTITUTES: &[(&str, &str)] = &[
    ("$__rate_interval", "10s"),
    ("$__interval_ms", "1000"),
    ("$__interval", "1s"),
    ("$__range_s", "60"),
    ("$__range_ms", "60000"),
    ("$__range", "1m"),
    ("$job", ".+"),
    ("$instance", ".+"),
    ("$cluster", ".*"),
    ("$redis", ".+"),
    ("$client_app", ".+"),
];

/// Returns every query of every dashboard as `(panel title, expression)`, with Grafana's variables substituted.
pub(crate) fn expressions() -> Vec<(String, String)> {
    queries().into_iter().map(|query| (query.title, substituted(&query.expr))).collect()
}

/// Returns the queries of the dashboards' annotations as `(name, expression)`, with Grafana's variables substituted.
pub(crate) fn annotations() -> Vec<(String, String)> {
    let boards = boards();
    let all = boards.iter().flat_map(|board| list(&board.json, "/annotations/list"));
    all.map(|item| (text(item, "/name").to_owned(), substituted(text(item, "/target/expr")))).collect()
}

/// A dashboard.
struct Board {
    file: PathBuf,
    text: String,
    json: Value,
}

/// A query of a panel.
struct Query {
    /// The variables of its dashboard.
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

/// Returns every dashboard, ordered by file name.
fn boards() -> Vec<Board> {
    let folder = fs::read_dir(project("dashboards")).expect("the dashboards are in the repository");
    let files = folder.map(|entry| entry.expect("a folder can be listed").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    assert!(!files.is_empty(), "no dashboards");
    files.into_iter().map(board).collect()
}

fn board(file: PathBuf) -> Board {
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Board { file, text, json }
}

/// Returns every panel of a dashboard, including those in collapsed rows.
fn panels(board: &Value) -> Vec<&Value> {
    list(board, "/panels").iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "/panels"))).collect()
}

fn variable_names(board: &Value) -> BTreeSet<String> {
    list(board, "/templating/list").iter().map(|variable| text(variable, "/name").to_owned()).collect()
}

/// Returns the variables whose values are queried from Prometheus.
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
