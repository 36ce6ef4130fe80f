//! `/closed`: the connections that closed last, with the reason where the server's counters prove it.

use std::time::Instant;

use askama::Template;

use super::table::{Cell, Head, closed_cell, head, with_node};
use super::{Frame, Paging, all_banners};
use crate::latest::Nodes;
use crate::view::column::Column;
use crate::view::humanize::count;
use crate::web::query::{MAX_WINDOW, Query};

#[derive(Template)]
#[template(path = "closed.html")]
pub(super) struct ClosedPage<'a> {
    frame: Frame<'a>,
    banners: Vec<String>,
    others: Vec<(String, String)>,
    matched: String,
    total: String,
    search: String,
    list: String,
    window: String,
    heads: Vec<Head>,
    rows: Vec<Vec<Cell>>,
    paging: Paging,
}

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, frame: Frame<'a>) -> ClosedPage<'a> {
    let window = query.closed(nodes);
    let rows = window.rows.iter();
    let columns = match &query.columns[..] {
        [] => with_node(nodes.count() > 1, Column::closed_defaults()),
        chosen => chosen.to_vec(),
    };
    ClosedPage {
        frame,
        banners: all_banners(nodes, query, now),
        others: query.others(&["q"]),
        matched: count(window.matched as u64),
        search: query.given("q").to_owned(),
        list: query.with(&[("limit", ""), ("offset", "")]),
        window: query.with(&[("limit", &MAX_WINDOW.to_string()), ("offset", "")]),
        total: count(window.total as u64),
        paging: Paging::new("/closed", query, window.rows.len(), window.matched),
        heads: columns.iter().map(|column| head("/closed", query, column)).collect(),
        rows: rows.map(|row| columns.iter().map(|column| closed_cell(*row, column)).collect()).collect(),
    }
}
