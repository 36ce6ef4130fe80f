//! `/api/v1`: what the pages show, as JSON, and lists also as CSV and NDJSON.

use std::time::Instant;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::response::{self, Body};
use crate::latest::{NodeState, Nodes, Phase};
use crate::snapshot::{CloseReason, Closed, Groups, Kind, Snapshot, State};
use crate::view::list;
use crate::view::query::Query;

/// The description of all of it.
const OPENAPI: &str = include_str!("assets/openapi.json");

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// How the nodes are.
    Status,
    /// A window of clients.
    Clients(Format),
    /// One client, by its id.
    Client(&'a str),
    /// The last that went.
    Closed,
    /// The applications.
    Apps,
    /// Everything else that clients are counted by.
    Groups,
    /// The description.
    OpenApi,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
    Ndjson,
}

impl<'a> Call<'a> {
    /// The call of a path below `/api/v1/`.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "status" => Call::Status,
            "clients" => Call::Clients(Format::Json),
            "clients.csv" => Call::Clients(Format::Csv),
            "clients.ndjson" => Call::Clients(Format::Ndjson),
            "closed" => Call::Closed,
            "apps" => Call::Apps,
            "groups" => Call::Groups,
            "openapi.json" => Call::OpenApi,
            path => Call::Client(path.strip_prefix("clients/")?),
        })
    }
}

/// Answers a call.
pub(super) fn answer(app: &App, call: Call<'_>, query: &str) -> Response<Body> {
    let nodes = app.latest.read();
    let answered = match call {
        Call::Status => Ok(ok(&status(&nodes))),
        Call::Clients(format) => clients(app, &nodes, format, query),
        Call::Client(id) => client(app, &nodes, id, query),
        Call::Closed => closed(&nodes, query),
        Call::Apps => Ok(ok(&apps(&nodes))),
        Call::Groups => Ok(ok(&groups(&nodes))),
        Call::OpenApi => Ok(response::answer(StatusCode::OK, "application/json", OPENAPI)),
    };
    answered.unwrap_or_else(|sentence| response::error(StatusCode::BAD_REQUEST, &sentence))
}

fn ok(value: &Value) -> Response<Body> {
    response::answer(StatusCode::OK, "application/json", format!("{value}\n"))
}

/// How each node is.
pub(super) fn status(nodes: &Nodes) -> Value {
    let now = Instant::now();
    json!({ "nodes": nodes.nodes.iter().map(|node| node_status(node, now)).collect::<Vec<_>>() })
}

fn node_status(node: &NodeState, now: Instant) -> Value {
    let snapshot = node.last_snapshot();
    let crowd = snapshot.and_then(|snapshot| snapshot.crowd.as_ref());
    let info = snapshot.and_then(|snapshot| snapshot.info());
    let failure = match &node.phase {
        Phase::Failing { failure, since, .. } => json!({
            "reason": failure.reason.label(), "message": failure.message, "since": since.to_string()
        }),
        Phase::Starting | Phase::Fresh { .. } => Value::Null,
    };
    json!({
        "redis": &*node.node,
        "fresh": node.fresh_snapshot(now).is_some(),
        "at": snapshot.map(|snapshot| snapshot.sample.at.to_string()),
        "failure": failure,
        "version": info.and_then(|info| info.version.clone()),
        "role": info.and_then(|info| info.role.clone()),
        "maxclients": info.and_then(|info| info.maxclients),
        "connections": crowd.map(|crowd| crowd.connections()),
        "online": crowd.map(|crowd| crowd.online()),
        "silent": crowd.map(|crowd| crowd.silent),
        "kinds": crowd.map(|crowd| Kind::ALL.map(|kind| (kind.label(), crowd.of_kind(kind))).into_iter().collect::<std::collections::BTreeMap<_, _>>()),
        "states": crowd.map(|crowd| State::ALL.map(|state| (state.label(), crowd.in_state(state))).into_iter().collect::<std::collections::BTreeMap<_, _>>()),
        "closed": snapshot.map(|snapshot| CloseReason::ALL.map(|reason| (reason.label(), snapshot.churn.closed(reason))).into_iter().collect::<std::collections::BTreeMap<_, _>>()),
        "unseen": snapshot.map(|snapshot| snapshot.churn.unseen()),
        "complete": snapshot.map(|snapshot| snapshot.is_complete()),
        "within_budget": snapshot.and_then(|snapshot| snapshot.sample.cost.within_budget),
    })
}

fn clients(app: &App, nodes: &Nodes, format: Format, query: &str) -> Result<Response<Body>, String> {
    let query = Query::parse(query)?;
    let limits = app.limits.borrow().clone();
    let window = query.window(nodes, &limits);
    Ok(match format {
        Format::Json => {
            let items: Vec<Value> = window.rows.iter().map(list::object).collect();
            ok(&envelope(nodes, &query, window.total, window.matched, &items))
        }
        Format::Csv => response::answer(StatusCode::OK, "text/csv; charset=utf-8", list::csv(&window.rows)),
        Format::Ndjson => {
            let lines: String = window.rows.iter().map(|row| format!("{}\n", list::object(row))).collect();
            response::answer(StatusCode::OK, "application/x-ndjson", lines)
        }
    })
}

