//! `/api/v1/closed`: the clients that went last.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{as_json, envelope};
use crate::latest::Nodes;
use crate::snapshot::Closed;
use crate::view::list;
use crate::view::query::Query;
use crate::web::export::Lines;
use crate::web::response_cache::Written;

pub(super) fn list(nodes: &Nodes, query: &Query) -> Written {
    let (all, matched) = all(nodes, query);
    let items: Vec<Value> = window(&matched, query).collect();
    as_json(&envelope(nodes, query, all, matched.len(), &items))
}

pub(super) fn lines(nodes: &Nodes, lines: Lines, query: &Query) -> Written {
    let (_, matched) = all(nodes, query);
    match lines {
        Lines::Csv => Ok((list::CSV, list::objects_csv(&COLUMNS, window(&matched, query)))),
        Lines::Ndjson => Ok((list::NDJSON, list::lines(window(&matched, query)))),
    }
}

fn window(matched: &[(&str, &Closed)], query: &Query) -> impl Iterator<Item = Value> {
    matched.iter().skip(query.offset).take(query.limit).map(|(node, closed)| object(node, closed))
}

/// How many are remembered after they went, of the nodes that are asked for, and those that match, the last first.
pub(in crate::web) fn all<'a>(nodes: &'a Nodes, query: &Query) -> (usize, Vec<(&'a str, &'a Closed)>) {
    let mut all = Vec::new();
    for node in nodes.nodes.iter().filter(|node| query.wants(&node.node)) {
        let ring = node.last_snapshot().into_iter().flat_map(|snapshot| snapshot.churn.ring.iter());
        all.extend(ring.map(|closed| (&*node.node, &**closed)));
    }
    let total = all.len();
    all.retain(|closed| query.matches(closed));
    all.sort_by_key(|(_, closed)| Reverse(closed.gone_at));
    (total, all)
}

/// What a departure is told by, in the order of the columns of a CSV.
const COLUMNS: [&str; 18] = [
    "redis",
    "id",
    "app",
    "kind",
    "addr",
    "name",
    "user",
    "lib_name",
    "cmd",
    "connected_at",
    "last_interaction",
    "seen_at",
    "gone_at",
    "lifetime_seconds",
    "tot_cmds",
    "tot_net_in",
    "tot_net_out",
    "reason",
];

/// A client that went, as JSON.
pub(in crate::web) fn object(node: &str, closed: &Closed) -> Value {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "redis": node,
        "id": closed.id,
        "app": closed.app.as_deref(),
        "kind": closed.kind.label(),
        "addr": closed.address,
        "name": closed.name,
        "user": closed.user,
        "lib_name": closed.library,
        "cmd": closed.command,
        "connected_at": time(closed.connected_at),
        "last_interaction": time(closed.last_interaction),
        "seen_at": closed.seen_at.to_string(),
        "gone_at": closed.gone_at.to_string(),
        "lifetime_seconds": closed.lifetime_seconds(),
        "tot_cmds": closed.commands,
        "tot_net_in": closed.received_bytes,
        "tot_net_out": closed.sent_bytes,
        "reason": closed.reason.label(),
    })
}
