//! `/api/v1/clients`: a window of clients or of groups; `/api/v1/clients/{id}`: one client.

use hyper::StatusCode;
use serde_json::Value;

use super::{JSON, as_json, envelope};
use crate::latest::Nodes;
use crate::view::list;
use crate::view::row::Row;
use crate::web::query::Query;
use crate::web::response_cache::Written;

pub(super) fn list(nodes: &Nodes, query: &Query) -> Written {
    let snapshots = Query::snapshots(nodes);
    let Some(by) = query.group else {
        let window = query.selection.window(snapshots);
        let items: Vec<Value> = window.rows.iter().map(|row| list::object(*row, &query.columns)).collect();
        return as_json(&envelope(nodes, query, window.total, window.matched, &items));
    };
    let window = query.selection.groups(by, snapshots);
    let items: Vec<Value> = window.rows.iter().map(list::group_object).collect();
    let mut all = envelope(nodes, query, window.total, window.matched, &items);
    all["groups"] = window.groups.into();
    all["internal"] = window.internal.into();
    as_json(&all)
}

pub(super) fn one(nodes: &Nodes, id: &str, query: &Query) -> Written {
    let invalid = |sentence: String| Err((StatusCode::BAD_REQUEST, sentence));
    let Ok(number) = id.parse() else { return invalid(format!("{id:?} is not a client id, which is a number")) };
    match &find(nodes, number, query)[..] {
        [] => {
            let sentence = "no client has this id; if it has closed, it is in /api/v1/closed";
            Err((StatusCode::NOT_FOUND, sentence.to_owned()))
        }
        [row] => Ok((JSON, format!("{}\n", list::object(*row, &query.columns)))),
        _ => invalid("several servers have a client with this id; add the parameter redis=".to_owned()),
    }
}

/// The clients with an id: at most one per node.
pub(in crate::web) fn find<'a>(nodes: &'a Nodes, id: u64, query: &Query) -> Vec<Row<'a>> {
    let of_node = |(node, snapshot): (&'a str, &'a crate::snapshot::Snapshot)| {
        let index = snapshot.clients()?.find(id)?;
        Row::new(node, snapshot, index)
    };
    Query::snapshots(nodes).filter(|(node, _)| query.selection.has_node(node)).filter_map(of_node).collect()
}
