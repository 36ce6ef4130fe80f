//! The rules of Grafana's dashboard-linter, under its names. That is a Go program; this is an equivalent check of our
//! dashboards without Go.
//!
//! Not included: `target-logql-rule` and `target-logql-auto-rule`, which are about Loki.

use promql_parser::parser::Expr;
use serde_json::Value;

use super::{Board, boards, is_row, list, panels, query_variables, substituted, text};
use crate::support::promql::{read, selectors};

/// Returns the faults of a dashboard.
type Rule = fn(&Board) -> Vec<String>;

const RULES: &[(&str, Rule)] = &[
    ("template-datasource-rule", template_datasource),
    ("template-job-rule", |board| template(board, "job")),
    ("template-instance-rule", |board| template(board, "instance")),
    ("template-label-promql-rule", template_label_promql),
    ("template-on-time-change-reload-rule", template_reload),
    ("panel-datasource-rule", |board| panel(board, |panel| text(panel, "/datasource/uid") == "${datasource}")),
    ("panel-title-description-rule", |board| {
        panel(board, |panel| !text(panel, "/title").is_empty() && !text(panel, "/description").is_empty())
    }),
    ("panel-units-rule", |board| panel(board, has_units)),
    ("panel-no-targets-rule", |board| panel(board, |panel| !list(panel, "/targets").is_empty())),
    ("target-promql-rule", target_promql),
    ("target-rate-interval-rule", |board| target(board, rates_follow_the_interval)),
    ("target-job-rule", |board| target(board, |expr| every_selector_has(expr, "job"))),
    ("target-instance-rule", |board| target(board, |expr| every_selector_has(expr, "instance"))),
    ("target-counter-agg-rule", |board| target(board, counters_are_rates)),
    ("uneditable-dashboard", |board| fault_unless(board.json["editable"] == false, "it can be edited")),
];

/// Intended violations: the rule, a part of the fault, the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// The units of the linter's list that the dashboards use.
const UNITS: &[&str] =
    &["Bps", "bool_yes_no", "bytes", "cps", "dateTimeFromNow", "locale", "ops", "percentunit", "s", "short"];

#[test]
fn the_rules_of_dashboard_linter_hold() {
    let mut excepted = vec![0; EXCEPTIONS.len()];
    for board in boards() {
        for (name, rule) in RULES {
            for found in rule(&board) {
                let mut exceptions = EXCEPTIONS.iter();
                match exceptions.position(|(rule, part, _)| rule == name && found.contains(part)) {
                    Some(place) => excepted[place] += 1,
                    None => panic!("{}: {name}: {found}", board.name()),
                }
            }
        }
    }
    assert!(!excepted.contains(&0), "an exception is not needed: {excepted:?}");
}

/// Each rule finds a fault in a dashboard that violates all of them.
#[test]
fn the_rules_of_dashboard_linter_find_violations() {
    let panel = |unit: &str, expr: &str| {
        serde_json::json!({
            "type": "timeseries", "title": "", "datasource": { "uid": "mine" },
            "fieldConfig": { "defaults": { "unit": unit } }, "targets": [{ "expr": expr }],
        })
    };
    let json = serde_json::json!({
        "editable": true,
        "templating": { "list": [
            { "type": "query", "name": "job", "refresh": 1, "query": { "query": "label_values(up{, job)" } },
        ] },
        "panels": [
            panel("parsecs", "sum(up"),
            panel("s", "rate(redis_clients_unseen_total[5m])"),
            panel("s", "redis_clients_unseen_total"),
            { "type": "stat", "title": "empty", "targets": [] },
        ],
    });
    let board = Board { file: "broken.json".into(), text: String::new(), json };
    for (name, rule) in RULES {
        assert!(!rule(&board).is_empty(), "{name} finds nothing");
    }
}

fn fault_unless(is_right: bool, fault: &str) -> Vec<String> {
    if is_right { Vec::new() } else { vec![fault.to_owned()] }
}

