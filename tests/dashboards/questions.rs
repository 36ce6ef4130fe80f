//! The queries of the dashboards: every expression is valid PromQL, selects series that exist, and matches its panel.

use std::collections::BTreeSet;

use redis_client_exporter::catalogue::{ALL, Metric, MetricKind};

use super::{
    Query, VARIABLES, annotations, boards, expressions, list, panels, queries, query_variables, substituted, text,
};
use crate::runbooks;
use crate::support::promql::{Labels, Selector, metric, read, selectors};
use crate::support::rules;

/// Labels that Prometheus adds to every series.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// The metrics about an exporter's own work, which differ between the exporters of a pair. They need no deduplication.
const OWN_WORK: &[&str] = &[
    "redis_clients_sample_duration_seconds",
    "redis_clients_sample_errors_total",
    "redis_clients_sample_longest_command_seconds",
    "redis_clients_sample_server_seconds_total",
    "redis_clients_samples_total",
];

/// The metrics that no dashboard shows, and why.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("redis_clients_same_server", "a setting of the exporter, which its log, its pages and `check` warn about"),
    ("redis_clients_sample_pages", "a detail of the plan; duration and longest command show its effect on the node"),
    ("redis_clients_sample_source_info", "only for operators of several exporters"),
    (
        "redis_clients_discovery_last_success_timestamp_seconds",
        "the alert about failing discoveries uses it; a panel shows those that fail",
    ),
    ("redis_clients_own_connections_total", "for adding up the connections that the server received"),
    ("redis_clients_announcements_total", "the exporter's own work on the channel"),
    ("redis_clients_announcements_received_total", "the exporter's own work on the channel"),
    ("redis_clients_announcements_refused_total", "the exporter's own work on the channel"),
    ("redis_client_exporter_tls_insecure_skip_verify", "a setting of the exporter, which operators choose themselves"),
    ("redis_clients_info_fields_refused", "a fault of the server, whose metrics are left out; `check` names it"),
    ("redis_clients_clock_difference_seconds", "no other value depends on it; the page and `check` show it"),
    ("redis_clients_snapshots_missed_total", "the exporter's own work on the channel"),
    ("redis_clients_group_limit", "a setting of the exporter; redis_clients_groups_folded shows its effect"),
    ("redis_clients_fleet_apps_folded", "beside the sum over a target, in which the small applications are (other)"),
    (
        "redis_clients_fleet_app_connections",
        "the sum of the series by node that the boards show, for scrapes without them",
    ),
    ("redis_clients_fleet_expected_app_connections", "for the alert; the boards show the connections by node"),
    ("redis_clients_client_info", "only for operators that export individual clients"),
    ("redis_clients_client_last_interaction_age_seconds", "only for operators that export individual clients"),
    ("redis_clients_client_connection_age_seconds", "only for operators that export individual clients"),
    ("redis_clients_client_memory_bytes", "only for operators that export individual clients"),
    ("redis_clients_client_output_buffer_bytes", "only for operators that export individual clients"),
];

/// The metrics that only some servers report. Their panels must say so.
const SOME_SERVERS_ONLY: &[&str] = &[
    "redis_clients_app_commands_total",
    "redis_clients_app_memory_bytes",
    "redis_clients_app_network_receive_bytes_total",
    "redis_clients_app_network_transmit_bytes_total",
    "redis_clients_evicted_total",
    "redis_clients_library_connections",
    "redis_clients_output_buffer_limit_disconnections_total",
    "redis_clients_query_buffer_limit_disconnections_total",
    "redis_clients_sample_longest_command_seconds",
    "redis_clients_sample_server_seconds_total",
    "redis_clients_sample_within_budget",
    "redis_clients_tracking",
    "redis_clients_user_connections",
];

