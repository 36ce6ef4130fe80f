//! `/clients/{id}`: one client, all its fields explained, and recent observations; or how it closed.

use std::time::Instant;

use askama::Template;
use hyper::StatusCode;
use jiff::Timestamp;

use super::overview::app_link;
use super::{Frame, all_banners, html, rfc3339};
use crate::client_list::Field;
use crate::latest::Nodes;
use crate::snapshot::last_interaction;
use crate::text::escaped;
use crate::view::column::Column;
use crate::view::humanize::{ago, bytes, count};
use crate::view::row::{ClosedRow, Row};
use crate::web::WebState;
use crate::web::client_trend::TrendPoint;
use crate::web::query::{Query, Takes};
use crate::web::response_cache::Written;

/// Maximum number of observations that are shown.
const MAX_POINTS: usize = 60;

#[derive(Template)]
#[template(path = "client.html")]
struct ClientPage<'a> {
    frame: Frame<'a>,
    banners: Vec<String>,
    id: u64,
    node: String,
    summary: Vec<(&'static str, String, String)>,
    app: Option<(String, String)>,
    has_work: bool,
    trend: Vec<TrendRow>,
    fields: Vec<(String, String, &'static str)>,
    closed: Option<String>,
}

/// One observation of a client, with what it did since the previous one.
struct TrendRow {
    at: String,
    last: String,
    command: String,
    commands: String,
    received: String,
    sent: String,
    buffers: String,
    memory: String,
}

pub(super) fn write(
    state: &WebState,
    (nodes, now): (&Nodes, Instant),
    id: &str,
    query: &Query,
    frame: Frame<'_>,
) -> Written {
    let invalid = |sentence: &str| Err((StatusCode::BAD_REQUEST, sentence.to_owned()));
    let missing = |sentence: &str| Err((StatusCode::NOT_FOUND, sentence.to_owned()));
    let Ok(number) = id.parse() else { return invalid("a client id is a number") };
    let banners = all_banners(nodes, query, now);
    // Ids are reused after a restart: a link to a closed client must not show a connected one.
    if let Some(second) = query.closed_at {
        let closed = closed_clients(nodes, number, query);
        return match closed.into_iter().find(|row| row.closed.closed_at.as_second() == second) {
            Some(row) => html(&closed_page(state, row, banners, frame)),
            None => missing("this closed client is no longer remembered"),
        };
    }
    match &query.find(nodes, number)[..] {
        [row] => html(&page(state, number, *row, banners, frame)),
        [] => match closed_clients(nodes, number, query).into_iter().next() {
            Some(row) => html(&closed_page(state, row, banners, frame)),
            None => missing("no connected client and no remembered closed client has this id"),
        },
        _ => invalid("several servers have a client with this id; add the parameter redis="),
    }
}

/// The closed clients with an id, the last closed first.
fn closed_clients<'a>(nodes: &'a Nodes, id: u64, query: &Query) -> Vec<ClosedRow<'a>> {
    let Ok(mut closed) = Query::of_list(&format!("id={id}"), Takes::Closed) else { return Vec::new() };
    closed.node.clone_from(&query.node);
    closed.cluster.clone_from(&query.cluster);
    closed.closed(nodes).rows
}

fn page<'a>(state: &WebState, id: u64, row: Row<'_>, banners: Vec<String>, frame: Frame<'a>) -> ClientPage<'a> {
    let (client, entry) = (row.client, row.entry);
    let seconds =
        |seconds: Option<u64>| seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{} ago", ago(seconds)));
    let last = if entry.is_silent { "never".to_owned() } else { seconds(entry.idle_seconds()) };
    let kind = match entry.state {
        Some(client_state) => format!("{}, {}", entry.kind.label(), client_state.label()),
        None => entry.kind.label().to_owned(),
    };
    let fields = client.fields().map(|(key, value)| {
        let help = Field::from_key(key)
            .map_or("Unknown to this version of the exporter.", |field| Column::of_field(field).help);
        (escaped(key), escaped(value), help)
    });
    let trend = state.client_trends.follow(row.node, client, entry.connected_at(), row.read_at());
    ClientPage {
        frame,
        banners,
        id,
        node: row.node.to_owned(),
        summary: vec![
            ("Type and state", kind, String::new()),
            ("Address", Column::of_field(Field::Addr).value(row).into_text(), String::new()),
            ("Connected", seconds(client.age_seconds()), rfc3339(entry.connected_at())),
            ("Last interaction", last, rfc3339(last_interaction(client, row.read_at()))),
        ],
        app: row.app.map(|app| (app.to_owned(), app_link(row.node, app))),
        has_work: trend.iter().any(|point| point.commands.is_some()),
        trend: trend_rows(&trend),
        fields: fields.collect(),
        closed: None,
    }
}

fn closed_page<'a>(state: &WebState, row: ClosedRow<'_>, banners: Vec<String>, frame: Frame<'a>) -> ClientPage<'a> {
    let (node, closed) = (row.node, row.closed);
    let trend = state.client_trends.of(node, closed.id, closed.connected_at);
    let never = || "never".to_owned();
    let fields = Column::of_closed().filter(|column| column.key().is_some());
    ClientPage {
        frame,
        banners,
        id: closed.id,
        node: node.to_owned(),
        summary: vec![
            ("Type", closed.kind.label().to_owned(), String::new()),
            ("Address", closed.address.to_string(), String::new()),
            ("Connected", rfc3339(closed.connected_at), rfc3339(closed.connected_at)),
            ("Last interaction", closed.last_interaction.map_or_else(never, |at| rfc3339(Some(at))), String::new()),
            ("Open for at least", closed.lifetime_seconds().map_or_else(|| "?".to_owned(), ago), String::new()),
        ],
        app: closed.app.as_ref().map(|app| (app.to_string(), app_link(node, app))),
        has_work: trend.iter().any(|point| point.commands.is_some()),
        trend: trend_rows(&trend),
        fields: fields
            .map(|column| (column.name.to_owned(), column.closed_value(row).into_text(), column.help))
            .collect(),
        closed: Some(closed_sentence(closed.closed_at, closed.reason.label())),
    }
}

fn closed_sentence(closed_at: Timestamp, reason: &str) -> String {
    format!("Closed by {closed_at:.0}; reason {reason}.")
}

/// The observations as rows, the newest first.
fn trend_rows(trend: &[TrendPoint]) -> Vec<TrendRow> {
    let growth = |now: Option<i64>, before: Option<i64>| u64::try_from(now?.checked_sub(before?)?).ok();
    let step = |(index, point): (usize, &TrendPoint)| {
        let before = trend.get(index + 1);
        let since = |of: fn(&TrendPoint) -> Option<i64>| growth(of(point), before.and_then(of));
        TrendRow {
            at: rfc3339(Some(point.at)),
            last: point.idle_seconds.map_or_else(String::new, |seconds| format!("{} ago", ago(seconds))),
            command: point.command.clone(),
            commands: since(|point| point.commands).map_or_else(String::new, count),
            received: since(|point| point.received_bytes).map_or_else(String::new, bytes),
            sent: since(|point| point.sent_bytes).map_or_else(String::new, bytes),
            buffers: bytes(point.buffers_bytes),
            memory: point.memory_bytes.and_then(|bytes| u64::try_from(bytes).ok()).map_or_else(String::new, bytes),
        }
    };
    trend.iter().enumerate().take(MAX_POINTS).map(step).collect()
}
