//! `/apps`: the applications, online, offline and expected; added up over several servers, and of each of a few.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use askama::Template;
use jiff::Timestamp;

use super::overview::app_link;
use super::{Frame, MAX_FULL_NODES, all_banners, clients_link, rfc3339, selected_pairs};
use crate::latest::{AppSum, FleetApps, FleetExpectation, NodeState, Nodes};
use crate::snapshot::{Minimum, Seen};
use crate::text::OTHER;
use crate::view::app_row::AppRow;
use crate::view::humanize::count;
use crate::view::humanize::measure_text;
use crate::view::measure::Measure;
use crate::web::query::Query;

#[derive(Template)]
#[template(path = "apps.html")]
pub(super) struct AppsPage<'a> {
    frame: Frame<'a>,
    banners: Vec<String>,
    search: String,
    /// The parameters that the form keeps.
    others: Vec<(String, String)>,
    fleet: Option<FleetView>,
    heads: Vec<&'static Measure>,
    nodes: Vec<(String, Vec<AppCells>)>,
}

/// The applications over the selected nodes.
struct FleetView {
    partly: String,
    /// The link to all measures.
    measures: String,
    folded: String,
    rows: Vec<FleetCells>,
}

#[derive(Default)]
struct FleetCells {
    name: String,
    link: String,
    state: String,
    /// True if it has fewer connections than it should have.
    is_failing: bool,
    expected: String,
    connections: String,
    nodes: String,
    /// The link to its connections to each node.
    nodes_link: String,
    last_seen: String,
}

/// The facts about an application that nodes remember, also while it is offline.
#[derive(Clone, Copy, Default)]
struct Remembered {
    last_seen: Option<Timestamp>,
    expected_on_all: Option<u64>,
    /// The number of nodes on which it has too few connections.
    missing_on: u64,
}

struct AppCells {
    name: String,
    link: String,
    state: &'static str,
    expected: String,
    measures: Vec<String>,
    opened: String,
    closed: String,
    last_seen: String,
}

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, frame: Frame<'a>) -> AppsPage<'a> {
    let missing = nodes.fleet_expectations(now).into_iter().filter(FleetExpectation::is_missing);
    let missing: BTreeSet<&str> = missing.map(|expectation| expectation.app).collect();
    let of_node = |node: &NodeState| {
        let seen = node.last_snapshot().into_iter().flat_map(|snapshot| snapshot.presence.all());
        let matching = seen.filter(|seen| query.selection.matches(AppRow { node: &node.node, app: &seen.app }));
        let mut apps: Vec<AppCells> =
            matching.map(|seen| cells(&node.node, seen, missing.contains(&*seen.app))).collect();
        // Missing and offline applications come first.
        apps.sort_by_key(|app| ["missing", "offline"].iter().position(|state| *state == app.state).unwrap_or(2));
        (node.node.to_string(), apps)
    };
    let selected = query.nodes(nodes).count();
    let full_nodes = if selected > MAX_FULL_NODES { 0 } else { selected };
    AppsPage {
        frame,
        banners: all_banners(nodes, query, now),
        search: query.given("q").to_owned(),
        others: query.others(&["q"]),
        fleet: (selected > 1).then(|| fleet(nodes, now, query, &missing)),
        heads: Measure::shown().collect(),
        nodes: query.nodes(nodes).take(full_nodes).map(of_node).collect(),
    }
}

/// The applications over the selected nodes: the missing and the offline ones first, then the most connections. Of each
/// kind there are at most as many as the group limit.
fn fleet(nodes: &Nodes, now: Instant, query: &Query, missing: &BTreeSet<&str>) -> FleetView {
    let matches = |app: &str| query.selection.matches(AppRow { node: "", app });
    let apps = FleetApps::of(query.nodes(nodes), now);
    let (largest, folded) = apps.largest(matches);
    let remembered = remembered(query.nodes(nodes), now);
    let row = |app: &str, sum: AppSum| {
        let of = remembered.get(app).copied().unwrap_or_default();
        fleet_cells(query, app, sum, of, missing.contains(app), apps.is_offline(app))
    };
    let is_missing = |app: &str, of: &Remembered| missing.contains(app) || of.missing_on > 0;
    let listed = remembered.iter().filter(|(app, _)| **app != OTHER && matches(app));
    let mut first: Vec<_> = listed.filter(|(app, of)| is_missing(app, of) || apps.sum(app).connections == 0).collect();
    first.sort_by_key(|(app, of)| (!is_missing(app, of), Reverse(of.last_seen), **app));
    first.truncate(apps.limit);
    let named: BTreeSet<&str> = first.iter().map(|(app, _)| **app).collect();
    let first = first.into_iter().map(|(app, _)| row(app, apps.sum(app)));
    let rest = largest.into_iter().filter(|(app, _)| !named.contains(app)).map(|(app, sum)| row(app, sum));
    FleetView {
        partly: partly(&apps),
        measures: clients_link(&[&selected_pairs(query)[..], &[("group", "app")]].concat()),
        folded: if folded == 0 { String::new() } else { count(folded as u64) },
        rows: first.chain(rest).collect(),
    }
}