/// Dashboards work without the recording rules. Runbooks may use the rules.
#[test]
fn every_expression_uses_series_and_labels_that_exist() {
    let (recorded, without_rules) = (rules::recorded(), Default::default());
    let rules = rules::rules().into_iter().map(|rule| ("rules.yml".to_owned(), rule.expr));
    let of_boards = expressions().into_iter().chain(annotations()).map(|query| (query, &without_rules));
    let of_rules = rules.chain(runbooks::expressions()).map(|query| (query, &recorded));
    let mut checked = 0;
    for ((place, expr), known) in of_boards.chain(of_rules) {
        known.labels(&read(&expr)).unwrap_or_else(|fault| panic!("{place}: {expr}: {fault}"));
        checked += 1;
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn variables_query_labels_that_exist() {
    for board in boards() {
        for variable in query_variables(&board.json) {
            let query = substituted(text(variable, "/query/query"));
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) = inside.and_then(|inside| inside.rsplit_once(", ")).expect("values of a label");
            assert!(labels(selector).contains(label), "{query}");
        }
    }
}

#[test]
fn legends_columns_and_annotations_use_labels_of_the_result() {
    for query in queries() {
        let unknown: Vec<_> =
            named(&query.legend).filter(|label| !labels(&substituted(&query.expr)).contains(*label)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} of {}", query.title, query.expr);
    }
    for board in boards() {
        for panel in panels(&board.json) {
            let targets = list(panel, "/targets").iter();
            let existing: Labels = targets.flat_map(|target| labels(&substituted(text(target, "/expr")))).collect();
            for change in list(panel, "/transformations") {
                let given = ["excludeByName", "includeByName", "indexByName", "renameByName"];
                let columns =
                    given.iter().filter_map(|way| change["options"][way].as_object()).flat_map(|way| way.keys());
                let unknown: Vec<_> = columns
                    .filter(|name| !name.starts_with("Value #") && *name != "Time" && !existing.contains(*name))
                    .collect();
                assert!(unknown.is_empty(), "{}: {unknown:?}", panel["title"]);
            }
        }
        for item in list(&board.json, "/annotations/list") {
            let existing = labels(&substituted(text(item, "/target/expr")));
            let formats = [text(item, "/titleFormat"), text(item, "/textFormat")].concat();
            assert!(named(&formats).all(|label| existing.contains(label)), "{item}");
        }
    }
}

/// A label that is neither renamed nor excluded would be an unintended column.
#[test]
fn tables_have_no_unintended_columns() {
    let mut checked = 0;
    for board in boards() {
        for panel in panels(&board.json).into_iter().filter(|panel| text(panel, "/type") == "table") {
            let targets = list(panel, "/targets").iter();
            let existing: Labels = targets.flat_map(|target| labels(&substituted(text(target, "/expr")))).collect();
            let organized = list(panel, "/transformations").iter().find(|change| change["id"] == "organize");
            let options = &organized.unwrap_or_else(|| panic!("{}", panel["title"]))["options"];
            let unintended: Vec<_> = existing
                .iter()
                .filter(|label| options["renameByName"][label].is_null() && options["excludeByName"][label].is_null())
                .collect();
            assert!(unintended.is_empty(), "{}: {unintended:?}", panel["title"]);
            checked += 1;
        }
    }
    assert!(checked > 2);
}

#[test]
fn every_selector_follows_the_variables() {
    for query in queries() {
        for (metric, selector) in selected(&query) {
            let has_label = |name| metric.labels.contains(&name) || TARGET_LABELS.contains(&name);
            // The node is selected within the cluster.
            let variables = VARIABLES.iter().filter(|(name, _)| *name != "cluster");
            for (name, _) in variables.filter(|(name, _)| query.variables.contains(*name) && has_label(name)) {
                let needed = ((*name).to_owned(), "=~".to_owned(), substituted(&format!("${name}")));
                assert!(selector.matchers.contains(&needed), "{}: {}", query.title, query.expr);
            }
        }
    }
}

#[test]
fn counters_are_shown_only_as_rates() {
    for query in queries() {
        for (_, selector) in selected_of(&query, MetricKind::Counter) {
            let is_rate = selector.within.last().is_some_and(|name| ["rate", "increase"].contains(&name.as_str()));
            assert!(is_rate, "{}: {}", query.title, query.expr);
            // A range of the whole period is for a single number. In a graph, the ranges of its points would overlap.
            let range = if query.instant { "[$__range]" } else { "[$__rate_interval]" };
            assert!(query.expr.contains(range), "{}: {}", query.title, query.expr);
            let range = substituted(range.trim_matches(['[', ']']));
            assert_eq!(selector.range, promql_parser::util::parse_duration(&range).ok(), "{}", query.title);
        }
    }
}

#[test]
fn gauges_are_never_shown_as_rates() {
    for query in queries() {
        for kind in [MetricKind::Gauge, MetricKind::Histogram] {
            let ranges = selected_of(&query, kind).into_iter().find(|(_, selector)| selector.range.is_some());
            assert!(ranges.is_none(), "{}: {ranges:?} is not a counter", query.title);
        }
    }
}

#[test]
fn histograms_are_heatmaps_or_quantiles() {
    for query in queries() {
        for (metric, selector) in selected_of(&query, MetricKind::Histogram) {
            let is_right = query.heatmap || selector.within.contains(&"histogram_quantile".to_owned());
            assert!(is_right && query.expr.contains("sum by (le)"), "{}: {}", query.title, metric.name);
        }
    }
}

#[test]
fn no_divisor_may_be_zero() {
    for query in queries() {
        for (place, _) in query.expr.match_indices(" / ") {
            let divisor = parenthesised(&query.expr[place + 3..]);
            assert!(divisor.is_some_and(|divisor| divisor.ends_with(" > 0")), "{}: {}", query.title, query.expr);
        }
    }
}

#[test]
fn topk_is_only_in_instant_queries() {
    for query in queries() {
        assert!(
            query.instant || !query.expr.contains("topk("),
            "{}: its members change from point to point",
            query.title
        );
    }
}

#[test]
fn a_pair_of_exporters_is_counted_once() {
    for query in queries() {
        let rest = without_pairs(&query.expr);
        let left = ALL.iter().find(|metric| rest.contains(metric.name) && !OWN_WORK.contains(&metric.name));
        assert_eq!(left.map(|metric| metric.name), None, "{}: {rest}", query.title);
    }
}

#[test]
fn panels_mention_metrics_that_only_some_servers_report() {
    for query in queries() {
        let some = selected(&query).iter().any(|(metric, _)| SOME_SERVERS_ONLY.contains(&metric.name));
        assert!(!some || query.description.contains("nly "), "{}: {}", query.title, query.description);
    }
}

#[test]
fn every_metric_of_a_node_is_shown_or_has_a_reason() {
    let queries = queries();
    let shown: BTreeSet<&str> = queries.iter().flat_map(selected).map(|(metric, _)| metric.name).collect();
    for metric in ALL.iter().filter(|metric| metric.name.starts_with("redis_clients_")) {
        let left_out = NOT_SHOWN.iter().any(|&(name, _)| name == metric.name);
        assert_ne!(shown.contains(metric.name), left_out, "{}", metric.name);
    }
}

#[test]
fn the_lists_have_only_metrics_that_exist() {
    let names = [OWN_WORK, SOME_SERVERS_ONLY].concat();
    assert!(names.iter().chain(NOT_SHOWN.iter().map(|(name, _)| name)).all(|name| metric(name).is_some()));
}

#[test]
fn no_variable_is_left_in_an_expression() {
    for (title, expr) in expressions().into_iter().chain(annotations()) {
        assert!(!expr.contains('$'), "{title}: {expr}");
    }
}

/// Returns the labels of an expression's result, without the recording rules.
fn labels(expr: &str) -> Labels {
    let known = crate::support::promql::Known::default();
    known.labels(&read(expr)).unwrap_or_else(|fault| panic!("{expr}: {fault}"))
}

/// Returns the labels that a text refers to: `{{label}}`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()))
}

/// Returns each selector of a query, with its metric.
fn selected(query: &Query) -> Vec<(&'static Metric, Selector)> {
    let selectors = selectors(&read(&substituted(&query.expr)));
    selectors.into_iter().filter_map(|selector| Some((metric(&selector.series)?, selector))).collect()
}

fn selected_of(query: &Query, kind: MetricKind) -> Vec<(&'static Metric, Selector)> {
    selected(query).into_iter().filter(|(metric, _)| metric.kind == kind).collect()
}

/// Removes the parts of an expression that deduplicate a pair of exporters.
fn without_pairs(expr: &str) -> String {
    let mut parts = expr.split(" without (instance, pod) ");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_deduplicated = rest.ends_with("max") || rest.ends_with("min");
        let end = parenthesised(part).filter(|_| is_deduplicated).map_or(0, |inside| inside.len() + 2);
        rest += &part[end..];
    }
    rest
}

/// Returns the content of the parentheses at the start of an expression.
fn parenthesised(expr: &str) -> Option<&str> {
    let inside = expr.strip_prefix('(')?;
    let mut depth = 1;
    let end = inside.find(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth == 0
    })?;
    Some(&inside[..end])
}
