//! `/api/v1/closed`: the remembered closed clients.

use serde_json::Value;

use crate::latest::Nodes;
use crate::view::column::Column;
use crate::view::{csv, json};
use crate::web::export::Lines;
use crate::web::query::Query;

pub(super) fn list(nodes: &Nodes, query: &Query) -> Value {
    let window = query.closed(nodes);
    let items: Vec<Value> = window.rows.iter().map(|row| json::closed_client(*row, &query.columns)).collect();
    json::window(query.nodes(nodes), &query.selection, (window.total, window.matched), &items)
}

/// The content type and the text of all matching closed clients, one per line.
pub(super) fn lines(nodes: &Nodes, lines: Lines, query: &Query) -> (&'static str, String) {
    let rows = query.closed(nodes).rows.into_iter();
    match lines {
        Lines::Csv => {
            let columns = if query.columns.is_empty() { Column::of_closed().collect() } else { query.columns.clone() };
            (csv::CONTENT_TYPE, csv::head(&columns) + &csv::lines(rows, &columns))
        }
        Lines::Ndjson => {
            (json::LINES_CONTENT_TYPE, json::lines(rows.map(|row| json::closed_client(row, &query.columns))))
        }
    }
}
