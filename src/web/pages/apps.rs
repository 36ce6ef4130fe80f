//! `/apps`: which applications are there, which went, and which should be there.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;

use super::overview::app_link;
use super::{Frame, all_banners, moment, wanted};
use crate::latest::{NodeState, Nodes};
use crate::snapshot::Seen;
use crate::view::humanize::{ago, bytes, count};
use crate::view::query::Query;

#[derive(Template)]
#[template(path = "apps.html")]
pub(super) struct AppsPage<'a> {
    frame: Frame<'a>,
    banners: Vec<String>,
    nodes: Vec<(String, Vec<AppView>)>,
}

struct AppView {
    name: String,
    link: String,
    state: &'static str,
    connections: String,
    expected: String,
    blocked: String,
    oldest: String,
    memory: String,
    output: String,
    opened: String,
    closed: String,
    last_seen: String,
}

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, frame: Frame<'a>) -> AppsPage<'a> {
    let of_node = |node: &Arc<NodeState>| {
        let seen = node.last_snapshot().into_iter().flat_map(|snapshot| snapshot.presence.all());
        let mut apps: Vec<AppView> = seen.map(|seen| view(&node.node, seen)).collect();
        // Who is not there is what one looks for.
        apps.sort_by_key(|app| ["missing", "offline"].iter().position(|state| *state == app.state).unwrap_or(2));
        (node.node.to_string(), apps)
    };
    AppsPage { frame, banners: all_banners(nodes, query, now), nodes: wanted(nodes, query).map(of_node).collect() }
}

fn view(node: &str, seen: &Seen) -> AppView {
    AppView {
        name: seen.app.to_string(),
        link: app_link(node, &seen.app),
        state: match (seen.is_online(), seen.expected) {
            (_, Some(least)) if seen.now.connections < least => "missing",
            (true, _) => "online",
            (false, _) => "offline",
        },
        connections: count(seen.now.connections),
        expected: seen.expected.map_or_else(String::new, count),
        blocked: count(seen.now.blocked),
        oldest: seen.now.oldest_interaction_seconds.map_or_else(String::new, |seconds| format!("{} ago", ago(seconds))),
        memory: seen.now.memory_bytes.map_or_else(String::new, bytes),
        output: bytes(seen.now.output_buffer_bytes),
        opened: count(seen.totals.opened),
        closed: count(seen.totals.closed),
        last_seen: match seen.last_seen {
            _ if seen.is_online() => "now".to_owned(),
            Some(time) => moment(Some(time)),
            None => "never".to_owned(),
        },
    }
}
