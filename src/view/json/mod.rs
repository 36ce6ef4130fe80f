//! Every JSON shape of the API, of event streams and of `clients --format json`. Messages of the channel are in the
//! module `status`.

mod history;
mod node;

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::app_row::AppRow;
use super::column::{COLUMNS, Column};
use super::measure::MEASURES;
use super::row::{ClosedRow, Record, Row};
use super::selection::{Group, GroupWindow, Selection};
use crate::client_list::Field;
use crate::history::STEP_SECONDS;
use crate::latest::{AppSum, FleetApps, NodeState, TargetState};
use crate::snapshot::{Groups, Seen, Tally};
use crate::text::{OTHER, escaped};

/// The content type of NDJSON: one JSON object per line.
pub const LINES_CONTENT_TYPE: &str = "application/x-ndjson";

/// Objects as NDJSON.
pub fn lines(objects: impl Iterator<Item = Json>) -> String {
    objects.map(|object| format!("{object}\n")).collect()
}

/// Clients as an array of objects.
pub fn clients(rows: &[Row<'_>], columns: &[&Column]) -> Json {
    rows.iter().map(|row| client(*row, columns)).collect()
}

/// A client as an object with these columns. Without any: every column that the server reports, and also the fields
/// that this program does not know, under their own keys with `_` for `-`.
pub fn client(row: Row<'_>, columns: &[&Column]) -> Json {
    if !columns.is_empty() {
        return members(row, columns.iter().copied()).into();
    }
    let mut object = members(row, Column::of_clients().filter(|column| column.is_reported(row.client)));
    for (key, text) in row.client.fields().filter(|(key, _)| Field::from_key(key).is_none()) {
        let name = escaped(key).replace('-', "_");
        // The first of several fields with one key counts, as elsewhere, and none passes for a column, even if the
        // server does not report that column.
        if !COLUMNS.iter().any(|column| column.name == name) {
            object.entry(name).or_insert_with(|| escaped(text).into());
        }
    }
    object.into()
}

/// A closed client as an object with these columns; without any, with all columns of closed clients.
pub fn closed_client(row: ClosedRow<'_>, columns: &[&Column]) -> Json {
    if columns.is_empty() {
        members(row, Column::of_closed()).into()
    } else {
        members(row, columns.iter().copied()).into()
    }
}

fn members<'a, 'c>(row: impl Record<'a>, columns: impl Iterator<Item = &'c Column>) -> Map<String, Json> {
    columns.map(|column| (column.name.to_owned(), row.value(column).into_json())).collect()
}

/// A group: its value as `group`, then all measures.
pub fn group(group: &Group<'_>) -> Json {
    let mut object = Map::from_iter([("group".to_owned(), group.value.clone().into_json())]);
    object.extend(measures(&group.tally));
    object.into()
}

/// All measures as members of an object; unknown ones are `null`.
fn measures(tally: &Tally) -> Map<String, Json> {
    MEASURES.iter().map(|measure| (measure.name.to_owned(), measure.value(tally).into())).collect()
}

/// A window of a list over these nodes: its items, and the sizes of the list, in total and matching.
pub fn window<'a>(
    nodes: impl Iterator<Item = &'a NodeState>,
    selection: &Selection,
    (total, matched): (usize, usize),
    items: &[Json],
) -> Json {
    let nodes: Vec<&NodeState> = nodes.collect();
    let newest = nodes.iter().filter_map(|node| Some(node.last_snapshot()?.sample.at)).max();
    json!({
        "sampled_at": newest.map(|at| format!("{at:.0}")),
        "redis": nodes.iter().map(|node| &*node.node).collect::<Vec<_>>(),
        "total": total,
        "matched": matched,
        "offset": selection.offset,
        "limit": selection.limit,
        "items": items,
    })
}

/// A window of groups: like [`window`], with the number of all groups and of the internal connections in none.
pub fn group_window<'a>(
    nodes: impl Iterator<Item = &'a NodeState>,
    selection: &Selection,
    groups: &GroupWindow<'_>,
) -> Json {
    let items: Vec<Json> = groups.rows.iter().map(group).collect();
    let mut all = window(nodes, selection, (groups.total, groups.matched), &items);
    all["groups"] = groups.groups.into();
    all["internal"] = groups.internal.into();
    all
}

/// The state of each of these nodes, and of the discovery of these targets.
pub fn status<'a>(
    nodes: impl Iterator<Item = &'a NodeState>,
    targets: impl Iterator<Item = &'a TargetState>,
    now: Instant,
) -> Json {
    json!({
        "nodes": nodes.map(|node| node::node(node, now)).collect::<Vec<_>>(),
        "targets": targets.map(node::target).collect::<Vec<_>>(),
    })
}

