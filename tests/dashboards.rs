//! The boards and alert rules that are shipped: they load into any Grafana, and every metric they name exists.
//!
//! Reads files only. [`expressions`] gives what the boards ask, for a test that asks a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use redis_client_exporter::catalogue::{ALL, Metric, MetricKind};
use serde_json::Value;

use crate::runbooks;

/// Panels that every Grafana since version 10 draws.
const PANEL_TYPES: &[&str] = &["bargauge", "gauge", "heatmap", "row", "stat", "table", "text", "timeseries"];

/// The variables of boards, each narrowed by those before it, and what a selector needs to follow them.
const VARIABLES: [(&str, &str); 4] = [
    ("job", r#"job=~"$job""#),
    ("instance", r#"instance=~"$instance""#),
    ("redis", r#"redis=~"$redis""#),
    ("client_app", r#"client_app=~"$client_app""#),
];

/// Labels that Prometheus adds to every series.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// Metrics that each exporter has of its own work: a pair of exporters does not serve them twice.
const OWN_WORK: &[&str] = &[
    "redis_clients_sample_duration_seconds",
    "redis_clients_sample_errors_total",
    "redis_clients_sample_longest_command_seconds",
    "redis_clients_sample_server_seconds_total",
    "redis_clients_samples_total",
];

/// Families of the catalogue that no board shows, and why.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("redis_clients_sample_pages", "a detail of the plan; duration and longest command tell what it does to the node"),
    ("redis_clients_sample_source", "tells the operator of several exporters, and no panel"),
    ("redis_clients_announcements_total", "the exporter's own work on the channel"),
    ("redis_clients_announcements_heard_total", "the exporter's own work on the channel"),
    ("redis_clients_announcements_refused_total", "the exporter's own work on the channel"),
    ("redis_clients_client_info", "an operator asks for single clients, no board does"),
    ("redis_clients_client_last_interaction_age_seconds", "an operator asks for single clients, no board does"),
    ("redis_clients_client_connection_age_seconds", "an operator asks for single clients, no board does"),
    ("redis_clients_client_memory_bytes", "an operator asks for single clients, no board does"),
    ("redis_clients_client_output_buffer_bytes", "an operator asks for single clients, no board does"),
];

/// Families that only some servers report, which the panel has to say.
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

/// Parts of expressions that may give no data on a healthy, quiet node, and why.
pub(crate) const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("redis_clients_app_commands_total", "only some servers report it"),
    ("redis_clients_app_network_receive_bytes_total", "only some servers report it"),
    ("redis_clients_app_network_transmit_bytes_total", "only some servers report it"),
    ("* 1000 and max", "no application that was ever there is offline"),
    ("redis_clients_evicted_total", "only some servers report it"),
    ("redis_clients_library_connections", "only some servers report it"),
    ("redis_clients_output_buffer_limit_disconnections_total", "only some servers report it"),
    ("redis_clients_query_buffer_limit_disconnections_total", "only some servers report it"),
    ("redis_clients_tracking", "only some servers report it"),
    ("< 1.5 *", "maxclients is drawn only when it is near"),
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

struct Board {
    file: PathBuf,
    text: String,
    json: Value,
}

struct Query {
    variables: BTreeSet<String>,
    title: String,
    description: String,
    expr: String,
    instant: bool,
    heatmap: bool,
}

#[test]
fn no_board_needs_inputs_that_provisioning_does_not_fill_in() {
    for board in boards() {
        assert!(!["__inputs", "DS_PROMETHEUS"].iter().any(|input| board.text.contains(input)), "{}", board.name());
    }
}

#[test]
fn the_data_source_is_a_variable_with_a_default() {
    let needed = ["/name", "/type", "/query", "/label", "/current/value"];
    for board in boards() {
        let variables = list(&board.json, "/templating/list").iter();
        let mut told = variables.map(|variable| needed.map(|pointer| text(variable, pointer)));
        let found = told.any(|told| told == ["datasource", "datasource", "prometheus", "Data source", "default"]);
        assert!(found, "{}", board.name());
    }
}

#[test]
fn everything_asks_the_chosen_data_source() {
    for board in boards() {
        let mut asking: Vec<&Value> = panels(&board.json).into_iter().filter(|panel| !is_row(panel)).collect();
        let targets: Vec<&Value> = asking.iter().flat_map(|panel| list(panel, "/targets")).collect();
        asking.extend(targets);
        asking.extend(list(&board.json, "/annotations/list"));
        asking.extend(query_variables(&board.json));
        for item in asking {
            let chosen = (text(item, "/datasource/type"), text(item, "/datasource/uid"));
            assert_eq!(chosen, ("prometheus", "${datasource}"), "{}: {item}", board.name());
        }
    }
}

#[test]
fn a_board_brings_an_address_of_its_own_and_nothing_of_the_grafana_it_was_made_in() {
    for board in boards() {
        let uid = text(&board.json, "/uid");
        assert_eq!(board.name(), format!("{uid}.json"));
        assert!(uid.len() <= 40, "{uid}");
        for noise in ["id", "iteration", "version"] {
            assert!(board.json[noise].is_null(), "{uid}: {noise}");
        }
        assert!(!board.text.contains("\"pluginVersion\""), "{uid}");
    }
}

#[test]
fn boards_share_schema_and_manners() {
    for board in boards() {
        assert_eq!(board.json["schemaVersion"], 41, "{}", board.name());
        assert_eq!(board.json["editable"], false, "{}", board.name());
        assert_eq!(board.json["graphTooltip"], 1, "{}", board.name());
        assert!(["30s", "1m"].contains(&text(&board.json, "/refresh")), "{}: refresh", board.name());
    }
}

#[test]
fn variables_take_several_values_and_follow_the_time_range() {
    for board in boards() {
        for variable in query_variables(&board.json) {
            let name = text(variable, "/name");
            assert_eq!(text(variable, "/label"), name);
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()), "{name}");
            assert_eq!((text(variable, "/allValue"), &variable["refresh"]), (".+", &2.into()), "{name}");
            assert_ne!(variable["sort"], 0, "{name}: unsorted");
        }
    }
}

#[test]
fn each_variable_is_narrowed_by_those_before_it() {
    for board in boards() {
        let variables: Vec<&Value> = query_variables(&board.json).collect();
        assert!(variables.len() >= 3, "{}", board.name());
        for (place, variable) in variables.into_iter().enumerate() {
            let ((name, _), before) = (VARIABLES[place], &VARIABLES[..place]);
            let query = text(variable, "/query/query");
            assert_eq!((text(variable, "/name"), text(variable, "/definition")), (name, query), "{}", board.name());
            assert!(query.ends_with(&format!(", {name})")), "{}: {query}", board.name());
            assert!(before.iter().all(|(_, selector)| query.contains(selector)), "{}: {query}", board.name());
        }
    }
}

#[test]
fn links_lead_to_a_board_and_set_variables_that_it_has() {
    let boards = boards();
    let mut met = 0;
    for url in boards.iter().flat_map(|board| values_of(&board.json, "url")).filter(|url| !url.is_empty()) {
        let (path, given) = url.split_once('?').unwrap_or((url, ""));
        let aim = boards.iter().find(|board| path == format!("/d/{}", text(&board.json, "/uid")));
        let aim = aim.unwrap_or_else(|| panic!("{url}: no such board"));
        let variables = variable_names(&aim.json);
        for part in given.split('&') {
            // What a client chose as its name may hold every character that means something in an address.
            let (name, is_safe) = match part.strip_prefix("var-").and_then(|part| part.split_once('=')) {
                Some((name, value)) => (name, value.ends_with(":percentencode}")),
                None if part == "${__url_time_range}" => continue,
                None => {
                    (part.trim_start_matches("${").trim_end_matches(":queryparam}"), part.ends_with(":queryparam}"))
                }
            };
            assert!(is_safe && variables.contains(name), "{url}: {part}");
        }
        met += 1;
    }
    assert!(met > 0, "no links");
}

#[test]
fn boards_lead_to_each_other() {
    for board in boards() {
        let mut links = list(&board.json, "/links").iter();
        let to_all = links.any(|link| link["type"] == "dashboards" && link["tags"][0] == "redis-clients");
        assert!(to_all && list(&board.json, "/tags").contains(&"redis-clients".into()), "{}", board.name());
    }
}

#[test]
fn panels_are_of_types_that_every_grafana_has() {
    no_faulty_panel(|panel| !PANEL_TYPES.contains(&text(panel, "/type")));
}

#[test]
fn panels_say_what_they_show() {
    no_faulty_panel(|panel| text(panel, "/title").is_empty());
    no_faulty_panel(|panel| !is_row(panel) && text(panel, "/description").is_empty());
}

#[test]
fn panels_have_a_unit_and_a_question() {
    let shows_data = |panel: &Value| !["row", "text"].contains(&text(panel, "/type"));
    no_faulty_panel(|panel| shows_data(panel) && text(panel, "/fieldConfig/defaults/unit").is_empty());
    no_faulty_panel(|panel| shows_data(panel) && list(panel, "/targets").is_empty());
}

#[test]
fn ids_are_unique() {
    for board in boards() {
        let panels = panels(&board.json);
        let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{}: panel ids", board.name());
        for panel in panels {
            let targets = list(panel, "/targets");
            let refs: BTreeSet<&str> = targets.iter().map(|target| text(target, "/refId")).collect();
            assert_eq!(refs.len(), targets.len(), "{}: refIds of {}", board.name(), panel["title"]);
        }
    }
}

#[test]
fn panels_lie_side_by_side_within_the_grid() {
    for board in boards() {
        let mut taken = BTreeSet::new();
        for panel in panels(&board.json) {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or_default());
            assert!(w > 0 && h > 0 && x + w <= 24, "{}: {}", board.name(), panel["title"]);
            let mut cells = (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line)));
            assert!(cells.all(|cell| taken.insert(cell)), "{}: {} lies on another", board.name(), panel["title"]);
        }
    }
}

