//! `/closed`: who went lately, and why, where it can be proved.

use std::time::Instant;

use askama::Template;

use super::{Frame, Paging, all_banners, departure_link, moment};
use crate::latest::Nodes;
use crate::snapshot::Closed;
use crate::view::humanize::{ago, count};
use crate::view::query::{MAX_WINDOW, Query};
use crate::web::api::all_closed;

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
    rows: Vec<ClosedView>,
    paging: Paging,
}

struct ClosedView {
    node: String,
    id: u64,
    link: String,
    address: String,
    app: String,
    name: String,
    user: String,
    gone_at: String,
    lived: String,
    command: String,
    reason: &'static str,
}

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, frame: Frame<'a>) -> ClosedPage<'a> {
    let (all, matched) = all_closed(nodes, query);
    let rows: Vec<_> =
        matched.iter().skip(query.offset).take(query.limit).map(|(node, closed)| view(node, closed)).collect();
    ClosedPage {
        frame,
        several: nodes.nodes.len() > 1,
        banners: all_banners(nodes, query, now),
        others: query.others(&["q"]),
        matched: count(matched.len() as u64),
        search: query.given("q").to_owned(),
        list: query.with(&[("limit", ""), ("offset", "")]),
        window: query.with(&[("limit", &MAX_WINDOW.to_string()), ("offset", "")]),
        total: count(all as u64),
        paging: Paging::new("/closed", query, rows.len(), matched.len()),
        rows,
    }
}

fn view(node: &str, closed: &Closed) -> ClosedView {
    ClosedView {
        node: node.to_owned(),
        id: closed.id,
        link: departure_link(node, closed),
        address: closed.address.to_string(),
        app: closed.app.as_ref().map_or_else(|| format!("({})", closed.kind.label()), |app| app.to_string()),
        name: closed.name.to_string(),
        user: closed.user.to_string(),
        gone_at: moment(Some(closed.gone_at)),
        lived: closed.lifetime_seconds().map_or_else(String::new, ago),
        command: closed.command.to_string(),
        reason: closed.reason.label(),
    }
}
