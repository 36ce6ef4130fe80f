//! `/closed`: the connections that closed last, with the reason where the server's counters prove it.

use std::time::Instant;

use askama::Template;

use super::{Frame, Paging, all_banners, closed_link, rfc3339};
use crate::latest::Nodes;
use crate::view::humanize::{ago, count};
use crate::view::row::ClosedRow;
use crate::web::api::select_closed;
use crate::web::query::{MAX_WINDOW, Query};

#[derive(Template)]
#[template(path = "closed.html")]
pub(super) struct ClosedPage<'a> {
    frame: Frame<'a>,
    several: bool,
    banners: Vec<String>,
    others: Vec<(String, String)>,
    matched: String,
    total: String,
    search: String,
    list: String,
    window: String,
    rows: Vec<ClosedCells>,
    paging: Paging,
}

struct ClosedCells {
    node: String,
    id: u64,
    link: String,
    address: String,
    app: String,
    name: String,
    user: String,
    closed_at: String,
    lifetime: String,
    command: String,
    reason: &'static str,
}

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, frame: Frame<'a>) -> ClosedPage<'a> {
    let window = select_closed(nodes, query);
    ClosedPage {
        frame,
        several: nodes.nodes.len() > 1,
        banners: all_banners(nodes, query, now),
        others: query.others(&["q"]),
        matched: count(window.matched as u64),
        search: query.given("q").to_owned(),
        list: query.with(&[("limit", ""), ("offset", "")]),
        window: query.with(&[("limit", &MAX_WINDOW.to_string()), ("offset", "")]),
        total: count(window.total as u64),
        paging: Paging::new("/closed", query, window.rows.len(), window.matched),
        rows: window.rows.into_iter().map(cells).collect(),
    }
}

fn cells(ClosedRow { node, closed, .. }: ClosedRow<'_>) -> ClosedCells {
    ClosedCells {
        node: node.to_owned(),
        id: closed.id,
        link: closed_link(node, closed),
        address: closed.address.to_string(),
        app: closed.app.as_ref().map_or_else(|| format!("({})", closed.kind.label()), |app| app.to_string()),
        name: closed.name.to_string(),
        user: closed.user.to_string(),
        closed_at: rfc3339(Some(closed.closed_at)),
        lifetime: closed.lifetime_seconds().map_or_else(String::new, ago),
        command: closed.command.as_deref().unwrap_or_default().to_owned(),
        reason: closed.reason.label(),
    }
}