#[test]
fn every_selector_follows_the_variables() {
    for query in queries() {
        for (metric, rest) in metrics_in(&query.expr) {
            let has_label = |name| metric.labels.contains(&name) || TARGET_LABELS.contains(&name);
            let (selector, _) = rest.split_once('}').unwrap_or_default();
            assert!(selector.starts_with('{'), "{}: {}", query.title, query.expr);
            let mut needed = VARIABLES.iter().filter(|(name, _)| query.variables.contains(*name) && has_label(name));
            assert!(needed.all(|(_, need)| selector.contains(need)), "{}: {}", query.title, query.expr);
        }
    }
}

#[test]
fn counters_are_only_seen_as_rates() {
    for query in queries() {
        for (metric, rest) in metrics_of(&query, MetricKind::Counter) {
            let before = &query.expr[..query.expr.len() - rest.len() - metric.name.len()];
            let is_rate = before.ends_with("rate(") || before.ends_with("increase(");
            assert!(is_rate, "{}: {}", query.title, query.expr);
            // All of the shown time gives one number: as a line it would count most of it again at each point.
            let range = if query.instant { "[$__range]" } else { "[$__rate_interval]" };
            assert!(after_selector(rest).starts_with(range), "{}: {}", query.title, query.expr);
        }
    }
}