fn fleet_cells(
    query: &Query,
    app: &str,
    sum: AppSum,
    of: Remembered,
    is_missing: bool,
    is_offline: bool,
) -> FleetCells {
    let connections = count(sum.connections);
    if app == OTHER {
        return FleetCells { name: app.to_owned(), connections, ..FleetCells::default() };
    }
    let state = match of.missing_on {
        0 if is_missing => "missing".to_owned(),
        0 if sum.connections > 0 => "online".to_owned(),
        0 if is_offline => "offline".to_owned(),
        // A server that is not known may have it.
        0 => "unknown".to_owned(),
        1 => "missing on 1 server".to_owned(),
        several => format!("missing on {several} servers"),
    };
    let mut pairs = selected_pairs(query);
    pairs.extend([("app", app), ("group", "redis")]);
    FleetCells {
        name: app.to_owned(),
        link: fleet_app_link(query, app),
        is_failing: state == "offline" || state.starts_with("missing"),
        state,
        expected: of.expected_on_all.map_or_else(String::new, |minimum| format!("{} on all", count(minimum))),
        connections,
        nodes: count(sum.nodes),
        nodes_link: if sum.nodes > 0 { clients_link(&pairs) } else { String::new() },
        last_seen: match of.last_seen {
            _ if sum.connections > 0 => "now".to_owned(),
            Some(time) => rfc3339(Some(time)),
            None => "never".to_owned(),
        },
    }
}

/// The applications that the nodes show, also while they are offline.
fn remembered<'a>(nodes: impl Iterator<Item = &'a NodeState>, now: Instant) -> BTreeMap<&'a str, Remembered> {
    let mut all = BTreeMap::<&str, Remembered>::new();
    for node in nodes {
        let is_known = node.fresh_snapshot(now).is_some();
        for seen in node.last_snapshot().into_iter().flat_map(|snapshot| snapshot.presence.all()) {
            let of = all.entry(&seen.app).or_default();
            of.last_seen = of.last_seen.max(seen.last_seen);
            of.expected_on_all = of.expected_on_all.or(seen.expected.on_all_nodes);
            let is_missing = seen.expected.on_node.is_some_and(|minimum| seen.now.connections < minimum);
            of.missing_on += u64::from(is_known && is_missing);
        }
    }
    all
}

/// The sentence about nodes that are not in the sums; empty if all are.
pub(super) fn partly(apps: &FleetApps<'_>) -> String {
    match apps.nodes - apps.known {
        0 => format!("Added up over {} servers.", apps.nodes),
        unknown => {
            let noun = if unknown == 1 { "one has" } else { "the others have" };
            format!("Added up over {} of {} servers: {noun} no current list of clients.", apps.known, apps.nodes)
        }
    }
}

/// The link to the clients of an application on the selected nodes; empty for `(other)`, which is not one application.
pub(super) fn fleet_app_link(query: &Query, app: &str) -> String {
    if app == OTHER {
        return String::new();
    }
    clients_link(&[&selected_pairs(query)[..], &[("app", app)]].concat())
}

/// `is_missing` is true for an application that all nodes together have too few connections of.
fn cells(node: &str, seen: &Seen, is_missing: bool) -> AppCells {
    let Minimum { on_node, on_all_nodes } = seen.expected;
    let expected = [on_node.map(count), on_all_nodes.map(|minimum| format!("{} on all", count(minimum)))];
    AppCells {
        name: seen.app.to_string(),
        link: app_link(node, &seen.app),
        state: match seen.is_online() {
            // It is not one application that could be online or offline.
            _ if *seen.app == *OTHER => "",
            _ if is_missing || on_node.is_some_and(|minimum| seen.now.connections < minimum) => "missing",
            true => "online",
            false => "offline",
        },
        expected: expected.into_iter().flatten().collect::<Vec<_>>().join(", "),
        measures: Measure::shown().map(|measure| measure_text(measure, measure.value(&seen.now))).collect(),
        opened: count(seen.totals.opened),
        closed: count(seen.totals.closed),
        last_seen: match seen.last_seen {
            _ if seen.is_online() => "now".to_owned(),
            _ if *seen.app == *OTHER => String::new(),
            Some(time) => rfc3339(Some(time)),
            None => "never".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Tally, Totals};

    #[test]
    fn the_others_together_are_neither_online_nor_offline() {
        let state = |app: &str| {
            let (now, totals) = (Tally::default(), Totals::default());
            let expected = Minimum::default();
            let seen = Seen { app: app.into(), now, totals, last_seen: None, expected, held: None };
            cells("node:1", &seen, false).state
        };
        assert_eq!((state(OTHER), state("web")), ("", "offline"));
    }
}
