//! `/api/v1/closed`: the remembered closed clients.

use serde_json::Value;

use super::{as_json, envelope};
use crate::latest::Nodes;
use crate::view::column::Column;
use crate::view::{csv, json};
use crate::web::export::Lines;
use crate::web::query::Query;
use crate::web::response_cache::Written;

pub(super) fn list(nodes: &Nodes, query: &Query) -> Written {
    let window = query.closed(nodes);
    let items: Vec<Value> = window.rows.iter().map(|row| json::closed_client(*row, &query.columns)).collect();
    as_json(&envelope(nodes, query, window.total, window.matched, &items))
}

pub(super) fn lines(nodes: &Nodes, lines: Lines, query: &Query) -> Written {
    let rows = query.closed(nodes).rows;
    match lines {
        Lines::Csv => {
            let columns = if query.columns.is_empty() { Column::of_closed().collect() } else { query.columns.clone() };
            Ok((csv::CONTENT_TYPE, csv::head(&columns) + &csv::lines(rows.into_iter(), &columns)))
        }
        Lines::Ndjson => Ok((
            json::LINES_CONTENT_TYPE,
            json::lines(rows.into_iter().map(|row| json::closed_client(row, &query.columns))),
        )),
    }
}