#[test]
fn gauges_are_never_seen_as_rates() {
    for query in queries() {
        let gauges = [MetricKind::Gauge, MetricKind::Histogram].map(|kind| metrics_of(&query, kind)).concat();
        for (metric, rest) in gauges {
            assert!(!after_selector(rest).starts_with('['), "{}: {} is no counter", query.title, metric.name);
        }
    }
}

#[test]
fn histograms_are_heatmaps_or_quantiles() {
    for query in queries() {
        for (metric, _) in metrics_of(&query, MetricKind::Histogram) {
            let fit = query.heatmap || query.expr.contains("histogram_quantile(");
            assert!(fit && query.expr.contains("sum by (le)"), "{}: {}", query.title, metric.name);
        }
    }
}

#[test]
fn heatmaps_take_buckets_as_they_are() {
    no_faulty_panel(|panel| text(panel, "/type") == "heatmap" && panel["options"]["calculate"] != false);
    no_faulty_panel(|panel| {
        let targets = list(panel, "/targets");
        text(panel, "/type") == "heatmap"
            && !targets.iter().all(|t| text(t, "/format") == "heatmap" && text(t, "/legendFormat") == "{{le}}")
    });
}

#[test]
fn nothing_is_divided_by_what_may_be_zero() {
    for query in queries() {
        for (place, _) in query.expr.match_indices(" / ") {
            let divisor = parenthesised(&query.expr[place + 3..]);
            assert!(divisor.is_some_and(|divisor| divisor.ends_with(" > 0")), "{}: {}", query.title, query.expr);
        }
    }
}

#[test]
fn topk_is_asked_for_one_moment_only() {
    for query in queries() {
        assert!(query.instant || !query.expr.contains("topk("), "{}: other members at each point", query.title);
    }
}

#[test]
fn a_pair_of_exporters_counts_once() {
    for query in queries() {
        let rest = without_pairs(&query.expr);
        let counted_twice = metrics_in(&rest).into_iter().any(|(metric, _)| !OWN_WORK.contains(&metric.name));
        assert!(!counted_twice, "{}: {rest}", query.title);
    }
}

#[test]
fn panels_say_what_only_some_servers_report() {
    for query in queries() {
        let some = metrics_in(&query.expr).iter().any(|(metric, _)| SOME_SERVERS_ONLY.contains(&metric.name));
        assert!(!some || query.description.contains("nly "), "{}: {}", query.title, query.description);
    }
}