fn envelope(nodes: &Nodes, query: &Query, total: usize, matched: usize, items: &[Value]) -> Value {
    let newest = nodes.nodes.iter().filter_map(|node| Some(node.last_snapshot()?.sample.at)).max();
    let names: Vec<&str> = nodes.nodes.iter().map(|node| &*node.node).collect();
    json!({
        "at": newest.map(|at| at.to_string()),
        "redis": names,
        "total": total,
        "matched": matched,
        "offset": query.offset,
        "limit": query.limit,
        "items": items,
    })
}

fn client(app: &App, nodes: &Nodes, id: &str, query: &str) -> Result<Response<Body>, String> {
    let id: u64 = id.parse().map_err(|_| format!("{id:?} is not a client's id"))?;
    let query = Query::parse(&Query::parse(query)?.with(&[("filter", &format!("id={id}"))]))?;
    let limits = app.limits.borrow().clone();
    let window = query.window(nodes, &limits);
    match &window.rows[..] {
        [] => Ok(response::error(StatusCode::NOT_FOUND, "no client has this id; it may have gone: see /api/v1/closed")),
        [row] => Ok(ok(&list::object(row))),
        _ => Err("several nodes have a client of this id; add redis=".to_owned()),
    }
}

fn closed(nodes: &Nodes, query: &str) -> Result<Response<Body>, String> {
    let query = Query::parse(query)?;
    let all: Vec<(&str, &Closed)> = all_closed(nodes);
    let items: Vec<Value> =
        all.iter().skip(query.offset).take(query.limit).map(|(node, closed)| closed_object(node, closed)).collect();
    Ok(ok(&envelope(nodes, &query, all.len(), all.len(), &items)))
}

/// All that are remembered after they went, the last first.
pub(super) fn all_closed(nodes: &Nodes) -> Vec<(&str, &Closed)> {
    let of_node =
        |node: &'_ std::sync::Arc<NodeState>| node.last_snapshot().map(|snapshot| &snapshot.churn.ring).is_some();
    let mut all: Vec<(&str, &Closed)> = nodes
        .nodes
        .iter()
        .filter(|node| of_node(node))
        .flat_map(|node| {
            let ring = node.last_snapshot().into_iter().flat_map(|snapshot| snapshot.churn.ring.iter());
            ring.map(|closed| (&*node.node, &**closed))
        })
        .collect();
    all.sort_by_key(|(_, closed)| std::cmp::Reverse(closed.gone_at));
    all
}

fn closed_object(node: &str, closed: &Closed) -> Value {
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
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

fn apps(nodes: &Nodes) -> Value {
    let of_node = |node: &std::sync::Arc<NodeState>| {
        let snapshot = node.last_snapshot()?;
        let apps: Vec<Value> = snapshot
            .presence
            .all()
            .map(|seen| {
                json!({
                    "app": &*seen.app,
                    "online": seen.is_online(),
                    "connections": seen.now.connections,
                    "expected": seen.expected,
                    "blocked": seen.now.blocked,
                    "last_seen": seen.last_seen.map(|time| time.to_string()),
                    "oldest_interaction_seconds": seen.now.oldest_interaction_seconds,
                    "newest_interaction_seconds": seen.now.newest_interaction_seconds,
                    "memory_bytes": seen.now.memory_bytes,
                    "output_buffer_bytes": seen.now.output_buffer_bytes,
                    "opened": seen.totals.opened,
                    "closed": seen.totals.closed,
                })
            })
            .collect();
        Some(json!({ "redis": &*node.node, "folded": snapshot.presence.folded, "apps": apps }))
    };
    json!({ "nodes": nodes.nodes.iter().filter_map(of_node).collect::<Vec<_>>() })
}

fn groups(nodes: &Nodes) -> Value {
    let of_node = |node: &std::sync::Arc<NodeState>| {
        let crowd = node.last_snapshot()?.crowd.as_ref()?;
        let counted = |groups: &Option<Groups>| {
            let groups = groups.as_ref()?;
            let counts =
                groups.iter().map(|(group, connections)| json!({ "group": group, "connections": connections }));
            Some(json!({ "folded": groups.folded(), "groups": counts.collect::<Vec<_>>() }))
        };
        Some(json!({
            "redis": &*node.node,
            "user": counted(&crowd.users),
            "library": counted(&crowd.libraries),
            "network": counted(&crowd.networks),
            "database": counted(&crowd.databases),
            "command": counted(&crowd.commands),
        }))
    };
    json!({ "nodes": nodes.nodes.iter().filter_map(of_node).collect::<Vec<_>>() })
}

/// What the stream of events says of a node's new snapshot: at most so many who came, and so many who went.
pub(super) fn event<'a>(
    node: &'a NodeState,
    snapshot: &'a Snapshot,
    most: usize,
) -> impl Iterator<Item = (&'static str, Value)> + use<'a> {
    let opened =
        snapshot.changes.opened.iter().take(most).map(|id| ("opened", json!({ "redis": &*node.node, "id": id })));
    let closed = snapshot.changes.closed.iter().take(most).map(|closed| ("closed", closed_object(&node.node, closed)));
    opened.chain(closed)
}