/// The hour of each node before `now`.
pub fn histories<'a>(nodes: impl Iterator<Item = &'a NodeState>, now: Timestamp) -> Json {
    json!({ "step_seconds": STEP_SECONDS, "nodes": nodes.map(|node| history::history(node, now)).collect::<Vec<_>>() })
}

/// The applications of each node that the selection matches, and their sums over all these nodes.
pub fn apps<'a>(nodes: impl Iterator<Item = &'a NodeState> + Clone, selection: &Selection, now: Instant) -> Json {
    let sums = FleetApps::of(nodes.clone(), now);
    let (largest, folded) = sums.largest(|app| selection.matches(AppRow { node: "", app }));
    let sum = |(app, sum): &(&str, AppSum)| {
        let servers = (*app != OTHER).then_some(sum.nodes);
        json!({ "app": app, "connections": sum.connections, "servers": servers })
    };
    let of_node = |node: &NodeState| {
        let presence = &node.last_snapshot()?.presence;
        let is_matching = |seen: &&Seen| selection.matches(AppRow { node: &node.node, app: &seen.app });
        let apps: Vec<Json> = presence.all().filter(is_matching).map(app).collect();
        Some(json!({ "redis": &*node.node, "folded": presence.folded, "apps": apps }))
    };
    json!({
        "nodes": nodes.filter_map(of_node).collect::<Vec<_>>(),
        "fleet": {
            "servers": sums.nodes,
            "known": sums.known,
            "folded": folded,
            "apps": largest.iter().map(sum).collect::<Vec<_>>(),
        },
    })
}

/// The groups of each node whose clients are known.
pub fn groups<'a>(nodes: impl Iterator<Item = &'a NodeState>) -> Json {
    json!({ "nodes": nodes.filter_map(groups_of).collect::<Vec<_>>() })
}

/// An application: its measures, whether it is online, and what it did.
fn app(seen: &Seen) -> Json {
    let mut object = measures(&seen.now);
    object.insert("app".to_owned(), (*seen.app).into());
    // (other) is no application that could be online or offline.
    object.insert("online".to_owned(), (&*seen.app != OTHER).then(|| seen.is_online()).into());
    object.insert("expected".to_owned(), seen.expected.on_node.into());
    object.insert("expected_on_all".to_owned(), seen.expected.on_all_nodes.into());
    object.insert("last_seen_at".to_owned(), seen.last_seen.map(|time| format!("{time:.0}")).into());
    object.insert("opened_total".to_owned(), seen.totals.opened.into());
    object.insert("closed_total".to_owned(), seen.totals.closed.into());
    object.into()
}

/// The application clients of a node by user, library, network, database and command, as the metrics count them. `None`
/// if they are unknown.
fn groups_of(node: &NodeState) -> Option<Json> {
    let counts = node.last_snapshot()?.client_counts.as_ref()?;
    Some(json!({
        "redis": &*node.node,
        "user": counted(&counts.users),
        "library": counted(&counts.libraries),
        "network": counted(&counts.networks),
        "database": counted(&counts.databases),
        "command": counted(&counts.commands),
    }))
}

fn counted(groups: &Option<Groups>) -> Json {
    let Some(groups) = groups else { return Json::Null };
    let counts = groups.iter().map(|(group, connections)| json!({ "group": group, "connections": connections }));
    json!({ "folded": groups.folded(), "groups": counts.collect::<Vec<_>>() })
}

/// A node that is no longer watched, as an event.
pub fn removed(node: &str) -> Json {
    json!({ "redis": node })
}

/// A connection that opened, as an event.
pub fn opened(node: &str, id: u64) -> Json {
    json!({ "redis": node, "id": id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    #[test]
    fn an_unknown_field_is_passed_on_and_never_passes_for_a_column() {
        let snapshot = snapshot("id=1 addr=a flags=N foo-bar=1 foo-bar=2 memory-bytes=x closed-at=y app=z kind=z\n");
        let row = Row::new("node", &snapshot, 0).expect("a client");
        let object = client(row, &[]);
        let texts = ["foo_bar", "app", "kind"].map(|name| object[name].as_str());
        assert_eq!(texts, [Some("1"), Some("(unnamed)"), Some("application")]);
        assert!(object.get("memory_bytes").is_none() && object.get("closed_at").is_none(), "{object}");
    }
}
