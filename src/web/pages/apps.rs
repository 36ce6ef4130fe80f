//! `/apps`: the applications, online, offline and expected.

use std::collections::BTreeSet;
use std::time::Instant;

use askama::Template;

use super::overview::app_link;
use super::{Frame, all_banners, rfc3339};
use crate::latest::{FleetExpectation, NodeState, Nodes};
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
    heads: Vec<&'static Measure>,
    nodes: Vec<(String, Vec<AppCells>)>,
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
    AppsPage {
        frame,
        banners: all_banners(nodes, query, now),
        search: query.given("q").to_owned(),
        heads: Measure::shown().collect(),
        nodes: query.nodes(nodes).map(of_node).collect(),
    }
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
