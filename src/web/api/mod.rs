//! `/api/v1`: what the pages show, as JSON; who went also as CSV and NDJSON. One file a call. Lists of clients are `export`'s, and
//! what happens is told by `events`.

mod apps;
mod clients;
mod closed;
mod groups;
mod history;
mod status;

use std::time::Instant;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::WebState;
use super::export::Lines;
use super::response_cache::Written;
use crate::latest::Nodes;
use crate::view::query::Query;

pub(super) use closed::{all as all_closed, object as closed_object};
pub(super) use status::status;

/// The description of all of it.
const OPENAPI: &str = include_str!("../assets/openapi.json");

const JSON: &str = "application/json";

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// How the nodes are.
    Status,
    /// A window of clients, or of groups of them.
    Clients,
    /// One client, by its id.
    Client(&'a str),
    /// The last that went.
    Closed,
    /// All that are remembered, one a line.
    ClosedLines(Lines),
    /// The applications.
    Apps,
    /// Everything else that clients are counted by.
    Groups,
    /// The last hour.
    History,
    /// The description.
    OpenApi,
}

impl<'a> Call<'a> {
    /// The call of a path below `/api/v1/`.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "status" => Call::Status,
            "clients" => Call::Clients,
            "closed" => Call::Closed,
            "closed.csv" => Call::ClosedLines(Lines::Csv),
            "closed.ndjson" => Call::ClosedLines(Lines::Ndjson),
            "apps" => Call::Apps,
            "groups" => Call::Groups,
            "history" => Call::History,
            "openapi.json" => Call::OpenApi,
            path => Call::Client(path.strip_prefix("clients/")?),
        })
    }
}

/// Writes the answer to a call.
pub(super) fn write(app: &WebState, nodes: &Nodes, now: Instant, call: Call<'_>, query: &str) -> Written {
    let is_a_list = matches!(call, Call::ClosedLines(_));
    let query = if is_a_list { Query::of_a_list(query) } else { Query::parse(query) };
    let query = query.map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    query.check(nodes).map_err(|sentence| (StatusCode::NOT_FOUND, sentence))?;
    match call {
        Call::Status => as_json(&status::nodes(nodes, &query, now)),
        Call::Clients => clients::list(app, nodes, &query),
        Call::Client(id) => clients::one(app, nodes, id, &query),
        Call::Closed => closed::list(nodes, &query),
        Call::ClosedLines(lines) => closed::lines(nodes, lines, &query),
        Call::Apps => as_json(&apps::nodes(nodes, &query)),
        Call::Groups => as_json(&groups::nodes(nodes, &query)),
        Call::History => as_json(&history::nodes(nodes, &query)),
        Call::OpenApi => Ok((JSON, OPENAPI.to_owned())),
    }
}

fn as_json(value: &Value) -> Written {
    Ok((JSON, format!("{value}\n")))
}

/// A window of a list, and of how many it is one.
fn envelope(nodes: &Nodes, query: &Query, total: usize, matched: usize, items: &[Value]) -> Value {
    let wanted = || nodes.nodes.iter().filter(|node| query.wants(&node.node));
    let newest = wanted().filter_map(|node| Some(node.last_snapshot()?.sample.at)).max();
    json!({
        "at": newest.map(|at| at.to_string()),
        "redis": wanted().map(|node| &*node.node).collect::<Vec<_>>(),
        "total": total,
        "matched": matched,
        "offset": query.offset,
        "limit": query.limit,
        "items": items,
    })
}
