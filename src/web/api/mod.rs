//! `/api/v1`: the data of the pages as JSON; closed clients also as CSV and NDJSON. The shapes are in `view::json`.
//! Lists of all clients are in `export`, events in `events`.

mod clients;
mod closed;
#[cfg(test)]
mod openapi;

use std::time::Instant;

use hyper::StatusCode;

use super::export::Lines;
use super::query::{Query, Takes};
use super::response_cache::Written;
use crate::latest::Nodes;
use crate::view::json;

/// The OpenAPI description.
const OPENAPI: &str = include_str!("../assets/openapi.json");

const JSON: &str = "application/json";

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// The state of each node.
    Status,
    /// A window of clients or of groups.
    Clients,
    /// One client, by its id.
    Client(&'a str),
    /// A window of the remembered closed clients.
    Closed,
    /// All closed clients, one per line.
    ClosedLines(Lines),
    /// The applications.
    Apps,
    /// Application clients by user, library, network, database and command, as the metrics count them.
    Groups,
    /// The last hour of each node.
    History,
    /// The OpenAPI description.
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

    fn takes(self) -> Takes {
        match self {
            Call::Clients => Takes::Clients,
            Call::Client(_) => Takes::Client,
            Call::Closed | Call::ClosedLines(_) => Takes::Closed,
            Call::Apps => Takes::Apps,
            Call::Status | Call::Groups | Call::History | Call::OpenApi => Takes::Nodes,
        }
    }
}

/// Writes the answer to a call.
pub(super) fn write(nodes: &Nodes, now: Instant, call: Call<'_>, query: &str) -> Written {
    let is_list = matches!(call, Call::ClosedLines(_));
    let query = if is_list { Query::of_list(query, call.takes()) } else { Query::parse(query, call.takes()) };
    let mut query = query.map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    query.resolve_nodes(nodes).map_err(|sentence| (StatusCode::NOT_FOUND, sentence))?;
    let value = match call {
        Call::Status => json::status(query.nodes(nodes), query.targets(nodes), now),
        Call::Clients => clients::list(nodes, &query),
        Call::Client(id) => clients::one(nodes, id, &query)?,
        Call::Closed => closed::list(nodes, &query),
        Call::ClosedLines(lines) => return Ok(closed::lines(nodes, lines, &query)),
        Call::Apps => json::apps(query.nodes(nodes), &query.selection, now),
        Call::Groups => json::groups(query.nodes(nodes)),
        Call::History => json::histories(query.nodes(nodes), nodes.changed_at()),
        Call::OpenApi => return Ok((JSON, OPENAPI.to_owned())),
    };
    Ok((JSON, format!("{value}\n")))
}
