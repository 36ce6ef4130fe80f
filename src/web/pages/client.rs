//! `/clients/{id}`: one client, every field explained, and what became of it while somebody looked; or how it went.

use std::time::Instant;

use askama::Template;
use hyper::StatusCode;
use jiff::Timestamp;

use super::overview::app_link;
use super::{Frame, all_banners, html, moment};
use crate::client_list::Field;
use crate::latest::Nodes;
use crate::snapshot::{Closed, connected_at, last_interaction, spelled_out};
use crate::view::humanize::{ago, bytes, count};
use crate::view::query::Query;
use crate::view::rows::Row;
use crate::web::WebState;
use crate::web::api::all_closed;
use crate::web::client_trend::TrendPoint;
use crate::web::response_cache::Written;

/// How many points of what became of it are shown.
const POINTS: usize = 60;

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
    trail: Vec<TrendRow>,
    fields: Vec<(String, String, &'static str)>,
    departure: Option<String>,
}

/// A point of what became of a client, with what it did since the point before.
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
    app: &WebState,
    (nodes, now): (&Nodes, Instant),
    id: &str,
    query: &Query,
    frame: Frame<'_>,
) -> Written {
    let bad = |sentence: &str| Err((StatusCode::BAD_REQUEST, sentence.to_owned()));
    let Ok(id) = id.parse() else { return bad("a client's id is a number") };
    let limits = app.limits.borrow().clone();
    let banners = all_banners(nodes, query, now);
    let went = || all_closed(nodes, query).1.into_iter().filter(|(_, closed)| closed.id == id);
    // After a restart ids are given again: who asks for one that went is not shown one that lives.
    if let Some(gone) = query.gone {
        let is_it = |(_, closed): &(&str, &Closed)| u64::try_from(closed.gone_at.as_second()) == Ok(gone);
        return match went().find(is_it) {
            Some((node, closed)) => html(&departed(app, node, closed, banners, frame)),
            None => Err((StatusCode::NOT_FOUND, "the client that went is not remembered any more".to_owned())),
        };
    }
    match &query.client(id, nodes, &limits)[..] {
        [row] => html(&page(app, id, row, banners, frame)),
        [] => match went().next() {
            Some((node, closed)) => html(&departed(app, node, closed, banners, frame)),
            None => Err((StatusCode::NOT_FOUND, "no client has this id, and none that went lately had it".to_owned())),
        },
        _ => bad("several servers have a client of this id; add redis="),
    }
}

fn page<'a>(app: &WebState, id: u64, row: &Row<'_>, banners: Vec<String>, frame: Frame<'a>) -> ClientPage<'a> {
    let (client, connected) = (row.client, connected_at(row.client, row.at));
    let seconds =
        |seconds: Option<u64>| seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{} ago", ago(seconds)));
    let last = if client.is_silent() { "never".to_owned() } else { seconds(client.idle_seconds()) };
    let what = match row.state {
        Some(state) => format!("{}, {}", row.kind.label(), state.label()),
        None => row.kind.label().to_owned(),
    };
    let fields = client.fields().map(|(key, value)| {
        let meaning = Field::from_key(key).map_or("Not known here.", Field::meaning);
        (spelled_out(key), spelled_out(value), meaning)
    });
    let trail = app.trails.follow(row.node, client, connected, row.at);
    ClientPage {
        frame,
        banners,
        id,
        node: row.node.to_owned(),
        summary: vec![
            ("Is", what, String::new()),
            ("Address", row.text(Field::Addr).unwrap_or_default(), String::new()),
            ("Connected", seconds(client.age_seconds()), moment(connected)),
            ("Last interaction", last, moment(last_interaction(client, row.at))),
        ],
        app: row.app.as_deref().map(|app| (app.to_owned(), app_link(row.node, app))),
        has_work: trail.iter().any(|point| point.commands.is_some()),
        trail: steps(&trail),
        fields: fields.collect(),
        departure: None,
    }
}

fn departed<'a>(app: &WebState, node: &str, closed: &Closed, banners: Vec<String>, frame: Frame<'a>) -> ClientPage<'a> {
    let trail = app.trails.of(node, closed.id, closed.connected_at);
    let lived = closed.lifetime_seconds().map_or_else(|| "?".to_owned(), ago);
    let field = |field: Field, value: &str| (field.key().to_owned(), value.to_owned(), field.meaning());
    ClientPage {
        frame,
        banners,
        id: closed.id,
        node: node.to_owned(),
        summary: vec![
            ("Was", closed.kind.label().to_owned(), String::new()),
            ("Address", closed.address.to_string(), String::new()),
            ("Connected", moment(closed.connected_at), moment(closed.connected_at)),
            (
                "Last interaction",
                closed.last_interaction.map_or_else(|| "never".to_owned(), |at| moment(Some(at))),
                String::new(),
            ),
            ("Lived at least", lived, String::new()),
        ],
        app: closed.app.as_ref().map(|app| (app.to_string(), app_link(node, app))),
        has_work: trail.iter().any(|point| point.commands.is_some()),
        trail: steps(&trail),
        fields: vec![
            field(Field::Name, &closed.name),
            field(Field::User, &closed.user),
            field(Field::LibName, &closed.library),
            field(Field::Cmd, &closed.command),
        ],
        departure: Some(told(closed.gone_at, closed.reason.label())),
    }
}

fn told(gone_at: Timestamp, reason: &str) -> String {
    format!("It was gone by {gone_at:.0}. Reason: {reason}.")
}

/// The newest first. What a client did is told from point to point.
fn steps(trail: &[TrendPoint]) -> Vec<TrendRow> {
    let grown = |now: Option<i64>, before: Option<i64>| u64::try_from(now? - before?).ok();
    let step = |(place, point): (usize, &TrendPoint)| {
        let before = trail.get(place + 1);
        let since = |of: fn(&TrendPoint) -> Option<i64>| grown(of(point), before.and_then(of));
        TrendRow {
            at: moment(Some(point.at)),
            last: point.idle_seconds.map_or_else(String::new, |seconds| format!("{} ago", ago(seconds))),
            command: point.command.clone(),
            commands: since(|point| point.commands).map_or_else(String::new, count),
            received: since(|point| point.received_bytes).map_or_else(String::new, bytes),
            sent: since(|point| point.sent_bytes).map_or_else(String::new, bytes),
            buffers: bytes(point.buffers_bytes),
            memory: point.memory_bytes.and_then(|bytes| u64::try_from(bytes).ok()).map_or_else(String::new, bytes),
        }
    };
    trail.iter().enumerate().take(POINTS).map(step).collect()
}
