//! `/api/v1/closed`: the remembered closed clients.

use serde_json::Value;

use super::{as_json, envelope};
use crate::latest::Nodes;
use crate::view::column::Column;
use crate::view::list;
use crate::view::row::{ClosedRow, closed_rows};
use crate::view::selection::Window;
use crate::web::export::Lines;
use crate::web::query::Query;
use crate::web::response_cache::Written;

pub(super) fn list(nodes: &Nodes, query: &Query) -> Written {
    let window = select(nodes, query);
    let items: Vec<Value> = window.rows.iter().map(|row| list::closed_object(*row, &query.columns)).collect();
    as_json(&envelope(nodes, query, window.total, window.matched, &items))
}

pub(super) fn lines(nodes: &Nodes, lines: Lines, query: &Query) -> Written {
    let rows = select(nodes, query).rows;
    match lines {
        Lines::Csv => {
            let columns = if query.columns.is_empty() { Column::of_closed().collect() } else { query.columns.clone() };
            Ok((list::CSV, list::csv_head(&columns) + &list::csv_lines(rows.into_iter(), &columns)))
        }
        Lines::Ndjson => {
            Ok((list::NDJSON, list::lines(rows.into_iter().map(|row| list::closed_object(row, &query.columns)))))
        }
    }
}

/// The window of the closed clients; the default order is the last closed first.
pub(in crate::web) fn select<'a>(nodes: &'a Nodes, query: &Query) -> Window<ClosedRow<'a>> {
    let nodes = Query::snapshots(nodes).filter(|(node, _)| query.selection.has_node(node));
    query.selection.window_of(nodes.flat_map(|(node, snapshot)| closed_rows(node, snapshot)))
}