fn template_datasource(board: &Board) -> Vec<String> {
    let needed = ["/name", "/type", "/query", "/label", "/current/value"];
    let variables = list(&board.json, "/templating/list").iter();
    let mut found = variables.map(|variable| needed.map(|pointer| text(variable, pointer)));
    let exists = found.any(|found| found == ["datasource", "datasource", "prometheus", "Data source", "default"]);
    fault_unless(exists, "no variable for the data source")
}

fn template(board: &Board, name: &str) -> Vec<String> {
    let found = query_variables(&board.json).find(|variable| text(variable, "/name") == name);
    let is_right = found.is_some_and(|variable| {
        let same_label = text(variable, "/label").eq_ignore_ascii_case(name);
        let uses_it = text(variable, "/datasource/uid") == "${datasource}";
        same_label && uses_it && variable["multi"] == true && text(variable, "/allValue") == ".+"
    });
    fault_unless(is_right, name)
}

fn template_label_promql(board: &Board) -> Vec<String> {
    let queries = query_variables(&board.json).map(|variable| text(variable, "/query/query"));
    let wrong = queries.filter(|query| {
        let queried = query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", "));
        queried.is_none_or(|(selector, _)| promql_parser::parser::parse(&substituted(selector)).is_err())
    });
    wrong.map(str::to_owned).collect()
}

fn template_reload(board: &Board) -> Vec<String> {
    let wrong = query_variables(&board.json).filter(|variable| variable["refresh"] != 2);
    wrong.map(|variable| text(variable, "/name").to_owned()).collect()
}

/// Returns the titles of the panels with data that are not right.
fn panel(board: &Board, is_right: impl Fn(&Value) -> bool) -> Vec<String> {
    let panels = panels(&board.json).into_iter().filter(|panel| !is_row(panel) && text(panel, "/type") != "text");
    panels.filter(|panel| !is_right(panel)).map(|panel| panel["title"].to_string()).collect()
}

fn has_units(panel: &Value) -> bool {
    let overrides = list(panel, "/fieldConfig/overrides").iter().flat_map(|item| list(item, "/properties"));
    let units = overrides.filter(|property| text(property, "/id") == "unit").map(|property| text(property, "/value"));
    let default = text(panel, "/fieldConfig/defaults/unit");
    std::iter::once(default).chain(units).all(|unit| UNITS.contains(&unit))
}

fn target_promql(board: &Board) -> Vec<String> {
    let wrong = queried(board).into_iter().filter(|expr| promql_parser::parser::parse(expr).is_err());
    wrong.collect()
}

/// Returns the valid expressions that are not right.
fn target(board: &Board, is_right: impl Fn(&Expr) -> bool) -> Vec<String> {
    let queried = queried(board).into_iter().filter(|expr| promql_parser::parser::parse(expr).is_ok());
    queried.filter(|expr| !is_right(&read(expr))).collect()
}

fn queried(board: &Board) -> Vec<String> {
    let targets = panels(&board.json).into_iter().flat_map(|panel| list(panel, "/targets"));
    targets.map(|target| substituted(text(target, "/expr"))).collect()
}

fn rates_follow_the_interval(expr: &Expr) -> bool {
    let interval = promql_parser::util::parse_duration(&substituted("$__rate_interval")).ok();
    selectors(expr).iter().all(|selector| {
        let rate = selector.within.last().is_some_and(|function| ["rate", "irate"].contains(&function.as_str()));
        !rate || selector.range == interval
    })
}

fn every_selector_has(expr: &Expr, label: &str) -> bool {
    let needed = (label.to_owned(), "=~".to_owned(), substituted(&format!("${label}")));
    selectors(expr).iter().all(|selector| selector.matchers.contains(&needed))
}

fn counters_are_rates(expr: &Expr) -> bool {
    selectors(expr).iter().filter(|selector| selector.series.ends_with("_total")).all(|selector| {
        selector.within.iter().any(|function| ["rate", "irate", "increase"].contains(&function.as_str()))
    })
}
