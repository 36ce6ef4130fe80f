//! `/api/v1/clients`: a window of clients or of groups; `/api/v1/clients/{id}`: one client.

use hyper::StatusCode;
use serde_json::Value;

use super::{JSON, as_json, envelope};
use crate::latest::Nodes;
use crate::view::json;
use crate::web::query::Query;
use crate::web::response_cache::Written;

pub(super) fn list(nodes: &Nodes, query: &Query) -> Written {
    let Some(by) = query.group else {
        let window = query.selection.window(Query::snapshots(nodes));
        let items: Vec<Value> = window.rows.iter().map(|row| json::client(*row, &query.columns)).collect();
        return as_json(&envelope(nodes, query, window.total, window.matched, &items));
    };
    let window = query.selection.groups(by, Query::snapshots(nodes));
    let items: Vec<Value> = window.rows.iter().map(json::group).collect();
    let mut all = envelope(nodes, query, window.total, window.matched, &items);
    all["groups"] = window.groups.into();
    all["internal"] = window.internal.into();
    as_json(&all)
}

pub(super) fn one(nodes: &Nodes, id: &str, query: &Query) -> Written {
    let invalid = |sentence: String| Err((StatusCode::BAD_REQUEST, sentence));
    let Ok(number) = id.parse() else { return invalid(format!("{id:?} is not a client id, which is a number")) };
    match &query.find(nodes, number)[..] {
        [] => {
            let sentence = "no client has this id; if it has closed, it is in /api/v1/closed";
            Err((StatusCode::NOT_FOUND, sentence.to_owned()))
        }
        [row] => Ok((JSON, format!("{}\n", json::client(*row, &query.columns)))),
        _ => invalid("several servers have a client with this id; add the parameter redis=".to_owned()),
    }
}