#[test]
fn boards_are_written_in_the_normal_form() {
    for board in boards() {
        let normal = serde_json::to_string_pretty(&board.json).expect("what was read can be written");
        assert!(board.text == normal + "\n", "{}: two spaces, sorted keys, a newline at the end", board.name());
    }
}

#[test]
fn every_metric_of_boards_rules_and_runbooks_exists() {
    let rules = read(&root().join("deploy/prometheus/rules.yml"));
    let texts = boards().into_iter().map(|board| (board.name(), board.text)).chain([("rules.yml".to_owned(), rules)]);
    for (name, text) in texts.chain(runbooks::expressions()) {
        let unknown: BTreeSet<&str> = words(&text).filter(|word| is_ours(word) && metric(word).is_none()).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

#[test]
fn every_metric_of_a_node_is_shown_or_left_out_for_a_reason() {
    let queries = queries();
    let shown: BTreeSet<&str> =
        queries.iter().flat_map(|query| metrics_in(&query.expr)).map(|(metric, _)| metric.name).collect();
    for metric in ALL.iter().filter(|metric| metric.name.starts_with("redis_clients_")) {
        let left_out = NOT_SHOWN.iter().any(|&(name, _)| name == metric.name);
        assert_ne!(shown.contains(metric.name), left_out, "{}", metric.name);
    }
}

#[test]
fn lists_name_only_what_there_is() {
    let names = [OWN_WORK, SOME_SERVERS_ONLY].concat();
    assert!(names.iter().chain(NOT_SHOWN.iter().map(|(name, _)| name)).all(|name| metric(name).is_some()));
    let expressions = expressions();
    for (part, _) in MAY_BE_EMPTY {
        assert!(expressions.iter().any(|(_, expr)| expr.contains(part)), "{part}");
    }
}

#[test]
fn no_variable_is_left_in_an_expression() {
    for (title, expr) in expressions() {
        assert!(!expr.contains('$'), "{title}: {expr}");
    }
}

impl Board {
    fn name(&self) -> String {
        self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every board, by name.
fn boards() -> Vec<Board> {
    let folder = fs::read_dir(root().join("dashboards")).expect("the boards are in the repository");
    let files = folder.map(|entry| entry.expect("a folder can be listed").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    assert!(!files.is_empty(), "no boards");
    files.into_iter().map(board).collect()
}

fn board(file: PathBuf) -> Board {
    let text = read(&file);
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

/// Every text of that key, however deep.
fn values_of<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    let own = value.get(key).and_then(Value::as_str);
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    own.into_iter().chain(inner.into_iter().flat_map(|inner| values_of(inner, key))).collect()
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

/// The words of a text that could be a metric's name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'))
}

fn is_ours(word: &str) -> bool {
    ["redis_clients_", "redis_client_exporter_", "process_"].iter().any(|prefix| word.starts_with(prefix))
}

/// The family that a series' name is of.
fn metric(name: &str) -> Option<&'static Metric> {
    let bucket_of = name.strip_suffix("_bucket").unwrap_or_default();
    ALL.iter().find(|metric| match metric.kind {
        MetricKind::Histogram => metric.name == bucket_of,
        MetricKind::Counter | MetricKind::Gauge => metric.name == name,
    })
}

/// Each metric that an expression names, with what follows its name.
fn metrics_in(expr: &str) -> Vec<(&'static Metric, &str)> {
    let known = words(expr).filter_map(|word| Some((metric(word)?, word)));
    known.map(|(metric, word)| (metric, &expr[word.as_ptr().addr() - expr.as_ptr().addr() + word.len()..])).collect()
}

fn metrics_of(query: &Query, kind: MetricKind) -> Vec<(&'static Metric, &str)> {
    metrics_in(&query.expr).into_iter().filter(|(metric, _)| metric.kind == kind).collect()
}

/// What follows a selector, as a range in brackets.
fn after_selector(rest: &str) -> &str {
    rest.split_once('}').map_or("", |(_, after)| after)
}

/// An expression without the parts in which the exporters of a pair are made one.
fn without_pairs(expr: &str) -> String {
    let mut parts = expr.split(" without (instance, pod) ");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let made_one = rest.ends_with("max") || rest.ends_with("min");
        let end = parenthesised(part).filter(|_| made_one).map_or(0, |inside| inside.len() + 2);
        rest += &part[end..];
    }
    rest
}

/// What is in the parentheses with which an expression begins.
fn parenthesised(expr: &str) -> Option<&str> {
    let inside = expr.strip_prefix('(')?;
    let mut depth = 1;
    let end = inside.find(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth == 0
    })?;
    Some(&inside[..end])
}
